"""One training step, the same for every composition: all players' backward, their optimisers, the updates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..core import Batch, Noise, Terms
from .learner import Ensemble, Learner

Schedule = Literal["constant", "cosine", "linear"]


@dataclass(frozen=True)
class Adam:
    """Adam's settings (Kingma & Ba 2015, arXiv:1412.6980), the same for every player.

    schedule: the learning rate over `total_steps`: constant, half a cosine down to 0, or a line down to 0, after
    `warmup` steps of linear rise. clip: the largest norm of a player's gradient; None leaves it.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup: int = 0
    clip: float | None = None

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr={self.lr}: expected a positive learning rate")
        if self.schedule not in ("constant", "cosine", "linear"):
            raise ValueError(f'schedule={self.schedule!r}: expected "constant", "cosine" or "linear"')
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip={self.clip}: expected a positive norm, or None")

    def rate(self, step: int, total_steps: int) -> float:
        """The learning rate of a step (counted from 0)."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        done = min(1.0, step / total_steps)
        fall = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[self.schedule]
        return self.lr * rise * fall


class Step:
    """`step(batch, noise)` moves a learner, or an ensemble of learners, by one step and returns its terms.

    Nothing in it reads a tensor on the host. With several players every backward is taken before any of them moves.
    """

    def __init__(self, learner: Learner | Ensemble, adam: Adam | None = None, total_steps: int = 1):
        self.learner, self.adam, self.total_steps = learner, adam or Adam(), total_steps
        self.taken = 0
        named = dict(learner.named_parameters())
        self.players = {who: [named[n] for n in names] for who, names in learner.players().items()}
        self.optimisers = {
            who: torch.optim.Adam(
                parameters, lr=self.adam.lr, betas=self.adam.betas, weight_decay=self.adam.weight_decay, fused=True
            )
            for who, parameters in self.players.items()
            if parameters
        }
        self.buffers = dict(learner.named_buffers())

    def __call__(self, batch: Batch, noise: Noise) -> Terms:
        terms = self.learner(batch, noise)
        for index, who in enumerate(self.optimisers):
            self.optimisers[who].zero_grad(set_to_none=True)
            terms.losses[who].sum().backward(inputs=self.players[who], retain_graph=index < len(self.optimisers) - 1)
        for who, optimiser in self.optimisers.items():
            if self.adam.clip is not None:
                self._clip(self.players[who])
            for group in optimiser.param_groups:
                group["lr"] = self.adam.rate(self.taken, self.total_steps)
            optimiser.step()
        with torch.no_grad():
            for name, value in terms.updates.items():
                self.buffers[name].copy_(value)
        self.taken += 1
        return Terms(_detached(terms.losses), _detached(terms.metrics))

    @torch.no_grad()
    def _clip(self, parameters: list[Tensor]) -> None:
        """Scales the gradient to at most `clip`; in an ensemble every member's by itself."""
        members = len(self.learner) if isinstance(self.learner, Ensemble) else 1
        gradients = [p.grad for p in parameters if p.grad is not None]
        norms = sum(g.reshape(members, -1).square().sum(1) for g in gradients).sqrt()
        factor = (self.adam.clip / (norms + 1e-6)).clamp(max=1.0)
        for g in gradients:
            g.mul_(factor.reshape(-1, *[1] * (g.dim() - 1)) if isinstance(self.learner, Ensemble) else factor[0])

    def state(self) -> dict[str, Tensor]:
        """The optimisers' state, flat: `player/parameter/name` -> tensor."""
        return {
            f"{who}/{i}/{name}": value
            for who, optimiser in self.optimisers.items()
            for i, p in enumerate(self.players[who])
            for name, value in optimiser.state.get(p, {}).items()
        }

    def restore(self, state: dict[str, Tensor], taken: int) -> None:
        """Brings the optimisers back to a saved `state`, after `taken` steps."""
        self.taken = taken
        for key, value in state.items():
            who, index, name = key.split("/")
            parameter = self.players[who][int(index)]
            # Adam counts its steps in float32 on the host's side whatever the parameters are.
            kept = value.clone() if name == "step" else value.to(parameter).clone()
            self.optimisers[who].state[parameter][name] = kept


def _detached(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in values.items()}
