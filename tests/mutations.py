"""Damaged files, and what reading them does: the machinery of the fuzzers.

`mutated` damages bytes, `mutated_json` a JSON value. `survey` reads many damaged files in a child process and returns
how each ended: one of `FINE`, or a fault. A case is named by its number, so that one that fails can be made again:

    survey(make, 100, folder)  # make(folder, number) -> Case; a function of a module, as the child imports it
"""

import copy
import json
import multiprocessing
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peak_memory

FINE = ("read", "refused")
SECONDS = 5
"""Of the processor, for a case; `WAIT` times as many of the clock, as other processes may be at work."""
WAIT = 12
MEMORY = 2 << 30
SIZES = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**48, 2**63 - 1, 2**63, 2**64 - 1]
"""Numbers at which lengths overflow."""


# -- damage ----------------------------------------------------------------------------------------


def mutated(content: bytes, rng: np.random.Generator, donor: bytes = b"") -> bytes:
    """One to three random changes. donor: another file, from which a part may be taken."""
    for _ in range(int(rng.integers(1, 4))):
        change = CHANGES[rng.integers(len(CHANGES))]
        content = change(bytearray(content or b"\0"), rng, donor or content)
    return bytes(content)


def _place(size: int, rng: np.random.Generator) -> int:
    """A place in a file, in half of the cases among the first 256 bytes, where formats keep their headers."""
    return int(rng.integers(min(size, 256) if rng.random() < 0.5 else size))


def _part(size: int, rng: np.random.Generator) -> slice:
    start = _place(size, rng)
    return slice(start, start + int(rng.integers(1, max(2, size // 4))))


def _flip(data: bytearray, rng: np.random.Generator, donor: bytes) -> bytes:
    for _ in range(int(rng.integers(1, 9))):
        data[_place(len(data), rng)] ^= 1 << int(rng.integers(8))
    return data


def _cut(data: bytearray, rng: np.random.Generator, donor: bytes) -> bytes:
    return data[: int(rng.integers(len(data)))]


def _drop(data: bytearray, rng: np.random.Generator, donor: bytes) -> bytes:
    del data[_part(len(data), rng)]
    return data


def _repeat(data: bytearray, rng: np.random.Generator, donor: bytes) -> bytes:
    part = _part(len(data), rng)
    return data[: part.stop] + data[part] * int(rng.integers(1, 5)) + data[part.stop :]


def _length(data: bytearray, rng: np.random.Generator, donor: bytes) -> bytes:
    """A number at which lengths overflow, in 1, 2, 4 or 8 bytes of either order."""
    width, place = int(2 ** rng.integers(4)), _place(len(data), rng)
    number = SIZES[rng.integers(len(SIZES))] % 2 ** (8 * width)
    data[place : place + width] = number.to_bytes(width, ["little", "big"][rng.integers(2)])
    return data


def _fill(data: bytearray, rng: np.random.Generator, donor: bytes) -> bytes:
    part = _part(len(data), rng)
    data[part] = bytes([[0, 255, 32, 10][rng.integers(4)]]) * len(data[part])
    return data


def _splice(data: bytearray, rng: np.random.Generator, donor: bytes) -> bytes:
    place = _place(len(data), rng)
    data[place : place + int(rng.integers(1, 64))] = donor[_part(len(donor), rng)][:64]
    return data


CHANGES = [_flip, _cut, _drop, _repeat, _length, _fill, _splice]

DEEP = "nested deep"
VALUES = [
    *(None, True, False, 0, 1, -1, 0.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, -(2**63), 10**9, 10**30),
    *("", "x", "..", "../x", "/etc/passwd", "a\0b", "\x1b[31m", "nan", "1", "\u202e", "x" * 10_000, "\ud800"),
    *([], {}, [[]], [None], {"": 0}, {"type": "x"}, {"external": "x"}),
]


def mutated_json(value: Any, rng: np.random.Generator) -> bytes:
    """JSON with one to three places of a value changed: replaced, removed, renamed, repeated or nested deep."""
    top = [copy.deepcopy(value)]
    for _ in range(int(rng.integers(1, 4))):
        if places := list(_places(top)):
            _change(*places[rng.integers(len(places))], rng)
    deep = b"[" * 5_000 + b"]" * 5_000  # json.dumps itself cannot write it
    return json.dumps(top[0] if top else None).encode().replace(json.dumps(DEEP).encode(), deep)


def _places(value: Any) -> Any:
    """(container, key) of every place in a JSON value."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _change(inside: Any, key: Any, rng: np.random.Generator) -> None:
    kind, old = int(rng.integers(8)), inside[key]
    if kind == 0:
        del inside[key]
    elif kind == 1 and isinstance(inside, dict):
        inside[f"{key}x"] = inside.pop(key)
    elif kind == 2 and isinstance(old, (int, float)):
        inside[key] = [old + 1, -old, old * 10**9, str(old), [old]][rng.integers(5)]
    elif kind == 3:
        inside[key] = DEEP
    elif kind == 4:
        others = list(_places(inside))
        container, other = others[rng.integers(len(others))]
        inside[key] = copy.deepcopy(container[other])
    else:
        inside[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])


# -- reading ---------------------------------------------------------------------------------------


@dataclass
class Case:
    """A damaged file or folder and what reads it. Every refusal has to name it.

    name: what the message has to contain; None: the last part of the path. seconds: of the processor, until it hangs.
    """

    path: Path
    read: Callable[[Path], object]
    what: str = ""
    name: str | None = None
    seconds: float = SECONDS


class Hang(BaseException):
    """Raised by the alarm."""


CODE = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "socket.connect")
_met: list[str] = []


def _watch(folder: Path) -> None:
    """From now on, notes what only code from a file would do: start, unpickle, connect, write outside of the folder."""

    def hook(event: str, args: tuple) -> None:
        if event in CODE:
            _met.append(f"{event} {args!r:.100}")
        elif event == "open" and isinstance(args[0], str) and set(args[1] or "r") & set("wax+"):
            if not Path(args[0]).absolute().is_relative_to(folder) and args[0] != os.devnull:
                _met.append(f"wrote {args[0]}")

    sys.addaudithook(hook)


def outcome(case: Case) -> str:
    """How reading ends: "read", "refused", or the fault that it shows."""

    def ring(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, ring)
    signal.signal(signal.SIGPROF, ring)
    peak_memory.forget()
    signal.setitimer(signal.ITIMER_REAL, case.seconds * WAIT)
    signal.setitimer(signal.ITIMER_PROF, case.seconds)
    _met.clear()
    try:
        case.read(case.path)
        found = "read"
    except Hang:
        found = "hang"
    except MemoryError as error:
        found = f"memory: {error!r:.200}"
    except Exception as error:
        named = (case.name or case.path.name) in str(error)
        ours = isinstance(error, (ValueError, TypeError, OSError)) and not isinstance(error, UnicodeError)
        found = "refused" if ours and named else f"raw error: {type(error).__name__}: {str(error)[:300]!r}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    if _met:
        return f"code run: {_met[0]}"
    peak = peak_memory.peak()
    return f"memory: {peak >> 20} MiB" if peak > MEMORY else found


# -- many ------------------------------------------------------------------------------------------


def survey(make: Callable[[Path, int], Case], count: int, folder: Path) -> list[tuple[int, str, str]]:
    """(number, what, outcome) of each case. The child may die or hang: the case is a "crash" or "hang", and another
    child takes the next."""
    done: list[tuple[int, str, str]] = []
    spawn = multiprocessing.get_context("spawn")
    while len(done) < count:
        ours, theirs = spawn.Pipe()
        child = spawn.Process(target=_child, args=(make, len(done), count, folder, theirs), daemon=True)
        child.start()
        theirs.close()
        what, first = "", True
        while len(done) < count:
            try:
                if not ours.poll(300 if first else 2 * WAIT * SECONDS):
                    child.kill()
                    done.append((len(done), what, "hang"))
                    break
                first, message = False, ours.recv()
            except (EOFError, ConnectionError):
                child.join()
                done.append((len(done), what, f"crash: exit code {child.exitcode}"))
                break
            if isinstance(message, str):
                what = message
            else:
                done.append(message)
        child.kill()
        child.join()
    return done


def _child(make: Callable, start: int, count: int, folder: Path, parent: Any) -> None:
    outcome(make(folder, 0))  # imports what the cases need, before memory is bounded
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    _watch(folder)
    sys.setrecursionlimit(1000)
    for number in range(start, count):
        parent.send(f"case {number}")
        case = make(folder, number)
        parent.send(case.what)
        parent.send((number, case.what, outcome(case)))
    parent.close()


def faults(done: list[tuple[int, str, str]]) -> list[str]:
    """What went wrong, for the message of an assertion; empty where all is well."""
    return [f"{number} {what}: {found}" for number, what, found in done if found not in FINE]


def counts(done: list[tuple[int, str, str]]) -> Counter:
    return Counter(found.partition(":")[0] for _, _, found in done)
