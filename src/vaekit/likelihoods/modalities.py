"""Rows that are made of parts, any of which may be missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ..core import ForwardContext, prefixed
from ..distributions import Distribution
from .base import Likelihood
from .mixed import Mixed


class Modalities(Likelihood):
    """Rows of several parts, such as an image and its label, which the model may meet without one another.

    likelihood: of whole rows. The parts of a `Mixed` are the modalities; a row of any other is read flat and cut into
    runs of `widths` cells, by default its two halves. A part is missing where all its cells are (a mask of 0, NaN in
    the data). The encoder reads the features of part after part and then a flag per part, 1 where it is there:
    `PartEncoder`. The decoder gives the numbers of part after part: `PartDecoder`. parts: (parts, *shape), 1 at each
    part's own cells.
    """

    parts: Tensor

    def __init__(self, likelihood: Likelihood, widths: Sequence[int] | None = None):
        super().__init__(likelihood.shape)
        self.likelihood = likelihood
        self.widths = tuple(widths) if widths is not None else getattr(likelihood, "sizes", None)
        cells = None if self.shape is None else math.prod(self.shape)
        if self.widths is None and cells is not None:
            self.widths = (cells - cells // 2, cells // 2)
        own = getattr(likelihood, "sizes", self.widths)
        if self.widths is not None and (min(self.widths) < 1 or own != self.widths or cells not in (None, sum(own))):
            raise ValueError(
                f"Modalities of widths {self.widths} over rows of {self.shape}: expected a number of cells for each "
                "part that add up to those of a row, and none beside a Mixed, whose parts have theirs"
            )
        if cells is not None:
            place = torch.arange(len(self.widths)).repeat_interleave(torch.tensor(self.widths), output_size=cells)
            belongs = (place == torch.arange(len(self.widths)).unsqueeze(1)).float()
            self.register_buffer("parts", belongs.reshape(-1, *self.shape), persistent=False)

    def resolve_shapes(self, **sizes: Any) -> Self:
        likelihood = self.likelihood.resolve_shapes(**sizes)
        return self if likelihood is self.likelihood else type(self)(likelihood, self.widths)

    @property
    def support(self) -> str:
        return self.likelihood.support

    @property
    def density(self) -> bool:
        return self.likelihood.density

    @property
    def feature_widths(self) -> tuple[int, ...]:
        return self.likelihood.feature_widths or self.widths

    @property
    def parameter_widths(self) -> tuple[int, ...]:
        return self.likelihood.parameter_widths or tuple(self.likelihood.per_cell * w for w in self.widths)

    @property
    def in_shape(self) -> tuple[int, ...]:
        self._known_shape()
        return (sum(self.parameter_widths),)

    @property
    def features_shape(self) -> tuple[int, ...]:
        self._known_shape()
        return (sum(self.feature_widths) + len(self.widths),)

    def chance_seen(self, x: Tensor) -> Tensor | None:
        return self.likelihood.chance_seen(x)

    def distribution(self, parameters: Tensor) -> Distribution:
        if not isinstance(self.likelihood, Mixed):  # which stacks the numbers of a cell, not those of a part
            own = parameters.split(self.parameter_widths, 1)
            stacked = torch.cat([p.unflatten(1, (self.likelihood.per_cell, -1)) for p in own], 2)
            parameters = stacked.reshape(len(parameters), *self.likelihood.in_shape)
        return self.likelihood(parameters)

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.cat([self.likelihood.features(x, mask).flatten(1), self.seen(x, mask)], 1)

    def seen(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, parts): 1 where a cell of the part is there."""
        if mask is None:
            return x.new_ones(len(x), len(self.widths))
        there = [cells.amax(1) for cells in mask.flatten(1).split(self.widths, 1)]
        return (torch.stack(there, 1) > 0).to(x.dtype)

    def fitted(
        self, px: Distribution, x: Tensor, mask: Tensor | None, scope: ForwardContext
    ) -> tuple[Distribution, dict[str, Tensor]]:
        px, updates = self.likelihood.fitted(px, x, mask, scope)
        return px, prefixed("likelihood", updates)

    def start(self, x: Tensor, mask: Tensor | None = None, shared: Sequence[int] = ()) -> Tensor | None:
        """Start at the moments of each cell; the numbers of each part are next to each other."""
        at = self.likelihood.start(x, mask)
        if at is None or isinstance(self.likelihood, Mixed):
            return at
        each = at.reshape(self.likelihood.per_cell, -1).split(self.widths, 1)
        return torch.cat([own.flatten() for own in each])

    def scale_features(self, x: Tensor, mask: Tensor | None = None) -> None:
        self.likelihood.scale_features(x, mask)

    def observe(self, x: Tensor, scope: ForwardContext) -> Tensor:
        return self.likelihood.observe(x, scope)

    def check(self, x: Any) -> None:
        self.likelihood.check(x)

    def caveat(self, x: Any, integer: bool) -> str | None:
        return self.likelihood.caveat(x, integer)
