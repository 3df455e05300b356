"""Paths that users give: `~` is expanded, and only a file that ends is opened for reading."""

from __future__ import annotations

import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` expanded. Raises ValueError for a NUL character, which no file system allows."""
    if "\0" in os.fspath(path):
        raise ValueError(f"{os.fspath(path)!r} is not a path: it contains a NUL character")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # no such user
        raise ValueError(f"{os.fspath(path)!r} cannot be expanded ({error}): write the path without ~") from error


def regular_file(path: str | os.PathLike[str]) -> Path:
    """The path, `~` expanded, of a regular file; symbolic links are followed.

    Every reader calls this before it opens a file: opening a named pipe waits for a writer, and a device may never end.
    Raises FileNotFoundError where there is none, ValueError for a folder, pipe, socket or device.
    """
    path = expanded(path)
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        what = KINDS.get(kind, "a special file")
        raise ValueError(f"expected a file, but {path} is {what}: copy its content into a regular file and pass that")
    return path
