#!/usr/bin/env python3
"""QONNX networks in ONNX Runtime, as what their quantisers are defined by; and one of them on MNIST against twnc.

    qonnx.py MODEL.onnx IDX_FOLDER [--twnc PATH]

compares a network of 1x28x28 images in 0..1 on the 10,000 test images (see zoo.sh): the class by ONNX Runtime, in which every
quantiser is written out in ONNX's own operators, and the class by the compiled network. It is compiled with `--ternarise detected`.
Exit code 0: the same class everywhere. The model zoo of QONNX (fastmachinelearning/QONNX_model_zoo) has
MNIST/Brevitas_FINN_TFC/TFC/TFC_2W2A.onnx, which belongs at models/mnist_tfc_2w2a_qonnx.onnx of the zoo.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from mnist import read_idx
from networks import Failed, build, call

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
ROUNDINGS = {"ROUND": "Round", "HALF_EVEN": "Round", "FLOOR": "Floor", "CEIL": "Ceil"}


def standard(model):
    """The model with QONNX's quantisers written out: scaled, clipped to their codes, rounded, and scaled back."""
    if not any(node.domain in DOMAINS for node in model.graph.node):
        return model
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        nodes += written_out(node, values, model.graph.initializer) if node.domain in DOMAINS else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for own in (own for own in model.opset_import if own.domain in ("", "ai.onnx")):
        # Round is of operator set 11; what networks of this kind have beside it is the same in 9 and in 11.
        own.version = 11 if own.version in (9, 10) else own.version
    return model


def written_out(node, values, initialisers):
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    mode = attributes.get("rounding_mode", b"ROUND").decode().upper()
    if node.op_type not in ("Quant", "IntQuant") or mode not in ROUNDINGS:
        raise Failed(f"{node.op_type} with rounding {mode} is not written out here")
    x, scale, zero, bits = node.input
    width, signed, narrow = float(values[bits]), attributes.get("signed", 1), attributes.get("narrow", 0)
    low = narrow - 2 ** (width - 1) if signed else 0
    high = 2 ** (width - 1) - 1 if signed else 2**width - 1 - narrow
    result = node.output[0]
    names = [f"{result}/{step}" for step in ("low", "high", "divided", "shifted", "clipped", "rounded", "centred")]
    low_name, high_name, divided, shifted, clipped, rounded, centred = names
    for name, bound in ((low_name, low), (high_name, high)):
        initialisers.append(numpy_helper.from_array(np.float32(bound), name))
    step = lambda op, inputs, output: helper.make_node(op, inputs, [output], name=output)
    return [
        step("Div", [x, scale], divided),
        step("Add", [divided, zero], shifted),
        step("Min", [shifted, high_name], f"{clipped}/above"),
        step("Max", [f"{clipped}/above", low_name], clipped),
        step(ROUNDINGS[mode], [clipped], rounded),
        step("Sub", [rounded, zero], centred),
        step("Mul", [centred, scale], result),
    ]


def by_ort(path, images):
    options = onnxruntime.SessionOptions()
    # Files of IR version 3 list constants as inputs, of which each would be a warning.
    options.log_severity_level = 3
    model = standard(onnx.load(path)).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return name, np.concatenate([session.run(None, {name: image[None]})[0] for image in images])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", type=pathlib.Path)
    arguments.add_argument("digits", type=pathlib.Path, help="the folder of MNIST's idx files")
    arguments.add_argument("--twnc", type=pathlib.Path, help="the command to check; built without it")
    options = arguments.parse_args()
    twnc = options.twnc or build()[0]

    images = read_idx(options.digits / "t10k-images-idx3-ubyte")[:, None].astype(np.float32) / np.float32(255)
    labels = read_idx(options.digits / "t10k-labels-idx1-ubyte")
    name, reference = by_ort(options.model, images)
    compiling = ["--ternarise=detected", "--input-shape=Nx1x28x28"]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        np.savez(scratch / "in.npz", **{name: images})
        print(call([twnc, options.model, "-o", scratch / "model.bin", *compiling]), end="")
        call([twnc, "run", scratch / "model.bin", "-i", scratch / "in.npz", "-o", scratch / "out.npz"])
        (ours,) = np.load(scratch / "out.npz").values()
    layers = json.loads(call([twnc, "inspect", options.model, *compiling, "--dim=N=1", "--json"]))["layers"]
    for layer in layers:
        print(f"layer {layer['name']}: {layer['in_file']}: {layer['recognised'] or 'NOT TERNARY: ' + layer['why_not']}")
    same = (reference.argmax(1) == ours.argmax(1)).sum()
    for who, outputs in (("ONNX Runtime", reference), ("twnc", ours)):
        right = (outputs.argmax(1) == labels).sum()
        print(f"{who}: {right} of {len(labels)} right ({100 * right / len(labels):.2f}%)")
    print(f"the same class: {same} of {len(labels)}; largest difference {np.abs(reference - ours).max():.3g}")
    sys.exit(0 if same == len(labels) else 1)


if __name__ == "__main__":
    main()
