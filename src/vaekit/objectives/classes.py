"""The evidence lower bound of a model with classes, of which some rows' are known."""

from __future__ import annotations

from torch import Tensor

from ..core import Batch, Hyper, LossOutput, Noise, hyper, weighted_mean
from ..model import VAEModule
from .base import Objective


class ClassELBO(Objective):
    """The ELBO with the class summed out, and the classifier's own loss of labelled rows.

    Of a row whose class is not known, `sum_y q(y | x) (L(x, y) - log q(y | x))`, the sum taken whole (no relaxation,
    no draw of y); of one whose class is known, `L(x, y)`, a bound of log p(x, y), where `L(x, y) = log p(x | y, z) +
    log p(y) - KL(q(z | x, y) || p(z | y))`. Added is `alpha` times the mean of -log q(y | x) over the labelled rows.

    Kingma et al. 2014, arXiv:1406.5298, equations 6 to 9; their weight is 0.1 N for the sum over N rows, 0.1 for the
    mean that is taken here. beta weighs the rate. share: of the rows, those whose class is known; settled by fit.
    """

    def __init__(self, alpha: float = 0.1, beta: float | Hyper = 1.0, share: float | None = None):
        super().__init__()
        self.alpha, self.beta, self.share = alpha, hyper(beta), share

    def resolve_shapes(self, *, rows: int | None = None, labelled: int | None = None, **sizes: object) -> Objective:
        if not rows or labelled is None:
            return self
        return type(self)(self.alpha, self.beta, labelled / rows)

    def check(self, model: VAEModule) -> None:
        super().check(model)
        if not model.latent.labelled:
            raise ValueError(
                f"ClassELBO sums over classes and {type(model.latent).__name__} has none: put Labelled(Latent("
                "Categorical(1, classes), UniformCategorical())) on a rung of a Ladder, or use ELBO()"
            )

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        classes = model.latent.classes
        out = model(batch, noise, draws=classes, every_class=True)

        def each(values: Tensor) -> Tensor:
            """(classes * B,) -> (B, classes)."""
            return values.unflatten(0, (classes, -1)).T

        log_q = out.draw.classes[: len(batch.x)]
        probability, told = log_q.exp(), log_q.new_zeros(len(log_q))
        if batch.label is not None:
            known = batch.label.sum(1)
            told = (batch.label * log_q).sum(1)
            probability = probability * (1 - known).unsqueeze(1) + batch.label
        entropy = -(probability * log_q).sum(1) + told
        distortion = weighted_mean((probability * each(-out.log_lik)).sum(1), batch.weight)
        rate = weighted_mean((probability * each(out.draw.rate)).sum(1) - entropy, batch.weight)
        metrics = {"elbo": -distortion - rate, "distortion": distortion, "rate": rate}
        loss = distortion + self.beta(step) * rate
        if out.draw.penalty is not None:
            loss = loss + weighted_mean((probability * each(out.draw.penalty)).sum(1), batch.weight)
        if self.share and batch.label is not None:
            metrics["classification"] = -weighted_mean(told, batch.weight) / self.share
            loss = loss + self.alpha * metrics["classification"]
        return LossOutput({"model": loss}, metrics, out.draw.updates)
