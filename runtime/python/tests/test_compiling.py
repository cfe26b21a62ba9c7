"""The command's work as functions: compiling, fitting, training, looking, comparing."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy
from fixtures import FLOAT, TERNARY, images, labels

import twnc


class Message:
    """What an onnx.ModelProto is to this package."""

    def SerializeToString(self):
        return FLOAT.read_bytes()


class Compiling(unittest.TestCase):
    def test_models_and_reports(self):
        compilation = twnc.compile(TERNARY)
        ternary = [layer.name for layer in compilation.report.layers if layer.ternary]
        self.assertEqual(len(ternary), 3)
        self.assertLess(len(compilation.model) * 12, TERNARY.stat().st_size)
        self.assertEqual(compilation.summary["rounded_layers"], 0)
        self.assertEqual(compilation.report.bytes, len(compilation.model))
        self.assertGreater(compilation.report.totals.additions, 0)

    def test_a_path_a_message_and_bytes_are_one_model(self):
        expected = twnc.compile(FLOAT, ternarise="all").model
        for model in (str(FLOAT), FLOAT.read_bytes(), memoryview(FLOAT.read_bytes()), Message()):
            self.assertEqual(twnc.compile(model, ternarise="all").model, expected)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.bin"
            compilation = twnc.compile(FLOAT, path, ternarise="all")
            self.assertIsNone(compilation.model)
            self.assertEqual(path.read_bytes(), expected)
            self.assertEqual(compilation.session().get_outputs()[0].name, "logits")

    def test_fitting_to_samples_saves_what_rounding_loses(self):
        pixels, classes = images(), labels()
        heard = []
        compilation = twnc.calibrate(
            FLOAT, {"image": pixels[:48]}, fine_tune="none", progress=lambda *what: heard.append(what)
        )
        right = compilation.session().run(None, {"image": pixels[200:]})[0].argmax(1) == classes[200:]
        self.assertGreaterEqual(right.mean(), 0.9)
        self.assertTrue(heard and all(done <= total for _, done, total in heard))
        # The last that is heard of any work is its end.
        ends = {what: (done, total) for what, done, total in heard}
        self.assertTrue(all(done == total > 0 for done, total in ends.values()), ends)
        comparison = twnc.compare(FLOAT, compilation.model, {"image": pixels[200:]}, classes[200:])
        self.assertEqual(comparison.samples, 300)
        self.assertAlmostEqual(comparison.top1, right.mean(), places=3)
        with self.assertLogs("twnc", "WARNING"):
            rounded = twnc.compile(FLOAT, ternarise="all").model
        with self.assertRaises(twnc.ComparisonError):
            twnc.compare(FLOAT, rounded, {"image": pixels[200:]}, min_agreement=0.99)

    def test_training_hears_and_stops(self):
        pixels, classes = images(), labels()
        steps = []
        training = twnc.train(FLOAT, {"image": pixels[:128]}, classes[:128], epochs=1, progress=lambda *what: steps.append(what))
        self.assertTrue(steps and steps[-1][1] == steps[-1][2], steps[-1:])
        self.assertEqual(len([layer for layer in twnc.inspect(training.model).layers if layer.ternary]), 4)

        class Enough(Exception):
            pass

        def stop(*_):
            raise Enough

        with self.assertRaises(Enough):
            twnc.train(FLOAT, {"image": pixels}, classes, epochs=50, progress=stop)

    def test_a_repair_stops_and_goes_on(self):
        pixels = images()[:40]
        repair = lambda **options: twnc.calibrate(FLOAT, {"image": pixels}, fine_tune=8, **options)
        expected = repair().model

        class Enough(Exception):
            pass

        def stop(what, done, total):
            if what == "fine-tuning" and done == 4:
                raise Enough

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "run.ckpt"
            with self.assertRaises(Enough):
                repair(checkpoint=path, progress=stop)
            heard = []
            resumed = repair(checkpoint=path, resume=True, progress=lambda *what: heard.append(what))
            self.assertEqual(resumed.model, expected)
            self.assertNotIn(("fine-tuning", 3, 8), heard)
            with self.assertRaisesRegex(twnc.OptionError, "is there already"):
                repair(checkpoint=path)

    def test_errors_name_file_and_remedy(self):
        with self.assertRaisesRegex(twnc.OptionError, "frobnicate"):
            twnc.compile(FLOAT, frobnicate=True)
        with self.assertRaises(twnc.ModelError):
            twnc.compile(b"nothing")
        with self.assertRaisesRegex(twnc.ModelError, "int is no model"):
            twnc.compile(1)
        with self.assertRaises(twnc.TwncError):
            twnc.compile(FLOAT, calibrate={"picture": numpy.zeros((1, 1, 28, 28), numpy.float32)})

    def test_the_command_is_a_module(self):
        command = [sys.executable, "-m", "twnc"]
        done = subprocess.run([*command, "inspect", str(TERNARY)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ternary", done.stdout)
        refused = subprocess.run([*command, "nothing.onnx", "-o", "x.bin"], capture_output=True, text=True)
        self.assertEqual(refused.returncode, 3)
        self.assertIn("nothing.onnx", refused.stderr)


if __name__ == "__main__":
    unittest.main()
