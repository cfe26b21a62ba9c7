#!/usr/bin/env python3
"""The benchmark: single layers and networks with ONNX Runtime and with twnc, side by side in one run.

    bench.py [--only SUBSTRING]... [--rounds 7] [--threads 1] [--quick] [--json FILE] [--engines a,b]

All engines run the same files, with batch 1 and ternary weights (which cost the float engines what any weights cost).
A round measures every engine once, one after the other, so that what else the machine does meets all of them; the
figure is the median over rounds of each round's median. The order of the engines turns with every round. The first
round warms up and is not counted. Printed is a Markdown table: milliseconds, and for twnc how many times faster it is
than the best peer of the row. A layer runs alone again and again, its code and data in cache; a network is the truth.

--quick does 3 short rounds: to see that all works, not to quote. --json writes every round with the machine and the
versions. Exit code 1 if an engine failed on a row; the reason is on stderr and in the JSON.

A further peer is a class with `name`, `version`, `load(path, threads)` giving a function that runs once, and a line
in PEERS; see OnnxRuntime.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from networks import REPOSITORY, Failed, Network, build, call

# Row, and what `testsuite generate` calls it or, with a suffix, the file in testsuite/models.
LAYERS = [
    ("3x3 64→64, 56²", "conv3x3-64-64-56"),
    ("3x3 128→128, 28²", "conv3x3-128-128-28"),
    ("3x3 256→256, 14²", "conv3x3-256-256-14"),
    ("3x3 512→512, 7²", "conv3x3-512-512-7"),
    ("3x3 64→128, 56², stride 2", "conv3x3-64-128-56-s2"),
    ("1x1 256→256, 28²", "conv1x1-256-256-28"),
    ("depthwise 3x3 128, 56²", "depthwise3x3-128-56"),
    ("fully connected 4096→4096, one row", "fc-4096-4096"),
]
NETWORKS = [
    ("ResNet-18, 224²", "resnet18"),
    ("VGG-7, 32²", "vgg7"),
    ("LeNet-5, 28²", "lenet5_twn.onnx"),
]


class OnnxRuntime:
    """ONNX Runtime in this process, float, with its default optimisations."""

    name = "ORT f32"

    def __init__(self):
        import onnxruntime

        self.runtime = onnxruntime
        self.version = f"onnxruntime {onnxruntime.__version__}"

    def load(self, path, threads):
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = self.runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = Network(path).random_inputs(seed=0)
        return lambda: session.run(None, inputs)


PEERS = {"ort": OnnxRuntime}


class InProcess:
    """Rounds of a peer that runs in this process."""

    def __init__(self, peer, path, threads):
        self.run = peer.load(path, threads)
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

    def __init__(self, command, path, threads, compiled, options):
        self.command, self.threads, self.compiled = command, threads, compiled
        call([command, path, "-o", self.compiled, *options])
        self.median = self._bench(runs=5)["median_ms"]

    def round(self, seconds):
        result = self._bench(runs=max(5, min(100_000, int(seconds * 1e3 / max(self.median, 1e-4)))))
        self.median = result["median_ms"]
        return result

    def _bench(self, runs):
        return json.loads(call([self.command, "bench", self.compiled, "--json", "--threads", self.threads, "--runs", runs]))


def our_columns(command, scratch):
    """Our variants: column, and a function from (path, threads) to rounds. Another mode is another line."""
    return {
        "twnc f32": lambda path, threads: Twnc(command, path, threads, scratch / "f32.bin", []),
        "twnc int": lambda path, threads: Twnc(command, path, threads, scratch / "int.bin", ["--activations", "int"]),
    }


def measure(columns, path, options):
    """All rounds of one row: {column: {"median_ms", "rounds" | "error"}}."""
    engines, row = {}, {}
    for column, start in columns.items():
        try:
            engines[column] = start(path, options.threads)
            row[column] = {"rounds": []}
        except Exception as error:  # Each peer has exceptions of its own; a row goes on without the peer.
            row[column] = {"error": str(error)}
    for number in range(options.rounds + 1):
        order = list(engines)
        turn = number % max(len(order), 1)
        for column in order[turn:] + order[:turn]:
            try:
                result = engines[column].round(options.seconds)
            except Failed as error:
                row[column] = {"error": str(error)}
                del engines[column]
                continue
            if number > 0:
                row[column]["rounds"].append(result)
    for cell in row.values():
        if "error" not in cell:
            cell["median_ms"] = statistics.median(round["median_ms"] for round in cell["rounds"])
    return row


def wanted(rows, parts):
    return [row for row in rows if not parts or any(part in text for part in parts for text in row)]


def cell(row, column, peers):
    """A figure of the table; for a column of ours with its ratio to the best peer."""
    if "error" in row[column]:
        return "failed"
    text = f"{row[column]['median_ms']:.3g}"
    ratio = None if column in peers else speedup(row, column, peers)
    return text if ratio is None else f"{text} ({ratio:.2f}x)"


def speedup(row, column, peers):
    best = [row[peer]["median_ms"] for peer in peers if "error" not in row[peer]]
    return min(best) / row[column]["median_ms"] if best and "error" not in row[column] else None


def machine():
    """What a reader needs to judge the figures."""
    lscpu = subprocess.run(["lscpu", "--json"], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    fields = json.loads(lscpu.stdout)["lscpu"] if lscpu.returncode == 0 else []
    flat = {field["field"].rstrip(":"): field["data"] for field in flatten(fields)}
    features = [name for name in ("avx2", "fma", "avx512f", "avx512_vnni") if name in flat.get("Flags", "").split()]
    return {
        "cpu": flat.get("Model name", platform.processor()),
        "features": features,
        "cores": len(os.sched_getaffinity(0)),
        "caches": {name: size for name, size in flat.items() if name.startswith(("L1", "L2", "L3"))},
        "load": os.getloadavg()[0],
    }


def flatten(fields):
    for field in fields:
        yield field
        yield from flatten(field.get("children", []))


def commit():
    """Of the sources measured; with a plus where they were changed since."""
    try:
        name = call(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY).strip()
        return name + ("+" if call(["git", "status", "--porcelain"], cwd=REPOSITORY).strip() else "")
    except (Failed, FileNotFoundError):
        return "unknown"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", action="append", default=[], help="rows whose name or file holds this")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--quick", action="store_true", help="3 rounds of a tenth of a second")
    arguments.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all that was measured")
    arguments.add_argument("--engines", default=",".join(PEERS), help="peers, with commas between; default: all")
    options = arguments.parse_args()
    options.seconds = 0.1 if options.quick else 0.7
    options.rounds = 3 if options.quick else options.rounds
    if unknown := [name for name in options.engines.split(",") if name and name not in PEERS]:
        arguments.error(f"no peer {', '.join(unknown)}: {', '.join(PEERS)}")
    layers, networks = wanted(LAYERS, options.only), wanted(NETWORKS, options.only)
    if not layers + networks:
        arguments.error(f"--only {' '.join(options.only)} leaves no row")

    twnc, testsuite = build()
    peers = [PEERS[name]() for name in options.engines.split(",") if name]
    names = [peer.name for peer in peers]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        columns = {peer.name: lambda path, threads, peer=peer: InProcess(peer, path, threads) for peer in peers}
        columns |= our_columns(twnc, scratch)
        versions = [peer.version for peer in peers] + [call([twnc, "--version"]).strip(), f"commit {commit()}"]
        about = {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions + [f"numpy {np.__version__}", f"python {platform.python_version()}"],
            "threads": options.threads,
            "rounds": options.rounds,
            "seconds_a_round": options.seconds,
        }
        host = about["machine"]
        print(f"{host['cpu']} ({', '.join(host['features'])}), {host['cores']} cores, load {host['load']:.1f}; ", end="")
        print(f"{', '.join(versions)}; threads: {options.threads}; medians of {options.rounds} rounds\n")
        print(f"| work, ms | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        rows = {}
        for label, name in layers + networks:
            path = REPOSITORY / "testsuite/models" / name
            if path.suffix != ".onnx":
                path = scratch / f"{name}.onnx"
                call([testsuite, "generate", name, "--weights", "ternary", "-o", path])
            row = rows[label] = measure(columns, path, options)
            print(f"| {label} | {' | '.join(cell(row, column, names) for column in columns)} |", flush=True)
            for column, result in row.items():
                if "error" in result:
                    print(f"{label}, {column}: {result['error']}", file=sys.stderr)

    summary = {}
    for column in columns.keys() - set(names):
        for part, of in (("layers", layers), ("networks", networks)):
            ratios = [ratio for label, _ in of if (ratio := speedup(rows[label], column, names))]
            if ratios:
                mean = math.exp(statistics.fmean(map(math.log, ratios)))
                summary.setdefault(column, {})[part] = mean
                print(f"\n{column}, geometric mean of {len(ratios)} {part}: {mean:.2f}x the best peer")
    if options.json:
        options.json.write_text(json.dumps({**about, "rows": rows, "summary": summary}, indent=1, ensure_ascii=False))
    sys.exit(1 if any("error" in result for row in rows.values() for result in row.values()) else 0)


if __name__ == "__main__":
    main()
