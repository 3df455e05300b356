"""The report: one page that needs nothing else, whatever was fitted, and figures that hold what they were given."""

import base64
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import vaekit as vk
from vaekit import report
from vaekit.data.datasets import digest
from vaekit.evaluation import likelihood
from vaekit.report import figures, pictures, svg
from vaekit.report.page import measured

SECTIONS = ("Reconstructions", "Samples", "Codes", "Training", "What each unit carries", "Figures", "Configuration")
RNG = np.random.default_rng(0)
DIGITS = (RNG.random((320, 8, 8)) * np.linspace(0, 1, 8)).astype(np.float32)
LABELS = np.arange(320) % 5
EVIL = '<script>alert("$x^{")</script>'


@pytest.fixture(scope="module")
def vae():
    return vk.VAE(epochs=2, seed=0).fit(DIGITS[:256])


@pytest.fixture(scope="module")
def page(vae):
    return report.make(vae, DIGITS[256:], LABELS[256:], draws=5)


class Outline(HTMLParser):
    """Tags that were opened and not closed, and the h2 headings."""

    VOID = ("meta", "link", "br", "img")

    def __init__(self, html):
        super().__init__()
        self.open, self.titles, self.wrong = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def titles(html):
    return Outline(html).titles


def embedded(html):
    found = re.findall(r"data:image/png;base64,([^\"]+)", html)
    return [Image.open(BytesIO(base64.b64decode(data))) for data in found]


# -- the page ----------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_loads_nothing(page, tmp_path):
    page.save(tmp_path / "deep" / "report.html")
    html = (tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    assert html == page.html
    assert not re.search(r"https?:|@import|<script|<link|<img", html)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert addresses
    assert all(a.startswith(("#", "data:image/png;base64,")) for a in addresses)


def test_every_tag_is_closed_and_every_reference_has_its_target(page):
    outline = Outline(page.html)
    assert outline.open == [] and outline.wrong == []
    ids = re.findall(r' id="([^"]+)"', page.html)
    assert len(ids) == len(set(ids))
    used = {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page.html)}
    assert used and used <= set(ids)


def test_the_sections_stand_in_order(page):
    assert titles(page.html) == [*SECTIONS[:3], "The decoded plane", *SECTIONS[3:]]


def test_more_latents_are_traversed(vae):
    wide = vk.VAE(latent_dim=4, epochs=1).fit(DIGITS[:256])
    html = report.make(wide, DIGITS[256:], draws=2).html
    assert titles(html) == [*SECTIONS[:3], "Traversals", *SECTIONS[3:]]
    assert "two most active of 4 dimensions by mean KL" in html


def test_pictures_are_png_of_whole_pixels(page):
    images = embedded(page.html)
    # 2 rows of 10 pairs, 8 rows of 8 samples, 20 rows of 20 decoded codes
    assert [(i.width, i.height) for i in images] == [(10 * 122 - 2, 242), (8 * 146 - 2, 8 * 146 - 2), (1120, 1120)]
    assert all(i.format == "PNG" for i in images)


def test_figures_notes_and_circumstances_are_on_the_page(page, vae):
    text = unescape(page.html)
    for note in page.evaluation.notes:
        assert note in text
    assert measured(page.evaluation.figures["elbo"])[0] in text
    for said in (digest(DIGITS[256:]), torch.__version__, np.__version__, "64 rows of 8 × 8, float32"):
        assert said in text
    parameters = sum(p.numel() for p in vae.module_.parameters())
    assert f"<dd>{parameters:,}</dd>" in text


def test_the_same_model_and_rows_make_the_same_page(page, vae):
    again = report.make(vae, DIGITS[256:], LABELS[256:], draws=5)
    assert again.html == page.html


def test_it_prints_the_evaluation_and_shows_in_a_frame(page, vae):
    assert str(page) == str(page.evaluation)
    assert str(vae.evaluate(DIGITS[256:], draws=5)) == str(page)
    framed = re.fullmatch(r'<iframe [^>]*srcdoc="([^"]*)"></iframe>', page._repr_html_())
    assert unescape(framed[1]) == page.html


def test_labels_and_names_from_outside_are_escaped(vae):
    labels = np.array([EVIL, "_hidden", "$"])[np.arange(64) % 3]
    html = report.make(vae, DIGITS[256:], labels, name=EVIL, draws=2).html
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_labels_of_other_rows_are_refused(vae):
    with pytest.raises(ValueError, match="a label for each of the 64 rows, got 3: pass labels of these rows"):
        report.make(vae, DIGITS[256:], [0, 1, 2])


def test_columns_of_numbers_are_shown_by_name():
    pandas = pytest.importorskip("pandas")
    names = [EVIL, *(f"column {i}" for i in range(14))]
    x = pandas.DataFrame(RNG.normal(size=(300, 15)) * 10.0 ** np.arange(15), columns=names)
    html = report.make(vk.VAE(latent_dim=3, epochs=1).fit(x[:256]), x[256:], draws=2).html
    assert titles(html) == list(SECTIONS)
    assert "The first 12 of 15 columns." in html
    assert "column 10" in html and "column 12" not in html
    assert "<script" not in html and embedded(html) == []


COLOUR = RNG.integers(0, 256, (80, 12, 12, 3)).astype(np.uint8)
MASKED = np.where(RNG.random((80, 6)) < 0.2, np.nan, RNG.normal(size=(80, 6)))
FITTED = {
    "colour, channels last": (vk.VAE(), COLOUR),
    "colour, channels first": (vk.VAE(), COLOUR.transpose(0, 3, 1, 2) / 255.0),
    "real-valued images": (vk.VAE(), RNG.normal(size=(80, 8, 8))),
    "binary tensors": (vk.VAE(), torch.from_numpy(DIGITS[:80] > 0.5)),
    "counts": (vk.VAE(), RNG.poisson(3.0, (80, 5))),
    "missing cells": (vk.VAE(recipe="miwae", missing=True), MASKED),
    "pictures too small to see": (vk.VAE(), DIGITS[:80, :3, :3]),
    "one latent": (vk.VAE(latent_dim=1), DIGITS[:80]),
    "no held-out rows": (vk.VAE(validation=0), DIGITS[:80]),
    "vq": (vk.VAE(recipe="vq"), DIGITS[:80]),
    "categorical": (vk.VAE(recipe="categorical", latent_dim=3), DIGITS[:80]),
    "ladder": (vk.VAE(recipe="ladder", latent_dim=2), DIGITS[:80]),
    "hamiltonian": (vk.VAE(recipe="hamiltonian"), DIGITS[:80]),
    "vamp": (vk.VAE(recipe=vk.recipes.vamp(components=5)), DIGITS[:80]),
    "own networks": (vk.VAE(encoder=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))), DIGITS[:80]),
}


@pytest.mark.parametrize("name", FITTED)
def test_every_composition_and_kind_of_data_has_its_report(name):
    vae, x = FITTED[name]
    vae.set_params(epochs=1).fit(x)
    html = report.make(vae, x, np.arange(len(x)) % 3, draws=2).html
    assert titles(html)[:3] == list(SECTIONS[:3])
    assert titles(html)[-2:] == list(SECTIONS[-2:])
    assert "nan" not in re.sub(r"base64,[^\"]+", "", html).lower()
    discrete = name in ("vq", "categorical")
    assert ("principal component" in html) == discrete
    assert not (discrete and {"The decoded plane", "Traversals"} & set(titles(html)))


def test_the_estimator_makes_it(vae):
    assert isinstance(vae.report(DIGITS[256:280]), report.Report)


def test_importing_vaekit_leaves_matplotlib_alone():
    code = "import sys, vaekit; sys.exit('matplotlib' in sys.modules or 'vaekit.report' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


# -- figures -----------------------------------------------------------------------------------------

HISTORY = [{"epoch": e, "elbo": -9 / e, "distortion": 6 / e, "rate": 3 / e, "val_elbo": -8 / e} for e in (1, 2, 3)]
DRAWN = {
    "image_grid": (figures.image_grid(DIGITS[:10], 4), 1),
    "reconstructions": (figures.reconstructions(DIGITS[:6], DIGITS[6:12]), 1),
    "decoded_grid": (figures.decoded_grid(DIGITS[:9], [-1, 0, 1]), 1),
    "traversals": (figures.traversals(DIGITS[:6], ["a", "b"]), 1),
    "latent_plane": (figures.latent_plane(RNG.normal(size=(50, 2)), LABELS[:50]), 1),
    "training_curves": (figures.training_curves(HISTORY), 3),
    "unit_kl": (figures.unit_kl([1.0, 0.001, 3.0]), 1),
    "histograms": (figures.histograms(DIGITS[:, 0], DIGITS[:, 1], list("abcdefgh")), 8),
    "agreement": (figures.agreement(DIGITS[:, 0], DIGITS[:, 1], list("abcdefgh")), 8),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_a_figure_with_its_axes_and_draws_anywhere(name):
    figure, axes = DRAWN[name]
    assert isinstance(figure, Figure) and len(figure.axes) == axes
    figure.savefig(BytesIO(), format="png")
    drawn = svg.inline(figure, name, "a figure")
    assert drawn.startswith('<svg viewBox="0 0 ') and drawn.rstrip().endswith("</svg>")
    assert not set(re.findall("#[0-9a-f]{6}", drawn)) & set(svg.VARIABLES)


def test_the_plane_has_a_dot_per_code_where_it_lies():
    z = RNG.normal(size=(50, 2))
    dots = figures.latent_plane(z, LABELS[:50]).axes[0].collections[0]
    np.testing.assert_array_equal(dots.get_offsets(), z)
    assert len(np.unique(dots.get_facecolors(), axis=0)) == 5


def test_rare_groups_share_a_colour_and_many_numbers_a_scale():
    z = np.zeros((300, 2))
    names = np.array([f"g{min(i % 20, i % 7)}" for i in range(300)])
    many = np.array([f"g{i % 30}" for i in range(300)])
    assert not any(t.get_text() == "others" for t in figures.latent_plane(z, names).texts)
    keys = [t.get_text() for t in figures.latent_plane(z, many).texts]
    assert len(keys) == 10 and keys[-1] == "others"
    scaled = figures.latent_plane(z, np.arange(300) / 7).axes[0].collections[0]
    np.testing.assert_array_equal(scaled.get_array(), np.arange(300) / 7)


def test_bars_are_sorted_and_inactive_ones_set_apart():
    axes = figures.unit_kl([0.5, 0.001, 2.0]).axes[0]
    bars = axes.patches
    assert [t.get_text() for t in axes.get_yticklabels()] == ["z[2]", "z[0]", "z[1]"]
    assert [b.get_x() + b.get_width() for b in bars[:2]] == pytest.approx([2.0, 0.5])
    assert bars[0].get_facecolor() == bars[1].get_facecolor() != bars[2].get_facecolor()


def test_curves_hold_the_history():
    elbo = figures.training_curves(HISTORY).axes[0]
    training, held = (line.get_ydata() for line in elbo.lines)
    np.testing.assert_array_equal(training, [-9, -4.5, -3])
    np.testing.assert_array_equal(held, [-8, -4, -8 / 3])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: figures.image_grid(np.zeros((2, 3))), "expected pictures (N, H, W) or (N, H, W, 3), got shape (2, 3)"),
        (lambda: figures.reconstructions(DIGITS[:2], DIGITS[:3]), "as many reconstructions as originals"),
        (lambda: figures.decoded_grid(DIGITS[:5], [0, 1]), "expected 2 x 2 = 4 pictures for 2 ticks, got 5"),
        (lambda: figures.traversals(DIGITS[:5], ["a", "b"]), "as many pictures for each of the 2 names, got 5"),
        (lambda: figures.latent_plane(np.zeros((2, 3))), "expected codes (N, 2) or (N, 1), got (2, 3)"),
        (lambda: figures.latent_plane(np.zeros((2, 2)), [1]), "got 1 labels for 2 codes"),
        (lambda: figures.unit_kl([]), "expected the mean KL of each unit, (units,)"),
        (lambda: figures.training_curves([]), "fit first"),
        (lambda: figures.histograms(DIGITS[:, 0], DIGITS[:, 0], ["a"]), "expected rows of 1 columns, a name each"),
    ],
)
def test_wrong_calls_say_what_was_expected(draw, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        draw()


# -- pixels and numbers ------------------------------------------------------------------------------


def test_tiles_are_exact_and_gaps_transparent():
    images = RNG.integers(0, 256, (3, 2, 2)).astype(np.uint8)
    pixels = pictures.tiled(images, 2, gap=1, width=8)
    assert pixels.shape == (9, 9, 4)
    np.testing.assert_array_equal(pixels[:4:2, :4:2, 0], images[0])
    np.testing.assert_array_equal(pixels[:4:2, 5::2, 2], images[1])
    np.testing.assert_array_equal(pixels[5::2, :4:2, 1], images[2])
    assert pixels[4].sum() == pixels[:, 4].sum() == pixels[5:, 5:].sum() == 0


def test_pictures_too_large_are_averaged():
    images = np.stack([np.full((8, 8), 10), np.full((8, 8), 30)]).astype(np.uint8)
    pixels = pictures.tiled(images, 2, gap=0, width=8)
    assert pixels.shape == (4, 8, 4)
    assert pixels[0, :, 0].tolist() == [10] * 4 + [30] * 4


@pytest.mark.parametrize(
    ("x", "least", "greatest"),
    [
        (np.array([0, 255], np.uint8), 0, 255),
        (np.array([0.0, 1.0]), 0, 1),
        (np.array([0.25, 0.75]), 64, 191),
        (np.array([-2.0, 6.0]), 0, 255),
    ],
)
def test_levels_follow_the_kind_of_data(x, least, greatest):
    rows = np.resize(x, (2, 4, 4))
    spec = vk.data.spec.DataSpec.infer(torch.from_numpy(rows), rows.dtype.name)
    levels = pictures.displayable(rows, spec)
    want = (0, 255) if spec.kind == "binary" else (least, greatest)
    assert levels.shape == (2, 4, 4, 1) and (levels.min(), levels.max()) == want


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (-170.6234, 0.98, ("−170.62", "± 0.98")),
        (4.5591, 0.0482, ("4.559", "± 0.048")),
        (12345.6, 23.0, ("12,346", "± 23")),
        (2.0, None, ("2", "")),
        (44.361419, 1e-9, ("44.36", "")),
        (float("nan"), float("nan"), ("nan", "")),
    ],
)
def test_a_figure_is_written_to_the_second_digit_of_its_error(value, error, shown):
    assert measured(likelihood.Figure(value, error, "nats", "")) == shown
