#!/usr/bin/env python3
"""What folding and the e-graph do to what a network costs: a table in Markdown, one line for each network and stage.

    saturation.py [--twnc TWNC] [--rounds N [--steps REGEX]] MODEL.onnx[,OPTION..] ..

Options behind a comma are handed to the compiler: `det.onnx,--dim,H=64`. Every layer is made ternary. Stages are: nothing folded, plain folding
(`--skip-pass saturate`), and all passes. Counts are those of the compiler's cost model, with open sizes as 1; times are of the passes, in milliseconds.

With --rounds the programs of the last two stages are run in turns, on one thread, so many times, and the table has the median and the least of their medians in
milliseconds; with --steps only of the steps whose names match: `--steps 'layer[234]\\.0\\.(conv2|downsample)'` are ResNet-18's blocks that change their shape.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import tempfile

STAGES = {
    "as rounded": ["fold_scales", "flip_signs", "saturate"],
    "plain folding": ["saturate"],
    "e-graph": [],
}


def report(twnc, model, options, skipped, output):
    path = output.with_suffix(".json")
    command = [twnc, model, "-o", str(output), "--report", str(path), "--ternarise", "all"]
    for name in skipped:
        command += ["--skip-pass", name]
    subprocess.run(command + options, check=True, capture_output=True)
    return json.loads(path.read_text())


def milliseconds(twnc, program, steps):
    command = [twnc, "bench", str(program), "--json", "--threads", "1"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if steps is None:
        return found["median_ms"]
    return sum(step["median_ms"] for step in found["steps"] if re.search(steps, step["name"]))


def compare(arguments, models, folder):
    """Times of the programs of plain folding and of the e-graph, in turns."""
    print("| network | plain folding, median | least | e-graph, median | least |")
    print("|---|---|---|---|---|")
    for word in models:
        model, *options = word.split(",")
        programs = []
        for stage in ["plain folding", "e-graph"]:
            programs.append(pathlib.Path(folder) / f"{stage}.bin")
            report(arguments.twnc, model, options, STAGES[stage], programs[-1])
        times = [[] for _ in programs]
        for _ in range(arguments.rounds):
            for program, found in zip(programs, times):
                found.append(milliseconds(arguments.twnc, program, arguments.steps))
        columns = " | ".join(f"{statistics.median(found):.4f} | {min(found):.4f}" for found in times)
        print(f"| {pathlib.Path(model).stem} | {columns} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--twnc", default="target/release/twnc")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--steps")
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    if arguments.rounds:
        with tempfile.TemporaryDirectory() as folder:
            compare(arguments, arguments.models, folder)
        return
    print("| network | stage | multiplications | additions | tables | bytes | steps | passes, ms |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for word in arguments.models:
            model, *options = word.split(",")
            for stage, skipped in STAGES.items():
                found = report(arguments.twnc, model, options, skipped, pathlib.Path(folder) / "model.bin")
                cost, time = found["cost"], sum(timing["ms"] for timing in found["passes"])
                counts = " | ".join(f"{cost[key]:,}" for key in ["multiplications", "additions", "tables", "bytes", "steps"])
                print(f"| {pathlib.Path(model).stem} | {stage} | {counts} | {time:.0f} |")


if __name__ == "__main__":
    main()
