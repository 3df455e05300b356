"""Objectives with a critic: a second player that learns to tell two samples apart."""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Component, Hyper, LossOutput, Noise, hyper, peers_of, weighted_mean
from ..distributions import sum_cells
from ..latents.latent import BOUNDED
from ..likelihoods.base import masked
from ..model import VAEModule
from ..networks import Network, as_map
from .base import Objective, inference_and_generation, penalty, summary


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


class CriticOfCodes(Objective):
    """What objectives share whose second player, the critic, reads z and gives `logits` numbers per row."""

    logits = 1
    critic: nn.Module

    def resolve_shapes(self, *, z_shape: tuple[int, ...] | None = None, **sizes: object) -> Self:
        if not isinstance(self.critic, Component):
            return self
        critic = self.critic.resolve_shapes(in_shape=z_shape, out_shape=(self.logits,))
        return self if critic is self.critic else type(self)(**{**self.arguments(), "critic": critic})

    def param_groups(self, model: VAEModule) -> dict[str, list[str]]:
        critic = [f"objective.critic.{name}" for name, _ in self.critic.named_parameters()]
        return {**super().param_groups(model), "critic": critic}


class FactorTC(CriticOfCodes):
    """FactorVAE: the ELBO plus gamma times a critic's estimate of the total correlation of q(z).

    Kim & Mnih 2018, arXiv:1802.05983. The critic reads z and gives two logits, "from q(z)" and "from prod_j q(z_j)";
    `TC = E[logit_0 - logit_1]`. It is the second player and learns by cross-entropy on z and on z with each
    dimension shuffled over the batch.
    """

    logits = 2

    def __init__(self, critic: nn.Module, gamma: float | Hyper = 6.0):
        super().__init__()
        self.critic, self.gamma = critic, hyper(gamma)

    def check(self, model: VAEModule) -> None:
        super().check(model)
        if len(model.latent.shape) != 1:
            raise ValueError(f"FactorTC shuffles the dimensions of a flat z; this latent's z is {model.latent.shape}")
        if model.latent.space in BOUNDED:
            raise ValueError(
                f"FactorTC shuffles the dimensions of z, which would leave the space that this z lives in, "
                f"{model.latent.space!r}: take a posterior over real numbers, such as Normal"
            )

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise)
        metrics = summary(out, batch.weight)
        joint = self.critic(out.draw.z)
        tc = weighted_mean(joint[:, 0] - joint[:, 1], batch.weight)
        z = out.draw.z.detach()
        shuffled = self.critic(permute_dimensions(z, noise, batch.weight))
        told = self.critic(z).log_softmax(1)[:, 0] + shuffled.log_softmax(1)[:, 1]
        loss = metrics["distortion"] + metrics["rate"] + self.gamma(step) * tc + penalty(out, batch.weight)
        critic = -0.5 * weighted_mean(told, batch.weight)
        return LossOutput({"model": loss, "critic": critic}, {**metrics, "tc": tc, "critic": critic}, out.draw.updates)


class AAE(CriticOfCodes):
    """`-log p(x | z) + weight * fooling`: a critic holds the codes of all rows together to the prior.

    Makhzani et al. 2015, arXiv:1511.05644; WAE-GAN, Tolstikhin et al. 2018, arXiv:1711.01558, algorithm 1, is the same
    with its weight lambda. The critic D gives one logit, "from the prior", and learns by cross-entropy on z ~ q(z | x)
    and as many draws of the prior; the model fools it, `-E log D(z)`. A prior with weights of its own is drawn to the
    codes in the same way, by `-E log(1 - D(z))` over its draws, which says nothing to other priors. Any posterior will
    do, a `PointMass` too; there is no rate in the loss.
    """

    needs_density = False

    def __init__(self, critic: nn.Module, weight: float | Hyper = 10.0):
        super().__init__()
        self.critic, self.weight = critic, hyper(weight)

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise)
        metrics = summary(out, batch.weight)
        prior = self.critic(model.generate(len(out.draw.z), noise, batch.context)).flatten()
        code = self.critic(out.draw.z).flatten()
        critic = weighted_mean(mistaken(prior, True) + mistaken(code, False), batch.weight) / 2
        fooling = weighted_mean(mistaken(prior, False) + mistaken(code, True), batch.weight)
        loss = metrics["distortion"] + self.weight(step) * fooling + penalty(out, batch.weight)
        return LossOutput({"model": loss, "critic": critic}, {**metrics, "critic": critic}, out.draw.updates)


def mistaken(logits: Tensor, real: bool) -> Tensor:
    """The cross-entropy of logits of "real" where that is what the rows are, or is not; nats per row."""
    return F.softplus(-logits if real else logits)


class VAEGAN(Objective):
    """A VAE whose reconstructions are measured by what a critic of images sees in them.

    Larsen et al. 2016, arXiv:1512.09300. `features`, a network, is the critic up to their layer l, and `head` the rest,
    which gives one logit, "real". f(x) is what the features say, brought to mean 0 and variance 1 in each row (theirs
    are normalised over the batch): otherwise a critic could shrink every distance. With x' the mean of p(x | z) for
    z ~ q(z | x), x" the same for z of the prior, and D the critic, three players minimise, as in their algorithm 1,

        inference    KL(q || p) + |f(x) - f(x')|^2 / 2
        generation   gamma |f(x) - f(x')|^2 / 2 - log D(x') - log D(x")
        critic       -log D(x) - log(1 - D(x')) - log(1 - D(x"))

    save that generation fools the critic by `-log D`, whose gradient does not vanish, where they have `log(1 - D)`, and
    is told the KL, which only a prior with weights hears. What is logged as distortion is the likelihood's, which
    nobody minimises. Features of a convolutional network whose `out_shape` is open are its last map. Where cells are
    missing, the critic sees 0 in all three.

    turns: the critic moves in the last step of every so many. One that is far ahead sees in images little but who made
    them; theirs pauses while its loss is low, which a number of steps does without looking.
    """

    caveat = (
        "VAEGAN trains what its critic sees in images, not their likelihood: distortion, elbo and bound are those of a "
        "likelihood that nobody maximised"
    )

    def __init__(self, features: nn.Module, head: nn.Module, gamma: float | Hyper = 1.0, turns: int = 1):
        super().__init__()
        self.features, self.head, self.gamma, self.turns = features, head, hyper(gamma), turns

    def resolve_shapes(self, *, x_shape: tuple[int, ...] | None = None, **sizes: object) -> VAEGAN:
        if x_shape is None:
            return self
        features, head = as_map(self.features, x_shape), self.head
        if isinstance(head, Network):
            head = head.resolve_shapes(in_shape=getattr(features, "out_shape", None), out_shape=(1,))
        same = features is self.features and head is self.head
        return self if same else type(self)(features, head, self.gamma, self.turns)

    def param_groups(self, model: VAEModule) -> dict[str, list[str]]:
        parts = {part: dict(getattr(self, part).named_parameters()) for part in ("features", "head")}
        critic = [f"objective.{part}.{name}" for part, own in parts.items() for name in own]
        return {**inference_and_generation(model), "critic": critic}

    def should_update(self, who: str, taken: int) -> bool:
        return who != "critic" or (taken + 1) % self.turns == 0

    def check(self, model: VAEModule) -> None:
        super().check(model)
        for name, network in (("features", self.features), ("head", self.head)):
            if isinstance(network, Network) and network.open:
                raise ValueError(
                    f"VAEGAN({name}={type(network).__name__}(...)) is open: in_shape={network.in_shape}, "
                    f"out_shape={network.out_shape}; give it the numbers that the critic's features have"
                )

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise)
        metrics, rows = summary(out, batch.weight), len(out.draw.z)
        prior = model.decode(model.generate(rows, noise, batch.context), batch.context).mean
        seen, rebuilt, dreamt = (self.seen(masked(x, batch.mask)) for x in (batch.x, out.px.mean, prior))
        real, *unreal = (self.head(f).flatten() for f in (seen, rebuilt, dreamt))
        content = 0.5 * weighted_mean(sum_cells((seen - rebuilt).square()), batch.weight)
        critic = weighted_mean(mistaken(real, True) + sum(mistaken(u, False) for u in unreal), batch.weight)
        fooling = weighted_mean(sum(mistaken(u, True) for u in unreal), batch.weight)
        cost = metrics["rate"] + penalty(out, batch.weight)
        losses = {
            "inference": cost + content,
            "generation": cost + self.gamma(step) * content + fooling,
            "critic": critic,
        }
        return LossOutput(losses, {**metrics, "content": content, "critic": critic}, out.draw.updates)

    def seen(self, x: Tensor) -> Tensor:
        """(B, *F): f(x)."""
        features = self.features(x)
        return F.layer_norm(features, features.shape[1:])
