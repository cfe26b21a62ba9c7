"""The benchmark's tables of what happens before the first result: time, memory, compilation, sizes of files.

Every measurement is a process of its own, started by a small launcher: the system's count of the peak resident memory
begins at what the launcher has, not at what this process has.
"""

import json
import os
import statistics
import sys
import time

import numpy as np

from engines import OURS, Work
from networks import call

# Runs a command and prints the seconds it took, its peak of resident memory in bytes, and what it printed.
LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
out = child.stdout.read()
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - start
print(json.dumps({"ms": seconds * 1e3, "peak_bytes": usage.ru_maxrss * 1024, "out": out}))
sys.exit(status != 0)
"""

# ONNX Runtime from file to first result; only what it does is timed, not Python's imports.
ORT = """
import sys, time, json
import numpy as np, onnxruntime
if len(sys.argv) > 1:
    inputs = dict(np.load(sys.argv[2]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    session.run(None, inputs)
    print(json.dumps({"load_ms": (time.perf_counter() - start) * 1e3}))
"""


def launch(command, **environment):
    """{"ms", "peak_bytes", "out"} of a process."""
    command = [sys.executable, "-S", "-c", LAUNCHER, *command]
    return json.loads(call(command, env={**os.environ, **environment}))


def tables(bench):
    path = bench.find_named("resnet18")
    first_result(bench, path)
    bench.say()
    files(bench)


def first_result(bench, path):
    """From file to first result, and the memory that it takes: twnc on every path, and ONNX Runtime."""
    inputs = bench.scratch / "inputs.npz"
    np.savez(inputs, **Work(path).inputs())
    columns = {}
    for name, options in OURS.items():
        compiled = bench.scratch / f"{name.replace(' ', '-')}.bin"
        call([bench.twnc, path, "-o", compiled, *options])
        for isa in paths(bench, compiled):
            columns[f"{name}, {isa}"] = lambda compiled=compiled, isa=isa: ours(bench, compiled, inputs, isa)
    if "ORT f32" in bench.peers:
        columns["ORT f32"] = lambda: ort(path, inputs)
        columns["Python with ORT imported, nothing loaded"] = lambda: launch([sys.executable, "-c", ORT])
    found = {column: [] for column in columns}
    for number in range(bench.options.rounds):
        order = list(columns)
        turn = number % len(order)
        for column in order[turn:] + order[:turn]:
            found[column].append(columns[column]())
    bench.table(
        "ResNet-18, one input", "load to first result, ms", "the run after it, ms", "whole process, ms", "peak memory, MB"
    )
    for column, results in found.items():

        def median(key, scale=1.0):
            values = [result[key] for result in results if key in result]
            return f"{statistics.median(values) * scale:.4g}" if values else ""

        bench.row(column, median("load_ms"), median("next_ms"), median("ms"), median("peak_bytes", 1e-6))
    bench.json["load"] = found


def paths(bench, compiled):
    """The values of TWNC_ISA that this machine has."""
    known = ("avx512", "avx2", "portable", "interpreter")
    return [isa for isa in known if has(bench, compiled, isa)]


def has(bench, compiled, isa):
    try:
        call([bench.twnc, "inspect", compiled], env={**os.environ, "TWNC_ISA": isa})
        return True
    except Exception:
        return False


def ours(bench, compiled, inputs, isa):
    """A whole `twnc run`, and beside it what `twnc bench` says of loading and of a run."""
    run = launch([bench.twnc, "run", compiled, "-i", inputs, "-o", bench.scratch / "out.npz"], TWNC_ISA=isa)
    said = json.loads(launch([bench.twnc, "bench", compiled, "--runs", "1", "--json"], TWNC_ISA=isa)["out"])
    return {**run, "load_ms": said["load_ms"], "next_ms": said["min_ms"]}


def ort(path, inputs):
    run = launch([sys.executable, "-c", ORT, path, inputs])
    return {**run, **json.loads(run["out"])}


def files(bench):
    """How long the compiler takes, and what it writes."""
    bench.table("network", "ONNX file, bytes", "model.bin, bytes", "ONNX : model.bin", "compilation, ms")
    for label, name in (("ResNet-18", "resnet18"), ("VGG-7", "vgg7"), ("LeNet-5", "lenet5_twn.onnx")):
        path, compiled, times = bench.find_named(name), bench.scratch / "sized.bin", []
        for _ in range(bench.options.rounds):
            start = time.perf_counter()
            call([bench.twnc, path, "-o", compiled])
            times.append((time.perf_counter() - start) * 1e3)
        before, after = path.stat().st_size, compiled.stat().st_size
        bench.row(label, f"{before:,}", f"{after:,}", f"{before / after:.1f}", f"{statistics.median(times):.4g}")
        bench.json.setdefault("files", {})[label] = {"onnx": before, "bin": after, "ms": times}
