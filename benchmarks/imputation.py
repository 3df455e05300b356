"""Missing cells of breast_cancer: half of all cells are taken away at random, and filled.

    PYTHONPATH=src python benchmarks/imputation.py            # five seeds, a few minutes of one core

Ours reads the columns in their own units; every method sees the same cells, and is judged on the cells taken away, in
units of each column's standard deviation over all rows. Beside it stand, in the same run: the mean of the column, the
nearest neighbours, chained ridge regressions, and a Gaussian with full covariance by expectation-maximisation. The
second table has one fifth of the cells missing, and the root of the mean squared error after each column is scaled into
[0, 1], as others print it. Ours is `vk.VAE(seed=seed).fit(frame)`, with no other setting.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from measure import standard_error

import vaekit as vk

PACE = dict(threads=1, compile=False)
"""How fast it runs, which changes no figure."""
IMPUTATIONS = 20
PUBLISHED = {"MIWAE (published)": 0.280}


def ours(holed, seed, columns):
    """One filling, and many, by the defaults."""
    import pandas as pd

    frame = pd.DataFrame(holed, columns=columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vae = vk.VAE(seed=seed, **PACE).fit(frame)
    return vae.impute(frame).to_numpy(), np.stack([t.to_numpy() for t in vae.impute(frame, n=IMPUTATIONS)])


def on_arrays(holed, seed, columns):
    """The same recipe of plain arrays, whose columns are taken to be normal."""
    return vk.VAE(recipe="table", seed=seed, missing=True, **PACE).fit(holed).impute(holed), None


def gaussian(holed, steps=200, ridge=1e-3, close=1e-3):
    """A normal distribution with full covariance by expectation-maximisation; `E[missing | seen]`."""
    seen, (mean, scale) = ~np.isnan(holed), (np.nanmean(holed, 0), np.nanstd(holed, 0))
    x, d = np.where(seen, (holed - mean) / scale, 0.0), holed.shape[1]
    center, covariance = np.zeros(d), np.eye(d)
    for _ in range(steps):
        whole, spread = x.copy(), np.zeros((d, d))
        for i, o in enumerate(seen):
            u = ~o
            gain = np.linalg.solve(covariance[np.ix_(o, o)], covariance[np.ix_(o, u)])
            whole[i, u] = center[u] + (x[i, o] - center[o]) @ gain
            spread[np.ix_(u, u)] += covariance[np.ix_(u, u)] - covariance[np.ix_(u, o)] @ gain
        center, before = whole.mean(0), covariance
        covariance = ((whole - center).T @ (whole - center) + spread) / len(x) + ridge * np.eye(d)
        if np.abs(covariance - before).max() < close:
            break
    return whole * scale + mean


def others(holed, seed):
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer

    mean, scale = np.nanmean(holed, 0), np.nanstd(holed, 0)
    z = (holed - mean) / scale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield "mean", np.where(np.isnan(holed), mean, holed)
        yield "nearest neighbours", KNNImputer(n_neighbors=5).fit_transform(z) * scale + mean
        yield "chained regressions", IterativeImputer(random_state=seed, max_iter=10).fit_transform(z) * scale + mean
    yield "Gaussian EM", gaussian(holed)


def covered(many, x, gone, level=0.9):
    """The share of the cells taken away that lie within the central interval of their imputations."""
    ends = ((1 - level) / 2, (1 + level) / 2)
    low, high = np.quantile(many, ends, axis=0, method="weibull")  # of n draws from p, right on average for any n
    return float(((x >= low) & (x <= high))[gone].mean())


def one(x, share, seed, columns, unit):
    gone = np.random.default_rng(seed).random(x.shape) < share
    holed, errors, start = np.where(gone, np.nan, x), {}, time.perf_counter()
    for name, method in (("ours", ours), ("ours, plain arrays", on_arrays)):
        single, many = method(holed, seed, columns)
        errors[name] = np.square((single - x) / unit)[gone].mean()
        if many is not None:
            coverage, seconds = covered(many, x, gone), time.perf_counter() - start
    for name, filled in others(holed, seed):
        errors[name] = np.square((filled - x) / unit)[gone].mean()
    return errors, coverage, seconds


def main() -> None:
    from sklearn.datasets import load_breast_cancer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, help="write the tables to this file")
    args = parser.parse_args()
    data = load_breast_cancer()
    x, columns, lines = data.data, list(data.feature_names), []
    for share, unit, root in ((0.5, x.std(0), False), (0.2, np.ptp(x, 0), True)):
        found = []
        for seed in range(args.seeds):
            found.append(one(x, share, seed, columns, unit))
            shown = {n: round(float(v**0.5 if root else v), 4) for n, v in found[-1][0].items()}
            print(f"{share:.0%} missing, seed {seed}: {shown}, covered {found[-1][1]:.3f}", flush=True)
        errors = {n: np.array([f[0][n] for f in found]) ** (0.5 if root else 1) for n in found[0][0]}
        what = "RMSE, columns in [0, 1]" if root else "MSE, standardised columns"
        lines += [
            f"{share:.0%} of the cells missing: {what}",
            "",
            "| method | mean | standard error |",
            "|---|---|---|",
        ]
        lines += [f"| {n} | {e.mean():.4f} | {standard_error(e):.4f} |" for n, e in errors.items()]
        lines += [f"| {n} | {v:.3f} | |" for n, v in PUBLISHED.items() if not root]
        coverage = [f[1] for f in found]
        lines += ["", f"90% intervals of {IMPUTATIONS} imputations cover {np.mean(coverage):.1%}", ""]
        lines += [f"fit and all imputations: {np.median([f[2] for f in found]):.1f} s, median", ""]
    where = f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)"
    text = "\n".join([*lines, f"{args.seeds} seeds, {where}"])
    print(text)
    if args.output:
        args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
