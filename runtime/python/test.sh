#!/usr/bin/env bash
# Builds the wheel, installs it into a virtual environment of its own, and runs the package's tests on it.
# Ends with 77 where Python or the packages that this needs cannot be had.
# PYTHON names the interpreter, PROFILE what cargo builds (`release` to measure).
set -euo pipefail
cd "$(dirname "$0")"
target=$(cd ../.. && pwd)/target/python
skip() { printf 'SKIPPED: %s\n' "$*"; exit 77; }

rm -rf "$target"
"${PYTHON:-python3}" -m venv "$target/venv" || skip "there is no python3 with venv"
python="$target/venv/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check 'maturin>=1.9,<2' 'numpy>=1.21' \
  || skip "maturin and numpy cannot be installed"
"$target/venv/bin/maturin" build --quiet --locked --profile "${PROFILE:-dev}" --interpreter "$python" --out "$target/wheels"
"$python" -m pip install --quiet --disable-pip-version-check --no-index "$target"/wheels/twnc-*.whl
"$python" -m unittest discover --start-directory tests
