"""The page: what the report says, as HTML that needs no network, on any screen, in light and dark and in print."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from numpy.typing import NDArray

from .. import storage
from ..data.lazy_rows import LazyRows
from ..evaluation import Evaluation
from ..evaluation.metric import Metric
from ..fitted import FittedVAE
from ..paths import expanded
from ..printable import printable_lines
from . import describe

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
$heading
$sections
</main>
</body>
</html>
""")

NAMES = {
    "elbo": "ELBO",
    "rate": "Rate",
    "distortion": "Distortion",
    "bits_per_dim": "Bits per dimension",
    "log_likelihood": "Log-likelihood bound",
    "ess": "Effective draws",
    "active_units": "Active units",
}
HEADLINE = {
    "elbo": "Held-out ELBO",
    "rate": "Rate",
    "distortion": "Distortion",
    "bits_per_dim": "Bits per dimension",
}


@dataclass(frozen=True)
class Page:
    """One HTML file that needs nothing else: `save` writes it; a notebook shows it."""

    html: str = field(repr=False)

    def save(self, path: str | Path) -> None:
        """Write the page. `~` is expanded; an existing file is replaced."""
        storage.write_atomic(expanded(path), self.html.encode())

    def _repr_html_(self) -> str:
        frame = "width: 100%; height: 48em; border: 0; border-radius: 8px"
        return f'<iframe title="report" style="{frame}" srcdoc="{escape(self.html)}"></iframe>'


@dataclass(frozen=True)
class Section:
    """A title, a sentence on what to look for, and what there is to see, as HTML."""

    title: str
    caption: str
    body: str

    def __str__(self) -> str:
        return (
            f"<section>\n<div class=about><h2>{escape(self.title)}</h2>\n<p>{escape(self.caption)}</p></div>\n"
            f"<div class=shown>{self.body}</div>\n</section>"
        )


def page(heading: str, sections: Iterable[Section], title: str) -> str:
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    html = PAGE.substitute(
        title=escape(title), style=style, heading=heading, sections="\n".join(str(s) for s in sections)
    )
    return printable_lines(html)  # a lone surrogate has no bytes, and a bidi override would turn the text after it


def heading(vae: FittedVAE, data: str, evaluation: Evaluation) -> str:
    """The recipe, its composition, the data, and the figures that matter most."""
    name, summary = describe.title(vae)
    shown = "".join(large(evaluation.figures[n], words) for n, words in HEADLINE.items() if n in evaluation.figures)
    return (
        f"<header>\n<p class=kind>vaekit report</p>\n<h1>{escape(name)}</h1>\n<p class=summary>{escape(summary)}</p>\n"
        f"<p class=parts>{escape(describe.composition(vae))}</p>\n<p class=data>{escape(data)}</p>\n</header>\n"
        f"<dl class=headline>{shown}</dl>"
    )


def large(figure: Metric, words: str, signed: bool = False) -> str:
    """A figure to be seen first; signed: with a plus, as a difference has."""
    value, error = measured(figure)
    value = f"+{value}" if signed and figure.value > 0 else value
    small = escape(f"{error} {figure.unit}".strip())
    return f"<div><dt>{escape(words)}</dt><dd><b>{value}</b> <small>{small}</small></dd></div>"


def measured(figure: Metric) -> tuple[str, str]:
    """A figure and its error, `± 0.046`, to the second digit of the error; an error of rounding alone is none."""
    value, error = figure.value, figure.error
    if error is None or not 1e-6 * abs(value) < error < math.inf:
        text = f"{value:,.0f}" if value.is_integer() else f"{value:,.4g}"
        return text.replace("-", "−"), ""
    places = max(1 - math.floor(math.log10(error)), 0)
    return f"{value:,.{places}f}".replace("-", "−"), f"± {error:,.{places}f}"


def in_errors(difference: Metric) -> str:
    """How many of its standard errors a difference is."""
    if not difference.error:
        return "the same for every row"
    return f"{abs(difference.value) / difference.error:.1f} standard errors"


def with_minus(text: str) -> str:
    """A hyphen that stands for a minus sign becomes one: lines do not break after it."""
    return re.sub(r"(?<!\w)-(?=[\w ])", "−", text)


def panels(pictures: Iterable[str], wide: bool = False) -> str:
    """Small figures beside one another, as many as fit."""
    return f'<div class="panels{" wide" * wide}">' + "".join(f"<div>{p}</div>" for p in pictures) + "</div>"


def legend(names: Iterable[str]) -> str:
    """The colours of several models, for all figures of a section."""
    dots = (f'<span><i style="background:var(--series-{i})"></i>{escape(name)}</span>' for i, name in enumerate(names))
    return f"<p class=legend>{''.join(dots)}</p>"


def note(texts: Iterable[str]) -> str:
    """What is to be known beside figures; nothing where there is nothing."""
    told = "".join(f"<p>{escape(text)}</p>" for text in texts)
    return told and f'<div class=note role=note aria-label="Notes"><b>Note</b>{told}</div>'


def figures_table(evaluation: Evaluation) -> Section:
    """Every figure with its error and meaning, and the evaluation's notes as they are."""
    return Section(
        "Figures",
        f"Means over {evaluation.rows:,} {evaluation.on} rows with their standard errors, {evaluation.draws} draws a "
        "row: two models differ where their figures do by more than a few errors.",
        _table(evaluation.figures) + note(evaluation.notes) + _health(evaluation),
    )


def beside_table(figures: dict[str, tuple[Metric, Metric]], heads: tuple[str, str]) -> str:
    """Figures in two columns of these names, each with its error, and what it means."""
    lines = [f"<tr><th></th>{''.join(f'<th scope=col>{escape(head)}</th>' for head in heads)}<th></th></tr>"]
    for name, pair in figures.items():
        cells = "".join(f"<td class=value>{escape(' '.join(measured(f)).strip())}</td>" for f in pair)
        words, meaning = name.replace("_", " ").capitalize(), with_minus(pair[0].meaning)
        lines.append(f"<tr><th scope=row>{escape(words)}</th>{cells}<td class=meaning>{escape(meaning)}</td></tr>")
    return f"<div class=scroll><table class=figures>{''.join(lines)}</table></div>"


def _table(figures: dict[str, Metric]) -> str:
    rows = []
    for name, figure in figures.items():
        value, error = measured(figure)
        words, unit = NAMES.get(name, name.replace("_", " ").capitalize()), f"{error} {figure.unit}".strip()
        rows.append(
            f"<tr><th scope=row>{escape(words)}</th><td class=value>{value}</td><td>{escape(unit)}</td>"
            f"<td class=meaning>{escape(with_minus(figure.meaning))}</td></tr>"
        )
    return f"<div class=scroll><table class=figures>{''.join(rows)}</table></div>"


def _health(evaluation: Evaluation) -> str:
    """What is wrong with the model, if anything, what to try, and what that was judged by."""
    found = evaluation.health
    if found is None:
        return ""
    verdicts = "".join(f"<p>{escape(with_minus(str(verdict)))}</p>" for verdict in found.verdicts)
    figures = {name: figure for name, figure in found.figures.items() if name not in evaluation.figures}
    return f"<h3>Health, on {found.rows:,} random rows</h3>{verdicts}{_table(figures)}"


def configuration(vae: FittedVAE, x: NDArray | LazyRows) -> Section:
    """What made this model: parts, settings, data, versions."""
    return Section(
        "Configuration",
        "What made this model: the circumstances, its parts with their numbers of parameters, and the estimator's "
        "settings, in bold those that are not the defaults.",
        f"{_pairs(describe.circumstances(vae, x))}<h3>Parts</h3>"
        f"<div class=scroll><pre>{escape(describe.tree(vae))}</pre></div>"
        f"<h3>Settings</h3>{_pairs(describe.settings(vae), 'settings', describe.changed(vae))}",
    )


def _pairs(values: dict[str, str], kind: str = "", strong: Iterable[str] = ()) -> str:
    return f'<dl class="pairs {kind}">{"".join(pair(k, v, k in strong) for k, v in values.items())}</dl>'


def pair(key: str, value: str, strong: bool = False) -> str:
    """A name and what it is, a line of a list."""
    value = f"<b>{escape(value)}</b>" if strong else escape(value)
    return f"<div><dt>{escape(key)}</dt><dd>{value}</dd></div>"
