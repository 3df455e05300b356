"""The words of a command line, read: each gives its value, or tells what was expected."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from ..printable import printable_line
from ..settings import Number, Refused, Rule, Whole
from ..suggest import nearest


class UsageError(ValueError):
    """A command line that is not understood."""

    def __init__(self, text: object):
        super().__init__(printable_line(text))


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse prints the usage and exits; writes the help as it is laid out."""

    def __init__(self, **settings: Any):
        super().__init__(**settings, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def _read(text: str, rule: Rule, kind: Callable[[str], Any]) -> Any:
    """A word as the kind of number that it stands for, checked by the rule that the estimators use."""
    try:
        return rule.read(kind(text))
    except (ValueError, Refused):
        raise argparse.ArgumentTypeError(f"expected {rule.expected}, got {text!r}") from None


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number from `least`."""

    def read(text: str) -> int:
        return _read(text, Whole(least), int)

    return read


def or_auto(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Reads "auto" as it is, anything else with `read`."""
    return lambda text: text if text == "auto" else read(text)


def yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"expected auto, yes or no, got {text!r}")
    return text == "yes"


def positive(text: str) -> float:
    return _read(text, Number(0.0, open_low=True, words="a number above 0"), float)


def numbers(text: str) -> list[int]:
    """Whole numbers from 0 with commas between them."""
    return [whole(0)(part) for part in text.split(",")]


def share_or_file(text: str) -> float | str:
    """A share of the rows in [0, 1), or the name of a file."""
    try:
        value = float(text)
    except ValueError:
        return text
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a share of the rows in [0, 1) or a file, got {text!r}")
    return value


def one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"unknown {text!r}{nearest(text, names)}: expected {', '.join(names)}")
        return text

    return read


def assignment(text: str) -> str:
    if not text.partition("=")[0] or "=" not in text:
        raise argparse.ArgumentTypeError(f"expected name=value, got {text!r}")
    return text
