"""The aggregate posterior q(z) = E_x q(z | x) beside the prior, from plain arrays of codes and of log-densities."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core import public
from ..objectives.aggregate import SCALES

ACTIVE = 0.01
"""The variance of its posterior means above which a dimension is active: Burda et al. 2016, arXiv:1509.00519, who
found the histogram of these variances to be clearly bimodal on a logarithmic scale, so that the exact value hardly
counts."""
NEAR = 0.99
"""The share of codes whose nearest other code is within the distance that counts as near."""
PERMUTATIONS = 100


@public
def variances(means: ArrayLike | Tensor) -> Tensor:
    """(D,): the variance over rows of the posterior means (N, D), `Cov_x(E_q(z | x) z)` on its diagonal."""
    return _codes(means, "means").var(0)


@public
def active_units(means: ArrayLike | Tensor, threshold: float = ACTIVE) -> int:
    """How many dimensions of the posterior means (N, D) have a variance above the threshold (Burda et al. 2016)."""
    return int((variances(means) > threshold).sum())


@public
def mutual_information(log_q: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    """Per row, (N,), nats: two estimates of I(x; z) under q, whose means bound it from below and from above.

    log_q: (N, N), log q(z_i | x_j) of a draw z_i ~ q(z | x_i) for every row. Below: `log q(z_i | x_i) - log 1/N sum_j
    q(z_i | x_j)`, which is log N at most, whatever the truth; above: the same with the mean over the others alone, j !=
    i (Poole et al. 2019, arXiv:1905.06922, the bounds with a known conditional). The first is the information about
    which of these N rows it was that Hoffman & Johnson 2016 ("ELBO surgery") take from the rate.
    """
    found = torch.as_tensor(log_q).detach().cpu().double()
    if found.dim() != 2 or found.shape[0] != found.shape[1] or len(found) < 2:
        raise ValueError(f"expected log q(z_i | x_j) of at least two rows, (N, N), got {tuple(found.shape)}")
    own, rows = found.diagonal(), len(found)
    others = found.masked_fill(torch.eye(rows, dtype=torch.bool), -math.inf)
    below = own - torch.logsumexp(found, 1) + math.log(rows)
    above = own - torch.logsumexp(others, 1) + math.log(rows - 1)
    return below, above


@public
def discrepancy(codes: ArrayLike | Tensor, prior: ArrayLike | Tensor, seed: int = 0) -> tuple[float, float]:
    """MMD^2 between codes (N, D) and as many draws from the prior, and its spread where both are of one distribution.

    The unbiased estimate (Gretton et al. 2012) with the inverse multiquadratic kernels of WAE (Tolstikhin et al. 2018,
    arXiv:1711.01558), `sum_s C / (C + |a - b|^2)`, C = 2 D s; it may be below 0. The spread is the standard deviation
    over random exchanges of codes and draws: a value of more than a few of them is no accident.
    """
    a, b = _both(codes, prior)
    rows = min(len(a), len(b))
    both = torch.cat([a[:rows], b[:rows]])
    square = torch.cdist(both, both).square()
    widths = [2 * both.shape[1] * s for s in SCALES["imq"]]
    kernel = sum(c / (c + square) for c in widths).fill_diagonal_(0)

    def mmd(first: Tensor) -> Tensor:
        """Of indicators (P, 2N) of those that are called codes."""
        to_first = first @ kernel
        to_second = kernel.sum(0) - to_first
        within = (to_first * first + to_second * (1 - first)).sum(1) / (rows * (rows - 1))
        return within - 2 * (to_first * (1 - first)).sum(1) / rows**2

    here = torch.cat([both.new_ones(rows), both.new_zeros(rows)])
    generator = np.random.default_rng(seed)
    exchanged = np.stack([generator.permutation(2 * rows) < rows for _ in range(PERMUTATIONS)])
    return float(mmd(here[None])[0]), float(mmd(torch.from_numpy(exchanged).to(both)).std())


@public
def holes(codes: ArrayLike | Tensor, prior: ArrayLike | Tensor) -> tuple[float, float]:
    """The share of the prior's draws (M, D) with no code near, and the share of codes (N, D) with no draw near.

    Near is what 99% of the codes (of the draws) have another one within, so that both are about .01 where the two are
    of one distribution. Draws with no code near are in holes: the decoder was never shown such z (Rosca et al. 2018,
    arXiv:1802.06847, on prior samples of low density under q(z)). Codes with no draw near are never sampled.
    """
    a, b = _both(codes, prior)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"holes are looked for among at least two codes and draws, got {len(a)} and {len(b)}")
    across = torch.cdist(b, a)
    return tuple(float((d > _near(own)).double().mean()) for d, own in ((across.amin(1), a), (across.amin(0), b)))


def _near(rows: Tensor) -> Tensor:
    """The distance to its nearest other row that a share of NEAR of them have at most."""
    return torch.cdist(rows, rows).fill_diagonal_(math.inf).amin(1).quantile(NEAR)


def _codes(values: ArrayLike | Tensor, name: str) -> Tensor:
    """(N, D) in fp64. Raises ValueError for anything else."""
    found = torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values)).detach().cpu().double()
    found = found.flatten(1) if found.dim() > 1 else found
    if found.dim() != 2 or len(found) < 2 or not bool(found.isfinite().all()):
        raise ValueError(f"expected finite {name} of at least two rows, (N, D), got {tuple(found.shape)}")
    return found


def _both(codes: ArrayLike | Tensor, prior: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
    a, b = _codes(codes, "codes"), _codes(prior, "draws from the prior")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"codes have {a.shape[1]} numbers, the prior's draws {b.shape[1]}: take both from one model")
    return a, b
