"""Which models train as one program, and how they are trained."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from .. import storage
from ..core import COMPONENTS, Hyper
from ..data.rows import AbstractRows, Rows, as_rows
from ..estimator import VAE
from ..printable import printable
from ..training import Diverged, Ensemble, Learner, Training, fit
from ..training.display import display_for
from ..training.fitting import Display
from ..training.history import CUT, Course
from ..training.learner import unstackable

log = logging.getLogger("vaekit")

COMPARED = ("recipe", "latent_dim", "encoder", "decoder", "latent", "likelihood", "objective", "initialiser", "missing")
"""Settings that the learner and its rows are made of; these are compared themselves."""
FREE = ("lr", "seed", "seeds", "validation", "warm_start", "verbose")
"""Settings in which the members of a stack may differ, or which do not reach their training."""


@dataclass
class Member:
    """An estimator, the rows it is to be trained on, and where it is saved. learner, course: once there are such."""

    vae: VAE
    rows: AbstractRows
    held: AbstractRows | None
    home: Path | None = None
    learner: Learner | None = None
    course: Course | None = None

    @property
    def fitted(self) -> VAE | None:
        """The estimator, where it was fitted: None where it diverged, or was not begun."""
        return None if self.course is None or self.course.ended == "diverged" else self.vae


@dataclass
class Stack:
    """Members that are trained as one program. alone: why they are trained one by one instead; None where they are not.

    `fit` trains them; those that an interruption left out stay without a course.
    """

    alone: str | None
    members: list[Member] = field(default_factory=list)

    def fit(self, folder: Path | None, resume: bool, display: Display | None) -> None:
        """folder: of the stack's checkpoint. display: None for the estimators' own."""
        display = display or display_for(self.members[0].vae.verbose)
        if len(self.members) > 1 and self.alone is None:
            return self._together(folder, resume, display)
        if len(self.members) > 1:
            log.warning("%d models are trained one by one: %s", len(self.members), self.alone)
        for member in self.members:
            _train(member, resume, display)
            if member.course.ended in CUT:
                return

    def _together(self, folder: Path | None, resume: bool, display: Display) -> None:
        first, vaes = self.members[0], [m.vae for m in self.members]
        seeds = [vae.seed for vae in vaes]
        ensemble = Ensemble([m.learner for m in self.members], shared_rows=len(set(seeds)) == 1)
        regimes = [m.vae._regime(m.rows) for m in self.members]
        adam = replace(first.vae._adam(regimes[0]), lr=tuple(regime.lr for regime in regimes))
        training = Training(ensemble, first.rows, regimes[0].epochs, regimes[0].batch_size, adam, seeds=seeds)
        courses = fit(training, first.held, folder=folder, resume=resume, display=display, **first.vae._fitting())
        for member, learner, member.course in zip(self.members, ensemble.members(), courses):
            if member.fitted is not None:
                member.vae._adopt(learner, member.rows.spec, member.course)


def _train(member: Member, resume: bool, display: Display) -> None:
    """Trains one member by itself; one that diverges is told, not raised."""
    try:
        member.course = member.vae._train(member.learner, member.rows, member.held, member.home, resume, display)
    except Diverged as error:
        log.warning("seed %d: %s", member.vae.seed, printable(error))
        member.course = Course(failed=error.step, ended="diverged")


def stacked(members: Iterable[Member], resume: bool, display: Display | None) -> list[Stack]:
    """The members in as few stacks as there can be, in their order, each with its learner.

    resume, display: of a training before the one to come, where a recipe has such.
    """
    stacks: dict[str, Stack] = {}
    for member in members:
        shown = display or display_for(member.vae.verbose)
        member.learner = member.vae._learner(member.rows, member.home, resume, shown)
        key, alone = _architecture(member)
        stacks.setdefault(key, Stack(alone)).members.append(member)
    return list(stacks.values())


def _architecture(member: Member) -> tuple[str, str | None]:
    """What the members of a stack have in common, as text; and why such are not to be stacked, None where they are.

    That is everything but weights, learning rate, seed and the values of `Hyper`s, which a stack holds one of per
    member. Rows that are read from where they are stored come in one order: so do the seeds of such a stack.
    """
    vae, learner = member.vae, member.learner
    alone = unstackable(learner) or _slower_together(learner)
    try:
        parts = [storage.describe(learner.model), storage.describe(learner.objective, "objective")]
    except TypeError as error:
        parts, alone = [str(id(vae))], alone or str(error)
    own = {name: id(getattr(vae, name)) for name in storage.external_names(parts)}
    tensors = [(n, tuple(t.shape), str(t.dtype), t.requires_grad) for n, t in _tensors(learner)]
    regime = {n: v for n, v in vars(vae._regime(member.rows)).items() if n not in FREE}
    settings = {n: v for n, v in vae.get_params(deep=False).items() if n not in (*COMPARED, *FREE)} | regime
    order = None if isinstance(member.rows, Rows) else vae.seed
    alike = [_without_values(parts), own, tensors, settings, member.rows.spec.to_dict(), order]
    return json.dumps(alike, default=str), alone


def _slower_together(learner: Learner) -> str | None:
    """Why a stack would take longer than its members one after the other; None where it would not."""
    convolves = any(isinstance(m, _ConvNd) for m in learner.modules())
    on_cpu = learner.get_buffer("step").device.type == "cpu"
    return "stacked, convolutions would take longer on a CPU" if convolves and on_cpu else None


def _tensors(learner: Learner) -> list[tuple[str, Tensor]]:
    return [*learner.named_parameters(), *learner.named_buffers()]


def _without_values(description: Any) -> Any:
    """A description of parts, in which `Hyper`s have no value."""
    if isinstance(description, list):
        return [_without_values(d) for d in description]
    if not isinstance(description, dict):
        return description
    hyper = issubclass(COMPONENTS.get(description.get("type", ""), object), Hyper)
    return {n: _without_values(d) for n, d in description.items() if not (hyper and n == "value")}


def seen_by(vae: VAE, rows: AbstractRows, held: AbstractRows | None) -> tuple[AbstractRows, AbstractRows | None]:
    """Rows that another estimator has split, as this one reads them: its likelihood has a space of its own."""
    spec, device = vae._inferred(rows.x, rows.spec.dtype, rows.spec.schema)[0], vae._device()
    spec = replace(spec, patterns=rows.spec.patterns)
    return as_rows(rows.x, spec, device), None if held is None else as_rows(held.x, spec, device)


def lone(vae: VAE, seed: int, held: AbstractRows | None) -> VAE:
    """The estimator that trains one member of this one's: with a seed of its own and these rows held out."""
    own = vae.__sklearn_clone__().set_params(seed=seed, seeds=None, validation=0 if held is None else held.x)
    own._deadline = vae._deadline
    return own


def fit_seeds(
    vae: VAE, rows: AbstractRows, held: AbstractRows | None, folder: Path | None, resume: bool, display: Display
) -> list[VAE]:
    """The fitted models of `vae.seeds` seeds from `vae.seed` on, but for those that diverged.

    Raises Diverged where the first one did, which is the model that the estimator stands for.
    """
    seeds = range(vae.seed, vae.seed + vae.seeds)
    homes = [folder, *(None if folder is None else storage.inside(folder, f"seed-{seed}") for seed in seeds[1:])]
    members = [Member(lone(vae, seed, held), rows, held, home) for seed, home in zip(seeds, homes)]
    for stack in stacked(members, resume, display):
        stack.fit(folder, resume, display)
        if any(m.course is None or m.course.ended in CUT for m in stack.members):
            break
    first, fitted = members[0], [m.fitted for m in members if m.fitted is not None]
    if first.fitted is None:
        raise Diverged(
            f"the training of the first seed, {vae.seed}, has diverged since step {first.course.failed} "
            f"({len(fitted)} of {len(members)} seeds are well): try a tenth of lr={vae._regime(rows).lr:g}, "
            "or clip=1.0",
            first.course.failed,
        )
    return fitted
