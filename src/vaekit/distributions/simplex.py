"""Distributions on the simplex: K positive numbers that sum to 1."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import ForwardContext, record
from .base import LOG_2PI, Distribution, closed_form, per_row


@record
class LogisticNormal(Distribution):
    """`z = softmax(h)`, h ~ N(loc, diag scale^2): K numbers that sum to 1; one cell per row.

    Aitchison & Shen 1980. The density is taken with respect to the first K - 1 numbers. softmax forgets what all of h
    have in common, over which the density is integrated. With w = 1 / scale^2, d = log z - loc and m its mean by w,
    `log p(z) = -1/2 sum_k w_k (d_k - m)^2 - sum_k log z_k - 1/2 log(sum w / prod w) - (K - 1) / 2 log 2 pi`.
    """

    loc: Tensor
    scale: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return self._log_density(x.clamp(min=torch.finfo(x.dtype).tiny).log())

    def _log_density(self, log_z: Tensor) -> Tensor:
        constant = 0.5 * (self._log_det + (log_z.shape[-1] - 1) * LOG_2PI)
        return -0.5 * self._distance(log_z) - log_z.sum(-1) - constant

    @property
    def _log_det(self) -> Tensor:
        """Of the covariance of the K - 1 differences h_k - h_K."""
        return 2 * self.scale.log().sum(-1) + self.scale.pow(-2).sum(-1).log()

    def _distance(self, h: Tensor) -> Tensor:
        """Squared, of h from loc, in standard deviations, but for what all of h have in common."""
        w, away = self.scale.pow(-2), h - self.loc
        common = (w * away).sum(-1, keepdim=True) / w.sum(-1, keepdim=True)
        return (w * (away - common).square()).sum(-1)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return self.draw_with_log_density(scope, rows)[0]

    def draw_with_log_density(self, scope: ForwardContext, rows: int | None = None) -> tuple[Tensor, Tensor]:
        log_z = (self.loc + self.scale * scope.randn(per_row(self.loc.shape, rows))).log_softmax(-1)
        return log_z.exp(), self._log_density(log_z)

    @property
    def mean(self) -> Tensor:
        """softmax(loc): a deterministic representative, not the expectation."""
        return self.loc.softmax(-1)


@closed_form(LogisticNormal, LogisticNormal)
def _(q: LogisticNormal, p: LogisticNormal) -> Tensor:
    """Of the normals of the K - 1 differences: what softmax forgets costs nothing."""
    w = p.scale.pow(-2)
    spread = (q.scale.square() * (w - w.square() / w.sum(-1, keepdim=True))).sum(-1)
    units = spread + p._distance(q.loc) - (q.loc.shape[-1] - 1) + p._log_det - q._log_det
    return 0.5 * units.unsqueeze(-1)
