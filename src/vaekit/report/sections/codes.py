"""Sections on codes: where they lie, what moving them does, how far they fill the prior, what they tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...data.labels import as_labels
from ...inference import predict
from .. import figures, page
from ..codes import Codes, drawn_codes, followed, prior_codes, told_shares
from ..subject import ROWS, Subject
from ..svg import inline

MARGINALS = 12
FACTORS = 20
"""Dimensions, the most active ones, in the table of factors."""


def plane(s: Subject) -> Iterator[page.Section]:
    codes = s.codes
    z, names, chosen = codes.plane()
    circles = codes.standard and codes.continuous
    figure = figures.latent_plane(z, s.labels, names, prior=circles)
    coloured = " coloured by its label," if s.labels is not None else ""
    empty = ", and for parts of the prior (circles at 1, 2 and 3 standard deviations) left empty" if circles else ""
    yield page.Section(
        "Codes",
        f"Each dot is the code of a held-out row,{coloured} on {chosen}: look for groups that part{empty}.",
        inline(figure, "plane", "Codes of held-out rows"),
    )


def walks(s: Subject) -> Iterator[page.Section]:
    """What codes decode to along the dimensions that say most, of rows that are pictures."""
    codes = s.codes
    if not (codes.continuous and s.as_pictures):
        return
    if codes.size == 2:
        z, ticks = codes.lattice()
        figure = figures.decoded_grid(s.levels(s.decoded(z)), ticks)
        yield page.Section(
            "The decoded plane",
            f"What the codes decode to, at the normal quantiles from 5% to 95% {_about(codes)}: neighbours should "
            "change smoothly, without seams or blank stretches.",
            inline(figure, "grid", "Pictures decoded from a grid of codes"),
        )
        return
    z, moved, ticks = codes.walks()
    beside = followed(told_shares(codes.z[:, moved], s.factors), list(s.factors)) if s.factors else []
    figure = figures.traversals(s.levels(s.decoded(z)), [f"z[{i}]" for i in moved], ticks, beside)
    all_of = f"the {len(moved)} most active of {codes.size}" if len(moved) < codes.size else "the most active first"
    follows = " On the right the factor that it tells most of, with the share of that factor's entropy." * bool(beside)
    yield page.Section(
        "Traversals",
        f"A dimension a row ({all_of}, by {codes.measure}), from −3 to 3 standard deviations {_about(codes)}, the "
        f"others held at the centre: look for one change a row; a row that stays the same is unused.{follows}",
        inline(figure, "walks", "Pictures decoded along each dimension of the code"),
    )


def aggregate(s: Subject) -> Iterator[page.Section]:
    """The aggregate posterior against the prior, where both are densities."""
    codes = s.codes
    if not codes.continuous:
        return
    z = drawn_codes(s.vae, s.x, s.context)
    prior = prior_codes(s.vae, ROWS, s.context_of(np.arange(ROWS) % len(s.x)))
    shown = codes.order[:MARGINALS] if codes.size > 2 else list(range(codes.size))
    of = f" The {len(shown)} most active of {codes.size} dimensions." if len(shown) < codes.size else ""
    marginals = [
        inline(figures.histograms(z[:, [i]], prior[:, [i]], [f"z[{i}]"]), f"marginal{i}", f"z[{i}] of codes and prior")
        for i in shown
    ]
    body = page.panels(marginals)
    if codes.size > 1:
        names = [f"z[{i}]" for i in shown[:2]]
        figure = figures.aggregate_plane(z[:, shown[:2]], prior[:, shown[:2]], names)
        body = inline(figure, "aggregate", "Draws of the aggregate posterior over the prior") + body
    yield page.Section(
        "Codes and their prior",
        "Draws of q(z | x) of all rows (dots, and filled) and draws of the prior (lines) should cover the same places: "
        f"codes outside of the prior are never sampled, and samples from where no codes lie were never learned.{of}",
        body,
    )


def factors(s: Subject) -> Iterator[page.Section]:
    """Which dimension tells of which factor, where several factors are known."""
    codes = s.codes
    if len(s.factors) < 2 or codes.size < 2:
        return
    shown = codes.order[:FACTORS]
    names = [f"z[{i}]" for i in shown]
    figure = figures.shares(told_shares(codes.z[:, shown], s.factors), names, list(s.factors), ("factor", "dimension"))
    yield page.Section(
        "What each dimension tells",
        "The share of each factor's entropy that each dimension tells, in percent, the most active first: of "
        "disentangled codes each row and each column has one dark cell.",
        inline(figure, "factors", "Mutual information of dimensions and factors"),
    )


def classes(s: Subject) -> Iterator[page.Section]:
    """What the model tells of classes or clusters, where labels are known."""
    if s.vae.module.latent.classes is None or not s.has_classes:
        return
    labels, known = as_labels(s.labels)
    if not known.any():
        return
    labels, told, clusters = labels[known], predict(s.vae, s.x, s.context)[known], s.vae.spec.labels is None
    figure = figures.confusion(labels, told)
    what = (
        "Each row of the table is a label, each column a cluster, in percent of the label's rows, clusters beside the "
        "label that most of theirs have: a label with one dark cell is a cluster of its own, and a column with several "
        "mixes labels."
        if clusters
        else "Each row of the table is a label, each column what the model told, in percent of the label's rows: "
        f"{np.mean(labels.astype(str) == told.astype(str)):.1%} of the rows lie on the diagonal; look beside it for "
        "classes that are taken for one another."
    )
    yield page.Section(
        "Clusters" if clusters else "Classes", what, inline(figure, "confusion", "Labels and what was told")
    )


def units(s: Subject) -> Iterator[page.Section]:
    kl, latent = s.kl_per_unit, s.vae.module.latent
    if kl and latent.ratio == "exact":
        whole = len(kl) == int(np.prod(latent.shape))
        names = [f"z[{i}]" if whole else f"unit {i}" for i in range(len(kl))]
        yield page.Section(
            "What each unit carries",
            f"Mean KL per unit, on a logarithmic scale: a unit below the dashed line at {figures.ACTIVE:g} nats says "
            "nothing about x.",
            inline(figures.unit_kl(kl, names), "units", "Mean KL of each unit"),
        )


def _about(codes: Codes) -> str:
    return "of the prior" if codes.standard else "about the mean of the held-out codes"
