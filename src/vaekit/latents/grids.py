"""Codes on a fixed grid: nothing is learned about them, and none can die."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.special import entr

from ..core import ForwardContext, batch_mean
from .priors import Prior
from .quantised import Quantised, Rounded, carried

MOST = 2**16
"""Codes that a position may have: how often each is used is counted."""


class FiniteScalar(Quantised):
    """Every number of the evidence is bounded and rounded to one of its `levels`: `codes` is their product.

    Finite scalar quantisation, Mentzer et al. 2023, arXiv:2309.15505: `round(bound(e))`, `bound(e) = r tanh(e + s) - o`
    with L levels spread evenly, around 0 where L is odd; the gradient passes straight through the rounding, so it is
    that of the bound. z is scaled to [-1, 1]. restraint: times |e|^2, added to the loss; it is none of the paper's, and
    keeps evidence where the bound has a slope (with 0, a dense encoder soon says the same of every row). positions,
    prior: see `Quantised`.
    """

    count: Tensor
    reach: Tensor
    offset: Tensor
    width: Tensor
    weight: Tensor

    def __init__(
        self,
        levels: Sequence[int] = (8, 5, 5, 5),
        positions: int | tuple[int, ...] | None = None,
        restraint: float = 0.1,
        prior: Prior | None = None,
    ):
        super().__init__()
        self.levels = tuple(int(n) for n in levels)
        if not self.levels or min(self.levels) < 2 or self.codes > MOST:
            raise ValueError(
                f"FiniteScalar(levels={self.levels}): expected at least 2 levels for each number, and a product of at "
                f"most {MOST:,} (more take more positions)"
            )
        self.positions = tuple(positions) if isinstance(positions, (tuple, list)) else positions
        self.restraint, self.prior = restraint, prior
        count = torch.tensor(self.levels, dtype=torch.float64)
        each = {
            "count": count,
            "reach": (count - 1) * (1 + 1e-3) / 2,  # just beyond, so that the bound of 2 levels has its middle at 0
            "offset": torch.where(count % 2 == 1, 0.0, 0.5),
            "width": (count / 2).floor(),
            "weight": torch.tensor([math.prod(self.levels[:i]) for i in range(self.size)]),
        }
        for name, values in each.items():
            self.register_buffer(name, values.to(torch.get_default_dtype()), persistent=False)

    @property
    def size(self) -> int:
        return len(self.levels)

    @property
    def codes(self) -> int:
        return math.prod(self.levels)

    def bound(self, vectors: Tensor) -> Tensor:
        """Numbers to between the outermost levels, which are whole numbers apart from one another."""
        return self.reach * torch.tanh(vectors + torch.atanh(self.offset / self.reach)) - self.offset

    def quantise(self, vectors: Tensor, scope: ForwardContext | None = None) -> Rounded:
        bounded = self.bound(vectors)
        level = bounded.detach().round()
        index = ((level + self.width) * self.weight).sum(-1, keepdim=True)
        penalty = self.restraint * vectors.square().sum((1, 2))
        return Rounded(carried(bounded, level, "straight") / self.width, index.round().long(), penalty)

    def lookup(self, indices: Tensor) -> Tensor:
        level = (indices / self.weight).floor().remainder(self.count) - self.width
        return level / self.width


class LookupFree(Quantised):
    """Every number of the evidence becomes its sign: 2^size codes, without a codebook.

    Lookup-free quantisation, Yu et al. 2023, arXiv:2310.05737, with their penalty (equation 5) `entropy * (E H(p) -
    H(E p))`, which makes each row sure of its codes and all rows together use them all: p is the softmax of
    `-|e - c|^2 / temperature` over the codes c, whose bits are independent given a row; H(E p) is taken bit by bit over
    rows and positions, an upper bound of that of whole codes. The encoder is held to its code by
    `commitment * |e - z|^2`. positions, prior: see `Quantised`.
    """

    def __init__(
        self,
        size: int = 10,
        positions: int | tuple[int, ...] | None = None,
        entropy: float = 0.1,
        commitment: float = 0.25,
        temperature: float = 1.0,
        prior: Prior | None = None,
    ):
        super().__init__()
        if size < 1 or 2**size > MOST or temperature <= 0:
            raise ValueError(
                f"LookupFree(size={size}, temperature={temperature}): expected 1 to 16 bits a position (more take more "
                "positions) and a temperature above 0"
            )
        self.size, self.entropy, self.commitment, self.temperature = size, entropy, commitment, temperature
        self.positions = tuple(positions) if isinstance(positions, (tuple, list)) else positions
        self.prior = prior
        self.register_buffer("weight", 2.0 ** torch.arange(size), persistent=False)

    @property
    def codes(self) -> int:
        return 2**self.size

    def quantise(self, vectors: Tensor, scope: ForwardContext | None = None) -> Rounded:
        positive = (vectors.detach() > 0).to(vectors.dtype)
        codes, index = 2 * positive - 1, (positive * self.weight).sum(-1, keepdim=True).long()
        penalty = self.commitment * (vectors - codes).square().sum((1, 2))
        if scope is not None:
            penalty = penalty + self.entropy * self.unevenness(vectors, scope)
        return Rounded(carried(vectors, codes, "straight"), index, penalty)

    def unevenness(self, vectors: Tensor, scope: ForwardContext) -> Tensor:
        """(B,), nats: the entropies of a row's bits, less those of the bits of all rows and positions together."""
        logits = 4 * vectors / self.temperature
        p = torch.sigmoid(logits)
        each = (softplus(logits) - logits * p).sum((1, 2))
        edge = torch.finfo(p.dtype).eps
        together = batch_mean(p.mean(1), scope.weight, scope.peers).clamp(edge, 1 - edge)
        return each - vectors.shape[1] * (entr(together) + entr(1 - together)).sum()

    def lookup(self, indices: Tensor) -> Tensor:
        return 2 * (indices / self.weight).floor().remainder(2) - 1
