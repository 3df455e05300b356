"""What every network is: rows of one shape in, rows of another out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ..core import Component

Shape = tuple[int, ...]
Activation = Literal["relu", "silu", "gelu", "tanh", "elu", "leaky_relu"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


def activation(name: str) -> nn.Module:
    """The activation of that name. Raises ValueError, with the nearest name, where there is none."""
    if name not in ACTIVATIONS:
        near = get_close_matches(str(name).lower(), ACTIVATIONS, 1, 0.0)[0]
        raise ValueError(f"activation={name!r}: expected one of {', '.join(ACTIVATIONS)}; did you mean {near!r}?")
    return ACTIVATIONS[name]()


class LowPrecision(nn.Module):
    """A part whose networks may compute their products in a type of low precision while it trains.

    low_precision: that type, such as torch.bfloat16; None: the data's own. A `VAEModule` sets it in its parts.
    """

    low_precision: torch.dtype | None = None

    def through(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """network(x), in the type of x."""
        if self.low_precision is None or not self.training:
            return network(x)
        # The cache of cast weights is a state that neither vmap nor a traced step may see.
        with torch.autocast(x.device.type, self.low_precision, cache_enabled=False):
            return network(x).to(x.dtype)


def as_shape(shape: int | Sequence[int] | None) -> Shape | None:
    """A row's shape as a tuple of ints; None, not known yet, stays None."""
    if shape is None:
        return None
    shape = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if any(n < 1 for n in shape):
        raise ValueError(f"expected a row's shape of positive sizes, without the batch, got {shape}")
    return shape


class Network(Component):
    """Rows in, rows out: (B, *in_shape) -> (B, *out_shape), each row by itself.

    A shape left out is settled by the neighbours; until then the network is open: it has no layers and its
    `forward` raises ValueError. `stackable`: whether `vmap` over stacked parameters gives what a loop gives.
    `flattens`: whether it reads a row of any shape as a vector.
    `reads_mask`: whether, as an encoder, it is given the mask too, before what the likelihood lets it read.
    """

    stackable: bool = True
    flattens: bool = False
    reads_mask: bool = False
    layers: nn.Module

    def __init__(self, in_shape: int | Sequence[int] | None = None, out_shape: int | Sequence[int] | None = None):
        super().__init__()
        self.in_shape, self.out_shape = as_shape(in_shape), as_shape(out_shape)

    @property
    def open(self) -> bool:
        """Whether a shape is still to be settled."""
        return self.in_shape is None or self.out_shape is None

    def resolve_shapes(self, **sizes: Any) -> Self:
        shapes = {n: as_shape(v) if n in ("in_shape", "out_shape") else v for n, v in sizes.items()}
        return super().resolve_shapes(**shapes)

    def updates(self) -> dict[str, Tensor]:
        """New values of the network's own buffers, where its state follows its weights; applied after a step."""
        return {}

    @property
    def output_layer(self) -> nn.Module | None:
        """The layer that gives the output and has a bias; None where there is no such layer."""
        layers = getattr(self, "layers", None)
        return layers[-1] if isinstance(layers, nn.Sequential) and len(layers) else None

    @property
    def shared_axes(self) -> tuple[int, ...]:
        """Axes of `out_shape` over which the output layer has one bias."""
        return (1, 2) if isinstance(self.output_layer, _ConvNd) else ()

    @torch.no_grad()
    def add_to_output(self, shift: Tensor) -> bool:
        """Add a constant, `out_shape`, to the output by the bias of the output layer; False where there is none."""
        bias = getattr(self.output_layer, "bias", None)
        if bias is None:
            return False
        shift = shift.reshape(self.out_shape)
        bias += (shift.mean(self.shared_axes) if self.shared_axes else shift).flatten().to(bias)
        return True

    def run(self, x: Tensor) -> Tensor:
        """(B, *in_shape) -> B rows of as many numbers as `out_shape` holds."""
        return self.layers(x)

    def forward(self, x: Tensor) -> Tensor:
        name = type(self).__name__
        if self.in_shape is None or self.out_shape is None:
            raise ValueError(
                f"{name} is open: in_shape={self.in_shape}, out_shape={self.out_shape}; pass both when you "
                f"build it, or use what settled(in_shape=..., out_shape=...) returns"
            )
        if x.shape[1:] != self.in_shape:
            raise ValueError(
                f"{name} reads rows of {self.in_shape} but got {tuple(x.shape[1:])}: reshape the rows, or "
                f"build it with in_shape={tuple(x.shape[1:])}"
            )
        return self.run(x).reshape(x.shape[0], *self.out_shape)
