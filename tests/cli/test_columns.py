"""What is said of a table's columns on the command line, and private training: journeys, and what is refused."""

import json
import sys

import numpy as np
import pytest
from commands import assert_refused, call

import vaekit as vk
from vaekit.cli import settings
from vaekit.data import UnknownValueWarning
from vaekit.training import Privacy

pd = pytest.importorskip("pandas")
QUICK = ("--epochs", "1", "--no-report", "--quiet", "--threads", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    g = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": g.integers(18, 90, 80),
            "city": g.choice(["Oslo", "Rome", "Bern"], 80),
            "size": g.choice(["S", "M", "L"], 80),
            "income, net": g.normal(20, 3, 80).round(1),
        }
    )
    frame.to_csv(folder / "people.csv", index=False)
    np.save(folder / "flat.npy", g.normal(size=(50, 5)))
    return folder


@pytest.fixture(autouse=True)
def brief_start(monkeypatch):
    """The start of a table's model, cut short: nothing here depends on how well it fits."""
    monkeypatch.setattr("vaekit.recipes.factors.FITTING", 10)


@pytest.fixture
def known(monkeypatch):
    """An accountant that needs no package: sigma 1, a hundredth of epsilon a step."""
    monkeypatch.setattr(Privacy, "noise_multiplier", lambda self, rate, steps: 1.0)
    monkeypatch.setattr(Privacy, "spent", lambda self, multiplier, rate, steps: 0.01 * steps)


def answer(*words):
    code, out, err = call(*words, "--json")
    assert code == 0, err
    return json.loads(out)


# -- columns ---------------------------------------------------------------------------------------------


def test_values_that_fit_did_not_see_are_missing_or_refused(data, tmp_path):
    pd.read_csv(data / "people.csv").head(4).assign(city="Lima").to_csv(tmp_path / "new.csv", index=False)
    for choice, run in (("missing", tmp_path / "a"), ("error", tmp_path / "b")):
        answer("fit", data / "people.csv", "--unknown", choice, "-o", run, *QUICK)
        assert vk.load(run).unknown == choice
    with pytest.warns(UnknownValueWarning, match=r"column 'city': Lima \(4 cells\)"):
        assert answer("score", tmp_path / "a", tmp_path / "new.csv", "--explain")["rows"] == 4
    assert (pd.read_csv(tmp_path / "a" / "scores.csv")["city"] > 4).all()
    for words, message in (
        (("score", tmp_path / "b", tmp_path / "new.csv"), "column 'city' has levels that fit did not meet: Lima"),
        (("fit", data / "people.csv", "--unknown", "mising"), "missing"),
    ):
        code, _, err = call(*words)
        assert code == 2 and message in err


def test_what_is_said_of_columns_is_what_the_model_has_and_what_its_run_remembers(data, tmp_path):
    said = ("--columns", "age=count,size=S/M/L", "--columns", "income, net=positive,city=identifier")
    answer("fit", data / "people.csv", *said, "-o", tmp_path / "run", *QUICK)
    schema = vk.load(tmp_path / "run").spec_.schema
    kinds = {"age": "count", "city": "identifier", "size": "ordinal", "income, net": "positive"}
    assert {c.name: c.kind for c in schema.columns} == kinds and schema.column("size").levels == ("S", "M", "L")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["columns"] == [said[1], said[3]]
    assert answer("evaluate", tmp_path / "run", "--draws", 2)["rows"] == 8


def test_columns_are_read_as_python_has_them():
    assert settings.columns(["age=count, city=category", "stars=1/2/5"]) == {
        "age": "count",
        "city": "category",
        "stars": [1.0, 2.0, 5.0],
    }
    assert settings.columns(["a,b=real,c=d=count"]) == {"a,b": "real", "c=d": "count"} and settings.columns([]) is None


# -- private training ------------------------------------------------------------------------------------


def test_a_private_run_tells_what_it_has_spent(known, data, tmp_path):
    words = ("--epsilon", 2, "--delta", 1e-3, "--clip", 0.5, "--batch-size", 12)
    fitted = answer("fit", data / "people.csv", *words, "-o", tmp_path / "run", *QUICK)
    spent = {"epsilon": pytest.approx(0.06), "delta": 1e-3}  # 72 rows to train on, six steps
    vae = vk.load(tmp_path / "run")
    assert (vae.privacy.epsilon, vae.privacy.delta, vae.privacy.clip, vae.clip) == (2.0, 1e-3, 0.5, None)
    assert fitted["privacy"] == spent and vae.epsilon_ == spent["epsilon"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["spent"] == spent
    assert answer("evaluate", tmp_path / "run", "--draws", 2)["privacy"] == spent
    _, out, _ = call("evaluate", tmp_path / "run", "--draws", 2)
    assert "the weights are private, epsilon = 0.06 at delta = 0.001" in out


def test_a_run_that_is_not_private_says_nothing_of_it(data, tmp_path):
    assert "privacy" not in answer("fit", data / "people.csv", "-o", tmp_path / "run", *QUICK)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["spent"] is None


def test_a_run_from_before_these_settings_is_read(data, tmp_path):
    answer("fit", data / "people.csv", "-o", tmp_path / "run", *QUICK)
    plan = json.loads((tmp_path / "run" / "run.json").read_text())
    del plan["spent"]
    plan["settings"] = {n: v for n, v in plan["settings"].items() if n not in ("columns", "epsilon", "delta")}
    (tmp_path / "run" / "run.json").write_text(json.dumps(plan))
    assert answer("evaluate", tmp_path / "run", "--draws", 2)["rows"] == 8


WRONG = {
    "unknown column": (
        "fit {d}/people.csv --columns aeg=count -o {d}/never",
        'the table has no such column (did you mean "age"?)',
    ),
    "unknown kind": (
        "fit {d}/people.csv --columns age=counts -o {d}/never",
        "--columns age=counts: expected one of real, positive, count, category, ordinal",
    ),
    "a column without a kind": (
        "fit {d}/people.csv --columns age=count,city -o {d}/never",
        "expected NAME=KIND,NAME=KIND,..., got 'city' without =",
    ),
    "no kind at all": ("fit {d}/people.csv --columns age", "expected name=value, got 'age'"),
    "a level left out": ("fit {d}/people.csv --columns size=S/M -o {d}/never", "leaves out the level 'L'"),
    "columns of an array": ("fit {d}/flat.npy --columns a=count -o {d}/never", "flat.npy is no table: leave it out"),
    "no epsilon": ("fit {d}/people.csv --epsilon 0", "expected a number above 0, got '0'"),
    "delta alone": ("fit {d}/people.csv --delta 1e-5", "--delta 1e-05 is of a private training: give --epsilon, too"),
    "a great delta": ("fit {d}/people.csv --epsilon 1 --delta 0.1 -o {d}/never", "expected delta below one over"),
    "delta above 1": ("fit {d}/people.csv --epsilon 1 --delta 2", "expected a number between 0 and 1"),
    "patience": ("fit {d}/people.csv --epsilon 1 --patience 2 -o {d}/never", "held-out rows, which are not private"),
    "a private sweep": (
        "sweep {d}/people.csv --over lr=1e-3,3e-3 --epsilon 1 -o {d}/never",
        "every model of a sweep spends by itself",
    ),
    "a swept epsilon": (
        "sweep {d}/people.csv --over epsilon=1,2",
        "it is the same for all members of a sweep; pass --epsilon",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_gets_one_line_and_leaves_nothing(case, known, data):
    assert_refused(*WRONG[case], ("fitting ", "sweeping "), d=data, run=None)


def test_a_package_that_is_not_there_is_told_and_nothing_is_left(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    assert_refused(
        "fit {d}/people.csv --epsilon 1 -o {d}/never",
        'private training needs opacus: pip install "vaekit[private]"',
        "fitting ",
        d=data,
        run=None,
    )
