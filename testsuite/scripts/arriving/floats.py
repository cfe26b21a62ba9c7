"""The first way: float initialisers."""

import numpy as np
from onnx import TensorProto as T

from .model import Model, fixture


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
