"""What sessions refuse, with which error, and what they accept without minding it."""

import unittest

import numpy
from fixtures import FLOAT, TERNARY, images

import twnc


class Refusals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = twnc.compile(TERNARY).model
        cls.session = twnc.InferenceSession(cls.model)
        cls.images = images()[:8]
        cls.expected = cls.session.run(None, {"image": cls.images})[0]

    def test_wrong_inputs_are_named(self):
        x = self.images
        for error, feeds in [
            (twnc.UnknownInputError, {"image": x, "picture": x}),
            (twnc.MissingInputError, {}),
            (twnc.InputShapeError, {"image": x[0]}),
            (twnc.ElementError, {"image": x.astype(numpy.float64)}),
            (twnc.ElementError, {"image": x.astype(">f4")}),
            (twnc.ElementError, {"image": x.astype(numpy.int32)}),
            (twnc.ElementError, {"image": "a string"}),
        ]:
            with self.subTest(error=error), self.assertRaisesRegex(error, "image|picture"):
                self.session.run(None, feeds)
        with self.assertRaises(TypeError):
            self.session.run(None, {1: x})

    def test_wrong_outputs_are_named(self):
        feeds = {"image": self.images}
        with self.assertRaisesRegex(twnc.OutputError, "scores.*logits"):
            self.session.run(["scores"], feeds)
        read_only = numpy.empty((8, 10), numpy.float32)
        read_only.flags.writeable = False
        for error, outputs in [
            (twnc.OutputError, {}),
            (twnc.OutputError, {"logits": read_only}),
            (twnc.OutputError, {"logits": numpy.empty((10, 8), numpy.float32).T}),
            (twnc.OutputError, {"logits": numpy.empty((8, 10), numpy.float32), "scores": read_only}),
            (twnc.OutputShapeError, {"logits": numpy.empty((7, 10), numpy.float32)}),
            (twnc.ElementError, {"logits": numpy.empty((8, 10), numpy.int32)}),
        ]:
            with self.subTest(error=error), self.assertRaisesRegex(error, "logits|scores"):
                self.session.run_into(feeds, outputs)

    def test_wrong_models_and_options_are_refused(self):
        damaged = bytearray(self.model)
        damaged[len(damaged) // 2] ^= 1
        for source in (b"", b"nothing", damaged, self.model[:100], 10**12, None):
            with self.assertRaises(twnc.ModelError):
                twnc.InferenceSession(source)
        with self.assertRaises(FileNotFoundError):
            twnc.InferenceSession("no such file.onnx")
        with self.assertRaisesRegex(twnc.OptionError, "ternarise"):
            twnc.InferenceSession(self.model, ternarise="all")
        options = twnc.SessionOptions()
        options.backend = "gpu"
        with self.assertRaisesRegex(twnc.BackendError, "interpreter"):
            twnc.InferenceSession(self.model, options)
        with self.assertWarnsRegex(UserWarning, "CUDAExecutionProvider"):
            twnc.InferenceSession(self.model, providers=["CUDAExecutionProvider"])

    def test_a_limit_of_memory_holds(self):
        options = twnc.SessionOptions()
        options.max_memory = 10_000
        with self.assertRaises(twnc.LimitError):
            twnc.InferenceSession(self.model, options).run(None, {"image": self.images})

    def test_float_layers_stay_float(self):
        session = twnc.InferenceSession(FLOAT)
        report = twnc.inspect(session.to_bytes())
        self.assertEqual([layer.ternary for layer in report.layers], [False] * len(report.layers))

    def test_any_strides_are_read(self):
        wide = numpy.zeros((8, 1, 28, 56), numpy.float32)
        wide[..., ::2] = self.images
        for view in (wide[..., ::2], numpy.asfortranarray(self.images), self.images[::-1][::-1]):
            numpy.testing.assert_array_equal(self.session.run(None, {"image": view})[0], self.expected)
        raw = numpy.zeros(self.images.nbytes + 1, numpy.uint8)
        unaligned = raw[1:].view(numpy.float32).reshape(self.images.shape)
        unaligned[...] = self.images
        numpy.testing.assert_array_equal(self.session.run(None, {"image": unaligned})[0], self.expected)

    def test_the_number_of_threads_changes_no_bit(self):
        for threads in (1, 3):
            options = twnc.SessionOptions()
            options.intra_op_num_threads = threads
            session = twnc.InferenceSession(self.model, options)
            numpy.testing.assert_array_equal(session.run(None, {"image": self.images})[0], self.expected)

    def test_a_binding_uses_its_arrays_again(self):
        binding = self.session.io_binding()
        binding.bind_cpu_input("image", self.images)
        binding.bind_output("logits")
        self.session.run_with_iobinding(binding)
        first = binding.copy_outputs_to_cpu()[0]
        numpy.testing.assert_array_equal(first, self.expected)
        first[...] = 0
        self.session.run_with_iobinding(binding)
        self.assertIs(binding.copy_outputs_to_cpu()[0], first)
        numpy.testing.assert_array_equal(first, self.expected)
        # Another shape: an array of the binding's is exchanged, one of the caller's is not.
        binding.bind_cpu_input("image", self.images[:3])
        self.session.run_with_iobinding(binding)
        numpy.testing.assert_allclose(binding.copy_outputs_to_cpu()[0], self.expected[:3], rtol=1e-5, atol=1e-5)
        binding.bind_output("logits", array=numpy.empty((8, 10), numpy.float32))
        with self.assertRaisesRegex(twnc.OutputShapeError, "logits"):
            self.session.run_with_iobinding(binding)
        with self.assertRaisesRegex(twnc.OutputError, "cuda"):
            binding.bind_output("logits", "cuda")

    def test_options_of_onnxruntime_may_be_set(self):
        options = twnc.SessionOptions()
        options.graph_optimization_level = twnc.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = twnc.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.load_model_format", "ONNX")
        session = twnc.InferenceSession(self.model, options)
        self.assertEqual(session.get_session_options().graph_optimization_level, 99)
        self.assertEqual(session.get_providers(), twnc.get_available_providers())


if __name__ == "__main__":
    unittest.main()
