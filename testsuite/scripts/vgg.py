#!/usr/bin/env python3
"""Writes the networks that docs/accuracy.md trains on Fashion-MNIST and CIFAR-10, with seeded weights.

    vgg.py OUT.onnx [--widths 32,64,96] [--hidden N] [--image 1x28x28] [--classes 10]

A VGG: for each width two 3x3 convolutions, each with a batch norm and a relu behind it, then a max pool of 2x2; at the end a linear layer, and before it, with --hidden,
another one with a batch norm and a relu (three widths and --hidden are VGG-7, the paper's network for CIFAR-10).
"""

import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def network(widths, hidden, image, classes, seed=0):
    random = np.random.default_rng(seed)
    nodes, constants = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    value, (channels, height, width) = "image", image
    def norm_relu(name, outputs):
        norm = [constant(f"{name}.{part}", fill(outputs)) for part, fill in (("gamma", np.ones), ("beta", np.zeros), ("mean", np.zeros), ("var", np.ones))]
        nodes.append(helper.make_node("BatchNormalization", [name, *norm], [f"{name}.bn"], name=f"{name}.bn"))
        nodes.append(helper.make_node("Relu", [f"{name}.bn"], [f"{name}.relu"], name=f"{name}.relu"))
        return f"{name}.relu"

    for block, outputs in enumerate(widths):
        for layer in range(2):
            name = f"block{block}.conv{layer}"
            weight = random.normal(0, np.sqrt(2 / (9 * channels)), (outputs, channels, 3, 3))
            nodes.append(helper.make_node("Conv", [value, constant(f"{name}.weight", weight)], [name], name=name, pads=[1, 1, 1, 1]))
            value, channels = norm_relu(name, outputs), outputs
        nodes.append(helper.make_node("MaxPool", [value], [f"block{block}.pool"], name=f"block{block}.pool", kernel_shape=[2, 2], strides=[2, 2]))
        value, height, width = f"block{block}.pool", height // 2, width // 2
    features = channels * height * width
    nodes.append(helper.make_node("Flatten", [value], ["flat"], name="flatten"))
    value = "flat"
    if hidden:
        weight = constant("hidden.weight", random.normal(0, np.sqrt(2 / features), (hidden, features)))
        nodes.append(helper.make_node("Gemm", [value, weight], ["hidden"], name="hidden", transB=1))
        value, features = norm_relu("hidden", hidden), hidden
    weight = constant("fc.weight", random.normal(0, np.sqrt(1 / features), (classes, features)))
    nodes.append(helper.make_node("Gemm", [value, weight, constant("fc.bias", np.zeros(classes))], ["logits"], name="fc", transB=1))
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *image])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])]
    graph = helper.make_graph(nodes, "vgg", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("target")
    arguments.add_argument("--widths", default="32,64,96")
    arguments.add_argument("--hidden", type=int, default=0)
    arguments.add_argument("--image", default="1x28x28")
    arguments.add_argument("--classes", type=int, default=10)
    options = arguments.parse_args()
    widths, image = [int(w) for w in options.widths.split(",")], [int(n) for n in options.image.split("x")]
    model = network(widths, options.hidden, image, options.classes)
    onnx.checker.check_model(model)
    onnx.save(model, options.target)


if __name__ == "__main__":
    main()
