"""Clusters of MNIST without labels: VaDE, beside Jiang et al. 2017 (arXiv:1611.05148), table 2.

    PYTHONPATH=src python benchmarks/reproductions/vade.py
    PYTHONPATH=src python benchmarks/reproductions/vade.py --seeds 1 --epochs 2 --pretraining 5

The accuracy is that of the best assignment of clusters to digits, on the test set. What differs from the paper: the
autoencoder is trained whole, for some epochs, instead of layer by layer for hundreds of thousands of steps; the
components have full covariances; ten times fewer epochs, their products in bfloat16; the paper tells the best of ten
runs.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from protocol import over_seeds

import vaekit as vk


def accuracy(told: np.ndarray, y: np.ndarray) -> float:
    """Per cent right under the best assignment of clusters to classes."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((10, 10), int)
    np.add.at(counts, (told, y), 1)
    rows, columns = linear_sum_assignment(-counts)
    return 100 * float(counts[rows, columns].sum() / len(y))


def run(seed: int, args: argparse.Namespace) -> float:
    x, (x_test, y_test) = vk.datasets.mnist()[0], vk.datasets.mnist(labels=True)[1]
    x = x[np.random.default_rng(seed).permutation(len(x))[: args.rows]]
    recipe = vk.recipes.vade(pretraining=args.pretraining)
    vae = vk.VAE(10, recipe=recipe, epochs=args.epochs, validation=0, precision="bf16", threads=1, seed=seed)
    return accuracy(vae.fit(x).predict(x_test), y_test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--pretraining", type=int, default=40, help="epochs of the autoencoder")
    parser.add_argument("--processes", type=int, default=2, help="seeds at a time, each on one core")
    args = parser.parse_args()
    models = {"VaDE": (partial(run, args=args), "94.46%, the best of ten runs")}
    epochs = f"{args.pretraining} epochs of the autoencoder, {args.epochs} of VaDE, bfloat16"
    notes = f"{args.rows:,} rows without labels, {epochs}"
    over_seeds("Clusters of MNIST without labels: accuracy on the test set", models, args.seeds, args.processes, notes)


if __name__ == "__main__":
    main()
