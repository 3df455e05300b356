"""Foreign text in messages: names of files, columns, levels and runs, without characters that command a terminal."""

from __future__ import annotations

import unicodedata

LONGEST = 400
"""Characters of a name that are shown."""
ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories that are escaped: controls (ANSI sequences, C1), formats (bidi overrides), lone surrogates, line
and paragraph separators."""
JOINERS = "\u200c\u200d"
"""Formats that Persian, Indic scripts and emoji are written with, and that move nothing."""


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in ESCAPED or character in JOINERS:
        return character
    return repr(character)[1:-1] if not character.isprintable() else character


def printable(name: object, longest: int = LONGEST) -> str:
    """A name on one line: control, bidi and separator characters as escapes (`\\x1b`, `\\n`, `\\u202e`).

    Every name that data, a file or a run brings passes through this, or through `repr`, before it is put into a
    message, log or table. Of a name above `longest` characters the middle is left out.
    """
    text = str(name)
    if len(text) > longest:
        text = f"{text[: 2 * longest // 3]}...{text[-(longest // 3) :]}"
    return text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay lines, of any length. Tabs stay, too."""
    kept = ("\n", "\t")
    return text if text.isprintable() else "".join(c if c in kept else _escaped(c) for c in text)


def listed(names: object, most: int = 10) -> str:
    """Names with commas between them, the first few of them: `a, b, c, ... (40 in all)`; "none" where there is none."""
    names = list(names)  # type: ignore[call-overload]
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(printable(name, 100) for name in names[:most]) + more or "none"
