#!/usr/bin/env python3
"""Compares what twnc computes with what ONNX Runtime computes, on seeded random inputs or on given ones.

    check_ort.py MODEL.onnx... [--dim N=2] [--input-shape [NAME:]1x3x64x64] [--data X.npz] [-- twnc's options]
    check_ort.py --zoo DIR                 every network of a zoo (see zoo.sh)
    check_ort.py --ternarised MODEL.onnx   twnc's own ternarised ONNX in ONNX Runtime against the program
    ... --onnx-format qdq-int2             the same, its ternary weights written in another format

Without --ternarised a network is compiled with `--ternarise none`, so that both compute the same function. Per output:
the largest absolute difference, the same relative to the output's range (largest minus smallest value), and the
largest share of the allowed difference that was used; allowed is rtol·|y| + atol·range with rtol 1e-3 and atol 1e-4
(docs: the numerical contract). Integers and booleans must be equal. The reference is ONNX Runtime without its
rewriting of graphs; the column `ORT` is the share that its own optimised run uses. Where that is above 1 the inputs
ask for more than floats can give (such as a sigmoid far in its tail), and the output is not judged.

QONNX's quantisers, which ONNX Runtime does not have, are written out for it in ONNX's own operators (qonnx.py).

Exit code 0: all outputs hold; 1: some do not, or twnc refused a network that ONNX Runtime runs. A network that
ONNX Runtime itself refuses is listed and does not count.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

from networks import Failed, Network, build, call
from qonnx import standard

RTOL, ATOL = 1e-3, 1e-4

# Networks of the zoo whose declared shapes are open in a way, or so small, that they cannot be run as they are.
ZOO_SHAPES = {
    "centerface": ["input.1:1x3x64x64"],
    "minilm_l3": ["input_ids:1x8", "attention_mask:1x8"],
    "ppocr_cls": ["x:1x3x48x192"],
    "ppocr_det": ["x:1x3x64x96"],
}


class Unsuited(Exception):
    """ONNX Runtime cannot serve as the reference."""


def difference(reference, ours):
    """How far two arrays are apart: max_abs, of_range, share of what is allowed (above 1: does not hold)."""
    if reference.shape != ours.shape or reference.dtype != ours.dtype:
        found = f"{ours.dtype}{list(ours.shape)}, not {reference.dtype}{list(reference.shape)}"
        raise Failed(f"twnc: an output is {found}")
    if reference.size == 0:
        return 0.0, 0.0, 0.0
    if not np.issubdtype(reference.dtype, np.floating):
        distance = float(np.abs(reference.astype(np.float64) - ours.astype(np.float64)).max())
        return distance, distance, np.inf if distance else 0.0
    reference, ours = reference.astype(np.float64), ours.astype(np.float64)
    same = (reference == ours) | (np.isnan(reference) & np.isnan(ours))
    finite = reference[np.isfinite(reference)]
    span = np.ptp(finite) if finite.size else 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = np.where(same, 0.0, np.abs(reference - ours))
        # One side alone is NaN: as far apart as can be.
        distance[np.isnan(distance)] = np.inf
        share = np.where(same, 0.0, distance / (RTOL * np.abs(reference) + ATOL * span))
        share[np.isnan(share)] = np.inf
        of_range = distance.max() / span if span else distance.max()
    return float(distance.max()), float(of_range), float(share.max())


def run_ort(model, inputs, level):
    """Outputs by name, from ONNX Runtime at one of its levels of optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs)))
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own.
        raise Unsuited(f"ONNX Runtime: {' '.join(str(error).split())[:200]}") from error


def check(twnc, path, options, shapes, scratch):
    """Yields (output, shape, max_abs, of_range, share, ORT's own share) for every output of one network."""
    network = Network(path, shapes, options.dim)
    inputs = dict(np.load(options.data)) if options.data else network.random_inputs(options.seed)
    compiling = [*(f"--input-shape={shape}" for shape in shapes), *(f"--dim={dim}" for dim in options.dim)]
    compiling += options.rest if options.ternarised else ["--ternarise=none", *options.rest]
    reference_model = standard(network.model).SerializeToString()
    if options.ternarised:
        written = ["--emit", "onnx", "--onnx-format", options.onnx_format, "-o", scratch / "ternarised.onnx"]
        call([twnc, path, *written, *compiling])
        reference_model = standard(onnx.load(scratch / "ternarised.onnx")).SerializeToString()
    reference = run_ort(reference_model, inputs, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    optimised = run_ort(reference_model, inputs, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)

    np.savez(scratch / "in.npz", **inputs)
    call([twnc, path, "-o", scratch / "model.bin", *compiling])
    call([twnc, "run", scratch / "model.bin", "-i", scratch / "in.npz", "-o", scratch / "out.npz"])
    ours = np.load(scratch / "out.npz")
    if missing := reference.keys() - set(ours.files):
        raise Failed(f"twnc: no output {', '.join(sorted(missing))}")
    for name, array in reference.items():
        *_, ort_share = difference(array, optimised[name])
        yield name, "x".join(map(str, array.shape)), *difference(array, ours[name]), ort_share


def networks_of(zoo):
    """The networks of a zoo, or of any folder of ONNX files."""
    found = [path for part in ("", "models", "conformance/light") for path in sorted((zoo / part).glob("*.onnx"))]
    return found or sys.exit(f"{zoo}: no networks there; fetch them with zoo.sh")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", nargs="*", type=pathlib.Path)
    arguments.add_argument("--zoo", type=pathlib.Path, help="check all networks of this folder")
    arguments.add_argument("--ternarised", action="store_true", help="compare with the ternarised ONNX")
    arguments.add_argument("--onnx-format", default="float", help="of --ternarised, as twnc takes it")
    arguments.add_argument("--data", type=pathlib.Path, help="inputs, an npz keyed by input name")
    arguments.add_argument("--seed", type=int, default=0, help="of the random inputs")
    arguments.add_argument("--dim", action="append", default=[], help="size of a named dimension, NAME=N")
    arguments.add_argument("--input-shape", action="append", default=[], help="[NAME:]1x3x64x64")
    arguments.add_argument("--twnc", type=pathlib.Path, help="the command to check; built without it")
    own, rest = sys.argv[1:], []
    if "--" in own:
        own, rest = own[: own.index("--")], own[own.index("--") + 1 :]
    options = arguments.parse_args(own)
    options.rest = rest
    if bool(options.zoo) == bool(options.models):
        arguments.error("name either networks or a --zoo")

    twnc = options.twnc or build()[0]
    holds = True
    print("| network | output | shape | max abs | of range | of allowed | ORT | |\n|---|---|---|---|---|---|---|---|")
    for path in networks_of(options.zoo) if options.zoo else options.models:
        shapes = ZOO_SHAPES.get(path.stem, []) if options.zoo else options.input_shape
        try:
            with tempfile.TemporaryDirectory() as scratch:
                outputs = check(twnc, path, options, shapes, pathlib.Path(scratch))
                for name, shape, distance, of_range, share, ort_share in outputs:
                    verdict = "holds" if share <= 1 else "not judged" if ort_share > 1 else "DIFFERS"
                    holds &= verdict != "DIFFERS"
                    numbers = f"{distance:.2e} | {of_range:.2e} | {share:.3f} | {ort_share:.3f}"
                    print(f"| {path.stem} | {name} | {shape} | {numbers} | {verdict} |", flush=True)
        except Unsuited as error:
            print(f"| {path.stem} | | | | | | | not compared: {error} |", flush=True)
        except Failed as error:
            holds = False
            print(f"| {path.stem} | | | | | | | FAILED: {error} |", flush=True)
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
