"""One training step, the same for every composition: all players' gradients, their optimisers, the updates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..constructors import checked_constructor
from ..core import Batch, LossOutput, Noise
from .adam import Adam, Moments
from .captured import Captured
from .compiled import Program, State
from .distributed import Gradients, Processes
from .learner import Ensemble, Learner
from .sharded import Sharded, Shards


def gradients(
    players: dict[str, list[str]],
    learner: Callable[[Batch, Noise], LossOutput],
    state: State,
    batch: Batch,
    noise: Noise,
) -> tuple[LossOutput, dict[str, Sequence[Tensor | None]]]:
    """The terms, detached, and each player's gradients of its own loss. Pure: what a `Program` may compile.

    The losses of an ensemble's members are summed, which leaves each its own gradient.
    """
    terms, found = learner(batch, noise), {}
    for left, (who, names) in zip(reversed(range(len(players))), players.items()):
        loss, own = terms.losses[who].sum(), [state[n] for n in names]
        found[who] = torch.autograd.grad(loss, own, retain_graph=left > 0, allow_unused=True)
    return pytree.tree_map_only(Tensor, torch.detach, terms), found


class Turn:
    """How a step is taken in which some of the players move: the program of their gradients, the graph of the whole."""

    def __init__(self, step: Step, players: dict[str, list[str]]):
        noise = step.processes.among(step.learner.noise())
        self.program = Program(partial(gradients, players), step.learner, noise)
        self.take = partial(step._take, self)
        self.graph = Captured(self.take, step.learner)


@checked_constructor
class Step:
    """`step(batch, noise)` moves a learner, or an ensemble of learners, by one step and returns its terms.

    Nothing in it reads a tensor on the host. With several players every gradient is taken before any of them moves. In
    a step that is not a player's turn, see `Objective.should_update`, its parameters, moments and count stay.
    compiled: whether forward and backward run as one compiled program; see `Program`. captured: whether the whole step
    is one CUDA graph; see `Captured`. processes: those that each have a share of the batch; see `Processes`. sharded:
    the learner's weights spread over them; such steps are not compiled. private: what gives terms and gradients
    instead, see `PrivateGradients`; neither compiled nor captured.
    """

    def __init__(
        self,
        learner: Learner | Ensemble,
        adam: Adam | None = None,
        total_steps: int = 1,
        compiled: bool = False,
        captured: bool = False,
        processes: Processes | None = None,
        sharded: Sharded | None = None,
    ):
        self.learner, self.adam, self.total_steps = learner, adam or Adam(), total_steps
        self.compiled, self.captured, self.taken = compiled, captured, 0
        self.processes, self.sharded = processes or Processes(), sharded
        self.private: Callable[[Batch, Noise], tuple[LossOutput, Gradients]] | None = None
        named = dict(learner.named_parameters())
        self.param_groups = {who: names for who, names in learner.param_groups().items() if names}
        if sharded is not None:
            self.param_groups = {who: sharded.as_before(names) for who, names in self.param_groups.items()}
        members = len(learner) if isinstance(learner, Ensemble) else None
        self.moments = {
            who: Moments([named[n] for n in names], self.adam, members) for who, names in self.param_groups.items()
        }
        self.buffers = dict(learner.named_buffers())
        self.turns: dict[tuple[str, ...], Turn] = {}
        self.lowered: dict[int, float] = {}
        """Factors of the learning rates of an ensemble's members, where one was lowered."""

    def turn(self, who: Collection[str]) -> Turn:
        """The step in which these players move: as many programs and graphs as there are kinds of turns."""
        players = {name: own for name, own in self.param_groups.items() if name in who}
        if tuple(players) not in self.turns:
            self.turns[tuple(players)] = Turn(self, players)
        return self.turns[tuple(players)]

    @property
    def coming(self) -> Turn:
        """The next step's."""
        return self.turn([who for who in self.param_groups if self.learner.should_update(who, self.taken)])

    @property
    def program(self) -> Program:
        return self.coming.program

    @property
    def graph(self) -> Captured:
        return self.coming.graph

    def __call__(self, batch: Batch, noise: Noise) -> LossOutput:
        factor, turn = self.adam.factor(self.taken, self.total_steps), self.coming
        terms = (turn.graph if self.captured else turn.take)(batch, noise, factor)
        self.taken += 1
        if self.adam.average is not None:
            for moments in self.moments.values():
                moments.follow(self.taken)
        return terms

    def _take(self, turn: Turn, batch: Batch, noise: Noise, factor: float | Tensor) -> LossOutput:
        with nullcontext() if self.sharded is None else self.sharded.step(batch):
            found = self.private or (turn.program if self.compiled else turn.program.eager)
            terms, gradients = found(batch, noise)
        if self.processes.size > 1:
            terms, gradients = self._mean(batch, terms, gradients)
            counters = self.learner.counted(terms.losses, terms.metrics)
            terms = replace(terms, updates={**terms.updates, **counters})
        for who, own in gradients.items():
            gradient, skipping = self._bounded(who, own)
            self.moments[who].move(gradient, factor, skipping)
        with torch.no_grad():
            for name, value in terms.updates.items():
                self.buffers[name].copy_(value)
        return LossOutput(terms.losses, terms.metrics)

    @property
    def rate(self) -> float | tuple[float, ...]:
        """The learning rate of the last step taken: of all members, or of each."""
        factor = self.adam.factor(max(0, self.taken - 1), self.total_steps)
        rates = tuple(lr * factor for lr in self.rates)
        return rates[0] if len(rates) == 1 else rates

    def _mean(self, batch: Batch, terms: LossOutput, gradients: Gradients) -> tuple[LossOutput, Gradients]:
        """Over the rows of all processes; gradients of parts are so already."""
        if self.sharded is None:
            return self.processes.mean(batch, terms, gradients)
        parts = {
            who: [g if n in self.sharded.shards else None for n, g in zip(self.param_groups[who], own)]
            for who, own in gradients.items()
        }
        others = {who: [None if p is not None else g for p, g in zip(parts[who], gs)] for who, gs in gradients.items()}
        terms, others = self.processes.mean(batch, terms, others)
        return terms, {who: [o if p is None else p for p, o in zip(parts[who], gs)] for who, gs in others.items()}

    def _bounded(self, who: str, gradients: Sequence[Tensor | None]) -> tuple[Sequence[Tensor | None], Tensor | None]:
        """The gradient scaled to at most `clip`, and who leaves this step out, (members or 1,); in an ensemble every
        member's by itself."""
        if self.adam.clip is None and self.adam.skip is None:
            return gradients, None
        norm, skipping = self._norm(who, gradients), None
        if self.adam.skip is not None:
            skipping = (~(norm <= self.adam.skip)).float()
        if self.adam.clip is not None:
            factor, stacked = (self.adam.clip / (norm + 1e-6)).clamp(max=1.0), isinstance(self.learner, Ensemble)
            gradients = [
                g if g is None else g * (factor.reshape(-1, *[1] * (g.dim() - 1)) if stacked else factor[0])
                for g in gradients
            ]
        return gradients, skipping

    def _norm(self, who: str, gradients: Sequence[Tensor | None]) -> Tensor:
        """Of a player's gradient, (members or 1,)."""
        if self.sharded is not None:
            return self.sharded.squares(self.param_groups[who], gradients).reshape(1).sqrt()
        members = len(self.learner) if isinstance(self.learner, Ensemble) else 1
        return sum(g.reshape(members, -1).square().sum(1) for g in gradients if g is not None).sqrt()

    @property
    def skipped(self) -> list[int]:
        """How many steps of every member were left out by a player, of a learner its own alone. Reads the device."""
        return [int(n) for n in sum(moments.skipped for moments in self.moments.values()).tolist()]

    def scale_rate(self, member: int, by: float) -> None:
        """Multiplies the learning rate of a member; of a learner, which is member 0, its own."""
        if isinstance(self.learner, Ensemble):
            self.lowered[member] = by * self.lowered.get(member, 1.0)
        else:
            self.adam = replace(self.adam, lr=by * self.adam.rates[0])
        for moments in self.moments.values():
            moments.adam, moments.lowered = self.adam, self.lowered
        for turn in self.turns.values():
            turn.graph = Captured(turn.take, self.learner)  # the rates are part of a captured step

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates without the schedule: of all members, or of each."""
        rates = self.adam.rates
        if self.lowered and len(rates) == 1:
            rates = rates * len(self.learner)
        return tuple(lr * self.lowered.get(k, 1.0) for k, lr in enumerate(rates))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the learner has its averaged weights, where `Adam.average` asks for such."""
        raw = [[p.detach().clone() for p in m.parameters] for m in self.moments.values() if m.average is not None]
        self.settle()
        try:
            yield
        finally:
            with torch.no_grad():
                for moments, weights in zip(self.moments.values(), raw):
                    torch._foreach_copy_(moments.parameters, weights)

    @torch.no_grad()
    def settle(self) -> None:
        """Gives the learner its averaged weights for good, where `Adam.average` asks for such."""
        for moments in self.moments.values():
            if moments.average is not None:
                torch._foreach_copy_(moments.parameters, moments.average)

    def state(self) -> dict[str, Tensor]:
        """The optimisers' state, flat: `player/name` -> tensor."""
        return {f"{who}/{name}": t for who, moments in self.moments.items() for name, t in self._of(who, moments)}

    def _of(self, who: str, moments: Moments) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in moments.state().items():
            shards = self._shards(who, name)
            yield name, tensor if shards is None else shards.whole(tensor).cpu()

    def _shards(self, who: str, name: str) -> Shards | None:
        """What the tensor of this name in a `Moments.state` is a part of."""
        _, _, place = name.partition("/")
        return self.sharded.shards.get(self.param_groups[who][int(place)]) if self.sharded and place else None

    def restore(self, state: dict[str, Tensor], taken: int) -> None:
        """Brings the optimisers back to a saved `state`, after `taken` steps."""
        self.taken = taken
        for who, moments in self.moments.items():
            own = {n.removeprefix(f"{who}/"): t for n, t in state.items() if n.startswith(f"{who}/")}
            shards = {n: self._shards(who, n) for n in own}
            moments.restore({n: t if shards[n] is None else shards[n].right_inverse(t) for n, t in own.items()})
