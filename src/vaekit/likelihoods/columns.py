"""Likelihoods of the columns of a table, kind by kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import distributions
from ..distributions.columns import FAR, warped
from ..settings import shown
from .base import Likelihood, masked
from .counts import Counts

LOWEST_LOG_SCALE = -5.0
"""Of a logistic on the axis of normal scores: a seven-hundredth of a column's spread."""
FARTHEST = 8.0
"""Normal scores that an encoder still tells apart."""


FARTHEST_MEAN, FARTHEST_DISPERSION = 15.0, 10.0
"""Natural logarithms that a row's mean count, and its inverse dispersion, may be away from the column's."""


def softly(x: Tensor, reach: float) -> Tensor:
    """x itself up to half the reach, and bent smoothly below the reach further out.

    The exponential of a linear decoder's output has no other bound.
    """
    knee = reach / 2
    inside = x.clamp(-knee, knee)
    return inside + knee * torch.tanh((x - inside) / knee)


def bounded(log_scale: Tensor) -> Tensor:
    """Log scales held above the lowest."""
    return LOWEST_LOG_SCALE + F.softplus(log_scale - 0.5 - LOWEST_LOG_SCALE)


def refuse_other_lengths(owner: object, name: str, value: Sequence[Any], lengths: Sequence[int]) -> None:
    """Raises ValueError where an argument has not one item per column, or where the items have other lengths."""
    said = f"{type(owner).__name__}({name}={shown(value)})"
    if len(value) != len(lengths):
        raise ValueError(f"{said}: expected an item for each of {len(lengths)} columns")
    for column, (item, length) in enumerate(zip(value, lengths)):
        if not isinstance(item, float) and len(item) != length:
            raise ValueError(f"{said}: expected {length} numbers for column {column}, got {len(item)}")


class Warped(Likelihood):
    """Columns of numbers: a mixture of logistics on the axis where each column by itself is normal.

    The decoder gives the logits, centres and log scales of `components` logistics per column, log scales held above -5
    by a softplus.

    knots, scores: of each column, the ends of the pieces of the increasing map T to that axis and their images, see
    `vaekit.data.marginals`; steps: what its values are multiples of, 0 where they are not rounded, then log p is a
    density; log_scales: the log of the unit that cells are in, for it. positive: whether T reads log x. Heavy tails,
    several modes and values that come up again and again are all in T, so that what is left to learn has the same scale
    in every column; a rounded value is the interval that it stands for, and cannot have a probability above 1 (Snelson
    et al. 2003, "Warped Gaussian Processes", with intervals).
    """

    support = "columns"
    fix = "remove infinite values"
    knots_table: Tensor
    scores_table: Tensor
    steps_table: Tensor
    scales_table: Tensor

    def __init__(
        self,
        knots: Sequence[Sequence[float]],
        scores: Sequence[Sequence[float]],
        steps: Sequence[float],
        log_scales: Sequence[float],
        positive: bool = False,
        components: int = 1,
    ):
        super().__init__((len(knots),))
        self.components = components
        if min(map(len, knots)) < 3:
            raise ValueError(f"Warped(knots={shown(knots)}): expected at least 3 knots for each column")
        ends = [len(k) for k in knots]
        refuse_other_lengths(self, "scores", scores, ends)
        refuse_other_lengths(self, "steps", [float(s) for s in steps], ends)
        refuse_other_lengths(self, "log_scales", [float(s) for s in log_scales], ends)
        self.knots, self.scores = [list(k) for k in knots], [list(s) for s in scores]
        self.steps, self.log_scales, self.positive = list(steps), list(log_scales), positive
        longest = max(map(len, self.knots))
        self._keep("knots_table", [_longer(k, longest) for k in self.knots])
        self._keep("scores_table", [_longer(s, longest) for s in self.scores])
        self._keep("steps_table", self.steps)
        self._keep("scales_table", self.log_scales)

    def _keep(self, name: str, values: list) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    @property
    def per_cell(self) -> int:
        return 3 * self.components if self.components > 1 else 2

    def distribution(self, parameters: Tensor) -> distributions.WarpedLogistics:
        parts = parameters.unflatten(1, (-1, self.components, self.shape[0])).transpose(2, 3).unbind(1)
        loc, log_scale = parts[-2], bounded(parts[-1])
        logits = parts[0] if self.components > 1 else torch.zeros_like(loc)
        apart = torch.linspace(-1, 1, self.components + 2, device=loc.device, dtype=loc.dtype)[1:-1]
        tables = (self.knots_table, self.scores_table, self.steps_table, self.scales_table)
        tables = (t.to(parameters.dtype) for t in tables)
        return distributions.WarpedLogistics(logits, loc + apart, log_scale, *tables, self.positive)

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = masked(x, mask)
        u = x.clamp(min=torch.finfo(x.dtype).tiny).log() if self.positive else x
        y = warped(self.knots_table.to(x.dtype), self.scores_table.to(x.dtype), u)
        return masked(y.clamp(-FARTHEST, FARTHEST), mask)

    def check(self, x: Any) -> None:
        low = 0.0 if self.positive else -math.inf
        self._refuse_outside(x, low, math.inf, "positive numbers" if self.positive else "finite values")


def _longer(ends: list[float], length: int) -> list[float]:
    """As many ends, the second piece cut into more: T stays as it is."""
    parts = length - len(ends) + 1
    step = (ends[2] - ends[1]) / parts
    return [*ends[:2], *(ends[1] + step * k for k in range(1, parts)), *ends[2:]]


class Ordinal(Likelihood):
    """Ordered levels by ordered thresholds, `levels` of them in each column; x is the number of the level.

    `log P(k) = log(F(t_k) - F(t_(k-1))) + free_k + constant`: the decoder gives, per column, the centre and the log
    scale of the logistic F, by which neighbouring levels have similar probabilities, and a number for each level that
    lets it be more or less likely than these say. The thresholds t are learned, from the normal scores of the levels'
    `shares` on. McCullagh 1980, "Regression Models for Ordinal Data", with a free part.
    """

    support = "columns"
    fix = "pass the numbers of the levels, 0, 1, ..."

    def __init__(self, levels: Sequence[int], shares: Sequence[Sequence[float]] | None = None):
        super().__init__((len(levels),))
        self.levels = [int(k) for k in levels]
        self.shares = None if shares is None else [list(s) for s in shares]
        if self.shares is not None:
            refuse_other_lengths(self, "shares", self.shares, self.levels)
        most, starts, scores = max(self.levels), [], []
        for own in self.shares or [[1 / k] * k for k in self.levels]:
            share = torch.tensor(own, dtype=torch.float64)
            share, extra = share / share.sum(), (0, most - len(own))
            t = torch.special.ndtri(share.cumsum(0)[:-1].clamp(1e-4, 1 - 1e-4))
            starts.append(F.pad(torch.cat([t[:1], t.diff().clamp(min=1e-2).log()]), extra))
            scores.append(F.pad(torch.special.ndtri((share.cumsum(0) - share / 2).clamp(1e-3, 1 - 1e-3)), extra))
        self.cuts = nn.Parameter(torch.stack(starts).float())
        numbers = torch.arange(most).expand(len(self.levels), most)
        there = numbers < torch.tensor(self.levels)[:, None]
        first = torch.tensor(self.levels).cumsum(0) - torch.tensor(self.levels)
        self.register_buffer("there", there, persistent=False)
        self.register_buffer("places", torch.where(there, first[:, None] + numbers, 0), persistent=False)
        inside = [row * most + level for row, k in enumerate(self.levels) for level in range(k)]
        self.register_buffer("inside", torch.tensor(inside), persistent=False)
        self.register_buffer("level_scores", torch.stack(scores).float(), persistent=False)

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (2 * len(self.levels) + sum(self.levels),)

    @property
    def thresholds(self) -> Tensor:
        """(columns, levels + 1): from -FAR to FAR."""
        first, gaps = self.cuts[:, :1], self.cuts[:, 1:].clamp(-10, 5).exp()
        inner = torch.where(self.there[:, 1:], torch.cat([first, first + gaps.cumsum(1)], 1), FAR)
        return F.pad(F.pad(inner, (1, 0), value=-FAR), (0, 1), value=FAR)

    def distribution(self, parameters: Tensor) -> distributions.Ordinals:
        columns = len(self.levels)
        loc, log_scale, free = parameters.split((columns, columns, sum(self.levels)), 1)
        free = torch.where(
            self.there, free.index_select(1, self.places.flatten()).unflatten(1, self.places.shape), -FAR
        )
        return distributions.Ordinals(loc, bounded(log_scale), free, self.thresholds.to(parameters.dtype))

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        level = masked(x, mask).long()
        table = self.level_scores.to(x.dtype)
        return masked(table.expand(len(x), *table.shape).gather(-1, level.unsqueeze(-1)).squeeze(-1), mask)

    @property
    def column_features_shape(self) -> tuple[int, ...]:
        return (len(self.levels) + sum(self.levels),)

    @property
    def column_owners(self) -> tuple[int, ...]:
        columns = range(len(self.levels))
        return (*columns, *(i for i in columns for _ in range(self.levels[i])))

    def column_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Where a level lies among the others, and which it is, one-hot."""
        numbers = torch.arange(self.there.shape[1], device=x.device)
        one_hot = ((x.unsqueeze(-1) == numbers) & self.there).to(x.dtype)
        one_hot = masked(one_hot, None if mask is None else mask.unsqueeze(-1)).flatten(1)
        return torch.cat([self.features(x, mask), one_hot.index_select(1, self.inside)], 1)

    def check(self, x: Any) -> None:
        for own, levels in zip(torch.as_tensor(x).unbind(1), self.levels):
            self._refuse_outside(own, 0, levels - 1, f"levels 0..{levels - 1}", whole=True)


class CountColumns(Counts):
    """Counts of columns whose sizes differ: negative binomial, around each column's own mean and dispersion.

    means, variances: of each column by itself; the decoder gives, per column, the log of the mean and of the inverse
    dispersion beside these, so that what it gives is of one size in every column. The encoder reads `log(1 + x)`, about
    that of the mean, in units of its spread.
    """

    def __init__(self, means: Sequence[float], variances: Sequence[float]):
        super().__init__((len(means),))
        self.means, self.variances = list(means), list(variances)
        refuse_other_lengths(self, "variances", [float(v) for v in variances], [1] * len(self.means))
        mean = torch.tensor(self.means, dtype=torch.float64).clamp(min=1e-3)
        variance = torch.tensor(self.variances, dtype=torch.float64)
        theta = (mean.square() / (variance - mean).clamp(min=1e-2 * mean)).clamp(1e-2, 1e4)
        spread = (variance.sqrt() / (1 + mean)).clamp(min=0.1)
        for name, values in (
            ("centre", mean.log()),
            ("theta", theta.log()),
            ("middle", mean.log1p()),
            ("spread", spread),
        ):
            self.register_buffer(name, values.float(), persistent=False)

    per_cell = 2

    def distribution(self, parameters: Tensor) -> distributions.NegativeBinomial:
        log_mean, log_theta = parameters.chunk(2, 1)
        log_mean, log_theta = softly(log_mean, FARTHEST_MEAN), softly(log_theta, FARTHEST_DISPERSION)
        return distributions.NegativeBinomial(log_mean + self.centre, log_theta + self.theta)

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return masked(((masked(x, mask).log1p() - self.middle) / self.spread).clamp(-FARTHEST, FARTHEST), mask)
