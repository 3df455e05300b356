"""Objectives of the aggregate posterior q(z) = E_x q(z | x): its dependence, its moments, its distance to p(z)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .. import distributions as dist
from ..core import Batch, Hyper, LossOutput, Noise, hyper, weighted_mean
from ..latents import Latent, Normal
from ..model import VAEModule
from .base import Objective, penalty, summary

Estimator = Literal["weighted", "stratified"]
Kernel = Literal["imq", "rbf"]
SCALES = {"imq": (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0), "rbf": (0.25, 0.5, 1.0, 2.0, 4.0)}
"""By kernel: what its width, the one that suits N(0, I), is multiplied by; a kernel is the sum over them."""


def needs_normal(objective: Objective, model: VAEModule) -> None:
    """Raises ValueError unless q(z | x) is a normal of independent dimensions."""
    posterior = getattr(model.latent, "posterior", None)
    if not (isinstance(model.latent, Latent) and isinstance(posterior, Normal)):
        found = type(model.latent if posterior is None else posterior).__name__
        raise ValueError(
            f"{type(objective).__name__} reads q(z | x) dimension by dimension, from Latent(Normal(d), ...); this "
            f"model's is {found}"
        )


class TotalCorrelation(Objective):
    """`-ELBO + (beta - 1) TC`, `TC = KL(q(z) || prod_d q(z_d))` of the aggregate posterior.

    beta-TCVAE: Chen et al. 2018, arXiv:1802.04942, whose decomposition of the rate, mutual information + TC +
    dimension-wise KL, is weighed by (1, beta, 1). q(z) is estimated from the rows of the batch, for which they have two
    ways: "weighted", the batch's own mixture `1/B sum_j q(z | x_j)` (their factor 1/N is left out: it adds a constant
    to TC, and without it TC is exact where the batch is the whole data); "stratified", unbiased for q(z) over the
    `rows` of the data (their appendix C.2), which are known once training begins.
    """

    couples_rows = True

    def __init__(self, beta: float | Hyper = 6.0, estimator: Estimator = "weighted", rows: int | None = None):
        super().__init__()
        self.beta, self.estimator, self.rows = hyper(beta), estimator, rows

    def resolve_shapes(self, *, rows: int | None = None, **sizes: object) -> TotalCorrelation:
        if self.estimator == "weighted" or self.rows is not None or rows is None:
            return self
        return type(self)(self.beta, self.estimator, rows)

    def check(self, model: VAEModule) -> None:
        super().check(model)
        needs_normal(self, model)
        if self.estimator == "stratified" and self.rows is None:
            raise ValueError(
                "the stratified estimator needs the number of rows of the data: TotalCorrelation(rows=len(x)), or "
                'estimator="weighted"'
            )

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise)
        metrics = summary(out, batch.weight)
        each = self.log_weights(torch.ones_like(out.log_lik) if batch.weight is None else batch.weight)
        tc = weighted_mean(total_correlation(out.draw.q, out.draw.z, each), batch.weight)
        loss = metrics["distortion"] + metrics["rate"] + (self.beta(step) - 1) * tc + penalty(out, batch.weight)
        return LossOutput({"model": loss}, {**metrics, "tc": tc}, out.draw.updates)

    def log_weights(self, weight: Tensor) -> Tensor:
        """(B, B) or (1, B): the logarithm of what q(. | x_j) counts in the estimate of q(z_i)."""
        if self.estimator == "weighted":
            return (weight / weight.sum()).log().unsqueeze(0)
        counted = weight > 0
        place, total = counted.cumsum(0) - 1, counted.sum()
        others = (total - 1).clamp(min=1).to(weight.dtype)
        ahead = (place.unsqueeze(0) - place.unsqueeze(1)) % total.clamp(min=1)  # 0: the row itself, 1: the next one
        rows = float(max(self.rows or 0, 1))
        next_one = (rows - others) / (rows * others)
        counts = torch.where(ahead == 0, 1 / rows, torch.where(ahead == 1, next_one, 1 / others))
        return torch.where(counted.unsqueeze(0), counts, 0.0).log()


def total_correlation(q: dist.Distribution, z: Tensor, log_weights: Tensor) -> Tensor:
    """(B,), nats: log q(z_i) - sum_d log q(z_id), where q(z) = sum_j exp(log_weights_ij) q(z | x_j)."""
    each = q.map(lambda t: t.unsqueeze(0)).log_prob(z.unsqueeze(1))
    joint = torch.logsumexp(log_weights + each.sum(2), 1)
    return joint - torch.logsumexp(log_weights.unsqueeze(2) + each, 1).sum(1)


class DIP(Objective):
    """`-ELBO + off_diagonal sum_{i != j} C_ij^2 + diagonal sum_i (C_ii - 1)^2`: codes of uncorrelated dimensions.

    Kumar et al. 2018, arXiv:1711.00848. C is the covariance over the batch of the means of q(z | x) (kind 1), or of z
    itself, to which their variances add (kind 2).
    """

    couples_rows = True

    def __init__(self, kind: Literal[1, 2] = 2, off_diagonal: float | Hyper = 10.0, diagonal: float | Hyper = 10.0):
        super().__init__()
        self.kind, self.off_diagonal, self.diagonal = kind, hyper(off_diagonal), hyper(diagonal)

    def check(self, model: VAEModule) -> None:
        super().check(model)
        needs_normal(self, model)

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise)
        metrics = summary(out, batch.weight)
        covariance = self.covariance(out.draw.q, batch.weight)
        variances = covariance.diagonal(dim1=-2, dim2=-1)
        off = covariance.square().sum() - variances.square().sum()
        dip = self.off_diagonal(step) * off + self.diagonal(step) * (variances - 1).square().sum()
        loss = metrics["distortion"] + metrics["rate"] + dip + penalty(out, batch.weight)
        return LossOutput({"model": loss}, {**metrics, "dip": dip}, out.draw.updates)

    def covariance(self, q: dist.Normal, weight: Tensor | None) -> Tensor:
        """(D, D), of the batch as the whole population."""
        centred = q.mean - weighted_mean(q.mean, weight)
        found = weighted_mean(centred.unsqueeze(2) * centred.unsqueeze(1), weight)
        return found if self.kind == 1 else found + torch.diag_embed(weighted_mean(q.scale.square(), weight))


class WAE(Objective):
    """`-log p(x | z) + rate KL(q(z | x) || p) + weight MMD^2(q(z), p(z))`.

    With rate 0 and a `PointMass` or any other posterior, the Wasserstein autoencoder (Tolstikhin et al. 2018,
    arXiv:1711.01558); with a rate, InfoVAE (Zhao et al. 2017, arXiv:1706.02262), whose alpha and lambda are in
    rate = 1 - alpha and weight = alpha + lambda - 1. MMD^2 is its unbiased estimate between the batch's z and as many
    draws from the prior, so that it may be below 0. kernel, at squared distance r: "imq", `sum_s C / (C + r)` with
    C = 2 D s, or "rbf", `sum_s exp(-r / (2 D s))`, for D dimensions of z and s in `scales`.
    """

    couples_rows = True

    def __init__(
        self,
        weight: float | Hyper = 10.0,
        rate: float | Hyper = 0.0,
        kernel: Kernel = "imq",
        scales: tuple[float, ...] | None = None,
    ):
        super().__init__()
        self.weight, self.rate, self.kernel = hyper(weight), hyper(rate), kernel
        self.scales = None if scales is None else tuple(scales)

    @property
    def needs_density(self) -> bool:
        return not (type(self.rate) is Hyper and float(self.rate.value) == 0)

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise)
        metrics = summary(out, batch.weight)
        prior = model.generate(len(out.draw.z), noise, batch.context)
        mmd = self.mmd(out.draw.z.flatten(1), prior.flatten(1), batch.weight)
        loss = metrics["distortion"] + self.weight(step) * mmd + penalty(out, batch.weight)
        if "rate" in metrics:
            loss = loss + self.rate(step) * metrics["rate"]
        return LossOutput({"model": loss}, {**metrics, "mmd": mmd}, out.draw.updates)

    def mmd(self, a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
        """The unbiased estimate of MMD^2 between B draws a and B draws b, (B, D); a row's weight is that of both."""
        weight = torch.ones_like(a[:, 0]) if weight is None else weight
        pairs = weight.unsqueeze(0) * weight.unsqueeze(1)
        different = pairs - torch.diag_embed(weight.square())
        different = different / different.sum().clamp(min=torch.finfo(a.dtype).tiny)  # one row: 0
        within = (different * (self.similarity(a, a) + self.similarity(b, b))).sum()
        return within - 2 * (pairs * self.similarity(a, b)).sum() / pairs.sum()

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, B): the kernel of every pair."""
        distance = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(2)
        widths = [2 * a.shape[1] * s for s in self.scales or SCALES[self.kernel]]
        if self.kernel == "imq":
            return sum(c / (c + distance) for c in widths)
        return sum(torch.exp(-distance / c) for c in widths)
