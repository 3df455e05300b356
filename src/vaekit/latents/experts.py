"""Posteriors that join what is said of each part of a row: experts, of whom some may have nothing to say."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from .. import distributions as dist
from .posteriors import Posterior, log_variance


class Experts(Posterior):
    """Reads mu and log sigma^2 of an expert per part, one after the other, then a flag per part: 1 where it is there.

    `networks.PartEncoder` gives these. Where no part is there, q(z | nothing) = N(0, I), the prior.
    """

    joint = 0
    """How many experts come before those of the parts."""

    def __init__(self, size: int, experts: int = 2):
        super().__init__()
        self.size, self.experts = size, experts

    @property
    def n_in(self) -> int:
        return 2 * self.size * (self.experts + self.joint) + self.experts

    def read(self, evidence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """mu (..., experts, size), log sigma^2 within [-20, 6], the flags (..., experts), 0 or 1."""
        numbers, seen = evidence.split([self.n_in - self.experts, self.experts], -1)
        loc, log_var = numbers.unflatten(-1, (-1, 2, self.size)).unbind(-2)
        return loc, log_variance(log_var), (seen > 0.5).to(evidence.dtype)


def product(loc: Tensor, log_var: Tensor, members: Tensor, precision: Tensor | float) -> dist.Normal:
    """`N(0, 1 / precision) prod_m N(loc_m, exp(log_var_m))^members_m`, normalised: precisions add.

    loc, log_var: (..., M, D). members: (..., K, M), the normals being (..., K, D); one with no precision at all has
    no members and precision 0. Wu & Goodman 2018, arXiv:1802.05335.
    """
    own = (-log_var).exp()
    total = members @ own + precision
    return dist.Normal((members @ (own * loc)) / total, total.rsqrt())


class ProductOfExperts(Experts):
    """The product of the experts of the parts that are there, and of the prior N(0, I), as one normal.

    Wu & Goodman 2018, arXiv:1802.05335 (MVAE).
    """

    def forward(self, evidence: Tensor) -> dist.Normal:
        loc, log_var, seen = self.read(evidence)
        return product(loc, log_var, seen.unsqueeze(-2), 1.0).map(lambda t: t.squeeze(-2))


class JointExpert(Experts):
    """An expert that reads all parts, where all are there; otherwise the product of the experts of those that are.

    Suzuki et al. 2016, arXiv:1611.01891 (JMVAE), who have two parts, and so one expert alone where one is missing.
    The joint expert comes first in the evidence.
    """

    joint = 1

    def forward(self, evidence: Tensor) -> dist.Normal:
        loc, log_var, seen = self.read(evidence)
        nothing = 1 - seen.amax(-1, keepdim=True)
        q = product(loc[..., 1:, :], log_var[..., 1:, :], seen.unsqueeze(-2), nothing.unsqueeze(-1))
        whole = seen.amin(-1, keepdim=True) > 0
        scale = torch.where(whole, (0.5 * log_var[..., 0, :]).exp(), q.scale.squeeze(-2))
        return dist.Normal(torch.where(whole, loc[..., 0, :], q.loc.squeeze(-2)), scale)


class MixtureOfExperts(Experts):
    """The experts of the parts that are there, each as likely as the others.

    Shi et al. 2019, arXiv:1911.03393 (MMVAE). products: a mixture over all sets of such parts, of the product of the
    experts of each set (Sutter et al. 2021, arXiv:2105.02470, MoPoE). A draw is reparameterised given its component;
    the weights of the components have no gradient.
    """

    sets: Tensor

    def __init__(self, size: int, experts: int = 2, products: bool = False):
        super().__init__(size, experts)
        self.products = products
        sizes = range(experts, 0, -1) if products else [1]  # the largest first: noise without chance chooses it
        members = [set(chosen) for n in sizes for chosen in combinations(range(experts), n)] + [set()]
        sets = torch.tensor([[float(e in chosen) for e in range(experts)] for chosen in members])
        self.register_buffer("sets", sets, persistent=False)

    def forward(self, evidence: Tensor) -> dist.Mixture:
        loc, log_var, seen = self.read(evidence)
        empty = 1 - self.sets.amax(1)
        complete = ((1 - seen) @ self.sets.mT == 0).to(seen.dtype) * (1 - empty)
        there = complete + empty * (1 - seen.amax(-1, keepdim=True))
        log_weights = (there / there.sum(-1, keepdim=True)).log()
        return dist.Mixture(product(loc, log_var, self.sets, empty.unsqueeze(-1)), log_weights)
