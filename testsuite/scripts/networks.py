"""What the scripts share: the commands built from this repository, shapes and seeded inputs of an ONNX network.

A shape override is written as twnc takes it: `[NAME:]1x3x224x224`; a named dimension's size as `NAME=2`. A dimension
that stays open is 1, as in `twnc bench`.
"""

import json
import pathlib
import subprocess

import numpy as np
import onnx

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


class Failed(Exception):
    """A command or a runtime did not accept a network; the message says which and why."""


def build():
    """Builds the commands `twnc` and `testsuite` in release mode and returns their paths."""
    command = ["cargo", "build", "--release", "--quiet", "-p", "twnc", "-p", "testsuite"]
    if subprocess.run(command, cwd=REPOSITORY).returncode != 0:
        raise SystemExit("the commands do not build")
    command = ["cargo", "metadata", "--format-version=1", "--no-deps"]
    metadata = json.loads(call(command, cwd=REPOSITORY))
    release = pathlib.Path(metadata["target_directory"]) / "release"
    return release / "twnc", release / "testsuite"


def call(command, **options):
    """Runs a command and returns what it printed."""
    command = [str(part) for part in command]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        program = pathlib.Path(command[0]).name
        raise Failed(f"{program}: exit code {done.returncode}: {' '.join(done.stderr.split())[:400]}")
    return done.stdout


class Network:
    """An ONNX file with the shapes that it is to be run with."""

    def __init__(self, path, shapes=(), dims=()):
        self.model = onnx.load(path)
        self.sizes = {name: int(size) for name, size in (dim.split("=", 1) for dim in dims)}
        constants = {tensor.name for tensor in self.model.graph.initializer}
        self.inputs = [value for value in self.model.graph.input if value.name not in constants]
        for shape in shapes:
            self._override(shape)

    def random_inputs(self, seed):
        """Floats are normal, integers 0 or 1 (which every embedding and mask accepts), booleans either."""
        random = np.random.default_rng(seed)
        return {value.name: self._random(value, random) for value in self.inputs}

    def serialized(self):
        return self.model.SerializeToString()

    def _override(self, text):
        name, _, sizes = text.rpartition(":")
        found = [value for value in self.inputs if value.name == name or not name]
        if len(found) != 1:
            names = ", ".join(value.name for value in self.inputs)
            raise SystemExit(f"--input-shape {text}: name one of the inputs: {names}")
        shape = onnx.helper.make_tensor_type_proto(
            found[0].type.tensor_type.elem_type,
            [int(size) if size.isdigit() else size for size in sizes.split("x")],
        )
        found[0].type.CopyFrom(shape)
        # What was inferred from the declared shape holds no longer.
        del self.model.graph.value_info[:]
        for output in self.model.graph.output:
            output.type.tensor_type.ClearField("shape")

    def _random(self, value, random):
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        shape = [d.dim_value if d.dim_value > 0 else self.sizes.get(d.dim_param, 1) for d in dims]
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if np.issubdtype(kind, np.floating):
            return random.standard_normal(shape).astype(kind)
        return random.integers(0, 2, shape).astype(kind)
