"""Normal against von Mises-Fisher posteriors on binarised MNIST: Davidson et al. 2018, arXiv:1804.00891, table 1.

    PYTHONPATH=src python benchmarks/reproductions/hyperspherical.py
    PYTHONPATH=src python benchmarks/reproductions/hyperspherical.py --dimensions 2 --epochs 100 --test-rows 10000

Needs what vaekit does. Both posteriors between the same dense networks, 784-256-128 and back, binarised anew at each
pass; -log p(x) by 500 importance samples on test rows, with its standard error over them. A dimension d is that of the
manifold, as in the paper: the sphere S^d lies in d + 1 numbers, which the decoder reads.

The paper trains in batches of 64 with a warm-up of the rate and stops early, after up to 1000 epochs. Here a run is
shortened: batches of 128 without a warm-up, and a learning rate that falls to 0 along a cosine.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import torch

import vaekit as vk
from vaekit.latents import Latent, Normal, StandardNormal, UniformSphere, VonMisesFisher
from vaekit.likelihoods import Bernoulli
from vaekit.networks import MLP

PAPER = {2: (135.73, 132.50), 5: (110.21, 108.43), 10: (93.84, 93.16), 20: (88.90, 89.02), 40: (88.93, 90.87)}
"""By dimension: -log p(x) of the normal and of the spherical model."""
HIDDEN, DRAWS = (256, 128), 500


def latents(dimension: int) -> dict[str, Latent]:
    return {
        "normal": Latent(Normal(dimension), StandardNormal()),
        "spherical": Latent(VonMisesFisher(dimension + 1), UniformSphere()),
    }


def trained(latent: Latent, x: np.ndarray, epochs: int, seed: int) -> vk.VAE:
    """validation=0: nothing is chosen by held-out rows, so that all of them teach."""
    return vk.VAE(
        latent=latent,
        encoder=MLP(HIDDEN),
        decoder=MLP(HIDDEN[::-1]),
        likelihood=Bernoulli(binarise="dynamic"),
        epochs=epochs,
        schedule="cosine",
        validation=0,
        seed=seed,
    ).fit(x)


def compare(dimension: int, x: np.ndarray, x_test: np.ndarray, epochs: int, seed: int) -> None:
    scores = {}
    for (name, latent), paper in zip(latents(dimension).items(), PAPER.get(dimension, (np.nan, np.nan))):
        start = time.perf_counter()
        model = trained(latent, x, epochs, seed)
        scores[name] = -model.score_samples(x_test, draws=DRAWS).astype(np.float64)
        mean, error = scores[name].mean(), standard_error(scores[name])
        took = time.perf_counter() - start
        print(f"{dimension:>3}  {name:<10} {mean:9.2f} ± {error:4.2f} {paper:9.2f} {mean - paper:+8.2f} {took:8.0f}")
    ahead = scores["normal"] - scores["spherical"]
    print(
        f"     spherical ahead by {ahead.mean():.2f} ± {standard_error(ahead):.2f} nats, on the same rows", flush=True
    )


def standard_error(rows: np.ndarray) -> float:
    return float(rows.std(ddof=1) / np.sqrt(len(rows)))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--epochs", type=int, default=40, help="of all 60,000 rows")
    arguments.add_argument("--dimensions", type=int, nargs="+", default=[2, 5, 10])
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--test-rows", type=int, default=1000, help="the first of 10,000")
    given = arguments.parse_args()
    x, x_test = vk.datasets.mnist()
    x_test = x_test[: given.test_rows]
    print(
        f"A shortened run: {given.epochs} epochs, where the paper takes up to 1000 with early stopping; seed "
        f"{given.seed}, {len(x_test):,} test rows, {DRAWS} importance samples; torch {torch.__version__}, "
        f"{os.cpu_count()} cores.\n\n"
        "  d  posterior    -log p(x), nats     paper     less  seconds"
    )
    for dimension in given.dimensions:
        compare(dimension, x, x_test, given.epochs, given.seed)


if __name__ == "__main__":
    main()
