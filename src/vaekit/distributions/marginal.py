"""What a latent-variable model says of its rows, by one draw of the latent variable."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import Bound, Scope, record, static
from .base import Distribution, sum_cells
from .normal import Normal


@record
class Marginal(Distribution):
    """`p(x) = E_{u ~ N(0, I)} N(x; decoder(u), scale^2)`, one cell per row, of rows x (B, D).

    log_prob is `log p(x, u) - log q(u | x)` of one draw of u from `encoder(x)`, mu and log sigma^2: its exponential is
    an unbiased estimate of p(x), it is itself a lower bound on average. scope: where the draws of u come from.
    """

    encoder: Bound
    decoder: Bound
    scale: Tensor
    zero: Tensor
    scope: Scope = static()

    def _prior(self) -> Normal:
        return Normal(self.zero, torch.ones_like(self.zero))

    def log_prob(self, x: Tensor) -> Tensor:
        mu, log_var = self.encoder(x).chunk(2, -1)
        q = Normal(mu, (0.5 * log_var.clamp(-20.0, 20.0)).exp())
        u, log_q = q.draw_with_log_density(self.scope)
        cells = Normal(self.decoder(u), self.scale).log_prob(x)
        return sum_cells(cells) + self._prior().log_density(u) - log_q

    def draw(self, scope: Scope, rows: int | None = None) -> Tensor:
        u = self._prior().draw(scope, 1 if rows is None else rows)
        return Normal(self.decoder(u), self.scale.expand_as(u)).draw(scope)

    @property
    def mean(self) -> Tensor:
        """What the decoder makes of the centre of u: a deterministic representative, not the expectation."""
        return self.decoder(self.zero.unsqueeze(0)).squeeze(0)

    mode = mean
