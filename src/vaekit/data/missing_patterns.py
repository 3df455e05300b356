"""Which cells of a row are missing together: whole rows of the mask, as they were met."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from .lazy_rows import LazyRows

LOOKED_AT = 2**21
"""Cells that patterns are taken from, at most: of more, rows at random."""
KEPT = 1000
"""Patterns kept, at most: where more are met, those of as many rows at random."""


@dataclass(frozen=True)
class Patterns:
    """Patterns of gaps, and in how many rows each was met: drawn as wholes, gaps go together as they did.

    cells: in a row. bits: of each pattern the cells that are missing, `numpy.packbits` in hexadecimal. counts: of rows.
    """

    cells: int
    bits: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, x: Tensor | LazyRows) -> Self:
        """Those of rows (N, ...), where NaN marks a missing cell."""
        generator, cells = np.random.default_rng(0), math.prod(x.shape[1:])
        if len(x) > (most := max(1, LOOKED_AT // cells)):
            x = x[np.sort(generator.permutation(len(x))[:most])]
        gaps = x.isnan().cpu().numpy() if isinstance(x, Tensor) else np.isnan(np.asarray(x))
        packed = np.packbits(gaps.reshape(len(x), -1), axis=1)
        met, counts = np.unique(packed, axis=0, return_counts=True)
        if len(met) > KEPT:
            packed = packed[generator.permutation(len(packed))[:KEPT]]
            met, counts = np.unique(packed, axis=0, return_counts=True)
        return cls(cells, tuple(row.tobytes().hex() for row in met), tuple(counts.tolist()))

    @property
    def gaps(self) -> NDArray:
        """(K, cells), bool: the cells that are missing in each pattern."""
        packed = np.frombuffer(bytes.fromhex("".join(self.bits)), np.uint8)
        return np.unpackbits(packed.reshape(len(self.bits), -1), axis=1, count=self.cells).astype(bool)

    def __bool__(self) -> bool:
        """Whether a cell was missing in some row."""
        return any(digit != "0" for own in self.bits for digit in own)

    def draw(self, rows: int, seed: int | Sequence[int], seen: Sequence[int] | NDArray = ()) -> NDArray:
        """(rows, cells), bool: patterns at random, as often as they were met, of those in which the cells `seen` are
        there. Raises ValueError where these were never there together."""
        gaps = self.gaps
        counts = np.where(gaps[:, seen].any(1), 0, self.counts) if len(seen) else np.array(self.counts)
        if not counts.any():
            raise ValueError(
                "expected given columns that are there together in some row, got such as never were in fit: give fewer "
                "columns, or draw whole rows, gaps=False"
            )
        return gaps[np.random.default_rng(seed).choice(len(gaps), rows, p=counts / counts.sum())]

    def to_dict(self) -> dict[str, Any]:
        return {"cells": self.cells, "met": dict(zip(self.bits, self.counts))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(values["cells"], tuple(values["met"]), tuple(values["met"].values()))
