"""`vaekit evaluate` with annealing, quickly, and with Ctrl-C."""

import json
import signal

import numpy as np
import pytest
from commands import call

import vaekit as vk
from vaekit.evaluation import cost, likelihood


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluating")
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(1200, 4)))
    x = folder / "x.npy"
    code, _, err = call("fit", x, "--epochs", "1", "--no-report", "--test", x, "-o", folder / "run")
    assert code == 0, err
    assert "health on 50 held-out rows: rate " in err and "under-trained" in err
    return folder / "run"


def record(*words):
    code, out, err = call(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_quick_takes_the_first_rows_and_few_draws(run):
    quick = record("evaluate", run, "--quick")
    x = np.load(run.parent / "x.npy")
    assert quick["rows"] == quick["protocol"]["rows"] == 1000 and quick["draws"] == 10
    assert quick["on"] == "the first 1,000 rows of x.npy"
    assert quick["figures"]["elbo"]["value"] == vk.load(run).evaluate(x[:1000], draws=10)["elbo"]
    assert record("evaluate", run, "--quick", "--draws", "3")["draws"] == 3
    assert record("evaluate", run, "--draws", "2")["rows"] == 1200


@pytest.mark.slow
def test_annealing_stands_beside_the_bound_of_the_same_rows(run):
    found = record("evaluate", run, "--quick", "--ais", "6", "--bracket", "5")["figures"]
    assert {"ais", "ais_gain", "bracket_below", "bracket_above", "bracket_gap"} <= found.keys()
    vae, x = vk.load(run), np.load(run.parent / "x.npy")
    bound = vae.score_samples(x[:1000], draws=10)[:6].mean()
    assert found["ais"]["value"] - bound == pytest.approx(found["ais_gain"]["value"], abs=1e-4)
    assert found["ais"]["value"] == pytest.approx(vae.annealed(x[:6], betas=100).mean())
    assert abs(found["bracket_gap"]["value"]) < 1.0
    assert "ais" not in record("evaluate", run, "--quick")["figures"]


@pytest.mark.slow
def test_codes_of_shapes_are_scored_by_the_factors(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "WORK", 1)  # the fewest draws, with which fit evaluates
    words = ("shapes:300", "--recipe", "conv", "--set", "channels=4,8", "--set", "hidden=16", "--epochs", "0")
    code, out, _ = call("fit", *words, "--no-report", "--quiet", "-o", tmp_path / "run")
    assert code == 0 and "k = 10 draws per row" in out and "10 draws a row, not 100" in out
    code, out, _ = call("evaluate", tmp_path / "run", "--quick", "--draws", "1", "--probes")
    assert code == 0 and "by the factors shape, scale, orientation, x, y" in out
    x, factors = vk.datasets.shapes(np.random.default_rng(0).permutation(737_280)[300:1300])
    for name, score in vk.load(tmp_path / "run").disentanglement(x, factors).items():
        assert f"{name:<19}  {score:.4f}" in out


def test_the_text_has_the_health_and_the_protocol(run):
    code, out, _ = call("evaluate", run, "--quick")
    assert code == 0 and "health, on 1,000 training rows" in out and "verdict: under-trained" in out, out
    assert "protocol: data real numbers" in out and "evaluated on: the first 1,000 rows" in out


def test_ctrl_c_prints_what_is_done_and_says_so(run, monkeypatch):
    calls, weigh = [], likelihood._weigh

    def press(*words):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return weigh(*words)

    monkeypatch.setattr(likelihood, "_weigh", press)
    code, out, _ = call("evaluate", run, "--draws", "2")
    assert code == 130 and "1,024 training rows" in out and "interrupted: 1,024 of 1,200 rows were scored" in out


def test_codes_that_cannot_be_annealed_are_refused_before_anything_is_scored(run, tmp_path):
    x = tmp_path / "x.npy"
    np.save(x, np.random.default_rng(0).random((60, 4)))
    assert call("fit", x, "--recipe", "vq", "--epochs", "0", "--quiet", "--no-report", "-o", tmp_path / "vq")[0] == 0
    code, out, err = call("evaluate", tmp_path / "vq", x, "--ais")
    assert code == 2 and out == "" and "annealing moves z along gradients, and the codes of Codebook" in err
    for wrong in ("1", "few", "-3"):
        assert call("evaluate", run, "--ais", wrong)[0] == 2
