#!/usr/bin/env python3
"""Seeds the bugs of mutants.toml, one at a time, and says which of them a test finds.

    testsuite/scripts/mutants.py                    all of them
    testsuite/scripts/mutants.py --only 12-20       these, by number; or by a part of their names
    testsuite/scripts/mutants.py --table            what was found so far, as a table

It works on a copy of what git knows of the repository, in target/mutants, that shares the repository's dependencies, and leaves the sources
alone. A mutant that does not compile is an error of the list, and so are tests that fail without one. What was found is kept in
target/mutants/found.json; exit code 1 says that a mutant survived.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "target" / "mutants"
COPY = PLACE / "copy"
FOUND = PLACE / "found.json"


def chosen(mutants, only):
    """Numbers, from 1, of the mutants that `only` names."""
    first, _, last = only.partition("-")
    if first.isdigit() and (last or first).isdigit():
        return range(int(first), min(int(last or first), len(mutants)) + 1)
    return [i for i, mutant in enumerate(mutants, 1) if only in mutant["name"]]


def synchronise():
    """Makes the copy what the repository is; files that did not change keep their times, so that they are not built again."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
    wanted = [Path(name) for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    if COPY.exists():
        for stale in {p.relative_to(COPY) for p in COPY.rglob("*") if p.is_file()} - set(wanted):
            (COPY / stale).unlink()
    for name in wanted:
        target = COPY / name
        if not target.is_file() or target.read_bytes() != (ROOT / name).read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    tested = [name for name in wanted if "scripts" not in name.parts]
    return hashlib.sha256(b"".join((COPY / name).read_bytes() for name in tested)).hexdigest()


def cargo(test, *more):
    """Runs tests of the copy, or with `--no-run` builds them."""
    command = ["cargo", "test", "--quiet", "--locked", *more, *test.split(" ")]
    environment = {**os.environ, "INSTA_UPDATE": "no", "CARGO_TARGET_DIR": str(ROOT / "target")}
    return subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True)


def run(mutant):
    """Whether a test fails with the bug in its place, which, and how long that took."""
    path = COPY / mutant["file"]
    source = path.read_text()
    if source.count(mutant["search"]) != 1:
        sys.exit(f"{mutant['name']}: its text occurs {source.count(mutant['search'])} times in {mutant['file']}")
    start = time.monotonic()
    path.write_text(source.replace(mutant["search"], mutant["replace"]))
    try:
        built = cargo(mutant["test"], "--no-run")
        if built.returncode != 0:
            sys.exit(f"{mutant['name']} does not compile:\n{built.stderr}")
        result = cargo(mutant["test"])
    finally:
        path.write_text(source)
    # The list of failures at the end of a test binary's output.
    failed = [line.strip() for line in result.stdout.splitlines() if line.startswith("    ") and line.strip().replace("_", "").replace("::", "").isalnum()]
    return {"killed": result.returncode != 0, "by": sorted(set(failed)), "seconds": round(time.monotonic() - start)}


def table(mutants, found):
    lines = ["| bug | in | tests | |", "|---|---|---|---|"]
    for mutant in mutants:
        outcome = found.get(mutant["name"])
        word = "not run" if outcome is None else "found" if outcome["killed"] else "**survives**"
        lines.append(f"| {mutant['name']} | `{mutant['file']}` | `{mutant['test']}` | {word} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="numbers such as 12-20, or a part of names")
    parser.add_argument("--table", action="store_true", help="print what was found so far and run nothing")
    options = parser.parse_args()
    mutants = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["mutant"]
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    if options.table:
        print(table(mutants, found))
        return 0
    PLACE.mkdir(parents=True, exist_ok=True)
    state = synchronise()
    numbers = chosen(mutants, options.only) if options.only else range(1, len(mutants) + 1)
    for number in numbers:
        mutant = mutants[number - 1]
        clean = f"{state} {mutant['test']}"
        if clean not in found:
            result = cargo(mutant["test"])
            if result.returncode != 0:
                sys.exit(f"{mutant['test']} fails without a bug:\n{result.stdout}{result.stderr}")
            found[clean] = True
        outcome = found[mutant["name"]] = run(mutant)
        FOUND.write_text(json.dumps(found, indent=1))
        word = "found" if outcome["killed"] else "SURVIVES"
        print(f"{number:3} {word:8} {outcome['seconds']:4} s  {mutant['name']}  {' '.join(outcome['by'][:2])}", flush=True)
    survivors = [mutants[n - 1]["name"] for n in numbers if not found[mutants[n - 1]["name"]]["killed"]]
    print(f"{len(numbers) - len(survivors)} of {len(numbers)} are found")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
