"""One training step, the same for every composition: all players' gradients, their optimisers, the updates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core import Batch, Noise, Terms
from .adam import Adam, Moments
from .captured import Captured
from .compiled import Program
from .learner import Ensemble, Learner


class Step:
    """`step(batch, noise)` moves a learner, or an ensemble of learners, by one step and returns its terms.

    Nothing in it reads a tensor on the host. With several players every gradient is taken before any of them moves.
    compiled: whether forward and backward run as one compiled program; see `Program`. captured: whether the whole step
    is one CUDA graph; see `Captured`.
    """

    def __init__(
        self,
        learner: Learner | Ensemble,
        adam: Adam | None = None,
        total_steps: int = 1,
        compiled: bool = False,
        captured: bool = False,
    ):
        self.learner, self.adam, self.total_steps = learner, adam or Adam(), total_steps
        self.compiled, self.captured, self.taken = compiled, captured, 0
        named = dict(learner.named_parameters())
        self.players = {who: [named[n] for n in names] for who, names in learner.players().items() if names}
        self.moments = {who: Moments(parameters, self.adam) for who, parameters in self.players.items()}
        self.buffers = dict(learner.named_buffers())
        self.program = Program(learner, self.players)
        self.graph = Captured(self._take, learner)

    def __call__(self, batch: Batch, noise: Noise) -> Terms:
        factor = self.adam.factor(self.taken, self.total_steps)
        terms = (self.graph if self.captured else self._take)(batch, noise, factor)
        self.taken += 1
        return terms

    def _take(self, batch: Batch, noise: Noise, factor: float | Tensor) -> Terms:
        terms, gradients = (self.program if self.compiled else self.program.eager)(batch, noise)
        for who, moments in self.moments.items():
            moments.move(gradients[who] if self.adam.clip is None else self._clipped(gradients[who]), factor)
        with torch.no_grad():
            for name, value in terms.updates.items():
                self.buffers[name].copy_(value)
        return Terms(terms.losses, terms.metrics)

    @property
    def rate(self) -> float | tuple[float, ...]:
        """The learning rate of the last step taken: of all members, or of each."""
        factor = self.adam.factor(max(0, self.taken - 1), self.total_steps)
        rates = tuple(lr * factor for lr in self.adam.rates)
        return rates[0] if len(rates) == 1 else rates

    def _clipped(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The gradient scaled to at most `clip`; in an ensemble every member's by itself."""
        stacked = isinstance(self.learner, Ensemble)
        members = len(self.learner) if stacked else 1
        norms = sum(g.reshape(members, -1).square().sum(1) for g in gradients if g is not None).sqrt()
        factor = (self.adam.clip / (norms + 1e-6)).clamp(max=1.0)
        return [
            g if g is None else g * (factor.reshape(-1, *[1] * (g.dim() - 1)) if stacked else factor[0])
            for g in gradients
        ]

    def state(self) -> dict[str, Tensor]:
        """The optimisers' state, flat: `player/name` -> tensor."""
        return {f"{who}/{name}": t for who, moments in self.moments.items() for name, t in moments.state().items()}

    def restore(self, state: dict[str, Tensor], taken: int) -> None:
        """Brings the optimisers back to a saved `state`, after `taken` steps."""
        self.taken = taken
        for who, moments in self.moments.items():
            moments.restore({n.removeprefix(f"{who}/"): t for n, t in state.items() if n.startswith(f"{who}/")})
