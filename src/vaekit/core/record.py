"""Records: frozen dataclasses that vmap, capture and export can see through."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, dataclass_transform

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

T = TypeVar("T")


def static(**options: Any) -> Any:
    """A record's field that is structure (an int, a callable), not a tensor."""
    return field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(static, field))
def record(cls: type[T]) -> type[T]:
    """A frozen dataclass registered as a pytree: its fields are leaves or subtrees, but for `static()` ones."""
    cls = dataclass(frozen=True, eq=False)(cls)
    fixed = [f.name for f in dataclasses.fields(cls) if f.metadata.get("static")]
    moving = [f.name for f in dataclasses.fields(cls) if f.name not in fixed]

    def flatten(r: T) -> tuple[list, tuple]:
        return [getattr(r, n) for n in moving], tuple(getattr(r, n) for n in fixed)

    def unflatten(leaves: Sequence, context: tuple) -> T:
        return cls(**dict(zip(moving, leaves)), **dict(zip(fixed, context)))

    pytree.register_pytree_node(cls, flatten, unflatten)
    return cls


@record
class FunctionalModule:
    """A module's forward bound to the parameters it is called with: a network that a record can hold.

    The parameters are leaves, so that detaching a distribution also holds the networks inside it.
    """

    parameters: dict[str, Tensor]
    module: nn.Module = static()

    @classmethod
    def of(cls, module: nn.Module) -> FunctionalModule:
        return cls({**dict(module.named_parameters()), **dict(module.named_buffers())}, module)

    def held(self) -> FunctionalModule:
        """The same with its parameters held fixed: no gradient reaches them."""
        return replace(self, parameters={n: p.detach() for n, p in self.parameters.items()})

    def __call__(self, *inputs: Any) -> Any:
        return functional_call(self.module, self.parameters, inputs)
