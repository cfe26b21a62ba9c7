"""The second and the third way: codes of few bits behind DequantizeLinear; QuantizeLinear, Clip, DequantizeLinear."""

import numpy as np
from onnx import TensorProto as T

from .model import Model, fixture, normal, some


# Codes, dequantised.


def dequantised(kind, codes, scale, zero=None, opset=25, ir=13, matmul=True, **attributes):
    m = Model([2, len(codes)] if matmul else [1, codes.shape[1], 6, 6], opset, ir)
    (m.packed if kind != T.INT8 else lambda name, _, codes: m.constant(name, codes.astype(np.int8)))("w", kind, codes)
    m.floats("s", scale)
    if zero is not None:
        m.packed("z", kind, zero)
    m.node("DequantizeLinear", ["w", "s", "z"][: 2 + (zero is not None)], "d", **attributes)
    m.node("MatMul" if matmul else "Conv", ["x", "d"], "y")
    return m


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


# Quantised, clipped and dequantised.


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
