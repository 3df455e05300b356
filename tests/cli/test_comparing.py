"""`vaekit compare` and what `vaekit report` knows of the training rows, the factors and other data."""

import json

import numpy as np
import pytest
from commands import assert_refused, call
from pages import titles

import vaekit as vk
from vaekit.cli import inputs, runs

QUICK = ("--epochs", "1", "--no-report", "--quiet")
NEAREST = "Samples and their nearest training rows"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """120 rows of 8 x 8 zeros and ones, others like them, and runs on them."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name, count in (("x", 120), ("test", 40), ("other", 30)):
        np.save(folder / f"{name}.npy", (rng.random((count, 8, 8)) < 0.3).astype(np.uint8))
    fit(folder, "vae")
    fit(folder, "beta", "--recipe", "beta-vae")
    fit(folder, "held", test=False)
    fit(folder, "seed", "--seed", "1", test=False)
    return folder


def fit(folder, name, *words, test=True):
    known = ("--test", folder / "test.npy") if test else ()
    code, _, err = call("fit", folder / "x.npy", *known, *words, *QUICK, "-o", folder / name)
    assert code == 0, err


def test_runs_on_the_same_rows_are_compared(data):
    code, out, err = call("compare", data / "vae", data / "beta", "--draws", "3", "--json")
    assert code == 0, err
    record = json.loads(out, parse_constant=pytest.fail)
    assert record["on"] == "test.npy" and record["rows"] == 40 and record["output"] == str(data / "comparison.html")
    assert record["runs"] == {"vae": str(data / "vae"), "beta": str(data / "beta")}
    a, b = (vk.load(data / n).score_samples(np.load(data / "test.npy"), draws=3) for n in ("vae", "beta"))
    assert record["differences"]["beta"]["log_likelihood"]["value"] == pytest.approx(float(np.mean(b - a)))
    assert "What differs" in titles((data / "comparison.html").read_text("utf-8"))


def test_rows_may_be_named_for_all(data, tmp_path):
    words = ("--on", data / "other.npy", "--draws", "2", "-o", tmp_path / "page.html")
    code, out, err = call("compare", data / "vae", data / "held", data / "seed", *words)
    assert code == 0, err
    assert out.splitlines()[0].startswith("30 held-out rows, k = 2 draws per row; differences from vae")
    assert out.splitlines()[-1] == f"comparison: {tmp_path / 'page.html'}"


def test_runs_of_one_name_are_told_by_their_paths(data, tmp_path):
    fit(data, "more/vae")
    code, out, err = call("compare", data / "vae", data / "more" / "vae", "--json", "-o", tmp_path / "page.html")
    assert code == 0, err
    assert list(json.loads(out)["runs"]) == [str(data / "vae"), str(data / "more" / "vae")]


WRONG = {
    "other rows": (
        "compare {run}/vae {run}/held -o {d}/never/page.html",
        "are judged on other rows (test.npy; held-out rows of x.npy), so their figures do not compare: name the rows",
    ),
    "rows held out by another seed": ("compare {run}/held {run}/seed -o {d}/never/page.html", "--on DATA"),
    "one run": ("compare {run}/vae -o {d}/never/page.html", "expected two to 10 models to compare, got 1"),
    "a run twice": ("compare {run}/vae {run}/vae", "vae stands twice; name every run once"),
    "no run": ("compare {run}/vae {run}/nowhere", "holds no fitted model"),
    "no page": ("compare {run}/vae {run}/beta -o page.png", "expected a name that ends in .html"),
    "three other data sets": (
        "report {run}/vae --other {run}/x.npy --other {run}/test.npy --other {run}/other.npy -o {d}/never/page.html",
        "at most 2 sets of other data",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_compare_is_one_line(case, data, tmp_path):
    assert_refused(*WRONG[case], "never", d=tmp_path, run=data)


def test_a_sweep_is_refused_by_name(data):
    words = ("--over", "lr=1e-3,1e-2", "--epochs", "1", "--quiet", "-o", data / "sweep")
    assert call("sweep", data / "x.npy", *words)[0] == 0
    code, _, err = call("compare", data / "sweep", data / "vae")
    assert code == 2 and "is a sweep, with a page of its own, report.html: name runs in it" in err


def test_the_report_knows_the_training_rows_and_other_data(data, tmp_path):
    words = ("--other", data / "other.npy", "-o", tmp_path / "page.html")
    assert call("report", data / "vae", *words)[0] == 0
    html = (tmp_path / "page.html").read_text("utf-8")
    assert {NEAREST, "Typicality"} <= set(titles(html))
    assert "of other lie below" in html and "one of 108 training rows" in html
    assert call("report", data / "vae", data / "test.npy", "-o", tmp_path / "named.html")[0] == 0
    assert NEAREST not in titles((tmp_path / "named.html").read_text("utf-8")), "of rows that are named, none are known"


def test_training_rows_are_those_that_were_not_held_out(data):
    plan = runs.RunConfig.read(data / "held")
    given = runs.Inputs(plan)
    both = np.concatenate([given.learned_from.x, given.judged.x])
    assert len(given.learned_from.x) == 108 and len(both) == 120
    order = lambda x: sorted(map(bytes, x))  # noqa: E731
    assert order(both) == order(np.load(data / "x.npy"))


def test_training_rows_are_not_compared_with_themselves(data, tmp_path):
    fit(data, "whole", "--validation", "0", test=False)
    assert call("report", data / "whole", "-o", tmp_path / "page.html")[0] == 0
    assert NEAREST not in titles((tmp_path / "page.html").read_text("utf-8"))


def test_shapes_bring_their_factors():
    train, test = inputs.train_and_test("shapes:30", seed=3)
    assert list(test.factors) == list(vk.datasets.SHAPES_FACTORS)
    index = vk.datasets.shapes_index(np.stack([*train.factors.values()], 1))
    np.testing.assert_array_equal(vk.datasets.shapes(index)[0], train.x)
    np.testing.assert_array_equal(train.factors["shape"], train.labels)
