"""Forecasts of series: what comes after the steps that were seen is filled like any other gap.

    pip install --no-deps aeon                        # for the real series that it ships
    PYTHONPATH=src python benchmarks/forecasting.py   # five seeds; not timed whole

Three sets of series. `oscillators` are drawn here, x_t = R(omega t) a + noise with a ~ N(0, I) in two channels and
omega uniform, so that the best forecast of all, E[future | past], is known: the mean over omega of an exact normal one.
`demand` is Italy's demand for electric power, 24 hours of 1,096 days (Keogh et al. 2006). `vowels` are the twelve
cepstrum coefficients of 640 utterances of 7 to 29 steps (Kudo et al. 1999); both are of the UCR and UEA archives.
Rows of oscillators and vowels end at different steps. Training rows have a tenth of their cells taken away at random;
of test rows everything is hidden after the first three quarters. Errors are in standard deviations of a channel over
the training rows. Beside ours stand the last value seen, a Gaussian with full covariance over all cells by
expectation-maximisation, and the nearest neighbours among whole training rows.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import torch
from imputation import covered, gaussian
from measure import machine, standard_error

import vaekit as vk

RECIPES = ("recurrent", "temporal-conv", "transformer")
SETTINGS = dict(missing=True, schedule="cosine", threads=1, compile=False)
STEPS, LATENTS, IMPUTATIONS, SEEN, GAPS = 6000, 8, 40, 0.75, 0.1
NOISE, RATES = 0.2, (0.2, 0.6)


def oscillators(random, rows=4000, steps=40):
    """(N, T, 2), padded with NaN."""
    omega, start = random.uniform(*RATES, rows), random.normal(size=(rows, 2))
    angle = omega[:, None] * np.arange(steps)
    turned = [start[:, :1] * np.cos(angle) - start[:, 1:] * np.sin(angle)]
    turned += [start[:, :1] * np.sin(angle) + start[:, 1:] * np.cos(angle)]
    x = np.stack(turned, -1) + NOISE * random.normal(size=(rows, steps, 2))
    lengths = random.integers(steps // 2, steps + 1, rows)
    return np.where(np.arange(steps)[None, :, None] < lengths[:, None, None], x, np.nan)


def best(history, points=2000):
    """E[x | history] of oscillators, (N, T, 2): of every omega a linear regression on (a_1, a_2) with a prior N(0, I),
    weighted by its evidence."""
    steps = np.arange(history.shape[1])
    mean, total = np.zeros_like(history), np.full(len(history), -np.inf)
    there = ~np.isnan(history)
    x = np.where(there, history, 0.0)
    for omega in np.linspace(*RATES, points):
        c, s = np.cos(omega * steps), np.sin(omega * steps)
        design = np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], -1)  # (T, channels, a)
        gram = np.einsum("tca,ntc,tcb->nab", design, there, design) / NOISE**2 + np.eye(2)
        shift = np.einsum("tca,ntc->na", design, x) / NOISE**2
        a = np.linalg.solve(gram, shift[..., None])[..., 0]
        evidence = 0.5 * ((shift * a).sum(-1) - np.linalg.slogdet(gram)[1])
        both = np.logaddexp(total, evidence)
        weight = np.exp(evidence - both)[:, None, None]
        mean, total = (1 - weight) * mean + weight * np.einsum("tca,na->ntc", design, a), both
    return mean


def shipped(name):
    """(N, T, C) of a set that the package aeon ships, training and test rows together, padded with NaN."""
    home = importlib.util.find_spec("aeon")
    if home is None:
        raise SystemExit("expected the package aeon, whose series are read: pip install --no-deps aeon")
    rows = []
    for part in ("TRAIN", "TEST"):
        path = Path(home.submodule_search_locations[0], "datasets", "data", name, f"{name}_{part}.ts")
        lines = path.read_text("utf-8").partition("@data")[2].split()
        rows += [np.array([channel.split(",") for channel in line.split(":")[:-1]], float).T for line in lines]
    return vk.data.padded(rows)


def sets(random):
    yield "oscillators", oscillators(random)
    for name, own in (("demand", "ItalyPowerDemand"), ("vowels", "JapaneseVowels")):
        yield name, shipped(own)


def split(x, random):
    """Training rows with gaps, whole test rows, and these with their futures hidden."""
    order = random.permutation(len(x))
    test, train = x[order[: len(x) // 5]], x[order[len(x) // 5 :]]
    holed = np.where(random.random(train.shape) < GAPS, np.nan, train)
    seen = np.floor(SEEN * (~np.isnan(test).all(-1)).sum(1))
    return train, holed, test, np.where(np.arange(x.shape[1])[None, :, None] < seen[:, None, None], test, np.nan)


def forecasts(name, train, holed, history, seed, recipes):
    """(method, filled rows, many fillings or None), one after the other."""
    from sklearn.impute import KNNImputer

    if name == "oscillators":
        yield "best of all", best(history), None
    at = np.maximum.accumulate(np.where(np.isnan(history), 0, np.arange(history.shape[1])[:, None]), 1)
    yield "last value", np.take_along_axis(history, at, 1), None
    flat = history.reshape(len(history), -1)
    yield "nearest neighbours", KNNImputer(n_neighbors=5).fit(train.reshape(len(train), -1)).transform(flat), None
    both = np.concatenate([flat, holed.reshape(len(holed), -1)])
    yield "Gaussian EM", gaussian(both, steps=20)[: len(flat)], None
    for recipe in recipes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            epochs = round(STEPS * 128 / len(holed))
            vae = vk.VAE(LATENTS, recipe=recipe, seed=seed, epochs=epochs, **SETTINGS).fit(holed)
        yield recipe, vae.impute(history), vae.impute(history, n=IMPUTATIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", default=["oscillators", "demand", "vowels"])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("-o", "--output", type=Path, help="write the table to this file")
    args = parser.parse_args()
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for seed in range(args.seeds):
        random = np.random.default_rng(seed)
        for name, x in sets(random):
            if name not in args.sets:
                continue
            train, holed, test, history = split(x, random)
            future, unit, start = np.isnan(history) & ~np.isnan(test), np.nanstd(train, (0, 1)), time.process_time()
            for method, filled, many in forecasts(name, train, holed, history, seed, args.recipes):
                filled = filled.reshape(test.shape)
                error = float(np.sqrt(np.square((filled - test) / unit)[future].mean()))
                share = covered(many, test, future) if many is not None else float("nan")
                found.setdefault((name, method), []).append((error, share, time.process_time() - start))
                print(f"seed {seed}, {name}, {method}: {error:.4f}, covered {share:.3f}", flush=True)
                start = time.process_time()
    lines = ["| series | forecast | RMSE, mean | standard error | 90% intervals cover | s of a core |"]
    lines += ["|---|---|---|---|---|---|"]
    for (name, method), each in found.items():
        error, share, seconds = np.array(each).T
        covers = "" if np.isnan(share).any() else f"{share.mean():.1%}"
        lines.append(
            f"| {name} | {method} | {error.mean():.4f} | {standard_error(error):.4f} | {covers} "
            f"| {np.median(seconds):.0f} |"
        )
    made = f"{machine()['cpu']}, one thread, torch {torch.__version__.split('+')[0]}, {date.today()}"
    text = "\n".join([*lines, "", f"{args.seeds} seeds; {LATENTS} latents, {STEPS} steps, {SETTINGS}; {made}"])
    print(text)
    if args.output:
        args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
