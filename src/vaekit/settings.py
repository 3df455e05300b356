"""What settings and arguments may be: rules with one message each, for estimators, functions and the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np

from .printable import printable
from .suggest import nearest


class SettingError(ValueError, TypeError):
    """A setting or an argument with a value that it cannot have."""


class Refused(Exception):
    """Raised by a rule. Its text, if any, is added to the message and says what to pass."""


class Rule(Protocol):
    """What a value may be: `expected` in words; `read` gives it as plain Python, or raises Refused."""

    @property
    def expected(self) -> str: ...
    def read(self, value: Any) -> Any: ...


def checked(name: str, value: Any, rule: Rule) -> Any:
    """The value as plain Python. Raises SettingError, in one sentence, for a value that the rule refuses."""
    try:
        return rule.read(value)
    except Refused as refused:
        hint = f": {refused}" if str(refused) else ""
        raise SettingError(f"{name}={shown(value)}: expected {rule.expected}{hint}") from None


def check_settings(estimator: object, rules: Mapping[str, Rule]) -> None:
    """Checks an estimator's settings; NumPy's numbers become the equal Python numbers."""
    for name, rule in rules.items():
        value = getattr(estimator, name)
        plain = checked(name, value, rule)
        if plain is not value:
            setattr(estimator, name, plain)


def shown(value: Any) -> str:
    """The repr of a value, in one line that a message can hold."""
    text = re.sub(r" at 0x[0-9a-f]+", "", printable(" ".join(repr(value).split())))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unwrapped(value: Any) -> Any:
    """An array or a tensor without dimensions as its one number."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value[()]
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "requires_grad") else value


def _number_in(value: Any) -> float | None:
    """The number that a text or a float stands for."""
    try:
        return float(value) if isinstance(value, (str, Real)) and not isinstance(value, (bool, np.bool_)) else None
    except ValueError:
        return None


# -- rules -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` on. words: what it is called in messages."""

    least: int = 0
    words: str | None = None

    @property
    def expected(self) -> str:
        return self.words or f"a whole number from {self.least}"

    def read(self, value: Any) -> int:
        value = _unwrapped(value)
        if isinstance(value, Integral) and not isinstance(value, (bool, np.bool_)):
            if self.least <= value < 2**63:
                return value if type(value) is int else int(value)
            raise Refused("it is too large" if value > self.least else "")
        meant = _number_in(value)
        possible = meant is not None and meant.is_integer() and self.least <= meant < 2**63
        raise Refused(f"pass {meant:.0f}" if possible else "")


@dataclass(frozen=True)
class Number:
    """A finite number between two bounds; `open_low` and `open_high` leave out the bounds themselves."""

    low: float = -np.inf
    high: float = np.inf
    open_low: bool = False
    open_high: bool = False
    words: str = "a finite number"

    @property
    def expected(self) -> str:
        return self.words

    def read(self, value: Any) -> float:
        value = _unwrapped(value)
        if isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) and self._holds(float(value)):
            if isinstance(value, Integral):
                return value if type(value) is int else int(value)
            return value if type(value) is float else float(value)
        meant = _number_in(value) if isinstance(value, str) else None
        raise Refused(f"pass {meant:g}" if meant is not None and self._holds(meant) else "")

    def _holds(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return bool(np.isfinite(value)) and above and below


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    options: tuple[str, ...]

    @property
    def expected(self) -> str:
        quoted = [f'"{option}"' for option in self.options]
        return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))

    def read(self, value: Any) -> str:
        if isinstance(value, str) and value in self.options:
            return str(value)
        raise Refused(nearest(value, self.options).strip(" ()") if isinstance(value, str) else "")


@dataclass(frozen=True)
class Flag:
    """True or False."""

    expected: str = "True or False"

    def read(self, value: Any) -> bool:
        value = _unwrapped(value)
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        raise Refused


@dataclass(frozen=True)
class Either:
    """What another rule allows, or one of a few other values."""

    rule: Rule
    others: tuple[Any, ...]

    @property
    def expected(self) -> str:
        others = ["None" if other is None else f'"{other}"' for other in self.others]
        if isinstance(self.rule, (Flag, Choice)):
            return f"{self.rule.expected.replace(' or ', ', ')} or {', '.join(others)}"
        return f"{self.rule.expected}, or {', '.join(others)}"

    def read(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            for other in self.others:
                if other is value or (isinstance(other, str) and other == value):
                    return other
        return self.rule.read(value)


def optional(rule: Rule) -> Either:
    """What a rule allows, or None."""
    return Either(rule, (None,))


@dataclass(frozen=True)
class Instance:
    """An object of a type. words: what it is, with an example. home: where its classes are, to name one by its word."""

    types: tuple[type, ...]
    words: str
    home: str = ""
    classes: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        return self.words

    def read(self, value: Any) -> Any:
        if isinstance(value, self.types):
            return value
        if isinstance(value, type) and issubclass(value, self.types):
            raise Refused(f"it is a class, call it, {value.__name__}(...)")
        if isinstance(value, str):
            word = value.lower().replace("_", "").replace("-", "").replace(" ", "")
            named = [name for name in self.classes if name.lower() == word]
            raise Refused(f"pass {self.home}.{named[0]}()" if named else "")
        raise Refused


def devices() -> list[str]:
    """The devices of this machine that torch can compute on."""
    import torch  # late: the command line checks numbers without it

    found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0))]
    others = [name for name in ("mps", "xpu") if (kind := getattr(torch, name, None)) and kind.is_available()]
    return found + others


AUTO = '"auto" or '


@dataclass(frozen=True)
class Device:
    """A device that is there. auto: whether it may be left to the library."""

    auto: bool = True

    @property
    def expected(self) -> str:
        return f"{AUTO * self.auto}a device of this machine ({', '.join(devices())})"

    def read(self, value: Any) -> str:
        import torch

        if self.auto and isinstance(value, str) and value == "auto":
            return value
        if not isinstance(value, (str, torch.device)):
            raise Refused
        try:
            device = torch.device(value)
        except RuntimeError:
            raise Refused('pass "cuda" for a GPU' if str(value).lower().startswith("gpu") else "") from None
        present = devices()
        kinds = {name.partition(":")[0] for name in present}
        if device.type not in kinds or (device.index and f"{device.type}:{device.index}" not in present):
            raise Refused
        return str(value)


def public_classes(module: object, base: type) -> tuple[str, ...]:
    """The names of the classes of a module that derive from a base."""
    return tuple(n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, base) and c is not base)
