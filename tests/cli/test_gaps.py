"""The verbs for rows with gaps and odd rows: impute, sample --given, score."""

import json

import numpy as np
import pytest

import vaekit as vk
from vaekit.cli import main


def told(capsys, *words):
    code = main([*words, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else err


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    pd = pytest.importorskip("pandas")
    folder, rng = tmp_path_factory.mktemp("gaps"), np.random.default_rng(0)
    x = rng.normal(size=(60, 1)) * [1.0, 2.0, -1.0] + 0.1 * rng.normal(size=(60, 3))
    x[rng.random(x.shape) < 0.2] = np.nan
    town = rng.choice(["Bonn", "Kiel"], size=60)
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(town=town)
    frame.to_csv(folder / "rows.csv", index=False)
    np.save(folder / "rows.npy", x)
    quick = {"epochs": 2, "compile": False, "threads": 1}
    vk.VAE(1, **quick).fit(frame).save(folder / "table")
    vk.VAE(1, missing=True, **quick).fit(x).save(folder / "array")
    return folder


def test_a_table_is_filled(runs, capsys):
    import pandas as pd

    out = runs / "whole.csv"
    code, record = told(capsys, "impute", str(runs / "table"), str(runs / "rows.csv"), "-o", str(out))
    made, given = pd.read_csv(out), pd.read_csv(runs / "rows.csv")
    assert code == 0 and record["rows"] == 60 and not made.isna().any().any()
    assert made["a"][given["a"].notna()].equals(given["a"][given["a"].notna()])


def test_arrays_are_filled_several_times(runs, capsys):
    out = runs / "whole.npy"
    arguments = ["impute", str(runs / "array"), str(runs / "rows.npy"), "--n", "3", "--draws", "20", "-o", str(out)]
    assert told(capsys, *arguments)[0] == 0
    assert np.load(out).shape == (3, 60, 3)
    assert told(capsys, *arguments[:-1], str(runs / "whole.csv"))[0] == 0
    assert np.loadtxt(runs / "whole.csv", delimiter=",", skiprows=1).shape == (180, 4)


def test_rows_are_drawn_with_gaps(runs, capsys):
    import pandas as pd

    whole, made = runs / "whole.csv", runs / "gappy.csv"
    for words, out in (([], whole), (["--gaps"], made)):
        assert told(capsys, "sample", str(runs / "table"), "-n", "90", *words, "-o", str(out))[0] == 0
    assert (
        not pd.read_csv(whole).isna().any().any()
        and 0.1 < pd.read_csv(made)[["a", "b", "c"]].isna().mean().mean() < 0.3
    )


def test_rows_are_drawn_given_columns(runs, capsys):
    import pandas as pd

    out = runs / "samples.csv"
    given = ["--given", "town=Kiel", "--given", "a=0.5"]
    assert told(capsys, "sample", str(runs / "table"), "-n", "7", *given, "-o", str(out))[0] == 0
    made = pd.read_csv(out)
    assert (made["town"] == "Kiel").all() and (made["a"] == 0.5).all() and len(made) == 7
    code, error = told(capsys, "sample", str(runs / "table"), "--given", "a=big")
    assert code == 2 and "expected a number" in error


@pytest.mark.parametrize(("run", "rows"), [("table", "rows.csv"), ("array", "rows.npy")])
def test_odd_rows_are_scored_and_explained(runs, capsys, run, rows):
    out = runs / f"scores-{run}.csv"
    assert told(capsys, "score", str(runs / run), str(runs / rows), "--explain", "-o", str(out))[0] == 0
    scores = np.loadtxt(out, delimiter=",", skiprows=1)
    assert scores.shape == (60, 5 if run == "table" else 4)
    np.testing.assert_allclose(scores[:, 1:].sum(1), scores[:, 0], rtol=1e-6, atol=1e-6)
