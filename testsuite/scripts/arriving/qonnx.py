"""The fourth way: QONNX's operators; and what they compute, from their published definition."""

import numpy as np
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from .model import Model, fixture, normal, ort

QONNX = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")


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


def reference(model, x):
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
