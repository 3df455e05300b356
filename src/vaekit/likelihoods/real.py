"""Likelihoods of real data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .. import distributions
from .base import DENSITY_OF_INTEGERS, Likelihood, chosen

SCALES = ("shared", "per_dimension", "per_output")
SUPPORTS = {None: "real", "tanh": "signed", "sigmoid": "unit"}


class Gaussian(Likelihood):
    """`N(mean, scale^2)` in every cell.

    scale: a fixed number; or "shared" (one learned number), "per_dimension" (a learned one per cell of x) or
    "per_output" (given by the decoder), where `scale = minimum_scale + exp(log scale)`, so that a cell
    explained perfectly adds at most -log minimum_scale - log(2 pi)/2 nats. mean: None takes the decoder's
    numbers, "tanh" and "sigmoid" bound it for data in [-1, 1] and [0, 1].
    """

    density = True

    fixed_scale: Tensor
    fix = "remove infinite values, or bring the data to the range of mean"

    def __init__(
        self,
        scale: float | str = 1.0,
        mean: str | None = None,
        minimum_scale: float = 1e-3,
        shape: tuple[int, ...] | None = None,
    ):
        super().__init__(shape)
        if isinstance(scale, str):
            chosen(self, "scale", scale, SCALES)
        elif not scale > 0:
            raise ValueError(f"Gaussian(scale={scale}): expected a number above 0, or one of {', '.join(SCALES)}")
        if not minimum_scale > 0:
            raise ValueError(f"Gaussian(minimum_scale={minimum_scale}): expected a number above 0")
        self.scale, self.minimum_scale = scale, minimum_scale
        self.mean = chosen(self, "mean", mean, tuple(SUPPORTS))
        if scale == "shared":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif scale == "per_dimension" and self.shape is not None:
            self.log_scale = nn.Parameter(torch.zeros(self.shape))
        elif not isinstance(scale, str):
            self.register_buffer("fixed_scale", torch.tensor(float(scale)), persistent=False)

    @property
    def support(self) -> str:
        return SUPPORTS[self.mean]

    @property
    def per_cell(self) -> int:
        return 2 if self.scale == "per_output" else 1

    def distribution(self, parameters: Tensor) -> distributions.Normal:
        if self.scale == "per_output":
            loc, log_scale = parameters.chunk(2, 1)
            return distributions.Normal(self._bounded(loc), self.minimum_scale + log_scale.exp())
        loc = self._bounded(parameters)
        learned = isinstance(self.scale, str)
        scale = self.minimum_scale + self.log_scale.exp() if learned else self.fixed_scale.to(loc.dtype)
        return distributions.Normal(loc, scale.expand_as(loc))

    def _bounded(self, loc: Tensor) -> Tensor:
        return loc if self.mean is None else getattr(torch, self.mean)(loc)

    def caveat(self, x: Any, integer: bool) -> str | None:
        return DENSITY_OF_INTEGERS.format("Gaussian") if integer else None
