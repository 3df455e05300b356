"""Distributions over a fixed number of levels: pixel values, categories."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import ForwardContext, record, static
from .base import Distribution, broadcast, per_row
from .mixture import gumbel


def gumbel_argmax(logits: Tensor, scope: ForwardContext, rows: int | None = None) -> Tensor:
    """One index per leading cell, drawn with probabilities `softmax(logits)` over the last dimension."""
    return (logits + gumbel(scope.rand(per_row(logits.shape, rows)))).argmax(-1)


@record
class Categorical(Distribution):
    """`p(k) = softmax(logits)_k` in every cell; logits: (B, *cells, levels), x: (B, *cells), the level.

    Draws, mean (the expected level) and mode are floats, as data are.
    """

    logits: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        shape = broadcast(x.shape, self.logits.shape[:-1])
        index = x.long().expand(shape).unsqueeze(-1)
        chosen = self.logits.expand(*shape, self.logits.shape[-1]).gather(-1, index).squeeze(-1)
        return chosen - self.logits.logsumexp(-1)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return gumbel_argmax(self.logits, scope, rows).to(self.logits.dtype)

    @property
    def mean(self) -> Tensor:
        level = torch.arange(self.logits.shape[-1], device=self.logits.device, dtype=self.logits.dtype)
        return (self.logits.softmax(-1) * level).sum(-1)

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(-1).to(self.logits.dtype)

    @property
    def moments(self) -> Tensor:
        """(B, *cells, levels): the levels' probabilities."""
        return self.logits.softmax(-1)

    def guess(self, moments: Tensor) -> Tensor:
        return moments.argmax(-1).to(moments.dtype)

    @property
    def representative(self) -> Tensor:
        return self.mode


@record
class DiscretisedLogisticMixture(Distribution):
    """`P(k) = sum_j pi_j [F_j(c_k + h) - F_j(c_k - h)]` over k = 0..levels-1; the edges take the tails.

    F_j is the cdf of the logistic(loc_j, exp(log_scale_j)) on the coding c_k = 2k/(levels-1) - 1 in [-1, 1],
    and h = 1/(levels-1). logits (of pi), loc, log_scale: (B, *cells, components); x: (B, *cells), whole
    numbers as floats. Salimans et al. 2017, arXiv:1701.05517, equation 2.
    """

    logits: Tensor
    loc: Tensor
    log_scale: Tensor
    levels: int = static()

    def log_prob(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(-1)
        bottom, top = x <= 0, x >= self.levels - 1
        precision, half = torch.exp(-self.log_scale), 1 / (self.levels - 1)
        offset = 2 * half * x - 1 - self.loc
        upper, lower = (offset + half) * precision, (offset - half) * precision
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)): exact, and never the log of 0.
        below = torch.where(top, 0.0, F.logsigmoid(upper))
        above = torch.where(bottom, 0.0, F.logsigmoid(-lower))
        width = torch.log(-torch.expm1(-2 * half * precision))
        mass = below + above + torch.where(bottom | top, 0.0, width)
        return (self.logits.log_softmax(-1) + mass).logsumexp(-1)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        chosen = gumbel_argmax(self.logits, scope, rows).unsqueeze(-1)
        u = scope.rand(chosen.shape)
        noise = torch.logit(u, torch.finfo(u.dtype).eps)
        shape = (*chosen.shape[:-1], self.logits.shape[-1])
        loc, log_scale = (t.expand(shape).gather(-1, chosen) for t in (self.loc, self.log_scale))
        return self._level(loc + log_scale.exp() * noise).round().squeeze(-1)

    def _level(self, code: Tensor) -> Tensor:
        return ((code + 1) / 2).clamp(0, 1) * (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """The mean with the tails moved to the edges: exact but for the rounding to levels."""
        scale = self.log_scale.exp()
        inside = scale * (F.softplus((self.loc + 1) / scale) - F.softplus((self.loc - 1) / scale))
        return (self.logits.softmax(-1) * inside).sum(-1) * (self.levels - 1) / 2

    @property
    def mode(self) -> Tensor:
        """The most probable of the components' centres and the two edges."""
        centres = self._level(self.loc).round().unbind(-1)
        candidates = [*centres, torch.zeros_like(centres[0]), torch.full_like(centres[0], self.levels - 1)]
        masses = torch.stack([self.log_prob(level) for level in candidates], -1)
        return torch.stack(candidates, -1).gather(-1, masses.argmax(-1, keepdim=True)).squeeze(-1)
