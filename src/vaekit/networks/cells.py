"""Encoders of rows with gaps, as sets of the cells that are there; and a dense network that begins as a linear map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from .mlp import MLP, dense
from .network import Activation, Network, activation


class SetEncoder(Network):
    """What the seen cells of a row say, whatever their order and number: `rho(1/F sum_f m_f h(x_f e_f, e_f))`.

    x_f are the features that the likelihood lets it read of a cell, e_f a learned vector of each, h a layer that all
    share, rho dense layers of `hidden` widths; m_f is 0 where the cell is missing, so that what stands there, or where
    it stands, changes nothing. Ma et al. 2019, arXiv:1809.11142 (EDDI), section 3.2, their PNP set-up.

    width: of h. embedding: numbers in e_f. cells: how many there are in a row; owners: the cell that each feature is
    of; both are settled by the model. It reads the mask of the cells, then the features, then the context, whose
    numbers are always seen.
    """

    flattens = True
    reads_mask = True
    owner: Tensor

    def __init__(
        self,
        width: int = 32,
        hidden: int | Sequence[int] = (64,),
        embedding: int = 8,
        activation: Activation = "silu",
        cells: int | None = None,
        owners: Sequence[int] | None = None,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(in_shape, out_shape)
        self.width, self.embedding, self.activation, self.cells = width, embedding, activation, cells
        self.owners = None if owners is None else tuple(int(cell) for cell in owners)
        self.hidden = (hidden,) if isinstance(hidden, int) else tuple(int(n) for n in hidden)
        if not self.open:
            self._build()

    @property
    def open(self) -> bool:
        return super().open or self.cells is None or self.owners is None

    @property
    def corrects(self) -> int:
        """How many numbers rho gives."""
        return prod(self.out_shape)

    def _build(self) -> None:
        features = prod(self.in_shape) - self.cells
        if features < len(self.owners):
            raise ValueError(
                f"{type(self).__name__}: expected the mask of {self.cells} cells and {len(self.owners)} features after "
                f"it, got in_shape={self.in_shape}"
            )
        owner = torch.tensor([*self.owners, *[self.cells] * (features - len(self.owners))])
        self.register_buffer("owner", owner, persistent=False)
        self.places = nn.Parameter(torch.randn(features, self.embedding))
        self.told = nn.Linear(2 * self.embedding, self.width)
        self.between = activation(self.activation)
        self.layers = dense((self.width, *self.hidden, self.corrects), self.activation)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The features, 0 where their cells are missing, and the mask, (B, F) each."""
        mask, features = x.flatten(1).split([self.cells, len(self.owner)], 1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1).index_select(1, self.owner)
        return features * mask, mask

    def _pooled(self, features: Tensor, mask: Tensor) -> Tensor:
        read = torch.cat([features.unsqueeze(-1) * self.places, self.places.expand(len(features), -1, -1)], -1)
        return self.layers((self.between(self.told(read)) * mask.unsqueeze(-1)).sum(1) / mask.shape[1])

    def run(self, x: Tensor) -> Tensor:
        return self._pooled(*self._read(x))


class FactorEncoder(SetEncoder):
    """Every seen cell says of z what a linear model of it would, a Gaussian factor; the factors are multiplied.

    `eta = sum_f m_f (x_f u_f + b_f) + g rho(...)` and `Lambda = sum_f m_f a_f a_f^T`, the natural parameters of
    `q(z | x) = N((I + Lambda)^-1 eta, (I + Lambda)^-1)`, which `latents.NaturalNormal` reads: (d + d * d,). With
    x = W z + mu + noise of variance s^2 it is the exact posterior, whichever cells are missing, by a_f = w_f / s_f,
    u_f = w_f / s_f^2, b_f = -mu_f u_f. rho, of the set as in `SetEncoder`, is what is not linear; g starts at 0.
    """

    @property
    def size(self) -> int:
        """d, the numbers in z."""
        numbers = prod(self.out_shape)
        size = (math.isqrt(1 + 4 * numbers) - 1) // 2
        if size * (size + 1) != numbers:
            raise ValueError(
                f"FactorEncoder gives d + d * d numbers, got out_shape={self.out_shape}: use NaturalNormal(d)"
            )
        return size

    @property
    def corrects(self) -> int:
        return self.size

    def _build(self) -> None:
        super()._build()
        features, d = len(self.owner), self.size
        told = (self.owner < self.cells).unsqueeze(1)  # of z; the context is not
        self.factors = nn.Parameter(told * torch.randn(features, d) / math.sqrt(features))
        self.means = nn.Parameter(self.factors.detach().clone())
        self.shifts = nn.Parameter(torch.zeros(features, d))
        self.gate = nn.Parameter(torch.zeros(()))

    def run(self, x: Tensor) -> Tensor:
        features, mask = self._read(x)
        eta = features @ self.means + mask @ self.shifts + self.gate * self._pooled(features, mask)
        squares = (self.factors.unsqueeze(2) * self.factors.unsqueeze(1)).flatten(1)
        return torch.cat([eta, mask @ squares], 1)


class SkipMLP(MLP):
    """A linear map, and an `MLP` of the same input times a learned number that starts at 0: `W x + b + g MLP(x)`.

    What is linear is learned at once, and the rest where it helps (Bachlechner et al. 2020, arXiv:2003.04887).
    """

    def __init__(
        self,
        hidden: int | Sequence[int] = (64,),
        activation: Activation = "silu",
        heads: int = 1,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(hidden, activation, heads, in_shape, out_shape)
        if not self.open:
            self.linear = nn.Linear(prod(self.in_shape), prod(self.out_shape))
            self.gate = nn.Parameter(torch.zeros(()))

    @property
    def output_layer(self) -> nn.Linear | None:
        return None if self.open else self.linear

    def run(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)) + self.gate * super().run(x)
