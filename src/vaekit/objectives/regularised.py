"""Objectives of deterministic autoencoders, which regularise where a VAE makes noise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import vjp, vmap

from ..core import Batch, Hyper, LossOutput, Noise, hyper, weighted_mean
from ..distributions import sum_cells
from ..model import VAEModule
from .base import Objective, penalty, summary


class RAE(Objective):
    """`-log p(x | z) + beta/2 |z|^2 + penalty`: the regularised autoencoder, for a `PointMass` posterior.

    Ghosh et al. 2020, arXiv:1903.12436, whose penalties keep the decoder smooth: `decoder_l2 |theta|^2` on its weights,
    `gradient_penalty |dD(z)/dz|^2 / 2`, the squared Frobenius norm of the Jacobian of D(z), the mean of p(x | z); or,
    instead of a term of the loss, `vaekit.networks.Spectral` around the decoder. There is no density q(z | x), so no
    ELBO; the distortion is what is logged.
    """

    needs_density = False

    def __init__(self, beta: float | Hyper = 1e-2, decoder_l2: float = 0.0, gradient_penalty: float = 0.0):
        super().__init__()
        self.beta, self.decoder_l2, self.gradient_penalty = hyper(beta), decoder_l2, gradient_penalty
        self.reads_weights = decoder_l2 > 0

    def check(self, model: VAEModule) -> None:
        super().check(model)
        stateful = [type(m).__name__ for m in model.decoder.modules() if getattr(m, "stackable", True) is False]
        if self.gradient_penalty and stateful:
            raise ValueError(
                f"the gradient penalty calls the decoder as a function of z, and {stateful[0]} changes its state when "
                "it is called: use RAE(decoder_l2=...), or a decoder without running statistics"
            )

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise)
        metrics = summary(out, batch.weight)
        size = 0.5 * weighted_mean(sum_cells(out.draw.z.square()), batch.weight)
        loss = metrics["distortion"] + self.beta(step) * size + penalty(out, batch.weight)
        if self.decoder_l2:
            loss = loss + self.decoder_l2 * sum(p.square().sum() for p in model.decoder.parameters())
        metrics = {**metrics, "code_size": size}
        if self.gradient_penalty:
            steepness = 0.5 * weighted_mean(squared_jacobian(model, out.draw.z, batch.context), batch.weight)
            loss, metrics = loss + self.gradient_penalty * steepness, {**metrics, "steepness": steepness}
        return LossOutput({"model": loss}, metrics, out.draw.updates)


def squared_jacobian(model: VAEModule, z: Tensor, context: Tensor | None = None) -> Tensor:
    """(B,): the sum of the squares of d E[x | z] / dz, exactly, by one derivative per dimension of z."""
    mean, pull = vjp(lambda z: model.decode(z, context).mean, z)
    # The pullback is linear, and its own pullback pushes a direction of z forward: no forward derivatives are needed,
    # which not every layer has.
    _, push = vjp(lambda cotangent: pull(cotangent)[0], torch.zeros_like(mean))
    directions = torch.eye(z[0].numel(), dtype=z.dtype, device=z.device).unflatten(1, z.shape[1:])
    columns = vmap(lambda direction: push(direction.expand_as(z))[0])(directions)
    return sum_cells(columns.square().transpose(0, 1))
