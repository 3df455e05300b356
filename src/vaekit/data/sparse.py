"""Rows of a sparse matrix, made dense a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .limits import check_size
from .sources import Store


def is_sparse(x: object) -> bool:
    """Whether x is a scipy sparse matrix or array: one of its own kinds, told without importing it."""
    return hasattr(x, "tocsr") and hasattr(x, "nnz")


def check_starts(starts: NDArray, cells: int, name: str = "the sparse matrix") -> None:
    """Raises ValueError where rows do not begin one after the other within the cells: `indptr` of scipy."""
    if starts.ndim != 1 or len(starts) == 0 or starts.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected an indptr (N + 1,) of whole numbers, got {starts.dtype} {starts.shape}")
    if int(starts[0]) != 0 or (starts[1:] < starts[:-1]).any() or int(starts[-1]) > cells:
        raise ValueError(
            f"{name}: expected an indptr that rises from 0 to at most its {cells:,} cells, got one from {starts[0]} "
            f"to {starts[-1]}{' that falls' if (starts[1:] < starts[:-1]).any() else ''}: write the matrix again"
        )


def check_indices(columns: NDArray, width: int, name: str = "") -> None:
    """Raises ValueError where a cell lies outside of the columns: `indices` of scipy."""
    if columns.dtype.kind not in "iu":
        raise ValueError(f"{name or 'the sparse matrix'}: expected indices of whole numbers, got {columns.dtype}")
    if len(columns) and not 0 <= (low := int(columns.min())) <= (high := int(columns.max())) < width:
        wrong = low if low < 0 else high
        raise ValueError(
            f"{name or 'the sparse matrix'}: expected indices in 0..{width - 1}, got {wrong}: write the matrix again"
        )


def check_matrix(matrix: Any) -> None:
    """Raises ValueError for a scipy matrix whose indices leave it: scipy's own code would read and write past it."""
    if hasattr(matrix, "indptr"):
        block = getattr(matrix, "blocksize", (1, 1))
        rows, width = (n // b for n, b in zip(matrix.shape, block))
        rows, width = (width, rows) if matrix.format == "csc" else (rows, width)
        check_starts(matrix.indptr, min(len(matrix.indices), len(matrix.data)))
        check_indices(matrix.indices[: int(matrix.indptr[-1])], width)
        if len(matrix.indptr) != rows + 1:
            raise ValueError(f"the sparse matrix has {rows} rows and an indptr of {len(matrix.indptr)} numbers")
    elif hasattr(matrix, "row"):
        for place, size in zip((matrix.row, matrix.col), matrix.shape):
            check_indices(place, size)


class CompressedRows(Store):
    """Rows (N, D) of which only the cells that are not 0 are kept, row after row.

    values: what these cells hold, (nnz,). columns: where they stand, (nnz,). starts: where each row begins in both, and
    their length, (N + 1,). values and columns may be anything that is read by slices, such as a data set of a file.
    Whole numbers of any type are counts.
    """

    counted = True

    def __init__(self, values: Any, columns: Any, starts: ArrayLike, width: int, name: str = ""):
        self.values, self.columns, self.starts = values, columns, np.asarray(starts, np.int64)
        super().__init__((len(self.starts) - 1, int(width)), np.dtype(values.dtype), name)

    @classmethod
    def of(cls, matrix: Any, name: str = "") -> CompressedRows:
        """Those of a scipy matrix of any format, which stays as it was; what stands twice in a cell is added up.

        Raises ValueError for another number of dimensions than two.
        """
        if matrix.ndim != 2:
            raise ValueError(f"expected a sparse matrix (rows, columns), got {matrix.ndim} dimension(s): reshape it")
        check_matrix(matrix)
        rows = matrix.tocsr()
        if not rows.has_canonical_format:
            rows = rows.copy() if rows is matrix else rows
            rows.sum_duplicates()
        return cls(rows.data, rows.indices, rows.indptr, rows.shape[1], name)

    def read(self, index: NDArray) -> NDArray:
        check_size(len(index) * self.row_bytes, self.name or "the sparse matrix")
        rows = np.zeros((len(index), self.shape[1]), self.dtype)
        first, last = self.starts[index], self.starts[index + 1]
        count = last - first
        values, columns = self._cells(first, last)
        check_indices(columns, self.shape[1], self.name)
        place = np.repeat(np.arange(len(index)) * self.shape[1], count) + columns
        if (place[1:] > place[:-1]).all():
            rows.reshape(-1)[place] = values
        else:  # in no order, or a cell is given twice
            np.add.at(rows.reshape(-1), place, values)
        return rows

    def _cells(self, first: NDArray, last: NDArray) -> tuple[NDArray, NDArray]:
        """The cells of rows that lie from `first` to `last`, one row's after the other's."""
        count = last - first
        place = np.arange(count.sum()) + np.repeat(first - (np.cumsum(count) - count), count)
        return self.values[place], self.columns[place]

    def met(self, index: NDArray | None, cells: int) -> Iterator[NDArray]:
        """A 0 where a cell of these rows (None: all) has none of its own, and what the others hold, some at a time."""
        index = np.arange(self.shape[0]) if index is None else index
        first, last = self.starts[index], self.starts[index + 1]
        if (last - first).sum() < len(index) * self.shape[1]:
            yield np.zeros((1, 1), self.dtype)
        ends = np.searchsorted(np.cumsum(last - first) // cells, np.arange(1, (last - first).sum() // cells + 1))
        for part in np.split(np.arange(len(index)), ends):
            if (last[part] - first[part]).sum():
                yield self._cells(first[part], last[part])[0].reshape(1, -1)


class Picked(Store):
    """Some columns of a store's rows (N, D), in another order."""

    def __init__(self, store: Store, columns: NDArray):
        super().__init__((store.shape[0], len(columns)), store.dtype, store.name)
        self.store, self.columns, self.counted = store, columns, store.counted
        self.edges, self.width = store.edges, store.width

    def read(self, index: NDArray) -> NDArray:
        return self.store.read(index)[:, self.columns]
