"""What a file may claim: its sizes are checked against its bytes and the memory that is free, before any is taken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..printable import printable, printable_line

RATIO = 1100
"""Bytes that one compressed byte may stand for: deflate reaches 1032."""
SLACK = 2**26
"""Bytes that a file may claim without storing them, such as chunks that were never written."""
SMALL = 2**24
"""Bytes that are always taken to be free: asking the system costs a fraction of a millisecond."""
CGROUPS = Path("/sys/fs/cgroup")


class FileError(ValueError):
    """A data file that is damaged, claims too much, or holds what is not read. The message names the file, escaped."""

    def __init__(self, text: object):
        super().__init__(printable_line(text))


def available_memory() -> int | None:
    """Bytes of memory that this process can still take; None where the system does not report it.

    The least of: what the machine has free (`MemAvailable` of /proc/meminfo, `os.sysconf` elsewhere), what is left of
    the limits of its cgroups (versions 1 and 2, as in containers), and of its own limit on address space (ulimit -v).
    """
    found = [free for free in (_machine(), *_cgroups(), _own_limit()) if free is not None]
    return max(0, min(found)) if found else None


def _machine() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _cgroups() -> Iterator[int]:
    """What is left of the limit of every cgroup that this process is in."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            top = CGROUPS / "memory" if controllers else CGROUPS
            limit, used = ("limit_in_bytes", "usage_in_bytes") if controllers else ("max", "current")
            inner = top / name.strip("/")
            for folder in dict.fromkeys((inner, *inner.parents)):
                if folder.is_relative_to(top):
                    with suppress(OSError, ValueError):  # "max": no limit
                        yield int((folder / f"memory.{limit}").read_text()) - int(
                            (folder / f"memory.{used}").read_text()
                        )


def _own_limit() -> int | None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            return limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return None


def check_size(size: int, name: object) -> None:
    """Raises FileError where `size` bytes, which `name` asks for, are not free, or are negative."""
    if 0 <= size <= SMALL:
        return
    free = available_memory()
    if size < 0:
        raise FileError(f"{printable(name)} states a negative size: it is damaged; save it again")
    if free is not None and size > free:
        raise FileError(
            f"{printable(name)} asks for {amount(size)} of memory, and {amount(free)} are free: it is damaged, or too "
            "large to be read at once"
        )


def check_stored(size: int, stored: int, name: object, ratio: int = RATIO) -> None:
    """Raises FileError where `name` claims to hold `size` bytes, more than its `stored` bytes can stand for."""
    if size < 0 or size > max(SLACK, ratio * stored):
        raise FileError(
            f"{printable(name)} claims to hold {amount(size)} and stores {amount(stored)}: it is damaged, or most of "
            "it was never written; write it again"
        )


def amount(size: int) -> str:
    """Bytes in a unit that fits: `3.2 GB`."""
    for unit, scale in (("PB", 10**15), ("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}" if size < 10**18 else f"{size / scale:.1e} {unit}"
    return f"{size} bytes"


@contextmanager
def reading(path: object, kind: str, fix: str = "save it again") -> Iterator[None]:
    """Raises FileError, which names the file, for whatever the library that parses a file raises inside.

    A parser may raise anything when it meets damage, so that every exception is taken, but for missing libraries,
    missing files and errors that name the file already.
    """
    try:
        yield
    except FileError as error:
        if Path(str(path)).name not in str(error) and printable(path) not in str(error):
            error.args = (f"{printable(path)}: {error}",)
        raise
    except (ImportError, FileNotFoundError):
        raise
    except Exception as error:
        why = printable(f"{type(error).__name__}: {error}".removesuffix(": "))
        raise FileError(f"{printable(path)} cannot be read as {kind} ({why}): {fix}") from error
