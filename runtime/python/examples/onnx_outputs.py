"""Runs ONNX models on noise with onnxruntime, and writes their outputs to a file.

    python onnx_outputs.py OUT.npz MODEL.onnx[@1x3x48x192]...

`measure.py` runs this script a second time with its import line changed.
"""

import pathlib
import sys

import numpy
import onnxruntime


def noise(random, port, shape):
    if port.type == "tensor(int64)":
        return random.integers(1, 1000, shape) if port.name.endswith("ids") else numpy.ones(shape, numpy.int64)
    return random.random(shape, numpy.float32)


def main():
    out, *models = sys.argv[1:]
    found = {}
    for model in models:
        path, _, shape = model.partition("@")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])
        random = numpy.random.default_rng(1)
        feeds = {}
        for port in session.get_inputs():
            sizes = [int(size) for size in shape.split("x")] if shape else port.shape
            feeds[port.name] = noise(random, port, sizes)
        names = [port.name for port in session.get_outputs()]
        for place, result in enumerate(session.run(names, feeds)):
            found[f"{pathlib.Path(path).stem}.{place}"] = result
    numpy.savez(out, **found)


if __name__ == "__main__":
    main()
