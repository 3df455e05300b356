"""Figures as inline SVG: the page's own font and colours, which change with its scheme."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from html import escape
from io import StringIO
from itertools import groupby
from typing import Any

from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure

from ..core import without_warnings
from ..printable import printable
from . import paper

VARIABLES = {
    paper.PAPER: "paper",
    paper.INK: "ink",
    paper.MUTED: "muted",
    paper.LINE: "line",
    paper.ACCENT: "accent",
    paper.SOFT: "soft",
    **{color: f"series-{i}" for i, color in enumerate(paper.SERIES)},
}
"""The figures' colours, and the page's variables that stand for them."""


LONGEST = 200
"""Characters of one text of a figure."""


class Renderer(RendererSVG):
    """Writes text as text, whatever matplotlib's global settings say, and whatever characters it has."""

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        return super().get_text_width_height_descent(printable(s, LONGEST), prop, ismath)

    def draw_text(
        self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False, mtext: Any = None
    ) -> None:
        write = getattr(self, "_draw_text_as_text", super().draw_text)
        write(gc, x, y, printable(s, LONGEST), prop, angle, ismath, mtext)


def inline(figure: Figure, name: str, description: str) -> str:
    """An `<svg>` element. name: unique on the page; ids begin with it. description: for those who cannot see it."""
    text = StringIO()
    dpi, (width, height) = figure.dpi, figure.get_size_inches() * 72
    figure.dpi = 72
    try:
        # A reader's font has the letters that matplotlib's, used here to measure them, may lack.
        with without_warnings("Glyph .* missing from font"):
            renderer = Renderer(width, height, text)
            figure.draw(renderer)
            renderer.finalize()
    finally:
        figure.dpi = dpi
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", text.getvalue(), flags=re.S)
    body = body[body.index(">", body.index("<svg")) + 1 :]
    body = _in_tags(_in_page_font, body)
    body = _gathered(_in_tags(_recoloured, _renamed(body, _as_id(name))))
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img"'
    return f'{head} aria-label="{escape(description)}">{body}'


def _in_tags(change: Callable[[str], str], body: str) -> str:
    """Changes what is between < and >: never a text, such as a name that looks like an attribute."""
    return re.sub(r"<[^>]*>", lambda tag: change(tag[0]), body)


def _as_id(name: str) -> str:
    """A name as the beginning of ids; one that has other characters than an id has is told apart by a digest."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:64]
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode(errors='surrogatepass')):08x}"


def _in_page_font(body: str) -> str:
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    return body.replace("image-rendering:crisp-edges;image-rendering:pixelated", "")


def _renamed(body: str, name: str) -> str:
    """Short ids that no other figure has, the same at every run."""
    tags = "".join(re.findall(r"<[^>]*>", body))
    ids = {old: f"{name}-{i}" for i, old in enumerate(dict.fromkeys(re.findall(r' id="([^"]+)"', tags)))}
    used = {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', tags)}

    def new(match: re.Match[str]) -> str:
        return f' id="{ids[match[1]]}"' if match[1] in used else ""

    def renamed(tag: str) -> str:
        tag = re.sub(r' id="([^"]+)"', new, tag)
        tag = re.sub(r'href="#([^"]+)"', lambda m: f'href="#{ids[m[1]]}"', tag)
        return re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{ids[m[1]]})", tag)

    return _in_tags(renamed, body)


def _recoloured(body: str) -> str:
    for color, variable in VARIABLES.items():
        body = body.replace(color, f"var(--{variable})")
    return body


def _gathered(body: str) -> str:
    """Runs of dots of one style as a group that says the style once."""
    dot = re.compile(r'\s*(<use .*?) style="([^"]*)"/>\s*')
    parts = []
    for style, lines in groupby(body.splitlines(), lambda line: m[2] if (m := dot.fullmatch(line)) else None):
        if style is None:
            parts += [line.strip() for line in lines]
        else:
            parts.append(f'<g style="{style}">' + "".join(dot.sub(r"\1/>", line) for line in lines) + "</g>")
    return "\n".join(parts)
