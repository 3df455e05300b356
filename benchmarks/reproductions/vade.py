"""Clusters of MNIST without labels: VaDE, beside Jiang et al. 2017 (arXiv:1611.05148), table 2.

    python benchmarks/reproductions/vade.py                # 5 seeds
    python benchmarks/reproductions/vade.py --rows 20000 --seeds 1 --epochs 20

The accuracy is that of the best assignment of clusters to digits, on the test set. What differs from the paper: the
autoencoder is trained whole, for some epochs, instead of layer by layer for hundreds of thousands of steps; the
components have full covariances; ten times fewer epochs; the paper tells the best of ten runs.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

import vaekit as vk

PAPER = 94.46


def accuracy(told: np.ndarray, y: np.ndarray) -> float:
    """Per cent right under the best assignment of clusters to classes."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((10, 10), int)
    np.add.at(counts, (told, y), 1)
    rows, columns = linear_sum_assignment(-counts)
    return 100 * float(counts[rows, columns].sum() / len(y))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--pretraining", type=int, default=15)
    parser.add_argument("--hidden", type=int, nargs="+", default=[500, 500])
    args = parser.parse_args()
    (x, _), (x_test, y_test) = vk.datasets.mnist(labels=True)
    print(f"torch {torch.__version__}, {args.rows:,} rows, {args.pretraining} + {args.epochs} epochs")
    found, start = [], time.perf_counter()
    for seed in range(args.seeds):
        chosen = np.random.default_rng(seed).permutation(len(x))[: args.rows]
        recipe = vk.recipes.vade(pretraining=args.pretraining, hidden=tuple(args.hidden))
        vae = vk.VAE(10, recipe=recipe, epochs=args.epochs, validation=0, seed=seed).fit(x[chosen])
        found.append(accuracy(vae.predict(x_test), y_test))
        print(f"VaDE, seed {seed}: {found[-1]:.2f}% after {time.perf_counter() - start:.0f} s", flush=True)
    spread = f" ± {statistics.stdev(found) / len(found) ** 0.5:.2f}" if len(found) > 1 else ""
    middle, mean = statistics.median(found), statistics.mean(found)
    print(f"VaDE: median {middle:.2f}%, mean {mean:.2f}{spread}; paper {PAPER}%, the best of ten runs", flush=True)


if __name__ == "__main__":
    main()
