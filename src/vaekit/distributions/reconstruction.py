"""An image and what is lost by taking it for another: no distribution, but used like one."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..core import ForwardContext, FunctionalModule, record, static
from .base import Distribution, per_row


@record
class Judged(Distribution):
    """`log_prob(x) = -loss(centre, x)`, (B,): one cell per row, and no density, since nothing makes it integrate to 1.

    centre: (B, *X). network: what the loss reads, if anything; loss is called with (centre, x, network).
    """

    apart = False

    centre: Tensor
    loss: Callable[[Tensor, Tensor, FunctionalModule | None], Tensor] = static()
    network: FunctionalModule | None = None

    def log_prob(self, x: Tensor) -> Tensor:
        return -self.loss(self.centre, x, self.network)

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        """The centre itself."""
        return self.centre.expand(per_row(self.centre.shape, rows))

    @property
    def mean(self) -> Tensor:
        return self.centre

    mode = mean
