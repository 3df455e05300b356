"""Classes of rows: labels as they are given, and as one-hot vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..printable import listed, printable
from .arrays import unmasked

UNKNOWN = -1
"""Marks a row whose class is not known, as scikit-learn has it; `None` and NaN do, too."""
SHOWN = 12
"""Classes named in an error."""


def as_labels(labels: object) -> tuple[NDArray, NDArray]:
    """Labels (N,) as whole numbers or words, and which of them are known.

    Raises TypeError for what is neither, ValueError for another shape than one label per row.
    """
    array = unmasked(labels)
    if array.ndim != 1:
        raise ValueError(f"expected a label for each row, (N,), got shape {array.shape}: pass one column")
    if array.dtype.kind == "O":
        known = np.array([v is not None and v == v for v in array], dtype=bool)
        array = np.array(array[known].tolist()) if known.any() else np.empty(0, np.int64)
        whole = np.full(len(known), UNKNOWN if array.dtype.kind in "iubf" else "", array.dtype)
        whole[known] = array
        array = whole
    else:
        known = ~np.isnan(array) if array.dtype.kind == "f" else np.ones(len(array), dtype=bool)
    if array.dtype.kind == "f":
        array = np.where(known, array, UNKNOWN)
        if (array != array.round()).any():
            raise TypeError("expected classes, whole numbers or words, got fractions: round them, or pass words")
    if array.dtype.kind in "iubf":
        array = array.astype(np.int64)
        return array, known & (array != UNKNOWN)
    if array.dtype.kind != "U":
        raise TypeError(f"expected classes, whole numbers or words, got {array.dtype}: pass str or int")
    return array, known


@dataclass(frozen=True)
class Classes:
    """The classes of labels in order, and the share of each among the rows that told them."""

    levels: tuple[int | str, ...]
    shares: tuple[float, ...]

    @classmethod
    def infer(cls, labels: object) -> Classes:
        """Raises ValueError where no label is known."""
        array, known = as_labels(labels)
        if not known.any():
            raise ValueError("expected some labels that are known, got none")
        levels, counts = np.unique(array[known], return_counts=True)
        return cls(tuple(levels.tolist()), tuple((counts / counts.sum()).tolist()))

    def __len__(self) -> int:
        return len(self.levels)

    def encode(self, labels: object, partly: bool = False) -> Tensor:
        """(N, K): one-hot. Raises ValueError for a class that fit did not meet and, unless `partly`, for a label that
        is not known; with `partly` its row is zeros."""
        array, known = as_labels(labels)
        if not partly and not known.all():
            raise ValueError(f"the class of row {int(known.argmin())} is not known: pass a class for every row")
        place = {level: k for k, level in enumerate(self.levels)}
        unseen = sorted({str(v) for v in np.unique(array[known]).tolist() if v not in place})
        if unseen:
            raise ValueError(
                f"unknown class {listed(unseen, SHOWN)}: fit met {self}; pass these, or fit again with all classes"
            )
        index = torch.tensor([place[v] if k else 0 for v, k in zip(array.tolist(), known)], dtype=torch.int64)
        return torch.nn.functional.one_hot(index, len(self)).float() * torch.from_numpy(known).unsqueeze(1)

    def to_dict(self) -> dict[str, list]:
        return {"levels": list(self.levels), "shares": list(self.shares)}

    @classmethod
    def from_dict(cls, values: dict[str, list]) -> Classes:
        return cls(tuple(values["levels"]), tuple(values["shares"]))

    def names(self, index: NDArray) -> NDArray:
        """Classes by their number, as they were given."""
        return np.asarray(self.levels)[index]

    def draw(self, rows: int, seed: int | Sequence[int]) -> NDArray:
        """(rows,): classes at random, by their shares."""
        shares = np.asarray(self.shares) / sum(self.shares)
        return self.names(np.random.default_rng(seed).choice(len(self), rows, p=shares))

    def __str__(self) -> str:
        shown = ", ".join(printable(level, 60) for level in self.levels[:SHOWN])
        return f"{shown}, ... ({len(self)} classes)" if len(self) > SHOWN else shown
