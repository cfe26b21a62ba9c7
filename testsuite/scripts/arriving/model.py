"""What the fixtures are made of: a model, weights for it, and the engine that runs it."""

import sys

import numpy as np
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

FIXTURES = {}


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


def some(*shape):
    return Model([]).trits(*shape)


def normal(*shape):
    return Model([]).random.standard_normal(shape)


def ort(model, inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]
