"""examples/ray_batch.py on a cluster of this machine. Skipped where ray is not installed."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

import numpy
from fixtures import TERNARY, images

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

try:
    import ray
    import ray_batch
except ImportError as error:
    raise unittest.SkipTest(f"{error}: install ray[data]")


class Batches(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = ray_batch.compiled(TERNARY)
        cls.images = images()[:300]
        worker, parts = ray_batch.Worker(cls.model), [cls.images[i : i + 32] for i in range(0, 300, 32)]
        cls.expected = numpy.concatenate([worker({"image": part})["logits"] for part in parts])
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        # Workers have their module from here: it is no package that is installed.
        ray.cloudpickle.register_pickle_by_value(ray_batch)
        ray_batch.start(None, 2)
        ray.data.DataContext.get_current().enable_progress_bars = False

    @classmethod
    def tearDownClass(cls):
        ray.shutdown()
        cls.folder.cleanup()

    def infer(self, inputs, workers=2, worker=ray_batch.Worker):
        return ray_batch.collect(ray_batch.infer(inputs, self.model, workers, 32, worker))

    def test_an_npz_comes_back_in_order(self):
        numpy.savez(self.path / "x.npz", image=self.images)
        for workers in (1, 2):
            found = self.infer(ray_batch.read(self.path / "x.npz", self.model, 32), workers)
            self.assertEqual(list(found), ["logits"])
            self.assertTrue(numpy.array_equal(found["logits"], self.expected))

    def test_a_table_keeps_its_other_columns(self):
        numbers = numpy.arange(100)
        table = ray_batch.rows({"image": self.images[:100], "number": numbers}, 32)
        table.write_parquet(str(self.path / "table"))
        found = self.infer(ray_batch.read(self.path / "table", self.model, 32))
        self.assertTrue(numpy.array_equal(numpy.sort(found["number"]), numbers))
        # Batches are cut elsewhere, and another batch may be summed in another order.
        numpy.testing.assert_allclose(found["logits"], self.expected[found["number"]], rtol=1e-3, atol=1e-4)

    def test_a_folder_of_images(self):
        try:
            from PIL import Image
        except ImportError as error:
            self.skipTest(f"{error}: install pillow")
        (self.path / "digits").mkdir()
        for i, image in enumerate(self.images[:40]):
            pixels = Image.fromarray(numpy.uint8(numpy.round(image[0] * 255)))
            pixels.save(self.path / "digits" / f"{i:03}.png")
        found = self.infer(ray_batch.read(self.path / "digits", self.model, 32))
        numpy.testing.assert_allclose(found["logits"], self.expected[:40], rtol=1e-3, atol=1e-4)

    def test_what_a_killed_worker_had_is_computed_again(self):
        mark = self.path / "killed"

        class Dying(ray_batch.Worker):
            def __call__(self, batch):
                self.calls = getattr(self, "calls", 0) + 1
                if self.calls == 2 and not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().__call__(batch)

        found = self.infer(ray_batch.rows({"image": self.images}, 32), worker=Dying)
        self.assertTrue(mark.exists())
        self.assertTrue(numpy.array_equal(found["logits"], self.expected))

    def test_what_cannot_be_read_is_refused(self):
        (self.path / "empty").mkdir()
        with self.assertRaisesRegex(SystemExit, "neither images nor Parquet"):
            ray_batch.read(self.path / "empty", self.model, 32)
        with self.assertRaisesRegex(SystemExit, "rows"):
            ray_batch.rows({"image": self.images, "number": numpy.arange(3)}, 32)
        said = subprocess.run([sys.executable, EXAMPLES / "ray_batch.py", "--help"], capture_output=True, text=True)
        self.assertIn("--workers", said.stdout)
