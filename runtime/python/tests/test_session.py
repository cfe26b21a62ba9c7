"""Sessions over numpy's arrays, as onnxruntime's behave."""

import pathlib
import pickle
import tempfile
import threading
import unittest

import numpy
from fixtures import TERNARY, images, labels

import twnc


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.session = twnc.InferenceSession(TERNARY)
        cls.images, cls.labels = images(), labels()

    def test_ports_are_described(self):
        (image,), (logits,) = self.session.get_inputs(), self.session.get_outputs()
        self.assertEqual((image.name, image.shape, image.type), ("image", ["N", 1, 28, 28], "tensor(float)"))
        self.assertEqual((logits.name, logits.shape, logits.type), ("logits", ["N", 10], "tensor(float)"))

    def test_classes_are_right(self):
        (logits,) = self.session.run(None, {"image": self.images})
        self.assertGreaterEqual((logits.argmax(1) == self.labels).sum(), 495)

    def test_outputs_are_used_again(self):
        expected = self.session.run(None, {"image": self.images[:4]})[0]
        logits = numpy.empty((4, 10), numpy.float32)
        self.session.run_into({"image": self.images[:4]}, {"logits": logits})
        self.assertTrue(numpy.array_equal(logits, expected))
        with self.assertRaisesRegex(twnc.OutputShapeError, r"\[4, 10\]"):
            self.session.run_into({"image": self.images[:4]}, {"logits": numpy.empty((3, 10), numpy.float32)})
        with self.assertRaisesRegex(twnc.OutputError, "scattered"):
            self.session.run_into({"image": self.images[:4]}, {"logits": numpy.empty((4, 20), numpy.float32)[:, ::2]})

    def test_threads_of_python_share_a_session(self):
        expected = self.session.run(None, {"image": self.images[:50]})[0]
        found = []

        def run():
            found.extend(self.session.run(None, {"image": self.images[:50]})[0] for _ in range(10))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(found), 40)
        self.assertTrue(all(numpy.array_equal(logits, expected) for logits in found))

    def test_a_session_can_be_pickled(self):
        options = twnc.SessionOptions()
        options.intra_op_num_threads = 1
        session = pickle.loads(pickle.dumps(twnc.InferenceSession(TERNARY, options)))
        self.assertEqual(session.get_session_options().intra_op_num_threads, 1)
        expected = self.session.run(None, {"image": self.images[:3]})[0]
        self.assertTrue(numpy.array_equal(session.run(None, {"image": self.images[:3]})[0], expected))

    def test_models_come_by_path_and_as_bytes(self):
        expected = self.session.run(None, {"image": self.images[:2]})[0]
        compiled = self.session.to_bytes()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.bin"
            path.write_bytes(compiled)
            for model in (compiled, bytearray(compiled), path, str(path), TERNARY.read_bytes()):
                session = twnc.InferenceSession(model, providers=["CPUExecutionProvider"])
                self.assertTrue(numpy.array_equal(session.run(None, {"image": self.images[:2]})[0], expected))
        for damaged in (compiled[:-1], compiled[:9] + b"\xff" + compiled[10:]):
            with self.assertRaises(twnc.ModelError):
                twnc.InferenceSession(damaged)
        with self.assertRaises(twnc.ModelError):
            twnc.InferenceSession(b"no model")
        with self.assertRaises(FileNotFoundError):
            twnc.InferenceSession("no such file.onnx")
        with self.assertRaisesRegex(twnc.OptionError, "compiled already"):
            twnc.InferenceSession(compiled, ternarise="all")

    def test_backends(self):
        expected = self.session.run(None, {"image": self.images[:2]})[0]
        options = twnc.SessionOptions()
        options.backend = "interpreter"
        session = twnc.InferenceSession(TERNARY, options)
        self.assertEqual(session.backend, "interpreter")
        numpy.testing.assert_allclose(session.run(None, {"image": self.images[:2]})[0], expected, 1e-3, 1e-3)
        options.backend = "abacus"
        with self.assertRaisesRegex(twnc.BackendError, "abacus"):
            twnc.InferenceSession(TERNARY, options)
        options.backend, options.max_memory = None, 1000
        with self.assertRaises(twnc.LimitError):
            twnc.InferenceSession(TERNARY, options).run(None, {"image": self.images[:2]})
        with self.assertWarnsRegex(UserWarning, "processor"):
            twnc.InferenceSession(TERNARY, providers=["CUDAExecutionProvider"])

    def test_errors_can_be_pickled(self):
        error = twnc.ModelError("it is damaged", file="a.onnx", node="conv", help="write it again")
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((str(again), again.file, again.node), (str(error), "a.onnx", "conv"))


if __name__ == "__main__":
    unittest.main()
