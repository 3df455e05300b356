"""Sections on rows: how they come back from their codes, what new ones look like, and whether those were copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...evaluation import samples
from .. import figures, page
from ..subject import Subject
from ..svg import inline

PAIRS = 10
SHOWN = 64
"""Samples that are shown."""
COLUMNS = 12
DOTS = 300
"""Rows in the small panel of a column."""
PROFILES = 6
NEAREST = 60_000
"""Training rows, the first ones, among which the nearest is looked for."""
COMPARED = 256
"""Held-out rows whose distances from training rows those of samples are compared with."""
PIECE = 2**23
"""Numbers in the training rows that are compared at a time."""
FLOOR = 0.01
"""Share of held-out rows that are closer to a training row than the distance below which a sample counts as copied."""


def pictures(s: Subject) -> Iterator[page.Section]:
    """Of rows that are pictures."""
    chosen = s.telling(PAIRS)
    figure = figures.reconstructions(s.levels(s.x[chosen]), s.levels(s.again[chosen]))
    yield page.Section(
        "Reconstructions",
        "Held-out originals above, what the model makes of their codes below: look for details that are lost, and for "
        "rows that turn into something else.",
        inline(figure, "pairs", "Originals beside reconstructions"),
    )
    ranked = _from_best_to_worst(s, PAIRS)
    costs = s.scores.distortion.numpy()[ranked]
    figure = figures.reconstructions(s.levels(s.x[ranked]), s.levels(s.again[ranked]), costs)
    yield page.Section(
        "From best to worst",
        f"{_of_the_rows(s)} that reconstruct best on the left to those that do worst on the right, at equal steps of "
        "rank, with the distortion −E log p(x | z) of each in nats: look at the right end for what was not learned.",
        inline(figure, "ranked", "Originals and reconstructions, sorted by distortion"),
    )
    taken = "The means" if s.vae.caveat else "Draws"
    yield page.Section(
        "Samples",
        f"{taken} of p(x | z) for codes drawn from the prior: they should look like the data and differ from one "
        "another.",
        inline(figures.image_grid(s.levels(s.samples[:SHOWN])), "samples", "Samples from the prior"),
    )
    yield from _copied(s, lambda rows: s.levels(rows).reshape(len(rows), -1) / np.float32(255))


def columns(s: Subject) -> Iterator[page.Section]:
    """Of rows that are numbers: of a table or a series."""
    x, again = s.x.reshape(len(s.x), -1), s.again.reshape(len(s.x), -1)
    names = s.columns[:COLUMNS]
    of = f" The first {len(names)} of {x.shape[1]} columns." if x.shape[1] > len(names) else ""
    yield page.Section(
        "Reconstructions",
        "Each held-out value across, its reconstruction upwards: on the dashed line the two agree; a flat cloud is a "
        f"column that the code does not carry.{of}",
        page.panels(
            inline(
                figures.agreement(x[:DOTS, [i]], again[:DOTS, [i]], [n]),
                f"agreement{i}",
                f"Values against reconstructions of {n}",
            )
            for i, n in enumerate(names)
        ),
    )
    yield _profiles(s)
    made = s.sampled(len(x)).reshape(x.shape)
    yield page.Section(
        "Samples",
        "Held-out values, filled, and samples from the model, as a line: the two should have the same shape, shoulders "
        f"and tails too.{of}",
        page.panels(
            inline(figures.histograms(x[:, [i]], made[:, [i]], [n]), f"histogram{i}", f"Data and samples of {n}")
            for i, n in enumerate(names)
        ),
    )
    spread = np.maximum(x.std(0), 1e-12)
    yield from _copied(s, lambda rows: rows.reshape(len(rows), -1) / spread)


def _profiles(s: Subject) -> page.Section:
    """Rows across their columns or steps, from the best to the worst."""
    ranked = _from_best_to_worst(s, PROFILES)
    x, again = s.as_lines(s.x[ranked]), s.as_lines(s.again[ranked])
    costs = s.scores.distortion.numpy()[ranked]
    titles = [f"{cost:.4g} nats".replace("-", "−") for cost in costs]
    axis, how = s.across
    drawn = []
    for i, title in enumerate(titles):
        figure = figures.profiles(x[[i]], again[[i]], [title], axis=axis)
        drawn.append(inline(figure, f"profile{i}", f"A row and its reconstruction, {title}"))
    return page.Section(
        "From best to worst",
        f"{_of_the_rows(s)} that reconstruct best first and those that do worst last, at equal steps of rank, "
        f"{how}; above each its distortion −E log p(x | z): look at the last for what was not learned.",
        page.panels(drawn, wide=True),
    )


def _copied(s: Subject, flat: Callable[[NDArray], NDArray]) -> Iterator[page.Section]:
    """Samples beside their nearest training rows, where there are training rows without gaps. flat: rows as the numbers
    (N, D) that distances are taken of."""
    if s.train is None or s.vae.spec.missing or min(len(s.train), len(s.x)) < 2:
        return
    made, held = (flat(rows) for rows in (s.samples, s.x[:COMPARED]))
    which, apart = nearest_rows(made, s.train, flat)
    floor = nearest_rows(held, s.train, flat)[1]
    share = float((apart <= np.quantile(floor, FLOOR)).mean())
    body = [
        inline(
            figures.distributions({"held-out rows": floor, "samples": apart}, _distance(s)),
            "distances",
            "Distances of held-out rows and samples from the nearest training row",
        )
    ]
    shown = ""
    if s.as_pictures:
        order = np.argsort(apart, kind="stable")[:PAIRS]
        nearest = np.concatenate([np.asarray(s.train[int(i) : int(i) + 1]) for i in which[order]])
        figure = figures.neighbours(s.levels(s.samples[order]), s.levels(nearest), apart[order])
        body.insert(0, inline(figure, "nearest", "Samples above their nearest training rows"))
        shown = f" Shown are the {len(order)} samples closest to a training row, the closest first."
    count = min(len(s.train), NEAREST)
    yield page.Section(
        "Samples and their nearest training rows",
        f"Samples that lie much closer to one of {count:,} training rows than held-out rows do were copied, not made: "
        f"{share:.0%} of {len(made)} are closer than all but {FLOOR:.0%} of held-out rows; {FLOOR:.0%} is to be "
        f"expected, and more where samples are smooth means.{shown}",
        "".join(body),
    )


def nearest_rows(rows: NDArray, train: NDArray, flat: Callable[[NDArray], NDArray]) -> tuple[NDArray, NDArray]:
    """For each row (N, D) which training row is the nearest, and how far it is, some training rows at a time."""
    which, apart = np.zeros(len(rows), int), np.full(len(rows), np.inf)
    count = min(len(train), NEAREST)
    pieces = min(-(-count * rows.shape[1] // PIECE), count // 2)
    for start, end in pairwise(np.linspace(0, count, pieces + 1).astype(int)):
        index, distance = samples.nearest(rows, flat(np.asarray(train[start:end])))
        closer = distance < apart
        which[closer], apart[closer] = start + index[closer], distance[closer]
    return which, apart


def _distance(s: Subject) -> str:
    units = "from black, 0, to white, 1" if s.as_pictures else "in standard deviations of each column"
    return f"distance from the nearest training row, {units}"


def _of_the_rows(s: Subject) -> str:
    return f"Of {len(s.x):,} held-out rows those"


def _from_best_to_worst(s: Subject, count: int) -> NDArray:
    """Rows at equal steps of rank by their distortion, the least first."""
    order = np.argsort(s.scores.distortion.numpy(), kind="stable")
    return order[np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)]
