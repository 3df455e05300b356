"""A network whose layers are divided by their largest singular values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd

from .network import Network


class Spectral(Network):
    """A network with each dense or convolutional weight W divided by its largest singular value: 1-Lipschitz layers.

    Miyato et al. 2018, arXiv:1802.05957; a convolution's kernel is the matrix of its outputs by all the rest. The
    value is that of power iterations, sigma = u' W v, one in every pass from the vector u that a buffer keeps; new
    vectors come back as `updates`, so that a pass changes nothing. u starts at random and follows W from then on:
    sigma is below the true value until it has caught up. Biases stay as they are.
    """

    reads_weights = True

    def __init__(self, network: Network):
        super().__init__(network.in_shape, network.out_shape)
        if not getattr(network, "stackable", True):
            raise ValueError(
                f"Spectral({type(network).__name__}): its calls read its own weights whatever they are given; use a "
                "network of torch's layers"
            )
        self.network = network
        for name, matrix in self._matrices():
            self.register_buffer(_buffer(name), F.normalize(torch.randn(len(matrix)), dim=0))

    def resolve_shapes(self, **sizes: Any) -> Self:
        network = self.network.resolve_shapes(**sizes)
        return self if network is self.network else type(self)(network)

    def _matrices(self) -> Iterator[tuple[str, Tensor]]:
        """The weights by name, as matrices (outputs, all the rest)."""
        for name, layer in self.network.named_modules():
            if isinstance(layer, nn.Linear | _ConvNd):
                weight = layer.weight.transpose(0, 1) if getattr(layer, "transposed", False) else layer.weight
                yield f"{name}.weight", weight.flatten(1)

    def _vectors(self, name: str, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """u and v after one more iteration, held fixed."""
        # Sums, not products of matrices: where networks compute in low precision, these would too.
        held, u = matrix.detach(), getattr(self, _buffer(name))
        v = F.normalize((held * u.unsqueeze(1)).sum(0), dim=0)
        return F.normalize((held * v).sum(1), dim=0), v

    def weights(self) -> dict[str, Tensor]:
        """The weights that the network is called with."""
        given = dict(self.network.named_parameters())
        for name, matrix in self._matrices():
            u, v = self._vectors(name, matrix)
            given[name] = given[name] / (u.unsqueeze(1) * matrix * v).sum()
        return given

    def updates(self) -> dict[str, Tensor]:
        return {_buffer(name): self._vectors(name, matrix)[0] for name, matrix in self._matrices()}

    def run(self, x: Tensor) -> Tensor:
        return functional_call(self.network, self.weights(), (x,))


def _buffer(name: str) -> str:
    """Of the vector that belongs to a weight: torch allows no dots in it."""
    return name.replace(".", "_") + "_u"
