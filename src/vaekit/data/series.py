"""Rows of unequal length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import unmasked


def padded(rows: Sequence[ArrayLike], length: int | None = None) -> NDArray:
    """Rows of unequal length, (T_i,) or (T_i, C), as one array (N, T) or (N, T, C) of floats, NaN after their ends.

    length: T, the longest row's where it is left out. Fit to them with `missing=True`. Raises ValueError for rows that
    are longer, or of another C than the first.
    """
    arrays = [unmasked(row) for row in rows]
    if not arrays or any(a.ndim not in (1, 2) or a.shape[1:] != arrays[0].shape[1:] for a in arrays):
        shapes = ", ".join(sorted({str(a.shape) for a in arrays})[:4]) or "no rows"
        raise ValueError(f"padded expects rows of steps, (T,), or (T, C) with one C for all, got {shapes}")
    longest = max(map(len, arrays))
    if length is not None and length < longest:
        raise ValueError(f"padded(length={length}): the longest row has {longest} steps; cut it, or give more length")
    shape = (len(arrays), length or longest, *arrays[0].shape[1:])
    out = np.full(shape, np.nan, np.result_type(np.float32, *(a.dtype for a in arrays)))
    for row, array in zip(out, arrays):
        row[: len(array)] = array
    return out


def unpadded(rows: ArrayLike, end: float | None = None) -> list[NDArray]:
    """`padded` undone: rows (N, T) or (N, T, C), each without the steps at its end that are all NaN.

    end: of whole numbers (N, T), what stands after the last step: the row is cut before the first of it.
    """
    cut = []
    for row in unmasked(rows):
        seen = ~np.isnan(row.reshape(len(row), -1)).all(1)
        row = row[: len(row) - int(np.argmax(seen[::-1])) if seen.any() else 0]
        ends = [] if end is None else np.flatnonzero(row == end)
        cut.append(row[: ends[0]] if len(ends) else row)
    return cut
