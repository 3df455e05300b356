"""Adam, for one learner or for many stacked ones, each with a learning rate of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["constant", "cosine", "linear"]
EPSILON = 1e-8


@dataclass(frozen=True)
class Adam:
    """Adam's settings (Kingma & Ba 2015, arXiv:1412.6980), the same for every player.

    lr: the learning rate; for an ensemble it may be a tuple, one per member. schedule: the learning rate over
    `total_steps`: constant, half a cosine down to 0, or a line down to 0, after `warmup` steps of linear rise. clip:
    the largest norm of a player's gradient; None leaves it.
    """

    lr: float | tuple[float, ...] = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup: int = 0
    clip: float | None = None

    def __post_init__(self) -> None:
        if not all(lr > 0 for lr in self.rates):
            raise ValueError(f"lr={self.lr}: expected a positive learning rate")
        if self.schedule not in ("constant", "cosine", "linear"):
            raise ValueError(f'schedule={self.schedule!r}: expected "constant", "cosine" or "linear"')
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip={self.clip}: expected a positive norm, or None")

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates: of all members, or of each."""
        return self.lr if isinstance(self.lr, tuple) else (self.lr,)

    def factor(self, step: int, total_steps: int) -> float:
        """What the schedule multiplies the learning rate of a step by; steps are counted from 0."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        done = min(1.0, step / total_steps)
        fall = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[self.schedule]
        return rise * fall


class Moments:
    """Adam's memory of one player: running means of its gradients and of their squares, and its count of steps.

    A learning rate per member needs parameters that are stacked along dimension 0.
    """

    def __init__(self, parameters: Sequence[Tensor], adam: Adam):
        self.adam, self.parameters = adam, list(parameters)
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        like = self.parameters[0]
        self.count = torch.zeros((), device=like.device)
        self.rates = (
            None if len(set(adam.rates)) == 1 else torch.tensor(adam.rates, device=like.device, dtype=like.dtype)
        )

    @torch.no_grad()
    def move(self, gradients: Sequence[Tensor | None], factor: float | Tensor) -> None:
        """One step down the gradients; a parameter without one stays. factor: the schedule's, of this step."""
        self.count += 1
        known = [i for i, g in enumerate(gradients) if g is not None]
        p, m, v = ([ts[i] for i in known] for ts in (self.parameters, self.first, self.second))
        g = [_laid_out_like(gradients[i], self.parameters[i]) for i in known]
        if self.rates is None:
            self._fused(p, g, m, v, self.adam.rates[0] * factor, self.adam.weight_decay)
            return
        # Torch's kernel takes one rate: it moves zeros at rate 1, and what they became is scaled by each member's own.
        if self.adam.weight_decay:
            g = torch._foreach_add(g, p, alpha=self.adam.weight_decay)
        ahead = [torch.zeros_like(t) for t in p]
        self._fused(ahead, g, m, v, 1.0, 0.0)
        rates = self.rates * factor
        for parameter, move in zip(p, ahead):
            parameter.addcmul_(move, rates.reshape(-1, *[1] * (move.dim() - 1)))

    def _fused(
        self, p: list[Tensor], g: list[Tensor], m: list[Tensor], v: list[Tensor], lr: float | Tensor, decay: float
    ) -> None:
        beta1, beta2 = self.adam.betas
        # fmt: off
        torch._fused_adam_(
            p, g, m, v, [], [self.count] * len(p), lr=lr, beta1=beta1, beta2=beta2, weight_decay=decay, eps=EPSILON,
            amsgrad=False, maximize=False,
        )
        # fmt: on

    def state(self) -> dict[str, Tensor]:
        """Flat: `count`, `first/i`, `second/i`."""
        moments = {f"{name}/{i}": t for name in ("first", "second") for i, t in enumerate(getattr(self, name))}
        return {"count": self.count, **moments}

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        for name, value in self.state().items():
            value.copy_(state[name])


def _laid_out_like(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient with its numbers in the parameter's order in memory, as the fused kernel reads them."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
