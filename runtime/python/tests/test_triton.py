"""examples/triton, with a stand-in for what Triton gives its Python backend."""

import importlib.util
import pathlib
import re
import shutil
import sys
import tempfile
import types
import unittest
from unittest import mock

import numpy
from fixtures import TERNARY, images

import twnc

REPOSITORY = pathlib.Path(__file__).resolve().parents[1] / "examples" / "triton"
TYPES = {"tensor(float)": "TYPE_FP32"}


class Tensor:
    def __init__(self, name, array):
        self.name, self.array = name, array

    def as_numpy(self):
        return self.array


class InferenceResponse:
    def __init__(self, output_tensors=(), error=None):
        self.output_tensors, self.error = output_tensors, error


def utils():
    """The part of `triton_python_backend_utils` that the example uses; a request is a dictionary of arrays."""
    module = types.ModuleType("triton_python_backend_utils")
    module.Tensor, module.InferenceResponse, module.TritonError = Tensor, InferenceResponse, str
    module.get_input_tensor_by_name = lambda request, name: Tensor(name, request[name])
    return module


class Triton(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name) / "lenet5"
        shutil.copytree(REPOSITORY / "lenet5", self.folder)
        twnc.compile(TERNARY, self.folder / "1" / "model.bin")
        spec = importlib.util.spec_from_file_location("served", self.folder / "1" / "model.py")
        module = importlib.util.module_from_spec(spec)
        with mock.patch.dict(sys.modules, triton_python_backend_utils=utils()):
            spec.loader.exec_module(module)
        self.model = module.TritonPythonModel()
        self.model.initialize({"model_repository": str(self.folder), "model_version": "1"})

    def test_each_request_is_answered(self):
        pixels = images()[:5]
        wrong = {"image": numpy.zeros((1, 1, 28, 27), numpy.float32)}
        answers = self.model.execute([{"image": pixels[:2]}, wrong, {"image": pixels[2:]}])
        self.assertIn("27", answers[1].error)
        expected = twnc.InferenceSession(TERNARY).run(None, {"image": pixels})[0]
        found = [answer.output_tensors[0] for answer in (answers[0], answers[2])]
        self.assertEqual([tensor.name for tensor in found], ["logits"] * 2)
        found = numpy.concatenate([tensor.as_numpy() for tensor in found])
        numpy.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)

    def test_the_configuration_is_the_models(self):
        text = (self.folder / "config.pbtxt").read_text()
        described = re.findall(r'name: "(\w+)" data_type: (\w+) dims: \[ ([\d, ]+) \]', text)
        described = [(name, kind, [int(size) for size in sizes.split(",")]) for name, kind, sizes in described]
        ports = self.model.session.get_inputs() + self.model.session.get_outputs()
        self.assertEqual(described, [(port.name, TYPES[port.type], port.shape[1:]) for port in ports])
        self.assertEqual(re.findall(r'^name: "(\w+)"', text, re.M), [self.folder.name])
