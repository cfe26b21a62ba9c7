#!/usr/bin/env python3
"""Writes the fixtures of the seven ways in which a network arrives ternary, and what each must compute.

    arrivals.py OUT        OUT/NAME.onnx, and OUT/expected.json with an input and the output of each

The models are written with Python's onnx, whose code the compiler shares nothing with, in arriving/, a file for each family. Outputs are ONNX Runtime's, without its rewriting
of graphs; those of QONNX operators are computed by numpy, from the operators' published definition. Which of them are ternary, and
why the others are not, is for the test to say (compiler/twnc/tests/suite/arrivals.rs). Needs onnx 1.22 and onnxruntime 1.32.
"""

import json
import pathlib
import sys

import numpy as np

# In the order of the ways; each adds its models to FIXTURES.
from arriving import floats, codes, qonnx, integers, bitnet  # noqa: F401
from arriving.model import FIXTURES, ort


def digits(array, count):
    return [float(f"{number:.{count}g}") for number in array.ravel()]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, build in FIXTURES.items():
        built = build()
        model = built.proto()
        x = np.random.default_rng(7).standard_normal(built.shape).round(3).astype(np.float32)
        y = qonnx.reference(model, x) if "qonnx" in name else ort(model, {"x": x})
        (out / f"{name}.onnx").write_bytes(model.SerializeToString())
        numbers = {"shape": list(x.shape), "x": digits(x, 4), "y": digits(y, 6)}
        lines.append(f'"{name}": {json.dumps(numbers)}')
    (out / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
