"""What docs/python.md says of the package, measured: against onnxruntime, what a call costs, threads, memory.

    python measure.py swap MODEL.onnx[@SHAPE]...    needs onnxruntime
    python measure.py call TWNC                     needs onnx; TWNC is the command, for the time without Python
    python measure.py threads MODEL [SHAPE]
    python measure.py memory MODEL [SHAPE]
"""

import json
import multiprocessing
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy

import twnc

SCRIPT = pathlib.Path(__file__).parent / "examples" / "onnx_outputs.py"
#: How far outputs may be apart: so much of the value, and of the output's largest.
RTOL, ATOL = 1e-3, 1e-4


def swap(models):
    """Runs a script for onnxruntime as it is, and with its import line changed."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        text = SCRIPT.read_text()
        swapped = text.replace("\nimport onnxruntime\n", "\nimport twnc as onnxruntime\n")
        assert swapped != text, "the script has no import line"
        outputs = []
        for name, script in [("onnxruntime", text), ("twnc", swapped)]:
            path = folder / f"script_for_{name}.py"
            path.write_text(script)
            subprocess.run([sys.executable, path, folder / f"{name}.npz", *models], check=True)
            outputs.append(dict(numpy.load(folder / f"{name}.npz")))
    theirs, ours = outputs
    assert theirs.keys() == ours.keys()
    right = True
    for name, expected in theirs.items():
        found = ours[name]
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
        expected, found = expected.astype(numpy.float64), found.astype(numpy.float64)
        difference = numpy.abs(found - expected)
        largest = numpy.abs(expected).max()
        used = (difference / (RTOL * numpy.abs(expected) + ATOL * largest)).max()
        right &= bool(used <= 1)
        print(f"{name:20} {list(expected.shape)!s:18} max |difference| {difference.max():.1e}, "
              f"of the largest {difference.max() / largest:.1e}; {used:.1%} of what is allowed")
    return right


def call(command):
    """A network of one addition: what a call from Python takes more than one from Rust."""
    from onnx import TensorProto, helper

    port = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 16])
    one = helper.make_tensor("one", TensorProto.FLOAT, [1, 16], numpy.ones(16, numpy.float32))
    graph = helper.make_graph([helper.make_node("Add", ["x", "one"], ["y"])], "tiny", [port("x")], [port("y")], [one])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tiny.bin"
        session = twnc.compile(model, path).session(one_thread())
        said = subprocess.run([*command, "bench", path, "--runs", "20000", "--threads", "1", "--json"],
                              check=True, capture_output=True, text=True).stdout
    rust = json.loads(said)["median_ms"] * 1e3
    feeds, out = {"x": numpy.zeros((1, 16), numpy.float32)}, {"y": numpy.zeros((1, 16), numpy.float32)}
    run = median(lambda: session.run(None, feeds))
    into = median(lambda: session.run_into(feeds, out))
    print(f"Session::run_into {rust:.2f} us; run {run:.2f} us, run_into {into:.2f} us from Python")
    return run - rust <= 20 and into - rust <= 20


def median(work, runs=20_000):
    """Microseconds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1e3


def threads(model, shape=None):
    """Two Python threads on one session against one; and against two processes, which share nothing but the machine."""
    session = twnc.InferenceSession(model, one_thread())
    feeds = noise(session, shape)
    session.run(None, feeds)

    def in_threads(number):
        counts = [0] * number

        def work(place):
            counts[place] = runs_of_a_second(session, feeds)

        workers = [threading.Thread(target=work, args=(place,)) for place in range(number)]
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
        return sum(counts)

    context = multiprocessing.get_context("spawn")
    barrier, counts = context.Barrier(3), context.Queue()
    rounds = 5
    workers = [context.Process(target=alone, args=(session, feeds, rounds, barrier, counts)) for _ in range(2)]
    [worker.start() for worker in workers]
    found = []
    for _ in range(rounds):
        one, two = in_threads(1), in_threads(2)
        barrier.wait()
        found.append((one, two, counts.get() + counts.get()))
    [worker.join() for worker in workers]
    one, two, processes = (statistics.median(rates) for rates in zip(*found))
    print(f"runs a second, medians of {rounds} rounds: {one:.0f} with one thread, {two:.0f} with two ({two / one:.2f} times), "
          f"{processes:.0f} with two processes ({processes / one:.2f} times)")
    return two / one >= 1.8


def alone(session, feeds, rounds, barrier, counts):
    """A process's part; its session has come in a pickle."""
    session.run(None, feeds)
    for _ in range(rounds):
        barrier.wait()
        counts.put(runs_of_a_second(session, feeds))


def runs_of_a_second(session, feeds):
    count, end = 0, time.perf_counter() + 1
    while time.perf_counter() < end:
        session.run(None, feeds)
        count += 1
    return count


def memory(model, shape=None):
    """Resident memory over 100,000 runs, new arrays each time."""
    session = twnc.InferenceSession(model, one_thread())
    feeds = noise(session, shape)
    sizes = []
    for count in range(100_001):
        session.run(None, feeds)
        if count in (1_000, 25_000, 50_000, 75_000, 100_000):
            sizes.append(resident())
            print(f"after {count:6} runs {sizes[-1] / 2**20:.2f} MiB")
    return max(sizes) - sizes[0] <= 2**20


def resident():
    """Bytes (Linux)."""
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def one_thread():
    options = twnc.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def noise(session, shape):
    random = numpy.random.default_rng(1)
    sizes = lambda port: [int(n) for n in shape.split("x")] if shape else [n if isinstance(n, int) else 1 for n in port.shape]
    return {port.name: random.random(sizes(port), numpy.float32) for port in session.get_inputs()}


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    done = {"swap": lambda: swap(rest), "call": lambda: call(rest), "threads": lambda: threads(*rest), "memory": lambda: memory(*rest)}
    sys.exit(0 if done[what]() else 1)
