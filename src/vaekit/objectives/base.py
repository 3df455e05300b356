"""What an objective is: a loss per player, from one or more passes through the model."""

from __future__ import annotations

from torch import Tensor, nn

from ..core import Batch, Component, Noise, Pass, Terms, weighted_mean
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

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> Terms:
        raise NotImplementedError

    def players(self, model: VAEModule) -> dict[str, list[str]]:
        """Each player's parameters, named as in a `Learner`: `model.*` and `objective.*`."""
        return {"model": [f"model.{name}" for name, _ in model.named_parameters()]}

    def settled(self, **sizes: object) -> Objective:
        """Settles open sizes: z_shape is the latent's, per row; rows, how many there are to learn from."""
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


def _posterior(model: nn.Module) -> str:
    return type(getattr(model.latent, "posterior", model.latent)).__name__


def summary(out: Pass, weight: Tensor | None) -> dict[str, Tensor]:
    """Distortion -E log p(x | z), rate KL(q || p) and their negative sum, the ELBO; means over rows, nats.

    The distortion alone, for a point mass.
    """
    distortion = -weighted_mean(out.log_lik, weight)
    if out.draw.log_ratio is None:
        return {"distortion": distortion}
    rate = weighted_mean(out.draw.rate, weight)
    return {"elbo": -distortion - rate, "distortion": distortion, "rate": rate}


def penalty(out: Pass, weight: Tensor | None) -> Tensor | float:
    """The mean over rows of what the latent adds to every loss, such as a codebook's commitment."""
    return 0.0 if out.draw.penalty is None else weighted_mean(out.draw.penalty, weight)
