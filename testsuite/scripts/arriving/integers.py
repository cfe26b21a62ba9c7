"""The fifth and the sixth way: MatMulNBits, and products of quantised integers."""

import numpy as np
from onnx import TensorProto as T
from onnx import helper

from .model import Model, fixture, some


# MatMulNBits.


def pack(codes, bits):
    """Rows of codes as bytes, low bits first."""
    per_byte = 8 // bits
    codes = np.pad(codes, [(0, 0), (0, -codes.shape[1] % per_byte)]).reshape(len(codes), -1, per_byte)
    return (codes << (bits * np.arange(per_byte))).sum(-1).astype(np.uint8)


def nbits(codes, scales, bits=2, block=16, zeros=None, domains=("com.microsoft",), **attributes):
    n, k = codes.shape
    blocks = -(-k // block)
    m = Model([2, k], 21, 10, domains)
    rows = np.pad(codes, [(0, 0), (0, blocks * block - k)])
    m.constant("w", pack(rows, bits).reshape(n, blocks, -1))
    m.floats("s", np.broadcast_to(scales, (n, blocks)).ravel())
    operands = ["x", "w", "s"]
    if zeros is not None:
        operands.append(m.constant("z", pack(np.broadcast_to(zeros, (n, blocks)), bits).ravel()))
    sizes = {"K": k, "N": n, "bits": bits, "block_size": block}
    m.node("MatMulNBits", operands, "y", "com.microsoft", **sizes, **attributes)
    return m


@fixture
def nbits_tensor():
    return nbits(some(8, 48) + 2, 0.3)


@fixture
def nbits_channels_ragged():
    # K is no multiple of the block.
    return nbits(some(8, 40) + 2, np.linspace(0.1, 0.8, 8).reshape(8, 1), block=32, accuracy_level=1)


@fixture
def nbits_zero_points():
    zeros = np.resize([1, 2, 1], (8, 3))
    codes = some(8, 3, 16) + zeros[:, :, None]
    return nbits(codes.reshape(8, 48), 0.3, zeros=zeros, domains=())


@fixture
def nbits_of_4():
    return nbits(some(8, 160) + 8, 0.3, bits=4, block=64)


@fixture
def nbits_blocks():
    return nbits(some(8, 64) + 2, Model([]).random.uniform(0.1, 1, (8, 4)))


@fixture
def not_nbits_code_0():
    codes = some(8, 48) + 2
    codes[3, 7] = 0
    return nbits(codes, 0.3)


@fixture
def not_nbits_zero_point_1():
    return nbits(some(8, 48) + 2, 0.3, zeros=np.ones((8, 3), int))


@fixture
def not_nbits_of_4():
    return nbits(Model([]).random.integers(0, 16, (8, 48)), 0.3, bits=4)


# Products of quantised integers.


def quantised_input(m, kind=np.uint8):
    m.floats("xs", 0.0217)
    m.constant("xz", kind(128 if kind == np.uint8 else 0))
    m.node("QuantizeLinear", ["x", "xs", "xz"], "q")
    return ["q", "xs", "xz"]


def qlinear(op, weight, scale, zero, kind, shape, **attributes):
    m = Model(shape, 13, 7)
    q = quantised_input(m, kind)
    m.constant("w", np.asarray(weight, kind))
    m.floats("ws", scale)
    m.constant("wz", np.asarray(zero, kind))
    m.floats("ys", 0.0513)
    m.constant("yz", kind(3))
    m.node(op, [*q, "w", "ws", "wz", "ys", "yz"], "yq", **attributes)
    m.node("DequantizeLinear", ["yq", "ys", "yz"], "y")
    return m


@fixture
def qlinear_conv_axis():
    zeros = np.zeros(8)
    m = qlinear("QLinearConv", some(8, 4, 3, 3), np.linspace(0.1, 0.8, 8), zeros, np.int8, [1, 4, 6, 6], pads=[1, 1, 1, 1])
    return m


@fixture
def qlinear_conv_uint8():
    return qlinear("QLinearConv", some(8, 4, 3, 3) + 128, 0.1, 128, np.uint8, [1, 4, 6, 6])


@fixture
def qlinear_matmul():
    return qlinear("QLinearMatMul", some(160, 8) + 7, 0.1, 7, np.uint8, [2, 160])


def integer(op, weight, zero, shape, dynamic=False, **attributes):
    m = Model(shape, 13, 7)
    m.constant("w", weight)
    if dynamic:
        m.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "xs", "xz"]))
        operands = ["q", "w", "xz"]
    else:
        q, _, xz = quantised_input(m)
        operands = [q, "w", xz]
    if zero is not None:
        operands.append(m.constant("wz", zero))
    m.node(op, operands, "sum", **attributes)
    m.node("Cast", ["sum"], "f", to=T.FLOAT)
    m.node("Mul", ["f", "xs"], "unscaled")
    m.node("Mul", ["unscaled", m.floats("ws", 0.3)], "y")
    return m


@fixture
def matmul_integer_dynamic():
    return integer("MatMulInteger", some(48, 8).astype(np.int8), None, [2, 48], dynamic=True)


@fixture
def conv_integer_uint8():
    return integer("ConvInteger", (some(8, 4, 3, 3) + 100).astype(np.uint8), np.uint8(100), [1, 4, 6, 6])


@fixture
def not_matmul_integer_code_2():
    codes = some(48, 8).astype(np.int8)
    codes[5, 5] = 2
    return integer("MatMulInteger", codes, None, [2, 48])


@fixture
def not_qlinear_zero_point():
    return qlinear("QLinearMatMul", some(48, 8) + 7, 0.1, 8, np.uint8, [2, 48])
