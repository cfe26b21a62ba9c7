"""The script of the tutorial, as its page has it."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import twnc

from fixtures import SUITE

PAGE = SUITE.parent / "docs" / "tutorials" / "float-network.md"


class Tutorial(unittest.TestCase):
    def test_a_repaired_network_classifies(self):
        page = PAGE.read_text(encoding="utf-8")
        # The block behind the line that names the file.
        script = page.split("`classify.py`:\n\n```python\n")[1].split("```\n")[0]
        shown = page.split("$ python3 classify.py")[1].split("\n")[1]
        with tempfile.TemporaryDirectory() as folder:
            network = PAGE.with_suffix("")
            options = {"fine_tune": "none", "output": pathlib.Path(folder, "digits.bin")}
            twnc.calibrate(network / "digits.onnx", network / "calibration.npz", **options)
            images = SUITE / "data" / "mnist-500.npz"
            done = subprocess.run([sys.executable, "-c", script, images], cwd=folder, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout.strip()), (0, shown), done.stderr)


if __name__ == "__main__":
    unittest.main()
