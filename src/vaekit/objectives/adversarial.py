"""Objectives with a critic: a second player that learns to tell two samples apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core import Batch, Component, Hyper, Noise, Terms, hyper, peers_of, weighted_mean
from ..latents.latent import BOUNDED
from ..model import VAEModule
from .base import Objective, penalty, summary


def permute_dimensions(z: Tensor, noise: Noise, weight: Tensor | None) -> Tensor:
    """Each dimension shuffled over the rows by itself: draws of prod_j q(z_j) from draws of q(z).

    The rows are those of all processes. Rows of weight 0 give nothing to the others.
    """
    peers = peers_of(noise)
    z, keys = peers.gather(z), peers.gather(noise.rand(z.shape))
    if weight is None:
        return peers.share(z.gather(0, keys.argsort(0)))
    weight = peers.gather(weight)
    counted = (weight > 0).unsqueeze(1)
    order = torch.where(counted, keys, 2.0).argsort(0)
    rank = (counted.long().cumsum(0) - 1).clamp(min=0).expand_as(order)
    return peers.share(z.gather(0, order.gather(0, rank)))


class FactorTC(Objective):
    """FactorVAE: the ELBO plus gamma times a critic's estimate of the total correlation of q(z).

    Kim & Mnih 2018, arXiv:1802.05983. The critic reads z and gives two logits, "from q(z)" and "from prod_j q(z_j)";
    `TC = E[logit_0 - logit_1]`. It is the second player and learns by cross-entropy on z and on z with each
    dimension shuffled over the batch.
    """

    def __init__(self, critic: nn.Module, gamma: float | Hyper = 6.0):
        super().__init__()
        self.critic, self.gamma = critic, hyper(gamma)

    def settled(self, *, z_shape: tuple[int, ...] | None = None, **sizes: object) -> FactorTC:
        if not isinstance(self.critic, Component):
            return self
        critic = self.critic.settled(in_shape=z_shape, out_shape=(2,))
        return self if critic is self.critic else type(self)(critic, self.gamma)

    def players(self, model: VAEModule) -> dict[str, list[str]]:
        critic = [f"objective.critic.{name}" for name, _ in self.critic.named_parameters()]
        return {**super().players(model), "critic": critic}

    def check(self, model: VAEModule) -> None:
        super().check(model)
        if len(model.latent.shape) != 1:
            raise ValueError(f"FactorTC shuffles the dimensions of a flat z; this latent's z is {model.latent.shape}")
        if model.latent.space in BOUNDED:
            raise ValueError(
                f"FactorTC shuffles the dimensions of z, which would leave the space that this z lives in, "
                f"{model.latent.space!r}: take a posterior over real numbers, such as Normal"
            )

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> Terms:
        out = model(batch, noise)
        metrics = summary(out, batch.weight)
        joint = self.critic(out.draw.z)
        tc = weighted_mean(joint[:, 0] - joint[:, 1], batch.weight)
        z = out.draw.z.detach()
        shuffled = self.critic(permute_dimensions(z, noise, batch.weight))
        told = self.critic(z).log_softmax(1)[:, 0] + shuffled.log_softmax(1)[:, 1]
        loss = metrics["distortion"] + metrics["rate"] + self.gamma(step) * tc + penalty(out, batch.weight)
        critic = -0.5 * weighted_mean(told, batch.weight)
        return Terms({"model": loss, "critic": critic}, {**metrics, "tc": tc, "critic": critic}, out.draw.updates)
