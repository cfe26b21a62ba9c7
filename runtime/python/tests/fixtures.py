"""The repository's networks and images."""

import pathlib

import numpy

SUITE = pathlib.Path(__file__).resolve().parents[3] / "testsuite"
TERNARY = SUITE / "models" / "lenet5_twn.onnx"
FLOAT = SUITE / "models" / "lenet5_float.onnx"


def images():
    """500 digits, as lenet5 takes them."""
    with numpy.load(SUITE / "data" / "mnist-500.npz") as arrays:
        return arrays["image"]


def labels():
    """Their classes."""
    return numpy.load(SUITE / "data" / "mnist-500-labels.npy")
