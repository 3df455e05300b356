"""HDF5 files of others: only data that lie in the file itself are read, after their sizes are checked.

An HDF5 file can name other files (external links, external storage, virtual data sets) and filters that are loaded as
plugins; opened without care it reads any file of the user's, or runs a library. These are refused.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from struct import unpack_from
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..paths import regular_file
from ..printable import printable
from .limits import SLACK, FileError, available_memory, check_size, check_stored, reading

if TYPE_CHECKING:
    import h5py

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""Filters of the HDF5 library and of h5py; any other is a plugin."""
COMPRESSING = {1, 4, 5, 6, 32000}
SOFT_LINKS = 16
"""Soft links that are followed on the way to one object."""
HEAP, SCANNED = b"GCOL\1\0\0\0", 2**32
"""What a collection of words begins with, and bytes of a file up to which collections are looked for."""
PIECE = 2**16
"""Words that are read at a time."""


def open_file(path: Path) -> h5py.File:
    """An HDF5 file, open for reading. Raises FileError for what is none, ImportError without h5py."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError('reading .h5ad needs h5py: pip install "vaekit[cells]"') from error
    path = regular_file(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FileError(f"{printable(path)} is not a whole .h5ad file ({printable(error)}): write it again") from error
    try:
        if (sizes := file.id.get_create_plist().get_sizes()) != (8, 8):
            raise FileError(f"{printable(path)} has addresses of {sizes} bytes, expected 8: write it again")
        longest_word(path)
    except BaseException:
        file.close()
        raise
    return file


def longest_word(path: Path) -> int:
    """Bytes of the longest word of a file. Raises FileError for a damaged collection of words, some of which the HDF5
    library reads for ever. Of larger files than `SCANNED` this is not checked."""
    state = path.stat()
    return _longest(path, state.st_size, state.st_mtime_ns) if 0 < state.st_size <= SCANNED else SCANNED // PIECE


@lru_cache(16)
def _longest(path: Path, size: int, changed: int) -> int:
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start, longest = content.find(HEAP), 0
        while start >= 0:
            end = start + int.from_bytes(content[start + 8 : start + 16], "little")
            try:
                longest = max(longest, *_sizes(content, start + 16, end))
            except ValueError:
                raise FileError(f"{printable(path)} has a damaged collection of words: write it again") from None
            start = content.find(HEAP, start + 8)
        return longest


def _sizes(content: mmap.mmap, place: int, end: int) -> list[int]:
    """Of the words of a collection: "GCOL", a version, its size, then objects, each with its number, its size and its
    bytes; object 0 is what is free (HDF5 File Format Specification, section III.E). Raises ValueError for damage."""
    found = [0]
    if end > len(content):
        raise ValueError
    while place + 16 <= end:
        number, size = unpack_from("<H6xQ", content, place)
        found.append(size if number else 0)
        size = 16 + (size + 7) // 8 * 8 if number else size
        if size < 16 or place + size > end:
            raise ValueError
        place += size
    return found


def member(group: h5py.Group, name: str) -> Any:
    """The group or data set of this name in the same file, checked; None where there is none.

    Links are looked at before they are followed. Raises FileError for a link that leaves the file, and for a data set
    that `checked` refuses.
    """
    import h5py

    found, parts, followed = group, [part for part in name.split("/") if part], 0
    while parts:
        part, links = parts.pop(0).encode(errors="surrogateescape"), getattr(found, "id", None)
        if not isinstance(found, h5py.Group) or not links.links.exists(part):
            return None
        kind = links.links.get_info(part).type
        if kind == h5py.h5l.TYPE_SOFT and followed < SOFT_LINKS:
            target = links.links.get_val(part).decode(errors="surrogateescape")
            found, followed = found.file["/"] if target.startswith("/") else found, followed + 1
            parts = [part for part in target.split("/") if part not in ("", ".")] + parts
        elif kind == h5py.h5l.TYPE_HARD:
            found = found[part]
        else:
            what = "a circle of links" if kind == h5py.h5l.TYPE_SOFT else "a link to another file"
            raise FileError(f"{place(group, name)} is {what}, which is not followed: write the data into the file")
    return checked(found) if isinstance(found, h5py.Dataset) else found if isinstance(found, h5py.Group) else None


def needed(group: h5py.Group, name: str) -> Any:
    """The same. Raises FileError where there is none."""
    found = member(group, name)
    if found is None:
        raise FileError(f"{place(group, name)} is not there: read the file with anndata and write it again")
    return found


def dataset(group: h5py.Group, name: str, kinds: str, ndim: int = 1) -> h5py.Dataset:
    """A data set of this name. kinds: of NumPy, "O" for words. Raises FileError for anything else of this name."""
    found = needed(group, name)
    if hasattr(found, "keys") or found.dtype.kind not in kinds or len(found.shape or ()) != ndim:
        got = "a group" if hasattr(found, "keys") else f"{found.dtype} of shape {found.shape}"
        raise FileError(f"expected {_KINDS.get(kinds, 'values')} in {ndim} dimension(s), got {got} in {place(found)}")
    return found


_KINDS = {"iu": "whole numbers", "biuf": "numbers", "b": "truth values", "OS": "words"}


def checked(data: h5py.Dataset) -> h5py.Dataset:
    """A data set whose values lie in its file. Raises FileError for others, for filters that are plugins, references,
    and for sizes that its bytes cannot stand for."""
    import h5py

    plan, name = data.id.get_create_plist(), place(data)
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        raise FileError(f"{name} is a virtual data set, which reads other files: write the data into the file")
    if plan.get_external_count():
        raise FileError(f"{name} is stored in another file, which is not read: write the data into the file")
    filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
    if unknown := filters - set(FILTERS):
        raise FileError(
            f"{name} uses the filter {min(unknown)}, a plugin, which is not loaded: write it with gzip or lzf"
        )
    dtype = data.dtype
    if dtype.kind == "O" and h5py.check_string_dtype(dtype) is None:
        raise FileError(f"{name} holds references or lists, expected numbers or words: read and write it with anndata")
    if dtype.kind not in "biufOS":
        raise FileError(f"{name} holds {printable(dtype)}, expected numbers or words: read and write it with anndata")
    _check_sizes(data, name, bool(filters & COMPRESSING))
    return data


def _check_sizes(data: h5py.Dataset, name: str, compressed: bool) -> None:
    item = 16 if data.dtype.kind == "O" else data.dtype.itemsize
    size = item * math.prod(data.shape or ())
    stored = min(data.id.get_storage_size(), Path(data.file.filename).stat().st_size)
    check_stored(size, stored, name, **({} if compressed else {"ratio": 1}))
    if data.chunks:
        check_size(2 * item * math.prod(data.chunks), name)


def attribute(owner: h5py.Group, name: str, default: Any = None) -> Any:
    """An attribute: a number or an array of numbers, or one or several words as str. Raises FileError for others."""
    if name not in owner.attrs:
        return default
    kept = owner.attrs.get_id(name)
    if math.prod(kept.shape) > SLACK // 64 or kept.dtype.kind not in "biufOS":
        raise FileError(f"the attribute {name!r} of {place(owner)} is {printable(kept.dtype)} of shape {kept.shape}")
    value = owner.attrs[name]
    if isinstance(value, (str, bytes)):
        return word(value)
    values = np.asarray(value)
    if values.dtype.kind in "OSU":
        if not all(isinstance(v, (str, bytes)) for v in values.reshape(-1).tolist()):
            raise FileError(f"the attribute {name!r} of {place(owner)} holds references, expected words")
        return [word(v) for v in values.reshape(-1).tolist()]
    return value


def word(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def values(data: h5py.Dataset) -> NDArray:
    """All values of a data set, in memory; words as str. Raises FileError where they ask for more than is free."""
    name, kind = place(data), data.dtype.kind
    item = 16 if kind == "O" else data.dtype.itemsize
    check_size(item * math.prod(data.shape), name)
    with reading(data.file.filename, ".h5ad", f"{printable(data.name)} is damaged; write it again"):
        if kind not in "OS":
            return data[...]
        found: list[str] = []
        size, path = 0, Path(data.file.filename)
        at_once = min(PIECE, 1 + (available_memory() or 2**30) // (4 * (1 + longest_word(path))))
        for start in range(0, len(data), at_once) if len(data.shape) == 1 else ():
            part = [word(v) for v in data[start : start + at_once].tolist()]
            size += sum(map(len, part))
            found.extend(part)
            if kind == "O" and size > path.stat().st_size:
                raise FileError(f"{name} holds more words than fit into its file: it is damaged; write it again")
        return np.array(found, dtype=object)


def check_column(codes: NDArray, levels: Sequence[Any], name: str) -> None:
    """Raises FileError for codes of levels that are not there."""
    if codes.dtype.kind not in "iu" or (len(codes) and (codes.min() < -1 or codes.max() >= len(levels))):
        raise FileError(f"{name} has codes outside of its {len(levels)} categories: it is damaged; write it again")


def place(inside: Any, name: str = "") -> str:
    """A thing in a file, as it is named in a message."""
    path = "/".join(filter(None, [inside.name.strip("/"), name]))
    return f"{printable(path)} in {printable(inside.file.filename)}"
