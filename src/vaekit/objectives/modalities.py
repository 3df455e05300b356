"""Objectives of models whose rows have parts: what each part, or some of them, say of z."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..core import Batch, Hyper, LossOutput, Noise, VAEOutput, hyper, weighted_mean
from ..distributions import kl
from ..latents.experts import Experts, MixtureOfExperts
from ..likelihoods import Modalities
from ..model import VAEModule
from .base import Objective, inference_and_generation, penalty, summary
from .importance import refuse_shared


def parts_of(batch: Batch, model: VAEModule) -> Tensor:
    """(parts, B, *cells): the mask of each part alone."""
    cells = model.likelihood.parts.unsqueeze(1)
    return cells.expand(-1, *batch.x.shape) if batch.mask is None else cells * batch.mask


def repeated(batch: Batch, masks: Tensor) -> Batch:
    """The rows of a batch under each of some masks (n, B, *cells): n * B rows."""
    n = len(masks)

    def each(t: Tensor | None) -> Tensor | None:
        return t if t is None else t.expand(n, *t.shape).flatten(0, 1)

    return Batch(each(batch.x), masks.flatten(0, 1), each(batch.context), each(batch.weight))


class OfParts(Objective):
    """What objectives of rows with parts share. weights: what log p of each part counts in the loss, by default 1: a
    label is a single cell beside the many of an image. What is logged has no weights."""

    posteriors: tuple[type, ...] = (Experts,)

    def __init__(self, weights: Sequence[float] | None = None):
        super().__init__()
        self.weights = None if weights is None else tuple(float(w) for w in weights)

    def check(self, model: VAEModule) -> None:
        super().check(model)
        posterior, name = getattr(model.latent, "posterior", None), type(self).__name__
        if not isinstance(model.likelihood, Modalities) or not isinstance(posterior, self.posteriors):
            wanted = " or ".join(p.__name__ for p in self.posteriors)
            raise ValueError(
                f"{name} needs rows that have parts, likelihood=Modalities(...), and a posterior that joins their "
                f"experts, Latent({wanted}(d), ...); this model has {type(model.likelihood).__name__} and "
                f"{type(posterior or model.latent).__name__}"
            )
        parts = len(model.likelihood.widths)
        if self.weights is not None and len(self.weights) != parts:
            raise ValueError(f"{name}(weights={self.weights}): expected a number for each of {parts} parts")

    def weighed(self, out: VAEOutput, model: VAEModule) -> Tensor:
        """log p(x | z) per row, the parts by their weights."""
        if self.weights is None:
            return out.log_lik
        cells = sum(weight * part for weight, part in zip(self.weights, model.likelihood.parts))
        return (out.cells * cells).flatten(1).sum(1)


class PartsELBO(OfParts):
    """`-ELBO(all parts) - sum_m ELBO(part m alone) - sum_j ELBO(parts A_j)`, A_j drawn anew for each row.

    Wu & Goodman 2018, arXiv:1802.05335, their sub-sampled training. ELBO(A) is that of the model in which the other
    parts are missing. subsets: how many sets A_j, each part being in it by a fair coin; with two parts they add nothing
    new. alone: whether the second term is there. beta: what every rate is weighed by. Where it rises slowly from 0, the
    experts, none of which then costs anything, have to agree; from 1, each may keep to dimensions of its own, so that
    no part tells of another. The logged `elbo` is that of all parts, with beta = 1.
    """

    def __init__(
        self,
        beta: float | Hyper = 1.0,
        subsets: int = 0,
        alone: bool = True,
        weights: Sequence[float] | None = None,
    ):
        super().__init__(weights)
        self.beta, self.subsets, self.alone = hyper(beta), subsets, alone

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        masks = self.masks(parts_of(batch, model), noise)
        out = model(repeated(batch, masks), noise)
        cost = self.beta(step) * out.draw.rate - self.weighed(out, model)
        each = torch.stack([cost, -out.log_lik, out.draw.rate])
        costs, distortions, rates = each.unflatten(1, (len(masks), -1))
        distortion, rate = weighted_mean(distortions[0], batch.weight), weighted_mean(rates[0], batch.weight)
        metrics = {"elbo": -distortion - rate, "distortion": distortion, "rate": rate}
        return LossOutput({"model": weighted_mean(costs.sum(0), batch.weight)}, metrics, out.draw.updates)

    def masks(self, parts: Tensor, noise: Noise) -> Tensor:
        """(sets, B, *cells): of all parts, and of those that the other bounds are of."""
        found = [parts.sum(0, keepdim=True)]
        if self.alone:
            found.append(parts)
        if self.subsets:
            chosen = (noise.rand((self.subsets, *parts.shape[:2])) < 0.5).to(parts.dtype)
            found.append((chosen.reshape(*chosen.shape, *[1] * (parts.dim() - 2)) * parts).sum(1))
        return torch.cat(found)


class JointELBO(OfParts):
    """`-ELBO(all parts) + alpha sum_m KL(q(z | x) || q(z | x_m))`: each part's expert learns what all parts say.

    Suzuki et al. 2016, arXiv:1611.01891 (JMVAE-kl). Parts that are missing are left out.
    """

    def __init__(self, alpha: float | Hyper = 0.1, weights: Sequence[float] | None = None):
        super().__init__(weights)
        self.alpha = hyper(alpha)

    def check(self, model: VAEModule) -> None:
        super().check(model)
        if isinstance(model.latent.posterior, MixtureOfExperts):
            raise ValueError("JointELBO needs a closed KL between posteriors, which mixtures have not: use JointExpert")

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise)
        metrics, masks = summary(out, batch.weight), parts_of(batch, model)
        alone = model.infer(repeated(batch, masks), noise).q.map(lambda t: t.unflatten(0, (len(masks), -1)))
        apart = kl(out.draw.q.map(lambda t: t.unsqueeze(0)), alone).unflatten(1, out.draw.z.shape).sum(2)
        seen = model.likelihood.seen(batch.x, batch.mask).mT
        apart = weighted_mean((apart * seen).sum(0), batch.weight)
        distortion = -weighted_mean(self.weighed(out, model), batch.weight)
        loss = distortion + metrics["rate"] + self.alpha(step) * apart + penalty(out, batch.weight)
        return LossOutput({"model": loss}, {**metrics, "apart": apart}, out.draw.updates)


class ExpertIWAE(OfParts):
    """The mean over the parts of `E log 1/k sum_i w_i`, `w = p(x, z) / q(z | x)`, z from that part's expert alone.

    Shi et al. 2019, arXiv:1911.03393 (MMVAE), q being the mixture of all. So every expert has to explain
    all parts; in one bound of draws from the mixture, the best expert's would count alone. Gradients are doubly
    reparameterised (Tucker et al. 2019, arXiv:1810.04152), by two players, as in their paper; see `IWAE`.
    """

    posteriors = (MixtureOfExperts,)

    def __init__(self, k: int = 10, weights: Sequence[float] | None = None):
        super().__init__(weights)
        self.k = k

    def check(self, model: VAEModule) -> None:
        super().check(model)
        refuse_shared(model, "ExpertIWAE")
        if model.latent.posterior.products:
            raise ValueError("ExpertIWAE draws from each part's expert, not from products: MixtureOfExperts(d, parts)")

    def param_groups(self, model: VAEModule) -> dict[str, list[str]]:
        return inference_and_generation(model)

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        given = parts_of(batch, model)
        rows = repeated(batch, given.sum(0, keepdim=True).expand_as(given))
        out = model(rows, noise, draws=self.k, path_only=True, given=given.flatten(0, 1))
        seen = model.likelihood.seen(batch.x, batch.mask).mT
        share = seen / seen.sum(0).clamp(min=1)

        def mean(of_draws: Tensor, over: Callable[[Tensor], Tensor] = lambda t: t.mean(0)) -> Tensor:
            each = over(of_draws.unflatten(0, (self.k, *share.shape)))
            return weighted_mean((share * each).sum(0), batch.weight)

        log_w = self.weighed(out, model) + out.draw.log_ratio
        w = log_w.unflatten(0, (self.k, -1)).softmax(0).detach().flatten(0, 1)
        losses = {
            "inference": -mean(w.square() * log_w, lambda t: t.sum(0)),
            "generation": -mean(w * log_w, lambda t: t.sum(0)),
        }
        bound = mean(out.log_weight, lambda t: torch.logsumexp(t, 0) - math.log(self.k))
        distortion, rate = -mean(out.log_lik), mean(out.draw.rate)
        metrics = {"bound": bound, "elbo": -distortion - rate, "distortion": distortion, "rate": rate}
        return LossOutput(losses, metrics, out.draw.updates)
