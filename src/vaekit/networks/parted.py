"""Networks for rows that are made of parts: one network per part."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core import Component
from .foreign import as_network
from .network import Network


def between(network: nn.Module, n_in: int, n_out: int) -> nn.Module:
    """A part's own network, of flat rows, its open shapes settled."""
    network = network if isinstance(network, Component) else as_network(network)
    return network.resolve_shapes(in_shape=(n_in,), out_shape=(n_out,)) if isinstance(network, Network) else network


class Parted(Network):
    """What networks with one network per part share. widths: how many numbers each part has."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        widths: Sequence[int] | None = None,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(in_shape, out_shape)
        self.widths = None if widths is None else tuple(int(w) for w in widths)
        name, closed = type(self).__name__, not self.open
        if closed and self.widths is None:
            raise ValueError(f"{name} does not know its parts: use a likelihood that has some, Modalities(...)")
        if not len(networks) or (self.widths is not None and len(self.widths) != len(networks)):
            raise ValueError(
                f"{name} has {len(networks)} networks for parts of widths {self.widths}: give one per part"
            )
        self.networks = nn.ModuleList(networks)


class PartEncoder(Parted):
    """A network per part: reads the features of all parts side by side, then a flag per part, then the context.

    It gives what each network says of its own part (and the context), the experts, and the flags as they are; see
    `Modalities`, which makes them, and `latents.ProductOfExperts`, which reads them. joint: a network that reads all
    parts, whose expert comes first.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        joint: nn.Module | None = None,
        widths: Sequence[int] | None = None,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(networks, widths, in_shape, out_shape)
        self.joint = joint
        if self.open:
            return
        parts, experts = len(self.widths), len(self.widths) + (joint is not None)
        self.context = self.in_shape[0] - sum(self.widths) - parts
        each, left = divmod(self.out_shape[0] - parts, experts)
        if self.context < 0 or left or each < 1:
            raise ValueError(
                f"PartEncoder of {experts} networks, from {self.in_shape} to {self.out_shape}: expected features of "
                f"widths {self.widths} with a flag per part, and an equal number for each expert with a flag per part"
            )
        self.networks = nn.ModuleList(between(n, w + self.context, each) for n, w in zip(networks, self.widths))
        self.joint = None if joint is None else between(joint, sum(self.widths) + self.context, each)

    def run(self, x: Tensor) -> Tensor:
        *features, seen, context = x.split([*self.widths, len(self.widths), self.context], 1)
        experts = [network(torch.cat([own, context], 1)) for network, own in zip(self.networks, features)]
        if self.joint is not None:
            experts.insert(0, self.joint(torch.cat([*features, context], 1)))
        return torch.cat([*experts, seen], 1)


class PartDecoder(Parted):
    """A network per part: each reads z whole and gives the numbers of its own part."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        widths: Sequence[int] | None = None,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(networks, widths, in_shape, out_shape)
        if not self.open:
            self.networks = nn.ModuleList(between(n, self.in_shape[0], w) for n, w in zip(networks, self.widths))

    @torch.no_grad()
    def add_to_output(self, shift: Tensor) -> bool:
        """Add the part of each network to its own output, where it can; False where none could."""
        added = False
        for network, own in zip(self.networks, shift.split(self.widths)):
            added = (isinstance(network, Network) and network.add_to_output(own)) or added
        return added

    def run(self, x: Tensor) -> Tensor:
        return torch.cat([network(x) for network in self.networks], 1)
