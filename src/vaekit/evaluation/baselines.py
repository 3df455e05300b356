"""What simple models make of the same rows: a factorised model, probabilistic PCA, a mixture of normals, xz.

A model that is no better than these has learned nothing worth its size. Figures are of the same type and in the same
units as those of an `Evaluation`: nats per row and bits per dimension, in the data's own units, so that a density has
the Jacobian of its scaling. There are four measures of log p(x), and only like is set beside like:

- "probability", of data that are whole numbers: -log2 p(x) is the length of a code;
- "density", of real numbers: it depends on the unit, and no code has its length;
- "cross-entropy", `x log p + (1 - x) log(1 - p)` of grey levels in [0, 1], which is neither;
- "given totals", of counts in a row whose total is known, as likelihoods with a library have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..core import public
from ..data.affine import differences
from ..data.lazy_rows import LazyRows, as_data
from ..data.rows import AbstractRows
from ..data.spec import DataSpec, has_gaps, pieces, values
from ..likelihoods import Likelihood, Multinomial
from ..likelihoods.reconstruction import ReconstructionLoss
from ..printable import printable_lines
from ..suggest import nearest
from .independent import ROWS as FITTED
from .independent import Independent
from .metric import Metric, plain
from .simple_models import ProbabilisticPCA, by_chunks, chosen_mixture, factorised, of_library, xz_bits

NAMES = ("factorised", "ppca", "mixture", "xz")
TOTALS = "given totals"
MEASURES = {
    "probability": "; log p is a probability",
    "density": "; log p is a density",
    "cross-entropy": "; log p is a cross-entropy",
    TOTALS: "; log p is that of rows whose totals are given",
    "mixed": "; log p is by each column's own measure",
}
"""What is said of log p, by its measure."""
ROWS = 50_000
"""Training rows that are read, by chance, where there are more."""
MIXTURE_ROWS = 10_000
"""Of these, the rows that a mixture is fitted to."""


@dataclass(frozen=True, repr=False)
class Baselines:
    """Figures of simple models by the model's name. Shows itself as a table; `to_dict` for machines.

    measure: what log p is; None where it compares with nothing, "mixed" where columns differ in it. rows: that the
    models were fitted to. described: each in a few words. scale: what reconstruction errors are counted in, the
    standard deviation of each column of a table, or of all cells.
    """

    figures: dict[str, dict[str, Metric]]
    measure: str | None
    rows: int
    described: dict[str, str]
    scale: tuple[float, ...]

    def __getitem__(self, name: str) -> dict[str, Metric]:
        return self.figures[name]

    def beside(self, name: str, described: str, figures: dict[str, Metric]) -> Self:
        """The same with a model of one's own in the first line."""
        return replace(self, figures={name: figures, **self.figures}, described={name: described, **self.described})

    def to_dict(self) -> dict[str, object]:
        figures = {name: plain(own) for name, own in self.figures.items()}
        return {"measure": self.measure, "rows": self.rows, "figures": figures, "models": self.described}

    def __str__(self) -> str:
        columns = {n: f.unit for own in self.figures.values() for n, f in own.items()}
        table = [["", *(f"{n}, {unit}" for n, unit in columns.items()), ""]]
        table += [
            [name, *(_cell(own.get(n)) for n in columns), self.described[name]] for name, own in self.figures.items()
        ]
        widths = [max(map(len, column)) for column in zip(*table)]
        said = MEASURES.get(self.measure, "")
        lines = [f"baselines, fitted to {self.rows:,} training rows{said}"]
        for name, *cells, words in table:
            aligned = [name.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:])), words]
            lines.append(f"  {'  '.join(aligned)}".rstrip())
        return printable_lines("\n".join(lines))

    __repr__ = __str__


def _cell(figure: Metric | None) -> str:
    if figure is None:
        return "–"
    return f"{figure.value:.3f}" + ("" if figure.error is None else f" ± {figure.error:.3f}")


@dataclass(frozen=True)
class _Rows:
    """Flat training and test rows (N, D), (M, D) in their own type; what they hold, and what log p is to be.

    spec brings real numbers to a mean of 0 and a variance of 1: of each column of a table, of all cells otherwise.
    Rows of a sparse matrix stay as they are where they are scored by their totals, which is done some at a time.
    """

    train: Tensor | LazyRows
    test: Tensor | LazyRows
    spec: DataSpec
    measure: str | None
    latents: int
    seed: int

    @property
    def kind(self) -> str:
        """What the factorised model takes the cells for."""
        return {"probability": self.spec.kind, "density": "real", TOTALS: TOTALS}.get(self.measure, "cross-entropy")

    @property
    def dequantised(self) -> bool:
        return self.measure == "probability" and self.spec.kind != "binary"

    def standardised(self, x: Tensor, noisy: bool) -> Tensor:
        """In fp32; noisy: after uniform noise in [-1/2, 1/2), which makes a density of whole numbers a bound."""
        if noisy:
            generator = torch.Generator().manual_seed(self.seed)
            x = x + torch.rand(x.shape, generator=generator) - 0.5
        offset, scale = (torch.tensor(t, dtype=torch.float64) for t in (self.spec.offset, self.spec.scale))
        return (differences(x, offset) / scale).float()

    def figures(self, log_p: Tensor, meaning: str) -> dict[str, Metric]:
        """Of log p (M,) of the test rows."""
        found = {"log_likelihood": Metric.mean(log_p, "nats", meaning)}
        if self.measure in ("density", "probability") and not self.spec.missing:
            bits = -log_p / (self.test.shape[1] * math.log(2))
            found["bits_per_dim"] = Metric.mean(bits, "bits", f"{meaning}, a {self.measure}, per dimension")
        return found


Fit = tuple[dict[str, Metric], str]
"""Figures on test rows, and the model in a few words."""


def _factorised(rows: _Rows) -> Fit:
    train, test, log_scale = rows.train, rows.test, torch.zeros(1)
    if rows.kind == "real":
        train, test = rows.standardised(train, False), rows.standardised(test, False)
        log_scale = torch.tensor(rows.spec.scale, dtype=torch.float64).log()
    elif rows.kind in ("cross-entropy", "binary") and rows.spec.kind != "unit":
        train, test = train / rows.spec.top, test / rows.spec.top
    log_p = of_library(train) if rows.kind == TOTALS else factorised(train, rows.kind)
    found = by_chunks(test, lambda part: (log_p(part) - log_scale * ~part.isnan()).sum(1))
    described = "each column alone, around its share of a row's total" if rows.kind == TOTALS else "each column alone"
    return rows.figures(found, "log p of independent columns"), described


def _ppca(rows: _Rows) -> Fit:
    latents = min(rows.latents, rows.train.shape[1] - 1)
    scored = rows.measure == "density" or rows.dequantised
    model = ProbabilisticPCA.fit(rows.standardised(rows.train, rows.dequantised), latents)
    found = {}
    if scored:
        log_p = model.log_prob(rows.standardised(rows.test, rows.dequantised)) + rows.spec.log_jacobian
        found = rows.figures(log_p, "log p by probabilistic PCA")
    test = rows.standardised(rows.test, False)
    found["reconstruction_error"] = reconstruction_error(test - model.reconstruct(test))
    return found, f"{latents} latents{_noisy(rows)}"


def _mixture(rows: _Rows) -> Fit:
    model = chosen_mixture(rows.standardised(rows.train[:MIXTURE_ROWS], rows.dequantised).double(), rows.seed)
    log_p = model.log_prob(rows.standardised(rows.test, rows.dequantised)) + rows.spec.log_jacobian
    covariances = "full" if model.roots.dim() == 3 else "diagonal"
    described = f"{len(model.means)} components, {covariances} covariances{_noisy(rows)}"
    return rows.figures(log_p, "log p by a mixture of normals"), described


def _xz(rows: _Rows) -> Fit:
    bits = xz_bits(rows.test.numpy() if not rows.test.is_floating_point() else rows.test.long().numpy())
    return {"bits_per_dim": Metric(bits, None, "bits", "length of a code, per dimension")}, "all test rows in one file"


def _noisy(rows: _Rows) -> str:
    return ", of x + uniform noise" if rows.dequantised else ""


def reconstruction_error(apart: Tensor) -> Metric:
    """The figure of what reconstructions of rows are off by, (M, ...), in standard deviations of the data."""
    lost = apart.double().flatten(1).square().mean(1)
    return Metric.mean(lost, "of the variance", "mean squared error of the reconstruction")


def measure_of(likelihood: Likelihood, spec: DataSpec) -> str | None:
    """The measure of a model's log p: "probability", "density", "cross-entropy", "given totals", "mixed" for rows that
    have parts of several kinds, or None where it is none of them."""
    if likelihood.feature_widths is not None:
        return "mixed"
    if isinstance(likelihood, (ReconstructionLoss, Multinomial)):
        return None  # a score that is no log p, and log p of rows that are one cell
    if likelihood.given_total:
        return TOTALS
    if likelihood.density:
        return "density"
    if likelihood.support in ("count", "levels") or spec.kind == "binary" or getattr(likelihood, "binarise", None):
        return "probability"
    return "cross-entropy"


FITS: dict[str, Callable[[_Rows], Fit]] = {
    "factorised": _factorised,
    "ppca": _ppca,
    "mixture": _mixture,
    "xz": _xz,
}


@public
def baselines(
    x_train: ArrayLike | LazyRows,
    x_test: ArrayLike | LazyRows,
    *,
    measure: str | None = "auto",
    latents: int = 20,
    which: Sequence[str] | None = None,
    seed: int = 0,
) -> Baselines:
    """Simple models fitted to training rows (N, ...) and judged on test rows (M, ...): those that fit the kind of data.

    measure: "probability", "density", "cross-entropy", "given totals", or None for reconstruction errors alone; "auto":
    the first for whole numbers, the second for others. latents: of PCA, at most one fewer than there are columns.
    which: some of "factorised", "ppca", "mixture", "xz"; None: all that fit.

    - "factorised": independent columns, of levels by their shares, counts by a negative binomial, reals by a normal;
      given totals, counts by a negative binomial around the column's share of its row's total;
    - "ppca": `ProbabilisticPCA`, and the reconstruction error of PCA, the mean over cells of `((x - x') / s)^2`, s the
      standard deviation of the column of a table, or of all cells of rows of more dimensions;
    - "mixture": `chosen_mixture`, on at most 10,000 rows;
    - "xz": bits of the test rows as one file, under "probability" only.

    Of whole numbers both models of real ones are fitted to x + u, u uniform of width 1: E log p(x + u) is no more than
    log P(x) (Theis et al. 2016, arXiv:1511.01844). Binary rows are left to the others. Of missing cells only the
    factorised model knows, and scores those that are there. Raises ValueError for rows of different shapes, and for a
    measure or a baseline that does not fit the data.
    """
    rows = _read(x_train, x_test, measure, latents, seed)
    fitting = _fitting(rows)
    for name in () if which is None else which:
        if name not in NAMES:
            raise ValueError(f"unknown baseline {name!r}{nearest(name, NAMES)}: expected some of {', '.join(NAMES)}")
        if name not in fitting:
            raise ValueError(_unfit(name, rows))
    done = {name: FITS[name](rows) for name in fitting if which is None or name in which}
    figures, described = ({name: fit[i] for name, fit in done.items()} for i in (0, 1))
    return Baselines(figures, rows.measure, len(rows.train), described, rows.spec.scale)


@public
def independent_baseline(likelihood: Likelihood, train: AbstractRows, test: AbstractRows, seed: int = 0) -> Baselines:
    """The one simple model of rows that have parts of several kinds: independent columns, each by its part of the
    likelihood, so that log p is of the same measure, whatever that is; see `Independent`."""
    log_p = Independent(likelihood, train, seed).log_p(test)
    figures = {"log_likelihood": Metric.mean(log_p, "nats", "log p of independent columns, by the same likelihood")}
    described = {"factorised": "each column alone, by its part of the likelihood"}
    return Baselines({"factorised": figures}, "mixed", min(len(train), FITTED), described, ())


def _read(x_train: object, x_test: object, measure: str | None, latents: int, seed: int) -> _Rows:
    (train, dtype), (test, _) = as_data(x_train), as_data(x_test)
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(f"training rows are {tuple(train.shape[1:])}, test rows {tuple(test.shape[1:])}: reshape them")
    if len(train) > ROWS:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[:ROWS])
        train = train[chosen]
    spec = DataSpec.infer(train, dtype)
    if measure in ("density", TOTALS) or (measure != "cross-entropy" and spec.top > 255):
        spec = spec.without_images()
    sparse = measure == TOTALS and all(isinstance(t, LazyRows) and len(t.shape) == 2 for t in (train, test))
    if not sparse:
        train, test = (torch.from_numpy(np.asarray(t)) if isinstance(t, LazyRows) else t.cpu() for t in (train, test))
    spec = spec.with_missing() if any(has_gaps(part) for part in values(test)) else spec
    if spec.missing and measure in ("probability", TOTALS):
        spec = spec.for_likelihood("count", train)  # floats only because no whole number can be missing
    for part in pieces(test):
        spec.check(part)
    measure = ("probability" if spec.integer else "density") if measure == "auto" else measure
    known = {None, "density", "probability" if spec.integer else "density"}
    known |= {"cross-entropy"} if spec.kind in ("binary", "bytes", "unit") else set()
    known |= {TOTALS} if spec.integer else set()
    if measure not in known:
        raise ValueError(
            f"measure={measure!r} of {spec.content}: expected one of "
            f"{', '.join(sorted(map(str, known)))}, or auto; a density is no code length, and the reverse"
        )
    kind = spec.kind
    spec = replace(spec.for_likelihood("real", train, own_layout=True), kind=kind)
    train, test = (t if sparse else t.flatten(1) for t in (train, test))
    return _Rows(train, test, spec, measure, latents, seed)


def _fitting(rows: _Rows) -> list[str]:
    """The baselines that fit the rows."""
    if rows.spec.missing:
        return ["factorised"] if rows.measure else []
    wide = rows.train.shape[1] > 1
    fits = {
        "factorised": rows.measure is not None,
        "ppca": wide and rows.measure != TOTALS,
        "mixture": rows.measure == "density" or rows.dequantised,
        "xz": rows.measure == "probability",
    }
    return [name for name, fit in fits.items() if fit]


def _unfit(name: str, rows: _Rows) -> str:
    if name == "xz" and not rows.spec.missing:
        return (
            f"xz gives the length of a code, and log p of these rows is a {rows.measure or 'score of another kind'}: "
            "they do not compare"
        )
    why = "cells are missing" if rows.spec.missing else f"{rows.spec}, by measure={rows.measure!r}"
    others = ", ".join(_fitting(rows)) or "none"
    return f"{name} does not fit these rows ({why}): leave it out; those that fit are {others}"
