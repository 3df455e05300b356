"""The sweep: settings times seeds, trained in as few programs as there can be."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__, storage
from ..core import public
from ..data.annotated import annotated
from ..data.arrays import column_names
from ..data.rows import AbstractRows
from ..estimators import VAE
from ..fitted import FittedVAE
from ..io import save
from ..io.save_load import settings_of
from ..locking import locked
from ..paths import expanded
from ..printable import printable
from ..training import join
from ..training.config import VAEConfig
from ..training.display import display_for
from ..training.jobs import Job
from ..training.splitting import split
from ..training.stacks import Member, lone, seen_by, stacked
from ..training.trainer import Display
from .grid import Combination, combinations, seed_list
from .results import record_of
from .table import Sweep

log = logging.getLogger("vaekit")

ANYWHERE = ("device", "threads", "compile", "verbose")
"""Settings in which a sweep may differ from the one that it goes on with."""


@public
def sweep(
    vae: VAE,
    x: object,
    *,
    over: Mapping[str, Iterable[Any]] | None = None,
    seeds: int | Sequence[int] = 1,
    run: str | Path | None = None,
    resume: bool = False,
    display: Display | None = None,
) -> Sweep:
    """Train every combination of settings with every seed, and compare them.

    One split, by the estimator's own seed and `validation`, holds for all. Members that differ in nothing but seed,
    learning rate and `Hyper` scalars (beta, gamma, capacity, temperature) train as one stacked program, others one
    stack after the other; each equals, to rounding, the model trained alone on the same rows. What cannot be stacked is
    trained one by one, and this is logged. A member that diverges is reported in the result, and the others continue.
    Ctrl-C ends the sweep with what was learned.

    Parameters
    ----------
    vae : VAE
        The estimator whose settings the others are. It is not changed, and not fitted.
    x : array, table or path
        Rows (N, ...).
    over : dict or None, default=None
        Values by the name of a setting, ``recipe__beta`` for one of its recipe's. Every combination is trained.
    seeds : int or sequence of int, default=1
        A number of seeds, from the estimator's own on, or a list of them.
    run : str, Path or None, default=None
        Folder for checkpoints, a run per member, and `sweep.json` and `sweep.txt`.
    resume : bool, default=False
        Resume the sweep in `run`, bit for bit.
    display : object or None, default=None
        Shows progress, as means over the members that train together. ``None`` follows the estimator's `verbose`.

    Returns
    -------
    Sweep
        Prints as a table with a line per configuration.

    Raises
    ------
    ValueError
        For names that are no settings, for empty or repeated values, and if the sweep in `run` is another one.
    FileExistsError
        If `run` holds a sweep and `resume` is False.

    Examples
    --------
    >>> sweep = vk.sweep(vk.VAE(recipe="beta-vae"), x, over={"recipe__beta": [1, 4], "lr": [1e-3, 3e-3]}, seeds=4)
    >>> print(sweep)
    >>> vae = sweep.best()
    """
    if join().size > 1:
        raise ValueError("a sweep runs in one process: start it without torchrun")
    folder, chosen, wanted = None if run is None else expanded(run), seed_list(vae, seeds), combinations(vae, over)
    configs = [combination.of(vae).config() for combination in wanted]
    if any(config.privacy is not None for config in configs):
        raise ValueError("privacy: every model of a sweep spends by itself, and they are trained together: fit one")
    with locked(folder):
        return _swept(vae, x, wanted, chosen, Job(folder, resume, display or display_for(vae.verbose)))


def _swept(
    vae: VAE,
    x: object,
    wanted: list[Combination],
    chosen: list[int],
    job: Job,
) -> Sweep:
    """Trains all members on rows, stack after stack, and saves them."""
    folder, config = job.folder, vae.config()
    plan = {} if folder is None else _plan(config, wanted, chosen)
    if folder is not None:
        _check(folder, plan, job.resume)
    parts = split(config, x)
    members, records = _members(vae, wanted, chosen, parts.rows, parts.held, folder)
    stacks, fitted = stacked(members, job), {}
    log.info("models to train: %d, stacks: %d", len(members), len(stacks))
    if folder is not None:
        storage.write_json(folder / "sweep.json", {"format": storage.FORMAT, "vaekit": __version__, "plan": plan})
    for number, stack in enumerate(stacks):
        stack.fit(job.inside(f"stack-{number}"))
        for member in stack.members:
            if member.trained:
                fitted[id(member)] = _kept(member, column_names(annotated(x) or x))
        if any(m.course is None or m.course.ended == "interrupted" for m in stack.members):
            break
    found = [record_of(r, m) for r, m in zip(records, members)]
    vaes = [VAE.of(fitted[id(m)]) if id(m) in fitted else None for m in members]
    result = Sweep.of(found, vaes, _on(config, parts.rows, parts.held), folder, plan)
    result.save()
    return result


def _on(config: VAEConfig, rows: AbstractRows, held: AbstractRows | None) -> str:
    """What to call the rows that the members were watched on."""
    if held is None:
        return f"the {len(rows):,} training rows: none were held out"
    return f"{len(held):,} held-out rows" + ("" if config.patience is None else ", which also chose when to stop")


def _plan(config: VAEConfig, wanted: list[Combination], seeds: list[int]) -> dict[str, Any]:
    """What `sweep.json` remembers a sweep by; where and how fast it runs is not part of it."""
    settings = {name: value for name, value in settings_of(config).items() if name not in ANYWHERE}
    return json.loads(json.dumps({"settings": settings, "configurations": [c.shown for c in wanted], "seeds": seeds}))


def _check(folder: Path, plan: dict[str, Any], resume: bool) -> None:
    """Raises FileExistsError where a folder holds something else already, ValueError where it holds another sweep."""
    path = folder / "sweep.json"
    if not path.exists():
        if (folder / "config.json").exists():
            raise FileExistsError(f"{printable(folder)} holds a run: choose another folder for the sweep")
        return
    if not any(child.is_dir() for child in folder.iterdir()):
        return  # it never began
    if not resume:
        raise FileExistsError(
            f"{printable(folder)} holds a sweep: go on with it (resume=True), or choose another folder"
        )
    begun = storage.read_json(path)
    storage.check_format(begun, path)
    for name, now in plan.items():
        then = begun.get("plan", {}).get(name)
        if then != now:
            raise ValueError(f"{printable(folder)} was begun with other {name}: {_first_difference(then, now)}")


def _first_difference(then: Any, now: Any) -> str:
    """Where two settings, or lists of them, differ."""
    if isinstance(then, dict) and isinstance(now, dict):
        name = next(n for n in (*then, *now) if then.get(n) != now.get(n))
        return f"{name}={then.get(name)!r} then, {name}={now.get(name)!r} now"
    return f"{then} then, {now} now"


def _members(
    vae: VAE,
    wanted: list[Combination],
    seeds: list[int],
    rows: AbstractRows,
    held: AbstractRows | None,
    folder: Path | None,
) -> tuple[list[Member], list[dict[str, Any]]]:
    """The members, each wanted combination's seeds one after the other, and what their records begin with."""
    members, records = [], []
    for number, combination in enumerate(wanted):
        own = combination.of(vae).config()
        own_rows, own_held = seen_by(own, rows, held)
        for seed in seeds:
            name = combination.folder(len(members), seed)
            home = None if folder is None else storage.inside(folder, name)
            members.append(Member(lone(own, seed, own_held), own_rows, own_held, home))
            records.append({"configuration": number, **combination.shown, "seed": seed, "folder": home and name})
    return members, records


def _kept(member: Member, columns: Any) -> FittedVAE:
    """A trained member as a fitted model, saved in its folder."""
    fitted = FittedVAE.of(member.learner, member.rows.spec, member.config, member.course, feature_names=columns)
    if member.home is not None:
        save(fitted, member.home)
    return fitted
