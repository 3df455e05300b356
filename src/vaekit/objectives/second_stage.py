"""A prior that learns the codes as they are: after the rest, or beside it."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import distributions as dist
from ..core import Batch, Hyper, LossOutput, Noise, hyper, weighted_mean
from ..model import VAEModule
from ..networks import evaluating
from .aggregate import needs_normal
from .base import Objective, code_use, penalty, summary


def prior_parameters(model: VAEModule) -> list[str]:
    """The names of the parameters of the prior of the topmost code, as in a `Learner`."""
    own = model.latent.own_prior
    prior = None if own is None else getattr(model.latent.get_submodule(own.rpartition(".")[0]), own.split(".")[-1])
    return [] if prior is None else [f"model.latent.{own}.{name}" for name, _ in prior.named_parameters()]


def needs_learnable_prior(objective: Objective, model: VAEModule) -> None:
    """Raises ValueError unless there is a prior that can be trained by itself."""
    if prior_parameters(model):
        return
    own, name = model.latent.own_prior, type(model.latent).__name__
    why = "q depends on it, or there is none" if own is None else "it has no parameters"
    raise ValueError(
        f"{type(objective).__name__} trains the prior by itself, and that of {name} cannot be: {why}; use a Latent, a "
        "Ladder or a codebook with a prior such as GaussianMixture(10), FlowPrior() or, over codes, PixelPrior()"
    )


class PriorFit(Objective):
    """`-E_q log p(z)`, minimised over the prior of the topmost code alone; everything else is held still.

    The second stage of van den Oord et al. 2017, arXiv:1711.00937, section 3.3, and of Ghosh et al. 2020,
    arXiv:1903.12436, section 4. The loss is the rate, which differs by the entropy of q, in closed form where there is
    one; of point masses it is the cross-entropy itself. The decoder is not run, and the model is in evaluation mode.
    """

    needs_density = False

    def param_groups(self, model: VAEModule) -> dict[str, list[str]]:
        return {"prior": prior_parameters(model)}

    def check(self, model: VAEModule) -> None:
        needs_learnable_prior(self, model)

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        with evaluating(model):
            draw = model.infer(batch, noise)
            if draw.log_ratio is None:
                scope = model.prior_scope(noise, batch.context)
                name, cost = "cross_entropy", -model.latent.log_prior(draw.z, scope, batch.context)
            else:
                name, cost = "rate", draw.rate
        loss = weighted_mean(cost, batch.weight)
        return LossOutput({"prior": loss}, {name: loss, **code_use(draw.usage)})


class PriorOnly(Objective):
    """Another objective, minimised over the prior of the topmost code alone; everything else is held still.

    objective: such as `IWAE(5)`. The model is in evaluation mode, and no buffer but the prior's own changes. Raises
    ValueError for an objective with networks of its own: their player would not be trained.
    """

    def __init__(self, objective: Objective):
        super().__init__()
        self.objective = objective
        self.needs_density, self.couples_rows = objective.needs_density, objective.couples_rows
        self.uses_score, self.reads_weights = objective.uses_score, objective.reads_weights
        self.caveat = objective.caveat

    def param_groups(self, model: VAEModule) -> dict[str, list[str]]:
        return {"prior": prior_parameters(model)}

    def resolve_shapes(self, **sizes: object) -> PriorOnly:
        return PriorOnly(self.objective.resolve_shapes(**sizes))

    def check(self, model: VAEModule) -> None:
        needs_learnable_prior(self, model)
        self.objective.check(model)
        if any(True for _ in self.objective.parameters()):
            raise ValueError(
                f"{type(self.objective).__name__} trains networks of its own, and a prior is trained alone: use ELBO() "
                "or IWAE()"
            )

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        with evaluating(model):
            terms = self.objective(model, batch, step, noise)
        names = set(prior_parameters(model))
        who = next(who for who, own in self.objective.param_groups(model).items() if names <= set(own))
        own = f"{model.latent.own_prior}."
        mine = {n for n, _ in self.objective.named_buffers()}
        updates = {n: v for n, v in terms.updates.items() if n.startswith(f"latent.{own}")}
        updates |= {f"objective.objective.{n}": v for n, v in terms.updates.items() if n in mine}
        return LossOutput({"prior": terms.losses[who]}, terms.metrics, updates)


class TwoStage(Objective):
    """The model is trained with N(0, I) as its prior, and the prior it has on the codes that come of it, by one step.

    Dai & Wipf 2019, arXiv:1903.05789, with both stages at once: `-E_q log p(x | z) + beta KL(q || N(0, I))` for
    encoder and decoder, `-E_q log p(z)` for the prior, usually a `SecondStage`. The logged rate is to the model's own
    prior; `rate_to_normal` is what holds the encoder. `VAE.fit_prior` may train a prior once the rest stands still.
    """

    def __init__(self, beta: float | Hyper = 1.0):
        super().__init__()
        self.beta = hyper(beta)

    def param_groups(self, model: VAEModule) -> dict[str, list[str]]:
        own = prior_parameters(model)
        rest = [name for name in super().param_groups(model)["model"] if name not in own]
        return {"model": rest, "prior": own}

    def check(self, model: VAEModule) -> None:
        super().check(model)
        needs_normal(self, model)
        needs_learnable_prior(self, model)

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise)
        metrics, zero = summary(out, batch.weight), torch.zeros_like(out.draw.z[0])
        to_normal = weighted_mean(dist.kl(out.draw.q, dist.Normal(zero, torch.ones_like(zero))).sum(1), batch.weight)
        loss = metrics["distortion"] + self.beta(step) * to_normal + penalty(out, batch.weight)
        losses = {"model": loss, "prior": metrics["rate"]}
        return LossOutput(losses, {**metrics, "rate_to_normal": to_normal}, out.draw.updates)
