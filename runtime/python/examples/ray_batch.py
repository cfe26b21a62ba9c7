"""Runs a model over more inputs than one process should take, with Ray Data: a process for each core, each of which loads the model once.

    python ray_batch.py MODEL INPUTS OUT.npz [--workers N] [--batch N] [--address ADDRESS]

INPUTS is a table or a folder:

    X.npz          an array for each input of the model, by its name, whose first axis counts samples
    TABLE.parquet  a column for each input, one sample a row; a folder of such files serves too
    FOLDER         images (png, jpg), in the order of their names: of the size of the model's one input, numbers from 0 to 1, channels first

OUT.npz gets an array for each output, in the order of the inputs. A worker that dies is started again by Ray, and its batches are
computed again. Needs `ray[data]`; images need `pillow` too.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from typing import Any

import numpy
import ray
import ray.data

import twnc

Batch = dict[str, numpy.ndarray]

#: How many tasks read at a time, where something is read that is not in memory. Each takes one of Ray's cores, which workers must leave.
READERS = 2


class Worker:
    """A process's session, on one thread. A call runs a batch: columns of the model's inputs become those of its outputs, others stay."""

    def __init__(self, model: bytes) -> None:
        options = twnc.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = twnc.InferenceSession(model, options)
        self.inputs = [port.name for port in self.session.get_inputs()]
        self.outputs = [port.name for port in self.session.get_outputs()]

    def __call__(self, batch: Batch) -> Batch:
        feeds = {name: batch.pop(name) for name in self.inputs}
        return batch | dict(zip(self.outputs, self.session.run(self.outputs, feeds)))


def infer(inputs: ray.data.Dataset, model: bytes, workers: int, batch: int, worker: type[Worker] = Worker) -> ray.data.Dataset:
    """What a compiled model makes of a data set whose columns are its inputs, row by row in the order of the inputs."""
    inputs.context.execution_options.preserve_order = True
    pool = ray.data.ActorPoolStrategy(size=workers)
    return inputs.map_batches(
        worker, fn_constructor_args=[model], compute=pool, batch_size=batch, zero_copy_batch=False, udf_modifying_row_count=False
    )


def compiled(path: pathlib.Path) -> bytes:
    """A model.bin as it is; an ONNX file is compiled once, here, and not by each worker."""
    return twnc.InferenceSession(path).to_bytes()


def read(path: pathlib.Path, model: bytes, batch: int) -> ray.data.Dataset:
    """The data set that a table or a folder is."""
    if path.suffix == ".npz":
        with numpy.load(path) as arrays:
            return rows(dict(arrays), batch)
    if path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet"))):
        return ray.data.read_parquet(str(path), concurrency=READERS)
    return images(path, model)


def rows(arrays: Batch, batch: int) -> ray.data.Dataset:
    """The rows of arrays, which lie in Ray's memory once on each machine; workers are sent the numbers of rows, and read these there."""
    counts = {len(array) for array in arrays.values()}
    if len(counts) != 1:
        raise SystemExit(f"the arrays have {sorted(counts)} rows; they must have as many")
    count, shared = counts.pop(), ray.put(arrays)

    def pick(numbers: Batch) -> Batch:
        return {name: array[numbers["data"]] for name, array in ray.get(shared).items()}

    numbers = [numpy.arange(start, min(start + batch, count)) for start in range(0, count, batch)]
    return ray.data.from_numpy(numbers).map_batches(pick, batch_size=batch)


def images(folder: pathlib.Path, model: bytes) -> ray.data.Dataset:
    """The images of a folder, as the one input of a model that takes images with channels first."""
    ports = twnc.InferenceSession(model).get_inputs()
    if len(ports) != 1 or len(ports[0].shape) != 4 or not all(isinstance(size, int) for size in ports[0].shape[1:]):
        raise SystemExit(f"the model's inputs are {[(port.name, port.shape) for port in ports]}; images need one, [N, channels, height, width]")
    name, (_, channels, height, width) = ports[0].name, ports[0].shape
    files = sorted(str(path) for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not files:
        raise SystemExit(f"{folder} has neither images nor Parquet files")

    def prepare(batch: Batch) -> Batch:
        pixels = batch["image"].reshape(-1, height, width, channels)
        return {name: numpy.ascontiguousarray(pixels.transpose(0, 3, 1, 2), numpy.float32) / 255}

    pictures = ray.data.read_images(files, size=(height, width), mode="L" if channels == 1 else "RGB", concurrency=READERS)
    return pictures.map_batches(prepare)


def collect(outputs: ray.data.Dataset) -> Batch:
    """All rows in memory, an array for each column."""
    batches = list(outputs.iter_batches(batch_size=None))
    return {name: numpy.concatenate([batch[name] for batch in batches]) for name in batches[0]} if batches else {}


def start(address: str | None, workers: int, **options: Any) -> None:
    """Joins a cluster, or starts one of this machine: a core for each worker, and more, which are only numbers, for what reads."""
    options = {"log_to_driver": False, **options}
    if address is None:
        ray.init(num_cpus=workers + READERS, include_dashboard=False, **options)
    else:
        ray.init(address=address, **options)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model", type=pathlib.Path, help="a model.bin, or an ONNX file")
    arguments.add_argument("inputs", type=pathlib.Path, help="a table or a folder of inputs")
    arguments.add_argument("out", type=pathlib.Path, help="an .npz for the outputs")
    arguments.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes, each with one thread (default: the cores of this machine)")
    arguments.add_argument("--batch", type=int, default=64, help="samples that a worker computes at a time (default: %(default)s)")
    arguments.add_argument("--address", help="a cluster to run on, of which workers leave two cores for what reads; without it, one is started here")
    options = arguments.parse_args()
    if options.workers < 1 or options.batch < 1:
        arguments.error("--workers and --batch are at least 1")
    model = compiled(options.model)
    start(options.address, options.workers)
    outputs = collect(infer(read(options.inputs, model, options.batch), model, options.workers, options.batch))
    numpy.savez(options.out, **outputs)
    for name, array in outputs.items():
        print(f"{name}: {array.dtype}{list(array.shape)}")


if __name__ == "__main__":
    main()
