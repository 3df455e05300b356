"""Whether very deep hierarchies train: many short trainings over recipes, seeds, data and harsh settings.

    PYTHONPATH=src python benchmarks/reproductions/deep_stress.py
    PYTHONPATH=src python benchmarks/reproductions/deep_stress.py --cases harsh --seeds 7

Before mu and log sigma were bounded, divergence came within the first hundreds of steps, and within 100 steps for every
seed in the harsh case; see docs/experiments.md. A run passes if it ends as it was asked to ("finished": it neither
diverged nor went back to an earlier state), leaves out no step, and has a better ELBO of held-out rows than the model
that it started from. The ELBO counts the full rate, also where `very-deep-conv` still warms it up.

Needs scikit-learn for two of the data sets. The table is written to results/deep_stress.md after every run.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import measure

import vaekit as vk
from vaekit.likelihoods import Bernoulli
from vaekit.training import Diverged

RECIPES = ("very-deep", "very-deep-dense", "very-deep-conv")
RESULTS = Path(__file__).parent / "results" / "deep_stress.md"
FIGURES = ("first", "worst", "last", "start", "held_out", "independent")
HELD_OUT = 300
"""Rows that no training sees."""


def mnist(rows: int) -> np.ndarray:
    """Digits of 28 x 28 pixels."""
    return vk.datasets.mnist()[0][:rows]


def digits(rows: int) -> np.ndarray:
    """The digits of scikit-learn, 8 x 8 pixels of 17 grey levels."""
    from sklearn.datasets import load_digits

    return load_digits().images[:rows].astype(np.uint8)


def patches(rows: int) -> np.ndarray:
    """Patches of 16 x 16 pixels of the two colour photographs of scikit-learn."""
    from sklearn.datasets import load_sample_images

    generator, found = np.random.default_rng(0), []
    for photo in load_sample_images().images:
        for _ in range(rows // 2):
            top, left = (generator.integers(0, size - 16) for size in photo.shape[:2])
            found.append(photo[top : top + 16, left : left + 16])
    return np.stack(found)[generator.permutation(len(found))]


@dataclass(frozen=True)
class Case:
    """Data and settings of a few trainings. binary: whether the digits are binarised anew at each pass."""

    title: str
    data: Callable[[int], np.ndarray]
    rows: int
    steps: int
    seeds: Sequence[int]
    binary: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


CASES = {
    "digits": Case("8 x 8 digits, default settings", digits, 1797, 140, range(4)),
    "mnist": Case("binarised MNIST, default settings", mnist, 2300, 140, range(4, 5), binary=True),
    "harsh": Case(
        "binarised MNIST, lr=0.01, batches of 60", mnist, 2300, 150, range(3), binary=True,
        settings={"lr": 1e-2, "batch_size": 60},
    ),
    "colour": Case(
        "16 x 16 colour patches, lr=0.01, batches of 60", patches, 1500, 120, range(2),
        settings={"lr": 1e-2, "batch_size": 60},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """How one training went. Figures are of -ELBO in nats per row.

    first, worst, last: means over the first epoch, the worst later epoch and the last one. start, held_out: of held-out
    rows, before and after training.
    """

    case: str
    recipe: str
    seed: int
    ended: str
    steps: int
    skipped: int
    first: float
    worst: float
    last: float
    start: float
    held_out: float
    independent: float
    seconds: float

    @property
    def passed(self) -> bool:
        return self.ended == "finished" and self.skipped == 0 and self.held_out < self.start


def train(case: str, recipe: str, seed: int, steps: int | None) -> Run:
    """One training with the settings of its case."""
    own = CASES[case]
    x = own.data(own.rows)
    batches = math.ceil(0.9 * (len(x) - HELD_OUT) / own.settings.get("batch_size", 128))
    vae = model(own, recipe, seed, math.ceil((steps or own.steps) / batches))
    start = time.process_time()
    try:
        vae.fit(x[HELD_OUT:])
    except Diverged as error:
        print(f"{recipe}, seed {seed}: {error}", flush=True)
        return Run(case, recipe, seed, "diverged", error.step or 0, 0, *[math.nan] * 6, time.process_time() - start)
    seconds = time.process_time() - start
    return described(vae, case, recipe, seed, x, seconds)


def model(case: Case, recipe: str, seed: int, epochs: int) -> vk.VAE:
    """An estimator with the settings of a case."""
    likelihood = Bernoulli(binarise="dynamic") if case.binary else None
    fixed = {"device": "cpu", "threads": 1, "compile": False}
    return vk.VAE(recipe=recipe, likelihood=likelihood, epochs=epochs, seed=seed, **fixed, **case.settings)


def described(vae: vk.VAE, case: str, recipe: str, seed: int, x: np.ndarray, seconds: float) -> Run:
    """The figures of a trained model."""
    losses, last = [-record["elbo"] for record in vae.history_], vae.history_[-1]
    own, independent = held_out(vae, x)
    before, _ = held_out(model(CASES[case], recipe, seed, 0).fit(x[HELD_OUT:]), x)
    epochs = losses[0], max(losses[1:] or losses), losses[-1]
    steps = last["step"], last.get("skipped", 0)
    return Run(case, recipe, seed, vae.ended_, *steps, *epochs, before, own, independent, seconds)


def held_out(vae: vk.VAE, x: np.ndarray) -> tuple[float, float]:
    """-ELBO of held-out rows, and -log p of independent cells."""
    figures = vae.health(x[:HELD_OUT]).figures
    independent = -figures["without_latent"].value
    return independent + figures["behind"].value, independent


def table(runs: Sequence[Run]) -> list[str]:
    """A line of medians for each case and recipe, and then each run."""
    lines = [
        "| case | recipe | passed | seeds | steps | -ELBO of the first epoch | worst later | last | "
        "held out at the start | held out | independent cells | s of one core |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case, recipe in dict.fromkeys((run.case, run.recipe) for run in runs):
        own = [run for run in runs if (run.case, run.recipe) == (case, recipe)]
        passed, seeds = sum(run.passed for run in own), ", ".join(str(run.seed) for run in own)
        figures = " | ".join(median(own, name) for name in FIGURES)
        steps, seconds = "–".join(map(str, sorted({run.steps for run in own}))), median(own, "seconds")
        lines.append(
            f"| {CASES[case].title} | {recipe} | {passed} of {len(own)} | {seeds} | {steps} | {figures} | {seconds} |"
        )
    each = "Each run: how it ended; -ELBO of the first epoch, the worst later one, the last; held out before and after."
    lines += ["", each, ""]
    for r in runs:
        figures = f"{r.first:.1f}, {r.worst:.1f}, {r.last:.1f}; held out {r.start:.1f}, {r.held_out:.1f}"
        lines.append(
            f"- {r.case}, {r.recipe}, seed {r.seed}: {r.ended} after {r.steps} steps, {r.skipped} left out; {figures}"
        )
    return lines


def median(runs: Sequence[Run], name: str) -> str:
    """The median over runs that ended, of one of their figures."""
    values = [value for run in runs if not math.isnan(value := asdict(run)[name])]
    return f"{statistics.median(values):.1f}" if values else "–"


def text(runs: Sequence[Run]) -> str:
    """The page of results."""
    passed = sum(run.passed for run in runs)
    versions = ", ".join(f"{name} {version}" for name, version in measure.versions().items())
    machine = f"{measure.machine()['cpu']}, one core, {versions}, {date.today()}"
    head = f"{passed} of {len(runs)} trainings passed: they neither diverged, went back nor left out a step."
    medians = "Figures are medians over the seeds of a line, in nats per row."
    lines = ["# Very deep hierarchies under stress", "", head, medians, "", *table(runs), "", f"{machine}.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="RECIPE")
    parser.add_argument("--seeds", type=int, help="the first so many seeds, in place of those of each case")
    parser.add_argument("--steps", type=int, help="of each training, in place of those of each case")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs: list[Run] = []
    for case in args.cases:
        for seed in CASES[case].seeds if args.seeds is None else range(args.seeds):
            for recipe in args.recipes:
                runs.append(train(case, recipe, seed, args.steps))
                print(runs[-1], "" if runs[-1].passed else "FAILED", flush=True)
                args.out.write_text(text(runs), "utf-8")


if __name__ == "__main__":
    main()
