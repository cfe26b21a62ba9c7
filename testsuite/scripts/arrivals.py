#!/usr/bin/env python3
"""Writes the fixtures of the seven ways in which a network arrives ternary, and what each must compute.

    arrivals.py OUT        OUT/NAME.onnx, and OUT/expected.json with an input and the output of each

The models are written with Python's onnx, whose code the compiler shares nothing with. Outputs are ONNX Runtime's, without its rewriting
of graphs; those of QONNX operators are computed here by numpy, from the operators' published definition. Which of them are ternary, and
why the others are not, is for the test to say (compiler/twnc/tests/suite/arrivals.rs). Needs onnx 1.22 and onnxruntime 1.32.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

FIXTURES = {}
QONNX = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")


def fixture(build):
    """A function that returns a Model; its name is the file's."""
    FIXTURES[build.__name__] = build
    return build


class Model:
    """Nodes and constants, with an input `x` and an output `y`."""

    def __init__(self, shape, opset=17, ir=8, domains=()):
        self.nodes, self.constants, self.shape = [], [], shape
        self.opset, self.ir, self.domains = opset, ir, domains
        self.random = np.random.default_rng(sum(map(ord, sys._getframe(1).f_code.co_name)))

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def floats(self, name, array):
        return self.constant(name, np.asarray(array, np.float32))

    def packed(self, name, kind, codes):
        """A tensor of one of ONNX's types of less than 8 bits."""
        codes = np.asarray(codes)
        self.constants.append(helper.make_tensor(name, kind, codes.shape, codes.ravel().tolist()))
        return name

    def node(self, op, inputs, output, domain="", **attributes):
        # Nameless nodes, as some exporters write them, are known by their result.
        self.nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attributes))
        return output

    def trits(self, *shape, zeros=0.4):
        trits = self.random.choice([-1, 0, 1], p=[(1 - zeros) / 2, zeros, (1 - zeros) / 2], size=shape)
        trits.flat[:3] = [-1, 0, 1]
        return trits

    def proto(self):
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes, "fixture", [value("x", T.FLOAT, self.shape)], [value("y", T.FLOAT, None)], self.constants
        )
        sets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(domain, 1) for domain in self.domains)]
        return helper.make_model(graph, opset_imports=sets, ir_version=self.ir, producer_name="arrivals.py")


# 1. Float initialisers.


@fixture
def float_conv_layer():
    m = Model([1, 4, 6, 6])
    m.floats("w", 0.037 * m.trits(8, 4, 3, 3))
    m.node("Conv", ["x", "w"], "y", pads=[1, 1, 1, 1])
    return m


@fixture
def float_gemm_channels():
    m = Model([2, 48])
    m.floats("w", m.trits(8, 48) * m.random.uniform(0.1, 2, (8, 1)))
    m.floats("b", m.random.standard_normal(8))
    m.node("Gemm", ["x", "w", "b"], "y", transB=1)
    return m


@fixture
def float_two_signs():
    m = Model([2, 48])
    trits = m.trits(48, 8)
    m.floats("w", np.where(trits > 0, 0.5, 0.3) * trits)
    m.node("MatMul", ["x", "w"], "y")
    return m


@fixture
def float16_cast():
    m = Model([2, 160])
    m.constant("w", (0.25 * m.trits(8, 160)).astype(np.float16))
    m.node("Cast", ["w"], "w32", to=T.FLOAT)
    m.node("Transpose", ["w32"], "wt", perm=[1, 0])
    m.node("MatMul", ["x", "wt"], "y")
    return m


@fixture
def float_blocks():
    m = Model([2, 64])
    scales = m.random.uniform(0.1, 2, (8, 4, 1))
    m.floats("w", (m.trits(8, 4, 16) * scales).reshape(8, 64).T)
    m.node("MatMul", ["x", "w"], "y")
    return m


@fixture
def not_float_two_magnitudes():
    m = Model([2, 48])
    m.floats("w", 0.25 * m.random.choice([-2, -1, 0, 1, 2], size=(48, 8)))
    m.node("MatMul", ["x", "w"], "y")
    return m


@fixture
def not_float_edge_filter():
    m = Model([1, 1, 8, 8])
    m.floats("w", np.array([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]]).reshape(1, 1, 3, 3))
    m.node("Conv", ["x", "w"], "y")
    return m


@fixture
def not_float_one_weight_off():
    m = Model([2, 48])
    w = 0.5 * m.trits(48, 8)
    w[2, 2] = 0.501
    m.floats("w", w)
    m.node("MatMul", ["x", "w"], "y")
    return m


# 2. Codes of few bits, dequantised.


def dequantised(kind, codes, scale, zero=None, opset=25, ir=13, matmul=True, **attributes):
    m = Model([2, len(codes)] if matmul else [1, codes.shape[1], 6, 6], opset, ir)
    (m.packed if kind != T.INT8 else lambda name, _, codes: m.constant(name, codes.astype(np.int8)))("w", kind, codes)
    m.floats("s", scale)
    if zero is not None:
        m.packed("z", kind, zero)
    m.node("DequantizeLinear", ["w", "s", "z"][: 2 + (zero is not None)], "d", **attributes)
    m.node("MatMul" if matmul else "Conv", ["x", "d"], "y")
    return m


def some(*shape):
    return Model([]).trits(*shape)


@fixture
def dq_int2_tensor():
    return dequantised(T.INT2, some(48, 8), 0.05)


@fixture
def dq_int2_conv_axis():
    return dequantised(T.INT2, some(8, 4, 3, 3), np.linspace(0.1, 0.8, 8), axis=0, matmul=False)


@fixture
def dq_uint2_zero_points():
    zeros = np.array([1, 2] * 4)
    return dequantised(T.UINT2, some(48, 8) + zeros, np.linspace(0.1, 0.8, 8), zeros, axis=1)


@fixture
def dq_int4_axis():
    return dequantised(T.INT4, some(48, 8), np.linspace(0.1, 0.8, 8), opset=21, ir=10, axis=-1)


@fixture
def dq_uint4_zero_point():
    return dequantised(T.UINT4, some(48, 7) + 8, 0.05, np.array(8), opset=21, ir=10)


@fixture
def dq_int8_large():
    return dequantised(T.INT8, some(160, 8), np.linspace(0.1, 0.8, 8), opset=13, ir=7, axis=1)


@fixture
def dq_int2_one_block():
    return dequantised(T.INT2, some(48, 8), np.linspace(0.1, 0.8, 8).reshape(1, 8), axis=0, block_size=48)


@fixture
def dq_int2_blocks():
    scales = Model([]).random.uniform(0.1, 1, (4, 8))
    return dequantised(T.INT2, some(64, 8), scales, axis=0, block_size=16)


@fixture
def not_dq_code_minus_2():
    codes = some(48, 8)
    codes[7, 3] = -2
    return dequantised(T.INT2, codes, 0.05)


@fixture
def not_dq_three_bits():
    return dequantised(T.INT4, Model([]).random.integers(-3, 4, (48, 8)), 0.05, opset=21, ir=10)


@fixture
def not_dq_zero_point():
    # Codes of UINT2 from 0 to 2 are ternary about 1, not about 2.
    return dequantised(T.UINT2, some(48, 8) + 1, 0.05, np.array(2))


# 3. QuantizeLinear, Clip, DequantizeLinear.


def qcdq(weight, scale, zero=None, low=-1, high=1, opset=13, ir=7, **attributes):
    m = Model([2, weight.shape[0]], opset, ir)
    m.floats("w", weight)
    m.floats("s", scale)
    m.constant("z", np.zeros(np.shape(scale), np.int8) if zero is None else np.asarray(zero, np.int8))
    m.constant("low", np.int8(low))
    m.constant("high", np.int8(high))
    m.node("QuantizeLinear", ["w", "s", "z"], "q", **attributes)
    m.node("Clip", ["q", "low", "high"], "c")
    m.node("DequantizeLinear", ["c", "s", "z"], "d", **attributes)
    m.node("MatMul", ["x", "d"], "y")
    return m


def normal(*shape):
    return Model([]).random.standard_normal(shape)


@fixture
def qcdq_tensor():
    return qcdq(normal(48, 8), 0.7)


@fixture
def qcdq_axis():
    return qcdq(normal(48, 8), np.linspace(0.4, 1, 8), axis=1)


@fixture
def qcdq_large():
    return qcdq(normal(160, 8), 0.7)


@fixture
def qcdq_one_block():
    return qcdq(normal(160, 8), np.linspace(0.4, 1, 8).reshape(1, 8), opset=21, ir=10, axis=0, block_size=160)


@fixture
def qcdq_blocks():
    scales = np.linspace(0.4, 1, 80).reshape(10, 8)
    return qcdq(normal(160, 8), scales, opset=21, ir=10, axis=0, block_size=16)


@fixture
def not_qcdq_clip_at_2():
    return qcdq(normal(48, 8), 0.5, low=-2, high=2)


@fixture
def not_qcdq_zero_point():
    # Clipped to -1..1 about 1: values from -2 to 0 times the scale.
    return qcdq(normal(48, 8), 0.5, zero=1)


# 4. QONNX. The reference is below, beside the models.


def quant(m, x, name, output, scale=1.0, zero=0.0, bits=2.0, op="Quant", domain=QONNX[0], **attributes):
    operands = [x, m.floats(f"{name}_s", scale), m.floats(f"{name}_z", zero), m.floats(f"{name}_b", bits)]
    return m.node(op, operands, output, domain, **{"signed": 1, "narrow": 1, "rounding_mode": "ROUND"} | attributes)


@fixture
def qonnx_layer():
    m = Model([2, 48], domains=[QONNX[0]])
    m.floats("w", normal(8, 48))
    quant(m, "w", "qw", "wq", scale=0.6)
    m.node("Transpose", ["wq"], "wt", perm=[1, 0])
    quant(m, "x", "qx", "xq", scale=0.1037, bits=4.0, narrow=0)
    m.node("MatMul", ["xq", "wt"], "y")
    return m


@fixture
def qonnx_brevitas_no_import():
    m = Model([2, 160])
    m.floats("w", normal(160, 8))
    quant(m, "w", "qw", "wq", scale=np.linspace(0.4, 1, 8), domain=QONNX[2])
    m.node("MatMul", ["x", "wq"], "h")
    m.node("Relu", ["h"], "r")
    quant(m, "r", "qr", "y", scale=1.537, bits=3.0, signed=0, narrow=0, rounding_mode="FLOOR", domain=QONNX[2])
    return m


@fixture
def qonnx_finn_conv():
    m = Model([1, 4, 6, 6], domains=[QONNX[1]])
    m.floats("w", normal(8, 4, 3, 3))
    quant(m, "w", "qw", "wq", scale=np.linspace(0.4, 1, 8).reshape(8, 1, 1, 1), op="IntQuant", domain=QONNX[1])
    m.node("Conv", ["x", "wq"], "h")
    quant(m, "h", "qh", "y", scale=0.3071, zero=2.0, bits=5.0, rounding_mode="HALF_UP", op="IntQuant", domain=QONNX[1])
    return m


@fixture
def qonnx_bipolar():
    m = Model([2, 48], domains=[QONNX[0]])
    m.floats("w", normal(48, 8))
    m.node("BipolarQuant", ["w", m.floats("s", 0.3)], "wq", QONNX[0])
    m.node("BipolarQuant", ["x", m.floats("sx", 1.25)], "xq", QONNX[0])
    m.node("MatMul", ["xq", "wq"], "y")
    return m


@fixture
def qonnx_roundings():
    m = Model([2, 48], domains=[QONNX[0]])
    m.floats("w", normal(48, 8))
    quant(m, "w", "qw", "wq", scale=0.6)
    x = "x"
    modes = ["HALF_EVEN", "CEIL", "UP", "DOWN", "HALF_DOWN", "HALF_UP", "FLOOR", "round"]
    for i, mode in enumerate(modes):
        x = quant(m, x, f"q{i}", f"x{i}", scale=0.3037 - 0.0301 * i, bits=6.5 if i == 3 else 6.0, narrow=i % 2, rounding_mode=mode)
    m.node("MatMul", [x, "wq"], "h")
    # A width for each channel, and what is cut off at the end.
    quant(m, "h", "qh", "hq", scale=0.1013, bits=np.linspace(4, 8, 8).round())
    m.node("Trunc", ["hq", "qh_s", "qh_z", m.floats("in", 8), m.floats("out", 6)], "y", QONNX[0], rounding_mode="FLOOR")
    return m


@fixture
def not_qonnx_three_bits():
    m = Model([2, 48], domains=[QONNX[0]])
    m.floats("w", normal(48, 8))
    quant(m, "w", "qw", "wq", scale=0.4, bits=3.0)
    m.node("MatMul", ["x", "wq"], "y")
    return m


@fixture
def not_qonnx_wide():
    m = Model([2, 48], domains=[QONNX[0]])
    m.floats("w", normal(48, 8))
    quant(m, "w", "qw", "wq", scale=0.4, narrow=0)
    m.node("MatMul", ["x", "wq"], "y")
    return m


@fixture
def not_qonnx_unsigned():
    m = Model([2, 48])
    m.floats("w", normal(48, 8))
    quant(m, "w", "qw", "wq", scale=0.4, signed=0, domain=QONNX[2])
    m.node("MatMul", ["x", "wq"], "y")
    return m


# 5. MatMulNBits.


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


# 6. Products of quantised integers.


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


# 7. As BitNet's linear layers are exported: codes, and a scale in the graph.


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


# What they compute.


def quant_of(x, scale, zero, bits, signed, narrow, rounding_mode):
    """QONNX's Quant, from its specification."""
    signed, narrow = bool(signed), bool(narrow)
    low = (-(2 ** (bits - 1)) + narrow) if signed else np.zeros_like(bits)
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    code = round_to(np.minimum(np.maximum(x / scale + zero, low), high), rounding_mode)
    return ((code - zero) * scale).astype(np.float32)


def round_to(x, mode):
    away = np.copysign(1, x)
    return {
        "ROUND": np.rint(x),
        "HALF_EVEN": np.rint(x),
        "CEIL": np.ceil(x),
        "FLOOR": np.floor(x),
        "UP": away * np.ceil(np.abs(x)),
        "DOWN": np.trunc(x),
        "HALF_UP": away * np.floor(np.abs(x) + np.float32(0.5)),
        "HALF_DOWN": away * np.ceil(np.abs(x) - np.float32(0.5)),
    }[mode.upper()]


def qonnx_reference(model, x):
    """Node by node: QONNX's here, all others in ONNX Runtime."""
    values = {"x": x} | {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        inputs = [values[name] for name in node.input]
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        attributes = {name: a.decode() if isinstance(a, bytes) else a for name, a in attributes.items()}
        if node.op_type in ("Quant", "IntQuant"):
            result = quant_of(*inputs, **attributes)
        elif node.op_type == "BipolarQuant":
            result = np.where(inputs[0] >= 0, inputs[1], -inputs[1])
        elif node.op_type == "Trunc":
            x, scale, zero, before, after = inputs
            whole = np.rint(x / scale + zero) / 2 ** (before - after)
            result = (round_to(whole, attributes["rounding_mode"]) - zero) * scale
        else:
            kinds = [helper.make_tensor_value_info(n, T.FLOAT, v.shape) for n, v in zip(node.input, inputs)]
            out = helper.make_tensor_value_info(node.output[0], T.FLOAT, None)
            graph = helper.make_graph([node], "node", kinds, [out])
            one = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
            result = ort(one, dict(zip(node.input, inputs)))
        values[node.output[0]] = np.asarray(result, np.float32)
    return values["y"]


def ort(model, inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


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
        y = qonnx_reference(model, x) if "qonnx" in name else ort(model, {"x": x})
        (out / f"{name}.onnx").write_bytes(model.SerializeToString())
        numbers = {"shape": list(x.shape), "x": digits(x, 4), "y": digits(y, 6)}
        lines.append(f'"{name}": {json.dumps(numbers)}')
    (out / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
