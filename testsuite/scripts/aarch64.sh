#!/usr/bin/env bash
# The runtime built for aarch64 on another machine, and run there by an emulator: its tests, then every family of generated code against
# the interpreter, and the interpreter against this machine's.
#
#     testsuite/scripts/aarch64.sh [SHAPES]    so many random shapes of each family and of each of the tests', 200 by default
#
# It takes Rust's standard library for aarch64, a linker, and the emulator:
#
#     rustup target add aarch64-unknown-linux-gnu
#     apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
#
# Where these are missing it says so and does nothing: exit code 0, unless TWNC_AARCH64=required. On aarch64 itself `cargo test` does all of this.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."
shapes=${1:-200}
target=aarch64-unknown-linux-gnu

skipped() {
  echo "SKIPPED: the runtime on aarch64: $1"
  [ "${TWNC_AARCH64:-}" = required ] && exit 1
  exit 0
}

command -v aarch64-linux-gnu-gcc > /dev/null || skipped "there is no aarch64-linux-gnu-gcc"
command -v qemu-aarch64 > /dev/null || skipped "there is no qemu-aarch64"
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || skipped "Rust's standard library for it is not installed"

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
tables=$(mktemp -d)
trap 'rm -rf "$tables"' EXIT

# `fences` starts processes of its own, which an emulated one cannot; on this machine it is run with the others.
PROPTEST_CASES=$shapes cargo test --locked --target "$target" -p twnc-program -p twnc-jit -p twnc-runtime -- \
  --skip one_byte_out_of_range_faults --skip kernels_that_leave_their_slices_fault

families() {
  TWNC_SHAPES=$shapes TWNC_ISA=portable cargo test --locked -p twnc-runtime --test families "$@" -- --nocapture
}
families --target "$target" | tee "$tables/aarch64"
families > "$tables/here"

# Whatever does not depend on a library of functions has the same bits on both.
checksums() {
  sed -nE 's/.*portable (.{32}).* ([0-9a-f]{16})  .*/\1 \2/p' "$1" | sort
}
for machine in aarch64 here; do
  checksums "$tables/$machine" > "$tables/$machine.checksums"
  [ -s "$tables/$machine.checksums" ] || { echo "no checksums on $machine" >&2; exit 1; }
done
diff "$tables/aarch64.checksums" "$tables/here.checksums"
echo "The interpreter gives the same bits on aarch64 as here: $(wc -l < "$tables/here.checksums") families."
