"""Players that do not move in every step."""

from __future__ import annotations

from torch import Tensor

from ..core import Batch, LossOutput, Noise
from ..model import VAEModule
from .base import Objective, inference_and_generation


class Lagging(Objective):
    """Any objective of one player as two, of which inference takes `turns` steps to every one of generation.

    He et al. 2019, arXiv:1901.05534, who find that codes collapse where q(z | x) lags behind the true posterior, and
    train it harder at first. The loss of both is the objective's own; each step sees another batch. They go on so until
    the mutual information of x and z rises no more; here it is a number of steps, `until`, after which both move in
    every step; None: to the end.
    """

    def __init__(self, objective: Objective, turns: int = 10, until: int | None = None):
        super().__init__()
        self.objective, self.turns, self.until = objective, turns, until

    @property
    def needs_density(self) -> bool:
        return self.objective.needs_density

    @property
    def caveat(self) -> str | None:
        return self.objective.caveat

    @property
    def couples_rows(self) -> bool:
        return self.objective.couples_rows

    @property
    def reads_weights(self) -> bool:
        return self.objective.reads_weights

    def resolve_shapes(self, **sizes: object) -> Lagging:
        objective = self.objective.resolve_shapes(**sizes)
        return self if objective is self.objective else type(self)(objective, self.turns, self.until)

    def check(self, model: VAEModule) -> None:
        self.objective.check(model)
        players = list(self.objective.param_groups(model))
        if players != ["model"]:
            raise ValueError(
                f"Lagging parts the model into inference and generation, and {type(self.objective).__name__} has "
                f"players of its own ({', '.join(players)}): give it an objective that trains the model as one, such "
                "as ELBO"
            )

    def param_groups(self, model: VAEModule) -> dict[str, list[str]]:
        return inference_and_generation(model)

    def should_update(self, who: str, taken: int) -> bool:
        over = self.until is not None and taken >= self.until
        return who == "inference" or over or (taken + 1) % self.turns == 0

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        terms = self.objective(model, batch, step, noise)
        loss = terms.losses["model"]
        return LossOutput({"inference": loss, "generation": loss}, terms.metrics, terms.updates)
