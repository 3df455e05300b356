"""Scalars that may be swept or scheduled."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .component import Component


class Hyper(Component):
    """A constant scalar, kept as a 0-d buffer so that a stacked ensemble can hold one per member."""

    value: Tensor

    def __init__(self, value: float):
        super().__init__()
        self.register_buffer("value", torch.tensor(float(value), device="cpu"))  # real on the meta device, too

    @property
    def warm_up(self) -> int:
        """Steps until it first reaches its value."""
        return 0

    def forward(self, step: Tensor) -> Tensor:
        return self.value


class Ramp(Hyper):
    """Warm-up: `start + (value - start) * min(step / steps, 1)` (Bowman et al. 2016, arXiv:1511.06349)."""

    def __init__(self, value: float, steps: int, start: float = 0.0):
        super().__init__(value)
        self.steps, self.start = steps, start

    @property
    def warm_up(self) -> int:
        return self.steps

    def forward(self, step: Tensor) -> Tensor:
        return self.start + (self.value - self.start) * (step / self.steps).clamp(max=1.0)


class Cycle(Hyper):
    """Cyclical warm-up: from 0 to `value` over the first `ramp` part of each `period` steps, then constant.

    Fu et al. 2019, arXiv:1903.10145.
    """

    def __init__(self, value: float, period: int, ramp: float = 0.5):
        super().__init__(value)
        self.period, self.ramp = period, ramp

    @property
    def warm_up(self) -> int:
        return math.ceil(self.ramp * self.period)

    def forward(self, step: Tensor) -> Tensor:
        return self.value * (step % self.period / (self.ramp * self.period)).clamp(max=1.0)


def hyper(value: float | Hyper) -> Hyper:
    """A schedule as it is; a number as a constant one."""
    return value if isinstance(value, Hyper) else Hyper(value)
