"""The `.npy` format: what a header claims is checked before memory is taken, and nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..printable import printable
from .limits import FileError, check_size


@contextmanager
def opening_npy(name: object) -> Iterator[None]:
    """Raises FileError, with the fix, where what is done inside finds no complete `.npy` array of plain numbers."""
    try:
        yield
    except (FileError, FileNotFoundError, zipfile.BadZipFile, zlib.error):  # the last two: of the archive around it
        raise
    except Exception as error:
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise FileError(
                f"expected an array of numbers, got Python objects (pickled, so never loaded): {printable(name)}; "
                "save x.astype(float), or another plain dtype"
            ) from error
        raise FileError(
            f"{printable(name)} is not a whole .npy array ({printable(error)}): save it again with np.save"
        ) from error


def read_npy(stream: BinaryIO, size: int, name: str) -> NDArray:
    """The array in a stream of `size` bytes. Raises FileError for a damaged one, one that claims more than there is,
    and one that is no array of numbers with at least one dimension."""
    with opening_npy(name):
        shape, dtype = _header(stream)
        if dtype.hasobject:
            raise ValueError("Object arrays")
        claimed, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
        if min(shape, default=0) < 0 or claimed > there:
            raise ValueError(f"its header states {shape} of {dtype}, {claimed:,} bytes, and it holds {there:,}")
        check_size(claimed, name)
        stream.seek(0)
        array = np.lib.format.read_array(stream, allow_pickle=False)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise FileError(
            f"expected rows of bool, integer or float numbers, got {array.dtype} of shape {array.shape}: "
            f"{printable(name)}; save an array of one or more dimensions and a numeric dtype"
        )
    return array


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version[0]}.{version[1]} of the format, which holds no plain array")
    shape, _, dtype = readers[version](stream)
    return shape, dtype
