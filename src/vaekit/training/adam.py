"""Adam, for one learner or for many stacked ones, each with a learning rate of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..constructors import Fixed
from ..settings import Choice, Number, Rule, Whole, checked, optional

Schedule = Literal["constant", "cosine", "linear"]
EPSILON = 1e-8
NORM = Number(0.0, open_low=True, words="a positive norm")
RULES: dict[str, Rule] = {
    "lr": Number(0.0, open_low=True, words="a positive learning rate, such as 1e-3"),
    "weight_decay": Number(0.0, words="a number from 0"),
    "schedule": Choice(("constant", "cosine", "linear")),
    "warmup": Whole(0, "a number of steps, from 0"),
    "clip": optional(NORM),
    "skip": optional(NORM),
    "average": optional(Number(0.0, 1.0, open_high=True, words="a decay in [0, 1) such as 0.999")),
}
"""The settings of Adam that estimators have, too."""
BETAS = Fixed((Number(0.0, 1.0, open_high=True, words="a decay in [0, 1)"),) * 2)


@dataclass(frozen=True)
class Adam:
    """Adam's settings (Kingma & Ba 2015, arXiv:1412.6980), the same for every player.

    lr: the learning rate; for an ensemble it may be a tuple, one per member. schedule: the learning rate over
    `total_steps`: constant, half a cosine down to 0, or a line down to 0, after `warmup` steps of linear rise. clip:
    the largest norm of a player's gradient; None leaves it. skip: the norm above which, or where it is not finite, a
    player does not move at all, its moments neither (Child 2021, arXiv:2011.10650); the gradients are of nats per row,
    that paper's of nats per dimension, so its 400 is to be multiplied by the number of cells. A training most of whose
    steps are left out has diverged, see `Recovery`. average: the decay of the weights' running mean, such as 0.999,
    which is what is scored and kept in the end; see `Moments`.
    """

    lr: float | tuple[float, ...] = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup: int = 0
    clip: float | None = None
    skip: float | None = None
    average: float | None = None

    def __post_init__(self) -> None:
        rates = tuple(checked("lr", lr, RULES["lr"]) for lr in self.rates)
        object.__setattr__(self, "lr", rates if isinstance(self.lr, tuple) else rates[0])
        for name, rule in RULES.items():
            if name != "lr":
                object.__setattr__(self, name, checked(name, getattr(self, name), rule))
        object.__setattr__(self, "betas", checked("betas", self.betas, BETAS))

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

    members: of a stack, along dimension 0 of the parameters; None: there is none. A learning rate per member needs one.
    skipped: how many of every member's steps were left out, (members or 1,). average: after n steps the mean of the
    weights w_1 ... w_n that they led to, `sum_i d^(n-i) w_i / sum_i d^(n-i)` with the decay d.
    """

    def __init__(self, parameters: Sequence[Tensor], adam: Adam, members: int | None = None):
        self.adam, self.parameters, self.members = adam, list(parameters), members
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        like = self.parameters[0]
        # Members that leave steps out have counts of their own.
        apart = members is not None and adam.skip is not None
        self.count = torch.zeros((members,) if apart else (), device=like.device)
        self.skipped = None if adam.skip is None else torch.zeros(members or 1, device=like.device)
        self.average = None if adam.average is None else [p.detach().clone() for p in self.parameters]
        self.lowered: dict[int, float] = {}
        """Factors of the learning rates of members that went back; see `Recovery`."""
        self.rates = (
            None if len(set(adam.rates)) == 1 else torch.tensor(adam.rates, device=like.device, dtype=like.dtype)
        )

    @torch.no_grad()
    def move(self, gradients: Sequence[Tensor | None], factor: float | Tensor, skipping: Tensor | None = None) -> None:
        """One step down the gradients; a parameter without one stays. factor: the schedule's, of this step. skipping:
        (members or 1,), 1 for those who leave it out, 0 for the others."""
        known = [i for i, g in enumerate(gradients) if g is not None]
        p, m, v = ([ts[i] for i in known] for ts in (self.parameters, self.first, self.second))
        g = [_laid_out_like(gradients[i], self.parameters[i]) for i in known]
        before = {k: [t[k].clone() for t in p] for k in self.lowered}
        self._move(p, g, m, v, factor, skipping)
        for k, own in before.items():  # afterwards, so that the other members move as they would without
            for parameter, start in zip(p, own):
                parameter[k].copy_(torch.lerp(start, parameter[k], self.lowered[k]))

    def _move(
        self,
        p: list[Tensor],
        g: list[Tensor],
        m: list[Tensor],
        v: list[Tensor],
        factor: float | Tensor,
        skipping: Tensor | None,
    ) -> None:
        if skipping is not None:
            self._move_or_skip(p, g, m, v, factor, skipping)
            return
        self.count += 1
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

    def _move_or_skip(
        self,
        p: list[Tensor],
        g: list[Tensor],
        m: list[Tensor],
        v: list[Tensor],
        factor: float | Tensor,
        skipping: Tensor,
    ) -> None:
        """Every member by itself: torch's kernel leaves out a step, or takes it, as a number on the device says."""
        self.skipped += skipping
        self.count += (1 - skipping).reshape(self.count.shape)
        rates = self.adam.rates * (self.members or 1) if len(self.adam.rates) == 1 else self.adam.rates
        for k, rate in enumerate(rates):
            own = [[t[k] for t in ts] for ts in (p, g, m, v)] if self.members else (p, g, m, v)
            count = self.count[k] if self.members else self.count
            self._fused(*own, rate * factor, self.adam.weight_decay, count, skipping[k])

    def _fused(
        self,
        p: list[Tensor],
        g: list[Tensor],
        m: list[Tensor],
        v: list[Tensor],
        lr: float | Tensor,
        decay: float,
        count: Tensor | None = None,
        skipping: Tensor | None = None,
    ) -> None:
        beta1, beta2 = self.adam.betas
        steps = [self.count if count is None else count] * len(p)
        # fmt: off
        torch._fused_adam_(
            p, g, m, v, [], steps, lr=lr, beta1=beta1, beta2=beta2, weight_decay=decay, eps=EPSILON,
            amsgrad=False, maximize=False, found_inf=skipping,
        )
        # fmt: on

    @torch.no_grad()
    def follow(self, taken: int) -> None:
        """Takes the weights after step number `taken`, counted from 1, into their average."""
        decay = self.adam.average
        torch._foreach_lerp_(self.average, self.parameters, (1 - decay) / (1 - decay**taken))

    def state(self) -> dict[str, Tensor]:
        """Flat: `count`, `first/i`, `second/i`; `skipped` and `average/i` where there are such."""
        lists = {"first": self.first, "second": self.second, "average": self.average or []}
        tensors = {f"{name}/{i}": t for name, ts in lists.items() for i, t in enumerate(ts)}
        return {"count": self.count, **({} if self.skipped is None else {"skipped": self.skipped}), **tensors}

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Raises ValueError for a `state` of other settings."""
        for name in ("skipped", "average/0"):
            if name in self.state() and name not in state:
                setting = "average" if "/" in name else "skip"
                raise ValueError(f"the checkpoint was taken without {setting}: resume with the settings it began with")
        for name, value in self.state().items():
            value.copy_(state[name])


def _laid_out_like(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient with its numbers in the parameter's order in memory, as the fused kernel reads them."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
