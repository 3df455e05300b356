"""One training by the settings of a VAE: where it runs, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..data.rows import AbstractRows
from ..storage import inside
from .callbacks import Callback
from .config import VAEConfig
from .history import TrainingResult
from .learner import Learner
from .loop import Training
from .prior import holding
from .privacy import PrivateTraining
from .trainer import Display, Silent, fit


@dataclass(frozen=True)
class Job:
    """Where and how a training runs.

    Parameters
    ----------
    folder : Path or None
        Of checkpoints.
    resume : bool
        Whether the training goes on from the checkpoint in there.
    display : Display
        Shows progress.
    deadline : float or None
        Value of `time.perf_counter()` at which training stops.
    callbacks : sequence of Callback
        Called after each epoch.
    """

    folder: Path | None = None
    resume: bool = False
    display: Display = field(default_factory=Silent)
    deadline: float | None = None
    callbacks: Sequence[Callback] = ()

    def inside(self, name: str) -> Job:
        """The same in a folder of its own."""
        return replace(self, folder=None if self.folder is None else inside(self.folder, name))

    def arguments(self) -> dict[str, Any]:
        """As `training.fit` takes them."""
        return {n: getattr(self, n) for n in ("folder", "resume", "display", "deadline", "callbacks")}


def train_learner(
    config: VAEConfig, learner: Learner, rows: AbstractRows, held: AbstractRows | None, job: Job
) -> TrainingResult:
    """Trains a learner on rows by the settings of a VAE, and returns how it went."""
    held = held and held.checked(learner.model.likelihood.check)
    regime = config.regime(rows.spec, len(rows))
    settings = (learner, rows, regime.epochs, regime.batch_size, config.adam(regime), config.seed)
    if config.privacy is None:
        training = Training(*settings, sharded=config.sharded)
    else:
        training = PrivateTraining(*settings, privacy=config.privacy)
    return fit(training, held, **job.arguments(), **config.pace())[0]


def train_prior(
    config: VAEConfig,
    learner: Learner,
    rows: AbstractRows,
    held: AbstractRows | None,
    epochs: int | None,
    job: Job,
) -> TrainingResult:
    """Trains the prior of a learner alone, by the settings of a VAE."""
    model = learner.model
    pace = {**config.pace(), "patience": None if model.latent.ratio == "none" else config.patience}
    with holding(learner, learner.param_groups()["prior"]):
        regime = config.regime(rows.spec, len(rows))
        epochs = regime.epochs if epochs is None else epochs
        training = Training(learner, rows, epochs, regime.batch_size, config.adam(regime), config.seed)
        return fit(training, held, **job.arguments(), **pace)[0]
