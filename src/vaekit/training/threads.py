"""The number of CPU threads that torch uses: it belongs to the process, so trainings that change it share it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_changing = threading.RLock()
_usual: list[int] = []
"""For each change that is in force, of any thread, the number of threads before the first of them."""
_own = threading.local()


def usual_threads() -> int:
    """The number of threads that the process was set to, whatever trainings in other threads have set since."""
    with _changing:
        return _usual[0] if _usual else torch.get_num_threads()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Runs the operations inside with so many threads; afterwards the number is as before.

    torch hands the last number set by any thread to new threads, so trainings in several threads restore the number
    that the first of them found.
    """
    with _changing:
        inside = getattr(_own, "depth", 0) > 0
        before = torch.get_num_threads() if inside else usual_threads()
        _usual.append(_usual[0] if _usual else before)
        _own.depth = getattr(_own, "depth", 0) + 1
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)
    try:
        yield
    finally:
        with _changing:
            _usual.pop()
            _own.depth -= 1
            if torch.get_num_threads() != before:
                torch.set_num_threads(before)
