"""The estimator: settings, `fit`, and the functions of a fitted model as methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .. import inference, report
from ..data.inference import Columns
from ..data.unknown import Unknown
from ..evaluation import model_evaluation, scoring
from ..fitted import FittedVAE
from ..io import save
from ..latents import AbstractLatent
from ..likelihoods import Likelihood
from ..networks import Network
from ..objectives import Objective
from ..recipes import Recipe, as_recipe
from ..settings import check_settings
from ..sklearn_compat import check_input_features, contained, not_fitted, output_of
from ..training.config import OF_VAE, VAEConfig
from ..training.privacy import Privacy
from ..training.splitting import held_out, mask_of
from . import training_functions
from .base import Manners, available
from .delegation import attribute, method, training_method


class VAE(Manners):
    """Variational autoencoder over arrays of any shape (N, ...), or tables.

    Parameters
    ----------
    latent_dim : int or None, default=None
        Numbers in z. ``None`` takes the recipe's own: 2, or more for tables.
    recipe : str, Recipe or None, default=None
        A named model, by name or from `vaekit.recipes`. ``None`` is ``"vae"`` for images, ``"table"`` for tables and
        ``"auto"`` for other arrays.
    encoder, decoder : Module or None, default=None
        Networks that replace the recipe's: of vaekit, of torch, or Keras 3 models on the torch backend. Open sizes are
        filled in. `fit` trains copies; networks with weights keep them.
    latent : AbstractLatent or None, default=None
        Posterior and prior that replace the recipe's.
    likelihood : Likelihood or None, default=None
        Likelihood that replaces the recipe's. A data frame is then read as an array.
    objective : Objective or None, default=None
        Loss that replaces the recipe's.
    context : Network or None, default=None
        Network that reads the context of a row into a vector. ``None`` is a small dense one for images, else none.
    epochs : int or None, default=None
        Passes over the training rows. ``None`` takes the recipe's own, 50 for most.
    batch_size : int or None, default=None
        Rows per step. ``None`` takes the recipe's own, 128 for most.
    lr : float or None, default=None
        Learning rate of Adam. ``None`` takes the recipe's own, 1e-3 for most.
    schedule : {"constant", "cosine"} or None, default=None
        Schedule of the learning rate. ``None`` takes the recipe's own.
    warmup : int, default=0
        Steps in which the learning rate rises from 0.
    clip : float or None, default=None
        Largest norm of a gradient. ``None`` takes the recipe's own, which tables and very deep hierarchies have.
    skip : float or None, default=None
        Norm of a gradient above which a step is left out. ``None`` leaves out none.
    average : float or None, default=None
        Decay of the running mean of the weights, such as 0.999, which is kept in the end. ``None`` keeps the last ones.
    weight_decay : float, default=0.0
        Decoupled weight decay, as in AdamW.
    privacy : Privacy or None, default=None
        Differential-privacy budget.
    columns : dict or None, default=None
        Overrides inferred column types of a table by name: a kind, the ordered levels of an ordinal column, or
        ``"identifier"`` to leave a column out; see `vaekit.data.Schema`.
    unknown : {"missing", "error"}, default="missing"
        What to do with values of a table that fit did not see: a new level, a value that the kind of its column cannot
        hold, another value than that of a constant column. ``"missing"`` treats the cell as missing, with one warning,
        and anomaly scores count it as rare. ``"error"`` refuses the rows.
    validation : float or rows, default=0.1
        Share of the rows that is held out to watch training, or rows to hold out. ``0`` holds out none.
    patience : int or None, default=None
        Epochs without a better held-out ELBO before training stops and the best weights return. ``None`` never stops. A
        training that has diverged goes back to its last good state first, and the epochs count anew.
    initialiser : {"glorot", "he", "torch"}, default="glorot"
        Initialisation of the library's networks. ``"glorot"`` is Keras' default.
    missing : bool, default=False
        Whether NaN marks a missing cell of an array. Otherwise NaN is refused. Tables know their missing cells.
    warm_start : bool, default=False
        Whether `fit` continues from the weights of the last `fit`.
    precision : {"fp32", "bf16"}, default="fp32"
        Precision of the products inside networks in training. Likelihoods and scores stay in fp32.
    threads : int or "auto", default="auto"
        Number of CPU threads. ``"auto"`` times a few settings on the first batches and keeps the fastest.
    compile : bool or "auto", default="auto"
        Whether training steps are compiled. ``"auto"`` tries it for long trainings.
    device : str, default="auto"
        A torch device. ``"auto"`` is cuda, mps or cpu.
    seed : int, default=0
        Random seed.
    seeds : int or None, default=None
        Number of models to train, stacked, with `seed`, ``seed + 1``, ... The estimator is the first; `evaluate`
        reports means over all with standard errors.
    sharded : bool, default=False
        Whether several processes share the weights of the networks between them in training.
    verbose : bool, default=False
        Whether to show progress, and at the end the model's health in two lines.

    Attributes
    ----------
    fitted_ : FittedVAE
        The trained model.
    module_, objective_, spec_ : VAEModule, Objective, DataSpec
        The model itself, its objective, and what the rows of fit were.
    history_ : list of dict
        One record per epoch.
    ended_ : {"finished", "recovered", "stopped early", "time limit", "interrupted"}
        How training ended. ``"recovered"``: finished, after it diverged and went back once.
    pace_, epsilon_, best_epoch_ : ExecutionPlan, float or None, int
        Threads and compilation of the training, privacy spent, best epoch by the held-out score.
    n_features_in_, feature_names_in_, classes_ : int, ndarray, ndarray
        As in scikit-learn.
    members_ : list of VAE
        With `seeds`, the VAE of each seed.

    Examples
    --------
    >>> vae = vk.VAE(latent_dim=2).fit(x)
    >>> vae.sample(3).shape
    (3, 28, 28)
    """

    _fitted: FittedVAE | None = None

    def __init__(
        self,
        latent_dim: int | None = None,
        *,
        recipe: str | Recipe | None = None,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        latent: AbstractLatent | None = None,
        likelihood: Likelihood | None = None,
        objective: Objective | None = None,
        context: Network | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        schedule: str | None = None,
        warmup: int = 0,
        clip: float | None = None,
        skip: float | None = None,
        average: float | None = None,
        weight_decay: float = 0.0,
        privacy: Privacy | None = None,
        columns: Columns | None = None,
        unknown: Unknown = "missing",
        validation: float | object = 0.1,
        patience: int | None = None,
        initialiser: str = "glorot",
        missing: bool = False,
        warm_start: bool = False,
        precision: str = "fp32",
        threads: int | str = "auto",
        compile: bool | str = "auto",
        device: str = "auto",
        seed: int = 0,
        seeds: int | None = None,
        sharded: bool = False,
        verbose: bool = False,
    ):
        vars(self).update({name: value for name, value in locals().items() if name != "self"})

    # -- fitting -------------------------------------------------------------------------------------

    fit = training_method(training_functions.fit)
    fit_prior = training_method(training_functions.fit_prior)
    partial_fit = training_method(training_functions.partial_fit)

    def config(self) -> VAEConfig:
        """Return the settings, checked.

        Returns
        -------
        VAEConfig

        Raises
        ------
        SettingError
            If a setting has a value that it cannot have.
        """
        check_settings(self, OF_VAE)
        return VAEConfig(**self.get_params(deep=False))

    def fit_transform(self, x: object, y: object = None, *, context: object = None, **settings: Any) -> Any:
        """Fit to rows and return their codes.

        Parameters
        ----------
        x : array, sparse matrix, AnnData, table, Dataset or path
            Rows, as in `fit`.
        y : array or None, default=None
            Classes, as in `fit`.
        context : array or None, default=None
            Context of the rows, as in `fit`.
        **settings : object
            Other arguments of `fit`.

        Returns
        -------
        ndarray of shape (N, latent numbers) or DataFrame
            As `transform` returns them.
        """
        return self.fit(x, y, context=context, **settings).transform(x, context)

    def held_out(self, x: object) -> Any:
        """Return the rows of x that `fit(x)` holds out to watch itself.

        Parameters
        ----------
        x : array, table or path
            The rows that are passed to `fit`.

        Returns
        -------
        array, table or None
            ``None`` where `validation` is 0.
        """
        known = self.fitted_.known if self.warm_start and self.__sklearn_is_fitted__() else None
        return held_out(self.config(), x, known)

    def holds_out(self, rows: int) -> torch.Tensor:
        """Return which of so many rows `fit` holds out, where `validation` is a share.

        Parameters
        ----------
        rows : int
            Number of rows.

        Returns
        -------
        Tensor of shape (rows,), bool
        """
        return mask_of(self.config(), rows)

    # -- the fitted model ------------------------------------------------------------------------------

    @classmethod
    def of(cls, fitted: FittedVAE) -> Self:
        """Return the estimator of a fitted model.

        Parameters
        ----------
        fitted : FittedVAE
            Such as `FittedVAE.from_module` returns.

        Returns
        -------
        VAE
        """
        own = cls(**fitted.config.settings())
        own._fitted = fitted
        return own

    @property
    def fitted_(self) -> FittedVAE:
        """The fitted model, with the current settings."""
        if not self.__sklearn_is_fitted__():
            raise not_fitted(training_functions.NOT_FITTED)
        return replace(self._fitted, config=VAEConfig(**self.get_params(deep=False)))

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted is not None

    module_ = attribute("module", "The trained `VAEModule`.")
    objective_ = attribute("objective", "The objective, with its critic if it has one.")
    spec_ = attribute("spec", "The `DataSpec` of the rows of fit.")
    history_ = attribute("history", "A dict per epoch.")
    ended_ = attribute("ended", "How training ended.")
    best_epoch_ = attribute("best_epoch", "The epoch with the best held-out score; 0 where none was scored.")
    pace_ = attribute("pace", "Threads of the training, and whether its steps were compiled.")
    epsilon_ = attribute("epsilon", "Privacy that a private training has spent.")
    trained_rows_ = attribute("trained_rows", "Fingerprints of the training rows.")
    recipe_ = attribute("recipe", "The recipe in use: the one asked for, or the default for the data.")
    n_features_in_ = attribute("features", "Columns of a table, or cells of a row.")
    classes_ = attribute("classes", "The classes that `predict` chooses among, or the numbers of the clusters.")
    caveat_ = attribute("caveat", "Why log p is not a likelihood of the data; None where it is.")
    privacy_ = attribute("privacy", "The privacy that the weights have spent, in a sentence, or None.")

    @property
    def feature_names_in_(self) -> NDArray:
        """Names of the columns of fit, where they had names."""
        names = self.fitted_.feature_names
        if names is None:
            raise AttributeError("the rows of fit had no column names")
        return np.array(names, dtype=object)

    @property
    def members_(self) -> list[VAE]:
        """The VAE of each seed, with `seeds`."""
        fitted = self.fitted_
        if not fitted.config.several_seeds:
            raise AttributeError("one model was trained: pass seeds=... to train several")
        first = replace(fitted, config=replace(fitted.config, seeds=None), others=())
        return [VAE.of(member) for member in (first, *fitted.others)]

    @property
    def has_classes(self) -> bool:
        """Whether the model has classes or clusters: the fitted one, else the one that `fit` will build."""
        if self.__sklearn_is_fitted__():
            return self.module_.latent.classes is not None
        if self.latent is not None:
            return self.latent.classes is not None
        if self.recipe is None:
            return False
        try:
            with torch.random.fork_rng(devices=[]):
                return as_recipe(self.recipe).classes(self.latent_dim) is not None
        except (TypeError, ValueError):  # settings that fit refuses
            return False

    # -- its functions -------------------------------------------------------------------------------

    def transform(self, x: object, context: object = None) -> Any:
        """Encode rows: the center of q(z | x), which is the posterior mean if q is normal. Deterministic.

        Parameters
        ----------
        x : array, sparse matrix, table or path
            Rows like those of fit.
        context : array or None, default=None
            Context of the rows, for a model that reads one.

        Returns
        -------
        ndarray of shape (N, latent numbers) or DataFrame
            An array, unless `set_output` or scikit-learn's ``transform_output`` asks for a frame.

        See Also
        --------
        inverse_transform, set_output, get_feature_names_out
        """
        z = inference.encode(self.fitted_, x, context)
        return contained(output_of(self._output_config), z, self._code_names(), x)

    def _code_names(self) -> list[str]:
        return [f"{type(self).__name__.lower()}{i}" for i in range(self.fitted_.latent_size)]

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> NDArray:
        """Return the names of the columns of `transform`.

        Parameters
        ----------
        input_features : sequence of str or None, default=None
            Only checked against the names and the number of the features of fit.

        Returns
        -------
        ndarray of str objects
            ``"vae0"``, ``"vae1"``, ...
        """
        known = self.fitted_.feature_names
        check_input_features(input_features, None if known is None else np.array(known, object), self.n_features_in_)
        return np.array(self._code_names(), dtype=object)

    inverse_transform = method(inference.decode)
    reconstruct = method(inference.reconstruct)
    expected = method(inference.expected)
    sample = method(inference.sample)
    impute = method(inference.impute)
    complete = method(inference.complete)
    interpolate = method(inference.interpolate)
    traverse = method(inference.traverse)
    shift = method(inference.shift)
    posterior = method(inference.posterior)
    predict = available(method(inference.predict))
    predict_proba = available(method(inference.predict_proba))
    score_samples = method(scoring.score_samples)
    score = method(scoring.score)
    anomaly_score = method(scoring.anomaly_score)
    explain = method(scoring.explain)
    outlier_probability = method(scoring.outlier_probability)
    detector = method(scoring.detector)
    evaluate = method(model_evaluation.evaluate)
    health = method(model_evaluation.health)
    annealed = method(model_evaluation.annealed)
    probe = method(model_evaluation.probe)
    disentanglement = method(model_evaluation.disentanglement)
    judge_samples = method(model_evaluation.judge_samples)
    judge_table = method(model_evaluation.judge_table)
    report = method(report.make)
    save = method(save)
