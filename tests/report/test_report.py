"""The report: one page that needs nothing else, whatever was fitted, with the sections that make sense for it."""

import re
import subprocess
import sys
from html import unescape

import numpy as np
import pytest
import torch
from pages import assert_self_contained, assert_well_formed, embedded, titles

import vaekit as vk
from vaekit import report
from vaekit.data.datasets import digest
from vaekit.evaluation import Metric, score_rows
from vaekit.report import describe, figures
from vaekit.report.codes import drawn_codes, followed, prior_codes, told_shares
from vaekit.report.page import measured
from vaekit.report.sections import rows

ROWS = ("Reconstructions", "From best to worst", "Samples", "Codes")
SPACE = ("Codes and their prior", "What each unit carries")
END = ("Training", "Figures", "Configuration")
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


# -- the page ----------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_loads_nothing(page, tmp_path):
    page.save(tmp_path / "deep" / "report.html")
    html = (tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    assert html == page.html
    assert_self_contained(html)
    assert embedded(html)


def test_every_tag_is_closed_and_every_reference_has_its_target(page):
    assert_well_formed(page.html)


def test_the_sections_stand_in_order(page):
    assert titles(page.html) == [*ROWS, "The decoded plane", *SPACE, *END]


def test_more_latents_are_traversed(vae):
    wide = vk.VAE(latent_dim=4, epochs=1).fit(DIGITS[:256])
    html = report.make(wide, DIGITS[256:], draws=2).html
    assert titles(html) == [*ROWS, "Traversals", *SPACE, *END]
    assert "two most active of 4 dimensions by mean KL" in html


def test_pictures_are_png_of_whole_pixels(page):
    images = embedded(page.html)
    # 2 rows of 10 pairs, twice, 8 rows of 8 samples, 20 rows of 20 decoded codes
    pairs = (10 * 122 - 2, 242)
    assert [(i.width, i.height) for i in images] == [pairs, pairs, (8 * 146 - 2, 8 * 146 - 2), (1120, 1120)]
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


@pytest.mark.slow
def test_columns_of_numbers_are_shown_by_name():
    rng = np.random.default_rng(1)
    pandas = pytest.importorskip("pandas")
    names = [EVIL, *(f"column {i}" for i in range(14))]
    x = pandas.DataFrame(rng.normal(size=(300, 15)) * 10.0 ** np.arange(15), columns=names)
    html = report.make(vk.VAE(latent_dim=3, epochs=1).fit(x[:256]), x[256:], draws=2).html
    carried = "What each unit carries"  # a table's prior is a flow, whose KL is that of all units together
    assert titles(html) == [t for t in (*ROWS, *SPACE, "Typicality", *END) if t != carried]
    assert "The first 12 of 15 columns." in html
    assert "column 10" in html and "column 12" not in html
    assert "<script" not in html and embedded(html) == []


COLOUR = RNG.integers(0, 256, (80, 12, 12, 3)).astype(np.uint8)
MASKED = np.where(RNG.random((80, 3)) < 0.2, np.nan, RNG.normal(size=(80, 3)))
FITTED = {
    "colour, channels last": (vk.VAE(), COLOUR),
    "colour, channels first": (vk.VAE(), COLOUR.transpose(0, 3, 1, 2) / 255.0),
    "real-valued images": (vk.VAE(), RNG.normal(size=(80, 8, 8))),
    "binary tensors": (vk.VAE(), torch.from_numpy(DIGITS[:80] > 0.5)),
    "counts": (vk.VAE(), RNG.poisson(3.0, (80, 3))),
    "missing cells": (vk.VAE(recipe="miwae", missing=True), MASKED),
    "pictures too small to see": (vk.VAE(), DIGITS[:80, :2, 2:4]),
    "one latent": (vk.VAE(latent_dim=1), DIGITS[:80]),
    "no held-out rows": (vk.VAE(validation=0), DIGITS[:80]),
    "vq": (vk.VAE(recipe="vq"), DIGITS[:80]),
    "categorical": (vk.VAE(recipe="categorical", latent_dim=3), DIGITS[:80]),
    "ladder": (vk.VAE(recipe="ladder", latent_dim=2), DIGITS[:80]),
    "hamiltonian": (vk.VAE(recipe="hamiltonian"), DIGITS[:80]),
    "vamp": (vk.VAE(recipe=vk.recipes.vamp(components=5)), DIGITS[:80]),
    "own networks": (vk.VAE(encoder=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))), DIGITS[:80]),
}


TWINS = ("colour, channels first", "real-valued images", "ladder", "hamiltonian", "vamp")  # of others here


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in TWINS else n for n in FITTED])
def test_every_composition_and_kind_of_data_has_its_report(name):
    vae, x = FITTED[name]
    vae.set_params(epochs=1).fit(x)
    html = report.make(vae, x, np.arange(len(x)) % 3, draws=2).html
    assert titles(html)[:4] == list(ROWS)
    assert titles(html)[-2:] == list(END[-2:])
    assert "nan" not in re.sub(r"base64,[^\"]+", "", html).lower()
    discrete = name in ("vq", "categorical")
    assert ("principal component" in html) == discrete
    assert not (discrete and {"The decoded plane", "Traversals"} & set(titles(html)))


RECIPES = (
    *("vae", "auto", "conv", "residual", "full-covariance", "laplace", "flow", "maf", "spherical", "poincare"),
    *("topics", "flow-prior", "two-stage", "riemannian", "straight-through", "exemplar", "vade", "very-deep"),
    *("conditional", "m2", "counts", "count-classes", "vq-transformer", "residual-vq", "fsq", "lfq", "rae"),
    *("not-miwae", "ms-ssim", "perceptual", "recurrent", "sentence", "table", "jmvae", "mmvae"),
)
"""One for every kind of latent, likelihood and context; a report reads nothing else of a recipe."""


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_every_structure_have_their_report(name):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 9, (80, 12)) if name == "sentence" else (255 * DIGITS[:80]).astype(np.uint8)
    context = np.arange(80) % 3 if vk.recipes.RECIPES[name].needs_context else None
    vae = vk.VAE(recipe=name, latent_dim=3, epochs=1).fit(x, context=context)
    few = None if context is None else context[:20]
    html = report.make(vae, x[:20], np.arange(20) % 3, train=x, draws=2, context=few).html
    assert_well_formed(html)
    assert {"Reconstructions", "From best to worst", "Samples and their nearest training rows"} <= set(titles(html))


# -- what stands on it, and what does not ---------------------------------------------------------


def made_of(vae, x, *given, **known):
    """The titles of a report and its captions, whole."""
    html = report.make(vae, x, *given, draws=2, **known).html
    return titles(html), unescape(html)


def test_training_rows_add_the_nearest_ones_and_their_likelihood(vae):
    names, text = made_of(vae, DIGITS[256:], train=DIGITS[:256])
    assert names == [
        *ROWS[:3],
        "Samples and their nearest training rows",
        ROWS[3],
        "The decoded plane",
        *SPACE,
        "Typicality",
        *END,
    ]
    assert "one of 256 training rows" in text and "the model's own samples" not in text, "log p is no likelihood here"


def test_a_model_that_gives_training_rows_back_is_told(vae, monkeypatch):
    monkeypatch.setattr("vaekit.report.subject.sample", lambda fitted, n, **given: DIGITS[np.arange(n) % 256])
    assert (
        "100% of 256 are closer than all but 1% of held-out rows" in made_of(vae, DIGITS[256:], train=DIGITS[:256])[1]
    )


@pytest.fixture
def drawn(monkeypatch):
    """What the figures on the pages are called with, by their names."""
    calls = {}

    def watch(name):
        draw = getattr(figures, name)
        monkeypatch.setattr(figures, name, lambda *given: calls.setdefault(name, []).append(given) or draw(*given))

    for name in ("neighbours", "reconstructions", "distributions"):
        watch(name)
    return calls


def test_samples_stand_in_the_order_of_their_distance_beside_their_nearest_training_rows(vae, drawn):
    report.make(vae, DIGITS[256:], train=DIGITS[:256], draws=2)
    made, nearest, apart = drawn["neighbours"][0]
    every = np.sqrt(np.square((made / 255 - nearest / 255).reshape(10, -1)).sum(1))
    np.testing.assert_allclose(every, apart, rtol=1e-4)
    assert (np.diff(apart) >= 0).all()


@pytest.mark.parametrize("piece", [16, 100, 10_000])
def test_the_nearest_rows_are_found_whole_or_piece_by_piece(piece, monkeypatch):
    rng = np.random.default_rng(1)
    monkeypatch.setattr(rows, "PIECE", piece)
    made, train = rng.normal(size=(9, 4)), rng.normal(size=(40, 4))
    which, apart = rows.nearest_rows(made, train, lambda r: r)
    distances = np.linalg.norm(made[:, None] - train, axis=2)
    np.testing.assert_array_equal(which, distances.argmin(1))
    np.testing.assert_allclose(apart, distances.min(1), rtol=1e-4)


def test_typicality_holds_the_scores_of_each_set(drawn):
    x = DIGITS > 0.5
    binary = vk.VAE(epochs=1).fit(x[:256])
    report.make(binary, x[256:], draws=4, others={"inverted": ~x[256:]})
    sets = drawn["distributions"][0][0]
    assert list(sets) == ["held-out rows", "samples of the model", "inverted"]
    np.testing.assert_allclose(sets["held-out rows"], binary.score_samples(x[256:], draws=4), rtol=1e-6)
    np.testing.assert_allclose(sets["inverted"], binary.score_samples(~x[256:], draws=4), rtol=1e-6)


def test_rows_with_gaps_are_compared_with_no_samples():
    masked, x = FITTED["missing cells"]
    names, _ = made_of(vk.VAE(**masked.get_params()).set_params(epochs=1).fit(x), x, train=x)
    assert "Samples and their nearest training rows" not in names and "Typicality" in names


def test_other_data_are_two_sets_at_most_and_of_a_model_without_context(vae):
    with pytest.raises(ValueError, match="at most 2 sets of other data, of a model without context, got 3 sets"):
        report.make(vae, DIGITS[256:], others=dict.fromkeys("abc", DIGITS[:9]))


def test_rows_are_ranked_by_their_distortion(vae, drawn):
    report.make(vae, DIGITS[256:], draws=3)
    costs = drawn["reconstructions"][1][2]
    every = np.sort(score_rows(vae.module_, vae.fitted_.rows(DIGITS[256:]), draws=3).distortion.numpy())
    np.testing.assert_allclose(costs, every[np.linspace(0, 63, 10).round().astype(int)])


FACTORS = {"size": np.arange(64) % 4, "word": np.array(["a", "b"])[np.arange(64) // 32]}


def test_several_factors_have_a_table_and_traversals_their_factor():
    wide = vk.VAE(latent_dim=3, epochs=1).fit(DIGITS[:256])
    names, text = made_of(wide, DIGITS[256:], factors=FACTORS)
    assert names == [*ROWS, "Traversals", "What each dimension tells", *SPACE, *END]
    assert "On the right the factor that it tells most of" in text
    names, text = made_of(wide, DIGITS[256:], np.linspace(0, 1, 64))
    assert "What each dimension tells" not in names and "On the right" not in text, "values are no factor"


def test_factors_of_other_rows_are_refused(vae):
    with pytest.raises(ValueError, match="a factor 'size' for each of the 64 rows, got 3: pass factors of these rows"):
        report.make(vae, DIGITS[256:], factors={"size": [1, 2, 3]})


def test_classes_and_clusters_are_confused_where_labels_are_known():
    x, y = DIGITS[:120], LABELS[:120]
    m2 = vk.VAE(recipe=vk.recipes.m2(classes=5), latent_dim=2, epochs=1).fit(x, y)
    names, text = made_of(m2, x, y)
    assert "Classes" in names and f"{(m2.predict(x) == y).mean():.1%} of the rows lie on the diagonal" in text
    assert "Classes" not in made_of(m2, x)[0]
    mixture = vk.VAE(recipe=vk.recipes.mixture(components=3), latent_dim=2, epochs=1).fit(x)
    assert "Clusters" in made_of(mixture, x, y)[0]


def test_series_are_drawn_over_their_steps():
    rng = np.random.default_rng(1)
    x = np.sin(np.arange(6) * 0.9 + rng.uniform(0, 6, (80, 1)))[..., None]
    series = vk.VAE(recipe=vk.recipes.recurrent(width=8), latent_dim=2, epochs=1).fit(x)
    names, text = made_of(series, x)
    assert names[:3] == list(ROWS[:3]) and "over their steps" in text and ">step<" in text.replace("\n", "")


# -- codes and factors -------------------------------------------------------------------------------


def test_a_code_that_is_a_factor_tells_all_of_it_and_noise_none():
    rng = np.random.default_rng(1)
    factor = np.arange(60) % 6
    z = np.column_stack([factor * 1.0, rng.normal(size=60)])
    shares = told_shares(z, {"word": np.array(list("abcdef"))[factor], "constant": np.zeros(60, int)})
    assert shares[0, 0] > 0.95 and shares[1, 0] < 0.1 and (shares[:, 1] == 0).all()
    assert followed(np.array([[0.92, 0.2], [0.01, 0.09]]), ["x", "y"]) == ["x 92%", "–"]


def test_the_prior_is_drawn_and_codes_are_draws_of_the_posterior(vae):
    prior = prior_codes(vae.fitted_, 3000)
    assert prior.shape == (3000, 2)
    np.testing.assert_allclose(prior.mean(0), 0, atol=4 / np.sqrt(3000))
    np.testing.assert_allclose(prior.std(0), 1, atol=4 / np.sqrt(2 * 3000))
    many = np.repeat(DIGITS[256:257], 2000, 0)
    z, q = drawn_codes(vae.fitted_, many), vae.posterior(DIGITS[256:257])
    np.testing.assert_allclose(z.mean(0), q.mean[0], atol=4 * float(q.stddev.max()) / np.sqrt(2000))
    np.testing.assert_allclose(z.std(0), q.stddev[0], rtol=0.1)


def test_the_estimator_makes_it(vae):
    assert isinstance(vae.report(DIGITS[256:280]), report.Report)


def test_importing_vaekit_leaves_matplotlib_alone():
    code = "import sys, vaekit; sys.exit('matplotlib' in sys.modules or 'vaekit.report' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


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
    assert measured(Metric(value, error, "nats", "")) == shown


def test_numbers_that_data_gave_are_told_in_few_letters():
    """A setting of few values in few digits, of many, as the levels of columns are, their number."""
    few, many = vk.likelihoods.CountColumns([2.65395348837], [3.57]), vk.likelihoods.Ordinal([4] * 9)
    assert describe.part_line(few) == "CountColumns([2.65], [3.57])"
    assert "9 values" in describe.part_line(many)
    assert describe.part_line(vk.networks.MLP((64,))) == "MLP((64,))"
