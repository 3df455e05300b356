"""What the reproductions share: models of MNIST, each trained on one core, and their figures beside the papers'.

`contest` compares likelihoods: every model is trained on digits that are binarised anew at each pass, for as many
epochs or for as long as the others, and scored on the same test digits, binarised once: differences are taken row by
row, which takes away what all rows have in common. `over_seeds` repeats a training whose figure is a share of the rows.
Both write what they print to results/NAME.md, where NAME is the script's.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import torch

import vaekit as vk
from vaekit.data.rows import as_rows
from vaekit.data.spec import DataSpec
from vaekit.evaluation import score_rows
from vaekit.likelihoods import Bernoulli
from vaekit.recipes import Parts
from vaekit.training import Adam

sys.path.insert(0, str(Path(__file__).parents[1]))
import measure

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Entry:
    """A model of a contest. parts: what makes it of, its likelihood replaced. paper: its published figure, in nats.
    epochs: its own number of them, where that is not the contest's."""

    parts: Callable[[DataSpec], Parts]
    paper: float | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Contest:
    """Models, how they are trained, and what is compared.

    pairs: of names, of which the first should be ahead of the second. epochs, or seconds of one core: of training, the
    learning rate down to 0 at their end. bf16: whether the products inside the networks are computed in bfloat16 while
    training; weights, losses and scores are float32. elbo: whether -ELBO is compared, a mean over the draws, and not
    the bound of -log p(x) that these draws give.
    """

    title: str
    entries: dict[str, Entry]
    pairs: Sequence[tuple[str, str]]
    adam: Adam
    epochs: int | None = None
    seconds: float | None = None
    batch_size: int = 120
    bf16: bool = False
    draws: int = 500
    test_rows: int = 2000
    elbo: bool = False


@dataclass(frozen=True)
class Scored:
    """A trained model: nats of every test row, and what its training took."""

    nats: torch.Tensor
    epochs: float
    seconds: float


def contest(contest: Contest) -> None:
    """Runs the contest as the command line says."""
    parser = argparse.ArgumentParser(description=contest.title)
    if contest.seconds is None:
        parser.add_argument("--epochs", type=float, default=1.0, help="times as many as written in the script")
    else:
        parser.add_argument("--seconds", type=float, default=contest.seconds, help="of training, per model")
    parser.add_argument("--models", nargs="+", choices=contest.entries, default=list(contest.entries), metavar="NAME")
    parser.add_argument("--rows", type=int, default=60_000, help="to train on")
    parser.add_argument("--test-rows", type=int, default=contest.test_rows)
    parser.add_argument("--draws", type=int, default=contest.draws)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="models at a time, each on one core")
    args = parser.parse_args()
    print(f"{contest.title}: {', '.join(args.models)}", flush=True)
    scores = dict(zip(args.models, _at_once(partial(_scored, contest, args), args.models, args.processes)))
    figure = f"-ELBO, a mean of {args.draws} draws" if contest.elbo else f"-log p(x) <=, {args.draws} draws"
    lines = [f"| | {figure}, nats | published | epochs | s of one core |", "|---|---|---|---|---|"]
    for name, scored in scores.items():
        paper = contest.entries[name].paper
        apart = "–" if paper is None else f"{paper} ({float(scored.nats.mean()) - paper:+.2f})"
        lines.append(f"| {name} | {_mean(scored.nats)} | {apart} | {scored.epochs:.0f} | {scored.seconds:.0f} |")
    pairs = [(a, b) for a, b in contest.pairs if a in scores and b in scores]
    if pairs:
        lines += ["", "| row by row | nats |", "|---|---|"]
        lines += [f"| {a} ahead of {b} | {_mean(scores[b].nats - scores[a].nats)} |" for a, b in pairs]
    rows = f"{args.rows:,} training rows, the first {args.test_rows:,} test rows, one seed (seed {args.seed})"
    batches = f"batches of {contest.batch_size}{', bfloat16' if contest.bf16 else ''}"
    _publish(contest.title, lines, f"{rows}; {contest.adam}, {batches}")


def _scored(contest: Contest, args: argparse.Namespace, name: str) -> Scored:
    torch.set_num_threads(1)
    x, x_test = (torch.from_numpy(a) for a in vk.datasets.mnist())
    x, x_test = x[: args.rows], binarised(x_test[: args.test_rows])
    entry = contest.entries[name]
    epochs = None if contest.seconds is not None else max(1, round(args.epochs * (entry.epochs or contest.epochs)))
    training, seconds = _trained(name, contest, entry, x, epochs, getattr(args, "seconds", None), args.seed)
    taken, start = training.taken / training.batches, time.process_time()
    spec = DataSpec.infer(x, "uint8").for_likelihood("unit", x)
    own = score_rows(training.learner.model, as_rows(x_test, spec, "cpu"), draws=args.draws, seed=1)
    left_out = "" if contest.adam.skip is None else f", {training.step.skipped[0]} steps left out"
    if training.step.adam != contest.adam:
        left_out += f", went back once and trained on with lr={training.step.adam.lr:g}"
    print(
        f"{name}: -log p(x) <= {_mean(-own.bound)}, -ELBO {_mean(-own.elbo)}, rate {float(own.rate.mean()):.1f}; "
        f"{taken:.0f} epochs in {seconds:.0f} s{left_out}; scored in {time.process_time() - start:.0f} s",
        flush=True,
    )
    return Scored(-own.elbo if contest.elbo else -own.bound, taken, seconds)


def _trained(
    name: str, contest: Contest, entry: Entry, x: torch.Tensor, epochs: int | None, seconds: float | None, seed: int
) -> tuple[vk.training.Training, float]:
    """Trains by compiled steps; the clock starts once they are compiled."""
    parts = entry.parts(DataSpec.infer(x, "uint8"))
    model = vk.VAEModule(parts.encoder, parts.latent, parts.decoder, Bernoulli(binarise="dynamic"))
    model.low_precision = torch.bfloat16 if contest.bf16 else None
    size, adam, told = contest.batch_size, contest.adam, 0
    for training in vk.train(model, x, parts.objective, epochs=epochs or 10**6, batch_size=size, adam=adam, seed=seed):
        if training.taken <= 2:
            training.step.compiled = True
            start = time.process_time()
        used = time.process_time() - start
        if seconds is not None:
            if used >= seconds:
                break
            if training.taken > adam.warmup:
                training.step.total_steps = math.ceil(training.taken * seconds / used)
        done = used / seconds if seconds is not None else training.taken / training.step.total_steps
        if int(10 * done) > told:
            told = int(10 * done)
            print(f"{name}: {10 * told}% after {used:.0f} s, {training.metrics()}", flush=True)
    training.check()
    training.step.settle()
    return training, used


def binarised(x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Every grey level drawn once, so that all models are scored on the same rows."""
    chance = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    return (chance < x / 255).to(torch.uint8) * 255


def over_seeds(
    title: str, models: dict[str, tuple[Callable[[int], float], str]], seeds: int, processes: int, notes: str
) -> None:
    """Per cent of the rows, of every model and seed: the table of medians, means and standard errors.

    models: by name, the function of a seed that trains and tells the figure, and what the paper says.
    """
    runs = [(name, seed) for name in models for seed in range(seeds)]
    told = _at_once(partial(_run, {name: run for name, (run, _) in models.items()}), runs, processes)
    lines = ["| | median | mean | each seed | published |", "|---|---|---|---|---|"]
    for i, (name, (_, paper)) in enumerate(models.items()):
        own = told[i * seeds : (i + 1) * seeds]
        error = f" ± {statistics.stdev(own) / math.sqrt(seeds):.2f}" if seeds > 1 else ""
        each = ", ".join(f"{value:.2f}" for value in own)
        lines.append(
            f"| {name} | {statistics.median(own):.2f}% | {statistics.mean(own):.2f}{error} | {each} | {paper} |"
        )
    _publish(title, lines, f"{notes}; {seeds} seeds (0 to {seeds - 1})")


def _run(runs: dict[str, Callable[[int], float]], which: tuple[str, int]) -> float:
    torch.set_num_threads(1)
    name, seed = which
    start = time.process_time()
    value = runs[name](seed)
    print(f"{name}, seed {seed}: {value:.2f}% after {time.process_time() - start:.0f} s of one core", flush=True)
    return value


def _at_once(f: Callable, over: Iterable, processes: int) -> list:
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.map(f, over, chunksize=1)


def _mean(values: torch.Tensor) -> str:
    """The mean over rows with its standard error."""
    return f"{float(values.mean()):.2f} ± {float(values.std() / math.sqrt(len(values))):.2f}"


def _publish(title: str, lines: list[str], notes: str) -> None:
    made = f"{measure.machine()['cpu']}, a core per model, torch {torch.__version__.split('+')[0]}, {date.today()}"
    text = "\n".join([f"# {title}", "", *lines, "", f"{notes}.", "", f"{made}."]) + "\n"
    print(f"\n{text}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{Path(sys.argv[0]).stem}.md").write_text(text, "utf-8")
