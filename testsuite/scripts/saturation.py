#!/usr/bin/env python3
"""What folding and the e-graph do to what a network costs: a table in Markdown, one line for each network and stage.

    saturation.py [--twnc TWNC] MODEL.onnx[,OPTION..] ..

Options behind a comma are handed to the compiler: `det.onnx,--dim,H=64`. Every layer is made ternary. Stages are: nothing folded, plain folding
(`--skip-pass saturate`), and all passes. Counts are those of the compiler's cost model, with open sizes as 1; times are of the pass, in milliseconds.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

STAGES = {
    "as rounded": ["fold_scales", "flip_signs", "saturate"],
    "plain folding": ["saturate"],
    "e-graph": [],
}


def report(twnc, model, options, skipped, folder):
    path = pathlib.Path(folder) / "report.json"
    command = [twnc, model, "-o", str(pathlib.Path(folder) / "model.bin"), "--report", str(path), "--ternarise", "all"]
    for name in skipped:
        command += ["--skip-pass", name]
    subprocess.run(command + options, check=True, capture_output=True)
    return json.loads(path.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--twnc", default="target/release/twnc")
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    print("| network | stage | multiplications | additions | tables | bytes | steps | passes, ms |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for word in arguments.models:
            model, *options = word.split(",")
            for stage, skipped in STAGES.items():
                found = report(arguments.twnc, model, options, skipped, folder)
                cost, time = found["cost"], sum(timing["ms"] for timing in found["passes"])
                counts = " | ".join(f"{cost[key]:,}" for key in ["multiplications", "additions", "tables", "bytes", "steps"])
                print(f"| {pathlib.Path(model).stem} | {stage} | {counts} | {time:.0f} |")


if __name__ == "__main__":
    main()
