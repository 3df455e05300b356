"""The decoder of rows whose library is part of their code."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor

from .mlp import dense
from .network import Activation, Network


class LibraryDecoder(Network):
    """Dense layers that read a code but for its first number, which is put before what they give, as it is.

    With `NegativeBinomial(library="latent")` that number is the row's log library, in standard deviations from its
    mean: it moves all means alike, and nothing else does.

    >>> LibraryDecoder((8,), in_shape=3, out_shape=6)(torch.ones(5, 3)).shape
    torch.Size([5, 6])
    """

    flattens = True

    def __init__(
        self,
        hidden: int | Sequence[int] = (128,),
        activation: Activation | Literal["gated"] = "relu",
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(in_shape, out_shape)
        self.hidden = (hidden,) if isinstance(hidden, int) else tuple(int(n) for n in hidden)
        self.activation = activation
        if self.in_shape is not None and self.out_shape is not None:
            if prod(self.in_shape) < 2 or prod(self.out_shape) < 2:
                raise ValueError(
                    f"LibraryDecoder reads a library and a code, and gives a library and more, got {self.in_shape} to "
                    f"{self.out_shape}: give it a code of at least 2 numbers"
                )
            self.layers = dense((prod(self.in_shape) - 1, *self.hidden, prod(self.out_shape) - 1), activation)

    def run(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return torch.cat([x[:, :1], self.layers(x[:, 1:])], 1)
