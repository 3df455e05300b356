"""The nearest known name, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

from .printable import printable

MOST, LONGEST = 2_000, 200
"""Names that are compared, and their characters: the time of a comparison grows with both."""


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean "x"?)`, or nothing where no name is near."""
    short = [own for own in map(str, islice(known, MOST)) if len(own) <= LONGEST] if len(name) <= LONGEST else []
    close = difflib.get_close_matches(name, short, n=1, cutoff=0.5)
    return f' (did you mean "{printable(close[0])}"?)' if close else ""
