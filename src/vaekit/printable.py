"""Foreign text in messages: names of files, columns, levels and runs, without characters that command a terminal."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

LONGEST = 400
"""Characters of a name that are shown."""
_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
"""Control characters (ANSI sequences begin with one), line and paragraph separators, lone surrogates."""
_INVISIBLE = r"\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
"""Characters that are not seen, or that turn the direction of those around them. The joiners U+200C and U+200D stay:
Persian, Indic scripts and emoji are written with them, and they move nothing."""
_ESCAPED = re.compile(f"[{_CONTROL}{_INVISIBLE}]")
_ESCAPED_IN_LINES = re.compile(f"(?![\t\n])[{_CONTROL}{_INVISIBLE}]")


def printable(name: object, longest: int = LONGEST) -> str:
    """A name on one line: control, bidi and separator characters as escapes (`\\x1b`, `\\n`, `\\u202e`).

    Every name that data, a file or a run brings passes through this, or through `repr`, before it is put into a
    message, log or table. Of a name above `longest` characters the middle is left out.
    """
    text = str(name)
    if len(text) > longest:
        text = f"{text[: 2 * longest // 3]}...{text[-(longest // 3) :]}"
    return _ESCAPED.sub(lambda found: repr(found[0])[1:-1], text)


def printable_line(text: object) -> str:
    """A message on one line, of any length: what errors pass their text through, whatever names are in it."""
    return _ESCAPED.sub(lambda found: repr(found[0])[1:-1], str(text))


def quoted(path: object) -> str:
    """A path as a word of a command line: escaped as bash and zsh read it, where it holds such characters."""
    plain = str(path)
    if printable_line(plain) == plain:
        return shlex.quote(plain)
    return "$'" + printable_line(plain.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay lines, of any length. Tabs stay, too."""
    return _ESCAPED_IN_LINES.sub(lambda found: repr(found[0])[1:-1], text)


def printable_json(text: str) -> str:
    """JSON on one line with these characters as JSON escapes them: it reads back as the same values."""
    return _ESCAPED.sub(lambda found: "".join(f"\\u{unit:04x}" for unit in _units(found[0])), text)


def _units(character: str) -> Iterable[int]:
    """The UTF-16 code units of a character."""
    code = ord(character)
    return [code] if code < 0x10000 else [0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code - 0x10000 & 0x3FF)]


def listed(names: Iterable[object], most: int = 10) -> str:
    """Names with commas between them, the first few of them: `a, b, c, ... (40 in all)`; "none" where there is none."""
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(printable(name, 100) for name in names[:most]) + more or "none"
