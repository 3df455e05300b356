"""`vaekit compare`: which runs, on which rows."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from ..data import datasets
from ..paths import expanded
from ..printable import printable
from ..report import comparison
from . import outputs
from .inputs import Part
from .outputs import CommandResult
from .run_context import opened
from .runs import as_json, digest_of


def compare(args: Namespace) -> CommandResult:
    """One page of several runs, on the same rows."""
    path = outputs.chosen(args.output, expanded(args.runs[0]).parent / "comparison.html", ".html", ".htm")
    names = _names(args.runs)
    given = [opened(Namespace(run=run, data=args.on, context=None, device=args.device)) for run in args.runs]
    models = {name: vae for name, (vae, _) in zip(names, given)}
    comparison.refuse_unlike(models)
    part = _same_rows(args, [part for _, part in given])
    page = comparison.compare(models, part.x, part.labels, name=part.name, draws=args.draws, context=part.context)
    page.save(path)
    record = as_json({"runs": dict(zip(models, args.runs)), "on": part.name, "output": str(path), **page.to_dict()})
    return CommandResult(f"{page}\nevaluated on: {part.name}\ncomparison: {printable(path)}", record)


def _names(runs: Sequence[str]) -> list[str]:
    """What to call runs: by their folders' own names, by the paths where these are alike. Raises ValueError for a run
    that stands twice, or a sweep."""
    for run in runs:
        if runs.count(run) > 1:
            raise ValueError(f"{printable(run)} stands twice; name every run once")
        if (expanded(run) / "sweep.json").exists():
            raise ValueError(f"{printable(run)} is a sweep, with a page of its own, report.html: name runs in it")
    own = [printable(expanded(run).resolve().name) for run in runs]
    return own if len(set(own)) == len(own) else [printable(run) for run in runs]


def _same_rows(args: Namespace, parts: Sequence[Part]) -> Part:
    """The rows that all runs are compared on. Raises ValueError where one's are others."""
    first, *others = [_digest(part) for part in parts]
    for run, part, own in zip(args.runs[1:], parts[1:], others):
        if own != first:
            fix = (
                "name the rows for all of them, --on DATA"
                if args.on is None
                else "with --binarise static each run's seed draws its own: compare runs of one seed"
            )
            raise ValueError(
                f"{printable(args.runs[0])} and {printable(run)} are judged on other rows ({parts[0].name}; "
                f"{part.name}), so their figures do not compare: {fix}"
            )
    return parts[0]


def _digest(part: Part) -> tuple[str, str]:
    return datasets.digest(part.x), "" if part.context is None else digest_of(part.context)
