"""A prior that is a small VAE of its own, over codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import distributions as dist
from ..core import ForwardContext, FunctionalModule
from ..networks import MLP
from .posteriors import LOG_SCALES
from .priors import Prior


class SecondStage(Prior):
    """A VAE over codes: `p(z) = E_{u ~ N(0, I)} N(z; decoder(u), scale^2)`, u of as many numbers as z.

    Dai & Wipf 2019, arXiv:1903.05789: the second stage, whose noise (`scale`, one for all dimensions) is learned. Its
    log p(z) is an estimate by one draw of u: on average a lower bound, while its exponential, and with it exp(log_lik +
    log_ratio), stays an unbiased estimate.
    """

    estimates = True
    shift: Tensor
    spread: Tensor

    def __init__(self, hidden: Sequence[int] = (256, 256), size: int | None = None):
        super().__init__()
        self.hidden, self.size, known = tuple(int(n) for n in hidden), size, size or 1
        self.register_buffer("shift", torch.zeros(known))
        self.register_buffer("spread", torch.ones(known))
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.encoder = MLP(self.hidden, heads=2, in_shape=known, out_shape=2 * known)
        self.decoder = MLP(self.hidden, in_shape=known, out_shape=known)

    def forward(self, scope: ForwardContext, above: Tensor | None = None) -> dist.Marginal:
        networks = FunctionalModule.of(self.encoder), FunctionalModule.of(self.decoder)
        return dist.Marginal(*networks, self.log_scale.clamp(*LOG_SCALES).exp(), self.shift, self.spread, scope)

    @torch.no_grad()
    def start(self, codes: Tensor, scope: ForwardContext) -> None:
        """The networks see codes by the mean and the spread of these."""
        codes = codes[:, : self.size]
        self.shift.copy_(codes.mean(0))
        self.spread.copy_(codes.std(0).clamp_min(1e-6))
