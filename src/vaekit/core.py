"""The words every part speaks: components, records, noise and schedules."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar, dataclass_transform

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

T = TypeVar("T")


# -- records: frozen dataclasses that vmap, capture and export can see through -------------------


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


def tensor_map(f: Callable[[Tensor], Tensor], tree: T) -> T:
    """`f` on every tensor of a record."""
    return pytree.tree_map_only(Tensor, f, tree)


# -- components: modules that can be described, rebuilt and settled ------------------------------

COMPONENTS: dict[str, type[Component]] = {}
"""Every defined component by its qualified name; loading resolves types here and nowhere else."""


def type_name(cls: type) -> str:
    """The name a component is saved under: `vaekit.latents.Ladder`, wherever inside the package it is written."""
    parts = cls.__module__.split(".")
    return ".".join([*(parts[:2] if parts[0] == "vaekit" else parts), cls.__qualname__])


class Component(nn.Module):
    """A module that stores each constructor argument under its own name.

    From this follow its description (`arguments`), its file (`config.json` holds type and arguments) and its
    open sizes: an argument left `None` is settled once its neighbours are known.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        COMPONENTS[type_name(cls)] = cls

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments, as stored."""
        names = [n for n in inspect.signature(type(self).__init__).parameters if n != "self"]
        missing = [n for n in names if not hasattr(self, n)]
        if missing:
            raise TypeError(
                f"{type(self).__name__} takes {', '.join(missing)} but does not store it: "
                f"set self.{missing[0]} in its constructor, so that it can be described and saved"
            )
        return {n: getattr(self, n) for n in names}

    def settled(self, **sizes: Any) -> Self:
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


@record
class Bound:
    """A module's forward bound to the parameters it is called with: a network that a record can hold.

    The parameters are leaves, so that detaching a distribution also holds the networks inside it.
    """

    parameters: dict[str, Tensor]
    module: nn.Module = static()

    @classmethod
    def of(cls, module: nn.Module) -> Bound:
        return cls({**dict(module.named_parameters()), **dict(module.named_buffers())}, module)

    def held(self) -> Bound:
        """The same with its parameters held fixed: no gradient reaches them."""
        return replace(self, parameters={n: p.detach() for n, p in self.parameters.items()})

    def __call__(self, *inputs: Any) -> Any:
        return functional_call(self.module, self.parameters, inputs)


# -- noise: seeded, checkpointed, recorded and replayed ------------------------------------------


class Noise(Protocol):
    """Where a forward pass takes its random numbers from."""

    def randn(self, shape: Sequence[int]) -> Tensor: ...
    def rand(self, shape: Sequence[int]) -> Tensor: ...


class Source:
    """Seeded noise on one device. `state` is a tensor that brings the source back to this very point."""

    def __init__(self, seed: int = 0, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        self.device, self.dtype = torch.device(device), dtype
        self.generator = torch.Generator(self.device).manual_seed(seed)

    @classmethod
    def like(cls, module: nn.Module, seed: int = 0) -> Source:
        """A source on the device and in the floating type of a module's parameters (float32 where it has none)."""
        p = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
        return cls(seed, p.device, p.dtype)

    def randn(self, shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape), generator=self.generator, device=self.device, dtype=self.dtype)

    def rand(self, shape: Sequence[int]) -> Tensor:
        return torch.rand(tuple(shape), generator=self.generator, device=self.device, dtype=self.dtype)

    @property
    def state(self) -> Tensor:
        return self.generator.get_state()

    @state.setter
    def state(self, value: Tensor) -> None:
        self.generator.set_state(value.cpu())


class Recorder:
    """Passes a noise through and keeps what was drawn: `requests` (kind, shape) and `tape` (the numbers)."""

    def __init__(self, noise: Noise):
        self.noise = noise
        self.requests: list[tuple[str, tuple[int, ...]]] = []
        self.tape: list[Tensor] = []

    def _note(self, kind: str, shape: Sequence[int]) -> Tensor:
        self.requests.append((kind, tuple(shape)))
        self.tape.append(getattr(self.noise, kind)(shape))
        return self.tape[-1]

    def randn(self, shape: Sequence[int]) -> Tensor:
        return self._note("randn", shape)

    def rand(self, shape: Sequence[int]) -> Tensor:
        return self._note("rand", shape)


class Tape:
    """Replays recorded numbers in order. Raises ValueError when asked for another shape than was recorded."""

    def __init__(self, tape: Sequence[Tensor]):
        self.remaining = list(tape)

    def _next(self, shape: Sequence[int]) -> Tensor:
        if not self.remaining or tuple(self.remaining[0].shape) != tuple(shape):
            got = tuple(self.remaining[0].shape) if self.remaining else "an empty tape"
            raise ValueError(f"the replayed noise holds {got} where {tuple(shape)} is asked for: record it anew")
        return self.remaining.pop(0)

    randn = rand = _next


# -- what flows between the parts ----------------------------------------------------------------


@record
class Batch:
    """Rows to learn from, in the likelihood's space.

    x: (B, *X). mask: (B, *cells), 1 where a cell is observed; None: all are. context: (B, C) known beside x.
    weight: (B,), 0 for a row that is only padding; None: all ones.
    """

    x: Tensor
    mask: Tensor | None = None
    context: Tensor | None = None
    weight: Tensor | None = None


@dataclass(frozen=True)
class Scope:
    """What a part may call but does not own: how a VampPrior reaches the encoder without sharing a submodule.

    encode: what the encoder reads -> evidence. posterior: what the encoder reads -> q, set by the owning Latent.
    log_lik: z -> log p(x | z), (B,). randn, rand: noise. weight: the batch's row weights.
    """

    randn: Callable[[Sequence[int]], Tensor]
    rand: Callable[[Sequence[int]], Tensor]
    encode: Callable[[Tensor], Tensor] | None = None
    posterior: Callable[[Tensor], Any] | None = None
    log_lik: Callable[[Tensor], Tensor] | None = None
    weight: Tensor | None = None

    @classmethod
    def of(cls, noise: Noise) -> Scope:
        return cls(noise.randn, noise.rand)


@record
class Draw:
    """One draw of the latent variables per row.

    z: (B, *Z). log_ratio: (B,) = log p - log q on the space drawn from, so that exp(log_lik + log_ratio) is an
    unbiased estimate of p(x). kl: (B, units) where a closed form exists. q, p: the distributions, where there is
    one of each. penalty: (B,), added to the loss as it is. updates: new values of the latent's buffers, applied
    after the optimiser's step.
    """

    z: Tensor
    log_ratio: Tensor
    kl: Tensor | None = None
    q: Any = None
    p: Any = None
    penalty: Tensor | None = None
    updates: dict[str, Tensor] = field(default_factory=dict)

    @property
    def rate(self) -> Tensor:
        """(B,), nats: the closed KL where there is one, its one-draw estimate otherwise."""
        return -self.log_ratio if self.kl is None else self.kl.sum(1)


@record
class Pass:
    """One trip through the model: the draw, log p(x | z) per row (B,), and the distribution p(x | z)."""

    draw: Draw
    log_lik: Tensor
    px: Any

    @property
    def log_weight(self) -> Tensor:
        """(B,), nats: log p(x, z) - log q(z | x)."""
        return self.log_lik + self.draw.log_ratio


@record
class Terms:
    """What an objective returns: a loss per player, metrics to be logged, new values of buffers."""

    losses: dict[str, Tensor]
    metrics: dict[str, Tensor]
    updates: dict[str, Tensor] = field(default_factory=dict)


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over rows (dimension 0); a row of weight 0 does not count, whatever it holds."""
    if weight is None:
        return values.mean(0)
    weight = weight.reshape(-1, *[1] * (values.dim() - 1))
    return torch.where(weight > 0, values * weight, 0.0).sum(0) / weight.sum()


def prefixed(prefix: str, values: Mapping[str, T]) -> dict[str, T]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


# -- scalars that may be swept or scheduled ------------------------------------------------------


class Hyper(Component):
    """A constant scalar, kept as a 0-d buffer so that a stacked ensemble can hold one per member."""

    value: Tensor

    def __init__(self, value: float):
        super().__init__()
        self.register_buffer("value", torch.tensor(float(value)))

    def forward(self, step: Tensor) -> Tensor:
        return self.value


class Ramp(Hyper):
    """Warm-up: `start + (value - start) * min(step / steps, 1)` (Bowman et al. 2016, arXiv:1511.06349)."""

    def __init__(self, value: float, steps: int, start: float = 0.0):
        if steps < 1:
            raise ValueError(f"Ramp(steps={steps}): expected at least one step of warm-up")
        super().__init__(value)
        self.steps, self.start = steps, start

    def forward(self, step: Tensor) -> Tensor:
        return self.start + (self.value - self.start) * (step / self.steps).clamp(max=1.0)


class Cycle(Hyper):
    """Cyclical warm-up: from 0 to `value` over the first `ramp` part of each `period` steps, then constant.

    Fu et al. 2019, arXiv:1903.10145.
    """

    def __init__(self, value: float, period: int, ramp: float = 0.5):
        if period < 1 or not 0 < ramp <= 1:
            raise ValueError(f"Cycle(period={period}, ramp={ramp}): expected period >= 1 and 0 < ramp <= 1")
        super().__init__(value)
        self.period, self.ramp = period, ramp

    def forward(self, step: Tensor) -> Tensor:
        return self.value * (step % self.period / (self.ramp * self.period)).clamp(max=1.0)


def hyper(value: float | Hyper) -> Hyper:
    """A schedule as it is; a number as a constant one."""
    return value if isinstance(value, Hyper) else Hyper(value)
