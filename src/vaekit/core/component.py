"""Components: modules that can be described, rebuilt and settled."""

from __future__ import annotations

import copy
import inspect
from itertools import chain
from typing import Any, Self

import torch
from torch import nn

from ..constructors import checked_constructor

COMPONENTS: dict[str, type[Component]] = {}
"""Every defined component by its qualified name; loading resolves types here and nowhere else."""


def type_name(cls: type) -> str:
    """The name a component is saved under: `vaekit.latents.Ladder`, wherever inside the package it is written."""
    parts = cls.__module__.split(".")
    return ".".join([*(parts[:2] if parts[0] == "vaekit" else parts), cls.__qualname__])


def trainable_copy(part: nn.Module) -> nn.Module:
    """A copy in float32 that can be trained, whatever the default type and the mode that a part was built in."""
    own = copy.deepcopy(part)
    return own if getattr(part, "runs_user_code", False) else own.float()


def is_trainable(part: nn.Module) -> bool:
    """Whether a part is in float32 and holds no inference tensors, as `trainable_copy` makes it."""
    tensors = chain(part.parameters(), part.buffers())
    return not any(t.is_inference() or t.dtype == torch.float64 for t in tensors)


class Component(nn.Module):
    """A module that stores each constructor argument under its own name.

    From this follow its description (`arguments`), its file (`config.json` holds type and arguments) and its
    open sizes: an argument left `None` is settled once its neighbours are known.
    Components of the package check their arguments, see `constructors`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        COMPONENTS[type_name(cls)] = cls
        if cls.__module__.partition(".")[0] == "vaekit":
            checked_constructor(cls)

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments, as stored."""
        parameters = inspect.signature(type(self).__init__).parameters.values()
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        names = [p.name for p in parameters if p.name != "self" and p.kind not in variadic]
        missing = [n for n in names if not hasattr(self, n)]
        if missing:
            raise TypeError(
                f"{type(self).__name__} takes {', '.join(missing)} but does not store it: "
                f"set self.{missing[0]} in its constructor, so that it can be described and saved"
            )
        return {n: getattr(self, n) for n in names}

    def resolve_shapes(self, **sizes: Any) -> Self:
        """This part with its open sizes filled in: itself where none is open, rebuilt otherwise.

        Sizes that the part does not take are ignored. Raises ValueError where a size is already fixed to another
        value.
        """
        arguments = self.arguments()
        known = {n: v for n, v in sizes.items() if n in arguments and v is not None}
        for name, value in known.items():
            if arguments[name] is not None and arguments[name] != value:
                raise ValueError(
                    f"{type(self).__name__} was built with {name}={arguments[name]} but the parts around it need "
                    f"{name}={value}: build it with {name}={value}, or leave {name} out"
                )
        filled = {n: v for n, v in known.items() if arguments[n] is None}
        return type(self)(**{**arguments, **filled}) if filled else self
