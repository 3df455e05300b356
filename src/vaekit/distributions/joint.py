"""Several distributions side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core import ForwardContext, record, static
from .base import Distribution


@record
class Joint(Distribution):
    """Independent parts side by side: part i reads its `sizes[i]` columns of the last dimension of x."""

    parts: Sequence[Distribution]
    sizes: tuple[int, ...] = static()

    def _beside(self, f: Callable[[Distribution], Tensor]) -> Tensor:
        return torch.cat([f(part) for part in self.parts], -1)

    def log_prob(self, x: Tensor) -> Tensor:
        columns = x.split(self.sizes, -1)
        return torch.cat([part.log_prob(own) for part, own in zip(self.parts, columns, strict=True)], -1)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        return self._beside(lambda part: part.draw(scope, rows))

    @property
    def mean(self) -> Tensor:
        return self._beside(lambda part: part.mean)

    @property
    def representative(self) -> Tensor:
        return self._beside(lambda part: part.representative)

    @property
    def mode(self) -> Tensor:
        return self._beside(lambda part: part.mode)

    def log_cells(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        masks = [None] * len(self.parts) if mask is None else mask.split(self.sizes, -1)
        each = zip(self.parts, x.split(self.sizes, -1), masks, strict=True)
        return torch.cat([part.log_cells(own, seen) for part, own, seen in each], -1)

    def draw_missing(self, scope: ForwardContext) -> Tensor:
        return self._beside(lambda part: part.draw_missing(scope))

    @property
    def apart(self) -> bool:
        return all(part.apart for part in self.parts)

    @property
    def moments(self) -> list[Any]:
        """Those of each part."""
        return [part.moments for part in self.parts]

    def guess(self, moments: list[Any]) -> Tensor:
        return torch.cat([part.guess(own) for part, own in zip(self.parts, moments, strict=True)], -1)
