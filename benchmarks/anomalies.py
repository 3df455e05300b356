"""Malignant tumours as odd rows: a model fitted to half of the benign ones of breast_cancer, and how well it tells.

    PYTHONPATH=src python benchmarks/anomalies.py            # five seeds, a minute or two of one core

`vk.VAE().fit(frame)` and, of plain arrays, `vk.OutlierDetector()`, with their defaults, beside the error of 10
principal components, a normal distribution with full covariance, and the squared distance from the mean in units of
each column's deviation, all fitted to the same rows and judged by the ROC-AUC of malignant rows against the other half
of the benign ones. Every score is asked for twice, and has to be the same to the bit.
"""

from __future__ import annotations

import argparse
import platform
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import standard_error

import vaekit as vk
from vaekit.evaluation import roc_auc


def simple(normal, rows):
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    mean, scale = normal.mean(0), normal.std(0)
    a, b = ((t - mean) / scale for t in (normal, rows))
    pca = PCA(10).fit(a)
    yield "10 principal components", np.square(b - pca.inverse_transform(pca.transform(b))).sum(1)
    yield "normal, full covariance", -GaussianMixture(1, reg_covar=1e-3).fit(a).score_samples(b)
    yield "distance from the mean", np.square(b).sum(1)


def ours(normal, rows, columns, seed):
    """Scores of a table's rows and of an array's, each asked for twice."""
    frame, test = (pd.DataFrame(t, columns=columns) for t in (normal, rows))
    vae = vk.VAE(seed=seed, threads=1, compile=False).fit(frame)
    detector, of_table = vk.OutlierDetector(seed=seed).fit(normal), vk.OutlierDetector(seed=seed).fit(frame)
    for name, score in (
        ("ours, vk.VAE().fit(frame)", partial(vae.anomaly_score, test)),
        ("ours, vk.OutlierDetector() of a table", partial(of_table.decision_function, test)),
        ("ours, vk.OutlierDetector() of an array", partial(detector.decision_function, rows)),
    ):
        scores = score()
        assert np.array_equal(scores, score()), "a score has changed between two calls"
        yield name, scores


def one(x, benign, columns, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(benign))
    normal, test = x[order[: len(order) // 2]], np.concatenate([order[len(order) // 2 :], np.flatnonzero(~benign)])
    rows, odd = x[test], ~benign[test]
    found = {**dict(ours(normal, rows, columns, seed)), **dict(simple(normal, rows))}
    return {name: roc_auc(values, odd).value for name, values in found.items()}


def main() -> None:
    from sklearn.datasets import load_breast_cancer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="write the table to this file")
    args = parser.parse_args()
    data, found = load_breast_cancer(), []
    for seed in range(args.seeds):
        found.append(one(data.data, data.target == 1, data.feature_names, seed))
        print(seed, {n: round(v, 4) for n, v in found[-1].items()}, flush=True)
    lines = ["| score | ROC-AUC | standard error over seeds |", "|---|---|---|"]
    for name in found[0]:
        values = np.array([f[name] for f in found])
        lines.append(f"| {name} | {values.mean():.4f} | {standard_error(values):.4f} |")
    text = "\n".join([*lines, "", f"{args.seeds} seeds, {platform.machine()}, torch {torch.__version__}"])
    print(text)
    if args.output:
        args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
