"""Rows that stay where they are and are read by their numbers: a file on disk, a data set of the user's."""

from __future__ import annotations

import math
import mmap
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..paths import naming, regular_file
from ..printable import printable
from .arrays import check_shape, check_type, unmasked
from .limits import check_size
from .npy import opening_npy


class Store(ABC):
    """Rows that are read by their numbers.

    shape: (N, ...). dtype: NumPy's, one type for all. edges: where the groups begin that are read as a whole, and N;
    None where any row can be read by itself. width: how many groups are kept. lock: held while reading. counted:
    whether whole numbers are counts, whatever their type. name: of the file, as in messages; "": none.
    runs_user_code: whether reading calls code of the user's.
    """

    edges: NDArray | None = None
    width = 1
    counted = False
    runs_user_code = False

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, name: str = ""):
        with naming(name):
            check_shape(shape)
            check_type(dtype)
        self.shape, self.dtype, self.lock, self.name = shape, dtype, threading.Lock(), name

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @abstractmethod
    def read(self, index: NDArray) -> NDArray:
        """The rows (B, ...) of these numbers (B,), in their order. Called by one thread at a time."""

    def met(self, index: NDArray | None, cells: int) -> Iterator[NDArray] | None:
        """All values that these rows (None: all) hold, some at a time, where these are told faster than by reading the
        rows; None otherwise."""
        return None


# -- files of rows ---------------------------------------------------------------------------------


class ArrayFile(Store):
    """Rows that lie one after the other in a file, from `offset` on.

    They are read, not mapped: pages of a mapped file count as the memory of the process.
    """

    def __init__(self, file: BinaryIO, offset: int, shape: tuple[int, ...], dtype: np.dtype, name: str):
        weakref.finalize(self, file.close)
        super().__init__(shape, dtype, name)
        self.file, self.offset = file, offset

    @classmethod
    def mapped(cls, x: np.memmap) -> ArrayFile | None:
        """The file behind a memory-mapped array; None where there is none that can be named.

        Raises ValueError where its rows do not lie one after the other, or are not what is in the file.
        """
        root = x if isinstance(x.base, mmap.mmap) else x.base
        if not isinstance(root, np.memmap) or root.filename is None:
            return None
        if not x.flags.c_contiguous:
            raise ValueError(
                f"expected rows that lie one after the other in {printable(root.filename)}, got strides {x.strides} "
                f"for shape {x.shape} (Fortran order, or a part of every row): save them with "
                "np.save(path, np.ascontiguousarray(x))"
            )
        if root.mode == "c":
            raise ValueError(
                f"expected an array that is what {printable(root.filename)} holds, got one whose changes are not "
                'written (mode="c"): open it with mmap_mode="r"'
            )
        if root.mode != "r":
            root.flush()
        offset = root.offset + _address(x) - _address(root)
        return cls(Path(root.filename).open("rb", buffering=0), offset, x.shape, x.dtype, str(root.filename))

    @classmethod
    def opened(cls, path: Path) -> ArrayFile:
        """A `.npy` file. Raises ValueError for one that is damaged or cut short, or in Fortran order."""
        path = regular_file(path)
        with opening_npy(path):
            x = np.lib.format.open_memmap(path, mode="r")
        with naming(path):
            return cls.mapped(x)

    def read(self, index: NDArray) -> NDArray:
        size = self.row_bytes
        check_size(len(index) * size, self.name)
        rows = np.empty((len(index), *self.shape[1:]), self.dtype)
        content = memoryview(rows.reshape(-1).view(np.uint8))
        starts = np.flatnonzero(np.diff(index, prepend=-2) != 1)  # of runs of rows that follow one another
        stops = np.append(starts[1:], len(index))
        runs = list(zip(starts.tolist(), stops.tolist(), (self.offset + index[starts] * size).tolist()))
        if len(runs) > 1 and hasattr(os, "posix_fadvise"):  # the disk then fetches them side by side
            for start, stop, position in runs:
                os.posix_fadvise(self.file.fileno(), position, (stop - start) * size, os.POSIX_FADV_WILLNEED)
        for start, stop, position in runs:
            self._fill(content[start * size : stop * size], position)
        return rows

    def _fill(self, part: memoryview, position: int) -> None:
        self.file.seek(position)
        while part:
            count = self.file.readinto(part)
            if not count:
                raise ValueError(
                    f"{printable(self.name)} ends before the last of its {self.shape[0]:,} rows: it was cut short "
                    "after it was opened; write it again"
                )
            part = part[count:]


def _address(x: NDArray) -> int:
    return x.__array_interface__["data"][0]


# -- data sets of the user's -----------------------------------------------------------------------


class Items(Store):
    """A map-style torch `Dataset`: item i is row i, or a tuple that begins with it."""

    runs_user_code = True

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.name = type(dataset).__name__
        if len(dataset) == 0:
            raise ValueError(f"expected rows, got an empty {self.name}: a data set to fit needs at least one")
        first = self._row(0)
        super().__init__((len(dataset), *first.shape), first.dtype, self.name)

    def read(self, index: NDArray) -> NDArray:
        rows = np.empty((len(index), *self.shape[1:]), self.dtype)
        for place, i in enumerate(index.tolist()):
            row = self._row(i)
            check_alike(row.shape, row.dtype, self.shape[1:], self.dtype, f"{self.name}[{i}]")
            rows[place] = row
        return rows

    def _row(self, i: int) -> NDArray:
        try:
            item = self.dataset[i]
        except Exception as error:
            error.add_note(f"raised by {self.name}[{i}]")
            raise
        return as_row(item, f"{self.name}[{i}]")


def as_row(item: object, name: str) -> NDArray:
    """What a data set or a stream gives, as an array: itself, or the first of a tuple. Raises TypeError."""
    x = item[0] if isinstance(item, tuple) and item else item
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()  # NumPy has no such type
    if isinstance(x, (dict, str, bytes)) or (array := unmasked(x)).dtype.kind not in "biuf":
        raise TypeError(
            f"expected an array of numbers, or a tuple that begins with one, got {type(x).__name__} as {name}: give x"
        )
    return array


def check_alike(
    shape: tuple[int, ...], dtype: np.dtype, first_shape: tuple[int, ...], first_dtype: np.dtype, name: str
) -> None:
    """Raises ValueError for a row of another shape or type than the first."""
    if shape != first_shape or dtype != first_dtype:
        raise ValueError(
            f"expected rows of {first_shape} and {first_dtype}, as the first one is, got {shape} and {dtype} as "
            f"{name}: give all rows one shape and one type"
        )
