#!/usr/bin/env python3
"""Seeds the bugs of mutants.toml, one at a time, and says which of them a test finds.

    testsuite/scripts/mutants.py                    all of them
    testsuite/scripts/mutants.py --only 12-20       these, by number; or by a part of their names or files
    testsuite/scripts/mutants.py --rest             those that were not found yet, or whose file, text or tests are other ones than then
    testsuite/scripts/mutants.py --check            runs nothing, and says which texts do not occur once; `cargo test -p testsuite` does so too
    testsuite/scripts/mutants.py --table            what was found so far, as a table

It needs Python 3.11, git and cargo; all of them take one to two hours on two cores. It works on a copy of what git knows of the repository, in
target/mutants, that shares the repository's dependencies, and leaves the sources alone. A mutant that does not compile is an error of the
list, and so are tests that fail without one. Tests that do not end within ten minutes have found it. What was found is kept in
target/mutants/found.json; exit code 1 says that a mutant survived, 2 that the list is wrong.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "target" / "mutants"
COPY = PLACE / "copy"
FOUND = PLACE / "found.json"
# Seconds that tests may take with a bug in place.
LONGEST = 600


def chosen(mutants, only):
    """Numbers, from 1, of the mutants that `only` names."""
    first, _, last = only.partition("-")
    if first.isdigit() and (last or first).isdigit():
        return range(int(first), min(int(last or first), len(mutants)) + 1)
    return [i for i, mutant in enumerate(mutants, 1) if only in mutant["name"] or only in mutant["file"]]


def faults(mutants):
    """What is wrong with the list: texts that do not occur once, or that are replaced by themselves."""
    for number, mutant in enumerate(mutants, 1):
        path = ROOT / mutant["file"]
        count = path.read_text().count(mutant["search"]) if path.is_file() else 0
        if count != 1 or mutant["search"] == mutant["replace"]:
            yield f"{number} {mutant['name']}: its text occurs {count} times in {mutant['file']}, or is what takes its place"


def version(mutant):
    """Changes with the mutant and with the file that it is put into."""
    parts = [(ROOT / mutant["file"]).read_text(), *mutant.values()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


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


def fail(message):
    print(message, file=sys.stderr)
    sys.exit(2)


def cargo(test, *more, longest=None):
    """Runs tests of the copy, or with `--no-run` builds them; with all their processes they end after `longest` seconds."""
    command = ["cargo", "test", "--quiet", "--locked", *more, *test.split(" ")]
    environment = {**os.environ, "INSTA_UPDATE": "no", "CARGO_TARGET_DIR": str(ROOT / "target")}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=COPY, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            output, errors = process.communicate(timeout=longest)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def run(mutant):
    """Whether a test fails with the bug in its place, which, and how long that took."""
    path = COPY / mutant["file"]
    source = path.read_text()
    start = time.monotonic()
    path.write_text(source.replace(mutant["search"], mutant["replace"]))
    try:
        built = cargo(mutant["test"], "--no-run")
        if built.returncode != 0:
            fail(f"{mutant['name']} does not compile:\n{built.stderr}")
        result = cargo(mutant["test"], longest=LONGEST)
    finally:
        path.write_text(source)
    # The list of failures at the end of a test binary's output.
    failed = [line.strip() for line in result.stdout.splitlines() if line.startswith("    ") and line.strip().replace("_", "").replace("::", "").isalnum()]
    seconds = round(time.monotonic() - start)
    return {"killed": result.returncode != 0, "by": sorted(set(failed)), "seconds": seconds, "version": version(mutant)}


def table(mutants, found):
    lines = ["| bug | in | tests | |", "|---|---|---|---|"]
    for mutant in mutants:
        outcome = found.get(mutant["name"])
        word = "not run" if outcome is None else "found" if outcome["killed"] else "**survives**"
        lines.append(f"| {mutant['name']} | `{mutant['file']}` | `{mutant['test']}` | {word} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="numbers such as 12-20, or a part of names or files")
    parser.add_argument("--rest", action="store_true", help="of these, those that were not found as they are now")
    parser.add_argument("--check", action="store_true", help="check the list and run nothing")
    parser.add_argument("--table", action="store_true", help="print what was found so far and run nothing")
    options = parser.parse_args()
    mutants = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["mutant"]
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    if options.table:
        print(table(mutants, found))
        return 0
    if wrong := list(faults(mutants)):
        fail("\n".join(wrong))
    numbers = list(chosen(mutants, options.only) if options.only else range(1, len(mutants) + 1))
    if options.rest:
        as_now = {name for name, outcome in found.items() if outcome is not True and outcome["killed"] and "version" in outcome}
        numbers = [n for n in numbers if mutants[n - 1]["name"] not in as_now or found[mutants[n - 1]["name"]]["version"] != version(mutants[n - 1])]
    if options.check:
        print(f"{len(mutants)} bugs can be seeded; {len(numbers)} are chosen")
        return 0
    PLACE.mkdir(parents=True, exist_ok=True)
    state = synchronise()
    for number in numbers:
        mutant = mutants[number - 1]
        clean = f"{state} {mutant['test']}"
        if clean not in found:
            result = cargo(mutant["test"])
            if result.returncode != 0:
                fail(f"{mutant['test']} fails without a bug:\n{result.stdout}{result.stderr}")
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
