#!/usr/bin/env bash
# The Python package's tests: builds the wheel in a new virtual environment, installs it there, and runs them.
#
#     bash runtime/python/test.sh             needs python3 with venv, and the packages maturin and numpy
#     bash runtime/python/test.sh --release   the wheel as it is for users
#     TWNC_RAY=1 bash runtime/python/test.sh  batches by Ray too, which is some 600 MB to install
#
# Where these are not to be had it says so and does nothing: exit code 0, unless TWNC_PYTHON=required.
set -euo pipefail
cd "$(dirname "$0")"
profile=dev
[ "${1:-}" = --release ] && profile=release
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT

skipped() {
  echo "SKIPPED: the Python package's tests: $1"
  [ "${TWNC_PYTHON:-}" = required ] && exit 1
  exit 0
}

python3 -m venv "$environment" > /dev/null 2>&1 || skipped "python3 has no venv"
pip=("$environment/bin/pip" --quiet --disable-pip-version-check)
"${pip[@]}" install 'maturin>=1.9,<2' 'numpy>=1.21' > /dev/null 2>&1 || skipped "maturin and numpy cannot be installed"
"$environment/bin/maturin" build --quiet --locked --profile "$profile" --interpreter "$environment/bin/python" --out "$environment/wheels"
"${pip[@]}" install --no-index --no-deps "$environment"/wheels/*.whl
if [ "${TWNC_RAY:-}" = 1 ]; then
  "${pip[@]}" install 'ray[data]>=2.60,<3' 'pillow>=10'
else
  echo "SKIPPED: the tests of batches by Ray: TWNC_RAY=1 installs it"
fi
# From elsewhere, so that what is installed is tested and not the sources.
cd "$environment"
"$environment/bin/python" -m unittest discover --start-directory "$OLDPWD/tests" "${@:2}"
