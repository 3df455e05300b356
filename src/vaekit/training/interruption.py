"""Ctrl-C, SIGTERM and SIGHUP: end a training between two steps, and break off what is slow before the first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a training to end: Ctrl-C, a scheduler or `kill`, a closed terminal."""

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
def interruptible(alone: bool = True) -> Iterator[threading.Event]:
    """Ctrl-C, SIGTERM and SIGHUP set the event instead of stopping in the middle of a step; a second one stops at once.

    A SIGTERM or SIGHUP that the process ignores, as under `nohup`, stays ignored. alone: False for one of several
    processes, whose launcher ends the others by SIGTERM when one has failed: only Ctrl-C is heard. Handlers are as
    before afterwards; in another thread than the main one nothing is changed.
    """
    asked = threading.Event()
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(signum: int, frame: object) -> None:
        restore()
        asked.set()
        if _breakable:
            raise Interrupted

    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS if alone else (signal.SIGINT,):
            usual = signal.getsignal(number)
            if usual is not None and (usual != signal.SIG_IGN or number == signal.SIGINT):
                before[number] = usual
    try:
        for number in before:
            signal.signal(number, ask)
        yield asked
    finally:
        restore()
