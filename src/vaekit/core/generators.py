"""Random numbers that leave the global generators of torch, NumPy and Python as they are."""

from __future__ import annotations

import random
import threading
from functools import lru_cache
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset


class LocalDraws(TorchDispatchMode):
    """Within it, what would draw from torch's CPU generator draws from a generator of its own.

    It acts on the current thread alone. The numbers are those that `torch.manual_seed(seed)` gives. Each operation
    costs some microseconds more: it is for building models, not for training them.
    """

    def __init__(self, seed: int):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)


def _draw_locally(self: LocalDraws, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
    kwargs, seeded = kwargs or {}, with_generator(func)
    if seeded is None or "generator" in kwargs or _on_device(args, kwargs):
        return func(*args, **kwargs)
    return seeded(*args, **kwargs, generator=self.generator)


# Not in the body of the class, where torch would wrap it by what imports its compiler, in a few seconds.
LocalDraws.__torch_dispatch__ = _draw_locally  # type: ignore[method-assign]


@lru_cache
def with_generator(func: Any) -> Any:
    """The overload of an operation that takes a generator; None where it draws no numbers."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return None
    if any(argument.name == "generator" for argument in func._schema.arguments):
        return func
    name = "generator" if func._overloadname == "default" else f"{func._overloadname}_generator"
    return getattr(func.overloadpacket, name) if name in func.overloadpacket.overloads() else None


def _on_device(args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether an operation runs elsewhere than on the CPU, where a CPU generator is of no use."""
    device = kwargs.get("device") or next((a.device for a in args if isinstance(a, torch.Tensor)), None)
    return device is not None and torch.device(device).type != "cpu"


_using_globals = threading.RLock()
"""Held by the thread that has put the global generators to its own use."""


class OwnGlobals:
    """Lets code that is not vaekit's (a network with dropout, a data set) draw from the global generators.

    Within it the global generators of torch, NumPy and Python start from `seed`, or continue from where they were when
    this object was last left; afterwards they are as before. Other threads that want the same wait.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self._own: dict[str, Any] | None = None
        self._before: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        _using_globals.acquire()
        self._before.append(_states())
        if self._own is None:
            _seed_all(self.seed)
        else:
            _restore(self._own)
        return self

    def __exit__(self, *error: object) -> None:
        self._own = _states()
        _restore(self._before.pop())
        _using_globals.release()


def _states() -> dict[str, Any]:
    """The states of the global generators, those of CUDA where it is in use."""
    states = {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}  # noqa: NPY002
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])


def _seed_all(seed: int) -> None:
    """As `torch.manual_seed`, but for devices that are in use only: seeds for others would be kept until they are."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


PLAIN = ("container", "linear", "conv", "flatten", "batchnorm", "instancenorm", "normalization", "padding", "sparse")
PLAIN += ("pooling", "upsampling", "pixelshuffle", "activation", "channelshuffle", "fold", "rnn", "loss", "distance")
"""Modules of `torch.nn.modules` whose layers draw no numbers, but for those with a dropout and those named next."""
DRAWING = (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
PARAMETRIZED = "torch.nn.utils.parametrize"
"""Where torch makes the classes of modules with parametrizations; each parametrization is a module by itself."""


def may_draw(value: object) -> bool:
    """Whether this runs code that may draw from the global generators: a module or a data set of the user's."""
    if isinstance(value, nn.Module):
        return any(_may_draw(module) for module in value.modules())
    return isinstance(value, Dataset) or getattr(value, "runs_user_code", False) is True


def _may_draw(module: nn.Module) -> bool:
    """The same of one module alone, without those inside it."""
    # A module with a parametrization has a class that torch derives from its own.
    own = next(kind for kind in type(module).__mro__ if kind.__module__ != PARAMETRIZED)
    package, _, name = own.__module__.rpartition(".")
    if package.partition(".")[0] == "vaekit":
        return getattr(module, "runs_user_code", False)
    if package != "torch.nn.modules" or name not in PLAIN or isinstance(module, DRAWING):
        return True
    return bool(getattr(module, "dropout", 0.0))
