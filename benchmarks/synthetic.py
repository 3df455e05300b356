"""Synthetic tables, ours beside TVAE and a copy of the real rows: 6,366 women's answers, most of them one of a few.

    python benchmarks/synthetic.py                   # five seeds; TVAE in .bench/ctgan
    python benchmarks/synthetic.py --seeds 1 --without tvae

Fair's survey of 1978 (statsmodels' `fair`): eight columns and, as the target, whether there were any affairs. Every
seed parts the rows anew, three quarters to learn from, and is that of the models, too. Judged by `judge_table` on the
rows left out, beside the floor: as many of the rows learned from. A model draws as many rows as it is asked for, so
what can be learned of a target is told twice: from as many rows as were learned from (`learned`), and from four times
as many (`learned_4x`); all other figures are of as many. Real rows are no more than there are.

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
from dataclasses import dataclass
from pathlib import Path

import environments
import measure
import numpy as np
import pandas as pd
import torch

import vaekit as vk
from vaekit.evaluation import judge_table
from vaekit.evaluation.columns import as_columns
from vaekit.evaluation.utility import learned_target

SHARE = 0.75
TARGET = "affair"
MORE = 4
LEARNED_MORE = f"learned_{MORE}x"
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
    return vk.VAE(seed=seed, threads=1, compile=False).fit(learned).sample(MORE * len(learned), seed=seed)


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
            str(MORE * len(learned)),
            str(seed),
        ]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
        made = pd.read_csv(out)
    return made.assign(**{n: made[n].str.removeprefix("level ").astype(float) for n in numbers})


def copy(learned: pd.DataFrame, seed: int) -> pd.DataFrame:
    return learned.sample(MORE * len(learned), replace=True, random_state=seed)


CONTENDERS = {"vaekit": vaekit, "tvae": tvae, "copy": copy}


@dataclass(frozen=True)
class Judged:
    """Figures by name, and those of real rows in their place."""

    figures: dict[str, float]
    floor: dict[str, float]


def judged(learned: pd.DataFrame, made: pd.DataFrame, test: pd.DataFrame, seed: int) -> Judged:
    """made: `MORE` times as many rows as were learned from."""
    own = judge_table(learned, made.iloc[: len(learned)], test=test, target=TARGET, seed=seed)
    columns = as_columns({"real": learned, "synthetic": made, "test": test})
    place = columns["real"].place(TARGET)
    more = learned_target(columns["synthetic"], columns["test"], place, seed).value
    figures, floor = {n: own[n] for n in FIGURES}, {n: own.floor[n].value for n in FIGURES}
    return Judged(figures | {LEARNED_MORE: more}, floor)


def table(found: dict[str, list[Judged]], seconds: dict[str, list[float]]) -> str:
    """Means over the seeds with their standard errors, in Markdown; the floor last."""
    names = (*FIGURES[:2], LEARNED_MORE, *FIGURES[2:])
    lines = [f"| | {' | '.join(names)} | seconds |", f"|---|{'---|' * (len(names) + 1)}"]
    for contender, own in found.items():
        cells = [_mean([j.figures[n] for j in own]) for n in names]
        lines.append(f"| {contender} | {' | '.join(cells)} | {statistics.median(seconds[contender]):.0f} |")
    first = next(iter(found.values()))
    floor = [_mean([j.floor[n] for j in first]) if n in FIGURES else "–" for n in names]
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
    found: dict[str, list[Judged]] = {n: [] for n in chosen}
    seconds: dict[str, list[float]] = {n: [] for n in chosen}
    for seed in range(args.seeds):
        learned, test = parted(frame, seed)
        for name, make in chosen.items():
            start = time.perf_counter()
            made = make(learned, seed)
            seconds[name].append(time.perf_counter() - start)
            found[name].append(judged(learned, made, test, seed))
            shown = {n: round(value, 4) for n, value in found[name][-1].figures.items()}
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
