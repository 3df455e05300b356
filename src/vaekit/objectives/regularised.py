"""Objectives of deterministic autoencoders, which regularise where a VAE makes noise."""

from __future__ import annotations

from torch import Tensor

from ..core import Batch, Hyper, Noise, Terms, hyper, weighted_mean
from ..distributions import sum_cells
from ..model import VAEModule
from .base import Objective, penalty, summary


class RAE(Objective):
    """`-log p(x | z) + beta/2 |z|^2 + decoder_l2 |theta|^2`: the regularised autoencoder, for a `PointMass` posterior.

    Ghosh et al. 2020, arXiv:1903.12436, with their L2 penalty on the decoder's weights theta. There is no density
    q(z | x), so no ELBO; the distortion is what is logged.
    """

    needs_density = False

    def __init__(self, beta: float | Hyper = 1e-2, decoder_l2: float = 0.0):
        super().__init__()
        if decoder_l2 < 0:
            raise ValueError(f"RAE(decoder_l2={decoder_l2}): expected a weight of at least 0")
        self.beta, self.decoder_l2 = hyper(beta), decoder_l2
        self.reads_weights = decoder_l2 > 0

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> Terms:
        out = model(batch, noise)
        metrics = summary(out, batch.weight)
        size = 0.5 * weighted_mean(sum_cells(out.draw.z.square()), batch.weight)
        loss = metrics["distortion"] + self.beta(step) * size + penalty(out, batch.weight)
        if self.decoder_l2:
            loss = loss + self.decoder_l2 * sum(p.square().sum() for p in model.decoder.parameters())
        return Terms({"model": loss}, {**metrics, "code_size": size}, out.draw.updates)
