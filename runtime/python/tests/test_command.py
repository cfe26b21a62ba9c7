"""`python -m twnc` is the command."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

from fixtures import TERNARY


def twnc(*arguments):
    return subprocess.run([sys.executable, "-m", "twnc", *map(str, arguments)], capture_output=True, text=True)


class Command(unittest.TestCase):
    def test_it_compiles_and_inspects(self):
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder, "model.bin")
            done = twnc(TERNARY, "-o", model)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("3 ternary layers", done.stdout)
            layers = json.loads(twnc("inspect", model, "--json").stdout)["layers"]
            self.assertEqual(sum(layer["ternary"] for layer in layers), 3)

    def test_its_exit_codes_are_the_commands(self):
        self.assertEqual(twnc("--version").returncode, 0)
        self.assertEqual(twnc("--no-such-option").returncode, 2)
        self.assertEqual(twnc("no such file.onnx", "-o", "model.bin").returncode, 3)


if __name__ == "__main__":
    unittest.main()
