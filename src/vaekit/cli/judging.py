"""`vaekit evaluate` and `vaekit report`: what a run is worth on rows."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import LazyRows
from ..estimators import VAE
from ..evaluation import DIGITS, TableJudgement, representation
from ..evaluation.metric import plain
from ..evaluation.samples import Judgement
from . import INTERRUPTED, outputs
from .inputs import Part, train_and_test
from .outputs import CommandResult
from .run_context import opened, sources, what_fit_read
from .runs import Inputs, as_json

QUICK = 1000
"""Rows that `evaluate --quick` takes."""


def evaluate(args: Namespace) -> CommandResult:
    vae, part = opened(args)
    if args.quick:
        part = part.first(QUICK)
    given = what_fit_read(args) if args.baselines or args.samples or args.probes else None
    learned = None if given is None else given.learned_from
    for rows in (learned, part) if args.probes else ():
        if rows.labels is None:
            raise ValueError(f"--probes needs labels, and {rows.name} has none of its own: use vae.probe from Python")
    few, draws, betas = (20, 10, 100) if args.quick else (100, None, 500)
    asked = {"ais": args.ais, "bracket": args.bracket}
    beside = {name: rows or few for name, rows in asked.items() if rows is not None}
    beside["against"] = learned.x if args.baselines else None
    vae.set_params(verbose=True)  # shows how far long work is
    evaluation = vae.evaluate(part.x, args.draws or draws, args.seed, part.context, betas=betas, **beside)
    record = {"run": args.run, **evaluation.to_dict(), "on": part.name, **spent(vae)}
    lines = [str(evaluation), f"evaluated on: {part.name}"]
    if evaluation.interrupted:
        return CommandResult("\n".join(lines), as_json(record), INTERRUPTED)
    if args.samples:
        judged = _samples_judged(vae, part, learned, given, args)
        record, lines = {**record, "samples": judged.to_dict()}, [*lines, str(judged)]
    if args.probes:
        codes = [vae.transform(rows.x, rows.context) for rows in (learned, part)]
        worth = representation.representation(codes[0], learned.labels, codes[1], part.labels, vae.seed, test=part.x)
        record["probes"] = plain(worth)
        lines.append("codes, by their labels:")
        lines += [f"  {name:<19}  {figure!s:<16}  {figure.meaning}" for name, figure in worth.items()]
    if args.probes and part.factors is not None:
        factors = np.stack(list(part.factors.values()), 1)
        record["disentanglement"] = vae.disentanglement(part.x, factors, args.seed, part.context)
        lines.append(f"codes, by the factors {', '.join(part.factors)}; every score lies in [0, 1]:")
        lines += [f"  {name:<19}  {score:.4f}" for name, score in record["disentanglement"].items()]
    return CommandResult("\n".join(lines), as_json(record))


def _samples_judged(vae: VAE, part: Part, learned: Part, given: Inputs, args: Namespace) -> Judgement | TableJudgement:
    """Samples beside the rows of a part and those that fit learned from."""
    if vae.spec_.schema is not None:
        test = None if part.x is learned.x else part.x  # nothing was held out
        return vae.judge_table(learned.x, test, target=args.target, n=args.samples, seed=args.seed)
    if args.target is not None:
        raise ValueError("--target names a column of a table, and this model was fitted to an array: leave it out")
    features = DIGITS if given.plan.data == "mnist" else None
    return vae.judge_samples(part.x, learned.x, args.samples, features=features, seed=args.seed)


def report(args: Namespace) -> CommandResult:
    path = outputs.chosen(args.output, Path(args.run) / "report.html", ".html", ".htm")
    vae, part, given = sources(args)
    others = {Path(source).stem: _test_rows(source, vae) for source in args.other}
    page_of(vae, part, given, others).save(path)
    return outputs.written(args, path, len(part.x), f"report on {part.name}")


def page_of(vae: VAE, part: Part, given: Inputs | None, others: dict[str, Any] | None = None) -> Any:
    """The report on a part; given: where the training rows are at hand."""
    train = None if given is None else given.learned_from.x
    if train is part.x:  # nothing was held out, and rows are not compared with themselves
        train = None
    known = {"context": part.context, "factors": part.factors, "others": others}
    return vae.report(part.x, part.labels, name=part.name, train=train, **known)


def _test_rows(source: str, vae: VAE) -> NDArray | LazyRows:
    """The rows of a file, or the test set of a built-in."""
    train, test = train_and_test(source, vae.seed)
    return (test or train).x


def spent(vae: VAE) -> dict[str, dict[str, float]]:
    """What a private training has come to; nothing of others."""
    return {} if vae.privacy is None else {"privacy": {"epsilon": vae.epsilon_, "delta": vae.privacy.delta}}
