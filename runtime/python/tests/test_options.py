"""What `twnc.compile` takes: names, options, reports; what it logs and how its errors travel."""

import json
import os
import pathlib
import pickle
import tempfile
import unittest

from fixtures import FLOAT, TERNARY, images

import twnc


class Options(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

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
