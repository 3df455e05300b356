"""The page of a sweep: its table, the plane of rate and distortion, and training of each configuration."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ..core import public
from ..evaluation import Metric
from ..report import figures, page
from ..report.paper import SERIES
from ..report.svg import inline
from .grid import short, text
from .results import METRICS, Configuration, SweepResult


@public
def report(sweep: SweepResult) -> page.Page:
    """One self-contained page; see `Sweep.report`."""
    count, seeds = len(sweep.configurations), len(sweep.configurations[0].seeds)
    heading = (
        f"<header>\n<p class=kind>vaekit sweep</p>\n<h1>{len(sweep)} models</h1>\n"
        f"<p class=summary>{count} configuration{'s' * (count != 1)}, {seeds} seed{'s' * (seeds != 1)} of each.</p>\n"
        f"<p class=data>on {escape(sweep.on)}</p>\n</header>"
    )
    return page.Page(page.page(heading, [_table(sweep), *_plane(sweep), *_training(sweep)], "vaekit sweep"))


def name_of(configuration: Configuration) -> str:
    """A configuration by its settings, `beta 4, lr 0.001`."""
    return ", ".join(f"{short(n)} {text(v)}" for n, v in configuration.settings.items()) or "all seeds"


def _table(sweep: SweepResult) -> page.Section:
    metrics, best = sweep.metrics, {n: sweep.best_configuration(n) for n in sweep.metrics if METRICS[n][0]}
    head = "".join(f"<th scope=col>{escape(page.NAMES[n])}</th>" for n in metrics)
    rows = [
        f"<tr><th scope=row>{escape(name_of(c))}{_left(c)}</th>"
        + "".join(_cell(c.figures.get(n), best.get(n) == number) for n in metrics)
        + "</tr>"
        for number, c in enumerate(sweep.configurations)
    ]
    return page.Section(
        "Configurations",
        "Means over the seeds with their standard errors, the best of each figure in bold: two configurations differ "
        "where their figures do by more than a few errors.",
        f"<div class=scroll><table class=beside><tr><td></td>{head}</tr>{''.join(rows)}</table></div>"
        + page.note(sweep.notes),
    )


def _left(c: Configuration) -> str:
    """Of seeds that diverged, how many are left."""
    return f"<br><small>{len(c.seeds) - c.diverged} of {len(c.seeds)} seeds</small>" if c.diverged else ""


def _cell(figure: Metric | None, best: bool) -> str:
    if figure is None:
        return "<td>–</td>"
    value, error = page.measured(figure)
    value = f"<b>{value}</b>" if best else value
    return f"<td>{value}<br><small>{escape(f'{error} {figure.unit}'.strip())}</small></td>"


def _plane(sweep: SweepResult) -> Iterator[page.Section]:
    """Every model that has a rate, by its configuration, or where these are many by the first setting."""
    rows = [row for row in sweep.rows if "rate" in row and "distortion" in row]
    if not rows:
        return
    few = len(sweep.configurations) <= len(SERIES)
    first = next(iter(sweep.swept), None)
    names = [name_of(c) for c in sweep.configurations]
    groups = [names[row["configuration"]] if few else f"{short(first)} {text(row[first])}" for row in rows]
    figure = figures.rate_distortion([row["rate"] for row in rows], [row["distortion"] for row in rows], groups)
    yield page.Section(
        "Rate and distortion",
        "Each dot is a model, a ring the mean over its seeds; along a line the ELBO is the same, and lower left is "
        "better: dots far apart in one colour say that seeds matter as much as settings.",
        inline(figure, "rate-distortion", "Rate and distortion of every model"),
    )


def _training(sweep: SweepResult) -> Iterator[page.Section]:
    """The first seed of each configuration, where they are few enough to be told apart."""
    firsts = {}
    for row, vae in zip(sweep.rows, sweep.vaes):
        if vae is not None:
            firsts.setdefault(name_of(sweep.configurations[row["configuration"]]), vae.history_)
    names = [n for n in figures.CURVES if any(n in figures.curves_in(h) for h in firsts.values())]
    if not names or len(firsts) > len(SERIES):
        return
    drawn = [inline(figures.curves_beside(firsts, n, keyed=False), f"curve-{n}", f"{n} over epochs") for n in names]
    yield page.Section(
        "Training",
        "The first seed of each configuration, nats per row after each epoch, held out where rows are: a curve that "
        "still rises was stopped early, one that turns back overfits.",
        page.legend(firsts) + page.panels(drawn, wide=True),
    )
