"""Seconds per epoch of the classic MNIST model: vaekit beside two loops by hand in PyTorch, in turn, in one run.

    python benchmarks/classic.py [--rounds 5] [--epochs 2] [--out benchmarks/results/classic.json]

Every contender trains 784-128-2-128-784 with cross-entropy + KL, Adam 1e-3, batch 128, on the 60,000 images. Each
round trains all of them once; the table gives medians over rounds and the median of the ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import vaekit as vk


class ByHand(nn.Module):
    """The model as a tutorial writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mu, self.log_var = nn.Linear(784, 128), nn.Linear(128, 2), nn.Linear(128, 2)
        self.up, self.out = nn.Linear(2, 128), nn.Linear(128, 784)

    def loss(self, x: Tensor) -> Tensor:
        h = F.relu(self.hidden(x))
        mu, log_var = self.mu(h), self.log_var(h)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        logits = self.out(F.relu(self.up(z)))
        distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return (distortion - 0.5 * torch.sum(1 + log_var - mu.square() - log_var.exp())) / len(x)


def step(model: ByHand, optimiser: torch.optim.Optimizer, x: Tensor) -> None:
    optimiser.zero_grad()
    model.loss(x).backward()
    optimiser.step()


def with_vaekit(x: np.ndarray, epochs: int) -> None:
    vk.VAE(epochs=epochs, validation=0).fit(x)


def with_data_loader(x: np.ndarray, epochs: int) -> None:
    data = torch.from_numpy(x).reshape(-1, 784).float() / 255
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data), batch_size=128, shuffle=True)
    model = ByHand()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        for (rows,) in loader:
            step(model, optimiser, rows)


def with_indexed_tensors(x: np.ndarray, epochs: int) -> None:
    data = torch.from_numpy(x).reshape(-1, 784).float() / 255
    model = ByHand()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    for _ in range(epochs):
        for index in torch.randperm(len(data)).split(128):
            step(model, optimiser, data[index])


CONTENDERS: dict[str, Callable[[np.ndarray, int], None]] = {
    "vaekit": with_vaekit,
    "PyTorch, DataLoader": with_data_loader,
    "PyTorch, indexed tensors, fused Adam": with_indexed_tensors,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    x = vk.datasets.mnist()[0]
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(args.rounds):
        for name, run in CONTENDERS.items():
            start = time.perf_counter()
            run(x, args.epochs)
            seconds[name].append((time.perf_counter() - start) / args.epochs)
    record = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "versions": {"vaekit": vk.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "rounds": args.rounds,
        "epochs": args.epochs,
        "seconds_per_epoch": seconds,
    }
    print(record["machine"], record["versions"])
    for name, times in seconds.items():
        ratios = [t / own for t, own in zip(times, seconds["vaekit"])]
        print(f"{name:<38} {statistics.median(times):6.2f} s/epoch   {statistics.median(ratios):5.2f} x vaekit")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
