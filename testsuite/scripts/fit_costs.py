#!/usr/bin/env python3
"""Fits the costs of table kernels to measured plans: what each thing that a kernel does takes, in cycles.

    cargo run --release -p twnc-jit --example layers -- --plans 24 > plans.jsonl
    fit_costs.py plans.jsonl

Costs are not negative and minimise the squared relative error over the plans of a kind of code and of numbers. Printed are
the costs as runtime/jit/src/accumulate/cost.rs has them, the median error, and what the plans that they rank first lose
against the fastest that was measured, layer by layer.
"""

import collections
import json
import statistics
import sys

import numpy as np
from scipy.optimize import nnls

TAKEN = ("layer", "isa", "element", "rank", "clock", "cycles")


def fit(plans):
    """The names of what is counted; the counts, a row for each plan; and what one of each takes."""
    names = [name for name in plans[0] if name not in TAKEN]
    measured = np.array([plan["cycles"] for plan in plans])
    counts = np.array([[plan[name] for name in names] for plan in plans])
    # Relative errors: a layer that takes long counts no more than others.
    costs, _ = nnls(counts / measured[:, None], np.ones(len(plans)))
    return names, counts, costs


def main():
    with open(sys.argv[1]) as file:
        plans = [json.loads(line) for line in file]
    kinds = collections.defaultdict(list)
    for plan in plans:
        kinds[plan["isa"], plan["element"]].append(plan)
    for kind, plans in kinds.items():
        names, counts, costs = fit(plans)
        measured = np.array([plan["cycles"] for plan in plans])
        estimated = counts @ costs
        errors = np.abs(estimated / measured - 1)
        print(f"{kind[0]} {kind[1]}: {len(plans)} plans, median error {statistics.median(errors):.1%}")
        print("    " + ", ".join(f"{name}: {cost:.2f}" for name, cost in zip(names, costs)))
        for layer in dict.fromkeys(plan["layer"] for plan in plans):
            rows = [i for i, plan in enumerate(plans) if plan["layer"] == layer]
            chosen = min(rows, key=lambda i: estimated[i])
            best = min(rows, key=lambda i: measured[i])
            first = min(rows, key=lambda i: plans[i]["rank"])
            print(
                f"    {layer:20} first {measured[first] / measured[best]:.2f}, fitted {measured[chosen] / measured[best]:.2f}"
                f" of the best (rank {plans[best]['rank']}, {measured[best] / 1e6:.2f} M cycles)"
            )


if __name__ == "__main__":
    main()
