"""Tables whose columns are of several kinds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..core import ForwardContext, prefixed
from ..distributions import Joint
from .base import Likelihood


class Mixed(Likelihood):
    """Independent likelihoods over the columns of a flat row, part after part; part i has shape (k_i,).

    The mask is per column, and a masked column drops out of log p exactly. The encoder reads each part's own
    features, categories one-hot. Nazabal et al. 2020 (HI-VAE), arXiv:1807.03653.
    """

    support = "columns"

    def __init__(self, parts: Sequence[Likelihood]):
        open_parts = [type(p).__name__ for p in parts if p.shape is None or len(p.shape) != 1]
        if not parts or open_parts:
            raise ValueError(
                f"Mixed expects at least one part, each over a flat run of columns, got "
                f"{', '.join(open_parts) or 'none'} without such a shape: build each with shape=(columns,)"
            )
        sizes = tuple(p.shape[0] for p in parts)
        super().__init__((sum(sizes),))
        self.parts, self.sizes = nn.ModuleList(parts), sizes

    def resolve_shapes(self, **sizes: Any) -> Self:
        shape = sizes.get("shape")
        if shape is not None and tuple(shape) != self.shape:
            raise ValueError(
                f"Mixed has {self.shape[0]} columns in its parts but x has shape {tuple(shape)} per row: "
                f"give every column of x to one part"
            )
        return self

    @property
    def in_shape(self) -> tuple[int, ...]:
        return (sum(self.parameter_widths),)

    @property
    def parameter_widths(self) -> tuple[int, ...]:
        return tuple(math.prod(p.in_shape) for p in self.parts)

    @property
    def feature_widths(self) -> tuple[int, ...]:
        return tuple(math.prod(p.column_features_shape) for p in self.parts)

    @property
    def features_shape(self) -> tuple[int, ...]:
        return (sum(self.feature_widths),)

    @property
    def owners(self) -> tuple[int, ...]:
        firsts = accumulate(self.sizes, initial=0)
        return tuple(first + i for first, part in zip(firsts, self.parts) for i in part.column_owners)

    def distribution(self, parameters: Tensor) -> Joint:
        own = parameters.split(self.parameter_widths, 1)
        return Joint([part(t) for part, t in zip(self.parts, own, strict=True)], self.sizes)

    def fitted(
        self, px: Joint, x: Tensor, mask: Tensor | None, scope: ForwardContext
    ) -> tuple[Joint, dict[str, Tensor]]:
        columns, masks = x.split(self.sizes, 1), [None] * len(self.parts) if mask is None else mask.split(self.sizes, 1)
        each = zip(self.parts, px.parts, columns, masks, strict=True)
        found = [part.fitted(own, cells, seen, scope) for part, own, cells, seen in each]
        updates = {k: v for i, (_, u) in enumerate(found) for k, v in prefixed(f"parts.{i}", u).items()}
        return Joint([own for own, _ in found], self.sizes), updates

    def _beside(self, f: Callable[..., Tensor], x: Tensor, *beside: Tensor | None) -> Tensor:
        columns = [[None] * len(self.parts) if t is None else t.split(self.sizes, 1) for t in (x, *beside)]
        return torch.cat([f(part, *own) for part, *own in zip(self.parts, *columns, strict=True)], 1)

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._beside(lambda part, own, seen: part.column_features(own, seen), x, mask)

    def prepare(self, x: Tensor, mask: Tensor | None = None) -> None:
        columns, masks = x.split(self.sizes, 1), [None] * len(self.parts) if mask is None else mask.split(self.sizes, 1)
        for part, own, seen in zip(self.parts, columns, masks, strict=True):
            part.prepare(own, seen)

    def start(self, x: Tensor, mask: Tensor | None = None, shared: Sequence[int] = ()) -> Tensor | None:
        """Start each part at the moments of its own columns, which are read as they are."""
        columns, masks = x.split(self.sizes, 1), [None] * len(self.parts) if mask is None else mask.split(self.sizes, 1)
        found = [part.start(own, seen) for part, own, seen in zip(self.parts, columns, masks, strict=True)]
        if all(own is None for own in found):
            return None
        each = zip(found, self.parameter_widths, strict=True)
        return torch.cat([torch.zeros(n) if own is None else own.flatten().cpu() for own, n in each])

    def scale_features(self, x: Tensor, mask: Tensor | None = None) -> None:
        columns, masks = x.split(self.sizes, 1), [None] * len(self.parts) if mask is None else mask.split(self.sizes, 1)
        for part, own, seen in zip(self.parts, columns, masks, strict=True):
            part.scale_features(own, seen)

    def observe(self, x: Tensor, scope: ForwardContext) -> Tensor:
        return self._beside(lambda part, own: part.observe(own, scope), x)

    def chance_seen(self, x: Tensor) -> Tensor:
        def of(part: Likelihood, own: Tensor) -> Tensor:
            chance = part.chance_seen(own)
            return torch.full_like(own, torch.nan) if chance is None else chance

        return self._beside(of, x)

    def check(self, x: Any) -> None:
        first = 0
        for part, own in zip(self.parts, torch.as_tensor(x).split(self.sizes, 1), strict=True):
            try:
                part.check(own)
            except ValueError as error:
                raise ValueError(f"columns {first}..{first + own.shape[1] - 1}: {error}") from None
            first += own.shape[1]

    def caveat(self, x: Any, integer: bool) -> str | None:
        columns = torch.as_tensor(x).split(self.sizes, 1)
        found = [part.caveat(own, integer) for part, own in zip(self.parts, columns, strict=True)]
        return next((sentence for sentence in found if sentence), None)
