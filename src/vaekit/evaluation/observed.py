"""The x that is explained: binarised where the likelihood does that, alike for every model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..core import Batch, ForwardContext, Source
from ..model import VAEModule

BINARISATION = 0
"""The seed of what is drawn of held-out rows. It belongs to the rows: models are compared on the same draws."""


class RowNoise:
    """Noise of every row by itself, drawn on the host: the same for a row in batches of any size, on any device."""

    def __init__(self, seed: int, device: torch.device):
        self.source, self.device = Source(seed), device

    def _each(self, draw: Callable[..., Tensor], shape: Sequence[int]) -> Tensor:
        rows, *row = shape
        return torch.stack([draw(row) for _ in range(rows)]).to(self.device)

    def randn(self, shape: Sequence[int]) -> Tensor:
        return self._each(self.source.randn, shape)

    def rand(self, shape: Sequence[int]) -> Tensor:
        return self._each(self.source.rand, shape)


class Observed:
    """Batches with the x that is explained: binarised, where the likelihood does that, once and by the row's place
    alone, so that every model of these rows explains the same x.

    digest: of x as it is explained, after the last batch; None where it is the data's. floor: (N,), nats that no -log p
    can be below in expectation, or None.
    """

    def __init__(self, model: VAEModule, batches: Iterable[Batch]):
        self.likelihood, self.batches = model.likelihood, batches
        device = next(model.parameters()).device
        self.scope, self.changed, self.sha = ForwardContext.of(RowNoise(BINARISATION, device)), False, hashlib.sha256()
        self.floors: list[Tensor | None] = []

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            x = self.likelihood.observe(batch.x, self.scope)
            self.changed = self.changed or not torch.equal(x, batch.x)
            self.sha.update(x.float().cpu().contiguous().numpy())
            self.floors.append(self.likelihood.floor(batch.x, batch.mask))
            yield replace(batch, x=x, weight=None, label=None)

    @property
    def digest(self) -> str | None:
        return self.sha.hexdigest() if self.changed else None

    @property
    def floor(self) -> Tensor | None:
        return None if not self.floors or self.floors[0] is None else torch.cat(self.floors).cpu().double()
