"""Fitting: functions that take settings and rows, and return a `FittedVAE`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.annotated import annotated, beside_of
from ..data.arrays import column_names
from ..data.containers import collected
from ..data.schema import Schema
from ..data.trained_rows import TrainedRows
from ..evaluation.health import FEWEST
from ..evaluation.model_evaluation import rows_health
from ..fitted import FittedVAE
from ..io import save
from ..latents import Prior
from ..locking import locked
from ..objectives import Objective
from ..paths import expanded
from ..sklearn_compat import not_fitted
from ..training import join
from ..training.build import learner_for, prior_learner, resumed_learner
from ..training.callbacks import Callback, check_callbacks
from ..training.config import VAEConfig
from ..training.display import display_for
from ..training.history import CUT, TrainingResult
from ..training.jobs import Job, train_learner, train_prior
from ..training.splitting import Split, split
from ..training.stacks import train_seeds
from ..training.trainer import Display, Silent

log = logging.getLogger("vaekit")

FEW, SHARE = 500, 80
"""Rows that `fit` looks at for the two lines on the model's health: at most `FEW`, and one of `SHARE` rows trained on.

That takes about five forward passes, some two percent of the training."""
ONE_PASS = {"epochs": 1, "validation": 0, "patience": None, "warmup": 0, "schedule": "constant", "warm_start": True}
"""Settings of `partial_fit`, in place of the estimator's."""
NOT_IN_PASSES = {
    "seeds": "train the models one by one",
    "privacy": "the passes would spend more than the budget of one fit",
    "sharded": "pass sharded=False",
}
"""Settings that `partial_fit` refuses, and what to do."""
NOT_FITTED = "this VAE is not fitted yet: call fit(x) first, or vaekit.load(run)"


def fit(
    config: VAEConfig,
    before: FittedVAE | None,
    x: object,
    y: object = None,
    *,
    context: object = None,
    schema: Schema | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    max_seconds: float | None = None,
    callbacks: Sequence[Callback] = (),
    display: Any = None,
) -> FittedVAE:
    """Fit to rows. Ctrl-C ends training early and keeps what was learned.

    Started by torchrun, several processes train one model together; all make the same call, see
    `vaekit.training.join`.

    Parameters
    ----------
    x : array, sparse matrix, AnnData, table, Dataset or path
        Rows (N, ...), or what `vaekit.data.lazy_rows.stored` reads.
    y : array of shape (N,), str or None, default=None
        Classes, -1 or None where one is not known. Ignored by models without classes. For AnnData, a column of obs.
    context : array, str or None, default=None
        What is known of each row and passed whenever the model is used: classes (N,), whole numbers or strings;
        numbers (N, C), which are standardised; or images. For AnnData, a column of obs.
    schema : Schema or None, default=None
        Columns and levels of a table, inferred from more rows than these, such as
        ``vk.data.Schema.infer(every_row)``. Replaces `columns`.
    run : path or None, default=None
        Folder for checkpoints, the history and the result.
    resume : bool, default=False
        Resume from the checkpoint in `run`, bit for bit.
    max_seconds : float or None, default=None
        Seconds after which training stops, with ``ended_ == "time limit"``. Reading the data does not count. The start
        of a table's model by factor analysis, choosing threads and compiling count, and are not cut short. A resumed
        run has as many seconds again.
    callbacks : sequence of Callback, default=()
        Objects whose `on_epoch_end(record)` is called after each epoch and may stop training, such as
        `vaekit.training.CSVLogger`; see `vaekit.training.Callback`.
    display : object or None, default=None
        Shows progress. ``None`` follows `verbose`.

    Returns
    -------
    self

    Raises
    ------
    Diverged
        If training diverges after it went back once to its last good state with a tenth of the learning rate.
    TimeoutError
        If `max_seconds` end within the pre-training of a recipe.
    """
    x = annotated(x) or collected(x)
    y, context = beside_of(x, y), beside_of(x, context)
    before = before if config.warm_start else None
    if before is not None:
        x, context = before.preprocessor.aligned(x, context)
    names, processes, callbacks = column_names(x), join(), check_callbacks(callbacks)
    config.check_training()
    parts = split(config, x, y, context, known=before and before.known, schema=schema)
    job = replace(_job(config, run, resume, display, max_seconds), callbacks=callbacks)
    if parts.rows.spec.choice is not None:
        log.info("%s", parts.rows.spec.choice)
        job.display.tell(parts.rows.spec.choice)
    with locked(job.folder if processes.rank == 0 else None):
        fitted = _trained(config, parts, before, names, job)
        if job.folder is not None:
            processes.first(lambda: save(fitted, job.folder))
    if not isinstance(job.display, Silent) and processes.rank == 0:
        _tell_health(fitted, parts, job.display)
    return fitted


def fit_prior(
    config: VAEConfig,
    before: FittedVAE | None,
    x: object,
    prior: Prior,
    *,
    context: object = None,
    objective: Objective | None = None,
    epochs: int | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    display: Any = None,
) -> FittedVAE:
    """Replace the prior of a fitted model by a copy of this one, trained on the codes of rows.

    Encoder and decoder stay as they are, bit for bit. For a ladder, the prior of the top level is replaced; for a
    codebook, the one over its codes; a point mass gets a prior to sample from. With `seeds`, every model gets its
    own. Batch size, learning rate, held-out share and `patience` are the estimator's, and `history_` continues.

    Parameters
    ----------
    x : array, table or path
        Rows like those of fit.
    prior : Prior
        The new prior.
    context : array or None, default=None
        Context of the rows, for a model that reads one.
    objective : Objective or None, default=None
        What the prior is trained for, such as ``vk.objectives.IWAE(5)``. ``None`` is the cross-entropy of the
        codes, see `PriorFit`.
    epochs : int or None, default=None
        ``None`` is the estimator's.
    run : path or None, default=None
        Folder for checkpoints, the history and the result.
    resume : bool, default=False
        Resume from the checkpoint in `run`, bit for bit.
    display : object or None, default=None
        Shows progress. ``None`` follows `verbose`.

    Returns
    -------
    self

    Raises
    ------
    ValueError
        If the prior cannot be replaced or has nothing to learn. The model is not changed.

    Examples
    --------
    >>> vae.fit_prior(x, vk.latents.FlowPrior(), epochs=20).sample(64)
    """
    if before is None:
        raise not_fitted(NOT_FITTED)
    if config.privacy is not None:
        raise ValueError("a prior that is fitted to the codes of rows is not private: this model's prior stays")
    x, context = before.preprocessor.aligned(x, context)
    before.rows(x, context)  # refuses other rows than it was fitted to
    parts, job = split(config, x, None, context, known=before.known), _job(config, run, resume, display)
    with locked(job.folder if join().rank == 0 else None):
        own = _with_prior(before, prior, objective, config, parts, epochs, job)
        others = []
        for member in before.others:
            alone = replace(config, seed=member.config.seed, seeds=None)
            home = job.inside(f"seed-{alone.seed}")
            others.append(_with_prior(member, prior, objective, alone, parts, epochs, home))
        fitted = replace(own, others=tuple(others))
        if job.folder is not None:
            join().first(lambda: save(fitted, job.folder))
    return fitted


def partial_fit(
    config: VAEConfig, before: FittedVAE | None, x: object, y: object = None, *, context: object = None
) -> FittedVAE:
    """Train for one epoch on the given rows, from the current weights.

    The first call builds the model: it infers columns, levels, scales and classes from its rows, so these rows
    should be typical and hold every class of y. Later calls keep them. No rows are held out, the learning rate is
    constant and the moments of Adam start anew at each call, so large parts are better than small ones.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Rows, in later calls like those of the first.
    y : array of shape (N,) or None, default=None
        Classes, for a model that has them.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    self

    Raises
    ------
    ValueError
        If the rows differ in shape or kind from those of the first call, or with `seeds`, `privacy` or `sharded`.

    See Also
    --------
    fit

    Examples
    --------
    >>> vae = vk.VAE(latent_dim=2)
    >>> for part in parts:
    ...     vae.partial_fit(part)
    """
    for name, fix in NOT_IN_PASSES.items():
        if config.in_use(name):
            raise ValueError(f"partial_fit with {name}={getattr(config, name)!r} is not supported: {fix}")
    history = [] if before is None else before.history
    one_pass = replace(config, **ONE_PASS, seed=config.seed + len(history))  # another seed for each: new noise
    fitted = fit(one_pass, before, x, y, context=context)
    more = ({**record, "epoch": len(history) + record["epoch"]} for record in fitted.history)
    return replace(fitted, history=[*history, *more])


def _job(
    config: VAEConfig, run: str | Path | None, resume: bool, display: Display | None, seconds: float | None = None
) -> Job:
    deadline = None if seconds is None else time.perf_counter() + seconds
    return Job(None if run is None else expanded(run), resume, display or display_for(config.verbose), deadline)


def _tell_health(fitted: FittedVAE, parts: Split, display: Display) -> None:
    """Two lines at the end of fit, by held-out rows, or by training rows where too few are held out."""
    on = "training" if parts.held is None or len(parts.held) < FEWEST else "held-out"
    looked = parts.rows if on == "training" else parts.held
    if len(looked) >= FEWEST and fitted.history and fitted.ended not in CUT:
        most = min(FEW, max(FEWEST, len(parts.rows) * len(fitted.history) // SHARE))
        display.tell(rows_health(fitted, looked, fitted.config.seed, most=most, on=on).in_two_lines())


def _trained(
    config: VAEConfig, parts: Split, before: FittedVAE | None, names: Sequence[str] | None, job: Job
) -> FittedVAE:
    """Trains one model on rows, or one for each seed. before: a fitted one to go on from."""
    rows, held = parts.rows, parts.held
    if config.several_seeds:
        members = train_seeds(config, rows, held, job)
        trained: list[tuple[Any, VAEConfig, TrainingResult]] = [(m.learner, m.config, m.course) for m in members]
        trained[0] = (trained[0][0], config, trained[0][2])
    else:
        if before is None:
            learner = learner_for(config, rows, job, parts.draft)
        else:
            learner = resumed_learner(before.module, before.objective, config, rows)
        trained = [(learner, config, train_learner(config, learner, rows, held, job))]
    known = {
        "feature_names": names,
        "trained_rows": None if config.privacy is not None else TrainedRows.of(rows),
    }
    first, *others = (FittedVAE.of(learner, rows.spec, own, course, **known) for learner, own, course in trained)
    if not first.history and first.ended in CUT:
        log.warning(
            "training ended (%s) within its first epoch: the model is not fitted; resume the run, or fit again",
            first.ended,
        )
    return replace(first, others=tuple(others))


def _with_prior(
    fitted: FittedVAE,
    prior: Prior,
    objective: Objective | None,
    config: VAEConfig,
    parts: Split,
    epochs: int | None,
    job: Job,
) -> FittedVAE:
    learner = prior_learner(fitted.module, prior, objective, config, parts.rows)
    course = train_prior(config, learner, parts.rows, parts.held, epochs, job)
    before = len(fitted.history)
    history = [*fitted.history, *({**r, "epoch": before + r["epoch"]} for r in course.history)]
    return replace(fitted, module=learner.model.eval(), history=history, ended=course.ended, pace=course.pace)
