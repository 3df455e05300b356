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
from ..printable import printable
from .build import learner_for
from .config import VAEConfig
from .history import CUT, TrainingResult
from .jobs import Job, train_learner
from .learner import Ensemble, Learner, unstackable
from .loop import Diverged, Training
from .splitting import infer
from .trainer import fit

log = logging.getLogger("vaekit")

COMPARED = ("recipe", "latent_dim", "encoder", "decoder", "latent", "likelihood", "objective", "initialiser", "missing")
"""Settings that the learner and its rows are made of; these are compared themselves."""
FREE = ("lr", "seed", "seeds", "validation", "warm_start", "verbose")
"""Settings in which the members of a stack may differ, or which do not reach their training."""


@dataclass
class Member:
    """Settings, the rows to train on, and the folder of the result. learner, course: once there are such."""

    config: VAEConfig
    rows: AbstractRows
    held: AbstractRows | None
    home: Path | None = None
    learner: Learner | None = None
    course: TrainingResult | None = None

    @property
    def trained(self) -> bool:
        """Whether it was trained: not where it diverged, or was not begun."""
        return self.course is not None and self.course.ended != "diverged"


@dataclass
class Stack:
    """Members that are trained as one program. alone: why they are trained one by one instead; None where they are not.

    `fit` trains them; those that an interruption left out stay without a course.
    """

    alone: str | None
    members: list[Member] = field(default_factory=list)

    def fit(self, job: Job) -> None:
        """Trains the members, until one of them is interrupted. job: of the stack."""
        if len(self.members) > 1 and self.alone is None:
            return self._together(job)
        if len(self.members) > 1:
            log.warning("%d models are trained one by one: %s", len(self.members), self.alone)
        for member in self.members:
            _train(member, replace(job, folder=member.home))
            if member.course.ended in CUT:
                return

    def _together(self, job: Job) -> None:
        first, configs = self.members[0], [m.config for m in self.members]
        seeds = [config.seed for config in configs]
        ensemble = Ensemble([m.learner for m in self.members], shared_rows=len(set(seeds)) == 1)
        regimes = [m.config.regime(m.rows.spec, len(m.rows)) for m in self.members]
        adam = replace(first.config.adam(regimes[0]), lr=tuple(regime.lr for regime in regimes))
        training = Training(ensemble, first.rows, regimes[0].epochs, regimes[0].batch_size, adam, seeds=seeds)
        courses = fit(training, first.held, **job.arguments(), **first.config.pace())
        for member, learner, course in zip(self.members, ensemble.members(), courses):
            member.learner, member.course = learner, course


def _train(member: Member, job: Job) -> None:
    """Trains one member by itself. One that diverges is logged, and does not raise."""
    try:
        member.course = train_learner(member.config, member.learner, member.rows, member.held, job)
    except Diverged as error:
        log.warning("seed %d: %s", member.config.seed, printable(error))
        member.course = TrainingResult(failed=error.step, ended="diverged")


def stacked(members: Iterable[Member], job: Job) -> list[Stack]:
    """The members in as few stacks as there can be, in their order, each with its learner.

    job: of a training before the one to come, where a recipe has such.
    """
    stacks: dict[str, Stack] = {}
    for member in members:
        member.learner = learner_for(member.config, member.rows, replace(job, folder=member.home))
        key, alone = _architecture(member)
        stacks.setdefault(key, Stack(alone)).members.append(member)
    return list(stacks.values())


def _architecture(member: Member) -> tuple[str, str | None]:
    """What the members of a stack have in common, as text; and why such are not to be stacked, None where they are.

    That is everything but weights, learning rate, seed and the values of `Hyper`s, which a stack holds one of per
    member. Rows that are read from where they are stored come in one order: so do the seeds of such a stack.
    """
    config, learner = member.config, member.learner
    alone = unstackable(learner) or _slower_together(learner)
    try:
        parts = [storage.describe(learner.model), storage.describe(learner.objective, "objective")]
    except TypeError as error:
        parts, alone = [str(id(config))], alone or str(error)
    own = {name: id(getattr(config, name)) for name in storage.external_names(parts)}
    tensors = [(n, tuple(t.shape), str(t.dtype), t.requires_grad) for n, t in _tensors(learner)]
    regime = {n: v for n, v in vars(config.regime(member.rows.spec, len(member.rows))).items() if n not in FREE}
    settings = {n: v for n, v in config.settings().items() if n not in (*COMPARED, *FREE)} | regime
    order = None if isinstance(member.rows, Rows) else config.seed
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


def seen_by(
    config: VAEConfig, rows: AbstractRows, held: AbstractRows | None
) -> tuple[AbstractRows, AbstractRows | None]:
    """Rows that other settings have split, as these read them: their likelihood has a space of its own."""
    spec, device = infer(config, rows.x, rows.spec.dtype, rows.spec.schema)[0], config.torch_device()
    spec = replace(spec, patterns=rows.spec.patterns)
    return as_rows(rows.x, spec, device), None if held is None else as_rows(held.x, spec, device)


def lone(config: VAEConfig, seed: int, held: AbstractRows | None) -> VAEConfig:
    """The settings of one member: a seed of its own, and these rows held out."""
    return replace(config, seed=seed, seeds=None, validation=0 if held is None else held.x)


def train_seeds(config: VAEConfig, rows: AbstractRows, held: AbstractRows | None, job: Job) -> list[Member]:
    """The trained members of `config.seeds` seeds from `config.seed` on, except those that diverged.

    Raises Diverged if the first one did, which is the model that the estimator stands for.
    """
    seeds = range(config.seed, config.seed + config.seeds)
    homes = [job.folder, *(job.inside(f"seed-{seed}").folder for seed in seeds[1:])]
    members = [Member(lone(config, seed, held), rows, held, home) for seed, home in zip(seeds, homes)]
    for stack in stacked(members, job):
        stack.fit(job)
        if any(m.course is None or m.course.ended in CUT for m in stack.members):
            break
    first, trained = members[0], [m for m in members if m.trained]
    if not first.trained:
        raise Diverged(
            f"the training of the first seed, {config.seed}, has diverged since step {first.course.failed} "
            f"({len(trained)} of {len(members)} seeds are well): try a tenth of "
            f"lr={config.regime(rows.spec, len(rows)).lr:g}, or clip=1.0",
            first.course.failed,
        )
    return trained
