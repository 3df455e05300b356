"""One writer per folder: a lock that the operating system releases when its process ends, however it ends."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from .printable import printable, printable_line

log = logging.getLogger("vaekit")

NAME = ".lock"
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What a file system answers that has no locks, as some network file systems."""
_held: dict[Path, int] = {}
"""The folders that this process has locked, each with the thread that did."""
_changing = threading.Lock()


class FolderInUseError(FileExistsError):
    """Another process, or another thread, is writing to the folder."""

    def __init__(self, text: object):
        super().__init__(printable_line(text))


@contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Holds the lock of a folder, which is made where there is none; None: nothing to lock.

    A thread that holds the lock may take it again. Where there is no locking, or the folder cannot be written to, this
    goes on without a lock: what writes there says what is wrong. Raises FolderInUseError, with the process, where
    another one holds the lock.
    """
    key = None if folder is None else folder.absolute()
    me = threading.get_ident()
    if key is None or fcntl is None or _held.get(key) == me:
        yield
        return
    with _changing:
        if key in _held:
            raise FolderInUseError(
                f"{folder} is being written by another thread of this process: choose another folder"
            )
        _held[key] = me
    made, lock = False, None
    try:
        made = not key.exists()
        lock = _acquired(key)
        yield
    finally:
        _release(key, lock, made)
        with _changing:
            _held.pop(key, None)


def _acquired(folder: Path) -> int | None:
    """The descriptor of the lock file; None where there is no locking."""
    path = folder / NAME
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return _refused(folder, lock, error)
        if _is_current(path, lock):
            os.truncate(lock, 0)
            os.write(lock, f"{os.getpid()}\n".encode())
            return lock
        os.close(lock)  # its last holder removed it in the meantime


def _refused(folder: Path, lock: int, error: OSError) -> None:
    """Raises FolderInUseError where another process has the lock; returns where there is no locking."""
    holder = os.read(lock, 32).decode("ascii", "replace").strip()
    os.close(lock)
    if error.errno in UNSUPPORTED:
        log.warning(
            "the file system of %s has no locks: take care that one process at a time writes to it", printable(folder)
        )
        return
    who = f"process {holder}" if holder.isdigit() else "another process"
    raise FolderInUseError(
        f"{folder} is being written by {who}: wait for it, stop it, or choose another folder"
    ) from error


def _is_current(path: Path, lock: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(lock))
    except FileNotFoundError:
        return False


def _release(folder: Path, lock: int | None, made: bool) -> None:
    """Removes the lock file before the lock is given up, and the folder where it was made in vain."""
    if lock is None:
        return
    (folder / NAME).unlink(missing_ok=True)
    os.close(lock)
    if made:
        try:
            folder.rmdir()
        except OSError:
            return  # it holds files
