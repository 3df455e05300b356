"""What the reproductions share: a timed training, scores of test rows, a table of ours beside the paper's.

A figure is minus the importance-weighted bound of log p(x) on test rows, in nats, with the standard error over rows;
models are compared row by row, which takes away what all rows have in common. Results go to results/NAME.md and .json.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch

import vaekit as vk

sys.path.insert(0, str(Path(__file__).parents[1]))
import measure

RESULTS = Path(__file__).parent / "results"


@dataclass
class Trained:
    """A trained model's row in the table: nats per test row, seconds of training, and what the paper says."""

    label: str
    nats: np.ndarray
    seconds: float
    paper: str = "–"

    @property
    def figure(self) -> str:
        return shown(self.nats)


def shown(nats: np.ndarray) -> str:
    """The mean and its standard error."""
    return f"{nats.mean():.2f} ± {nats.std(ddof=1) / math.sqrt(len(nats)):.2f}"


def trained(label: str, vae: vk.VAE, x: np.ndarray, x_test: np.ndarray, draws: int, paper: str = "–") -> Trained:
    """Fits a model, scores the test rows, and says so."""
    start = time.perf_counter()
    vae.fit(x)
    seconds = time.perf_counter() - start
    result = Trained(label, -vae.score_samples(x_test, draws=draws), seconds, paper)
    scoring = time.perf_counter() - start - seconds
    print(f"{label}: {result.figure} nats (paper: {paper}), {seconds:.0f} s of training, {scoring:.0f} s of scoring")
    return result


def publish(name: str, title: str, results: list[Trained], pairs: list[tuple[int, int]], notes: list[str]) -> None:
    """Prints the table, with the differences of `pairs` (the first minus the second), and writes it down."""
    lines = [f"# {title}", "", "| | ours, nats | paper | s of training |", "|---|---|---|---|"]
    lines += [f"| {r.label} | {r.figure} | {r.paper} | {r.seconds:.0f} |" for r in results]
    lines += ["", "| difference, row by row | nats |", "|---|---|"]
    lines += [
        f"| {results[a].label} minus {results[b].label} | {shown(results[a].nats - results[b].nats)} |"
        for a, b in pairs
    ]
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    made = f"{measure.machine()['cpu']}, {threads}, torch {torch.__version__.split('+')[0]}, {date.today()}"
    lines += ["", *notes, "", made]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, "utf-8")
    figures = [
        {"label": r.label, "nats": float(r.nats.mean()), "rows": len(r.nats), "seconds": r.seconds} for r in results
    ]
    (RESULTS / f"{name}.json").write_text(json.dumps({"made": made, "results": figures}, indent=1) + "\n", "utf-8")
