"""Synthetic tables, ours beside TVAE and a copy of the real rows: 6,366 women's answers, most of them one of a few.

    python benchmarks/synthetic.py                   # five seeds; TVAE in .bench/ctgan
    python benchmarks/synthetic.py --seeds 1 --without tvae

Fair's survey of 1978 (statsmodels' `fair`): eight columns and, as the target, whether there were any affairs. Every
seed parts the rows anew, three quarters to learn from, and is that of the models, too. Judged by `judge_table` on the
rows left out, beside the floor: as many of the rows learned from.

    vaekit         vk.VAE(seed=seed).fit(frame), with no other setting
    TVAE           as its authors ship it (ctgan), every column given as levels: what it makes of numbers is no number
                   of the table, which any classifier sees
    a copy         rows learned from, drawn with replacement
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import environments
import measure
import numpy as np
import pandas as pd
import torch

import vaekit as vk
from vaekit.evaluation import TableJudgement, judge_table

SHARE = 0.75
TARGET = "affair"
FIGURES = ("told_apart", "learned", "column_shapes", "column_pairs", "copied", "nearer", "distance")
HERE = Path(__file__).parent


def fair() -> pd.DataFrame:
    """The survey as statsmodels ships it, read in the environment that has statsmodels."""
    call = "import statsmodels.api as sm, sys; sm.datasets.fair.load_pandas().data.to_csv(sys.stdout, index=False)"
    with tempfile.TemporaryFile("w+") as out:
        subprocess.run([environments.python("ctgan"), "-c", call], stdout=out, check=True)
        out.seek(0)
        frame = pd.read_csv(out)
    return frame.drop(columns="affairs").assign(**{TARGET: frame["affairs"] > 0})


def parted(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    order = np.random.default_rng(seed).permutation(len(frame))
    n = int(SHARE * len(frame))
    return frame.iloc[order[:n]], frame.iloc[order[n:]]


def vaekit(learned: pd.DataFrame, seed: int) -> pd.DataFrame:
    return vk.VAE(seed=seed, threads=1, compile=False).fit(learned).sample(len(learned), seed=seed)


def tvae(learned: pd.DataFrame, seed: int) -> pd.DataFrame:
    numbers = [n for n in learned if n != TARGET]
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "learned.csv"), Path(folder, "made.csv")
        learned.assign(**{n: "level " + learned[n].astype(str) for n in numbers}).to_csv(source, index=False)
        call = [
            environments.python("ctgan"),
            HERE / "contenders" / "tvae.py",
            source,
            out,
            str(len(learned)),
            str(seed),
        ]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
        made = pd.read_csv(out)
    return made.assign(**{n: made[n].str.removeprefix("level ").astype(float) for n in numbers})


def copy(learned: pd.DataFrame, seed: int) -> pd.DataFrame:
    return learned.sample(len(learned), replace=True, random_state=seed)


CONTENDERS = {"vaekit": vaekit, "tvae": tvae, "copy": copy}


def table(found: dict[str, list[TableJudgement]], seconds: dict[str, list[float]]) -> str:
    """Means over the seeds with their standard errors, in Markdown; the floor last."""
    lines = [f"| | {' | '.join(FIGURES)} | seconds |", f"|---|{'---|' * (len(FIGURES) + 1)}"]
    for name, own in found.items():
        cells = [_mean([j[f] for j in own]) for f in FIGURES]
        lines.append(f"| {name} | {' | '.join(cells)} | {statistics.median(seconds[name]):.0f} |")
    first = next(iter(found.values()))
    floor = [_mean([j.floor[f].value for j in first]) for f in FIGURES]
    return "\n".join([*lines, f"| floor: real rows | {' | '.join(floor)} | |"])


def _mean(values: list[float]) -> str:
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--without", nargs="*", choices=tuple(CONTENDERS), default=[])
    parser.add_argument("-o", "--output", type=Path, help="write the table to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    frame, chosen = fair(), {n: make for n, make in CONTENDERS.items() if n not in args.without}
    found: dict[str, list[TableJudgement]] = {n: [] for n in chosen}
    seconds: dict[str, list[float]] = {n: [] for n in chosen}
    for seed in range(args.seeds):
        learned, test = parted(frame, seed)
        for name, make in chosen.items():
            start = time.perf_counter()
            made = make(learned, seed)
            seconds[name].append(time.perf_counter() - start)
            found[name].append(judge_table(learned, made, test=test, target=TARGET, seed=seed))
            shown = {f: round(found[name][-1][f], 4) for f in FIGURES}
            print(f"seed {seed}, {name}: {json.dumps(shown)}, {seconds[name][-1]:.0f} s", file=sys.stderr, flush=True)
    where = measure.machine()
    text = "\n".join(
        [
            table(found, seconds),
            "",
            f"{args.seeds} seeds, means ± standard errors over them; {where['cores']} cores, {where['architecture']}, "
            f"one thread; {json.dumps(measure.versions())}",
        ]
    )
    print(text)
    if args.output:
        args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
