#!/usr/bin/env python3
"""What an epoch of MNIST takes: `twnc train` beside PyTorch, the same network by the same recipe, in turns.

    training_time.py IDX_FOLDER TWNC [--rounds 3] [--threads 2]

LeNet-5 of testsuite/models, every weight ternary in each step (threshold 0.7 of the mean magnitude, straight through), Adam, batches of 64, no augmentation. Needs PyTorch and
numpy. Of PyTorch the first 100 steps, in which it prepares itself, are not counted; of twnc, what its epoch says, which begins when data are read. Prints the medians and their quotient.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pytorch_training import Ternary

MODEL = pathlib.Path(__file__).resolve().parents[1] / "models" / "lenet5_float.onnx"
BATCH = 64


class Convolution(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, Ternary.apply(self.weight))


class Linear(nn.Linear):
    def forward(self, x):
        return F.linear(x, Ternary.apply(self.weight), self.bias)


def lenet():
    block = lambda layer, width: [layer, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *block(Convolution(1, 32, 5, bias=False), 32), *block(Convolution(32, 64, 5, bias=False), 64),
        nn.Flatten(), Linear(1024, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU(), Linear(512, 10),
    )


def epoch(model, optimiser, images, labels, steps):
    order, start = torch.randperm(len(images)), time.perf_counter()
    for step in range(steps):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        optimiser.zero_grad()
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimiser.step()
    return time.perf_counter() - start


def ours(twnc, folder, threads):
    with tempfile.TemporaryDirectory() as scratch:
        command = [twnc, "train", MODEL, "--data", folder / "train-images-idx3-ubyte", "--labels", folder / "train-labels-idx1-ubyte",
                   "--fresh", "--epochs", "1", "--batch", str(BATCH), "-o", pathlib.Path(scratch) / "trained.onnx"]
        # A thread for each processor that it may use.
        processors = set(sorted(os.sched_getaffinity(0))[:threads])
        done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, processors))
    return float(re.findall(r"^epoch .* ([0-9.]+) s$", done.stdout + done.stderr, re.M)[-1])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("idx", type=pathlib.Path)
    arguments.add_argument("twnc", type=pathlib.Path)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    read = lambda name, skip: np.fromfile(options.idx / name, np.uint8)[skip:]
    images = torch.tensor(read("train-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28).astype(np.float32) / 255)
    labels = torch.tensor(read("train-labels-idx1-ubyte", 8).astype(np.int64))
    model = lenet()
    optimiser = torch.optim.Adam(model.parameters())
    epoch(model, optimiser, images, labels, 100)
    times = {"PyTorch": [], "twnc": []}
    for _ in range(options.rounds):
        times["PyTorch"].append(epoch(model, optimiser, images, labels, len(images) // BATCH))
        times["twnc"].append(ours(options.twnc.resolve(), options.idx, options.threads))
    medians = {name: statistics.median(list) for name, list in times.items()}
    for name, list in times.items():
        print(f"{name:8} {medians[name]:6.1f} s an epoch ({', '.join(f'{seconds:.1f}' for seconds in sorted(list))})")
    print(f"twnc takes {medians['twnc'] / medians['PyTorch']:.2f} of PyTorch {torch.__version__}, {options.threads} threads")


if __name__ == "__main__":
    main()
