"""One look at a model on a few rows: every measure of its health, or why this model has none of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..core import Batch, ForwardContext, LatentSample, Noise, Source, VAEOutput, ZeroNoise
from ..distributions import Distribution, Joint, Normal, kl, sum_cells
from ..latents import Latent
from ..latents import Normal as NormalPosterior
from ..latents.posteriors import LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE
from ..latents.quantised import Quantised
from ..likelihoods import Autoregressive, Gaussian, Likelihood, Mixed
from ..likelihoods.reconstruction import ReconstructionLoss
from ..model import VAEModule
from ..networks import Network
from ..objectives import ELBO, IWAE, ExpertIWAE, Objective
from . import aggregate
from .independent import Independent
from .metric import Metric
from .observed import Observed
from .verdicts import ACTIVE

PAIRS = 2**22
"""Numbers in the pairs of codes and posteriors that are held at a time."""
STEP = 0.05
"""By how much the posterior's scale is changed either way to find the slope of the rate-distortion curve."""
BASELINE_ROWS = 500
"""Rows that independent cells are fitted to and scored on, half of them each."""
BASELINE_ROUNDS = 25
"""Rounds of L-BFGS that they take at most: fewer make the baseline worse, never better."""
FLOOR = 1.05
"""A scale below this many times its minimum counts as being there."""


class Diagnostics:
    """One pass over a few rows: codes, their costs, and what the decoder makes of them."""

    def __init__(self, model: VAEModule, objective: Objective | None, batches: Iterator[Batch], noise: Noise):
        self.model, self.objective, self.noise, self.scope = model, objective, noise, ForwardContext.of(noise)
        still = ZeroNoise(Source.like(model))
        self.batches: list[Batch] = []
        self.draws: list[LatentSample] = []
        log_lik, means, scales = [], [], []
        self.log_variances: list[Tensor] = []
        for batch in Observed(model, batches):
            with _log_variances(model.latent) as seen:
                out: VAEOutput = model(batch, noise)
            self.log_variances += seen
            self.batches.append(batch)
            self.draws.append(out.draw)
            log_lik.append(out.log_lik)
            means.append(model.infer(batch, still).z.flatten(1))
            scales.append([_scale(own, px) for own, px in gaussians(model.likelihood, out.px)])
        self.z, self.means = torch.cat([d.z for d in self.draws]), torch.cat(means)
        self.log_lik = torch.cat(log_lik).cpu().double()
        dense, closed = self.draws[0].log_ratio is not None, self.draws[0].kl is not None
        self.rate = torch.cat([d.rate for d in self.draws]).cpu().double() if dense else None
        exact = closed and model.latent.ratio == "exact"
        self.kl = torch.cat([d.kl for d in self.draws]).cpu().double() if exact else None
        shares = [len(b.x) / len(self.z) for b in self.batches]
        self.usage = [sum(u * s for u, s in zip(each, shares)) for each in zip(*(d.usage for d in self.draws))]
        self.scales = [torch.stack(each).mean(0) for each in zip(*scales)]

    @property
    def finite(self) -> bool:
        return bool(self.z.isfinite().all() & self.means.isfinite().all())

    def measures(self) -> dict[str, Callable[[dict[str, Metric]], dict[str, Metric] | str]]:
        """What not every latent allows: each gives figures, from those before, or the reason why there are none."""
        return {
            "active_units": self.units,
            "information": self.information,
            "holes": self.holes,
            "slope": self.slope,
            "log_variance_clamped": self.clamped,
            "without_latent": self.without_latent,
        }

    def rate_and_distortion(self) -> dict[str, Metric]:
        found = {"distortion": Metric.mean(-self.log_lik, "nats", "-E log p(x | z), in the model's space")}
        if self.rate is not None:
            found["rate"] = Metric.mean(self.rate, "nats", "KL(q(z | x) || p(z))")
        return found

    def without_latent(self, figures: dict[str, Metric]) -> dict[str, Metric] | str:
        """How far behind independent cells, fitted to half of the rows, the model is on the other half.

        By the ELBO where that is what was trained for, else by the distortion, which bounds it: no rate is negative.
        """
        likelihood = self.model.likelihood
        if isinstance(likelihood, (ReconstructionLoss, Autoregressive)) or any(
            isinstance(m, Network) for m in likelihood.modules()
        ):
            return f"{type(likelihood).__name__} has no independent model of cells"
        size = BASELINE_ROWS
        x = torch.cat([b.x for b in self.batches])[:size].cpu().double()
        masks = [b.mask for b in self.batches]
        mask = None if masks[0] is None else torch.cat(masks)[:size].cpu().double()
        fitted, scored = slice(0, None, 2), slice(1, None, 2)
        alone = Independent.of_cells(likelihood, x[fitted], None if mask is None else mask[fitted], BASELINE_ROUNDS)
        log_p = alone.log_p_of_cells(x[scored], None if mask is None else mask[scored])
        own = self.log_lik[:size][scored]
        own = own - self.rate[:size][scored] if self.rate is not None and for_the_elbo(self.objective) else own
        behind = Metric.mean(log_p - own, "nats", "log p of independent cells less the ELBO")
        return {"without_latent": Metric.mean(log_p, "nats", "log p of independent cells"), "behind": behind}

    def _log_lik(self, z: Tensor, batch: Batch) -> Tensor:
        """(B,), nats: log p(x | z) of these rows and other codes."""
        x = batch.x if batch.mask is None else torch.where(batch.mask > 0, batch.x, 0.0)
        px, _ = self.model.likelihood.fitted(self.model.decode(z, batch.context), x, batch.mask, self.scope)
        return sum_cells(px.log_cells(x, batch.mask)).cpu().double()

    def decoder(self) -> dict[str, Metric]:
        """Whether it reads z, and what its scale came to."""
        others = self.z.roll(1, 0).split([len(b.x) for b in self.batches])
        loss = self.log_lik - torch.cat([self._log_lik(z, b) for z, b in zip(others, self.batches)])
        found = {"read": Metric.mean(loss, "nats", "distortion more with the code of another row")}
        if self.scales:
            scale, at_floor = torch.stack(self.scales).unbind(1)
            found["decoder_scale"] = Metric(
                float(scale.mean()), None, "", "mean scale of p(x | z), in the model's space"
            )
            found["decoder_scale_clamped"] = Metric(float(at_floor.max()), None, "", "share of them at their minimum")
        return found

    def units(self, figures: dict[str, Metric]) -> dict[str, Metric] | str:
        found = {}
        if self.kl is not None:
            active = float((self.kl.mean(0) > ACTIVE).sum())
            meaning = f"units with a mean KL above {ACTIVE} nats"
            found["active_units"] = Metric(active, None, f"of {self.kl.shape[1]}", meaning)
        if self.model.latent.space != "codes":
            active = float(aggregate.active_units(self.means))
            meaning = "dimensions whose posterior means vary by more than 0.01 (Burda et al.)"
            found["active_means"] = Metric(active, None, f"of {self.means.shape[1]}", meaning)
        return found or "codes are choices, and their cost is not told unit by unit"

    def information(self, figures: dict[str, Metric]) -> dict[str, Metric] | str:
        """I(x; z) under q and KL(q(z) || p(z)), each between two bounds."""
        latent = self.model.latent
        if isinstance(latent, Quantised):
            log_q = _same(self.z)
        elif isinstance(latent, Latent) and latent.ratio == "exact":
            log_q = self._pairs()
        else:
            return f"q(z | x) of a {type(latent).__name__} cannot be evaluated at the code of another row"
        low, high = aggregate.mutual_information(log_q)
        rate, rows = figures["rate"].value, len(low)
        below = replace(Metric.mean(low, "nats", f"I(x; z) at least; log {rows:,} = {math.log(rows):.2f} at most"))
        above = max(0.0, min(float(high.mean()), rate))
        found = {
            "information": below,
            "information_at_most": Metric(max(above, below.value), None, "nats", "I(x; z) at most"),
        }
        if not any(getattr(m, "estimates", False) for m in latent.modules()):
            least = Metric(max(0.0, rate - above), None, "nats", "KL(q(z) || p(z)) at least: rate less information")
            found |= {"gap_at_least": least, "gap_at_most": Metric(rate - below.value, None, "nats", "at most")}
        return found

    def _pairs(self) -> Tensor:
        """(N, N): log q(z_i | x_j)."""
        columns = []
        for draw in self.draws:
            size, found = len(draw.z), []
            for some in self.z.split(max(1, PAIRS // draw.z.numel())):
                pairs = _repeated(draw.q, len(some)).log_density(some.repeat_interleave(size, 0))
                found.append(pairs.unflatten(0, (len(some), size)))
            columns.append(torch.cat(found))
        return torch.cat(columns, 1)

    def holes(self, figures: dict[str, Metric]) -> dict[str, Metric] | str:
        if self.model.latent.space == "codes":
            return "codes are choices: between them there is no space for holes"
        prior = [self.model.generate(len(b.x), self.noise, b.context) for b in self.batches]
        codes, prior = self.z.flatten(1), torch.cat(prior).flatten(1)
        empty, stray = aggregate.holes(codes, prior)
        mmd, spread = aggregate.discrepancy(codes, prior)
        return {
            "spread": Metric(_ratio(codes, prior), None, "", "standard deviation of the codes, of the prior's as 1"),
            "mmd": Metric(mmd, spread, "", "MMD^2 of q(z) and the prior ± its spread where they are one"),
            "holes": Metric(empty, None, "", "share of the prior's draws with no code near"),
            "strays": Metric(stray, None, "", "share of the codes with no draw of the prior near"),
        }

    def slope(self, figures: dict[str, Metric]) -> dict[str, Metric] | str:
        """-dD/dR where the posterior's scale is changed: the beta that it has been trained for, at an optimum."""
        parts = [] if self.objective is None else self.objective.modules()
        if any(isinstance(part, (IWAE, ExpertIWAE)) and part.k > 1 for part in parts):
            return "of several draws the weights count, for which q(z | x) is trained to be wider than for the ELBO"
        if not all(isinstance(d.q, Normal) for d in self.draws):
            return "it is found by the scale of a normal posterior, Latent(Normal(d), ...), and this is none"
        ends = [self._scaled(1 + sign * STEP) for sign in (1, -1)]
        (d_wide, r_wide), (d_narrow, r_narrow) = ends
        saved = float(r_narrow - r_wide)
        if saved < 1e-3:
            return "q(z | x) is the prior, so that its scale changes nothing"
        return {"slope": Metric(float(d_wide - d_narrow) / saved, None, "", "nats of distortion for a nat of rate")}

    def _scaled(self, factor: float) -> tuple[Tensor, Tensor]:
        """The mean distortion and rate where q's scale is so many times what it is, at the same noise."""
        distortion, rate = [], []
        for draw, batch in zip(self.draws, self.batches):
            q = Normal(draw.q.loc, factor * draw.q.scale)
            z = q.loc + factor * (draw.z - q.loc)
            closed = kl(q, draw.p)
            rate.append(q.log_density(z) - draw.p.log_density(z) if closed is None else closed.sum(1))
            distortion.append(-self._log_lik(z, batch))
        return torch.cat(distortion).mean(), torch.cat(rate).cpu().double().mean()

    def clamped(self, figures: dict[str, Metric]) -> dict[str, Metric] | str:
        if not self.log_variances:
            return "no part of the latent is a posterior of independent normals"
        found = torch.cat(self.log_variances)
        clamped = (found < LEAST_LOG_VARIANCE + 1e-3) | (found > MOST_LOG_VARIANCE - 1e-3)
        meaning = f"share of log-variances at {LEAST_LOG_VARIANCE:g} or {MOST_LOG_VARIANCE:g}"
        return {"log_variance_clamped": Metric(float(clamped.float().mean()), None, "", meaning)}


def _ratio(codes: Tensor, prior: Tensor) -> float:
    """The typical deviation of codes from their mean, over that of draws from the prior."""
    wide, known = ((z - z.mean(0)).double().square().mean().sqrt() for z in (codes, prior))
    return float(wide / known.clamp(min=1e-12))


def for_the_elbo(objective: Objective | None) -> bool:
    """Whether a model was trained for the ELBO or a tighter bound."""
    if isinstance(objective, ELBO):
        return objective.beta.value == 1 and not objective.free_bits and objective.capacity is None
    return objective is None or isinstance(objective, (IWAE, ExpertIWAE))


@contextmanager
def _log_variances(latent: nn.Module) -> Iterator[list[Tensor]]:
    """Those of every posterior of independent normals inside a latent, rungs' too, whenever it is called."""
    found: list[Tensor] = []

    def note(part: nn.Module, evidence: object, q: Normal) -> None:
        found.append(2 * q.scale.log().flatten())

    handles = [m.register_forward_hook(note) for m in latent.modules() if type(m) is NormalPosterior]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _repeated(q: Distribution, times: int) -> Distribution:
    """The posteriors of B rows, all of them, so many times."""
    return q.map(lambda t: t.repeat(times, *[1] * (t.dim() - 1)) if t.dim() else t)


def _same(z: Tensor) -> Tensor:
    """(N, N): log q(z_i | x_j) of deterministic codes: 0 where the two are one, else minus infinity."""
    which = torch.unique(z.flatten(1), dim=0, return_inverse=True)[1]
    return torch.where(which.unsqueeze(1) == which, 0.0, -math.inf)


def gaussians(likelihood: Likelihood, px: Distribution) -> Iterator[tuple[Gaussian, Normal]]:
    """The normal likelihoods whose scale is learned, with what they are of these rows: itself, or parts of a table."""
    if isinstance(likelihood, Gaussian) and isinstance(px, Normal) and isinstance(likelihood.scale, str):
        yield likelihood, px
    elif isinstance(likelihood, Mixed) and isinstance(px, Joint):
        for part, own in zip(likelihood.parts, px.parts):
            yield from gaussians(part, own)


def _scale(likelihood: Gaussian, px: Normal) -> Tensor:
    """(2,): the mean scale, and the share of those at their minimum."""
    scale = px.scale.cpu().double()
    return torch.stack([scale.mean(), (scale < FLOOR * likelihood.minimum_scale).double().mean()])
