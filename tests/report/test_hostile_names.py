"""Names of others on a page: shown as they are, or escaped, and never read as markup, styles, ids or mathematics."""

import unicodedata
from html.parser import HTMLParser

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest

import vaekit as vk
from vaekit.printable import listed, printable, printable_json, printable_lines
from vaekit.report import figures
from vaekit.report.paper import short
from vaekit.report.svg import inline

NAMES = [
    "url(#a)",
    'href="#b"',
    ' id="c"',
    "</script><script>alert(1)</script>",
    "a&amp;b & c",
    "'single' \"double\"",
    "nul\0",
    "x" * 10_000,
    "\u202eabc\u2066",
    "\ud800",
    "$\\undefined{$",
    "#1c1f23",
    "\x1b[31mred\x9b0m",
    "two\nlines",
    "<!-- --> ]]>",
    "${title} $style",
    "<use xlink:href='#a' style=\"b\"/>",
    "font-family: x; image-rendering:crisp-edges",
    "שלום",
    "[red]rich[/red]",
    "=1+1",
    "..",
]


def wild(text):
    """The characters that command a terminal, or that have no bytes."""
    return [
        c
        for c in text
        if (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\t\n")
        or unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    ]


class Read(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.attributes, self.inside = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data.strip())


# -- printable -------------------------------------------------------------------------------------


def test_what_commands_a_terminal_is_escaped_and_the_rest_stays():
    every = [chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    changed = {c for c in every if printable(c) != c}
    assert changed >= {c for c in every if wild(c)} | {"\t", "\n"}
    others = "".join(chr(i) for i in range(0x20000) if unicodedata.category(chr(i))[0] in "LMNPS" and not wild(chr(i)))
    assert printable_lines(others) == others
    assert all(printable(c).isascii() and printable(c).isprintable() for c in changed)
    assert printable("naïve 数 a\u200db 👩\u200d👩") == "naïve 数 a\u200db 👩\u200d👩"
    assert printable("\x1b[31m\n\u202e\x9b\ud800\t") == r"\x1b[31m\n\u202e\x9b\ud800\t"
    assert printable_lines("\x1b[31m\n\u202e\t") == "\\x1b[31m\n\\u202e\t"


def test_a_long_name_is_cut_in_its_middle():
    assert printable("a" * 400) == "a" * 400
    cut = printable("a" * 5_000 + "z.npy")
    assert len(cut) < 420 and cut.startswith("aaa") and cut.endswith("az.npy") and "..." in cut
    assert listed(["a\n"] * 12) == ", ".join(["a\\n"] * 10) + ", ... (12 in all)"
    assert listed([]) == "none"


def test_json_reads_back_as_the_same_values():
    import json

    value = {name: [name] for name in NAMES} | {"\U000e0041": "\u2028"}
    text = printable_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value and not wild(text) and "שלום" in text


# -- figures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_in_a_figure_is_a_text_and_nothing_else(name):
    data = np.arange(12.0).reshape(-1, 1)
    want = Read(inline(figures.histograms(data, data, ["plain"]), "figure", "Data of plain"))
    svg = inline(figures.histograms(data, data, [name]), "figure", f"Data of {name}")
    got = Read(svg)
    assert got.tags == want.tags
    assert [a for a in got.attributes if a[0] != "aria-label"] == [a for a in want.attributes if a[0] != "aria-label"]
    assert short(name) in got.texts


def test_a_text_of_any_length_and_lines_is_drawn():
    for name in NAMES:
        figure = matplotlib.figure.Figure(figsize=(2, 2))
        figure.text(0.5, 0.5, name, parse_math=False)
        assert not wild(inline(figure, "a", ""))


def test_ids_are_plain_whatever_a_figure_is_called():
    data = np.arange(12.0).reshape(-1, 1)
    made = [
        inline(figures.histograms(data, data, ["a"]), n, "") for n in ('"><script>', "'><script>", "a b", "a\ud800")
    ]
    ids = [dict(Read(svg).attributes)["id"] for svg in made]
    assert len(set(ids)) == 4 and all(i.replace("-", "").isalnum() for i in ids)
    assert not any("script" in Read(svg).tags for svg in made)


# -- a page ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    numbers = {name: rng.normal(size=60).round(3) for name in NAMES if name != "\ud800"}
    made = pd.DataFrame({**numbers, "level": [NAMES[i % 6] for i in range(60)], "lone": rng.normal(size=60)})
    return made.set_axis(pd.Index([*numbers, "level", "\ud800"], dtype=object), axis=1)  # pandas' strings have none


@pytest.fixture(scope="module")
def vae(frame):
    return vk.VAE(epochs=1, latent_dim=2, verbose=False, seed=0, device="cpu").fit(frame)


def test_samples_have_such_names_and_levels(vae, frame):
    made = vae.sample(50, seed=0)
    assert list(made.columns) == list(frame.columns) and set(made["level"]) <= set(frame["level"])


def test_a_report_of_such_names_is_a_page_without_foreign_markup(vae, frame, tmp_path, monkeypatch):
    labels = np.array([NAMES[i % 3] for i in range(60)])
    page = vk.report.make(vae, frame, labels, name=NAMES[3] + NAMES[8] + NAMES[9], draws=2)
    monkeypatch.setenv("HOME", str(tmp_path))
    page.save("~/report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    read = Read(html)
    assert not wild(html) and "script" not in read.tags and html.count("</html>") == 1
    assert not [n for n, _ in read.attributes if n.startswith("on")]
    shown = " ".join(read.texts)
    assert "url(#a)" in shown and "</script><script>alert(1)</script>" in shown and "\\u202eabc" in shown
    for text in (str(page), str(vae.evaluate(frame, draws=2)), str(vae.spec_), str(vae.spec_.schema)):
        assert not wild(text), wild(text)
