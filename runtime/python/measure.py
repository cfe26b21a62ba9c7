"""What docs/python.md says of the package, measured: against onnxruntime, what a call costs, threads, memory.

    python measure.py swap MODEL.onnx[@SHAPE]...    needs onnxruntime
    python measure.py call TWNC                     needs onnx; TWNC is the command, for the time without Python
    python measure.py threads MODEL [SHAPE]
    python measure.py memory MODEL [SHAPE]
    python measure.py ray MODEL X.npz [ROUNDS [BATCH]]   needs ray; one worker of examples/ray_batch.py against two
"""

import json
import multiprocessing
import os
import pathlib
import resource
import signal
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
    """Two Python threads on one session against one; and against two processes, which share nothing but the machine.

    What a run takes of its processor, and how often it waits, says whether threads hinder each other where a busy machine hides it.
    """
    session = twnc.InferenceSession(model, one_thread())
    feeds = noise(session, shape)
    session.run(None, feeds)

    def in_threads(number):
        done = [None] * number

        def work(place):
            before = resource.getrusage(resource.RUSAGE_THREAD)
            count = runs_of_a_second(session, feeds)
            after = resource.getrusage(resource.RUSAGE_THREAD)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            done[place] = (count, used, after.ru_nvcsw - before.ru_nvcsw)

        workers = [threading.Thread(target=work, args=(place,)) for place in range(number)]
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
        runs, used, waits = (sum(values) for values in zip(*done))
        return runs, used / runs * 1e6, waits / runs

    context = multiprocessing.get_context("spawn")
    barrier, counts = context.Barrier(3), context.Queue()
    rounds = 5
    workers = [context.Process(target=alone, args=(session, feeds, rounds, barrier, counts)) for _ in range(2)]
    [worker.start() for worker in workers]
    found = []
    for _ in range(rounds):
        one, two = in_threads(1), in_threads(2)
        barrier.wait()
        found.append((*one, *two, counts.get() + counts.get()))
    [worker.join() for worker in workers]
    one, took_one, waits_one, two, took_two, waits_two, processes = (statistics.median(rates) for rates in zip(*found))
    print(f"runs a second, medians of {rounds} rounds: {one:.0f} with one thread, {two:.0f} with two ({two / one:.2f} times), "
          f"{processes:.0f} with two processes ({processes / one:.2f} times)")
    print(f"a run takes {took_one:.0f} us of its processor with one thread, {took_two:.0f} with two; it waits {waits_one:.4f} and {waits_two:.4f} times")
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


def ray(model, inputs, rounds=3, batch=64):
    """One of Ray's workers and two, in turns, and two of which one is killed; all against this process alone."""
    sys.path.insert(0, str(SCRIPT.parent))
    import ray_batch
    from ray import cloudpickle

    # Workers have the module from here: it is no package that is installed.
    cloudpickle.register_pickle_by_value(ray_batch)
    batch, model, inputs = int(batch), ray_batch.compiled(pathlib.Path(model)), pathlib.Path(inputs)
    with numpy.load(inputs) as arrays:
        arrays = dict(arrays)
    count = len(next(iter(arrays.values())))
    parts = [{name: array[i : i + batch] for name, array in arrays.items()} for i in range(0, count, batch)]
    alone = ray_batch.Worker(model)
    alone(dict(parts[0]))
    begin = time.perf_counter()
    parts = [alone(part) for part in parts]
    without = time.perf_counter() - begin
    expected = {name: numpy.concatenate([part[name] for part in parts]) for name in parts[0]}
    ray_batch.start(None, 2)
    read = ray_batch.read(inputs, model, batch)

    def run(workers, mark=None):
        outputs = ray_batch.collect(ray_batch.infer(read, model, workers, batch, measured(ray_batch.Worker, mark)))
        facts = {name: outputs.pop(name) for name in FACTS}
        same = outputs.keys() == expected.keys() and all(numpy.array_equal(outputs[name], expected[name]) for name in expected)
        return same, facts, facts["end"].max() - facts["begin"].min()

    right, spans = True, []
    for _ in range(int(rounds)):
        (same, alone_facts, one), (also, facts, two) = run(1), run(2)
        right &= same and also and len(set(facts["process"])) == 2
        spans.append((one, two))
        # What a busy machine cannot hide: how much of its processor a worker has used, and how much of that for the model.
        (used, model_one), (used_two, model_two) = processor(alone_facts), processor(facts)
        print(f"{count} samples: {one:.2f} s with one worker, {two:.2f} s with two ({one / two:.2f} times); "
              f"processor time {used:.2f} s, for the model {model_one:.2f} s with one, {used_two:.2f} and {model_two:.2f} s with two")
    for process in sorted(set(facts["process"])):
        before, after, load = (facts[name][facts["process"] == process].max() for name in ("before", "after", "load"))
        print(f"a worker: {before / 2**20:.0f} MiB resident without the model, {after / 2**20:.0f} at most while it runs; loaded in {load * 1e3:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        mark = pathlib.Path(folder) / "killed"
        same, _, span = run(2, mark)
        right &= same and mark.exists()
    one, two = (statistics.median(times) for times in zip(*spans))
    print(f"medians of {rounds} rounds: {one:.2f} s and {two:.2f} s ({one / two:.2f} times); with one of two killed {span:.2f} s; without Ray {without:.2f} s")
    print("all outputs are complete and the same bytes" if right else "outputs DIFFER")
    return right and one / two >= 1.7


#: What `measured` adds to each row: which process computed it, from when to when, the processor time of that and of the process since its first
#: batch, and what memory and time the model took there.
FACTS = ("process", "begin", "end", "model", "used", "before", "after", "load")


def processor(facts):
    """Seconds of processor time of all workers: since their first batches, and in the model."""
    used = sum(facts["used"][facts["process"] == process].max() for process in set(facts["process"]))
    _, batches = numpy.unique(facts["begin"], return_index=True)
    return used, facts["model"][batches].sum()


def measured(worker, mark):
    """A worker that measures itself. The first to come to its third batch is killed, if there is a file to be left by it."""

    class Measured(worker):
        def __init__(self, model):
            self.calls, self.before, begin = 0, resident(), time.perf_counter()
            super().__init__(model)
            self.load = time.perf_counter() - begin

        def __call__(self, batch):
            self.calls += 1
            if self.calls == 3 and mark and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            begin, before = time.time(), time.process_time()
            self.first = getattr(self, "first", before)
            batch = super().__call__(batch)
            used = time.process_time()
            facts = (os.getpid(), begin, time.time(), used - before, used - self.first, self.before, resident(), self.load)
            count = len(next(iter(batch.values())))
            return batch | {name: numpy.full(count, fact) for name, fact in zip(FACTS, facts)}

    return Measured


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
    done = {"swap": lambda: swap(rest), "call": lambda: call(rest), "threads": lambda: threads(*rest), "memory": lambda: memory(*rest), "ray": lambda: ray(*rest)}
    sys.exit(0 if done[what]() else 1)
