"""Rows of the user's with gaps: a row of which some columns are given, and gaps filled by the rows of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..suggest import nearest

Place = int | str | tuple[int, ...]


def partial_row(given: Mapping[Place, Any], shape: tuple[int, ...], names: Sequence[str] | None = None) -> NDArray:
    """(1, *shape), float64: the given cells, and NaN elsewhere.

    given: values by the number of a column, by its name where columns have names, or by the place of a cell, (i, j).
    Raises ValueError for a cell that is not there.
    """
    row = np.full((1, *shape), np.nan)
    for place, value in given.items():
        known = list(names) if names is not None else []
        if isinstance(place, str):
            if place not in known:
                fix = f"expected one of {', '.join(known)}" if known else "these rows have no names: give a number"
                raise ValueError(f"given: unknown column {place!r}{nearest(place, known)}: {fix}")
            place = known.index(place)
        index = place if isinstance(place, tuple) else (place,)
        if len(index) != len(shape) or not all(0 <= i < size for i, size in zip(index, shape)):
            raise ValueError(f"given: there is no cell {place} in rows of {shape}: expected a place within them")
        row[(0, *index)] = value
    return row


def filled(x: NDArray, made: NDArray) -> NDArray:
    """Rows x (N, ...) with their NaN replaced by those of `made`; all other cells are as they were, bit for bit."""
    return np.where(np.isnan(x), made.astype(x.dtype), x) if x.dtype.kind == "f" else x.copy()
