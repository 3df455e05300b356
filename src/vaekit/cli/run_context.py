"""The model of a run, with rows for it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from ..estimators import VAE, load
from ..paths import expanded
from ..printable import printable
from .arg_types import UsageError
from .inputs import OBS, Part, beside, train_and_test
from .runs import Inputs, RunConfig, device, seen


def loaded(args: Namespace) -> VAE:
    """The model of `args.run`, on the device that is asked for."""
    return load(expanded(args.run), device=device(args.device))


def sources(args: Namespace) -> tuple[VAE, Part, Inputs | None]:
    """The model of a run, and the rows that the command line names: by default those that fit evaluated on, and with
    them what fit read."""
    vae, folder = loaded(args), expanded(args.run)
    plan = RunConfig.read(folder) if (folder / "run.json").exists() else None
    if args.data is not None:
        train, test = train_and_test(args.data, vae.seed if plan is None else plan.seed_of_rows)
        part = (test or train) if plan is None else seen(plan, test or train, 1)
        own = "own" if vae.spec_.context is not None and part.labels is not None else None
        if plan is not None and (plan.context or "").startswith(OBS) and part.source is not None:
            own = plan.context
        return vae, replace(part, context=beside(args.context or own, part, "context")), None
    if args.context is not None:
        raise UsageError("--context is of the rows of DATA: name these too")
    if plan is None:
        raise ValueError(f"{printable(folder)} does not say what it was fitted to (it has no run.json): name the DATA")
    given = Inputs(plan)
    return vae, given.judged, given


def opened(args: Namespace) -> tuple[VAE, Part]:
    """The model of a run and its rows, as in `sources`."""
    return sources(args)[:2]


def what_fit_read(args: Namespace) -> Inputs:
    """What the model of a run was fitted to. Raises ValueError where the run does not say it."""
    folder = expanded(args.run)
    if not (folder / "run.json").exists():
        raise ValueError(
            f"{printable(folder)} does not say what it was fitted to (it has no run.json): give the rows from Python"
        )
    return Inputs(RunConfig.read(folder))
