"""Mixtures of any one family."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import ForwardContext, record
from .base import Distribution


def gumbel(u: Tensor) -> Tensor:
    """Standard Gumbel noise from uniform noise."""
    return -torch.log(-torch.log(u.clamp_min(torch.finfo(u.dtype).tiny)))


@record
class Mixture(Distribution):
    """`sum_k w_k p_k(x)` over whole rows: one cell per row.

    components: parameters (K, D) shared by all rows, or (B, K, D). log_weights: (K,) or (B, K), normalised; minus
    infinity for a component that is not there.
    """

    components: Distribution
    log_weights: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.logsumexp(self._each(x), -1)

    def _each(self, x: Tensor) -> Tensor:
        """(..., K): log w_k p_k(x)."""
        cells = self.components.log_prob(x.unsqueeze(-2))
        return (cells if cells.dim() == x.dim() else cells.sum(-1)) + self.log_weights

    def log_responsibilities(self, x: Tensor) -> Tensor:
        """(..., K): the log-probability of each component given a row."""
        return self._each(x).log_softmax(-1)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        n = rows if rows is not None else self.components.mean.shape[0]
        noise = gumbel(scope.rand((n, self.log_weights.shape[-1])))
        chosen = (self.log_weights + noise).argmax(1)
        index = (chosen,) if rows is not None else (torch.arange(n, device=chosen.device), chosen)
        return self.components.map(lambda t: t[index] if t.dim() else t).draw(scope)

    @property
    def mean(self) -> Tensor:
        means = self.components.mean
        return (self.log_weights.exp().unsqueeze(-1) * means).sum(-2)
