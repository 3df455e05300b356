"""The evidence lower bound and its usual variations."""

from __future__ import annotations

from torch import Tensor

from ..core import Batch, Hyper, LossOutput, Noise, batch_mean, hyper, peers_of
from ..model import VAEModule
from .base import Objective, penalty, summary


class ELBO(Objective):
    """`-E_q log p(x | z) + beta * KL(q || p)`, both terms summed over their dimensions.

    Kingma & Welling 2014, arXiv:1312.6114; beta: Higgins et al. 2017; a schedule (`Ramp`, `Cycle`) warms it up.
    free_bits: nats per unit (a dimension, or a rung) below which its mean KL costs nothing: `sum_j max(free_bits,
    KL_j)` (Kingma et al. 2016, arXiv:1606.04934). capacity: nats C the rate is drawn to, `beta * |KL - C|`, a
    number or a schedule (Burgess et al. 2018, arXiv:1804.03599). The logged `elbo` has beta = 1 and neither.
    """

    def __init__(
        self, beta: float | Hyper = 1.0, free_bits: float = 0.0, capacity: float | Hyper | None = None
    ) -> None:
        super().__init__()
        if free_bits and capacity is not None:
            raise ValueError("ELBO takes free_bits or capacity, not both: each replaces the rate")
        self.beta, self.free_bits = hyper(beta), free_bits
        self.capacity = None if capacity is None else hyper(capacity)

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise)
        metrics = summary(out, batch.weight)
        cost = metrics["rate"]
        if self.free_bits:
            units = out.draw.rate.unsqueeze(1) if out.draw.kl is None else out.draw.kl
            cost = batch_mean(units, batch.weight, peers_of(noise)).clamp(min=self.free_bits).sum()
        if self.capacity is not None:
            cost = (batch_mean(out.draw.rate, batch.weight, peers_of(noise)) - self.capacity(step)).abs()
        loss = metrics["distortion"] + self.beta(step) * cost + penalty(out, batch.weight)
        return LossOutput({"model": loss}, metrics, out.draw.updates)
