"""Models that are fitted in closed form, or nearly so: probabilistic PCA, a mixture of normals, independent columns.

They read rows (N, D), independent columns also such as are stored or sparse, and give log p in nats, in fp64, some rows
at a time.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..data.lazy_rows import LazyRows
from ..distributions import Library, NegativeBinomial
from .clusters import kmeans

CHUNK, CELLS = 1000, 2**22
"""Rows that are looked at at a time, at most, and their cells."""
LEAST = 1e-3
"""Least variance of a component, of the variance of the data."""
FULL = 64
"""Columns up to which a mixture of full covariances is tried."""
DISPERSION_ROWS = 1000
"""Rows that inverse dispersions are found by."""


# -- models of real numbers ------------------------------------------------------------------------


@dataclass(frozen=True)
class ProbabilisticPCA:
    """`x = W z + mean + noise`, z ~ N(0, I), noise ~ N(0, s^2 I), at the maximum of the likelihood, in closed form.

    Tipping & Bishop 1999: with the eigenvalues l and eigenvectors U of the covariance (1/N), s^2 is the mean of the
    discarded l, and W = U (l - s^2)^1/2. It is at least 1e-6 of the columns' mean variance, as rows on a plane would
    have a density without bound. mean: (D,). axes: (D, latents), columns of U. values: (latents,), their l, the
    variance along each axis. noise: s^2.
    """

    mean: Tensor
    axes: Tensor
    values: Tensor
    noise: float

    @classmethod
    def fit(cls, x: Tensor, latents: int) -> Self:
        """x: (N, D). Raises ValueError unless 1 <= latents < D."""
        n, width = x.shape
        if not 1 <= latents < width:
            raise ValueError(
                f"{latents} latents of {width} columns: expected at least 1 and fewer than there are columns"
            )
        mean = _sum(x, lambda part: part.sum(0)) / n
        covariance = _sum(x, lambda part: (part - mean).T @ (part - mean)) / n
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
        noise = max(float(values[latents:].mean()), LEAST**2 * float(values.mean()), 1e-300)
        values = values.clamp(min=noise)
        return cls(mean, vectors[:, :latents], values[:latents], noise)

    def log_prob(self, x: Tensor) -> Tensor:
        """(N,): log N(x; mean, W W^T + s^2 I)."""
        width, latents = self.axes.shape
        log_det = self.values.log().sum() + (width - latents) * math.log(self.noise)

        def of(part: Tensor) -> Tensor:
            along, off = self._parted(part)
            exponent = (along.square() / self.values).sum(1) + off.square().sum(1) / self.noise
            return -0.5 * (width * math.log(2 * math.pi) + log_det + exponent)

        return by_chunks(x, of)

    def reconstruct(self, x: Tensor) -> Tensor:
        """(N, D): the nearest points of the plane mean + span(W)."""
        return by_chunks(x, lambda part: part - self._parted(part)[1])

    def squared_error(self, x: Tensor) -> Tensor:
        """(N,): |x - x'|^2, x' the reconstruction."""
        return by_chunks(x, lambda part: self._parted(part)[1].square().sum(1))

    def _parted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, latents), where rows lie along the axes, and (N, D), what is left."""
        apart = x - self.mean
        along = apart @ self.axes
        return along, apart - along @ self.axes.T


@dataclass(frozen=True)
class GaussianMixture:
    """`p(x) = sum_k share_k N(x; mean_k, S_k)`. log_shares: (K,). means: (K, D). roots: standard deviations (K, D), or
    the Cholesky factors (K, D, D) of full covariances."""

    log_shares: Tensor
    means: Tensor
    roots: Tensor

    @classmethod
    def fit(
        cls, x: Tensor, components: int, full: bool = False, starts: int = 3, rounds: int = 100, seed: int = 0
    ) -> Self:
        """The likeliest of several starts of expectation and maximisation (Dempster et al. 1977), each from k-means.

        x: (N, D). A round that gains less than 1e-4 nats per row is the last. To every variance `LEAST` times that of
        its column is added, without which a component that shrinks onto one row would have a density without bound.
        """
        tries = [cls._once(x, components, full, rounds, seed + start) for start in range(starts)]
        return max(tries, key=lambda found: found[1])[0]

    @classmethod
    def _once(cls, x: Tensor, components: int, full: bool, rounds: int, seed: int) -> tuple[Self, float]:
        begin = torch.from_numpy(kmeans(x.numpy(), components, starts=1, seed=seed).labels)
        shares = torch.nn.functional.one_hot(begin, components).to(x.dtype)
        variance = x.var(0, unbiased=False)
        least = LEAST * variance.clamp(min=max(LEAST * float(variance.mean()), 1e-12))
        reached = -math.inf
        for _ in range(rounds):
            mixture = cls._maximised(x, shares, least, full)
            joint = mixture._joint(x)
            log_p = joint.logsumexp(1)
            before, reached = reached, float(log_p.mean())
            if reached - before < 1e-4:
                break
            shares = (joint - log_p.unsqueeze(1)).exp()
        return mixture, reached

    @classmethod
    def _maximised(cls, x: Tensor, shares: Tensor, least: Tensor, full: bool) -> Self:
        count = shares.sum(0).clamp(min=1e-6)
        means = shares.T @ x / count.unsqueeze(1)
        if full:
            parts = [(w.unsqueeze(1) * (x - m)).T @ (x - m) / n for w, m, n in zip(shares.T, means, count)]
            roots = torch.linalg.cholesky(torch.stack(parts) + least.diag())
        else:
            roots = (shares.T @ x.square() / count.unsqueeze(1) - means.square()).clamp(min=0).add(least).sqrt()
        return cls((count / count.sum()).log(), means, roots)

    def _joint(self, x: Tensor) -> Tensor:
        """(N, K): log share_k + log N(x; mean_k, S_k)."""
        if self.roots.dim() == 3:
            apart = [torch.linalg.solve_triangular(r, (x - m).T, upper=False) for r, m in zip(self.roots, self.means)]
            squares = torch.stack([a.square().sum(0) for a in apart], 1)
            log_det = self.roots.diagonal(dim1=1, dim2=2).log().sum(1)
        else:
            weight = self.roots.pow(-2)
            squares = x.square() @ weight.T - 2 * x @ (self.means * weight).T + (self.means.square() * weight).sum(1)
            log_det = self.roots.log().sum(1)
        return self.log_shares - log_det - 0.5 * (squares + x.shape[1] * math.log(2 * math.pi))

    def log_prob(self, x: Tensor) -> Tensor:
        """(N,): log p(x)."""
        return by_chunks(x, lambda part: self._joint(part).logsumexp(1))


def chosen_mixture(x: Tensor, seed: int = 0) -> GaussianMixture:
    """A mixture of normals of 1, 5 or 20 components, of diagonal or (up to 64 columns) full covariances: the one of
    the highest log p of a tenth of the rows that it is not fitted to, fitted again to all of them."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(x)))
    held, own = x[order[: len(x) // 10]], x[order[len(x) // 10 :]]
    tried = [
        (float(GaussianMixture.fit(own, k, full, 1, seed=seed).log_prob(held).mean()), k, full)
        for full in ((False, True) if x.shape[1] <= FULL else (False,))
        for k in (1, 5, 20)
        if 10 * k <= len(own)
    ]
    _, components, full = max(tried)
    return GaussianMixture.fit(x, components, full, seed=seed)


def _parts(x: Tensor | LazyRows) -> Iterator[Tensor]:
    """All rows in order, some at a time."""
    yield from x.split(min(CHUNK, max(1, CELLS // x.shape[1])))


def _sum(x: Tensor | LazyRows, f: Callable[[Tensor], Tensor]) -> Tensor:
    return sum(f(part.double()) for part in _parts(x))


def by_chunks(x: Tensor | LazyRows, f: Callable[[Tensor], Tensor]) -> Tensor:
    """f of some rows of x at a time, in fp64."""
    return torch.cat([f(part.double()) for part in _parts(x)])


# -- independent columns ---------------------------------------------------------------------------


def factorised(x_train: Tensor | LazyRows, kind: str) -> Callable[[Tensor], Tensor]:
    """log p of cells under a model of independent columns, fitted to rows (N, D): (B, D) -> (B, D).

    kind, of all columns:

    - "binary", "bytes": the shares of the levels, one more row being counted that is spread over all levels alike;
    - "count": the negative binomial of the column's mean and variance, Poisson where the latter is no larger;
    - "real": the normal of both, of a variance of at least `LEAST` times the columns' mean variance;
    - "cross-entropy": `x log p + (1 - x) log(1 - p)`, p the column's mean.

    NaN marks a missing cell, whose log p is 0.
    """
    if kind in ("binary", "bytes"):
        return _cells_there(_levels(x_train, 2 if kind == "binary" else 256))
    seen = _sum(x_train, lambda x: (~x.isnan()).sum(0))
    mean = _sum(x_train, lambda x: x.nansum(0)) / seen
    variance = _sum(x_train, lambda x: (x - mean).square().nansum(0)) / seen
    if kind == "cross-entropy":
        p = (mean * seen + 0.5) / (seen + 1)
        return _cells_there(lambda x: x * p.log() + (1 - x) * (1 - p).log())
    if kind == "count":
        mean = mean.clamp(min=0.5 / len(x_train))
        theta = torch.where(variance > mean, mean.square() / (variance - mean), math.inf).clamp(max=1e12)
        return _cells_there(NegativeBinomial(mean.log(), theta.log()).log_prob)
    variance = variance.clamp(min=max(LEAST * float(variance.mean()), 1e-12))
    return _cells_there(lambda x: -0.5 * ((2 * math.pi * variance).log() + (x - mean).square() / variance))


def of_library(x_train: Tensor | LazyRows) -> Callable[[Tensor], Tensor]:
    """log p of counts given their rows' totals, under a model without a code, fitted to rows (N, D): (B, D) -> (B, D).

    Independent columns, negative binomial around `l p`, l a row's total and p the column's share of all counts, of an
    inverse dispersion at its greatest likelihood over a grid, to a fifth, on at most `DISPERSION_ROWS` rows. Of a row
    with missing cells (NaN), l is what the others sum to, and p their share in these.
    """
    sums, seen = _sum(x_train, lambda x: x.nansum(0)), _sum(x_train, lambda x: (~x.isnan()).double().sum(0))
    log_share = ((sums + 0.5) / seen.clamp(min=1)).log()

    def at(x: Tensor, log_theta: Tensor) -> Tensor:
        x = x.double()
        there, depth = (~x.isnan()).double(), torch.zeros(1, 1, dtype=torch.float64)
        px = Library(log_share.unsqueeze(0), (log_theta.unsqueeze(0),), depth, depth, NegativeBinomial, True)
        x = x.nan_to_num(nan=0.0)
        return _log_prob(px.at(px.own_library(x, there)), x) * there

    chosen = torch.randperm(len(x_train), generator=torch.Generator().manual_seed(0))[:DISPERSION_ROWS]
    some = x_train[chosen.sort().values]
    log_theta = torch.zeros_like(log_share)
    for width in (3.0, 1.0, 0.4, 0.2):
        tried = [log_theta + width * step for step in range(-4, 5)]
        found = torch.stack([_sum(some, lambda x, t=t: at(x, t).sum(0)) for t in tried])
        log_theta = torch.stack(tried).gather(0, found.argmax(0, keepdim=True))[0]
    return lambda x: at(x, log_theta)


def _log_prob(px: NegativeBinomial, x: Tensor) -> Tensor:
    """Of x (B, D); zeros, most of what is sparse, by the short form, `-theta log(1 + mu / theta)`."""
    log_theta = px.log_theta.expand(x.shape)
    log_p = -px.log_theta.exp() * torch.log1p((px.log_mean - px.log_theta).exp())
    counted = x.nonzero(as_tuple=True)
    log_p[counted] = NegativeBinomial(px.log_mean[counted], log_theta[counted]).log_prob(x[counted])
    return log_p


def _cells_there(log_p: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def of(x: Tensor) -> Tensor:
        there = ~x.isnan() if x.is_floating_point() else torch.ones_like(x, dtype=torch.bool)
        return torch.where(there, log_p(torch.where(there, x, 0).double()), 0.0)

    return of


def _levels(x: Tensor | LazyRows, levels: int) -> Callable[[Tensor], Tensor]:
    counts = torch.zeros(x.shape[1], levels, dtype=torch.float64)
    columns = torch.arange(x.shape[1])
    for part in _parts(x):
        there = ~part.isnan() if part.is_floating_point() else torch.ones_like(part, dtype=torch.bool)
        place = torch.where(there, part, 0).long() + levels * columns
        counts.view(-1).index_add_(0, place.flatten(), there.double().flatten())
    log_p = ((counts + 1 / levels) / (counts.sum(1, keepdim=True) + 1)).log()
    return lambda x: log_p[columns, x.long()]


def xz_bits(x: ArrayLike) -> float:
    """Bits per cell of whole numbers (N, ...) as one .xz file: two values 8 to a byte, others in the smallest type.

    All rows are one stream; each as a file of its own, as images often are, would take far more.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "biu" or not array.size or array.min() < 0:
        raise ValueError(f"xz gives the length of a code of whole numbers from 0, got {array.dtype}: others have none")
    most = int(array.max())
    two = ((array == 0) | (array == most)).all()
    content = np.packbits(array > 0) if two else array.astype(np.min_scalar_type(most), copy=False)
    return 8 * len(lzma.compress(content.tobytes(), preset=9 | lzma.PRESET_EXTREME)) / array.size
