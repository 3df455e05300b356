"""Isolation of public calls from the state of the process: modes, default types and devices, generators."""

from __future__ import annotations

import functools
import inspect
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

import torch

from ..arguments import check_arguments
from ..constructors import check_parts
from .generators import OwnGlobals, may_draw

F, T = TypeVar("F", bound=Callable[..., Any]), TypeVar("T")

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


class DefaultType:
    """float32 as torch's default type, for as long as any thread needs it: the default belongs to the process."""

    def __init__(self) -> None:
        self.lock, self.users, self.before = threading.Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self.lock:
            if self.users == 0:
                self.before = torch.get_default_dtype()
                if self.before != torch.float32:
                    torch.set_default_dtype(torch.float32)
            self.users += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0 and torch.get_default_dtype() != self.before:
                torch.set_default_dtype(self.before)


_default_type = DefaultType()


@contextmanager
def isolated() -> Iterator[None]:
    """Within it, torch behaves as in a fresh process; afterwards every mode is as before.

    Gradients are on, inference mode and autocast are off, tensors are made on the CPU and in float32.
    """
    with ExitStack() as stack:
        stack.enter_context(_default_type)
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        for device in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                # without its cache, which would hand out copies of weights that have changed since
                stack.enter_context(torch.autocast(device, enabled=False, cache_enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


_warning_filters = threading.RLock()


@contextmanager
def without_warnings(message: str = "", category: type[Warning] = Warning) -> Iterator[None]:
    """Ignores some warnings. The filters belong to the process, so one thread at a time changes and restores them."""
    with _warning_filters, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message, category)
        yield


@contextmanager
def importing() -> Iterator[None]:
    """Undoes what importing a library does to the warning filters and to Python's random generator."""
    with _warning_filters, warnings.catch_warnings():
        before = random.getstate()
        try:
            yield
        finally:
            random.setstate(before)


def isolate(function: F) -> F:
    """Runs a function, or each step of a generator, isolated from the state of the process.

    Where it is given code of the user's that may draw random numbers, that code draws from generators of its own.
    """
    if inspect.isgeneratorfunction(function):
        return _isolate_steps(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with isolated(), generators_for(*args, *kwargs.values()):
            return function(*args, **kwargs)

    return call


def _isolate_steps(function: Callable[..., Iterator[Any]]) -> Any:
    @functools.wraps(function)
    def steps(*args: Any, **kwargs: Any) -> Iterator[Any]:
        generators = generators_for(*args, *kwargs.values())
        with isolated(), generators:
            iterator = function(*args, **kwargs)
        try:
            while True:
                with isolated(), generators:
                    try:
                        value = next(iterator)
                    except StopIteration as end:
                        return end.value
                yield value
        finally:
            iterator.close()

    return steps


def public(function: F) -> F:
    """A function that users call: its arguments are checked, and it runs isolated. See `isolate`."""
    return check_arguments(check_parts(isolate(function)))


def public_methods(cls: type[T]) -> type[T]:
    """Treats the methods that a class defines as `public`, and isolates its properties; returns the class."""
    for name, value in list(vars(cls).items()):
        if name.startswith("_"):
            continue
        if inspect.isfunction(value):
            setattr(cls, name, public(value))
        elif isinstance(value, property) and value.fget is not None:
            setattr(cls, name, property(isolate(value.fget), value.fset, value.fdel, value.__doc__))
    return cls


def generators_for(*values: object, seed: int = 0) -> AbstractContextManager:
    """Generators for the user's code among some values and their attributes; nothing where there is none."""
    needed = any(may_draw(v) or any(map(may_draw, _attributes(v))) for v in values)
    return OwnGlobals(seed) if needed else nullcontext()


def _attributes(value: object) -> list[object]:
    """The attributes of an object of vaekit's, such as an estimator with its parts."""
    own = type(value).__module__.partition(".")[0] == "vaekit" and not isinstance(value, torch.nn.Module)
    return list(getattr(value, "__dict__", {}).values()) if own else []
