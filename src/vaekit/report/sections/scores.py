"""Sections on scores: how training went, and which rows the model takes for typical."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .. import figures, page
from ..subject import Subject
from ..svg import inline

TYPICAL = 1000
"""Rows of each set whose likelihood is compared."""
LOW = 0.05
"""Share of held-out rows below which a row of other data counts as told by its likelihood."""


def typicality(s: Subject) -> Iterator[page.Section]:
    """log p(x) of training rows, held-out rows, the model's own samples and other data, where there are several."""
    if s.vae.module.latent.ratio == "none":
        return
    held = s.scores.bound.numpy()
    sets = {"held-out rows": held, **_others(s)}
    if len(sets) < 2:
        return
    told = [
        f"{(scores < np.quantile(held, LOW)).mean():.0%} of {name} lie below all but {LOW:.0%} of the held-out rows"
        for name, scores in sets.items()
        if name in s.others
    ]
    looks = {
        TRAINING: "training rows far to the right were memorised",
        OWN: "the model's own samples elsewhere mean that it is not calibrated",
    }
    look = [words for name, words in looks.items() if name in sets]
    if s.others:
        look.append("other data should lie to the left, but for what likelihood cannot tell: " + "; ".join(told))
    figure = figures.distributions(sets, f"log p(x), nats (a bound, k = {s.draws} draws)")
    yield page.Section(
        "Typicality",
        f"How likely the model finds {TYPICAL:,} rows at most of each set: {'; '.join(look)}.",
        inline(figure, "typicality", "log p(x) of sets of rows"),
    )


TRAINING, OWN = "training rows", "samples of the model"


def _others(s: Subject) -> dict[str, NDArray]:
    """The scores of the sets that held-out rows can be compared with.

    Samples are left out where log p is no likelihood, of which they would be no draws, and where rows have gaps, which
    they have not. The training rows' context is not known here.
    """
    rows: dict[str, tuple[NDArray, NDArray | None]] = {}
    if s.train is not None and s.context is None:
        rows[TRAINING] = np.asarray(s.train[:TYPICAL]), None
    if s.vae.caveat is None and not s.vae.spec.missing:
        count = min(TYPICAL, len(s.x))
        rows[OWN] = s.sampled(count), s.context_of(np.arange(count))
    if s.context is None:
        rows |= {name: (other[:TYPICAL], None) for name, other in s.others.items()}
    return {name: s.scores_of(*given).bound.numpy() for name, given in rows.items()}


def training(s: Subject) -> Iterator[page.Section]:
    history = s.vae.history
    names = figures.curves_in(history)
    if not names:
        return
    scaled = s.vae.module.likelihood.density and s.vae.spec.log_jacobian != 0
    units = " Densities are of the data as scaled for training, so they differ from those above." if scaled else ""
    curves = [inline(figures.training_curves(history, [n]), f"curve-{n}", f"{n} over epochs") for n in names]
    if {"rate", "distortion"} <= set(names):
        curves.append(inline(figures.training_path(history), "path", "Distortion against rate over epochs"))
    yield page.Section(
        "Training",
        "Nats per row, one draw each: held-out curves should follow those of training; where they turn back, the model "
        f"overfits.{units}",
        page.panels(curves, wide=True),
    )
