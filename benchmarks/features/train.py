"""Trains the classifier behind `vaekit.evaluation.digit_features` on MNIST's training set, and writes its weights.

    python benchmarks/features/train.py [--epochs 8] [-o digit_features.safetensors]

It prints the accuracy on the test set and the SHA-256, which `src/vaekit/evaluation/digit_features.py` states. Other
machines and versions of torch round differently: a file trained again has another hash, and is another yardstick.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import torch
from safetensors.torch import save

import vaekit as vk
from vaekit.evaluation.digit_features import DigitClassifier

BATCH = 128


def pixels(x):
    return torch.from_numpy(x).float() / 255


def shifted(x, generator):
    """Each image moved by up to two pixels either way: the features should not hang on the place."""
    moves = torch.randint(-2, 3, (len(x), 2), generator=generator)
    rows, columns = ((torch.arange(28) - m.unsqueeze(1)) % 28 for m in moves.T)
    return x[torch.arange(len(x)).reshape(-1, 1, 1), rows.unsqueeze(2), columns.unsqueeze(1)]


@torch.no_grad()
def accuracy(model, x, y):
    return float(torch.cat([model(part).argmax(1) for part in x.split(1000)]).eq(y).double().mean())


@torch.no_grad()
def rescale(model, x):
    """Gives the features a mean variance of 1 over the images, and leaves the classes as they were."""
    scale = torch.cat([model.features(part) for part in x.split(1000)]).var(0).mean().sqrt()
    model.hidden.weight.div_(scale), model.hidden.bias.div_(scale)
    model.classes.weight.mul_(scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path, default=Path("digit_features.safetensors"))
    args = parser.parse_args()
    (x, y), (x_test, y_test) = vk.datasets.mnist(labels=True)
    x, y, x_test, y_test = pixels(x), torch.from_numpy(y), pixels(x_test), torch.from_numpy(y_test)
    torch.manual_seed(0)
    generator, model = torch.Generator().manual_seed(0), DigitClassifier()
    optimiser = torch.optim.Adam(model.parameters())
    steps = args.epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    start = time.perf_counter()
    for epoch in range(args.epochs):
        for index in torch.randperm(len(x), generator=generator).split(BATCH)[: len(x) // BATCH]:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(shifted(x[index], generator)), y[index]).backward()
            optimiser.step()
            schedule.step()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}: {accuracy(model, x_test, y_test):.4f} right after {seconds:.0f} s", flush=True)
    rescale(model, x)
    print(f"{accuracy(model, x_test, y_test):.4f} right on the test set")
    content = save({name: t.detach().contiguous() for name, t in model.state_dict().items()})
    args.output.write_bytes(content)
    print(f"{args.output}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
