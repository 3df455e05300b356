"""Quantised codes: the nearest entry of a learned codebook."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from ..core import Draw, Scope
from .latent import AbstractLatent, Ratio


class Codebook(AbstractLatent):
    """`codes` vectors of `size` numbers; each position of a row takes the nearest one (VQ-VAE).

    van den Oord et al. 2017, arXiv:1711.00937. The gradient passes straight through; the encoder is held to its
    code by `commitment * |e - z|^2`; codes follow the running mean of what they serve (EMA, their appendix A.1;
    with decay 0, one k-means step). They start at k-means of the data, and a code whose running count falls under
    `revive` hits per step restarts at a random row's evidence. rate: positions * log(codes), a uniform prior, so
    log_lik + log_ratio is a lower bound of log p(x).

    positions: an int n for flat evidence (B, size * n), a tuple such as (7, 7) for a map (B, size, 7, 7).
    """

    ratio: Ratio = "bound"
    space = "codes"
    book: Tensor
    count: Tensor
    total: Tensor

    def __init__(
        self,
        codes: int = 512,
        size: int = 64,
        positions: int | tuple[int, ...] | None = None,
        commitment: float = 0.25,
        decay: float = 0.99,
        revive: float = 0.01,
    ):
        super().__init__()
        if codes < 2 or size < 1 or not 0 <= decay < 1:
            raise ValueError(
                f"Codebook(codes={codes}, size={size}, decay={decay}): expected codes >= 2, size >= 1, 0 <= decay < 1"
            )
        self.codes, self.size, self.commitment, self.decay, self.revive = codes, size, commitment, decay, revive
        self.positions = tuple(positions) if isinstance(positions, (tuple, list)) else positions
        self.register_buffer("book", torch.randn(codes, size))
        self.register_buffer("count", torch.ones(codes))
        self.register_buffer("total", self.book.clone())

    @property
    def shape(self) -> tuple[int, ...]:
        if isinstance(self.positions, tuple):
            return (self.size, *self.positions)
        return (self.size * (self.positions or 1),)

    evidence_shape = shape

    def settled(self, *, map_size: tuple[int, ...] | None = None, **sizes: object) -> Self:
        """Open positions take the size of the encoder's map, where it has one."""
        if self.positions is not None or map_size is None:
            return self
        return type(self)(**{**self.arguments(), "positions": map_size})

    def _vectors(self, evidence: Tensor) -> Tensor:
        """(B, positions, size)."""
        return evidence.reshape(len(evidence), self.size, -1).mT

    def nearest(self, vectors: Tensor) -> Tensor:
        """(B, positions, codes): one-hot rows, 1 at the nearest code."""
        distance = self.book.square().sum(-1) - 2 * vectors @ self.book.T
        codes = torch.arange(self.codes, device=vectors.device)
        return (distance.argmin(-1, keepdim=True) == codes).to(vectors.dtype)

    def indices(self, evidence: Tensor) -> Tensor:
        """(B, positions): the code of each position."""
        return self.nearest(self._vectors(evidence)).argmax(-1)

    def infer(self, evidence: Tensor, scope: Scope, above: Tensor | None = None, held: Tensor | None = None) -> Draw:
        vectors = self._vectors(evidence)
        chosen = self.nearest(vectors)
        quantised = chosen @ self.book
        commitment = self.commitment * (vectors - quantised).square().sum((1, 2))
        straight = vectors + (quantised - vectors).detach()
        kl = torch.full_like(vectors[..., 0], math.log(self.codes))
        updates = self._updates(vectors.detach(), chosen, scope) if self.training else {}
        return Draw(straight.mT.reshape(evidence.shape), -kl.sum(1), kl, penalty=commitment, updates=updates)

    def _updates(self, vectors: Tensor, chosen: Tensor, scope: Scope) -> dict[str, Tensor]:
        rows = torch.ones_like(vectors[:, 0, 0]) if scope.weight is None else scope.weight
        weighted = (chosen * rows.reshape(-1, 1, 1)).flatten(0, 1)
        all_of = scope.peers.total
        count = self.decay * self.count + all_of((1 - self.decay) * weighted.sum(0))
        total = self.decay * self.total + all_of((1 - self.decay) * weighted.T @ vectors.flatten(0, 1))
        book = torch.where(count.unsqueeze(1) > 0, total / count.clamp_min(1e-12).unsqueeze(1), self.book)
        dead = count < self.revive
        fresh = self._random_vectors(vectors, rows, scope)
        book = torch.where(dead.unsqueeze(1), fresh, book)
        count = torch.where(dead, 1.0, count)
        return {"book": book, "count": count, "total": torch.where(dead.unsqueeze(1), fresh, total)}

    def _random_vectors(self, vectors: Tensor, rows: Tensor, scope: Scope) -> Tensor:
        """(codes, size): for each code the vector of a random position of a random row, by the rows' weights.

        The rows are those of all processes, chosen by the first one's noise.
        """
        peers = scope.peers
        chance, place = (peers.gather(scope.rand(s).unsqueeze(0))[0] for s in ((self.codes, 1), (self.codes,)))
        rows = peers.gather(rows)
        row = (rows.cumsum(0) <= chance * rows.sum()).sum(1, keepdim=True).clamp(max=len(rows) - 1)
        here = row == peers.share(torch.arange(len(rows), device=rows.device))
        found = vectors[here.long().argmax(1), (place * vectors.shape[1]).long()]
        return peers.total(torch.where(here.any(1, keepdim=True), found, 0.0))

    def generate(self, rows: int, scope: Scope, above: Tensor | None = None) -> Tensor:
        positions = math.prod(self.shape) // self.size
        drawn = self.book[(scope.rand((rows, positions)) * self.codes).long()]
        return drawn.mT.reshape(rows, *self.shape)

    def log_prior(self, z: Tensor, scope: Scope, above: Tensor | None = None) -> Tensor:
        return torch.full_like(z.flatten(1)[:, 0], -math.log(self.codes) * math.prod(self.shape) / self.size)

    @torch.no_grad()
    def prepare(self, inputs: Tensor, evidence: Tensor, scope: Scope, above: Tensor | None = None) -> None:
        """k-means (Lloyd, 10 rounds) from random vectors of the sample."""
        vectors = self._vectors(evidence)
        rows = torch.ones_like(vectors[:, 0, 0])
        self.book.copy_(self._random_vectors(vectors, rows, scope))
        for _ in range(10):
            chosen = self.nearest(vectors).flatten(0, 1)
            self.count.copy_(chosen.sum(0))
            means = chosen.T @ vectors.flatten(0, 1) / self.count.clamp_min(1).unsqueeze(1)
            self.book.copy_(torch.where(self.count.unsqueeze(1) > 0, means, self.book))
        self.count.clamp_(min=1.0)
        self.total.copy_(self.book * self.count.unsqueeze(1))
