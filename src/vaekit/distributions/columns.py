"""Distributions of the columns of a table: values that are known to lie between two numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import ForwardContext, record, static
from .base import Distribution
from .levels import gumbel_argmax

NODES = 16
"""Points that a mean is taken over."""
FINE, LEAST = 1e-3, 4e-6
"""The resolution of a column that is not rounded, and the finest that is told apart, in units of its spread; see
`vaekit.data.marginals`, whose numbers these are."""
FAR = 1e4
"""Stands for infinity among thresholds: its products with 0 are 0."""


def log_between(lower: Tensor, upper: Tensor, log_width: Tensor) -> Tensor:
    """`log(sigmoid(upper) - sigmoid(lower))`, log_width = log(upper - lower) without its rounding error: exact down to
    the narrowest interval, where it is the log-density plus the log of the width, and finite whatever the width."""
    return F.logsigmoid(upper) + F.logsigmoid(-lower) + log_width + _log_mean_decay(log_width.exp())


def _log_mean_decay(width: Tensor) -> Tensor:
    """`log((1 - exp(-w)) / w)`, the log of the mean of exp(-t) over 0 <= t <= w; 0 at w = 0."""
    narrow = width < 1e-3
    wide = torch.where(narrow, 1.0, width)
    return torch.where(narrow, -width / 2, torch.log(-torch.expm1(-wide) / wide))


@record
class WarpedLogistics(Distribution):
    """Columns of numbers, rounded or not, each by the map T that makes the column by itself normal: y = T(u).

    `p(y) = sum_k w_k logistic(y; loc_k, exp(log_scale_k))`, with logits (of w), loc and log_scale (B, D, K); a value x
    stands for an interval of y, and `p(x) = F(upper(x)) - F(lower(x))`. u = x, or log x of positive columns. A value
    rounded to multiples of `step` stands for `x - step / 2` to `x + step / 2`, and `log_prob` is the log-probability of
    it. Of a value that is not (step 0) it is the log-density, in
    units of which `log_unit` is the log; to be found again and again, as a true number never is, cannot make it
    infinite: it is that of an interval of u, `FINE` wide. knots, scores: (D, Q), the ends of the pieces of T and their
    images. Draws lie within the values that T was made of.
    """

    logits: Tensor
    loc: Tensor
    log_scale: Tensor
    knots: Tensor
    scores: Tensor
    step: Tensor
    log_unit: Tensor
    positive: bool = static(default=False)

    def _mass(self, lower: Tensor, width: Tensor) -> Tensor:
        """(B, D): log-probability of the interval (lower, lower + width) of y."""
        rate = torch.exp(-self.log_scale)
        lower, width = lower.unsqueeze(-1), width.unsqueeze(-1)
        log_width = width.log() - self.log_scale
        mass = log_between((lower - self.loc) * rate, (lower + width - self.loc) * rate, log_width)
        return (self.logits.log_softmax(-1) + mass).logsumexp(-1)

    def _within(self, u: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
        """The quantile u of a component, held within the scores of values that were met."""
        low, high = (self.scores[:, k].reshape(1, -1, *[1] * (loc.dim() - 2)) for k in (1, -2))
        rate, tiny = torch.exp(-log_scale), torch.finfo(u.dtype).eps
        first, last = torch.sigmoid((low - loc) * rate), torch.sigmoid((high - loc) * rate)
        y = loc + torch.logit(first + u * (last - first), tiny) / rate
        return torch.minimum(torch.maximum(y, low), high)

    def _weights(self) -> Tensor:
        """(B, D, K): the logits of the components, given that y is within the scores of values that were met."""
        low, high = (self.scores[:, k].reshape(1, -1, 1) for k in (1, -2))
        rate = torch.exp(-self.log_scale)
        log_width = (high - low).log() - self.log_scale
        return self.logits + log_between((low - self.loc) * rate, (high - self.loc) * rate, log_width)

    def _score(self, scope: ForwardContext) -> Tensor:
        """(B, D): a draw of y."""
        chosen = gumbel_argmax(self._weights(), scope).unsqueeze(-1)
        loc, log_scale = (t.gather(-1, chosen).squeeze(-1) for t in (self.loc, self.log_scale))
        return self._within(scope.rand(loc.shape), loc, log_scale)

    def _likeliest(self) -> Tensor:
        """(B, D): the centre of the heaviest component."""
        chosen = self.logits.argmax(-1, keepdim=True)
        return self.loc.gather(-1, chosen).squeeze(-1)

    def _expected(self, f: object) -> Tensor:
        """(B, D): the mean of f(y), by quantiles of every component."""
        at = (torch.arange(NODES, device=self.loc.device, dtype=self.loc.dtype) + 0.5) / NODES
        y = self._within(at, self.loc.unsqueeze(-1), self.log_scale.unsqueeze(-1))
        values = f(y.flatten(-2)).unflatten(-1, y.shape[-2:]).mean(-1)
        return (self._weights().softmax(-1) * values).sum(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        rounded, tiny = self.step > 0, torch.finfo(x.dtype).tiny
        if self.positive:
            u, low = x.clamp(min=tiny).log(), torch.maximum(x - self.step / 2, x / 2).clamp(min=tiny)
            span = torch.where(rounded, torch.log1p(self.step / low), 0.0)
            log_span = torch.where(rounded, span.clamp(min=tiny).log(), -u - self.log_unit)
            start = torch.where(rounded, low.log(), u)
        else:
            u, start, span = x, x - self.step / 2, self.step.expand_as(x)
            log_span = torch.where(rounded, self.step.clamp(min=tiny).log(), -self.log_unit)
        least = torch.where(rounded, LEAST * (1 + u.abs()), FINE)
        wide = torch.maximum(span, least)
        start = torch.where(wide > span, u - wide / 2, start)
        first, last = _piece(self.knots, start), _piece(self.knots, start + wide)
        lower, _ = _along(self.knots, self.scores, first, start)
        width = _rise(self.knots, self.scores, (first, last), start, wide)
        return self._mass(lower, width) + torch.where(wide > span, log_span - wide.log(), 0.0)

    def _values(self, y: Tensor) -> Tensor:
        """x at scores y, (B, D) or (B, D, M)."""
        u = unwarped(self.knots, self.scores, y)
        return u.exp() if self.positive else u

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
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


def _rise(knots: Tensor, scores: Tensor, pieces: tuple[Tensor, Tensor], start: Tensor, wide: Tensor) -> Tensor:
    """(B, D): `T(start + wide) - T(start)`, from one of the pieces to the other: a sum of what it is within each piece,
    none of which is negative, where a difference of images would be lost in rounding next to a flat piece."""
    first, last = pieces
    right, high = _at(knots, first + 1), _at(scores, first + 1)
    slope = (high - _at(scores, first)) / (right - _at(knots, first))
    left, low = _at(knots, last), _at(scores, last)
    slope_of_last = (_at(scores, last + 1) - low) / (_at(knots, last + 1) - left)
    over = slope * (right - start) + (low - high) + slope_of_last * (start + wide - left)
    return torch.where(first == last, slope * wide, over)


def _at(t: Tensor, index: Tensor) -> Tensor:
    """(B, D): of a table (D, Q), the entries at these places."""
    return t.expand(len(index), *t.shape).gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _along(knots: Tensor, scores: Tensor, piece: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """(B, D), (B, D): T(u) on a piece, and its slope."""
    left, low = _at(knots, piece), _at(scores, piece)
    slope = (_at(scores, piece + 1) - low) / (_at(knots, piece + 1) - left)
    return low + slope * (u - left), slope


@record
class Ordinals(Distribution):
    """Ordered levels: `log P(k) = log(F(t_k) - F(t_(k-1))) + free_k + constant`.

    F is the logistic of centre loc and scale exp(log_scale), (B, D): neighbouring levels have similar probabilities, by
    ordered thresholds (McCullagh 1980); free (B, D, K) lets a level be more or less likely than these say. thresholds:
    (D, K + 1), from -FAR to FAR, FAR for levels that a column does not have, whose free is -FAR. x: (B, D), the level.
    Draws, mean (the expected level) and mode are floats, as data are.
    """

    loc: Tensor
    log_scale: Tensor
    free: Tensor
    thresholds: Tensor

    @property
    def logits(self) -> Tensor:
        """(B, D, K): log P, normalised."""
        rate = torch.exp(-self.log_scale).unsqueeze(-1)
        ends = (self.thresholds - self.loc.unsqueeze(-1)) * rate
        log_width = self.thresholds.diff(dim=-1).clamp(min=1e-6).log() - self.log_scale.unsqueeze(-1)
        return (log_between(ends[..., :-1], ends[..., 1:], log_width) + self.free).log_softmax(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        logits = self.logits
        return logits.gather(-1, x.long().expand(logits.shape[:-1]).unsqueeze(-1)).squeeze(-1)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return gumbel_argmax(self.logits, scope).to(self.loc.dtype)

    @property
    def mean(self) -> Tensor:
        p = self.logits.exp()
        return (p * torch.arange(p.shape[-1], device=p.device, dtype=p.dtype)).sum(-1)

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(-1).to(self.loc.dtype)
