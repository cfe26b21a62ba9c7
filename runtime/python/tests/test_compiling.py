"""The command's work as functions, in memory and in files."""

import json
import os
import pathlib
import pickle
import tempfile
import unittest

from fixtures import FLOAT, TERNARY, images, labels

import twnc


class Proto:
    """What an `onnx.ModelProto` is for `twnc.compile`."""

    def SerializeToString(self):
        return TERNARY.read_bytes()


class Compiling(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_path_bytes_and_proto_give_the_same_model(self):
        by_path = twnc.compile(TERNARY)
        self.assertEqual(twnc.compile(TERNARY.read_bytes()).model, by_path.model)
        self.assertEqual(twnc.compile(Proto()).model, by_path.model)
        path = self.folder / "model.bin"
        written = twnc.compile(TERNARY, path)
        self.assertEqual((written.model, written.path), (None, str(path)))
        self.assertEqual(path.read_bytes(), by_path.model)
        self.assertEqual(written.session().get_outputs()[0].name, "logits")

    def test_bare_names_are_files(self):
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        pathlib.Path("train").write_bytes(TERNARY.read_bytes())
        twnc.compile("train", "-o")
        self.assertEqual(pathlib.Path("-o").read_bytes(), twnc.compile(TERNARY).model)

    def test_the_report_is_an_object(self):
        compiled = twnc.compile(TERNARY)
        self.assertEqual(compiled.report.bytes, len(compiled.model))
        self.assertEqual([layer.ternary for layer in compiled.report.layers].count(True), 3)
        self.assertLess(compiled.report.totals.multiplications, 20_000)
        self.assertIsNone(twnc.compile(TERNARY, report=None).report)
        page = self.folder / "report.json"
        self.assertIsNone(twnc.compile(TERNARY, report=page).report)
        self.assertEqual(json.loads(page.read_text())["bytes"], len(compiled.model))

    def test_options_are_the_commands(self):
        kept = twnc.compile(FLOAT, ternarise="all", keep=["*"])
        self.assertEqual(kept.summary["rounded_layers"], 0)
        fixed = twnc.compile(TERNARY, input_shape={"image": (4, 1, 28, 28)})
        self.assertEqual(fixed.session().get_inputs()[0].shape, [4, 1, 28, 28])
        named = twnc.compile(TERNARY, dim={"N": 2})
        self.assertEqual(named.session().get_inputs()[0].shape, [2, 1, 28, 28])
        with self.assertRaisesRegex(twnc.OptionError, "colour"):
            twnc.compile(TERNARY, colour="red")

    def test_warnings_are_logged(self):
        with self.assertLogs("twnc", "WARNING"):
            twnc.compile(FLOAT, ternarise="all")

    def test_repair_uses_arrays(self):
        steps = []
        compiled = twnc.calibrate(
            FLOAT,
            {"image": images()[:64]},
            ternarise="all",
            fine_tune="none",
            progress=lambda what, done, total: steps.append((what, done, total)),
        )
        self.assertGreater(compiled.summary["rounded_layers"], 0)
        self.assertEqual({what for what, _, _ in steps}, {"fitting layers"})
        self.assertEqual([done for _, done, _ in steps], sorted(done for _, done, _ in steps))
        self.assertLess(steps[0][1], steps[-1][1])
        comparison = twnc.compare(FLOAT, compiled.model, {"image": images()}, labels())
        self.assertEqual(comparison.samples, 500)
        self.assertGreater(comparison.top1, 0.9)

    def test_comparisons_can_fail(self):
        data = {"image": images()[:50]}
        same = twnc.compare(TERNARY, twnc.compile(TERNARY).model, data, min_agreement=1)
        self.assertEqual((same.agreement, same.top1), (1.0, None))
        with self.assertRaises(twnc.ComparisonError):
            twnc.compare(FLOAT, twnc.compile(FLOAT, ternarise="all").model, data, min_agreement=1)

    def test_training_gives_a_network_and_can_be_stopped(self):
        samples, classes = {"image": images()[:64]}, labels()[:64]
        trained = twnc.train(TERNARY, samples, classes, epochs=1)
        self.assertEqual(len(twnc.InferenceSession(trained.model).get_inputs()), 1)

        def stop(what, done, total):
            raise RuntimeError(f"enough {what}")

        with self.assertRaisesRegex(RuntimeError, "enough training"):
            twnc.train(TERNARY, samples, classes, epochs=1000, progress=stop)

    def test_inspection_tells_of_models_and_of_files(self):
        of_file, of_model = twnc.inspect(TERNARY), twnc.inspect(twnc.compile(TERNARY).model)
        self.assertEqual([layer.name for layer in of_file.layers], [layer.name for layer in of_model.layers])

    def test_errors_say_where_and_travel(self):
        with self.assertRaises(twnc.ModelError) as caught:
            twnc.compile(b"this is no network")
        self.assertEqual(caught.exception.file, "<memory>/model.onnx")
        copy = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual((type(copy), str(copy), copy.file), (twnc.ModelError, str(caught.exception), caught.exception.file))
        with self.assertRaises(ValueError):
            twnc.compile("no such file.onnx")
        for samples in ({"picture": images()[:8]}, {}, {"image": "text"}):
            with self.subTest(samples=samples.keys()), self.assertRaises(twnc.TwncError):
                twnc.calibrate(FLOAT, samples, ternarise="all")

    def test_every_error_is_a_twnc_error(self):
        for name in twnc.errors.__all__:
            self.assertTrue(issubclass(getattr(twnc, name), twnc.TwncError), name)


if __name__ == "__main__":
    unittest.main()
