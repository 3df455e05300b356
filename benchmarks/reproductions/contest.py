"""Models of dynamically binarised MNIST, each trained for the same time, and their bounds on the same test rows."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from collections.abc import Callable
from functools import partial

import torch

import vaekit as vk
from vaekit.data.rows import as_rows
from vaekit.data.spec import DataSpec
from vaekit.evaluation import score_rows
from vaekit.evaluation.likelihood import RowScores
from vaekit.likelihoods import Bernoulli
from vaekit.recipes import Parts
from vaekit.training import Adam

Entries = dict[str, Callable[[DataSpec], Parts]]
"""By name, what makes a model's parts; their likelihood is replaced."""


def trained(
    name: str, make: Callable[[DataSpec], Parts], adam: Adam, x: torch.Tensor, seconds: float, seed: int
) -> vk.VAEModule:
    """A model after so many seconds of one core, its learning rate down to 0 at their end."""
    parts = make(DataSpec.infer(x, "uint8"))
    model = vk.VAEModule(parts.encoder, parts.latent, parts.decoder, Bernoulli(binarise="dynamic"))
    start = time.process_time()
    for training in vk.train(model, x, parts.objective, epochs=10**6, adam=adam, seed=seed):
        used = time.process_time() - start
        if used >= seconds:
            break
        if training.taken > adam.warmup:
            training.step.total_steps = math.ceil(training.taken * seconds / used)
    training.step.settle()
    passes = training.taken * training.batch_size / len(x)
    skipped = "" if adam.skip is None else f", of which {training.step.skipped[0]} were left out"
    print(
        f"{name}: {training.taken} steps{skipped}; {passes:.1f} passes over {len(x):,} rows in {used:.0f} s", flush=True
    )
    return training.learner.model


def binarised(x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Every grey level drawn once, so that all models are scored on the same rows."""
    chance = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    return (chance < x / 255).to(torch.uint8) * 255


def scored(name: str, entries: Entries, adam: Adam, args: argparse.Namespace) -> RowScores:
    torch.set_num_threads(1)
    x, x_test = (torch.from_numpy(a) for a in vk.datasets.mnist())
    x, x_test = x[: args.rows], binarised(x_test[: args.test_rows])
    model = trained(name, entries[name], adam, x, args.seconds, args.seed)
    spec = DataSpec.infer(x, "uint8").for_likelihood("unit", x)
    own = score_rows(model, as_rows(x_test, spec, "cpu"), draws=args.draws, seed=1)
    print(
        f"{name}: -log p(x) <= {told(-own.bound)} nats (k = {args.draws}, {len(own.bound):,} rows), "
        f"-ELBO {told(-own.elbo)}, rate {float(own.rate.mean()):.1f}",
        flush=True,
    )
    return own


def told(values: torch.Tensor) -> str:
    """The mean over rows with its standard error."""
    return f"{float(values.mean()):.2f} ± {float(values.std() / math.sqrt(len(values))):.2f}"


def contest(what: str, entries: Entries, adam: Adam, seconds: float, draws: int, test_rows: int) -> None:
    """Trains and scores the entries as the command line says, and tells how far the first is ahead of the others."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--seconds", type=float, default=seconds, help="of training on one core, per model")
    parser.add_argument("--models", nargs="+", choices=entries, default=list(entries), metavar="NAME")
    parser.add_argument("--rows", type=int, default=60_000, help="to train on")
    parser.add_argument("--test-rows", type=int, default=test_rows)
    parser.add_argument("--draws", type=int, default=draws, help="of the bound")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="models at a time, each on one core")
    args = parser.parse_args()
    print(f"{what}\n{args.seconds:g} s of one core each, {adam}, seed {args.seed}", flush=True)
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        score = partial(scored, entries=entries, adam=adam, args=args)
        scores = dict(zip(args.models, pool.map(score, args.models, chunksize=1)))
    first, *others = scores
    for name in others:
        print(f"{first} ahead of {name} by {told(scores[first].bound - scores[name].bound)} nats, row by row")
