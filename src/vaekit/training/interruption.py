"""Ctrl-C: ends a training between two steps, and breaks off what is slow before the first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_breakable = 0
"""How many `breakable` blocks the main thread is in."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C within a `breakable` block."""


@contextmanager
def breakable(alone: bool = True) -> Iterator[None]:
    """Within it, Ctrl-C raises `Interrupted`: for long work that leaves nothing half done, such as compiling.

    alone: False for work that other processes wait for, which is not broken off.
    """
    global _breakable
    if not alone or threading.current_thread() is not threading.main_thread():
        yield
        return
    _breakable += 1
    try:
        yield
    finally:
        _breakable -= 1


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event instead of stopping in the middle of a step; a second one stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()
        if _breakable:
            raise Interrupted

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
