"""Likelihoods of real data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import distributions
from ..core import ForwardContext
from .base import DENSITY_OF_INTEGERS, Likelihood
from .moments import moments, stacked

Scale = Literal["shared", "per_dimension", "per_output", "optimal"]
Mean = Literal["tanh", "sigmoid"]
DECAY = 0.95
"""Of the running value of an optimal variance, once as many steps are taken as it remembers."""
SUPPORTS = {None: "real", "tanh": "signed", "sigmoid": "unit"}


class Gaussian(Likelihood):
    """`N(mean, scale^2)` in every cell.

    scale: a fixed number; or "shared" (one learned number), "per_dimension" (a learned one per cell of x) or
    "per_output" (given by the decoder), where `scale = minimum_scale + exp(log scale)`, so that a cell
    explained perfectly adds at most -log minimum_scale - log(2 pi)/2 nats; or "optimal", one number that is never
    learned: in training the square root of the batch's mean squared error, where log p of the batch has its maximum,
    and in evaluation that of its running mean (Rybkin et al. 2021, arXiv:2006.13202, their optimal sigma-VAE);
    minimum_scale at least. mean: None takes the decoder's numbers, "tanh" and "sigmoid" bound it for data in [-1, 1]
    and [0, 1].
    """

    density = True

    fixed_scale: Tensor
    variance: Tensor
    steps: Tensor
    fix = "remove infinite values, or bring the data to the range of mean"

    def __init__(
        self,
        scale: float | Scale = 1.0,
        mean: Mean | None = None,
        minimum_scale: float = 1e-3,
        shape: tuple[int, ...] | None = None,
    ):
        super().__init__(shape)
        self.scale, self.minimum_scale, self.mean = scale, minimum_scale, mean
        if scale == "shared":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif scale == "per_dimension" and self.shape is not None:
            self.log_scale = nn.Parameter(torch.zeros(self.shape))
        elif scale == "optimal":
            self.register_buffer("variance", torch.ones(()))
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
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
        if self.scale == "optimal":
            return self._of_variance(loc, self.variance)
        learned = isinstance(self.scale, str)
        scale = self.minimum_scale + self.log_scale.exp() if learned else self.fixed_scale.to(loc.dtype)
        return distributions.Normal(loc, scale.expand_as(loc))

    def _of_variance(self, loc: Tensor, variance: Tensor) -> distributions.Normal:
        return distributions.Normal(loc, variance.sqrt().clamp(min=self.minimum_scale).expand_as(loc))

    def fitted(
        self, px: distributions.Normal, x: Tensor, mask: Tensor | None, scope: ForwardContext
    ) -> tuple[distributions.Normal, dict[str, Tensor]]:
        """With an optimal scale: that of these rows. It is held, which at the optimum changes no gradient."""
        if self.scale != "optimal" or not self.training:
            return px, {}
        counted = torch.ones_like(x) if mask is None else mask.to(x.dtype).expand_as(x)
        if scope.weight is not None:
            counted = counted * scope.weight.reshape(-1, *[1] * (x.dim() - 1))
        squares = torch.where(counted > 0, counted * (x - px.loc).detach().square(), 0.0)
        total, count = scope.peers.total(torch.stack([squares.sum(), counted.sum()])).unbind()
        variance = torch.where(count > 0, total / count, self.variance)
        share = (1 / (self.steps + 1).to(variance.dtype)).clamp(min=1 - DECAY)
        updates = {"variance": self.variance + share * (variance - self.variance), "steps": self.steps + 1}
        return self._of_variance(px.loc, variance), updates

    def start(self, x: Tensor, mask: Tensor | None = None, shared: Sequence[int] = ()) -> Tensor | None:
        """Start at the mean and the standard deviation of each cell, where the mean is not bounded."""
        if self.mean is not None:
            return None
        mean, variance, _ = moments(x, mask, shared)
        variance = variance.mean() if self.scale == "shared" else variance
        log_scale = (variance.sqrt() - self.minimum_scale).clamp(min=self.minimum_scale).log()
        if self.scale == "per_output":
            return stacked(mean, log_scale)
        if self.scale in ("shared", "per_dimension"):
            self.log_scale.copy_(log_scale)
        return stacked(mean)

    def _bounded(self, loc: Tensor) -> Tensor:
        return loc if self.mean is None else getattr(torch, self.mean)(loc)

    def caveat(self, x: Any, integer: bool) -> str | None:
        return DENSITY_OF_INTEGERS.format("Gaussian") if integer else None


class SelfMaskedGaussian(Gaussian):
    """A Gaussian whose cells are missing by what they hold: seen with a chance of `sigmoid(offset + slope x)`.

    offset and slope are learned for each cell of a row, in the model's units. log p is that of the seen cells and of
    which are seen, so that gaps tell what is in them, as where high incomes are left out; without it (missing at
    random) fills would be biased. The mask of every batch counts: whole rows tell that all was seen. Ipsen et al. 2021,
    arXiv:2006.12871 (not-MIWAE). See `distributions.SelfMaskedNormal`.

    Raises ValueError for an optimal scale, which is that of seen cells.
    """

    def __init__(
        self,
        scale: float | Scale = "per_dimension",
        mean: Mean | None = None,
        minimum_scale: float = 1e-3,
        shape: tuple[int, ...] | None = None,
    ):
        super().__init__(scale, mean, minimum_scale, shape)
        if scale == "optimal":
            raise ValueError('SelfMaskedGaussian(scale="optimal"): expected a number, "shared", or another learned one')
        if self.shape is not None:
            self.offset, self.slope = (nn.Parameter(torch.zeros(self.shape)) for _ in range(2))

    def distribution(self, parameters: Tensor) -> distributions.SelfMaskedNormal:
        px = super().distribution(parameters)
        offset, slope = (t.expand_as(px.loc) for t in (self.offset, self.slope))
        return distributions.SelfMaskedNormal(px.loc, px.scale, offset, slope)

    def chance_seen(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.offset + self.slope * x)
