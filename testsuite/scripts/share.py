"""The benchmark's table of how close accumulations come to what the processor could add.

A core of today adds two vectors a cycle. The kernels of the four 3x3 layers of ResNet-18 are timed alone, in cycles of a
clock that is measured in the same run (a chain of additions, each of which needs the one before). What their time
consists of cannot be timed from outside: it is what each kernel counts, times costs that are fitted, in the same run, to
some hundred other plans for these and similar layers. What the fit leaves unexplained counts as adding, so that the
shares are not flattered.
"""

import json
import os

import fit_costs
from networks import REPOSITORY, call

LAYERS = ("3x3 64->64 @56", "3x3 128->128 @28", "3x3 256->256 @14", "3x3 512->512 @7")
# Plans of each layer that costs are fitted to.
PLANS = 24
# The parts of a kernel's time, of things that are counted (`Counts` in runtime/jit/src/accumulate/cost.rs).
PARTS = {
    "adding": ("lookups", "added", "crossing"),
    "reloading sums": ("reloads", "near", "far"),
    "building tables": ("tables", "built"),
    "widening": ("widened",),
    "packing": ("packed", "masked"),
    "epilogue": ("runs", "stored", "regions"),
}
KINDS = ("avx512", "avx2")


def table(bench):
    build = ["cargo", "build", "--release", "--quiet", "-p", "twnc-jit", "--example", "layers"]
    call(build, cwd=REPOSITORY)
    command = bench.twnc.parent / "examples/layers"
    wanted = os.environ.get("TWNC_ISA")
    bench.table(
        "layer",
        "code",
        "clock, GHz",
        "thousand cycles",
        "additions a cycle",
        "while adding",
        "of two, while adding",
        "of two, with reloads",
        *PARTS,
        "unexplained",
        "rounding, beside it",
    )
    for isa in [isa for isa in KINDS if wanted in (None, isa)]:
        plans = timed(command, isa, "--plans", PLANS, "3x3")
        if not plans:  # Not on this machine.
            continue
        rounding = {line["layer"]: line["cycles"] for line in timed(command, isa, "--rounding", "3x3")}
        # The plans that are chosen, again; the least time is that of the machine when nothing else ran.
        first = [plan for _ in range(bench.options.rounds) for plan in timed(command, isa, "--plans", 1, "3x3")]
        clock = max(plan["clock"] for plan in plans + first)
        for element in ("f32", "i16"):
            names, _, costs = fit_costs.fit([plan for plan in plans if plan["element"] == element])
            costs = dict(zip(names, costs))
            for layer in LAYERS:
                tried = [plan for plan in first if (plan["layer"], plan["element"]) == (layer, element)]
                row(bench, f"{isa}, {element}", tried, clock, costs, rounding.get(layer))


def timed(command, isa, *arguments):
    lines = call([command, *arguments], env={**os.environ, "TWNC_ISA": isa}).splitlines()
    return [json.loads(line) for line in lines]


def row(bench, code, tried, clock, costs, rounding):
    plan = min(tried, key=lambda plan: plan["cycles"])
    # The highest clock that was seen: a lower one is of a moment when others ran.
    cycles, added = plan["cycles"] / plan["clock"] * clock, plan["added"]
    parts = {part: sum(plan[name] * costs[name] for name in names) for part, names in PARTS.items()}
    unexplained = cycles - sum(parts.values())
    adding = parts["adding"] + max(unexplained, 0)
    share = lambda part: f"{part / cycles:.0%}"
    bench.row(
        plan["layer"].replace("->", "→").replace(" @", ", ") + "²",
        code,
        f"{clock / 1e9:.2f}",
        f"{cycles / 1e3:.0f}",
        f"{added / cycles:.2f}",
        f"{added / adding:.2f}",
        f"{added / adding / 2:.0%}",
        f"{added / (adding + parts['reloading sums']) / 2:.0%}",
        *map(share, parts.values()),
        share(unexplained),
        share(rounding) if "i16" in code else "",
    )
    bench.json.setdefault("share", []).append({**plan, "clock": clock, "costs": costs, "parts": parts, "rounding": rounding})
