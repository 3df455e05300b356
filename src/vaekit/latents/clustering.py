"""Normals fitted to codes: k-means, then expectation and maximisation."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import distributions as dist
from ..core import ForwardContext
from ..distributions.mixture import gumbel

LEAST = 1e-3
"""Least variance of a component, of the variance of the codes."""


@torch.no_grad()
def fit_mixture(
    codes: Tensor, components: int, scope: ForwardContext, full: bool = False, starts: int = 10, rounds: int = 100
) -> dist.Mixture:
    """The most likely of `starts` mixtures of normals, diagonal or of full covariance: k-means++ (Arthur &
    Vassilvitskii 2007), 20 rounds of k-means, `rounds` of expectation and maximisation. codes: (N, D)."""
    codes = codes.double()
    tries = [_expect_and_maximise(codes, _k_means(codes, components, scope), full, rounds) for _ in range(starts)]
    return max(tries, key=lambda mixture: float(mixture.log_prob(codes).mean()))


def _k_means(codes: Tensor, components: int, scope: ForwardContext) -> Tensor:
    """(N, components): one-hot, the nearest centre of each row."""
    centres = codes[(scope.rand((1,)) * len(codes)).long()]
    for _ in range(components - 1):
        distance = torch.cdist(codes, centres).min(1).values.square().clamp_min(1e-30)
        chosen = (distance.log() + gumbel(scope.rand((len(codes),)).double())).argmax()
        centres = torch.cat([centres, codes[chosen].unsqueeze(0)])
    for _ in range(20):
        near = torch.nn.functional.one_hot(torch.cdist(codes, centres).argmin(1), components).to(codes.dtype)
        count = near.sum(0).unsqueeze(1)
        centres = torch.where(count > 0, near.T @ codes / count.clamp_min(1), centres)
    return near


def _expect_and_maximise(codes: Tensor, membership: Tensor, full: bool, rounds: int) -> dist.Mixture:
    least = LEAST * codes.var(0, unbiased=False).clamp_min(1e-12)
    for _ in range(rounds):
        count = membership.sum(0).clamp_min(1e-6)
        loc = membership.T @ codes / count.unsqueeze(1)
        if full:
            apart = codes - loc.unsqueeze(1)  # (K, N, D)
            spread = (membership.T.unsqueeze(1) * apart.mT) @ apart / count.reshape(-1, 1, 1)
            parts = dist.MultivariateNormal(loc, torch.linalg.cholesky(spread + least.diag()))
        else:
            variance = membership.T @ codes.square() / count.unsqueeze(1) - loc.square()
            parts = dist.Normal(loc, torch.maximum(variance, least).sqrt())
        mixture = dist.Mixture(parts, (count / count.sum()).log())
        membership = mixture.log_responsibilities(codes).exp()
    return mixture
