"""What stands in a report: its sections, from a fitted VAE and held-out rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .. import storage
from ..data.beside import spread
from ..data.stored import Stored, stored
from ..evaluation import Evaluation
from . import describe, figures, page
from .codes import Codes
from .pictures import displayable, shows_pictures
from .svg import inline

if TYPE_CHECKING:
    from ..estimator import VAE

DRAWS = 32
"""Draws per row behind the figures: 10,000 digits take about 8 s of one core."""
ROWS = 2000
"""Rows, the first ones, that the pictures are made of."""
PAIRS = 10
SAMPLES = 64
COLUMNS = 12
DOTS = 300
"""Rows in the small panel of a column."""


@dataclass(frozen=True)
class Report:
    """A page of pictures and figures. Prints the evaluation; `save` writes the page; a notebook shows it."""

    evaluation: Evaluation
    html: str = field(repr=False)

    def save(self, path: str | Path) -> None:
        """Writes one HTML file that needs nothing else. What was there before is replaced whole."""
        storage.write_atomic(Path(path), self.html.encode())

    def __str__(self) -> str:
        return str(self.evaluation)

    def _repr_html_(self) -> str:
        frame = "width: 100%; height: 48em; border: 0; border-radius: 8px"
        return f'<iframe title="report" style="{frame}" srcdoc="{escape(self.html)}"></iframe>'


def make(
    vae: VAE,
    x: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    name: str | None = None,
    draws: int = DRAWS,
    context: ArrayLike | None = None,
) -> Report:
    """The report of a fitted VAE on held-out rows.

    labels: (N,), classes, names or values, for colours. name: of the data. draws: per row, for `vae.evaluate`.
    context: of the rows. Raises ValueError where labels and rows differ in number.
    """
    columns = getattr(x, "columns", None)
    rows = _rows(x)
    labels = None if labels is None else np.asarray(labels).reshape(-1)
    if labels is not None and len(labels) != len(rows):
        raise ValueError(
            f"expected a label for each of the {len(rows)} rows, got {len(labels)}: pass labels of these rows"
        )
    evaluation = vae.evaluate(x, draws=draws, context=context)
    if evaluation.interrupted:
        raise KeyboardInterrupt
    few, beside = slice(ROWS), None if context is None else spread(context, len(rows), vae.spec_)[:ROWS]
    few = _Few(vae, evaluation, np.asarray(rows[few]), None if labels is None else labels[few], beside)
    shown = few.pictures() if shows_pictures(vae.spec_) else few.columns(_column_names(vae, columns))
    heading = page.heading(vae, name or describe.data_line(vae.spec_, rows), evaluation)
    sections = [*shown, *few.training(), *few.units(), page.figures_table(evaluation), page.configuration(vae, rows)]
    return Report(evaluation, page.page(heading, sections, f"{describe.title(vae)[0]}: vaekit report"))


def _rows(x: ArrayLike) -> NDArray | Stored:
    if isinstance(x, Tensor):
        return x.detach().cpu().numpy()
    source = stored(x)
    return np.asarray(x) if source is None else source


def _column_names(vae: VAE, columns: object) -> list[str]:
    cells = int(np.prod(vae.spec_.shape))
    names = getattr(vae, "feature_names_in_", columns)
    return [f"x[{i}]" for i in range(cells)] if names is None or len(names) != cells else [str(n) for n in names]


@dataclass(frozen=True)
class _Few:
    """The rows that pictures are made of, with their labels, and the model."""

    vae: VAE
    evaluation: Evaluation
    x: NDArray
    labels: NDArray | None
    context: NDArray | None = None

    def _context(self, index: NDArray | slice) -> NDArray | None:
        return None if self.context is None else self.context[index]

    def _samples(self, rows: int) -> NDArray:
        """Samples, with the context of the rows: from the first again where these are fewer."""
        return self.vae.sample(rows, context=self._context(np.arange(rows) % len(self.x)))

    def _decoded(self, z: NDArray) -> NDArray:
        """What codes decode to, with the context of the first row."""
        return self.vae.inverse_transform(z, self._context(np.zeros(len(z), int)))

    def pictures(self) -> Iterator[page.Section]:
        vae, spec = self.vae, self.vae.spec_

        def levels(rows: NDArray) -> NDArray:
            return displayable(rows, spec)

        chosen = self._telling()
        pairs = self.x[chosen]
        figure = figures.reconstructions(levels(pairs), levels(vae.reconstruct(pairs, self._context(chosen))))
        yield page.Section(
            "Reconstructions",
            "Held-out originals above, what the model makes of their codes below: look for details that are lost, and "
            "for rows that turn into something else.",
            inline(figure, "pairs", "Originals beside reconstructions"),
        )
        taken = "The means" if vae.caveat_ else "Draws"
        yield page.Section(
            "Samples",
            f"{taken} of p(x | z) for codes drawn from the prior: they should look like the data and differ from one "
            "another.",
            inline(figures.image_grid(levels(self._samples(SAMPLES))), "samples", "Samples from the prior"),
        )
        codes = Codes.of(vae, self.x, self.evaluation.kl_per_unit, self.context)
        yield self._plane(codes)
        if codes.continuous and codes.size == 2:
            z, ticks = codes.lattice()
            figure = figures.decoded_grid(levels(self._decoded(z)), ticks)
            yield page.Section(
                "The decoded plane",
                f"What the codes decode to, at the normal quantiles from 5% to 95% {_about(codes)}: neighbours should "
                "change smoothly, without seams or blank stretches.",
                inline(figure, "grid", "Pictures decoded from a grid of codes"),
            )
        elif codes.continuous:
            z, moved, ticks = codes.walks()
            figure = figures.traversals(levels(self._decoded(z)), [f"z[{i}]" for i in moved], ticks)
            all_of = (
                f"the {len(moved)} most active of {codes.size}" if len(moved) < codes.size else "the most active first"
            )
            yield page.Section(
                "Traversals",
                f"A dimension a row ({all_of}, by {codes.measure}), from −3 to 3 standard deviations {_about(codes)}, "
                "the others held at the centre: look for one change a row; a row that stays the same is unused.",
                inline(figure, "walks", "Pictures decoded along each dimension of the code"),
            )

    def columns(self, names: list[str]) -> Iterator[page.Section]:
        vae = self.vae
        x = self.x.reshape(len(self.x), -1)
        names = names[:COLUMNS]
        of = f" The first {len(names)} of {x.shape[1]} columns." if x.shape[1] > len(names) else ""
        again = vae.reconstruct(self.x, self.context).reshape(x.shape)
        yield page.Section(
            "Reconstructions",
            "Each held-out value across, its reconstruction upwards: on the dashed line the two agree; a flat cloud is "
            f"a column that the code does not carry.{of}",
            page.panels(
                inline(
                    figures.agreement(x[:DOTS, [i]], again[:DOTS, [i]], [n]),
                    f"agreement{i}",
                    f"Values against reconstructions of {n}",
                )
                for i, n in enumerate(names)
            ),
        )
        samples = self._samples(len(x)).reshape(x.shape)
        yield page.Section(
            "Samples",
            "Held-out values, filled, and samples from the model, as a line: the two should have the same shape, "
            f"shoulders and tails too.{of}",
            page.panels(
                inline(figures.histograms(x[:, [i]], samples[:, [i]], [n]), f"histogram{i}", f"Data and samples of {n}")
                for i, n in enumerate(names)
            ),
        )
        yield self._plane(Codes.of(vae, self.x, self.evaluation.kl_per_unit, self.context))

    def _plane(self, codes: Codes) -> page.Section:
        z, names, chosen = codes.plane()
        circles = codes.standard and codes.continuous
        figure = figures.latent_plane(z, self.labels, names, prior=circles)
        coloured = " coloured by its label," if self.labels is not None else ""
        empty = ", and for parts of the prior (circles at 1, 2 and 3 standard deviations) left empty" if circles else ""
        return page.Section(
            "Codes",
            f"Each dot is the code of a held-out row,{coloured} on {chosen}: look for groups that part{empty}.",
            inline(figure, "plane", "Codes of held-out rows"),
        )

    def training(self) -> Iterator[page.Section]:
        history = getattr(self.vae, "history_", [])
        names = figures.curves_in(history)
        if names:
            scaled = self.vae.module_.likelihood.density and self.vae.spec_.log_jacobian != 0
            units = (
                " Densities are of the data as scaled for training, so they differ from those above." if scaled else ""
            )
            curves = [inline(figures.training_curves(history, [n]), f"curve-{n}", f"{n} over epochs") for n in names]
            if {"rate", "distortion"} <= set(names):
                curves.append(inline(figures.rate_distortion(history), "path", "Distortion against rate over epochs"))
            yield page.Section(
                "Training",
                "Nats per row, one draw each: held-out curves should follow those of training; where they turn back, "
                f"the model overfits.{units}",
                page.panels(curves, wide=True),
            )

    def units(self) -> Iterator[page.Section]:
        kl, latent = self.evaluation.kl_per_unit, self.vae.module_.latent
        if kl and latent.ratio == "exact":
            whole = len(kl) == int(np.prod(latent.shape))
            names = [f"z[{i}]" if whole else f"unit {i}" for i in range(len(kl))]
            yield page.Section(
                "What each unit carries",
                f"Mean KL per unit, on a logarithmic scale: a unit below the dashed line at {figures.ACTIVE:g} nats "
                "says nothing about x.",
                inline(figures.unit_kl(kl, names), "units", "Mean KL of each unit"),
            )

    def _telling(self) -> NDArray:
        """Rows to reconstruct: the first of each class where there are a few classes, the first ones otherwise."""
        if self.labels is not None and figures.as_values(self.labels) is None:
            names, first = np.unique([str(v) for v in self.labels], return_index=True)
            if 2 <= len(names) <= PAIRS:
                rest = np.setdiff1d(np.arange(len(self.x)), first)[: PAIRS - len(first)]
                return np.concatenate([first, rest])
        return np.arange(min(PAIRS, len(self.x)))


def _about(codes: Codes) -> str:
    return "of the prior" if codes.standard else "about the mean of the held-out codes"
