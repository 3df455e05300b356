"""Models side by side: differences row by row, one page, and a refusal where figures do not compare."""

import re
from html import unescape

import numpy as np
import pytest
from pages import assert_self_contained, assert_well_formed, embedded, titles

import vaekit as vk
from vaekit.evaluation import score_rows
from vaekit.likelihoods import Bernoulli, Gaussian
from vaekit.report import compare, figures
from vaekit.report.comparison import refuse_unlike

RNG = np.random.default_rng(0)
GREY = (RNG.random((160, 8, 8)) * np.linspace(0, 1, 8)).astype(np.float32)
BINARY = (GREY > 0.4).astype(np.uint8)
TABLE = RNG.normal(size=(160, 4)) @ RNG.normal(size=(4, 4)) * 10
SECTIONS = ["Figures", "What differs", "Rate and distortion", "Training", "Reconstructions", "Samples"]


def fitted(x, **settings):
    return vk.VAE(**{"epochs": 1, **settings}).fit(x)


@pytest.fixture(scope="module")
def models():
    wide = fitted(BINARY, latent_dim=3, epochs=2, recipe="beta-vae")
    return {"vae": fitted(BINARY), "beta <4>": wide, "rae": fitted(BINARY, recipe="rae")}


@pytest.fixture(scope="module")
def comparison(models):
    return compare(models, BINARY[:50], np.arange(50) % 4, draws=3)


# -- differences -----------------------------------------------------------------------------------


def test_differences_are_those_of_the_rows(comparison, models):
    a, b = (models[n].score_samples(BINARY[:50], draws=3) for n in ("vae", "beta <4>"))
    found = comparison.differences["beta <4>"]["log_likelihood"]
    assert found.value == pytest.approx(np.mean(b - a), rel=1e-9)
    assert found.error == pytest.approx(np.std(b - a, ddof=1) / np.sqrt(50), rel=1e-9)
    own = comparison.figures["vae"]["log_likelihood"]
    assert (own.value, own.error) == pytest.approx((a.mean(), a.std(ddof=1) / np.sqrt(50)), rel=1e-9)


def test_every_figure_of_both_is_compared_and_no_other(comparison, models):
    assert list(comparison.differences) == ["beta <4>", "rae"]
    assert set(comparison.differences["beta <4>"]) == {"elbo", "log_likelihood", "distortion", "rate"}
    assert set(comparison.differences["rae"]) == {"distortion"}, "a point mass has no rate"
    scores = [
        score_rows(models[n].module_, models[n].fitted_.rows(BINARY[:50]), draws=3).distortion for n in ("vae", "rae")
    ]
    assert comparison.differences["rae"]["distortion"].value == pytest.approx(float((scores[1] - scores[0]).mean()))


def test_a_model_does_not_differ_from_itself(models):
    same = compare({"a": models["vae"], "b": models["vae"]}, BINARY[:20], draws=2)
    assert {f.value for f in same.differences["b"].values()} == {0.0}
    assert {f.error for f in same.differences["b"].values()} == {0.0}
    assert "What differs" not in titles(same.html) and "the same for every row" in same.html


def test_rows_that_are_binarised_at_each_pass_are_the_same_for_all_models():
    dynamic = fitted(GREY, likelihood=Bernoulli(binarise="dynamic"))
    other = vk.VAE(**dynamic.get_params()).fit(GREY).set_params(seed=7)
    assert compare({"a": dynamic, "b": other}, GREY[:20], draws=2).differences["b"]["elbo"].error == 0


def test_it_prints_a_line_for_each_figure(comparison):
    text, found = str(comparison), comparison.differences["beta <4>"]["elbo"]
    assert text.splitlines()[0] == "50 held-out rows, k = 3 draws per row; differences from vae, row by row"
    errors = abs(found.value) / found.error
    assert f"{found.value:+.3f} ± {found.error:.3f}, {errors:.1f} standard errors" in text
    told = comparison.to_dict()
    assert told["differences"]["rae"]["distortion"]["error"] == comparison.differences["rae"]["distortion"].error


# -- the page --------------------------------------------------------------------------------------


def test_the_page_stands_by_itself(comparison, tmp_path):
    comparison.save(tmp_path / "comparison.html")
    html = (tmp_path / "comparison.html").read_text("utf-8")
    assert_self_contained(html)
    assert_well_formed(html)
    assert titles(html) == SECTIONS
    assert "<4>" not in html and "beta &lt;4&gt;" in html


def test_pictures_are_of_the_same_rows_and_as_many_samples(comparison):
    sizes = [i.size for i in embedded(comparison.html)]
    # an original and three models of 8 rows each, and 5 x 5 samples of each model
    assert sizes == [(8 * 146 - 2, 4 * 146 - 2), *[(5 * 242 - 2, 5 * 242 - 2)] * 3]


def test_what_differs_is_told_and_what_does_not_is_not(comparison):
    table = re.search(r"What differs.*?</section>", comparison.html, re.DOTALL)[0]
    rows = re.findall(r"<th scope=row>(.*?)</th>", table)
    assert {"recipe", "latent_dim", "latent", "objective", "epochs", "parameters"} <= set(rows)
    assert not {"lr", "batch_size", "seed", "likelihood"} & set(rows)


def test_tables_are_drawn_by_column_in_the_models_colours():
    html = compare({"a": fitted(TABLE), "b": fitted(TABLE, latent_dim=3)}, TABLE[:30], draws=2).html
    assert titles(html) == SECTIONS and embedded(html) == []
    assert html.count("<p class=legend>") == 3 and "in standard deviations from each column's mean" in unescape(html)


def test_curves_are_in_the_units_of_the_data(monkeypatch):
    drawn, draw = [], figures.curves_beside
    keep = lambda histories, *given, **more: drawn.append(histories) or draw(histories, *given, **more)  # noqa: E731
    monkeypatch.setattr(figures, "curves_beside", keep)
    a, b = fitted(TABLE), fitted(TABLE, latent_dim=3)
    compare({"a": a, "b": b}, TABLE[:30], draws=2)
    shift = a.spec_.log_jacobian
    assert shift != 0
    record, own = drawn[0]["a"][0], a.history_[0]
    assert record["val_elbo"] == own["val_elbo"] + shift and record["val_distortion"] == own["val_distortion"] - shift
    assert record["val_rate"] == own["val_rate"]


# -- what is refused -------------------------------------------------------------------------------

WORDS = "expected two to 10 models to compare, got"
REFUSED = {
    "other rows": ((BINARY, {}), (BINARY[:, :4], {}), "rows of a: 8 x 8; of b: 4 x 8"),
    "another kind": ((BINARY, {}), (GREY, {}), "kind of a: binary; of b: unit"),
    "a density and a code length": (
        (GREY, {"likelihood": Bernoulli(binarise="dynamic")}),
        (GREY, {"recipe": "auto"}),
        "measure of a: a code length; of b: a density",
    ),
    "another binarisation": (
        (GREY, {}),
        (GREY, {"likelihood": Bernoulli(binarise="dynamic")}),
        "binarisation of a: none; of b: dynamic",
    ),
    "losses that are no likelihoods": (
        ((255 * GREY).astype(np.uint8), {"likelihood": Gaussian(1.0)}),
        ((255 * GREY).astype(np.uint8), {"likelihood": Gaussian("per_dimension")}),
        "likelihood of a: Gaussian",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_compare_is_refused(case):
    (x, own), (other, others), message = REFUSED[case]
    models = {"a": fitted(x, **own), "b": fitted(other, **others)}
    with pytest.raises(ValueError, match=f"a and b do not compare: {re.escape(message)}"):
        compare(models, x[:9])


def test_a_model_with_context_is_not_compared_with_one_without():
    given = vk.VAE(recipe="conditional", epochs=1).fit(BINARY, context=np.arange(160) % 3)
    with pytest.raises(ValueError, match="context of a: none; of b: read"):
        refuse_unlike({"a": fitted(BINARY), "b": given})


@pytest.mark.parametrize("count", [0, 1, 11])
def test_too_few_and_too_many_are_refused(count, models):
    with pytest.raises(ValueError, match=f"{WORDS} {count}"):
        refuse_unlike({str(i): models["vae"] for i in range(count)})


def test_labels_of_other_rows_are_refused(models):
    with pytest.raises(ValueError, match="a label for each of the 9 rows, got 3"):
        compare(models, BINARY[:9], [1, 2, 3])


def test_likelihoods_of_one_measure_compare():
    rng = np.random.default_rng(1)
    counts = rng.poisson(3.0, (80, 5))
    refuse_unlike({"nb": fitted(counts), "poisson": fitted(counts, likelihood=vk.likelihoods.Poisson())})
    refuse_unlike({"fixed": fitted(TABLE, likelihood=Gaussian(1.0)), "learned": fitted(TABLE)})
    dynamic = Bernoulli(binarise="dynamic")
    refuse_unlike({"plain": fitted(BINARY), "dynamic": fitted(BINARY, likelihood=dynamic)})
