"""What an objective is: a loss per player, from one or more passes through the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.special import entr

from ..core import Batch, Component, LossOutput, Noise, VAEOutput, weighted_mean
from ..model import VAEModule


class Objective(Component):
    """`forward(model, batch, step, noise)` gives the losses of the players, each minimised over its own parameters.

    Losses are means over rows, in nats; rows of weight 0 do not count. A critic is a child of its objective.
    """

    needs_density = True
    """Whether the latent must have a density log q(z | x)."""
    couples_rows = False
    """Whether a loss is something else than a mean over rows: then it is refused by several processes, whose gradients
    are added up. What passes through `batch_mean`, or is gathered by the noise's peers, couples nothing."""
    uses_score = False
    """Whether the encoder learns through log q at held draws: for latents whose draws are hard, and for these only."""
    reads_weights = False
    """Whether a loss reads the networks' parameters themselves: then these cannot be sharded."""
    caveat: str | None = None
    """Why the model's figures are not what was trained, in one sentence for evaluations; None where they are."""

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        raise NotImplementedError

    def param_groups(self, model: VAEModule) -> dict[str, list[str]]:
        """Each player's parameters, named as in a `Learner`: `model.*` and `objective.*`."""
        return {"model": [f"model.{name}" for name, _ in model.named_parameters()]}

    def should_update(self, who: str, taken: int) -> bool:
        """Whether a player moves in the step after `taken` steps: where not, nothing of it or its optimiser changes.

        A function of the count alone, which the host knows: every set of players that move has a program of its own.
        """
        return True

    def resolve_shapes(self, **sizes: object) -> Objective:
        """Settles open sizes: z_shape is the latent's, x_shape the likelihood's, per row; rows, how many there are to
        learn from."""
        return self

    def check(self, model: VAEModule) -> None:
        """Raises ValueError for a model that this objective cannot train."""
        if self.needs_density and model.latent.ratio == "none":
            raise ValueError(
                f"{type(self).__name__} needs log q(z | x), and the posterior {_posterior(model)} has no density: use "
                "a posterior that has one (Normal), or an objective that needs none"
            )
        if model.latent.hard is not self.uses_score:
            wanted = (
                "without a gradient, for which it uses that of log q" if self.uses_score else "that have a gradient"
            )
            fix = 'draws="hard"' if self.uses_score else 'draws="relaxed" or, for these, IWAE(gradient="vimco")'
            raise ValueError(
                f"{type(self).__name__} needs draws of z {wanted}, and those of {_posterior(model)} are not so: give "
                f"Binary or Categorical {fix}"
            )


def inference_and_generation(model: VAEModule) -> dict[str, list[str]]:
    """The parameters of q(z | x) and those of p(x, z), as two players'."""
    generative = {f"model.{name}" for name in model.generative()}
    names = [f"model.{name}" for name, _ in model.named_parameters()]
    return {
        "inference": [n for n in names if n not in generative],
        "generation": [n for n in names if n in generative],
    }


def _posterior(model: nn.Module) -> str:
    return type(getattr(model.latent, "posterior", model.latent)).__name__


def summary(out: VAEOutput, weight: Tensor | None) -> dict[str, Tensor]:
    """Distortion -E log p(x | z), rate KL(q || p) and their negative sum, the ELBO; means over rows, nats.

    The distortion alone, for a point mass; with codebooks, `code_use` of the batch, too.
    """
    distortion = -weighted_mean(out.log_lik, weight)
    if out.draw.log_ratio is None:
        return {"distortion": distortion}
    rate = weighted_mean(out.draw.rate, weight)
    return {"elbo": -distortion - rate, "distortion": distortion, "rate": rate, **code_use(out.draw.usage)}


def code_use(usage: Sequence[Tensor]) -> dict[str, Tensor]:
    """Of the shares (codes,) that codes were used by: the perplexity, which is the number of codes where all are used
    alike, a mean over the codebooks; and the share of all codes that were not used once. Nothing without codebooks."""
    if not usage:
        return {}
    perplexity = torch.stack([entr(share).sum().exp() for share in usage]).mean()
    return {"perplexity": perplexity, "unused_codes": (torch.cat(tuple(usage)) == 0).to(perplexity.dtype).mean()}


def penalty(out: VAEOutput, weight: Tensor | None) -> Tensor | float:
    """The mean over rows of what the latent adds to every loss, such as a codebook's commitment."""
    return 0.0 if out.draw.penalty is None else weighted_mean(out.draw.penalty, weight)
