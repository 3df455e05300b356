"""The sweep: settings times seeds, trained in as few programs as there can be."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__, storage
from ..constraints import OF_VAE
from ..core import public
from ..data.annotated import annotated
from ..data.arrays import column_names
from ..data.rows import AbstractRows
from ..estimator import VAE
from ..locking import locked
from ..paths import expanded
from ..printable import printable
from ..saving import settings_of
from ..settings import check_settings
from ..training import join
from ..training.fitting import Display
from .grid import Combination, combinations, seed_list
from .members import Member, Stack, lone, seen_by, stacked
from .table import Sweep, record_of

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
    """Trains every combination of settings with every seed on rows (N, ...), and compares them.

    vae: the estimator whose settings the others are; it is left as it is, and not fitted. over: values by the name of a
    setting, `recipe__beta` for one of its recipe's; every combination is trained. seeds: so many, from the estimator's
    own on, or a list. run: a folder for checkpoints, a run per member, and `sweep.json` and `sweep.txt`. resume: go on
    from there, bit for bit. display: shows progress, the means over the members that train together; None: as the
    estimator's `verbose` says.

    One split, by the estimator's own seed and `validation`, holds for all. Members that differ in nothing but seed,
    learning rate and `Hyper` scalars (beta, gamma, capacity, temperature) train as one stacked program, others one
    stack after the other; each equals, to rounding, the model trained alone on the same rows. What cannot be stacked is
    trained one by one, and this is logged. A member that diverges is told in the result; the others go on. Ctrl-C ends
    the sweep with what was learned.

    Raises ValueError for names that are no settings, for empty or repeated values, and for a sweep that does not fit
    the one in `run`; FileExistsError where `run` holds one and `resume` is False.

        sweep = vk.sweep(vk.VAE(recipe="beta-vae"), x, over={"recipe__beta": [1, 4], "lr": [1e-3, 3e-3]}, seeds=4)
        print(sweep)
        vae = sweep.best()
    """
    if join().size > 1:
        raise ValueError("a sweep runs in one process: start it without torchrun")
    folder, chosen, wanted = None if run is None else expanded(run), seed_list(vae, seeds), combinations(vae, over)
    for combination in wanted:
        check_settings(combination.of(vae), OF_VAE)
    if any(combination.of(vae).privacy is not None for combination in wanted):
        raise ValueError("privacy: every model of a sweep spends by itself, and they are trained together: fit one")
    with locked(folder):
        return _swept(vae, x, wanted, chosen, folder, resume, display)


def _swept(
    vae: VAE,
    x: object,
    wanted: list[Combination],
    chosen: list[int],
    folder: Path | None,
    resume: bool,
    display: Display | None,
) -> Sweep:
    """Trains all members on rows, stack after stack, and saves them."""
    plan = {} if folder is None else _plan(vae, wanted, chosen)
    if folder is not None:
        _check(folder, plan, resume)
    rows, held = vae._split(x)
    members, records = _members(vae, wanted, chosen, rows, held, folder)
    stacks = stacked(members, resume, display)
    log.info("models to train: %d, stacks: %d", len(members), len(stacks))
    if folder is not None:
        storage.write_json(folder / "sweep.json", {"format": storage.FORMAT, "vaekit": __version__, "plan": plan})
    for number, stack in enumerate(stacks):
        stack.fit(None if folder is None else storage.inside(folder, f"stack-{number}"), resume, display)
        _keep(stack, column_names(annotated(x) or x))
        if any(m.course is None or m.course.ended == "interrupted" for m in stack.members):
            break
    found = [record_of(r, m) for r, m in zip(records, members)]
    result = Sweep.of(found, [m.fitted for m in members], _on(vae, rows, held), folder, plan)
    result.save()
    return result


def _on(vae: VAE, rows: AbstractRows, held: AbstractRows | None) -> str:
    """What to call the rows that the members were watched on."""
    if held is None:
        return f"the {len(rows):,} training rows: none were held out"
    return f"{len(held):,} held-out rows" + ("" if vae.patience is None else ", which also chose when to stop")


def _plan(vae: VAE, wanted: list[Combination], seeds: list[int]) -> dict[str, Any]:
    """What `sweep.json` remembers a sweep by; where and how fast it runs is not part of it."""
    settings = {name: value for name, value in settings_of(vae).items() if name not in ANYWHERE}
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
        own = combination.of(vae)
        own_rows, own_held = seen_by(own, rows, held)
        for seed in seeds:
            name = combination.folder(len(members), seed)
            home = None if folder is None else storage.inside(folder, name)
            members.append(Member(lone(own, seed, own_held), own_rows, own_held, home))
            records.append({"configuration": number, **combination.shown, "seed": seed, "folder": home and name})
    return members, records


def _keep(stack: Stack, columns: Any) -> None:
    """Saves the fitted members of a stack."""
    for member in stack.members:
        if member.fitted is not None:
            member.vae._name(columns)
            if member.home is not None:
                member.vae.save(member.home)
