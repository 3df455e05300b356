"""Paths that users give: `~` is expanded, and only a file that ends is opened for reading."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from .printable import printable

T = TypeVar("T")

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
        raise ValueError(
            f"expected a file, but {printable(path)} is {what}: copy its content into a regular file and pass that"
        )
    return path


@contextmanager
def naming(source: object) -> Iterator[None]:
    """Puts the name of the file `source`, where it is one, before the message of an error that does not have it."""
    try:
        yield
    except (ValueError, TypeError) as error:
        name, said = printable(source), str(error)
        if isinstance(source, (str, os.PathLike)) and Path(source).name not in said and name not in said:
            if isinstance(error, UnicodeError) or len(error.args) != 1:
                raise ValueError(f"{name}: {said}") from error
            error.args = (f"{name}: {said}",)
        raise


def names_file(method: Callable[..., T]) -> Callable[..., T]:
    """A method whose errors name the file that is its first argument, where that is one; see `naming`."""

    @wraps(method)
    def named(self: object, x: object, *args: Any, **settings: Any) -> T:
        with naming(x):
            return method(self, x, *args, **settings)

    return named
