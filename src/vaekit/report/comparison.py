"""Several fitted models on the same held-out rows: their figures, and differences with errors of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ..core import public
from ..data.covariates import spread
from ..evaluation import Metric, evaluate_rows
from ..evaluation import compare as differing
from ..evaluation.metric import plain
from ..fitted import FittedVAE, HasFitted, as_fitted
from ..printable import printable_lines
from . import describe, page
from .paper import SERIES
from .sections import beside
from .subject import ROWS, Subject, column_names, rows_of

DRAWS = 32
MEASURED = {
    "elbo": "evidence lower bound; more is better",
    "log_likelihood": "importance-weighted bound of log p(x); more is better",
    "distortion": "-E log p(x | z); less is better at the same rate",
    "rate": "KL(q(z | x) || p(z)); less is better at the same distortion",
}
"""The figures that are compared, and what they mean."""


@dataclass(frozen=True)
class SideBySide(page.Page):
    """A page of several models side by side. Prints a line per model.

    figures: of each model, means over the rows with their standard errors. differences: of each model but the first,
    means of the row-by-row differences from the first, with standard errors: rows that are hard for all models do not
    blur them.
    """

    figures: dict[str, dict[str, Metric]]
    differences: dict[str, dict[str, Metric]]
    rows: int
    draws: int

    def to_dict(self) -> dict[str, object]:
        return {
            "rows": self.rows,
            "draws": self.draws,
            "figures": {name: plain(own) for name, own in self.figures.items()},
            "differences": {name: plain(own) for name, own in self.differences.items()},
        }

    def __str__(self) -> str:
        first = next(iter(self.figures))
        lines = [f"{self.rows:,} held-out rows, k = {self.draws} draws per row; differences from {first}, row by row"]
        for name, own in self.figures.items():
            lines.append(name)
            for n, figure in own.items():
                apart = self.differences.get(name, {}).get(n)
                said = "" if apart is None else f"  {apart.value:+.3f} ± {apart.error:.3f}, {page.in_errors(apart)}"
                lines.append(f"  {n:<15}{figure.value:10.3f} ± {figure.error:.3f}{said}")
        return printable_lines("\n".join(lines))


@public
def compare(
    models: Mapping[str, FittedVAE | HasFitted],
    x: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    name: str | None = None,
    draws: int = DRAWS,
    context: ArrayLike | None = None,
) -> SideBySide:
    """Fitted VAEs by name, two to ten, on the same held-out rows x (N, ...): one page, and differences from the first.

    A difference is the mean over rows of `score_b(x) - score_a(x)`, its standard error `std / sqrt N`. It is of these
    rows and these trainings: what other seeds of training would give it does not tell. labels: (N,), to choose rows to
    show. name: of the data. draws: per row. context: of the rows. Raises ValueError for models whose figures do not
    compare: fitted to rows of another shape or kind, one with context and one without, or with likelihoods that measure
    different things.

        vk.report.compare({"vae": vae, "iwae": iwae}, x_test).save("comparison.html")
    """
    models = {str(n): as_fitted(model) for n, model in models.items()}
    refuse_unlike(models)
    leading = models[next(iter(models))]
    models, x = {n: vae.over_numbers() for n, vae in models.items()}, leading.numbers(x)
    columns, data = getattr(x, "columns", None), rows_of(x)
    if labels is not None:
        labels = np.asarray(labels).reshape(-1)
        if len(labels) != len(data):
            raise ValueError(f"expected a label for each of the {len(data)} rows, got {len(labels)}")
    first, *others = models
    seed = models[first].config.seed  # one for all: what is binarised at each pass is then the same rows for all
    own = {
        n: evaluate_rows(vae.module, vae.rows(x, context), draws=draws, seed=seed, notes=_notes(vae))
        for n, vae in models.items()
    }
    figures = {n: _measured(evaluation.figures) for n, evaluation in own.items()}
    differences = {n: _measured(differing(own[n], own[first]).figures) for n in others}
    known = {
        "labels": None if labels is None else labels[:ROWS],
        "context": None if context is None else spread(context, len(data), models[first].spec)[:ROWS],
    }
    few = np.asarray(data[:ROWS])
    subjects = {n: Subject(vae, few, column_names(vae, columns), **known) for n, vae in models.items()}
    sections = [
        beside.figures_tables(figures, differences, {n: evaluation.notes for n, evaluation in own.items()}),
        *beside.settings(models),
        *beside.planes(figures),
        *beside.curves(models),
        *beside.rows(subjects),
        *beside.samples(subjects),
    ]
    told = name or describe.data_line(leading.spec, data)
    html = page.page(beside.heading(models, told, figures, differences), sections, "vaekit comparison")
    return SideBySide(html, figures, differences, len(data), draws)


def _measured(figures: Mapping[str, Metric]) -> dict[str, Metric]:
    return {n: replace(figures[n], meaning=meaning) for n, meaning in MEASURED.items() if n in figures}


def _notes(vae: FittedVAE) -> list[str]:
    """What is to be known of an objective before its figures are compared."""
    return [vae.objective.caveat] * bool(vae.objective.caveat)


# -- what can be compared --------------------------------------------------------------------------


def refuse_unlike(models: Mapping[str, FittedVAE | HasFitted]) -> None:
    """Raises ValueError where figures of two models are no measure for one another."""
    if not 2 <= len(models) <= len(SERIES):
        raise ValueError(f"expected two to {len(SERIES)} models to compare, got {len(models)}")
    first, *others = models
    for name in others:
        for what, (a, b) in _protocol(as_fitted(models[first]), as_fitted(models[name])).items():
            if a != b:
                raise ValueError(
                    f"{first} and {name} do not compare: {what} of {first}: {a}; of {name}: {b}; fit both to the same "
                    "data with likelihoods of one kind"
                )


def _protocol(a: FittedVAE, b: FittedVAE) -> dict[str, list[str]]:
    """What has to be the same for figures of two models to compare, in words, of each.

    Likelihoods of one measure, all densities or all code lengths of the same rows, compare; one that is no likelihood
    of the data compares with its like alone.
    """
    parts = [vae.module.likelihood for vae in (a, b)]
    found = {
        "rows": [" x ".join(map(str, vae.spec.shape)) for vae in (a, b)],
        "kind": [vae.spec.kind for vae in (a, b)],
        "context": ["none" if vae.spec.context is None else "read" for vae in (a, b)],
        "measure": ["a density" if part.density else "a code length" for part in parts],
    }
    if a.spec.kind != "binary":
        found["binarisation"] = [getattr(part, "binarise", None) or "none" for part in parts]
    if a.caveat is not None or b.caveat is not None:
        found["likelihood"] = [describe.part_line(part, but=("reads",)) for part in parts]
    return found
