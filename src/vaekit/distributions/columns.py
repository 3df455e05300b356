"""Distributions of the columns of a table: values that are known to lie between two numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import Scope, record, static
from .base import Distribution
from .levels import gumbel_argmax

NODES = 16
"""Points that a mean is taken over."""
FAR = 1e4
"""Stands for infinity among thresholds: its products with 0 are 0."""


def log_between(lower: Tensor, upper: Tensor, width: Tensor) -> Tensor:
    """`log(sigmoid(upper) - sigmoid(lower))`, width = upper - lower without its rounding error: exact down to the
    narrowest interval, where it is the log-density plus the log of the width."""
    return F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-width))


@record
class Logistics(Distribution):
    """What the columns of a table have in common: each a mixture of logistics of a hidden score y.

    `p(y) = sum_k w_k logistic(y; loc_k, exp(log_scale_k))`; a value x stands for an interval of y, and
    `p(x) = F(upper(x)) - F(lower(x))`. logits (of w), loc, log_scale: (B, D, K).
    """

    logits: Tensor
    loc: Tensor
    log_scale: Tensor

    def _mass(self, lower: Tensor, width: Tensor) -> Tensor:
        """(B, D): log-probability of the interval (lower, lower + width) of y."""
        rate = torch.exp(-self.log_scale)
        lower, width = lower.unsqueeze(-1), width.unsqueeze(-1)
        mass = log_between((lower - self.loc) * rate, (lower + width - self.loc) * rate, width * rate)
        return (self.logits.log_softmax(-1) + mass).logsumexp(-1)

    def _score(self, scope: Scope) -> Tensor:
        """(B, D): a draw of y."""
        chosen = gumbel_argmax(self.logits, scope).unsqueeze(-1)
        loc, log_scale = (t.gather(-1, chosen).squeeze(-1) for t in (self.loc, self.log_scale))
        u = scope.rand(loc.shape)
        return loc + log_scale.exp() * torch.logit(u, torch.finfo(u.dtype).eps)

    def _likeliest(self) -> Tensor:
        """(B, D): the centre of the heaviest component."""
        chosen = self.logits.argmax(-1, keepdim=True)
        return self.loc.gather(-1, chosen).squeeze(-1)

    def _expected(self, f: object) -> Tensor:
        """(B, D): the mean of f(y), by quantiles of every component."""
        at = (torch.arange(NODES, device=self.loc.device, dtype=self.loc.dtype) + 0.5) / NODES
        y = self.loc.unsqueeze(-1) + self.log_scale.exp().unsqueeze(-1) * torch.logit(at)
        values = f(y.flatten(-2)).unflatten(-1, y.shape[-2:]).mean(-1)
        return (self.logits.softmax(-1) * values).sum(-1)


@record
class WarpedLogistics(Logistics):
    """Columns of numbers, rounded or not, each by the map T that makes the column by itself normal: y = T(u).

    u = x, or log x of positive columns. A value rounded to multiples of `step` stands for `x - step / 2` to `x +
    step / 2`, and `log_prob` is the log-probability of it. One that is not (step 0) stands for `u - fine / 2` to
    `u + fine / 2`, and `log_prob` is the log-density over that interval, in the units that `log_unit` is of, so that
    values that come up again and again cannot make it infinite. knots, scores: (D, Q), the ends of the pieces of T and
    their images. Draws lie within the values that T was made of.
    """

    knots: Tensor
    scores: Tensor
    step: Tensor
    fine: Tensor
    log_unit: Tensor
    positive: bool = static(default=False)

    def log_prob(self, x: Tensor) -> Tensor:
        rounded = self.step > 0
        u = x.clamp(min=torch.finfo(x.dtype).tiny).log() if self.positive else x
        if self.positive:
            least = torch.maximum(x - self.step / 2, x * 1e-3).clamp(min=torch.finfo(x.dtype).tiny)
            start, span = (
                torch.where(rounded, least.log(), u - self.fine / 2),
                torch.log(x + self.step / 2) - least.log(),
            )
        else:
            start, span = torch.where(rounded, x - self.step / 2, u - self.fine / 2), self.step.expand_as(x)
        span = torch.where(rounded, span, self.fine)
        first, last = _piece(self.knots, start), _piece(self.knots, start + span)
        lower, slope = _along(self.knots, self.scores, first, start)
        upper, _ = _along(self.knots, self.scores, last, start + span)
        width = torch.where(first == last, slope * span, upper - lower)
        log_p = self._mass(lower, width)
        beside = self.log_unit + u if self.positive else self.log_unit
        return log_p - torch.where(rounded, 0.0, beside)

    def _values(self, y: Tensor) -> Tensor:
        """x at scores y, (B, D) or (B, D, M)."""
        u = unwarped(self.knots, self.scores, y)
        return u.exp() if self.positive else u

    def draw(self, scope: Scope, rows: int | None = None) -> Tensor:
        return self._values(self._score(scope))

    @property
    def mean(self) -> Tensor:
        return self._expected(self._values)

    @property
    def mode(self) -> Tensor:
        """x at the centre of the heaviest component: the median of it."""
        return self._values(self._likeliest())


def warped(knots: Tensor, scores: Tensor, u: Tensor) -> Tensor:
    """`y = T(u)`, (B, D)."""
    return _along(knots, scores, _piece(knots, u), u)[0]


def unwarped(knots: Tensor, scores: Tensor, y: Tensor) -> Tensor:
    """`u = T^-1(y)`, (B, D) or (B, D, M), held within the second knot and the last but one."""
    flat = y if y.dim() == 3 else y.unsqueeze(-1)
    places = torch.searchsorted(scores[:, 1:-1].contiguous(), flat.transpose(0, 1).flatten(1).contiguous(), right=True)
    low, high, start, stop = (
        t.gather(1, places + k).unflatten(1, (len(flat), flat.shape[-1])) for t in (scores, knots) for k in (0, 1)
    )
    u = start + (stop - start) * (flat.transpose(0, 1) - low) / (high - low)
    u = torch.minimum(torch.maximum(u, knots[:, 1, None, None]), knots[:, -2, None, None]).transpose(0, 1)
    return u if y.dim() == 3 else u.squeeze(-1)


def _piece(knots: Tensor, u: Tensor) -> Tensor:
    """(B, D): which piece of T a u lies on."""
    return (knots[:, 1:-1] <= u.unsqueeze(-1)).sum(-1)


def _along(knots: Tensor, scores: Tensor, piece: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """(B, D), (B, D): T(u) on a piece, and its slope."""

    def at(t: Tensor, index: Tensor) -> Tensor:
        return t.expand(len(index), *t.shape).gather(-1, index.unsqueeze(-1)).squeeze(-1)

    left, low = at(knots, piece), at(scores, piece)
    slope = (at(scores, piece + 1) - low) / (at(knots, piece + 1) - left)
    return low + slope * (u - left), slope


@record
class Ordinals(Logistics):
    """Ordered levels: level k is met where y lies between its thresholds, `t_(k-1) <= y < t_k`.

    thresholds: (D, levels + 1), from -FAR to FAR, FAR for levels that a column does not have. x: (B, D), the level.
    Draws, mean (the expected level) and mode are floats, as data are. McCullagh 1980.
    """

    thresholds: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        level = x.long().unsqueeze(-1)
        t = self.thresholds.expand(len(x), *self.thresholds.shape)
        lower, upper = (t.gather(-1, level + k).squeeze(-1) for k in (0, 1))
        return self._mass(lower, upper - lower)

    def draw(self, scope: Scope, rows: int | None = None) -> Tensor:
        y = self._score(scope)
        return (self.thresholds[:, 1:-1] <= y.unsqueeze(-1)).sum(-1).to(y.dtype)

    @property
    def probs(self) -> Tensor:
        """(B, D, levels): of each level; 0 of those that a column does not have."""
        z = (self.thresholds.unsqueeze(-1) - self.loc.unsqueeze(-2)) * torch.exp(-self.log_scale).unsqueeze(-2)
        return (self.logits.softmax(-1).unsqueeze(-2) * torch.sigmoid(z)).sum(-1).diff(dim=-1)

    @property
    def mean(self) -> Tensor:
        p = self.probs
        return (p * torch.arange(p.shape[-1], device=p.device, dtype=p.dtype)).sum(-1)

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(-1).to(self.loc.dtype)
