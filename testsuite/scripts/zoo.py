#!/usr/bin/env python3
"""Every network of the zoo, as it is and ternarised: what it computes, what it takes, as a table.

    zoo.py DIR... [--only SUBSTRING] [--twnc PATH] [--testsuite PATH] [--write docs/zoo.md]

DIR is a zoo, as zoo.sh fetches it, or any folder of ONNX files. For each network:

* float: with `--ternarise none`, its outputs against ONNX Runtime's on seeded inputs: the largest share of what is allowed that an
  output uses (as in check_ort.py; over 1 it would differ), and the time of a run beside ONNX Runtime's, one thread each.
* ternary: with every constant weight of a convolution or linear layer ternary, each path of execution against the reference
  evaluator: the largest share of the bound (`testsuite agree`). What a softmax that saturates would hide is compared before it.
  The size of the model.bin, how many times smaller that is than the file, how long compiling takes, and the time of a run.

Times are medians of a second or so, one engine after the other: to see the order of magnitude. docs/performance.md has those that were
measured with care. Networks of ONNX's backend suite (light_*) have made-up weights, all of one value, and are run as float alone.

Exit code 0: every network loads, compiles and agrees.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time
import types

import numpy as np
import onnxruntime

from bench import write
from check_ort import ZOO_SHAPES, Unsuited, check, networks_of
from networks import Failed, Network, build, call
from qonnx import standard

# Values before a softmax that saturates, in the place of a network's own outputs.
OUTPUTS = {
    "tiny_kws": ["Add__33:0", "Identity"],
    "tiny_resnet8": ["Add__29:0", "Identity"],
    "tiny_vww": ["Add__87:0", "Identity"],
    "mtcnn_onet": ["dense_5", "dense_6", "biased_tensor_name2", "softmax_2"],
    "resnet50_thin": ["/Add_126_output_0", "4195"],
}
SECONDS = 1.0


def milliseconds_ort(model, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    times, end = [], time.perf_counter() + SECONDS
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, inputs)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def milliseconds(twnc, compiled):
    return json.loads(call([twnc, "bench", compiled, "--json", "--threads", 1]))["median_ms"]


def as_float(twnc, path, shapes, scratch):
    """Shares of what is allowed, and times."""
    options = types.SimpleNamespace(dim=[], data=None, seed=0, rest=[], ternarised=False)
    outputs = list(check(twnc, path, options, shapes, scratch))
    judged = [share for *_, share, ort_share in outputs if share <= 1 or ort_share <= 1]
    network = Network(path, shapes)
    theirs = milliseconds_ort(standard(network.model).SerializeToString(), network.random_inputs(0))
    verdict = f"{max(judged):.3f}" if judged else "not judged"
    return max(judged, default=0) <= 1, [verdict, f"{milliseconds(twnc, scratch / 'model.bin'):.3g}", f"{theirs:.3g}"]


def as_ternary(twnc, testsuite, path, shapes, scratch):
    compiling = [f"--input-shape={shape}" for shape in shapes]
    outputs = [f"--output={output}" for output in OUTPUTS.get(path.stem, [])]
    found = json.loads(call([testsuite, "agree", path, "--ternarise=all", *compiling, *outputs]))
    call([twnc, path, "-o", scratch / "ternary.bin", "--ternarise=all", *compiling])
    size, own = os.path.getsize(path), os.path.getsize(scratch / "ternary.bin")
    share = max(found["shares"].values())
    ms = milliseconds(twnc, scratch / "ternary.bin")
    cells = [found["ternary_layers"], f"{share:.3f}", size, own, f"{size / own:.1f}", f"{found['compile_seconds']:.2f}", f"{ms:.3g}"]
    return share <= 1, cells


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("zoo", nargs="+", type=pathlib.Path)
    arguments.add_argument("--only", default="", help="networks whose name has this in it")
    arguments.add_argument("--twnc", type=pathlib.Path, help="the command to check; built without it")
    arguments.add_argument("--testsuite", type=pathlib.Path, help="the command of the test suite; built without it")
    arguments.add_argument("--write", type=pathlib.Path, metavar="FILE.md", help="put the table into this file")
    options = arguments.parse_args()
    twnc, testsuite = (options.twnc, options.testsuite) if options.twnc and options.testsuite else build()

    holds, lines = True, []

    def row(*cells):
        lines.append("| " + " | ".join(map(str, cells)) + " |")
        print(lines[-1], flush=True)

    row("network", "float: of allowed", "ms", "ms, ONNX Runtime", "ternary layers", "of the bound", "ONNX, bytes", "model.bin, bytes", "times smaller", "compiling, s", "ms")
    row(*["---"] * 11)
    for path in [path for zoo in options.zoo for path in networks_of(zoo) if options.only in path.stem]:
        shapes = ZOO_SHAPES.get(path.stem, [])
        cells = []
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            ways = [lambda: as_float(twnc, path, shapes, scratch)]
            if not path.stem.startswith("light_"):
                ways.append(lambda: as_ternary(twnc, testsuite, path, shapes, scratch))
            for way in ways:
                try:
                    agrees, found = way()
                    holds &= agrees
                    cells += found
                except Unsuited as error:
                    cells += [f"not compared: {error}", "", ""]
                except Failed as error:
                    holds = False
                    cells += [f"FAILED: {error}", "", ""]
        row(path.stem, *cells, *[""] * (10 - len(cells)))
    if options.write:
        write(options.write, "zoo", lines)
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
