"""`vaekit fit` and `vaekit fit-prior`: a run from its first epoch to its report."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from .. import storage
from ..data.frames import container_of
from ..estimators import VAE
from ..latents import Prior
from ..locking import locked
from ..paths import expanded
from ..printable import printable
from ..training import join
from ..training.display import display_for
from . import INTERRUPTED
from .arg_types import UsageError
from .judging import page_of, spent
from .outputs import CommandResult, say
from .run_context import loaded
from .runs import Inputs, RunConfig, as_json, clear, place, remembered, resume_command
from .settings import prior


def fit(args: Namespace) -> CommandResult:
    """Trains, evaluates and reports; everything goes into the run folder.

    Of several processes the first chooses the folder and writes; the others train along.
    """
    processes = join()
    args.quiet = args.quiet or processes.rank > 0
    plan = _new(args) if args.resume is None else _remembered(args)
    folder = Path(processes.first(lambda: str(_folder(plan, args))))
    plan.estimator()  # wrong settings are refused before anything is read
    with locked(folder if processes.rank == 0 else None):
        return _fit(plan, folder, args)


def _fit(plan: RunConfig, folder: Path, args: Namespace) -> CommandResult:
    """The same in this folder."""
    processes, given = join(), Inputs(plan)
    vae = plan.estimator(given.held_rows)
    try:
        if args.resume is None and processes.rank == 0:
            clear(folder)
            plan = replace(plan, digests=given.digests)
            plan.write(folder)
        say(args, _beginning(plan, given, folder))
        _train(vae, given, folder, args)
        if vae.privacy is not None:
            replace(plan, spent=spent(vae)["privacy"]).write(folder)
        for member in vae.fitted_.others:
            plan.of_member(seed=member.config.seed).write(folder / f"seed-{member.config.seed}")
        if vae.ended_ == "interrupted" or (vae.ended_ == "time limit" and not vae.history_):
            return _interrupted(vae, folder)
        if processes.rank > 0:
            return CommandResult("", {})
        return _judged(vae, given, folder, args)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_go_on(folder)) from stop


def _new(args: Namespace) -> RunConfig:
    if args.data is None:
        raise UsageError("expected DATA to fit, or --resume RUN; see `vaekit fit --help`")
    return RunConfig.make(args.data, args.test, vars(args))


def _remembered(args: Namespace) -> RunConfig:
    plan = remembered(args, "data", "output", "test", "overwrite")
    if plan.over:
        raise ValueError(
            f"{printable(args.resume)} is a sweep: go on with `{resume_command(Path(args.resume), 'sweep')}`"
        )
    if plan.rows_seed is not None:
        raise ValueError(
            f"{printable(args.resume)} was trained together with others: go on with the run that it is a part of"
        )
    return plan


def _folder(plan: RunConfig, args: Namespace) -> Path:
    return place(plan, args.output, args.overwrite) if args.resume is None else expanded(args.resume)


def _beginning(plan: RunConfig, given: Inputs, folder: Path) -> str:
    x, model = given.train.x, plan.settings["recipe"] or "a model"
    of = "columns" if container_of(x) else x.dtype
    return f"fitting {model} to {given.train.name}, {' x '.join(map(str, x.shape))} {of}, in {printable(folder)}"


def _go_on(folder: Path) -> str:
    return f"go on with `{resume_command(folder)}`" if (folder / "run.json").exists() else "nothing was begun"


def _train(vae: VAE, given: Inputs, folder: Path, args: Namespace) -> None:
    try:
        how = {
            "resume": args.resume is not None,
            "max_seconds": args.max_seconds,
            "display": display_for(not args.quiet),
        }
        rows = given.train
        vae.fit(rows.x, rows.classes, context=rows.context, run=folder, **how)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {_go_on(folder)}") from error
    except (ValueError, TypeError, ImportError):
        began = (folder / "checkpoint" / "state.safetensors").exists()
        if args.resume is None and not began and join().rank == 0:
            clear(folder)  # it never began
        raise


def fit_prior(args: Namespace) -> CommandResult:
    """Another prior for the model of a run, trained on the rows that it was fitted to; a run of its own comes of it."""
    source = expanded(args.run)
    plan, new, vae = RunConfig.read(source), prior(args.prior, args.set), loaded(args)
    if plan.rows_seed is not None:
        raise ValueError(f"{printable(source)} was trained together with others: name the run that it is a part of")
    if args.resume and args.output is None:
        raise UsageError("--resume goes on with a run that was begun: name it with --output")
    given = Inputs(plan)
    if given.held_rows is not None:
        vae.set_params(validation=given.held_rows)
    folder = expanded(args.output) if args.resume else place(plan, args.output, args.overwrite)
    with locked(folder):
        return _fit_prior(vae, new, plan, given, folder, args)


def _fit_prior(vae: VAE, new: Prior, plan: RunConfig, given: Inputs, folder: Path, args: Namespace) -> CommandResult:
    """The same in this folder."""
    if not args.resume:
        clear(folder)
        plan.write(folder)
    say(args, f"fitting a prior ({args.prior}) to the codes of {given.train.name}, in {printable(folder)}")
    try:
        shown = display_for(not args.quiet)
        vae.fit_prior(given.train.x, new, epochs=args.epochs, run=folder, resume=args.resume, display=shown)
    except (ValueError, TypeError):
        if not args.resume:
            clear(folder)  # it never began
        raise
    for member in vae.fitted_.others:
        plan.of_member(seed=member.config.seed).write(folder / f"seed-{member.config.seed}")
    if vae.ended_ == "interrupted":
        text = f"interrupted; {printable(folder)} can be used as it is\ngo on with: the same command and --resume"
        return CommandResult(text, {"run": str(folder), "ended": vae.ended_, "epochs": len(vae.history_)}, INTERRUPTED)
    return _judged(vae, given, folder, args)


def _interrupted(vae: VAE, folder: Path) -> CommandResult:
    command, done = resume_command(folder), len(vae.history_)
    record = {"run": str(folder), "ended": vae.ended_, "epochs": done, "resume": command}
    of = "" if vae.epochs is None else f" of {vae.epochs}"
    how = "interrupted" if vae.ended_ == "interrupted" else "stopped by --max-seconds"
    text = f"{how} after {done}{of} epochs; {printable(folder)} can be used as it is\ngo on with: {command}"
    return CommandResult(text, record, INTERRUPTED)


def _judged(vae: VAE, given: Inputs, folder: Path, args: Namespace) -> CommandResult:
    """Evaluation and report at the end of a fit."""
    part = given.judged
    say(args, f"evaluating on {len(part.x):,} rows: {part.name}")
    evaluation = vae.evaluate(part.x, None, context=part.context)
    if evaluation.interrupted:
        raise KeyboardInterrupt
    ended = {"ended": vae.ended_, "epochs": len(vae.history_), "best_epoch": vae.best_epoch_, "pace": str(vae.pace_)}
    metrics = as_json({**evaluation.to_dict(), "on": part.name, **ended, **spent(vae)})
    storage.write_json(folder / "metrics.json", metrics)
    lines, report = (
        [str(evaluation), f"evaluated on: {part.name}", f"trained with: {vae.pace_}", f"run:    {printable(folder)}"],
        None,
    )
    if vae.ended_ == "time limit":
        lines.append(f"stopped by --max-seconds; train on with: {resume_command(folder)}")
    if not args.no_report:
        report = folder / "report.html"
        page_of(vae, part, given).save(report)
        lines.append(f"report: {printable(report)}")
    return CommandResult("\n".join(lines), {"run": str(folder), "report": report and str(report), **metrics})
