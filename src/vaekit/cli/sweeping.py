"""`vaekit sweep`: what is swept, read from the command line; its folder; its table."""

from __future__ import annotations

import argparse
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..paths import expanded
from ..printable import printable
from ..suggest import nearest
from ..sweeps import Sweep, combinations
from ..sweeps import sweep as trained
from ..training.display import display_for
from . import INTERRUPTED
from .arg_types import UsageError
from .arguments import SETTINGS
from .outputs import CommandResult, say
from .runs import Inputs, RunConfig, as_json, place, remembered, resume_command
from .settings import kinds, value

FIXED = (
    *("set", "binarise", "missing", "columns", "epsilon", "delta", "seed", "seeds", "validation", "device"),
    *("threads", "compile", "sharded"),
)
"""Settings that all members have in common: of their rows, their seeds, and where and how fast they train."""


def sweep(args: Namespace) -> CommandResult:
    """Trains every combination with every seed; each member becomes a run of its own in the sweep's folder."""
    plan = _new(args) if args.resume is None else _remembered(args)
    over, seeds = swept(plan), plan.settings["seeds"] or 1
    models = seeds * len(combinations(plan.estimator(), over))  # wrong settings are refused before anything is read
    if args.draws is not None and plan.settings["validation"] == 0:
        raise ValueError("--draws bounds log p(x) of held-out rows, and there are none: set --validation")
    folder = _place(plan, args.output) if args.resume is None else expanded(args.resume)
    given = Inputs(plan)
    if args.resume is None:
        plan = replace(plan, digests=given.digests)
        plan.write(folder)
    names = ", ".join(text.partition("=")[0] for text in plan.over)
    say(args, f"sweeping {names}: {models} models of {given.train.name}, in {printable(folder)}")
    vae, display = plan.estimator(given.held_rows).set_params(seeds=None), display_for(not args.quiet)
    try:
        result = trained(vae, given.train.x, over=over, seeds=seeds, run=folder, resume=True, display=display)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"go on with `{resume_command(folder, 'sweep')}`") from stop
    except (ValueError, TypeError):
        _clear(folder)
        raise
    _tell_members(plan, result, folder)
    if args.draws is not None and result.ended == "finished":
        held = vae.held_out(given.train.x)
        say(args, f"evaluating {models} models on {len(held):,} held-out rows")
        result = result.evaluate(held, draws=args.draws, name="held-out rows")
    return _told(result, folder)


def _new(args: Namespace) -> RunConfig:
    if args.data is None or not args.over:
        raise UsageError("expected DATA and --over NAME=A,B,..., or --resume RUN; see `vaekit sweep --help`")
    return RunConfig.make(args.data, args.test, vars(args))


def _remembered(args: Namespace) -> RunConfig:
    plan = remembered(args, "data", "over", "output", "test")
    if not plan.over:
        raise ValueError(f"{printable(args.resume)} is no sweep: go on with `{resume_command(Path(args.resume))}`")
    return plan


def _place(plan: RunConfig, output: str | None) -> Path:
    """The folder of a new sweep. Raises FileExistsError where it holds a run or a sweep."""
    folder = place(plan, output, overwrite=True)
    if (folder / "run.json").exists() or (folder / "config.json").exists():
        raise FileExistsError(f"{printable(folder)} holds a run already: choose another --output")
    return folder


def _clear(folder: Path) -> None:
    """Removes the files of a sweep that never began."""
    if not any(child.is_dir() for child in folder.iterdir()):
        for name in ("run.json", "sweep.json"):
            (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def _tell_members(plan: RunConfig, result: Sweep, folder: Path) -> None:
    """Writes what each member was fitted to, so that it is a run like any other."""
    for row, vae in zip(result.rows, result.vaes):
        if vae is not None:
            plan.of_member(**_settings(plan, {n: row[n] for n in result.swept}), seed=vae.seed).write(
                folder / row["folder"]
            )


def _settings(plan: RunConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """Swept settings as `run.json` holds them: a recipe's as `--set` has them."""
    own = [f"{n.removeprefix('recipe__')}={v}" for n, v in settings.items() if n.startswith("recipe__")]
    others = {n: v for n, v in settings.items() if not n.startswith("recipe__")}
    return {**others, "set": [*plan.settings["set"], *own]}


def _told(result: Sweep, folder: Path) -> CommandResult:
    record = as_json({"run": str(folder), **result.to_dict()})
    if result.ended == "interrupted":
        command = resume_command(folder, "sweep")
        return CommandResult(f"{result}\ngo on with: {command}", {**record, "resume": command}, INTERRUPTED)
    result.report().save(folder / "report.html")
    return CommandResult(f"{result}\nreport: {printable(folder / 'report.html')}\nsweep: {printable(folder)}", record)


# -- what is swept ---------------------------------------------------------------------------------


def swept(plan: RunConfig) -> dict[str, list[Any]]:
    """The values to sweep over, by the names that `vaekit.sweep` has for them.

    Raises ValueError for unknown names, with the nearest, for values of another kind, and for a name given twice.
    """
    over: dict[str, list[Any]] = {}
    recipes = _recipes(plan)
    for assignment in sorted(
        plan.over, key=lambda text: not text.startswith("recipe=")
    ):  # a recipe before its settings
        name, _, words = assignment.partition("=")
        name = name.replace("-", "_")
        own = name not in SETTINGS and any(name in kinds(recipe) for recipe in recipes)
        full = f"recipe__{name}" if own else name
        if full in over:
            raise ValueError(f"--over {name} is given twice: name all its values at once, {name}=A,B,...")
        over[full] = [_reader(name, recipes)(word) for word in words.split("/" if "/" in words else ",")]
    if "recipe" in over and plan.settings["set"]:
        raise ValueError("--set sets one recipe, and --over recipe=... takes several: leave one of them out")
    return over


def _recipes(plan: RunConfig) -> list[str]:
    """The recipes whose settings may be swept."""
    several = [text.partition("=")[2].split(",") for text in plan.over if text.startswith("recipe=")]
    return [name for names in several for name in names] or list(filter(None, [plan.settings["recipe"]]))


def _reader(name: str, recipes: list[str]) -> Callable[[str], Any]:
    """What reads a value of a setting."""
    if name in FIXED:
        raise ValueError(f"--over {name}: it is the same for all members of a sweep; pass --{name.replace('_', '-')}")
    if name in SETTINGS:
        setting = SETTINGS[name]

        def read(word: str) -> Any:
            try:
                return None if word == "none" and setting.default is None else setting.read(word)
            except argparse.ArgumentTypeError as error:
                raise ValueError(f"--over {name}: {error}") from error

        return read
    kind = next((kinds(recipe)[name] for recipe in recipes if name in kinds(recipe)), None)
    if kind is None:
        known = [*(n for n in SETTINGS if n not in FIXED), *(n for recipe in recipes for n in kinds(recipe))]
        hint = "" if recipes else "; the settings of a recipe need --recipe"
        raise ValueError(f"--over {name}: unknown setting{nearest(name, known)}{hint}")
    return lambda word: value(name, word, kind, "--over")
