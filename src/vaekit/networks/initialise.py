"""Starting weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn
from torch.nn import init
from torch.nn.modules.conv import _ConvNd

from .foreign import Adapter
from .network import Network

SCHEMES = ("glorot", "he", "torch")


def weighted_layers(module: nn.Module, inside: bool = False) -> Iterator[nn.Linear | _ConvNd]:
    """The dense and convolutional layers of the networks in a module; users' own modules are left out."""
    if isinstance(module, Adapter):
        return
    inside = inside or isinstance(module, Network)
    if inside and isinstance(module, nn.Linear | _ConvNd):
        yield module
    for child in module.children():
        yield from weighted_layers(child, inside)


def fan_in(layer: nn.Linear | _ConvNd) -> float:
    """How many inputs meet in one output number; a transposed convolution spreads its kernel over strides."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    reach = math.prod(layer.kernel_size) / (math.prod(layer.stride) if layer.transposed else 1)
    return layer.in_channels / layer.groups * reach


@torch.no_grad()
def initialise(
    module: nn.Module, scheme: Literal["glorot", "he", "torch"], generator: torch.Generator | None = None
) -> nn.Module:
    """Draws the dense and convolutional layers of a module's networks anew, in place; returns the module.

    glorot: weights uniform in +-sqrt(6 / (fan_in + fan_out)), biases 0, Keras' default; for a convolution the
    fans are receptive field x channels (Glorot & Bengio 2010). he: weights normal with variance 2 / fan_in,
    biases 0 (He et al. 2015, arXiv:1502.01852). torch: as `reset_parameters` draws them, weights and biases
    uniform in +-1 / sqrt(fan_in). Users' own modules (`Foreign`, `KerasNetwork`) keep their weights. The same
    generator state gives the same weights; without one the global generator is used. Raises ValueError for
    another scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"initialise(scheme={scheme!r}): expected one of {', '.join(SCHEMES)}")
    for layer in weighted_layers(module):
        if scheme == "glorot":
            for head in layer.weight.chunk(getattr(layer, "heads", 1)):
                init.xavier_uniform_(head, generator=generator)
        elif scheme == "he":
            init.normal_(layer.weight, 0.0, math.sqrt(2 / fan_in(layer)), generator=generator)
        else:
            init.kaiming_uniform_(layer.weight, math.sqrt(5), generator=generator)
        if layer.bias is not None and scheme == "torch":
            # reset_parameters reads the fan off the weight, whose first two dimensions a transposed one swaps
            bound = 1 / math.sqrt(init._calculate_fan_in_and_fan_out(layer.weight)[0])
            init.uniform_(layer.bias, -bound, bound, generator=generator)
        elif layer.bias is not None:
            init.zeros_(layer.bias)
    return module
