#!/usr/bin/env python3
"""Opens pages of `--report` in headless Chromium: the pictures of docs/accuracy.md, and whether anything is said on the console.

    reports.py SCRATCH REPORT.html... [--docs FOLDER]

For each page, SCRATCH gets NAME-light.png, NAME-dark.png, NAME-narrow.png and NAME.pdf. --docs also writes, in few colours, the light picture of
the first page and the dark one of the others. It fails where the console says anything, where the table of layers does not have all layers, and
where a picture for the documentation has more than 150 kB. Those of the documentation are made by

    testsuite generate resnet18 -o resnet18.onnx
    twnc resnet18.onnx --report resnet18.html -o resnet18.bin
    twnc tiny_resnet8.onnx --calibrate cifar512.npz --fine-tune none --report tiny_resnet8.html -o resnet8.bin
    reports.py SCRATCH resnet18.html tiny_resnet8.html --docs docs
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys

from PIL import Image

# What is drawn: name, size of the window, and whether it is dark (as Chromium numbers that).
VIEWS = [("light", (1360, 1500), 1), ("dark", (1360, 1500), 0), ("narrow", (480, 2400), 1)]
COLOURS = 96
LARGEST = 150_000


def chromium(scratch, *words):
    program = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if program is None:
        raise SystemExit("there is no Chromium (apt install chromium)")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", f"--user-data-dir={scratch / 'profile'}"]
    return subprocess.run([program, *options, *words], capture_output=True, text=True, timeout=600, check=True)


def check(scratch, page):
    """What is wrong with a page."""
    done = chromium(scratch, "--dump-dom", page.as_uri())
    wrong = re.findall(r"CONSOLE.*", done.stderr)
    report = json.loads(re.search(r'type="application/json">(.*?)</script>', page.read_text(), re.S)[1])
    rows = len(re.findall(r'<td class="text"><button', done.stdout))
    if rows != len(report["layers"]):
        wrong.append(f"the table has {rows} of {len(report['layers'])} layers")
    return wrong


def draw(scratch, page, folder, kept):
    """What is wrong with the pictures of a page, once they are drawn; `folder` gets the one whose name is `kept`."""
    wrong = []
    for name, (width, height), scheme in VIEWS:
        picture = scratch / f"{page.stem}-{name}.png"
        chromium(scratch, f"--window-size={width},{height}", f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={picture}", page.as_uri())
        if folder and name == kept:
            small = folder / f"report-{page.stem}.png"
            Image.open(picture).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(small, optimize=True)
            if small.stat().st_size > LARGEST:
                wrong.append(f"{small.name} has {small.stat().st_size} bytes")
    chromium(scratch, f"--print-to-pdf={scratch / page.stem}.pdf", "--no-pdf-header-footer", page.as_uri())
    return wrong


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("scratch", type=pathlib.Path)
    arguments.add_argument("pages", type=pathlib.Path, nargs="+")
    arguments.add_argument("--docs", type=pathlib.Path, metavar="FOLDER", help="where the documentation has its pictures")
    options = arguments.parse_args()
    scratch = options.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    failed = False
    for page in options.pages:
        kept = "light" if page == options.pages[0] else "dark"
        wrong = check(scratch, page.resolve()) + draw(scratch, page.resolve(), options.docs, kept)
        print(f"{page.name}: {'; '.join(wrong) or 'nothing on the console'}")
        failed |= bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
