"""A table of 1,000,000 rows and 30 mixed columns, half of its cells missing: rows per second, and peak memory.

    python benchmarks/tables.py                                 # by the defaults, the whole of it
    python benchmarks/tables.py --rows 100000 --epochs 1

Prints the machine and versions, then for each step its seconds, rows per second and the peak of resident memory so
far: making the table, fitting (with the schema, encoding and held-out figures), drawing as many rows and filling all,
both in parts of 100,000, and filling and scoring 10,000 with as many draws as the defaults have.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch

import vaekit as vk

PART, FEW = 100_000, 10_000
WORDS = np.array(["north", "south", "east", "west", "centre"], dtype=object)


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Three hidden factors behind 30 columns: real, positive, count, ordinal, category and date, half of it missing."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, 3)).astype(np.float32)
    columns = {}
    for k in range(30):
        hidden = z[:, k % 3] + rng.normal(size=rows).astype(np.float32)
        gone = rng.random(rows) < 0.5
        kind = k % 6
        if kind in (0, 1):
            values = hidden if kind == 0 else np.exp(hidden).round(2) + 0.01
            columns[f"x{k}"] = np.where(gone, np.nan, values)
        elif kind == 2:
            columns[f"x{k}"] = pd.array(rng.poisson(np.exp(hidden.clip(-3, 3))), dtype="Int64")
            columns[f"x{k}"][gone] = pd.NA
        elif kind == 3:
            columns[f"x{k}"] = np.where(gone, np.nan, np.digitize(hidden, [-1.5, -0.5, 0.5, 1.5]) + 1.0)
        elif kind == 4:
            columns[f"x{k}"] = np.where(gone, None, WORDS[np.digitize(hidden, [-1.5, -0.5, 0.5, 1.5])])
        else:
            days = np.datetime64("2020-01-01") + (500 + 200 * hidden).astype(int).astype("timedelta64[D]")
            columns[f"x{k}"] = np.where(gone, np.datetime64("NaT"), days).astype("datetime64[us]")
    return pd.DataFrame(columns)


@contextmanager
def timed(what: str, rows: int) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:<28} {seconds:8.1f} s {rows / seconds:12,.0f} rows/s   peak {peak:.2f} GiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, help="in place of the default")
    args = parser.parse_args()
    print(f"{platform.machine()}, torch {torch.__version__}, pandas {pd.__version__}, vaekit {vk.__version__}")
    with timed("the table", args.rows):
        frame = table(args.rows)
    held = frame.memory_usage(deep=True).sum() / 2**30
    print(f"the frame itself holds {held:.2f} GiB; {frame.isna().to_numpy().mean():.0%} of its cells are missing")
    vae = vk.VAE(epochs=args.epochs, threads=1, compile=False, validation=0.01)
    with timed("fit", args.rows):
        vae.fit(frame)
    steps = "{} epochs of {:,.0f} rows/s".format(len(vae.history_), vae.history_[-1]["rows_per_second"])
    print(f"  of these the steps: {steps}", flush=True)
    parts = [slice(i, min(i + PART, args.rows)) for i in range(0, args.rows, PART)]
    with timed("sample", args.rows):
        for part in parts:
            vae.sample(part.stop - part.start)
    with timed("impute, 20 draws a row", args.rows):
        for part in parts:
            vae.impute(frame.iloc[part], draws=20)
    few = frame.head(FEW)
    with timed("impute, by the default", len(few)):
        vae.impute(few)
    with timed("score, by the default", len(few)):
        vae.score_samples(few)


if __name__ == "__main__":
    main()
