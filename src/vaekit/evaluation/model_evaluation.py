"""Figures of a fitted model: evaluation, health, codes, samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core import public
from ..data.frames import Name, columns_of
from ..data.rows import AbstractRows
from ..fitted import CHUNK, FittedVAE
from ..inference import encode, sample
from ..inference.decoding import reconstructed
from ..training.history import COMPLETE
from ..training.interruption import interruptible
from . import disentanglement as scores_of_factors
from . import representation
from .annealed import annealed as annealed_rows
from .annealed import check_annealing, with_annealing
from .baselines import Baselines, baselines, independent_baseline, measure_of, reconstruction_error
from .cost import MOST, affordable_draws
from .health import FEWEST, Health
from .health import health as health_of
from .metric import Metric
from .observed import Observed
from .progress import ProgressMonitor
from .result import Evaluation
from .rows import evaluate_rows
from .samples import Features, Judgement, judge
from .tables import TableJudgement
from .tables import judge_table as judge_tables

WITHOUT_GAPS = (
    "this model keeps no patterns of gaps, so that the new rows are whole: column_pairs, missing_cells and told_apart "
    "see it"
)
FEW_TRAINED = 0.02
"""The share of the rows of an evaluation that were trained on above which a note says so."""


@public
def evaluate(
    fitted: FittedVAE,
    x: object,
    draws: int | None = 100,
    seed: int | None = None,
    context: object = None,
    against: object = None,
    ais: int = 0,
    bracket: int = 0,
    betas: int = 500,
) -> Evaluation:
    """Evaluate the model on held-out rows: metrics with standard errors, what they depend on, and its health.

    The metrics are ELBO, distortion, rate, importance-weighted bound and bits per dimension. Work of more than a minute
    is announced, and Ctrl-C ends it with the metrics of the rows that are done.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Rows like those of fit.
    draws : int or None, default=100
        Draws of z per row. ``None`` is 100, or fewer where these would take more than about a minute, with a note.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of the rows, for a model that reads one.
    against : array, table or None, default=None
        Training rows. Simple models are fitted to them and compared with this one, see `vaekit.evaluation.baselines`.
    ais : int, default=0
        Number of rows, the first ones, that are also scored by annealed importance sampling.
    bracket : int, default=0
        Number of samples of the model whose log p is bracketed by bidirectional Monte Carlo.
    betas : int, default=500
        Number of temperatures of both.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If `ais` or `bracket` is given and the codes are discrete.
    """
    model, rows, own_seed = fitted.module, fitted.rows(x, context), fitted.seed_or(seed)
    if ais or bracket:
        check_annealing(model)
    notes = [note for note in (fitted.objective.caveat, fitted.privacy) if note]
    if draws is None and (draws := affordable_draws(model, rows)) < MOST:
        notes.append(f"{draws} draws a row, not {MOST}, which would take long: pass draws={MOST} for a tighter bound")
    on, trained = provenance(fitted, rows)
    notes += [] if trained is None else [trained]
    simple = None if against is None else _baselines(fitted, x, against)  # refuses what does not compare at once
    with interruptible() as asked:
        watch = ProgressMonitor(asked, fitted.config.verbose)
        own = evaluate_rows(model, rows, draws=draws, seed=own_seed, notes=notes, watch=watch)
        own = replace(own, on=on, health=rows_health(fitted, rows, own_seed, on=on) if len(rows) >= FEWEST else None)
        own = with_annealing(own, model, rows, ais, bracket, betas=betas, seed=own_seed, watch=watch)
    if simple is not None and not own.interrupted:
        own = replace(own, baselines=_compared(fitted, simple, own, x, context))
    if not fitted.others or own.interrupted:
        return own
    others: list[Evaluation] = []
    for member in fitted.others:
        others.append(evaluate(member, x, draws, seed, context, None, ais, bracket, betas))
        if others[-1].interrupted:
            return replace(own, interrupted=True, notes=["interrupted: the other seeds are left out", *own.notes])
    return own.among(others, diverged=fitted.config.seeds - 1 - len(others))


def provenance(fitted: FittedVAE, rows: AbstractRows) -> tuple[str, str | None]:
    """Whether rows are "held-out" or "training" rows, and a note where some of them were trained on."""
    share = 0.0 if fitted.trained_rows is None else fitted.trained_rows.share(rows)
    if share <= FEW_TRAINED:
        return "held-out", None
    note = f"about {share:.0%} of these rows were trained on: figures of new rows are worse; see held_out(x)"
    return ("training" if share > 0.5 else "held-out"), note


@public
def health(fitted: FittedVAE, x: object, seed: int | None = None, context: object = None) -> Health:
    """Say what is wrong with the model, if anything, and what to try.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Held-out rows, like those of fit.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    Health
        See `vaekit.evaluation.health`.
    """
    rows = fitted.rows(x, context)
    return rows_health(fitted, rows, fitted.seed_or(seed), on=provenance(fitted, rows)[0])


def rows_health(fitted: FittedVAE, rows: AbstractRows, seed: int, **settings: Any) -> Health:
    """The health of a model by rows that it reads."""
    back = fitted.config.patience is not None and fitted.best_epoch and fitted.ended in COMPLETE
    course = {"history": fitted.history, "ended": fitted.ended, "kept": fitted.best_epoch if back else None}
    return health_of(fitted.module, rows, objective=fitted.objective, seed=seed, **course, **settings)


@public
def annealed(
    fitted: FittedVAE,
    x: object,
    *,
    chains: int = 16,
    betas: int = 500,
    steps: int = 10,
    seed: int | None = None,
    context: object = None,
) -> NDArray:
    """Return log p(x) per row by annealed importance sampling, in nats.

    It needs no encoder and costs a thousand times as much as the bound: a few hundred rows are plenty. Ctrl-C ends it
    with the rows that are done.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Rows like those of fit.
    chains : int, default=16
        Chains per row.
    betas : int, default=500
        Temperatures from the prior to the posterior.
    steps : int, default=10
        Leapfrog steps per temperature.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N,)

    See Also
    --------
    vaekit.evaluation.annealed
    """
    rows, settings = fitted.rows(x, context), {"chains": chains, "betas": betas, "steps": steps}
    with interruptible() as asked:
        watch = ProgressMonitor(asked, fitted.config.verbose)
        return annealed_rows(fitted.module, rows, **settings, seed=fitted.seed_or(seed), watch=watch).numpy()


def _baselines(fitted: FittedVAE, x: object, against: object) -> Baselines:
    """Simple models of training rows, in the measure of this model's log p."""
    measure, seed = measure_of(fitted.module.likelihood, fitted.spec), fitted.config.seed
    if measure == "mixed":
        return independent_baseline(fitted.module.likelihood, fitted.rows(against), fitted.rows(x), seed)
    rows = [_explained(fitted, t) if _binarises(fitted) else _plain(fitted, t) for t in (against, x)]
    return baselines(*rows, measure=measure, latents=fitted.latent_size, seed=seed)


def _compared(fitted: FittedVAE, simple: Baselines, own: Evaluation, x: object, context: object) -> Baselines:
    """Simple models with this one's metrics first."""
    scored = ("log_likelihood", "bits_per_dim") if simple.measure else ()
    mine = {name: own.figures[name] for name in scored if name in own.figures}
    if "ppca" in simple.figures and not _binarises(fitted):
        again = reconstructed(fitted, *fitted.preprocessor.aligned(x, context))
        dense = np.asarray(fitted.preprocessor.data(_plain(fitted, x))[0]).astype(np.float64)
        apart = torch.from_numpy(dense - again).flatten(1)
        mine["reconstruction_error"] = reconstruction_error(apart / torch.tensor(simple.scale, dtype=torch.float64))
    return simple.beside("this model", f"{fitted.latent_size} latents", mine)


def _plain(fitted: FittedVAE, x: object) -> object:
    return fitted.preprocessor.aligned(x, None)[0]


def _binarises(fitted: FittedVAE) -> bool:
    return getattr(fitted.module.likelihood, "binarise", None) is not None


def _explained(fitted: FittedVAE, x: object) -> NDArray:
    """Rows as a likelihood that binarises them explains them, 0 and 1: the same that this model is scored on."""
    batches = Observed(fitted.module, fitted.rows(x).batches(CHUNK))
    return torch.cat([batch.x.to(torch.uint8).cpu() for batch in batches]).numpy()


@public
def probe(
    fitted: FittedVAE, x: object, y: object, test: object, y_test: object, seed: int | None = None
) -> dict[str, Metric]:
    """Measure how well the codes predict classes, by two probes and by clustering.

    Codes of two numbers are also judged by whether they keep neighbours. See `vaekit.evaluation.representation`, which
    takes codes, for context and real targets.

    Parameters
    ----------
    x, y : array or table, array of shape (N,)
        Rows to train the probes on, and their classes.
    test, y_test : array or table, array of shape (M,)
        Test rows, and their classes.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.

    Returns
    -------
    dict
        Metrics by name.
    """
    codes, seed = (encode(fitted, x), encode(fitted, test)), fitted.seed_or(seed)
    return representation.representation(codes[0], y, codes[1], y_test, seed, test=test)


@public
def disentanglement(
    fitted: FittedVAE, x: object, factors: object, seed: int | None = None, context: object = None
) -> dict[str, float]:
    """Score how well single latents stand for single factors of variation.

    Parameters
    ----------
    x : array or table
        Rows like those of fit.
    factors : array of shape (N, F)
        Whole numbers: the factors that generated the rows.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    dict
        Scores in [0, 1] by name, see `vaekit.evaluation.disentanglement`.
    """
    return scores_of_factors.disentanglement(encode(fitted, x, context), factors, fitted.seed_or(seed))


@public
def judge_samples(
    fitted: FittedVAE,
    test: object,
    training: object,
    n: int = 2000,
    *,
    features: Features | None = None,
    seed: int | None = None,
    context: object = None,
) -> Judgement:
    """Compare samples of the model with test rows, and as many training rows with the same test rows.

    Parameters
    ----------
    test, training : array
        Rows like those of fit.
    n : int, default=2000
        Number of samples.
    features : Features or None, default=None
        What rows are compared by, such as `vaekit.evaluation.DIGITS`. ``None`` compares the rows themselves.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.
    context : array or None, default=None
        Context of the samples, see `sample`.

    Returns
    -------
    Judgement
        See `vaekit.evaluation.samples`.
    """
    seed = fitted.seed_or(seed)
    return judge(sample(fitted, n, seed, context=context), test, training, features=features, seed=seed)


@public
def judge_table(
    fitted: FittedVAE,
    training: object,
    test: object = None,
    *,
    target: Name | None = None,
    n: int | None = None,
    seed: int | None = None,
) -> TableJudgement:
    """Compare synthetic rows of a table with the training rows, and with test rows.

    Columns are what the schema says. If training rows had missing cells, so have the synthetic ones; a note says where
    the model does not know which.

    Parameters
    ----------
    training : table
        The rows of fit.
    test : table or None, default=None
        Other rows of the same table.
    target : str or None, default=None
        A column that is predicted from the others.
    n : int or None, default=None
        Number of synthetic rows. ``None`` takes as many as there are training rows.
    seed : int or None, default=None
        Random seed. ``None`` uses the estimator's `seed`.

    Returns
    -------
    TableJudgement
        See `vaekit.evaluation.judge_table`.

    Raises
    ------
    ValueError
        If the model was not fitted to a table.
    """
    spec, seed = fitted.spec, fitted.seed_or(seed)
    if spec.schema is None:
        raise ValueError("judge_table is of models of tables, this one was fitted to an array: use judge_samples")
    own = [c for c in spec.schema.columns if c.kind != "identifier"]
    real = {"training": training} | ({} if test is None else {"test": test})
    tables = {what: columns_of(table) for what, table in real.items()}
    kept = {what: {c.name: t[c.name] for c in own if c.name in t} for what, t in tables.items()}
    count = n or max((len(c.values) for c in kept["training"].values()), default=0)
    levels = [c.name for c in own if c.levels]
    known = spec.patterns is not None or not spec.gappy
    made = sample(fitted, count, seed, gaps=known)
    found = judge_tables(kept["training"], made, test=kept.get("test"), target=target, levels=levels, seed=seed)
    return found if known else replace(found, notes=(*found.notes, WITHOUT_GAPS))
