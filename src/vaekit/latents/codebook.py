"""Codes from a codebook: the nearest of its learned entries, or a sum of entries of several."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core import ForwardContext, prefixed
from .priors import Prior
from .quantised import Gradient, Quantised, Rounded, carried


class Codebook(Quantised):
    """`codes` vectors of `size` numbers; each position of a row takes the nearest one (VQ-VAE).

    van den Oord et al. 2017, arXiv:1711.00937. The gradient passes straight through, or is turned by the rotation from
    the vector to its code (gradient="rotation"); the encoder is held to its code by `commitment * |e - z|^2`; codes
    follow the running mean of what they serve (EMA, their appendix A.1; with decay 0, one k-means step). They start at
    k-means of the data, and a code whose running count falls under `revive` hits per step restarts at a random row's
    evidence. positions, prior: see `Quantised`.
    """

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
        gradient: Gradient = "straight",
        prior: Prior | None = None,
    ):
        super().__init__()
        self.codes, self.size, self.commitment, self.decay, self.revive = codes, size, commitment, decay, revive
        self.positions = tuple(positions) if isinstance(positions, (tuple, list)) else positions
        self.gradient, self.prior = gradient, prior
        self.register_buffer("book", torch.randn(codes, size))
        self.register_buffer("count", torch.ones(codes))
        self.register_buffer("total", self.book.clone())

    def nearest(self, vectors: Tensor) -> Tensor:
        """(B, positions, codes): one-hot rows, 1 at the nearest code."""
        distance = self.book.square().sum(-1) - 2 * vectors @ self.book.T
        return self._one_hot(distance.argmin(-1))

    def _one_hot(self, indices: Tensor) -> Tensor:
        codes = torch.arange(self.codes, device=indices.device)
        return (indices.unsqueeze(-1) == codes).to(self.book.dtype)

    def lookup(self, indices: Tensor) -> Tensor:
        return self._one_hot(indices.squeeze(-1)) @ self.book

    def quantise(self, vectors: Tensor, scope: ForwardContext | None = None) -> Rounded:
        chosen = self.nearest(vectors)
        quantised = chosen @ self.book
        commitment = self.commitment * (vectors - quantised).square().sum((1, 2))
        updates = self._updates(vectors.detach(), chosen, scope) if self.training and scope is not None else {}
        straight = carried(vectors, quantised, self.gradient)
        return Rounded(straight, chosen.argmax(-1, keepdim=True), commitment, updates)

    def _updates(self, vectors: Tensor, chosen: Tensor, scope: ForwardContext) -> dict[str, Tensor]:
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

    def _random_vectors(self, vectors: Tensor, rows: Tensor, scope: ForwardContext) -> Tensor:
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

    @torch.no_grad()
    def prepare(self, inputs: Tensor, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None) -> None:
        """k-means of the sample."""
        self.start(self._vectors(evidence), scope)

    @torch.no_grad()
    def start(self, vectors: Tensor, scope: ForwardContext) -> None:
        """k-means (Lloyd, 10 rounds) of vectors (B, positions, size), from random ones of them."""
        rows = torch.ones_like(vectors[:, 0, 0])
        self.book.copy_(self._random_vectors(vectors, rows, scope))
        for _ in range(10):
            chosen = self.nearest(vectors).flatten(0, 1)
            self.count.copy_(chosen.sum(0))
            means = chosen.T @ vectors.flatten(0, 1) / self.count.clamp_min(1).unsqueeze(1)
            self.book.copy_(torch.where(self.count.unsqueeze(1) > 0, means, self.book))
        self.count.clamp_(min=1.0)
        self.total.copy_(self.book * self.count.unsqueeze(1))


class ResidualCodebook(Quantised):
    """The sum of `depth` codes, each the nearest, in a codebook of its own, to what those before it have left.

    Residual VQ: Zeghidour et al. 2021, arXiv:2107.03312; Lee et al. 2022, arXiv:2203.01941, with their commitment, to
    every partial sum. depth=1 is `Codebook`, whose settings the others are. Sums of codes may coincide, so that
    log p(z) is not told from z alone, which `log_prior` refuses where there is a prior.
    """

    def __init__(
        self,
        depth: int = 4,
        codes: int = 256,
        size: int = 64,
        positions: int | tuple[int, ...] | None = None,
        commitment: float = 0.25,
        decay: float = 0.99,
        revive: float = 0.01,
        gradient: Gradient = "straight",
        prior: Prior | None = None,
    ):
        super().__init__()
        self.depth, self.codes, self.size, self.gradient, self.prior = depth, codes, size, gradient, prior
        self.commitment, self.decay, self.revive = commitment, decay, revive
        self.positions = tuple(positions) if isinstance(positions, (tuple, list)) else positions
        self.books = nn.ModuleList(Codebook(codes, size, None, commitment, decay, revive) for _ in range(depth))

    def lookup(self, indices: Tensor) -> Tensor:
        return sum(book.lookup(i) for book, i in zip(self.books, indices.split(1, -1)))

    def quantise(self, vectors: Tensor, scope: ForwardContext | None = None) -> Rounded:
        left, levels = vectors, []
        for book in self.books:
            levels.append(book.quantise(left, scope))
            left = left - levels[-1].codes.detach()
        updates = {n: u for k, level in enumerate(levels) for n, u in prefixed(f"books.{k}", level.updates).items()}
        return Rounded(
            carried(vectors, sum(level.codes.detach() for level in levels), self.gradient),
            torch.cat([level.indices for level in levels], -1),
            sum(level.penalty for level in levels),
            updates,
        )

    def log_prior(self, z: Tensor, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        if self.prior is not None and self.depth > 1:
            raise ValueError("log p(z) of a ResidualCodebook is not told from z: several sums of codes may give it")
        return super().log_prior(z, scope, above)

    @torch.no_grad()
    def prepare(self, inputs: Tensor, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None) -> None:
        """k-means of the sample, then of what it leaves, and so on."""
        left = self._vectors(evidence)
        for book in self.books:
            book.start(left, scope)
            left = left - book.nearest(left) @ book.book
