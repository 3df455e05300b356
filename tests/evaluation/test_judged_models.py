"""A fitted model of a table is judged by its own rows: from Python, on the command line, and on its page."""

import json

import numpy as np
import pandas as pd
import pytest

import vaekit as vk


def frame(seed, n):
    g = np.random.default_rng(seed)
    a = g.normal(size=n)
    word = np.array(["low", "mid", "high"], dtype=object)[np.digitize(a + 0.5 * g.normal(size=n), [-0.6, 0.8])]
    own = pd.DataFrame({"a": a, "b": a + g.normal(size=n), "word": word, "flag": g.random(n) < 0.3})
    return own.mask(g.random((n, 4)) < 0.05)


@pytest.fixture(scope="module")
def vae():
    return vk.VAE(2, epochs=5, threads=1).fit(frame(0, 200))


def test_rows_of_a_model_are_judged_beside_the_floor(vae):
    found = vae.judge_table(frame(0, 200), frame(1, 100), n=150)
    assert found.rows == {"synthetic": 150, "real": 200, "test": 100}
    assert found.names == ("a", "b", "word", "flag") and found["copied"] == 0
    assert 0.5 < found["column_shapes"] <= 1 and set(found.synthetic) == set(found.floor)


def test_a_model_of_an_array_is_told_what_to_use():
    vae = vk.VAE(2, epochs=1, threads=1).fit(np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(ValueError, match="this one was fitted to an array: use judge_samples"):
        vae.judge_table(np.zeros((5, 3)))


@pytest.mark.slow
def test_the_page_of_a_table_shows_its_synthetic_rows(vae):
    page = vae.report(frame(1, 100), train=frame(0, 200)).html
    assert "Synthetic rows" in page and "Likeness of columns" in page and "Told apart" in page
    assert "Synthetic rows" not in vae.report(frame(1, 100)).html


@pytest.mark.slow
def test_the_command_line_judges_a_table(tmp_path, capsys):
    from vaekit.cli import main

    frame(0, 200).to_csv(tmp_path / "rows.csv", index=False)
    run = str(tmp_path / "run")
    assert main(["fit", str(tmp_path / "rows.csv"), "--epochs", "2", "-o", run, "--no-report"]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--quick", "--samples", "100", "--target", "word", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["samples"]
    assert told["target"] == "word" and told["rows"]["synthetic"] == 100 and "learned" in told["synthetic"]
