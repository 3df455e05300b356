"""What a latent-variable model says of its rows, by one draw of the latent variable."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import ForwardContext, FunctionalModule, record, static
from .base import Distribution, sum_cells
from .elementwise import soft_clamp
from .normal import Normal

REACH = 20.0
"""Soft bound on what the decoder says, in units of `spread`."""


@record
class Marginal(Distribution):
    """`p(x) = E_{u ~ N(0, I)} N(x; shift + spread decoder(u), (spread scale)^2)`, one cell per row, of rows x (B, D).

    shift, spread: (D,), so that the networks may see numbers of the size of 1; what the decoder says is kept within
    (-20, 20) by a soft clamp. log_prob is `log p(x, u) - log q(u | x)` of one draw of u from
    `encoder((x - shift) / spread)`, mu and log sigma^2: its exponential is an unbiased estimate of p(x), it is itself a
    lower bound on average. scope: where the draws of u come from.
    """

    encoder: FunctionalModule
    decoder: FunctionalModule
    scale: Tensor
    shift: Tensor
    spread: Tensor
    scope: ForwardContext = static()

    def _prior(self) -> Normal:
        return Normal(torch.zeros_like(self.shift), torch.ones_like(self.shift))

    def _given(self, u: Tensor) -> Normal:
        mean = self.shift + self.spread * soft_clamp(self.decoder(u), -REACH, REACH)
        return Normal(mean, (self.spread * self.scale).expand_as(mean))

    def log_prob(self, x: Tensor) -> Tensor:
        mu, log_var = self.encoder((x - self.shift) / self.spread).chunk(2, -1)
        q = Normal(mu, (0.5 * log_var.clamp(-20.0, 6.0)).exp())
        u, log_q = q.draw_with_log_density(self.scope)
        return sum_cells(self._given(u).log_prob(x)) + self._prior().log_density(u) - log_q

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        u = self._prior().draw(scope, 1 if rows is None else rows)
        return self._given(u).draw(scope)

    @property
    def mean(self) -> Tensor:
        """What the decoder makes of the centre of u: a deterministic representative, not the expectation."""
        return self._given(torch.zeros_like(self.shift).unsqueeze(0)).mean.squeeze(0)

    mode = mean
