"""What is trained: a model with its objective, or many of them stacked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils import _pytree as pytree

from ..constructors import checked_constructor
from ..core import Batch, LossOutput, Noise, Recorder, ReplayNoise, Source, prefixed
from ..model import VAEModule
from ..networks import Network, evaluating
from ..objectives import Objective, summary

COUNTERS = ("step", "first_bad", "start", "far")
"""Buffers that a learner counts in while it trains. They are not part of a fitted model."""
START_STEPS = 10
"""The first steps, whose largest loss is the loss at the start."""
FAR = 10.0
"""A loss is far above its start if it exceeds it by this many times its size, which is at least one nat per cell."""
LOWEST = -1e30
"""Stands for the loss at the start before there is one."""
ABSURD = 1e9
"""Nats per cell that no model reaches, however badly it starts."""


@checked_constructor
class Learner(nn.Module):
    """A model and its objective. `forward(batch, noise)` is pure: changes of state are returned as updates.

    step: number of steps taken. first_bad: the first step whose loss was not finite, or -1. start: the loss and the
    negative ELBO at the start. far: number of steps in which both were far above it. These counters stay on the
    device: training never waits for the host to read them.
    """

    step: Tensor
    first_bad: Tensor
    start: Tensor
    far: Tensor

    def __init__(self, model: VAEModule, objective: Objective):
        super().__init__()
        objective = objective.resolve_shapes(z_shape=model.latent.shape, x_shape=model.likelihood.shape)
        objective.check(model)
        self.model, self.objective = model, objective
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("first_bad", torch.full((), -1, dtype=torch.int64))
        self.register_buffer("start", torch.full((2,), LOWEST))
        self.register_buffer("far", torch.zeros((), dtype=torch.int64))
        self.cells = math.prod(model.likelihood.shape)
        players = objective.param_groups(model)
        # The players that own parameters of the model: critics are not among them.
        self.learning = [who for who, own in players.items() if any(name.startswith("model.") for name in own)]
        self._buffer_names: dict[str, str] | None = None

    def noise(self, seeds: Sequence[int] = (0,)) -> Noise:
        """Seeded noise on the learner's device and in its type."""
        return Source.like(self, seeds[0])

    def param_groups(self) -> dict[str, list[str]]:
        """Each player's trainable parameters, by name."""
        trainable = {name for name, p in self.named_parameters() if p.requires_grad}
        return {
            who: [n for n in names if n in trainable] for who, names in self.objective.param_groups(self.model).items()
        }

    def should_update(self, who: str, taken: int) -> bool:
        """Whether it is this player's turn after so many steps."""
        return self.objective.should_update(who, taken)

    def forward(self, batch: Batch, noise: Noise) -> LossOutput:
        terms = self.objective(self.model, batch, self.step, noise)
        counters = self.counted(terms.losses, terms.metrics)
        return LossOutput(
            terms.losses, terms.metrics, {**self._placed(terms.updates), **self.network_updates(), **counters}
        )

    def _placed(self, updates: dict[str, Tensor]) -> dict[str, Tensor]:
        """An objective's updates by the names of the learner's buffers. Raises ValueError for one that is no buffer."""
        if not updates:
            return {}
        if self._buffer_names is None:
            names = [name for name, _ in self.named_buffers()]
            own = {name: name for name in names}
            for part in ("objective", "model"):  # of a name that both have, the model's
                own |= {name.removeprefix(f"{part}."): name for name in names if name.startswith(f"{part}.")}
            self._buffer_names = own
        unknown = [name for name in updates if name not in self._buffer_names]
        if unknown:
            raise ValueError(
                f"{type(self.objective).__name__} returns an update of {unknown[0]!r}, which is no buffer of the model "
                "or of the objective: create it with register_buffer"
            )
        return {self._buffer_names[name]: value for name, value in updates.items()}

    def network_updates(self) -> dict[str, Tensor]:
        """What networks, a critic's too, give as new values of their buffers."""
        networks = {path: m for path, m in self.named_modules() if isinstance(m, Network)}
        return {name: value for path, m in networks.items() for name, value in prefixed(path, m.updates()).items()}

    def counted(self, losses: dict[str, Tensor], metrics: dict[str, Tensor]) -> dict[str, Tensor]:
        """The counters after a step with these losses and metrics."""
        finite = torch.stack([loss.detach().isfinite() for loss in losses.values()]).all()
        now, starting = self._level(losses, metrics), self.step < START_STEPS
        start = torch.where(starting, torch.maximum(self.start, now), self.start)
        limit = (start + FAR * start.abs().clamp(min=self.cells)).clamp(max=ABSURD * self.cells)
        return {
            "step": self.step + 1,
            "first_bad": torch.where(finite | (self.first_bad >= 0), self.first_bad, self.step),
            "start": start,
            "far": self.far + ((now > limit).all() & ~starting),
        }

    def _level(self, losses: dict[str, Tensor], metrics: dict[str, Tensor]) -> Tensor:
        """(2,): the loss by which the model learns, and the negative ELBO or the distortion, where there is one.

        A ramp or a capacity may raise the loss of a good model, and a small weight of the rate its negative ELBO. Only
        a model that diverges raises both.
        """
        loss = sum(losses[who].detach() for who in self.learning if who in losses)
        if "elbo" in metrics:
            return torch.stack([loss, -metrics["elbo"].detach()]).to(self.start.dtype)
        return torch.stack([loss, metrics.get("distortion", loss).detach()]).to(self.start.dtype)

    def score(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """`summary` of one draw per row in evaluation mode: ELBO, distortion and rate, means over rows, nats."""
        with evaluating(self.model):
            return summary(self.model(batch, noise), batch.weight)


class Scores(nn.Module):
    """A model's `summary` as a module, so that the weights of an ensemble's members can be put into it."""

    def __init__(self, model: VAEModule):
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        return summary(self.model(batch, noise), batch.weight)


def unstackable(learner: Learner) -> str | None:
    """Why a learner cannot be a member of an ensemble; None where it can."""
    parts = [type(m).__name__ for m in learner.modules() if getattr(m, "stackable", True) is False]
    return f"{parts[0]} cannot be stacked: its calls read its own weights whatever they are given" if parts else None


class Sources:
    """One noise source per member of an ensemble; draws are stacked along dimension 0."""

    def __init__(self, sources: Sequence[Source]):
        self.sources = list(sources)

    def randn(self, shape: Sequence[int]) -> Tensor:
        return torch.stack([s.randn(shape) for s in self.sources])

    def rand(self, shape: Sequence[int]) -> Tensor:
        return torch.stack([s.rand(shape) for s in self.sources])

    @property
    def state(self) -> Tensor:
        return torch.stack([s.state for s in self.sources])

    @state.setter
    def state(self, value: Tensor) -> None:
        for source, state in zip(self.sources, value):
            source.state = state


@checked_constructor
class Ensemble(nn.Module):
    """K learners of one architecture as one module with stacked parameters: one program trains them all.

    `forward(batch, noise)` takes a batch with a leading dimension K (every member its own rows), or, with
    shared_rows, one batch for all; the noise gives numbers stacked along K. Losses and metrics are (K,). Members
    are independent: each equals the learner trained alone on its rows and noise, and one that diverges leaves the
    others as they are. `members()` gives the learners back.
    """

    def __init__(self, learners: Sequence[Learner], shared_rows: bool = False):
        super().__init__()
        reason = unstackable(learners[0])
        if reason is not None:
            raise ValueError(f"{reason}; train such models one by one")
        shapes = [{n: tuple(t.shape) for n, t in m.state_dict().items()} for m in learners]
        if any(s != shapes[0] for s in shapes):
            raise ValueError("an ensemble stacks learners of one architecture; these differ in names or shapes")
        self.shared_rows = shared_rows
        # Outside the module tree: the members lend their structure; the weights are the stacked ones below.
        self._learners = list(learners)
        parameters, buffers = stack_module_state(self._learners)
        for name, p in parameters.items():
            # The gradient of a stacked matrix lies in memory column by column, and Adam runs through both as they lie.
            p = p.detach().mT.contiguous().mT if p.dim() == 3 else p.detach()
            self.register_parameter(_flat(name), nn.Parameter(p, requires_grad=parameters[name].requires_grad))
        for name, b in buffers.items():
            self.register_buffer(_flat(name), b)
        self._names = {_flat(n): n for n in [*parameters, *buffers]}
        self._requests: dict[tuple, list[tuple[str, tuple[int, ...]]]] = {}

    def __len__(self) -> int:
        return len(self._learners)

    @property
    def pattern(self) -> Learner:
        """The learner whose structure all members share; its weights are not the members'."""
        return self._learners[0]

    def noise(self, seeds: Sequence[int] = ()) -> Noise:
        """Seeded noise for every member: by default, 0, 1, 2, ..."""
        return Sources([Source.like(self, s) for s in seeds or range(len(self))])

    def train(self, mode: bool = True) -> Ensemble:
        self._learners[0].train(mode)
        return super().train(mode)

    def param_groups(self) -> dict[str, list[str]]:
        return {who: [_flat(n) for n in names] for who, names in self._learners[0].param_groups().items()}

    def should_update(self, who: str, taken: int) -> bool:
        return self.pattern.should_update(who, taken)

    def _state(self) -> dict[str, Tensor]:
        return {self._names[n]: t for n, t in [*self.named_parameters(), *self.named_buffers()]}

    def forward(self, batch: Batch, noise: Noise) -> LossOutput:
        terms = self._each(self.pattern, self._state(), batch, noise, self.shared_rows)
        return LossOutput(terms.losses, terms.metrics, {_flat(n): u for n, u in terms.updates.items()})

    def score(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Every member's figures, (K,), of rows that all share."""
        state = {n: t for n, t in self._state().items() if n.startswith("model.")}
        with evaluating(self.pattern.model):
            return self._each(Scores(self.pattern.model), state, batch, noise, shared_rows=True)

    def _each(self, module: nn.Module, state: dict[str, Tensor], batch: Batch, noise: Noise, shared_rows: bool) -> Any:
        """`module(batch, noise)` of every member's state, stacked along dimension 0."""
        tape = [getattr(noise, kind)(shape) for kind, shape in self._asks(module, state, batch, shared_rows)]
        present = {f.name: getattr(batch, f.name) for f in fields(batch) if getattr(batch, f.name) is not None}

        def member(state: dict[str, Tensor], rows: dict[str, Tensor], numbers: list[Tensor]) -> Any:
            return functional_call(module, state, (Batch(**rows), ReplayNoise(numbers)))

        # Noise comes on the tape; randomness of a user's own module (dropout) differs from member to member.
        in_dims = (0, None if shared_rows else 0, 0)
        return vmap(member, in_dims=in_dims, randomness="different")(state, present, tape)

    def _asks(
        self, module: nn.Module, state: dict[str, Tensor], batch: Batch, shared_rows: bool
    ) -> list[tuple[str, tuple[int, ...]]]:
        """What noise one member asks for, found once per shape of batch by a dry run of the first."""
        one = batch if shared_rows else pytree.tree_map_only(Tensor, lambda t: t[0], batch)
        key = (type(module), *(tuple(t.shape) for t in pytree.tree_leaves(one) if isinstance(t, Tensor)))
        if key not in self._requests:
            recorder = Recorder(Source.like(self))
            with torch.no_grad():
                functional_call(module, {n: t[0] for n, t in state.items()}, (one, recorder))
            self._requests[key] = recorder.requests
        return self._requests[key]

    @torch.no_grad()
    def members(self) -> list[Learner]:
        """The learners, each with its own weights."""
        for index, learner in enumerate(self._learners):
            learner.load_state_dict({n: self._state()[n][index] for n in learner.state_dict()})
        return self._learners


def _flat(name: str) -> str:
    """A stacked tensor's own name: torch allows no dots in it."""
    return name.replace(".", "/")
