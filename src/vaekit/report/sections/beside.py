"""Sections that show several models beside one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from ...evaluation import Metric
from ...fitted import FittedVAE
from .. import describe, figures, page
from ..subject import Subject
from ..svg import inline

PAIRS = 8
PROFILES = 6
SAMPLES, ACROSS = 25, 5
COLUMNS = 12

Measured = Mapping[str, Mapping[str, Metric]]
"""Figures by name, of each model."""


def heading(models: Mapping[str, FittedVAE], data: str, measured: Measured, differences: Measured) -> str:
    """The models with their compositions, the data, and by how much each differs from the first."""
    first, *others = models
    main = next(n for n in ("log_likelihood", "distortion") if all(n in own for own in measured.values()))
    large = [page.large(measured[first][main], f"{first}: {page.NAMES[main]}")]
    large += [page.large(differences[n][main], f"{n}: difference", signed=True) for n in others]
    parts = "".join(page.pair(name, describe.composition(vae)) for name, vae in models.items())
    return (
        "<header>\n<p class=kind>vaekit comparison</p>\n"
        f"<h1>{len(models)} models</h1>\n<p class=summary>Side by side on the same rows, each against the first.</p>\n"
        f'<dl class="pairs parts">{parts}</dl>\n<p class=data>{escape(data)}</p>\n</header>\n'
        f"<dl class=headline>{''.join(large)}</dl>"
    )


def figures_tables(measured: Measured, differences: Measured, notes: Mapping[str, list[str]]) -> page.Section:
    """Every figure of every model, and its difference from the first."""
    first, *others = measured
    blocks = []
    for n in measured[first]:
        rows = [_row(first, measured[first][n], None)]
        rows += [_row(name, measured[name][n], differences[name][n]) for name in others if n in measured[name]]
        meaning = page.with_minus(measured[first][n].meaning)
        blocks.append(
            f"<h3>{escape(page.NAMES[n])}, nats</h3><p class=hint>{escape(meaning)}</p>"
            f"<div class=scroll><table class=figures>{''.join(rows)}</table></div>"
        )
        apart = [(name, differences[name][n]) for name in others if n in differences[name]]
        if apart:
            names, found = zip(*apart)
            drawn = figures.differences(
                [f.value for f in found], [f.error for f in found], names, f"{page.NAMES[n]}: difference from {first}"
            )
            blocks.append(inline(drawn, f"difference-{n}", f"Differences of the {page.NAMES[n]} from {first}"))
    every = dict.fromkeys(note for own in notes.values() for note in own)
    of = {note: [name for name, own in notes.items() if note in own] for note in every}
    told = [note if len(names) == len(notes) else f"{', '.join(names)}: {note}" for note, names in of.items()]
    return page.Section(
        "Figures",
        "Means over the same held-out rows with their standard errors. Differences are taken row by row from the first "
        "model, dots with bars of one and two standard errors: beyond three it is not these rows' doing; another seed "
        "of training is another matter.",
        "".join(blocks) + page.note(told),
    )


def _row(name: str, figure: Metric, difference: Metric | None) -> str:
    value, error = page.measured(figure)
    cells = f"<th scope=row>{escape(name)}</th><td class=value>{value}</td><td>{escape(error)}</td>"
    if difference is None:
        return f"<tr>{cells}<td class=meaning>the others' reference</td></tr>"
    apart, own = page.measured(difference)
    sign = "+" * (difference.value > 0)
    said = f"{sign}{apart} {own}, {page.in_errors(difference)}"
    return f"<tr>{cells}<td class=meaning>{escape(said)}</td></tr>"


def settings(models: Mapping[str, FittedVAE]) -> Iterator[page.Section]:
    differing = describe.differing(models)
    if not differing:
        return
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in models)
    rows = [
        f"<tr><th scope=row>{escape(n)}</th>{''.join(f'<td>{escape(v)}</td>' for v in values.values())}</tr>"
        for n, values in differing.items()
    ]
    yield page.Section(
        "What differs",
        "Parts, settings and training in which the models are not alike: a difference between their figures may come "
        "of any of these.",
        f"<div class=scroll><table class=beside><tr><td></td>{head}</tr>{''.join(rows)}</table></div>",
    )


def planes(measured: Measured) -> Iterator[page.Section]:
    """The plane of rate and distortion, of the models that have both."""
    placed = {name: own for name, own in measured.items() if {"rate", "distortion"} <= set(own)}
    if not placed:
        return
    rate, distortion = ([own[n].value for own in placed.values()] for n in ("rate", "distortion"))
    figure = figures.rate_distortion(rate, distortion, list(placed))
    yield page.Section(
        "Rate and distortion",
        "Each dot is a model; along a line the ELBO is the same, and lower left is better: one far up spends little on "
        "its codes, one far right much.",
        inline(figure, "rate-distortion", "Rate and distortion of each model"),
    )


def curves(models: Mapping[str, FittedVAE]) -> Iterator[page.Section]:
    """Training of all models, in the data's units."""
    histories = {name: _in_data_units(vae) for name, vae in models.items()}
    names = [n for n in figures.CURVES if any(n in figures.curves_in(h) for h in histories.values())]
    if not names:
        return
    drawn = [
        inline(figures.curves_beside(histories, n, keyed=False), f"curve-{n}", f"{n} over epochs, of each model")
        for n in names
    ]
    yield page.Section(
        "Training",
        "Nats per row after each epoch, one draw each, on the rows that each model held out while it trained: a curve "
        "that still rises was stopped early, one that turns back overfits.",
        page.legend(models) + page.panels(drawn, wide=True),
    )


def _in_data_units(vae: FittedVAE) -> list[dict[str, float]]:
    """A history in which densities are of the data, not of the data as scaled for training; where cells are missing it
    stays as it is, since how many were there is not told."""
    shift = vae.spec.log_jacobian if vae.module.likelihood.density and not vae.spec.missing else 0.0
    shifts = {"elbo": shift, "val_elbo": shift, "distortion": -shift, "val_distortion": -shift}
    return [{n: v + shifts.get(n, 0.0) for n, v in r.items()} for r in vae.history]


def rows(subjects: Mapping[str, Subject]) -> Iterator[page.Section]:
    """Reconstructions of the same rows by every model."""
    s = next(iter(subjects.values()))
    chosen = s.telling(PAIRS if s.as_pictures else PROFILES)
    again = {name: own.reconstructed(chosen) for name, own in subjects.items()}
    if s.as_pictures:
        pictures = [s.levels(r) for r in (s.x[chosen], *again.values())]
        figure = figures.picture_rows(["original", *again], pictures)
        body = inline(figure, "pairs", "Originals and reconstructions")
        where = "below one another"
    else:
        x, lines = s.as_lines(s.x[chosen]), {name: s.as_lines(r) for name, r in again.items()}
        axis, how = s.across
        drawn = []
        for i, row in enumerate(chosen):
            own = {name: r[[i]] for name, r in lines.items()}
            figure = figures.profiles(x[[i]], own, [f"row {row}"], axis=axis, keyed=False)
            drawn.append(inline(figure, f"profile{i}", f"Row {row} and its reconstructions"))
        body, where = page.legend(subjects) + page.panels(drawn, wide=True), f"{how}, rows in grey"
    yield page.Section(
        "Reconstructions",
        f"The same held-out rows and what each model makes of their codes, {where}: look for what one keeps and "
        "another loses.",
        body,
    )


def samples(subjects: Mapping[str, Subject]) -> Iterator[page.Section]:
    """New rows from every model."""
    s = next(iter(subjects.values()))
    if s.as_pictures:
        made = {name: own.levels(own.sampled(SAMPLES)) for name, own in subjects.items()}
        drawn = [
            f"<h3>{escape(name)}</h3>" + inline(figures.image_grid(rows, ACROSS), f"samples{i}", f"Samples of {name}")
            for i, (name, rows) in enumerate(made.items())
        ]
        body, look = page.panels(drawn, wide=True), "they should look like the data and differ from one another."
    else:
        x = s.x.reshape(len(s.x), -1)
        made = {name: own.sampled(len(x)).reshape(x.shape) for name, own in subjects.items()}
        drawn = [
            inline(
                figures.histograms(x[:, [i]], {n: rows[:, [i]] for n, rows in made.items()}, [column], keyed=False),
                f"histogram{i}",
                f"Data and samples of {column}",
            )
            for i, column in enumerate(s.columns[:COLUMNS])
        ]
        of = f" The first {len(drawn)} of {x.shape[1]} columns." if x.shape[1] > len(drawn) else ""
        body = page.legend(subjects) + page.panels(drawn)
        look = f"each line should have the shape of the held-out values, filled, shoulders and tails too.{of}".rstrip(
            "."
        )
    yield page.Section("Samples", f"New rows of each model, from its prior: {look}.", body)
