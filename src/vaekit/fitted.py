"""A trained model with what is needed to use it: no settings to choose, nothing to fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .core import Batch, Source, ZeroNoise
from .data.lazy_rows import as_data
from .data.preprocessing import Preprocessor
from .data.rows import AbstractRows
from .data.spec import DataSpec
from .data.trained_rows import TrainedRows
from .model import VAEModule
from .objectives import ELBO, Objective
from .recipes import Recipe
from .training.autotune import ExecutionPlan
from .training.config import VAEConfig
from .training.history import TrainingResult
from .training.learner import Learner
from .training.splitting import Known

CHUNK = 1024
"""Rows per pass when predicting: memory stays bounded for any number of rows."""


@dataclass(frozen=True, eq=False, repr=False)
class FittedVAE:
    """A trained VAE. Immutable.

    The functions of `vaekit.inference`, `vaekit.evaluation`, `vaekit.report` and `vaekit.io` take one; the methods of
    `VAE` are these functions.

    Parameters
    ----------
    module : VAEModule
        The trained model, in evaluation mode.
    objective : Objective
        What it was trained for, with its critic if it has one.
    spec : DataSpec
        What the rows of fit were: shape, type, scale, columns.
    config : VAEConfig
        The settings that it was trained with.
    feature_names : sequence of str or None
        Names of the columns.
    history : list of dict
        One record per epoch.
    ended : str
        How training ended, see `VAE`.
    best_epoch : int
        The epoch with the best held-out score; 0 where none was scored.
    pace : ExecutionPlan or None
        Threads of the training, and whether its steps were compiled.
    epsilon : float or None
        Privacy that the training has spent.
    trained_rows : TrainedRows or None
        Fingerprints of the training rows.
    others : tuple of FittedVAE
        The models of further seeds.
    """

    module: VAEModule
    objective: Objective
    spec: DataSpec
    config: VAEConfig = field(default_factory=VAEConfig)
    feature_names: Sequence[str] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    ended: str = "finished"
    best_epoch: int = 0
    pace: ExecutionPlan | None = None
    epsilon: float | None = None
    trained_rows: TrainedRows | None = None
    others: tuple[FittedVAE, ...] = ()

    # -- where it comes from ---------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        learner: Learner,
        spec: DataSpec,
        config: VAEConfig,
        course: TrainingResult,
        feature_names: Sequence[str] | None = None,
        **known: Any,
    ) -> Self:
        """What a training leaves.

        feature_names: ``None`` takes a table's own, if all are strings. known: other fields.
        """
        schema = spec.schema
        if feature_names is None and schema is not None and all(isinstance(n, str) for n in schema.names):
            feature_names = schema.names
        learner.to(memory_format=torch.channels_last)  # as in training: what is loaded gives the same numbers, as fast
        return cls(
            learner.model.eval(),
            learner.objective,
            spec,
            config,
            feature_names=feature_names,
            history=course.history,
            ended=course.ended or "finished",
            best_epoch=course.best_epoch,
            pace=course.pace,
            epsilon=course.spent,
            **known,
        )

    @classmethod
    def from_module(
        cls,
        module: VAEModule,
        x: object,
        *,
        objective: Objective | None = None,
        spec: DataSpec | None = None,
        missing: bool = False,
        seed: int = 0,
    ) -> Self:
        """A fitted model of a module that was trained in a loop of your own.

        Parameters
        ----------
        module : VAEModule
            The trained model. Not copied; it is put into evaluation mode.
        x : array, tensor or path
            The rows (N, ...) that it was trained on, in their own units.
        objective : Objective or None, default=None
            What the module was trained for. ``None`` is the ELBO.
        spec : DataSpec or None, default=None
            How rows become the module's input. ``None`` infers it from x, as `vaekit.train` does.
        missing : bool, default=False
            Whether NaN marks a missing cell.
        seed : int, default=0
            Default seed of draws.

        Returns
        -------
        FittedVAE

        Raises
        ------
        ValueError
            If the module does not explain such rows.

        Examples
        --------
        >>> for training in vk.train(module, x):
        ...     pass
        >>> vae = vk.VAE.of(vk.FittedVAE.from_module(training.learner.model, x))
        >>> vae.report(x).save("report.html")
        """
        if spec is None:
            data, dtype = as_data(x, allow_missing=missing)
            spec = DataSpec.infer(data, dtype)
            spec = spec.with_missing() if missing else spec
            spec = spec.for_likelihood(module.likelihood.support, data)
        shape = module.likelihood.shape
        if shape is None or tuple(shape) != spec.model_shape:
            raise ValueError(
                f"expected a module for rows of {spec.model_shape}, got one for rows of {shape}: pass the rows that it "
                "was trained on, and the module that was trained, training.learner.model"
            )
        parts = {name: getattr(module, name) for name in ("encoder", "decoder", "latent", "likelihood", "context")}
        config = VAEConfig(**parts, objective=objective, missing=missing, seed=seed)
        fitted = cls(module.eval(), objective or ELBO(), spec, config)
        return replace(fitted, trained_rows=TrainedRows.of(fitted.rows(x)))

    # -- what it is ------------------------------------------------------------------------------------

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """Reads rows like those of fit."""
        return Preprocessor(self.spec, self.config.missing, self.config.unknown, self.feature_names)

    @property
    def known(self) -> Known:
        """What a further training has to know of it."""
        return Known(self.preprocessor, self.module)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe_for(self.spec)

    @property
    def latent_size(self) -> int:
        """Numbers in z."""
        return math.prod(self.module.latent.shape)

    @property
    def features(self) -> int:
        """Columns of a table, or cells of a row."""
        return math.prod(self.spec.shape) if self.spec.schema is None else len(self.spec.schema.columns)

    @property
    def caveat(self) -> str | None:
        """Why log p is not a likelihood of these data; None where it is."""
        level = 0.5 if self.spec.kind in ("bytes", "unit") else 0.0
        return self.module.likelihood.caveat(torch.full((1, *self.spec.model_shape), level), self.spec.integer)

    @property
    def privacy(self) -> str | None:
        """The privacy that the weights have spent, in a sentence; None for a model that is not private."""
        if self.config.privacy is None:
            return None
        return (
            f"the weights are private, epsilon = {self.epsilon:.3g} at delta = {self.config.privacy.delta:g}; what was "
            "read off the rows beside (levels, bounds and scales of columns), and figures of rows, are not"
        )

    @property
    def classes(self) -> NDArray:
        """The classes that the model chooses among: those of y in fit, or the numbers of clusters.

        Raises AttributeError for a model without classes.
        """
        count = self.module.latent.classes
        if count is None:
            raise AttributeError("this VAE tells no classes: fit a recipe that does, such as m2, vade or mixture")
        return np.arange(count) if self.spec.labels is None else np.asarray(self.spec.labels.levels)

    # -- its rows --------------------------------------------------------------------------------------

    def rows(self, x: object, context: object = None, gaps: bool = False) -> AbstractRows:
        """Rows like those of fit, with their context, on the model's device.

        gaps: whether cells may be missing although none was in fit.
        """
        settings = {"device": self.device, "check": self.module.likelihood.check, "gaps": gaps}
        return self.preprocessor.rows(x, context, **settings)

    def seed_or(self, seed: int | None) -> int:
        """A seed, or the config's."""
        return self.config.seed if seed is None else seed

    def gather(self, rows: AbstractRows, f: Callable[[Batch], Tensor]) -> Tensor:
        """f of all rows, on the CPU, some rows at a time and without gradients."""
        with torch.no_grad():
            return torch.cat([f(batch).cpu() for batch in rows.batches(CHUNK)])

    def codes(self, batch: Batch) -> Tensor:
        """(B, latent size): the center of q(z | x)."""
        return self.module.infer(batch, ZeroNoise(Source.like(self.module))).z.flatten(1)

    def over_numbers(self) -> FittedVAE:
        """The same model over the numbers that stand for the cells of a table, as `numbers` gives them."""
        schema = self.spec.schema
        if schema is None:
            return self
        config = replace(self.config, missing=True)
        names = [str(c.name) for c in schema.cells]
        return replace(self, spec=self.spec.of_numbers(), config=config, feature_names=names)

    def numbers(self, x: object) -> Any:
        """A table as numbers (N, C), an array as it is.

        One column for each that is modelled: in its own units, levels by their number, dates in seconds since 1970,
        NaN where missing.
        """
        return x if self.spec.schema is None else self.spec.schema.numbers(x, self.config.unknown)


class HasFitted(Protocol):
    """An estimator around a fitted model."""

    @property
    def fitted_(self) -> FittedVAE: ...


def as_fitted(model: FittedVAE | HasFitted) -> FittedVAE:
    """The fitted model, or that of an estimator."""
    return model if isinstance(model, FittedVAE) else model.fitted_
