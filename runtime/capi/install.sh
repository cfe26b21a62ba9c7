#!/usr/bin/env bash
# Installs the C library: shared and static, headers, files for pkg-config and CMake.
#
#     bash runtime/capi/install.sh PREFIX           builds it and installs it below PREFIX
#     bash runtime/capi/install.sh PREFIX FOLDER    installs what was built into FOLDER
#
# DESTDIR, if it is set, goes before PREFIX. Libraries go to PREFIX/lib; LIBDIR is another name for `lib`.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
case $1 in /*) prefix=$1 ;; *) prefix=$PWD/$1 ;; esac
to=${DESTDIR:-}$prefix
lib=$to/${LIBDIR:-lib}
if [ $# -ge 2 ]; then
  built=$2
else
  target=$(cd "$here" && cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
  (cd "$here" && cargo build --release --locked --package twnc-capi)
  built=$target/release
fi
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")
abi=$(sed -n 's/^#define TWNC_ABI_VERSION \(.*\)/\1/p' "$here/include/twnc.h")

install -d "$to/include" "$lib/pkgconfig" "$lib/cmake/twnc" "$to/share/doc/twnc"
install -m 644 "$here/../.."/{LICENSE-APACHE,LICENSE-MIT,THIRD-PARTY.txt} "$to/share/doc/twnc"
install -m 644 "$here/include/twnc.h" "$here/include/twnc.hpp" "$to/include"
install -m 755 "$built/libtwnc_c.so" "$lib/libtwnc_c.so.$abi"
ln -sf "libtwnc_c.so.$abi" "$lib/libtwnc_c.so"
install -m 644 "$built/libtwnc_c.a" "$lib"
for file in pkgconfig/twnc.pc cmake/twnc/twnc-config.cmake cmake/twnc/twnc-config-version.cmake; do
  sed "s|@VERSION@|$version|; s|@ABI@|$abi|; s|@PREFIX@|$prefix|; s|@LIBDIR@|${LIBDIR:-lib}|" "$here/install/${file##*/}.in" > "$lib/$file"
done
