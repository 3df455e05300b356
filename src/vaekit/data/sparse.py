"""Rows of a sparse matrix, made dense a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .stores import Store


def is_sparse(x: object) -> bool:
    """Whether x is a scipy sparse matrix or array: one of its own kinds, told without importing it."""
    return hasattr(x, "tocsr") and hasattr(x, "nnz")


class CompressedRows(Store):
    """Rows (N, D) of which only the cells that are not 0 are kept, row after row.

    values: what these cells hold, (nnz,). columns: where they stand, (nnz,). starts: where each row begins in both, and
    their length, (N + 1,). values and columns may be anything that is read by slices, such as a data set of a file.
    Whole numbers of any type are counts.
    """

    counted = True

    def __init__(self, values: Any, columns: Any, starts: ArrayLike, width: int):
        self.values, self.columns, self.starts = values, columns, np.asarray(starts, np.int64)
        super().__init__((len(self.starts) - 1, int(width)), np.dtype(values.dtype))

    @classmethod
    def of(cls, matrix: Any) -> CompressedRows:
        """Those of a scipy matrix of any format, which stays as it was; what stands twice in a cell is added up.

        Raises ValueError for another number of dimensions than two.
        """
        if matrix.ndim != 2:
            raise ValueError(f"expected a sparse matrix (rows, columns), got {matrix.ndim} dimension(s): reshape it")
        rows = matrix.tocsr()
        if not rows.has_canonical_format:
            rows = rows.copy() if rows is matrix else rows
            rows.sum_duplicates()
        return cls(rows.data, rows.indices, rows.indptr, rows.shape[1])

    def read(self, index: NDArray) -> NDArray:
        rows = np.zeros((len(index), self.shape[1]), self.dtype)
        first, last = self.starts[index], self.starts[index + 1]
        count = last - first
        values, columns = self._cells(first, last)
        rows[np.repeat(np.arange(len(index)), count), columns] = values
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
        super().__init__((store.shape[0], len(columns)), store.dtype)
        self.store, self.columns, self.counted = store, columns, store.counted
        self.edges, self.width = store.edges, store.width

    def read(self, index: NDArray) -> NDArray:
        return self.store.read(index)[:, self.columns]
