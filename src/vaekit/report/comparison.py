"""Several fitted models on the same held-out rows: their figures, and differences with errors of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.beside import spread
from ..evaluation import Figure, RowScores, score_rows
from . import describe, page
from .paper import SERIES
from .sections import beside
from .subject import ROWS, Subject, column_names, rows_of

if TYPE_CHECKING:
    from ..estimator import VAE

DRAWS = 32
MEASURED = {
    "elbo": ("elbo", "evidence lower bound; more is better"),
    "log_likelihood": ("bound", "importance-weighted bound of log p(x); more is better"),
    "distortion": ("distortion", "-E log p(x | z); less is better at the same rate"),
    "rate": ("rate", "KL(q(z | x) || p(z)); less is better at the same distortion"),
}
"""The figures that are compared: where they stand in `RowScores`, and what they mean."""


@dataclass(frozen=True)
class SideBySide(page.Page):
    """A page of several models side by side. Prints a line per model.

    figures: of each model, means over the rows with their standard errors. differences: of each model but the first,
    means of the row-by-row differences from the first, with standard errors: rows that are hard for all models do not
    blur them.
    """

    figures: dict[str, dict[str, Figure]]
    differences: dict[str, dict[str, Figure]]
    rows: int
    draws: int

    def to_dict(self) -> dict[str, object]:
        return {
            "rows": self.rows,
            "draws": self.draws,
            "figures": {name: _plain(own) for name, own in self.figures.items()},
            "differences": {name: _plain(own) for name, own in self.differences.items()},
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
        return "\n".join(lines)


def _plain(figures: dict[str, Figure]) -> dict[str, dict[str, object]]:
    return {n: {"value": f.value, "error": f.error, "unit": f.unit} for n, f in figures.items()}


def compare(
    models: Mapping[str, VAE],
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
    models = {str(n): vae for n, vae in models.items()}
    refuse_unlike(models)
    columns, data = getattr(x, "columns", None), rows_of(x)
    if labels is not None:
        labels = np.asarray(labels).reshape(-1)
        if len(labels) != len(data):
            raise ValueError(f"expected a label for each of the {len(data)} rows, got {len(labels)}")
    first, *others = models
    seed = models[first].seed  # one for all: what is binarised at each pass is then the same rows for all
    scores = {n: score_rows(vae.module_, vae._seen(x, context), draws=draws, seed=seed) for n, vae in models.items()}
    figures = {n: _figures(own) for n, own in scores.items()}
    differences = {n: _differences(scores[n], scores[first]) for n in others}
    known = {
        "labels": None if labels is None else labels[:ROWS],
        "context": None if context is None else spread(context, len(data), models[first].spec_)[:ROWS],
    }
    few = np.asarray(data[:ROWS])
    subjects = {n: Subject(vae, few, column_names(vae, columns), **known) for n, vae in models.items()}
    sections = [
        beside.figures_tables(figures, differences, {n: _notes(vae) for n, vae in models.items()}),
        *beside.settings(models),
        *beside.planes(figures),
        *beside.curves(models),
        *beside.rows(subjects),
        *beside.samples(subjects),
    ]
    told = name or describe.data_line(models[first].spec_, data)
    html = page.page(beside.heading(models, told, figures, differences), sections, "vaekit comparison")
    return SideBySide(html, figures, differences, len(data), draws)


def _values(scores: RowScores) -> dict[str, NDArray]:
    """What was measured of each row, (N,) each, by name."""
    found = {n: getattr(scores, where).double().numpy() for n, (where, _) in MEASURED.items()}
    return {n: values for n, values in found.items() if np.isfinite(values).all()}


def _mean(values: NDArray, meaning: str) -> Figure:
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Figure(float(values.mean()), error, "nats", meaning)


def _figures(scores: RowScores) -> dict[str, Figure]:
    return {n: _mean(values, MEASURED[n][1]) for n, values in _values(scores).items()}


def _differences(scores: RowScores, first: RowScores) -> dict[str, Figure]:
    """Of what was measured of both."""
    own, reference = _values(scores), _values(first)
    return {n: _mean(own[n] - reference[n], MEASURED[n][1]) for n in own if n in reference}


def _notes(vae: VAE) -> list[str]:
    """What to know of a model before its figures are compared."""
    bound = "the codes are deterministic: the bound charges -log p(codes) by the prior and is loose"
    told = [vae.caveat_, vae.objective_.caveat, bound if vae.module_.latent.ratio == "bound" else None]
    return [note for note in told if note]


# -- what can be compared --------------------------------------------------------------------------


def refuse_unlike(models: Mapping[str, VAE]) -> None:
    """Raises ValueError where figures of two models are no measure for one another."""
    if not 2 <= len(models) <= len(SERIES):
        raise ValueError(f"expected two to {len(SERIES)} models to compare, got {len(models)}")
    first, *others = models
    for name in others:
        for what, (a, b) in _protocol(models[first], models[name]).items():
            if a != b:
                raise ValueError(
                    f"{first} and {name} do not compare: {what} of {first}: {a}; of {name}: {b}; fit both to the same "
                    "data with likelihoods of one kind"
                )


def _protocol(a: VAE, b: VAE) -> dict[str, list[str]]:
    """What has to be the same for figures of two models to compare, in words, of each.

    Likelihoods of one measure, all densities or all code lengths of the same rows, compare; one that is no likelihood
    of the data compares with its like alone.
    """
    parts = [vae._fitted().likelihood for vae in (a, b)]
    found = {
        "rows": [" x ".join(map(str, vae.spec_.shape)) for vae in (a, b)],
        "kind": [vae.spec_.kind for vae in (a, b)],
        "context": ["none" if vae.spec_.context is None else "read" for vae in (a, b)],
        "measure": ["a density" if part.density else "a code length" for part in parts],
    }
    if a.spec_.kind != "binary":
        found["binarisation"] = [getattr(part, "binarise", None) or "none" for part in parts]
    if a.caveat_ is not None or b.caveat_ is not None:
        found["likelihood"] = [describe.part_line(part, but=("reads",)) for part in parts]
    return found
