"""Fingerprints of training rows: whether rows that a model is evaluated on are rows that it was trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .lazy_rows import LazyRows
from .rows import AbstractRows
from .spec import PIECE

KEPT = 16_384
"""Fingerprints that are kept at most."""
SPACE = 2**32
"""A fingerprint is a whole number below this."""
CELLS = 2**28
"""Cells of the rows at most: of larger data no fingerprints are taken, which would cost seconds."""
CHUNK = 1024
"""Rows that are read at a time, or fewer of many cells."""
REPEATED = 0.9
"""The share of training rows that occur more than once above which rows cannot be recognised by their values."""


@dataclass(frozen=True)
class TrainedRows:
    """Fingerprints of the values of training rows.

    Of many rows only the fingerprints below a limit are kept: a random sample of the rows by their values. Rows that
    are evaluated are compared by the same sample.

    Parameters
    ----------
    prints : ndarray of int64
        Sorted fingerprints, each once.
    limit : int
        Fingerprints below it were kept.
    repeats : float
        Share of the training rows whose values occur more than once.
    """

    prints: NDArray
    limit: int
    repeats: float

    @classmethod
    def of(cls, rows: AbstractRows) -> Self | None:
        """The fingerprints of rows; None where there are too many to read."""
        if len(rows) * math.prod(rows.x.shape[1:]) > CELLS:
            return None
        found = fingerprints(rows.x)
        limit = SPACE if len(found) <= KEPT else int(SPACE * KEPT / len(found))
        kept, counts = np.unique(found[found < limit], return_counts=True)
        return cls(kept, limit, float(counts[counts > 1].sum() / max(1, counts.sum())))

    def share(self, rows: AbstractRows) -> float:
        """The share of rows that were trained on, less what equal rows make of it by chance."""
        found = fingerprints(rows.x)
        found = found[found < self.limit]
        if not len(found) or self.repeats >= REPEATED:
            return 0.0
        met = float(np.isin(found, self.prints).mean())
        return max(0.0, (met - self.repeats) / (1 - self.repeats))

    def to_tensor(self) -> Tensor:
        """As one tensor of whole numbers, for a file."""
        head = [self.limit, round(self.repeats * 1e6)]
        return torch.from_numpy(np.concatenate([head, self.prints]).astype(np.int64))

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> Self:
        """What `to_tensor` gave. Raises ValueError for anything else."""
        if tensor.dtype != torch.int64 or tensor.dim() != 1 or len(tensor) < 2:
            raise ValueError("the fingerprints of training rows are damaged: expected whole numbers in one dimension")
        numbers = tensor.numpy()
        return cls(numbers[2:], int(numbers[0]), float(numbers[1]) / 1e6)


def fingerprints(x: Tensor | LazyRows) -> NDArray:
    """(N,), whole numbers below 2^32: of the values of each row in fp64, whatever type they are held in."""
    return np.concatenate([_hashed(part) for part in _parts(x)] or [np.zeros(0, np.int64)])


def _parts(x: Tensor | LazyRows) -> Iterator[NDArray]:
    for part in x.split(max(1, min(CHUNK, PIECE // math.prod(x.shape[1:])))):
        values = part.flatten(1) if part.dim() > 1 else part.unsqueeze(1)
        yield values.cpu().double().numpy() + 0.0  # one zero, not two


def _hashed(values: NDArray) -> NDArray:
    """Each value is mixed, multiplied by an odd number of its column, and summed modulo 2^64."""
    bits = np.where(np.isnan(values), np.inf, values).view(np.uint64)
    odd = np.random.default_rng(0).integers(0, 2**63, values.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    total = (_mixed(bits) * odd).sum(1, dtype=np.uint64)
    return (_mixed(total) >> np.uint64(32)).astype(np.int64)


def _mixed(bits: NDArray) -> NDArray:
    """The finaliser of MurmurHash3: every bit of the result depends on every bit given."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        bits = (bits ^ (bits >> np.uint64(33))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(33))
