"""Sources that are read as they are needed: what counts as one, and how its rows are reached."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ..constructors import checked_constructor
from ..paths import expanded, naming, regular_file
from ..printable import printable
from .annotated import Annotated, annotated
from .arrays import as_tensor, from_array, refuse
from .files import COMPRESSED, Images
from .parquet_source import Table, parquet_files
from .sources import ArrayFile, Items, Store, as_row, check_alike
from .sparse import CompressedRows, is_sparse

FILES = "a .csv, .npy, .parquet or .h5ad file, or a folder of images or of .parquet files"
"""What a path of rows may name."""
PIECE = 2**23
"""Bytes of rows that are read at a time where all are read in order."""


@checked_constructor
class Stream:
    """Rows from any iterable, such as a generator or an `IterableDataset`, for what reads rows.

    items: rows, or with batches=True arrays of rows (B, ...); of a tuple the first element counts. They are written
    once, when they are first needed, to a temporary file (in the folder that TMPDIR names), which is gone when the
    stream is: the price of exact shuffling and exact resuming is the disk.

        vae.fit(vk.data.Stream(rows()))
    """

    runs_user_code = True

    def __init__(self, items: Iterable, batches: bool = False):
        self.items, self.batches = items, batches
        self._store: ArrayFile | None = None

    @property
    def store(self) -> ArrayFile:
        """The rows on disk. Raises ValueError for no rows and rows of different shapes or types."""
        if self._store is None:
            self._store = self._spooled()
        return self._store

    def _spooled(self) -> ArrayFile:
        file = tempfile.TemporaryFile(buffering=0, prefix="vaekit-")  # noqa: SIM115  it outlives this call
        writer = io.BufferedWriter(file)
        try:
            count, shape, dtype = 0, (), np.dtype(float)
            for number, rows in enumerate(self._blocks()):
                if count == 0:
                    shape, dtype = rows.shape[1:], rows.dtype
                check_alike(rows.shape[1:], rows.dtype, shape, dtype, f"item {number} of the stream")
                writer.write(np.ascontiguousarray(rows))
                count += len(rows)
            if count == 0:
                raise ValueError("expected rows, got an empty stream: an iterator can be used once only")
            return ArrayFile(writer.detach(), 0, (count, *shape), dtype, "the file of the stream")
        except BaseException:
            writer.close()
            raise

    def _blocks(self) -> Iterator[NDArray]:
        for number, item in enumerate(self.items):
            x = as_row(item, f"item {number} of the stream")
            yield np.atleast_1d(x) if self.batches else x[None]


@dataclass(frozen=True, eq=False)
class LazyRows:
    """Rows of a store, all of them or those of an ascending `index`: like an array (N, ...), but read when asked for.

    `x[rows]`, with a slice, a mask or ascending row numbers, is another such view; `np.asarray(x)` reads it whole.
    allow_missing: whether a NaN may be met.
    """

    store: Store
    index: NDArray | None = None
    allow_missing: bool = True

    def __len__(self) -> int:
        return self.store.shape[0] if self.index is None else len(self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.store.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.store.dtype

    @property
    def runs_user_code(self) -> bool:
        return self.store.runs_user_code

    @property
    def nbytes(self) -> int:
        return len(self) * self.store.row_bytes

    def __getitem__(self, rows: slice | NDArray | Tensor) -> LazyRows:
        index = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool and index.shape == (len(self),) else index
        if index.ndim != 1 or index.dtype.kind not in "iu" or (index[1:] <= index[:-1]).any():
            raise ValueError(f"expected ascending row numbers (B,), got {rows}: a view keeps the order of its source")
        if len(index) and not 0 <= index[0] <= index[-1] < len(self):
            raise IndexError(f"expected row numbers in 0..{len(self) - 1}, got {index[0]}..{index[-1]}")
        return replace(self, index=self._at(index.astype(np.int64, copy=False)))

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> NDArray:
        return self.take(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def _at(self, rows: NDArray) -> NDArray:
        return rows if self.index is None else self.index[rows]

    def take(self, rows: NDArray) -> NDArray:
        """These rows, in their own type and the order asked for."""
        with self.store.lock:
            return self.store.read(self._at(rows))

    def tensor(self, rows: NDArray) -> Tensor:
        """These rows, checked. Raises ValueError for an infinity, or a NaN where none may be."""
        x = self.take(rows)
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            for what, bad in (("infinity", np.isinf(x)), ("NaN", np.isnan(x) & (not self.allow_missing))):
                if bad.any():
                    row, *cell = np.argwhere(bad)[0].tolist()
                    with naming(self.store.name):
                        refuse(what, [int(self._at(rows)[row]), *cell])
        return from_array(x)

    def split(self, rows: int) -> Iterator[Tensor]:
        """All rows in order, checked, so many at a time."""
        for start in range(0, len(self), rows):
            yield self.tensor(np.arange(start, min(start + rows, len(self))))

    def values(self, cells: int) -> Iterator[Tensor]:
        """All that the rows hold, checked, some cells at a time, in no order."""
        met = self.store.met(self.index, cells)
        if met is None:
            yield from self.split(max(1, cells // math.prod(self.shape[1:])))
            return
        for part in met:
            if part.dtype.kind == "f" and not np.isfinite(part).all():
                yield from self.split(max(1, cells // math.prod(self.shape[1:])))  # says where, or counts the gaps
                return
            yield from_array(part)

    def pieces(self) -> Iterator[NDArray]:
        """All rows in order, some at a time."""
        rows = max(1, PIECE // self.store.row_bytes)
        for start in range(0, len(self), rows):
            yield self.take(np.arange(start, min(start + rows, len(self))))

    def order(self, seed: int, epoch: int) -> Tensor:
        """The order of rows in an epoch, (N,), a function of the two.

        A permutation of all rows, where any can be read by itself. Of groups that are read as a whole, a permutation
        of the groups, and of the rows of `width` groups at a time.
        """
        rng, edges = np.random.default_rng([seed, epoch]), self.store.edges
        if edges is None:
            return torch.from_numpy(rng.permutation(len(self)))
        if self.index is not None:
            edges = np.searchsorted(self.index, edges)
        groups, order, filled = rng.permutation(len(edges) - 1), np.empty(len(self), np.int64), 0
        for start in range(0, len(groups), self.store.width):
            opened = groups[start : start + self.store.width]
            rows = np.concatenate([np.arange(edges[g], edges[g + 1]) for g in opened])
            order[filled : filled + len(rows)] = rng.permutation(rows)
            filled += len(rows)
        return torch.from_numpy(order)


def as_data(x: object, allow_missing: bool = True) -> tuple[Tensor | LazyRows, str]:
    """Rows (N, ...), in memory and checked, or stored and checked as they are read; and the name of their type.

    Raises as `as_tensor` and `stored` do.
    """
    source = stored(x, allow_missing)
    return as_tensor(x, allow_missing) if source is None else (source, source.dtype.name)


def stored(x: object, allow_missing: bool = True) -> LazyRows | None:
    """The stored source that `x` is, or names; None for an array in memory.

    A memory-mapped array, a path (a `.npy`, `.parquet` or `.h5ad` file, a folder of images or of `.parquet` files), a
    scipy sparse matrix, an AnnData, a map-style torch `Dataset` or a `Stream`. Raises TypeError for an iterator that is
    not wrapped in a `Stream`, and what reading the source's shape and type raises.
    """
    if isinstance(x, LazyRows):
        return replace(x, allow_missing=allow_missing)
    if isinstance(x, (IterableDataset, Iterator)):
        raise TypeError(
            f"expected rows, got {type(x).__name__}, which can only be gone through: wrap it, vaekit.data.Stream(x) "
            "if it gives rows, vaekit.data.Stream(x, batches=True) if it gives batches"
        )
    if isinstance(x, np.memmap):
        store = ArrayFile.mapped(x)
    elif isinstance(x, (str, Path)):
        store = _named(expanded(x))
    elif isinstance(x, Stream):
        store = x.store
    elif is_sparse(x):
        store = CompressedRows.of(x)
    elif (cells := annotated(x)) is not None:
        store = cells.store
    elif isinstance(x, Dataset):
        store = Items(x)
    else:
        store = None
    return None if store is None else LazyRows(store, allow_missing=allow_missing)


def _named(path: Path) -> Store:
    """The store in a file or folder."""
    if not path.exists():
        raise FileNotFoundError(f"expected {FILES}, but {printable(path)} does not exist")
    if path.is_dir():
        tables = parquet_files(path)
        return Table(tables) if tables else Images(path)
    if path.suffix.lower() == ".npy":
        return ArrayFile.opened(path)
    if path.suffix.lower() == ".parquet":
        return Table([path])
    if path.suffix.lower() == ".h5ad":
        return Annotated(path).store
    name = printable(regular_file(path))
    if path.suffix.lower() == ".csv":
        raise ValueError(f"{name} is read into memory only: pass pandas.read_csv(...) of it")
    if path.suffix.lower() in COMPRESSED:
        raise ValueError(f"expected {FILES}, got {name}: decompress it first, or read it and pass what it holds")
    raise ValueError(f"expected {FILES}, got {name}: save the array with np.save, or read the file and pass the array")
