"""The seventh way, as BitNet's linear layers are exported: codes, and a scale in the graph."""

import numpy as np
from onnx import TensorProto as T

from .model import Model, fixture, some


def tokens_quantised(m):
    """Each token to 8 bits, as BitNet's activations are; returns the codes and what they are divided by."""
    m.node("Abs", ["x"], "mag")
    m.node("ReduceMax", ["mag"], "most", axes=[-1], keepdims=1)
    m.node("Clip", ["most", m.floats("least", 1e-5)], "clipped")
    m.node("Div", [m.floats("n127", 127), "clipped"], "xs")
    m.node("Mul", ["x", "xs"], "steps")
    m.node("Round", ["steps"], "rounded")
    m.node("Clip", ["rounded", m.floats("n_128", -128), "n127"], "q")
    return "q", "xs"


@fixture
def bitnet_uint8():
    m = Model([2, 48])
    m.constant("w", (some(8, 48) + 1).astype(np.uint8))
    m.node("Cast", ["w"], "f", to=T.FLOAT)
    m.node("Sub", ["f", m.floats("one", 1)], "t")
    m.node("Transpose", ["t"], "wt", perm=[1, 0])
    q, xs = tokens_quantised(m)
    m.node("MatMul", [q, "wt"], "sum")
    m.node("Mul", [xs, m.floats("ws", 31.5)], "scale")
    m.node("Div", ["sum", "scale"], "y")
    return m


@fixture
def bitnet_float_divided():
    m = Model([2, 160])
    m.floats("w", some(160, 8))
    m.node("Div", ["w", m.floats("s", 12.5)], "d")
    m.node("MatMul", ["x", "d"], "y")
    return m


@fixture
def bitnet_packed():
    # Four codes of 2 bits in a byte, unpacked as their layer does it: rows of the matrix, a quarter for each shift.
    m = Model([2, 48], 18)
    codes = some(4, 8, 48) + 1
    m.constant("w", (codes << (2 * np.arange(4).reshape(4, 1, 1))).sum(0).astype(np.uint8))
    parts = []
    for i in range(4):
        masked = m.node("BitwiseAnd", ["w", m.constant(f"mask{i}", np.uint8(3 << 2 * i))], f"masked{i}")
        shift = m.constant(f"shift{i}", np.uint8(2 * i))
        parts.append(m.node("BitShift", [masked, shift], f"part{i}", direction="RIGHT"))
    m.node("Concat", parts, "codes", axis=0)
    m.node("Cast", ["codes"], "f", to=T.FLOAT)
    m.node("Sub", ["f", m.floats("one", 1)], "t")
    m.node("Transpose", ["t"], "wt", perm=[1, 0])
    m.node("MatMul", ["x", "wt"], "sum")
    m.node("Mul", ["sum", m.floats("ws", 0.03)], "y")
    return m


@fixture
def bitnet_int8_channels():
    m = Model([2, 48])
    m.constant("w", some(48, 8).astype(np.int8))
    m.node("Cast", ["w"], "f", to=T.FLOAT)
    m.node("Mul", ["f", m.floats("s", np.linspace(0.1, 0.8, 8))], "d")
    m.node("MatMul", ["x", "d"], "y")
    return m


@fixture
def not_bitnet_unshifted():
    # Codes 0, 1 and 2 without the subtraction.
    m = Model([2, 48])
    m.constant("w", (some(48, 8) + 1).astype(np.uint8))
    m.node("Cast", ["w"], "f", to=T.FLOAT)
    m.node("MatMul", ["x", "f"], "y")
    return m


@fixture
def not_bitnet_code_3():
    m = Model([2, 48])
    m.constant("w", Model([]).random.integers(0, 4, (48, 8)).astype(np.uint8))
    m.node("Cast", ["w"], "f", to=T.FLOAT)
    m.node("Sub", ["f", m.floats("one", 1)], "t")
    m.node("MatMul", ["x", "t"], "y")
    return m


@fixture
def not_bitnet_scales_of_inputs():
    m = Model([2, 48])
    m.floats("w", some(48, 8))
    m.node("Mul", ["w", m.floats("s", np.linspace(0.1, 0.8, 48).reshape(48, 1))], "d")
    m.node("MatMul", ["x", "d"], "y")
    return m
