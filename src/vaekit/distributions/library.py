"""Counts of rows that are read at different depths: means that are a row's library times the shares of its columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import ForwardContext, record, static
from .base import Distribution
from .counts import NegativeBinomial

EMPTY = 1e-6
"""What the library of a row without a count is taken for: nothing is as good as certain there."""


@record
class ZeroInflated(Distribution):
    """Zeros beside those of `inner`: `p(0) = pi + (1 - pi) p_inner(0)`, `p(x) = (1 - pi) p_inner(x)` for x > 0.

    pi = sigmoid(logits), (B, *cells).
    """

    inner: Distribution
    logits: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        counted = self.inner.log_prob(x) - F.softplus(self.logits)
        return torch.where(x > 0, counted, torch.logaddexp(-F.softplus(-self.logits), counted))

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        x = self.inner.draw(scope, rows)
        return torch.where(scope.rand(x.shape) < self.logits.sigmoid(), 0.0, x)

    @property
    def mean(self) -> Tensor:
        return self.inner.mean * (-self.logits).sigmoid()

    @property
    def mode(self) -> Tensor:
        """0 where it is no less likely than the mode of `inner`."""
        mode = self.inner.mode
        return torch.where(self.log_prob(torch.zeros_like(mode)) >= self.log_prob(mode), 0.0, mode)


def zero_inflated_negative_binomial(log_mean: Tensor, log_theta: Tensor, logits: Tensor) -> ZeroInflated:
    """Negative binomial counts of these log means and log inverse dispersions, with zeros beside them."""
    return ZeroInflated(NegativeBinomial(log_mean, log_theta), logits)


@record
class Library(Distribution):
    """Counts x of a row (B, *D) with means `l softmax(logits)`, l the row's library.

    observed: l is the row's own total, which its x tells, and log p is that of x where it is given; where x is not at
    hand, `log l ~ Normal(log_library, spread^2)`. Otherwise l is `exp(log_library)`, which the code tells. Both are
    (B, 1). family: makes the distribution of counts of their log means and the `others`, (B, *D) each. With a mask the
    columns where it is 1 are counts like all: given what they sum to, where the library is observed.

    Lopez et al. 2018, Nature Methods 15, 1053.
    """

    logits: Tensor
    others: tuple[Tensor, ...]
    log_library: Tensor
    spread: Tensor
    family: Callable[..., Distribution] = static()
    observed: bool = static()

    @property
    def shares(self) -> Tensor:
        """(B, *D): of the means in their sum."""
        return self._log_shares.exp()

    @property
    def _log_shares(self) -> Tensor:
        return self.logits.flatten(1).log_softmax(1).reshape(self.logits.shape)

    def at(self, log_library: Tensor) -> Distribution:
        """The distribution of rows of this library, (B, 1)."""
        depth = log_library.reshape(-1, *[1] * (self.logits.dim() - 1))
        return self.family(self._log_shares + depth, *self.others)

    def own_library(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 1), logarithms: what rows x have for their library; with a mask, by the shares of what is seen."""
        if not self.observed:
            return self.log_library
        if mask is None:
            return _total(x).log()
        return _total(torch.where(mask > 0, x, 0.0)).log() - _total(self.shares * mask).log()

    def for_rows(self, x: Tensor, mask: Tensor | None = None) -> Library:
        """The same, where rows x are at hand: with their own library for mean and draws, too."""
        return replace(self, log_library=self.own_library(x, mask), spread=torch.zeros_like(self.spread))

    def log_prob(self, x: Tensor) -> Tensor:
        return self.log_cells(x)

    def log_cells(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        px = self.at(self.own_library(x, mask))
        return px.log_prob(x) if mask is None else px.log_prob(torch.where(mask > 0, x, 0.0)) * mask

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        log_library = self.log_library
        if self.observed:
            log_library = log_library + self.spread * scope.randn(self.log_library.shape)
        return self.at(log_library).draw(scope, rows)

    @property
    def mean(self) -> Tensor:
        return self.at(self.log_library + self.spread.square() / 2).mean

    @property
    def mode(self) -> Tensor:
        """At the median library."""
        return self.at(self.log_library).mode


def _total(x: Tensor) -> Tensor:
    """(B, 1): the sum of each row, not quite 0."""
    return x.flatten(1).sum(1, keepdim=True).clamp(min=EMPTY)
