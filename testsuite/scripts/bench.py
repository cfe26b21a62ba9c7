#!/usr/bin/env python3
"""The benchmark: single layers and networks with other engines and with twnc, side by side in one run.

    bench.py [--only SUBSTRING]... [--rounds 15] [--threads 1] [--quick] [--engines a,b] [--zoo DIR]
    bench.py --scaling        ResNet-18 on one thread and on two
    bench.py --growth         time against channels, image size and batch
    bench.py --load           ResNet-18 from file to first result, memory, compile times, file sizes
    bench.py --bits           LeNet-5's accuracy and speed against the bits of integer activations (MNIST from the zoo)
    bench.py --classes        trained networks on real inputs: the classes by integer activations and by f32 ones
    bench.py --share          additions a cycle of the 3x3 layers' kernels, and what the rest of their time is
    ... [--as avx2]           as on a processor without AVX-512, VNNI and AMX (where this one can hide them: machine.py)
    ... [--json FILE] [--write docs/performance.md]

All engines run the same networks on inputs of the same sizes, with ternary weights (which cost the other engines what
any weights cost). A round measures every engine once, for a quarter of a second, one after the other, so that what else
the machine does meets all of them; the figure is the median over rounds of each round's median, and a ratio the median of
each round's. The order of the engines turns with every round. The first round warms up and is not counted. A layer runs
alone again and again, its code and data in cache; a network is the truth.

Printed are Markdown tables: milliseconds, and for each column of ours how many times faster it is than the fastest peer
of the row, among those that compute in float32 and among all. A peer whose package is missing is `absent`; `-` is what
an engine is not made for. --write puts what is printed into a file, between the lines `<!-- NAME -->` and
`<!-- /NAME -->`, where NAME is speed, scaling, growth, load, bits, classes or share, with -avx2 behind it where the run was one `--as avx2`.

--quick does 3 short rounds: to see that all works, not to quote. --json writes every round with the machine and the
versions. Exit code 1 if an engine failed on a row; the reason is on stderr and in the JSON.
"""

import argparse
import dataclasses
import datetime
import json
import math
import os
import pathlib
import platform
import shutil
import statistics
import sys
import tempfile
import time

import numpy as np

import accuracy
import loading
import machine
import share
from engines import OURS, PEERS, InProcess, Twnc, Unsuited, Work
from networks import REPOSITORY, Failed, build, call


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table: its label; what `testsuite generate` calls the network, or its file, in testsuite/models or in
    the zoo's models; the sizes of its named dimensions; and options of our compiler."""

    label: str
    name: str
    dims: tuple = ()
    zoo: bool = False
    options: tuple = ()


LAYERS = [
    Row("3x3 64→64, 56²", "conv3x3-64-64-56"),
    Row("3x3 128→128, 28²", "conv3x3-128-128-28"),
    Row("3x3 256→256, 14²", "conv3x3-256-256-14"),
    Row("3x3 512→512, 7²", "conv3x3-512-512-7"),
    Row("3x3 64→128, 56², stride 2", "conv3x3-64-128-56-s2"),
    Row("1x1 256→256, 28²", "conv1x1-256-256-28"),
    Row("depthwise 3x3 128, 56²", "depthwise3x3-128-56"),
    Row("depthwise 3x3 256, 28²", "depthwise3x3-256-28"),
    Row("fully connected 4096→4096, one row", "fc-4096-4096"),
]
NETWORKS = [
    Row("ResNet-18, 224²", "resnet18"),
    Row("VGG-7, 32²", "vgg7"),
    Row("LeNet-5, 28²", "lenet5_twn.onnx"),
    Row("LeNet-5, 28², batch 64", "lenet5_twn.onnx", ("N=64",)),
    Row("ResNet-50, thin, 224²", "resnet50_thin.onnx", zoo=True),
    Row("MobileNet 0.25, 96²", "tiny_vww.onnx", zoo=True),
    Row(
        "EfficientNet-lite0, 224², depthwise, first and last float",
        "efficientnet_lite0.onnx",
        zoo=True,
        options=tuple(f"--keep=kind:{kind}" for kind in ("depthwise", "first", "last")),
    ),
    Row(
        "PP-OCR text detector, 224²",
        "ppocr_det.onnx",
        tuple(f"p2o.DynamicDimension.{axis}={size}" for axis, size in enumerate((1, 224, 224))),
        zoo=True,
    ),
    Row("MiniLM, 3 layers, 128 tokens", "minilm_l3.onnx", ("batch_size=1", "sequence_length=128"), zoo=True),
]
GROWTH = {
    "channels, 3x3 at 14²": [Row(f"{c}→{c}", f"conv3x3-{c}-{c}-14") for c in (64, 128, 256, 512, 1024)],
    "image size, 3x3 64→64": [Row(f"{size}²", f"conv3x3-64-64-{size}") for size in (14, 28, 56, 112)],
    "batch, 3x3 256→256 at 14²": [Row(f"{n}", "conv3x3-256-256-14", (f"N={n}",)) for n in (1, 4, 16)],
}


class Bench:
    """The commands, a folder for what they make, the peers, and what was found out so far."""

    def __init__(self, options, scratch):
        self.options, self.scratch = options, scratch
        self.twnc, self.testsuite = build()
        self.peers, self.absent, self.lines, self.json, self.failed = {}, [], [], {}, False
        for name in options.engines.split(","):
            peer = PEERS.get(name)
            try:
                if peer:
                    self.peers[peer.name] = peer()
            except ImportError as error:
                self.absent.append(peer.name)
                print(f"{peer.name} is absent: {error}", file=sys.stderr)

    def say(self, line=""):
        print(line, flush=True)
        self.lines.append(line)

    def table(self, *names):
        self.say(f"| {' | '.join(names)} |\n|---|{'---|' * (len(names) - 1)}")

    def row(self, *cells):
        self.say(f"| {' | '.join(map(str, cells))} |")

    def find(self, row):
        """The row's network, in the scratch folder; None, and a word on stderr, where the zoo has to be there and is not."""
        target = self.scratch / pathlib.Path(row.name).with_suffix(".onnx")
        if target.exists():
            return target
        if target.name != row.name:
            call([self.testsuite, "generate", row.name, "--weights", "ternary", "-o", target])
            return target
        source = self.options.zoo / "models" if row.zoo else REPOSITORY / "testsuite/models"
        if row.zoo and not (source / row.name).exists():
            print(f"SKIPPED: {row.label}: no {source / row.name}; docs/zoo.md says where it is from", file=sys.stderr)
            return None
        return pathlib.Path(shutil.copy(source / row.name, target))

    def find_named(self, name):
        """The network of a row of the table of speeds."""
        return self.find(next(row for row in NETWORKS if row.name == name))

    def columns(self, path, row, threads, peers=None):
        """Every engine of the row: column, and a function that starts it."""
        work = Work(path, row.dims, threads)
        columns = {
            name: lambda peer=peer: InProcess(peer, work)
            for name, peer in self.peers.items()
            if peers is None or name in peers
        }
        for name, options in OURS.items():
            compiled = self.scratch / f"{name.replace(' ', '-')}-{threads}.bin"
            words = [*options, *row.options]
            columns[name] = lambda compiled=compiled, words=words: Twnc(self.twnc, work, compiled, words)
        return columns

    def measure(self, label, columns):
        """All rounds of one row: {column: {"median_ms", "rounds" | "error" | "unsuited"}}."""
        engines, cells = {}, {}

        def attempt(column, action):
            try:
                return action()
            except Unsuited as error:
                cells[column] = {"unsuited": str(error)}
            except Exception as error:  # Each peer has exceptions of its own; a row goes on without the peer.
                cells[column] = {"error": str(error)}
                self.failed = True
                print(f"{label}, {column}: {' '.join(str(error).split())[:400]}", file=sys.stderr)
            engines.pop(column, None)

        for column, start in columns.items():
            cells[column] = {"rounds": []}
            if engine := attempt(column, start):
                engines[column] = engine
        for number in range(self.options.rounds + 1):
            order = list(engines)
            turn = number % max(len(order), 1)
            for column in order[turn:] + order[:turn]:
                result = attempt(column, lambda: engines[column].round(self.options.seconds))
                if result and number > 0:
                    cells[column]["rounds"].append(result)
        for cell in cells.values():
            if "rounds" in cell:
                cell["median_ms"] = statistics.median(round["median_ms"] for round in cell["rounds"])
        return cells

    def faster(self, cells, column, floats_only):
        """How many times faster a column is than the peer that is the fastest in each round: the median over rounds."""
        peers = [name for name, peer in self.peers.items() if peer.floats or not floats_only]
        found = [name for name in peers if "median_ms" in cells.get(name, {})]
        if not found or "median_ms" not in cells[column]:
            return None
        rounds = zip(cells[column]["rounds"], *(cells[name]["rounds"] for name in found), strict=True)
        return statistics.median(min(peer["median_ms"] for peer in theirs) / ours["median_ms"] for ours, *theirs in rounds)


def figure(cell):
    if cell is None:
        return "absent"
    return f"{cell['median_ms']:.3g}" if "median_ms" in cell else "failed" if "error" in cell else "-"


def times(ratio):
    return "-" if ratio is None else f"{ratio:.2f}x"


def speed(bench):
    """Layers and networks: milliseconds, then ratios with their geometric means."""
    options = bench.options
    parts = {"layers": wanted(LAYERS, options.only), "networks": wanted(NETWORKS, options.only)}
    shown = [PEERS[name].name for name in options.engines.split(",") if name] + list(OURS)
    bench.table("milliseconds", *shown)
    results = {}
    for row in [row for rows in parts.values() for row in rows]:
        if path := bench.find(row):
            cells = results[row.label] = bench.measure(row.label, bench.columns(path, row, options.threads))
            bench.row(row.label, *(figure(cells.get(name)) for name in shown))
    bench.json |= {"rows": results, "summary": {}}
    kinds = [(column, floats) for column in OURS for floats in (True, False)]
    bench.say()
    bench.table(
        "times as fast as the fastest",
        *(f"{column} : {'float peer' if floats else 'of all peers'}" for column, floats in kinds),
    )
    for label, cells in results.items():
        bench.row(label, *(times(bench.faster(cells, *kind)) for kind in kinds))
    for part, rows in parts.items():
        ratios = [[bench.faster(results[row.label], *kind) for row in rows if row.label in results] for kind in kinds]
        means = [geometric_mean([ratio for ratio in column if ratio]) for column in ratios]
        bench.json["summary"][part] = {
            f"{column}, {'float peer' if floats else 'of all peers'}": mean for (column, floats), mean in zip(kinds, means)
        }
        if any(means):
            bench.row(f"geometric mean of {part}", *map(times, means))


def geometric_mean(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else None


def scaling(bench):
    """ResNet-18 on one thread and on two, in turns."""
    row = NETWORKS[0]
    path = bench.find(row)
    columns = {}
    for threads in (1, 2):
        engines = bench.columns(path, row, threads, peers=["ORT f32", "ORT int8", "OpenVINO f32", "OpenVINO int8"])
        columns |= {(name, threads): start for name, start in engines.items()}
    cells = bench.measure(row.label, columns)
    bench.table(f"{row.label}, milliseconds", "1 thread", "2 threads", "times as fast")
    for name in dict.fromkeys(name for name, _ in columns):
        one, two = cells[name, 1], cells[name, 2]
        ratio = one["median_ms"] / two["median_ms"] if "median_ms" in one and "median_ms" in two else None
        bench.row(name, figure(one), figure(two), times(ratio))
    bench.json["scaling"] = {f"{name}, {threads}": cell for (name, threads), cell in cells.items()}


def growth(bench):
    """How time grows with a layer, beside ONNX Runtime."""
    for what, rows in GROWTH.items():
        names = [name for name in ["ORT f32"] if name in bench.peers] + list(OURS)
        bench.table(what, *(f"{name}, ms" for name in names), *(f"{name} : ORT f32" for name in OURS))
        for row in rows:
            cells = bench.measure(row.label, bench.columns(bench.find(row), row, bench.options.threads, ["ORT f32"]))
            bench.row(
                row.label,
                *(figure(cells[name]) for name in names),
                *(times(bench.faster(cells, name, floats_only=True)) for name in OURS),
            )
            bench.json.setdefault("growth", {}).setdefault(what, {})[row.label] = cells
        bench.say()


TABLES = {"speed": speed, "scaling": scaling, "growth": growth, "load": loading.tables, "bits": accuracy.table, "classes": accuracy.classes, "share": share.table}


def wanted(rows, parts):
    return [row for row in rows if not parts or any(part in text for part in parts for text in (row.label, row.name))]


def commit():
    """Of the sources measured; with a plus where they were changed since (the page of tables is no source)."""
    try:
        name = call(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY).strip()
        return name + ("+" if call(["git", "status", "--porcelain", "--", ".", ":!docs/performance.md"], cwd=REPOSITORY).strip() else "")
    except (Failed, FileNotFoundError):
        return "unknown"


def settle():
    """Waits for up to four minutes until half of the cores are idle: what ran before, such as another table, is no part of this one."""
    end = time.monotonic() + 240
    if os.getloadavg()[0] > os.cpu_count() / 2 - 0.2:
        print("waiting for up to four minutes until the machine is idle", file=sys.stderr)
    while os.getloadavg()[0] > os.cpu_count() / 2 - 0.2 and time.monotonic() < end:
        time.sleep(5)


def about(bench):
    """The machine, the versions and the settings; printed in a line before the tables."""
    options, host = bench.options, machine.describe()
    versions = list(dict.fromkeys(peer.version for peer in bench.peers.values()))
    versions += [call([bench.twnc, "--version"]).strip(), f"commit {commit()}"]
    bench.json |= {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": host,
        "versions": versions + [f"numpy {np.__version__}", f"python {platform.python_version()}"],
        "threads": options.threads,
        "rounds": options.rounds,
        "seconds_a_round": options.seconds,
    }
    backend = os.environ.get("TWNC_ISA") or "the path that it chooses itself"
    hidden = f"; hidden from every engine: {', '.join(host['hidden'])}" if host["hidden"] else ""
    bench.say(
        f"{host['cpu']} ({', '.join(host['features'])}{hidden}), {host['cores']} cores, load {host['load']:.1f}; "
        f"{', '.join(versions)}, on {backend}; threads: {options.threads}; medians of {options.rounds} rounds\n"
    )


def busy(bench):
    """A word after the tables where others used the machine meanwhile: their figures are not to be quoted."""
    before, after, cores = bench.json["machine"]["load"], os.getloadavg()[0], bench.json["machine"]["cores"]
    bench.json["machine"]["load_after"] = after
    # What is measured is itself a load of its number of threads, two at most.
    if bench.options.table != "classes" and max(before, after - bench.options.threads) > cores / 2:
        bench.say(f"\nThe machine was busy with other work (load {before:.1f} before, {after:.1f} after, {cores} cores): measure again.")


def write(path, name, lines):
    """Puts lines between the marks of a table in a file."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, found, rest = path.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} has no lines {begin.strip()} and {end}")
    path.write_text(head + begin + "\n" + "\n".join(lines).strip() + "\n\n" + end + tail)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = arguments.add_mutually_exclusive_group()
    for name in list(TABLES)[1:]:
        tables.add_argument(f"--{name}", dest="table", action="store_const", const=name, default="speed")
    arguments.add_argument("--only", action="append", default=[], help="rows whose name or file holds this")
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--quick", action="store_true", help="3 rounds of a tenth of a second")
    arguments.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all that was measured")
    arguments.add_argument("--write", type=pathlib.Path, metavar="FILE.md", help="put the tables into this file")
    arguments.add_argument("--engines", default=",".join(PEERS), help=f"peers, with commas between: {', '.join(PEERS)}")
    arguments.add_argument("--as", dest="machine", choices=machine.LEFT, help="measure as on such a processor")
    arguments.add_argument("--zoo", type=pathlib.Path, default=REPOSITORY / "testsuite/zoo", help="what zoo.sh fetched")
    options = arguments.parse_args()
    options.seconds = 0.1 if options.quick else 0.25
    options.rounds = 3 if options.quick else options.rounds
    if options.rounds < 1 or options.threads < 1:
        arguments.error("--rounds and --threads are 1 or more")
    if unknown := [name for name in options.engines.split(",") if name and name not in PEERS]:
        arguments.error(f"no peer {', '.join(unknown)}: {', '.join(PEERS)}")
    if options.only and (options.table != "speed" or not wanted(LAYERS + NETWORKS, options.only)):
        arguments.error(f"--only {' '.join(options.only)} leaves no row of the table of speeds")

    if options.machine:
        machine.pass_for(options.machine, build()[0].parent)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options, pathlib.Path(scratch))
        if not options.quick:
            settle()
        about(bench)
        TABLES[options.table](bench)
        busy(bench)
    if options.json:
        options.json.write_text(json.dumps(bench.json, indent=1, ensure_ascii=False))
    if options.write:
        write(options.write, "-".join(filter(None, [options.table, options.machine])), bench.lines)
    sys.exit(1 if bench.failed else 0)


if __name__ == "__main__":
    main()
