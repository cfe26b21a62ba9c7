#!/usr/bin/env python3
"""Three steps of training by PyTorch (1.13), as numbers that `compiler/train/tests/pytorch.rs` compares with.

    testsuite/scripts/pytorch_training.py > compiler/train/tests/fixtures/pytorch.txt

A convolution and a linear layer, ternary by a straight-through function, with a batch norm between them; SGD with momentum, and Adam; weight decay
on both weights.
"""

import torch
import torch.nn.functional as F


class Ternary(torch.autograd.Function):
    @staticmethod
    def forward(_, w):
        mask = (w.abs() > 0.7 * w.abs().mean()).float()
        return (w.abs() * mask).sum() / mask.sum() * w.sign() * mask

    @staticmethod
    def backward(_, gradient):
        return gradient


def train(optimiser):
    torch.manual_seed(3)
    x, labels = torch.randn(6, 2, 5, 5), torch.tensor([0, 1, 2, 2, 1, 0])
    start = {"w1": torch.randn(4, 2, 3, 3) * 0.3, "g": torch.ones(4), "b": torch.zeros(4), "w2": torch.randn(36, 3) * 0.3, "b2": torch.zeros(3)}
    p = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    mean, variance = torch.zeros(4), torch.ones(4)
    weights, others = [p["w1"], p["w2"]], [p["g"], p["b"], p["b2"]]
    step = optimiser([{"params": weights, "weight_decay": 1e-2}, {"params": others, "weight_decay": 0}])
    losses = []
    for _ in range(3):
        step.zero_grad()
        y = F.batch_norm(F.conv2d(x, Ternary.apply(p["w1"])), mean, variance, p["g"], p["b"], True, 0.1, 1e-5)
        loss = F.cross_entropy(F.relu(y).flatten(1) @ Ternary.apply(p["w2"]) + p["b2"], labels)
        loss.backward()
        step.step()
        losses.append(loss.item())
    results = {"losses": torch.tensor(losses), **{name: tensor.detach() for name, tensor in p.items()}, "mean": mean, "var": variance}
    return x, start, results


def line(name, tensor):
    print(name, *(f"{x:.7g}" for x in tensor.flatten().tolist()))


def main():
    torch.set_num_threads(1)
    OPTIMISERS = {
        "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
        "adam": lambda groups: torch.optim.Adam(groups, lr=0.01),
    }
    for name, optimiser in OPTIMISERS.items():
        x, start, results = train(optimiser)
        if name == "sgd":
            line("x", x)
            line("w1", start["w1"])
            line("w2", start["w2"])
        for what, tensor in results.items():
            line(f"{name}.{what}", tensor)


if __name__ == "__main__":
    main()
