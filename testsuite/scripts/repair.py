#!/usr/bin/env python3
"""What repair without labels (`twnc --calibrate`) brings: the tables of docs/accuracy.md.

    repair.py ZOO SCRATCH [--only NAME]... [--fine-tune] [--option WORD]...

`--option=--max-size=15%` and the like go to the compiler as they are. The network `vgg_fashion` is what `vgg.py` writes and `twnc train` trains, as
docs/accuracy.md says.

ZOO is what zoo.sh fetches (in `words` what pieces of words minilm_l3 reads), with `cifar10/train/CLASS/*.jpg`, `cifar10/test/CLASS/*.jpg` and `imagenet/*.jpg` beside it, and the
networks in `models`. For each network it compiles with samples, and prints what the compiler reports of the samples that it held
out: SQNR of each output against the float network, rounded alone and repaired; and, where there is a test set with labels, the
accuracy on it. Where there are no real inputs, they are made up, and the row says so. A network whose file or data is absent is
skipped, with a word. The seed is fixed.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

from accuracy import MEANS, pixels
from mnist import read_idx
from networks import REPOSITORY, build, call

SEED = 0


def idx(folder):
    def inputs(zoo):
        read = lambda part: read_idx(zoo / folder / f"{part}-images-idx3-ubyte")[:, None].astype(np.float32) / np.float32(255)
        labels = read_idx(zoo / folder / "t10k-labels-idx1-ubyte").astype(np.int64)
        return {"image": some(read("train"), 512)}, ({"image": read("t10k")}, labels)

    return inputs


def cifar10(zoo):
    def files(part):
        folders = sorted((zoo / "cifar10" / part).iterdir())
        return [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.glob("*.jpg"))]

    read = lambda files: np.stack([pixels(path) for path, _ in files])
    train, test = files("train"), files("test")
    chosen = [train[i] for i in np.random.default_rng(SEED).permutation(len(train))[:512]]
    return {"input_1": read(chosen)}, ({"input_1": read(test)}, np.array([label for _, label in test], np.int64))


def photographs(name, count, prepare, labelled=False):
    """So many photographs; with labels, the others are what is measured by."""

    def inputs(zoo):
        files = sorted((zoo / "imagenet").glob("*.jpg"))
        if not files:
            raise FileNotFoundError(zoo / "imagenet/*.jpg")
        order = np.random.default_rng(SEED).permutation(len(files))
        of = lambda chosen: {name: np.stack([prepare(files[i]) for i in chosen]).astype(np.float32)}
        return of(order[:count]), (of(order[count:]), order[count:].astype(np.int64)) if labelled else None

    return inputs


def with_text(path):
    """A photograph with eight words in it, of random letters, sizes and colours."""
    from PIL import Image, ImageDraw, ImageFont

    random = np.random.default_rng([SEED, *path.name.encode()])
    image = Image.open(path).convert("RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        word = "".join(random.choice(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"), random.integers(3, 10)))
        ink, paper = random.permutation([random.integers(0, 90, 3), random.integers(165, 256, 3)])
        at, font = random.integers(0, 180, 2), ImageFont.load_default(int(random.integers(14, 36)))
        box = draw.textbbox(tuple(at), word, font)
        if random.random() < 0.5:
            draw.rectangle([box[0] - 4, box[1] - 4, box[2] + 4, box[3] + 4], tuple(paper))
        draw.text(tuple(at), word, tuple(ink), font)
    return np.asarray(image, np.float32)


def noise(name, shape, smooth):
    """Normal numbers, each axis of `smooth` summed up and scaled, so that neighbours are alike."""

    def inputs(_):
        x = np.random.default_rng(SEED).normal(size=shape)
        for axis in smooth:
            x = np.cumsum(x, axis) / np.sqrt(1 + np.arange(shape[axis])).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        return {name: x.astype(np.float32)}, None

    return inputs


def text(count, length):
    """Pieces of words of the texts that Python's help() shows: real sentences, that any Python has."""

    def inputs(zoo):
        from pydoc_data.topics import topics
        from tokenizers import BertWordPieceTokenizer

        # Marked is where a word begins; BERT's own lists mark what goes on.
        pieces = json.loads((zoo / "words/vocabulary.json").read_text())
        word = lambda piece: piece if piece[0] == "[" and piece[-1] == "]" else piece[1:] if piece[0] == "\u2581" else f"##{piece}"
        tokenizer = BertWordPieceTokenizer({word(piece): i for i, piece in enumerate(pieces)}, lowercase=True)
        ids = tokenizer.encode(" ".join(topics[name] for name in sorted(topics)), add_special_tokens=False).ids
        rows = np.array(ids[: len(ids) // (length - 2) * (length - 2)]).reshape(-1, length - 2)
        ends = np.tile(np.array([[101, 102]]), (len(rows), 1))
        rows = some(np.concatenate([ends[:, :1], rows, ends[:, 1:]], 1), count)
        return {"input_ids": rows, "attention_mask": np.ones_like(rows)}, None

    return inputs


def some(array, count):
    return array[np.random.default_rng(SEED).permutation(len(array))[:count]]


# Network, what its samples are, how they are made, and options.
NETWORKS = [
    ("tiny_resnet8", "CIFAR-10", cifar10),
    ("lenet5_float", "MNIST", idx("mnist")),
    ("vgg_fashion", "Fashion-MNIST", idx("fashion")),
    ("tiny_vww", "photographs", photographs("input_1", 1000, lambda path: pixels(path, 96) / 255)),
    ("resnet50_thin", "photographs", photographs("input_0", 64, lambda path: pixels(path)[..., ::-1] - MEANS)),
    ("ppocr_det", "photographs with words drawn on them", photographs("x", 256, lambda path: ((with_text(path) / 255 - 0.45) / 0.225).transpose(2, 0, 1))),
    ("tiny_kws", "made up: smooth noise", noise("input_1", (512, 49, 10, 1), (1,))),
    ("tiny_ad", "made up: smooth noise", noise("input_1", (2560, 640), (1,))),
    ("minilm_l3", "text: Python's help topics", text(1024, 32)),
    (
        "efficientnet_lite0",
        "photographs",
        photographs("image", 500, lambda path: ((pixels(path) - 127) / 128).transpose(2, 0, 1), labelled=True),
        *[f"--keep=kind:{kind}" for kind in ("first", "depthwise", "last")],
    ),
]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("zoo", type=pathlib.Path)
    arguments.add_argument("scratch", type=pathlib.Path)
    arguments.add_argument("--fine-tune", action="store_true", help="train layers together behind the fit")
    arguments.add_argument("--option", action="append", default=[], metavar="WORD", help="an option of the compiler")
    arguments.add_argument("--only", action="append", default=[], metavar="NAME", help="only this network")
    options = arguments.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    twnc, _ = build()
    print("| network | samples | output | SQNR rounded, dB | repaired, dB | same class rounded | repaired | top-1 float | repaired | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, kind, inputs, *words in NETWORKS:
        if not options.only or name in options.only:
            try:
                measure(twnc, options, name, kind, inputs, words)
            except (FileNotFoundError, ImportError) as error:
                print(f"SKIPPED: {name}: {error}", file=sys.stderr)


def measure(twnc, options, name, kind, inputs, words):
    folders = (options.zoo / "models", REPOSITORY / "testsuite/models")
    network = next((folder / f"{name}.onnx" for folder in folders if (folder / f"{name}.onnx").exists()), None)
    if network is None:
        raise FileNotFoundError(f"no {name}.onnx in {folders[0]}")
    samples, test = inputs(options.zoo)
    np.savez(options.scratch / "samples.npz", **samples)
    compiled = options.scratch / f"{name}.bin"
    start = time.monotonic()
    found = json.loads(call([twnc, network, "-o", compiled, "--calibrate", options.scratch / "samples.npz", "--fine-tune", "auto" if options.fine_tune else "none", *words, *options.option, "--json"]))
    seconds = time.monotonic() - start
    right = ["", ""]
    if test:
        data, labels = test
        np.savez(options.scratch / "test.npz", **data)
        np.save(options.scratch / "labels.npy", labels)
        command = [twnc, "compare", network, compiled, "--data", options.scratch / "test.npz"]
        compared = json.loads(call([*command, "--labels", options.scratch / "labels.npy", "--json"]))
        right = [f"{compared[key]:.2%}" for key in ("top1_float", "top1")]
    repair = found["repair"]
    percent = lambda share: "" if share is None else f"{share:.1%}"
    number = lambda value: "not finite" if value is None else f"{value:.2f}"
    for output in repair["outputs"]:
        agreement = [percent(output[key]) for key in ("agreement_rounded", "agreement")]
        decibels = [number(output[key]) for key in ("sqnr_db_rounded", "sqnr_db")]
        seen = f"{kind}, {repair['fitted']} + {repair['held_out']}"
        print("|", " | ".join([name, seen, output["name"], *decibels, *agreement, *right, f"{seconds:.0f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
