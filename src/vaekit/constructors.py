"""Checks of what constructors and recipes are given: rules from their annotations and from `ranges`."""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeVar

import numpy as np

from .ranges import numbers, shortest, whole_numbers, words
from .settings import Flag, Instance, Number, Refused, Rule, SettingError, Whole, shown
from .suggest import nearest

T, F = TypeVar("T"), TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class OneOf:
    """One of a few values, all strings or all integers."""

    options: tuple[Any, ...]

    @property
    def expected(self) -> str:
        quoted = [f'"{o}"' if isinstance(o, str) else str(o) for o in self.options]
        return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))

    def read(self, value: Any) -> Any:
        value = value.item() if isinstance(value, np.generic) else value
        for option in self.options:
            if type(option) is type(value) and option == value:
                return option
        known = [o for o in self.options if isinstance(o, str)]
        raise Refused(nearest(value.lower(), known).strip(" ()") if isinstance(value, str) and known else "")


@dataclass(frozen=True)
class Text:
    """A string."""

    expected: str = "a string"

    def read(self, value: Any) -> str:
        if isinstance(value, str):
            return value if type(value) is str else str(value)
        raise Refused


@dataclass(frozen=True)
class Nothing:
    """None."""

    expected: str = "None"

    def read(self, value: Any) -> None:
        if value is not None:
            raise Refused


@dataclass(frozen=True)
class AnyOf:
    """What one of several rules allows."""

    rules: tuple[Rule, ...]

    @property
    def expected(self) -> str:
        return ", or ".join(rule.expected for rule in self.rules)

    def read(self, value: Any) -> Any:
        hints = []
        for rule in self.rules:
            try:
                return rule.read(value)
            except Refused as refused:
                hints.append(str(refused))
        raise Refused(next(filter(None, hints), ""))


@dataclass(frozen=True)
class Several:
    """A sequence of values that a rule allows. least: its shortest length.

    An array of them becomes a tuple, and so does a lone whole number: 128 is (128,).
    """

    rule: Rule
    least: int = 0

    @property
    def expected(self) -> str:
        return f"a {'non-empty ' * (self.least > 0)}list or tuple of {_plural(self.rule.expected)}"

    def read(self, value: Any) -> Any:
        if isinstance(value, Integral) and isinstance(self.rule, Whole):
            return (self.rule.read(value),)
        items = _items(value)
        if len(items) < self.least:
            raise Refused
        if isinstance(value, (list, tuple)) and self._plain(items):
            return value
        read = [_item(self.rule, item) for item in items]
        same = not hasattr(value, "ndim") and all(a is b for a, b in zip(read, items))
        return value if same else tuple(read)

    def _plain(self, items: Sequence[Any]) -> bool:
        """Whether all are Python numbers in range, found without a call for each: there may be a million."""
        kind = {Whole: int, Number: float}.get(type(self.rule))
        if kind is None or set(map(type, items)) != {kind} or not all(map(math.isfinite, items)):
            return False
        try:
            self.rule.read(min(items)), self.rule.read(max(items))
        except Refused:
            return False
        return True


@dataclass(frozen=True)
class Fixed:
    """A sequence with a rule for each of its items."""

    rules: tuple[Rule, ...]

    @property
    def expected(self) -> str:
        return f"a tuple of {len(self.rules)}: {'; '.join(rule.expected for rule in self.rules)}"

    def read(self, value: Any) -> Any:
        items = _items(value)
        if len(items) != len(self.rules):
            raise Refused(f"it has {len(items)} items, not {len(self.rules)}")
        read = [_item(rule, item) for rule, item in zip(self.rules, items)]
        return value if all(a is b for a, b in zip(read, items)) else tuple(read)


@dataclass(frozen=True)
class Worded:
    """Another rule, described in other words."""

    rule: Rule
    expected: str

    def read(self, value: Any) -> Any:
        return self.rule.read(value)


def _plural(expected: str) -> str:
    for one, several in {"whole number": "whole numbers", "number": "numbers", "string": "strings"}.items():
        for article in ("a ", "a finite "):
            if expected.startswith(article + one):
                return article[2:] + several + expected.removeprefix(article + one)
    return f"items, each {expected}"


def _items(value: Any) -> Sequence[Any]:
    """The items of a list, a tuple, a one-dimensional array or another sequence of known length."""
    if isinstance(value, (str, bytes, Mapping, Set)) or not (hasattr(value, "__len__") and hasattr(value, "__iter__")):
        raise Refused
    if getattr(value, "ndim", 1) == 0:
        raise Refused
    if hasattr(value, "requires_grad"):
        return value.tolist()
    return value if isinstance(value, (list, tuple)) else list(value)


def _item(rule: Rule, item: Any) -> Any:
    try:
        return rule.read(item)
    except Refused as refused:
        raise Refused(f"{shown(item)} is not allowed" + (f", {refused}" if str(refused) else "")) from None


# -- rules from annotations ------------------------------------------------------------------------

EXAMPLES = {
    "AbstractLatent": "a latent, such as vk.latents.Latent(vk.latents.Normal(2), vk.latents.StandardNormal())",
    "AbstractRows": "rows of vaekit.data, as vk.train makes them",
    "Hyper": "a schedule, such as vk.Ramp(1.0, 1000)",
    "Iterable": "an iterable",
    "Likelihood": "a likelihood, such as vk.likelihoods.Bernoulli()",
    "RiemannianMetric": "a metric, such as vk.latents.RiemannianMetric(network)",
    "Module": "a network, such as vk.networks.MLP((128,)) or a torch.nn.Module of your own",
    "Network": "a network, such as vk.networks.MLP((128,))",
    "Objective": "an objective, such as vk.objectives.ELBO()",
    "Posterior": "a posterior, such as vk.latents.Normal(2)",
    "Prior": "a prior, such as vk.latents.StandardNormal()",
    "SequenceDecoder": "vk.networks.SequenceDecoder(vk.networks.Recurrent())",
    "Steps": "a network over steps, such as vk.networks.Recurrent()",
}
"""How a value of a type is written, by the name of the type."""


def rule_of(hint: Any, owner: str, name: str) -> Rule | None:
    """The rule of an argument with this resolved annotation; None where every value is accepted."""
    simple: dict[Any, Callable[[], Rule]] = {
        int: lambda: whole_numbers(owner, name),
        float: lambda: numbers(owner, name),
        bool: Flag,
        str: Text,
        None: Nothing,
        type(None): Nothing,
    }
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is None and hint in simple:
        return simple[hint]()
    if origin is typing.Literal:
        return OneOf(args)
    if origin in (typing.Union, types.UnionType):
        return _joined(AnyOf, args, owner, name)
    if origin is Mapping:
        return Instance((Mapping,), "a dict")
    if origin in (tuple, list, Sequence):
        if origin is tuple and Ellipsis not in args:
            return _joined(Fixed, args, owner, name)
        return _joined(lambda rules: Several(*rules, least=shortest(owner, name)), args[:1], owner, name)
    return _instance(hint) if isinstance(hint, type) and origin is None and _is_public(hint) else None


def _joined(make: Callable[[tuple[Rule, ...]], Rule], hints: tuple, owner: str, name: str) -> Rule | None:
    rules = tuple(rule_of(hint, owner, name) for hint in hints)
    return None if None in rules else make(rules)  # type: ignore[arg-type]


def _is_public(hint: type) -> bool:
    return hint.__module__.partition(".")[0] in ("vaekit", "torch", "collections") and not getattr(
        hint, "_is_protocol", False
    )


def _instance(hint: type) -> Rule:
    article = "an" if hint.__name__[0] in "AEIO" else "a"
    return Instance((hint,), EXAMPLES.get(hint.__name__, f"{article} {hint.__name__}"))


@functools.cache
def rules_of(function: Callable[..., Any], owner: str) -> dict[str, Rule]:
    """The rules of a function's arguments, by name, in the order of its signature."""
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # a type that is only imported for type checkers
        hints = _known_hints(function)
    found = {n: rule_of(hints.get(n, Any), owner, n) for n in inspect.signature(function).parameters}
    said = {n: words(owner, n) for n in found}
    return {n: Worded(rule, own) if (own := said[n]) else rule for n, rule in found.items() if rule is not None}


def _known_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations that can be resolved each by itself."""
    module = vars(inspect.getmodule(function))
    hints = {}
    for name, annotation in inspect.unwrap(function).__annotations__.items():
        try:
            one = types.SimpleNamespace(__annotations__={name: annotation})
            hints |= typing.get_type_hints(one, module)
        except (NameError, TypeError, AttributeError):
            continue
    return hints


def check_values(owner: str, given: Mapping[str, Any], function: Callable[..., Any], key: str) -> dict[str, Any]:
    """The arguments with NumPy's numbers as Python's.

    Raises SettingError, in one sentence with the name of the argument, for a value that its rule refuses. The default
    of an argument is always accepted.
    """
    parameters, rules, read = inspect.signature(function).parameters, rules_of(function, key), dict(given)
    for name, value in given.items():
        if name in rules and value is not parameters[name].default:
            read[name] = _read(f"{owner}({name}=", value, rules[name])
    return read


def _read(start: str, value: Any, rule: Rule) -> Any:
    try:
        return rule.read(value)
    except Refused as refused:
        hint = f": {refused}" if str(refused) else ""
        raise SettingError(f"{start}{shown(value)}): expected {rule.expected}{hint}") from None


def checked_constructor(cls: type[T]) -> type[T]:
    """Makes the constructor that a class defines check its arguments; returns the class.

    A constructor of a base class checks what a derived class passes on, in the name of the derived class.
    """
    init = vars(cls).get("__init__")
    if init is None or not inspect.isfunction(init):
        return cls
    names = [n for n, p in inspect.signature(init).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]

    @functools.wraps(init)
    def checked_init(self: Any, *args: Any, **kwargs: Any) -> None:
        given = {**dict(zip(names, args)), **kwargs}
        known = {n: v for n, v in given.items() if n in rules_of(init, cls.__name__)}
        if known:
            read = check_values(type(self).__name__, known, init, cls.__name__)
            args = tuple(read.get(n, v) for n, v in zip(names, args)) + args[len(names) :]
            kwargs = {n: read.get(n, v) for n, v in kwargs.items()}
        init(self, *args, **kwargs)

    cls.__init__ = checked_init  # type: ignore[misc]
    return cls


def check_parts(function: F) -> F:
    """Checks the models, rows and other parts that a function is given, by its annotations."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for name, value in zip(_names(function), args):
            _check_part(function, name, value)
        for name, value in kwargs.items():
            _check_part(function, name, value)
        return function(*args, **kwargs)

    return call


@functools.cache
def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


@functools.cache
def _parts(function: Callable[..., Any]) -> dict[str, Rule]:
    """The rules of the arguments that are parts, dicts or sequences of them, or None."""
    rules = rules_of(function, function.__name__)
    return {n: r for n, r in rules.items() if _is_part(r)}


def _is_part(rule: Rule) -> bool:
    each = rule.rules if isinstance(rule, AnyOf) else (rule,)
    each = [r.rule if isinstance(r, Several) else r for r in each]
    return any(isinstance(r, Instance) for r in each) and all(isinstance(r, (Instance, Nothing)) for r in each)


def _check_part(function: Callable[..., Any], name: str, value: Any) -> None:
    rule = _parts(function).get(name)
    if rule is not None and value is not inspect.signature(function).parameters[name].default:
        _read(f"{function.__name__}({name}=", value, rule)
