"""The engines of the benchmark: peers that run in this process, and twnc, which runs as it is shipped.

A further peer is a class with `name`, `floats` (whether it computes in float32 throughout), `version` and `load(work)`,
which gives a function that runs once, and a line in PEERS. Its package may be missing: then `__init__` raises
ImportError, and the benchmark goes on without it. What an engine cannot do at all, such as a second thread, raises
Unsuited; that is no failure.
"""

import dataclasses
import functools
import importlib.metadata
import json
import logging
import pathlib
import statistics
import time

from networks import Network, call


class Unsuited(Exception):
    """The engine is not made for this work."""


@dataclasses.dataclass(frozen=True)
class Work:
    """A network, with the sizes of its named dimensions (NAME=N; 1 without), on a number of threads."""

    path: pathlib.Path
    dims: tuple = ()
    threads: int = 1

    @functools.cached_property
    def network(self):
        return Network(self.path, dims=self.dims)

    def inputs(self, seed=0):
        return self.network.random_inputs(seed)

    def quantised(self):
        """The network in 8 bits, by ONNX Runtime's static quantisation: QDQ, a scale for each output channel of a weight,
        activations unsigned (the faster kind on x86), calibrated on four seeded random inputs: the time does not
        depend on the scales. Beside the network, made once."""
        target = self.path.with_suffix(".int8")
        if not target.exists():
            from onnxruntime import quantization
            from onnxruntime.quantization.shape_inference import quant_pre_process

            prepared = self.path.with_suffix(".prepared")
            logging.disable(logging.WARNING)
            quant_pre_process(str(self.path), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(target),
                Calibration(self.inputs(seed) for seed in range(4)),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                activation_type=quantization.QuantType.QUInt8,
            )
            logging.disable(logging.NOTSET)
        return target


class Calibration:
    """Inputs as ONNX Runtime's quantisation asks for them."""

    def __init__(self, inputs):
        self.inputs = iter(inputs)

    def get_next(self):
        return next(self.inputs, None)


class OnnxRuntime:
    """ONNX Runtime, float, with its default optimisations."""

    name, floats = "ORT f32", True

    def __init__(self):
        import onnxruntime

        self.runtime = onnxruntime
        self.version = f"onnxruntime {onnxruntime.__version__}"

    def load(self, work):
        return self.start(work.path, work)

    def start(self, path, work):
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = work.threads
        options.inter_op_num_threads = 1
        session = self.runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = work.inputs()
        return lambda: session.run(None, inputs)


class OnnxRuntimeInt8(OnnxRuntime):
    """ONNX Runtime on the network quantised to 8 bits."""

    name, floats = "ORT int8", False

    def load(self, work):
        return self.start(work.quantised(), work)


class OpenVino:
    """OpenVINO, for latency. It is told to compute in f32: left alone, it takes bfloat16 where the processor has it."""

    name, floats = "OpenVINO f32", True
    precision = {"INFERENCE_PRECISION_HINT": "f32"}

    def __init__(self):
        import openvino

        self.core = openvino.Core()
        self.version = f"openvino {importlib.metadata.version('openvino')}"

    def load(self, work):
        return self.start(work.path, work)

    def start(self, path, work):
        inputs = work.inputs()
        model = self.core.read_model(path.read_bytes())
        model.reshape({name: list(array.shape) for name, array in inputs.items()})
        options = {"INFERENCE_NUM_THREADS": work.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        request = self.core.compile_model(model, "CPU", options | self.precision).create_infer_request()
        return lambda: request.infer(inputs)


class OpenVinoInt8(OpenVino):
    """OpenVINO on the network quantised to 8 bits; what stays float is as it likes, bfloat16 too."""

    name, floats, precision = "OpenVINO int8", False, {}

    def load(self, work):
        return self.start(work.quantised(), work)


class Tract:
    """tract, float, optimised for the sizes of the work's inputs. It has no threads inside of a run."""

    name, floats = "tract", True

    def __init__(self):
        import tract

        self.tract = tract
        self.version = f"tract {tract.version()}"

    def load(self, work):
        if work.threads != 1:
            raise Unsuited("a run has one thread")
        model = self.tract.onnx().load(str(work.path))
        arrays = list(work.inputs().values())
        for number, array in enumerate(arrays):
            kind = f"{array.dtype.kind}{array.dtype.itemsize * 8}"
            model.set_input_fact(number, ",".join([*map(str, array.shape), kind]))
        runnable = model.into_model().into_runnable()
        return lambda: runnable.run(arrays)


PEERS = {"ort": OnnxRuntime, "ort8": OnnxRuntimeInt8, "ov": OpenVino, "ov8": OpenVinoInt8, "tract": Tract}


class InProcess:
    """Rounds of a peer that runs in this process."""

    def __init__(self, peer, work):
        self.run = peer.load(work)
        self.run()

    def round(self, seconds):
        times, end = [], time.perf_counter() + seconds
        while len(times) < 5 or time.perf_counter() < end:
            start = time.perf_counter()
            self.run()
            times.append((time.perf_counter() - start) * 1e3)
        return {"median_ms": statistics.median(times), "min_ms": min(times), "runs": len(times)}


class Twnc:
    """Rounds of our own command, a process each: the runtime as it is shipped."""

    def __init__(self, command, work, compiled, options):
        self.command, self.work, self.compiled = command, work, compiled
        call([command, work.path, "-o", compiled, *options])
        self.median = self._bench(runs=5)["median_ms"]

    def round(self, seconds):
        result = self._bench(runs=max(5, min(100_000, int(seconds * 1e3 / max(self.median, 1e-4)))))
        self.median = result["median_ms"]
        return result

    def _bench(self, runs):
        sizes = [f"--dim={dim}" for dim in self.work.dims]
        command = [self.command, "bench", self.compiled, "--json", "--threads", self.work.threads, "--runs", runs, *sizes]
        return json.loads(call(command))


# Our variants: column, and the options of a compilation. Another mode is another line.
OURS = {"twnc f32": [], "twnc int": ["--activations", "int"]}
