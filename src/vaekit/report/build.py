"""The report of one model: its sections in their order, from a fitted VAE and held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core import public
from ..data.covariates import spread
from ..evaluation import Evaluation
from ..evaluation.model_evaluation import evaluate
from ..fitted import FittedVAE, HasFitted, as_fitted
from . import describe, page
from .figures import as_values
from .sections import codes, rows, scores, tables
from .subject import ROWS, Subject, column_names, rows_of

DRAWS = 32
"""Draws per row behind the figures: 10,000 digits take about 8 s of one core."""
OTHERS = 2
"""Sets of other data that a picture still tells apart."""


@dataclass(frozen=True)
class Report(page.Page):
    """A page of pictures and figures about a model. Prints the evaluation."""

    evaluation: Evaluation

    def __str__(self) -> str:
        return str(self.evaluation)


@public
def make(
    model: FittedVAE | HasFitted,
    x: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    factors: Mapping[str, ArrayLike] | None = None,
    train: ArrayLike | None = None,
    others: Mapping[str, ArrayLike] | None = None,
    name: str | None = None,
    draws: int = DRAWS,
    context: ArrayLike | None = None,
) -> Report:
    """Build the report: one page of pictures and metrics of a `FittedVAE` or `VAE` on held-out rows.

    Parameters
    ----------
    x : array or table of N rows
        Held-out rows, like those of fit.
    labels : array of shape (N,) or None, default=None
        Classes, names or values of the rows, for colors and for what the model says of classes.
    factors : dict or None, default=None
        Factors that generated the rows, whole numbers or names (N,), by name. ``None`` takes the labels, if these are
        classes.
    train : array, table or None, default=None
        Training rows, for the nearest neighbors of samples and their likelihood.
    others : dict or None, default=None
        Rows of other data by name, two sets at most, whose likelihood is compared with that of x.
    name : str or None, default=None
        Name of the data, for the heading.
    draws : int
        Draws of z per row, for `evaluate`.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    Report
        ``.save(path)`` writes one self-contained HTML file.

    Raises
    ------
    ValueError
        If labels or factors and rows differ in number, or other data are given to a model that reads context.
    """
    evaluated, learned, over = x, train, as_fitted(model)
    vae = over.over_numbers()
    x, train = over.numbers(x), None if train is None else over.numbers(train)
    others = {n: over.numbers(o) for n, o in (others or {}).items()}
    columns = getattr(x, "columns", None)
    data = rows_of(x)
    labels = None if labels is None else np.asarray(labels).reshape(-1)
    factors = _factors(labels, factors, len(data))
    others = {n: np.asarray(rows_of(o)[:ROWS]) for n, o in others.items()}
    if others and (len(others) > OTHERS or context is not None):
        why = "a model that reads context" if context is not None else f"{len(others)} sets"
        raise ValueError(f"expected at most {OTHERS} sets of other data, of a model without context, got {why}")
    evaluation = evaluate(over, evaluated, draws=draws, context=context)
    if evaluation.interrupted:
        raise KeyboardInterrupt
    subject = Subject(
        vae,
        np.asarray(data[:ROWS]),
        column_names(vae, columns),
        evaluation.kl_per_unit,
        labels=None if labels is None else labels[:ROWS],
        factors=factors,
        context=None if context is None else spread(context, len(data), vae.spec)[:ROWS],
        train=None if train is None else rows_of(train),
        others=others,
        draws=draws,
    )
    heading = page.heading(over, name or describe.data_line(over.spec, data), evaluation)
    sections = [
        *(rows.pictures(subject) if subject.as_pictures else rows.columns(subject)),
        *tables.synthetic(over, learned, evaluated),
        *codes.plane(subject),
        *codes.walks(subject),
        *codes.factors(subject),
        *codes.classes(subject),
        *codes.aggregate(subject),
        *codes.units(subject),
        *scores.typicality(subject),
        *scores.training(subject),
        page.figures_table(evaluation),
        page.configuration(over, data),
    ]
    return Report(page.page(heading, sections, f"{describe.title(over)[0]}: vaekit report"), evaluation)


def _factors(labels: NDArray | None, factors: Mapping[str, ArrayLike] | None, count: int) -> dict[str, NDArray]:
    """What is known of the first rows, by name."""
    given = {} if factors is None else {str(n): np.asarray(v) for n, v in factors.items()}
    for what, values in {"label": labels, **{f"factor {n!r}": v for n, v in given.items()}}.items():
        if values is not None and values.shape != (count,):
            kind = what.partition(" ")[0]
            raise ValueError(
                f"expected a {what} for each of the {count} rows, got {len(values)}: pass {kind}s of these rows"
            )
    if factors is None and labels is not None and as_values(labels) is None:
        given = {"label": labels}
    return {name: values[:ROWS] for name, values in given.items()}
