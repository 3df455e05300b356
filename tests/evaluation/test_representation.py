"""Probes and maps against scikit-learn, scipy and exact values."""

import math

import numpy as np
import pytest

from vaekit.evaluation import representation as rep
from vaekit.evaluation import samples


def blobs(n=600, classes=4, d=3, seed=0, apart=4.0):
    """Codes around a centre for each class, and their classes."""
    rng = np.random.default_rng(seed)
    centres = apart * np.random.default_rng(99).normal(size=(classes, d))
    y = rng.integers(classes, size=n)
    return centres[y] + rng.normal(size=(n, d)), y


# -- probes ----------------------------------------------------------------------------------------


def test_the_linear_probe_is_sklearns_logistic_regression():
    linear = pytest.importorskip("sklearn.linear_model")
    (z, y), (z_test, y_test) = blobs(apart=1.0), blobs(500, seed=1, apart=1.0)
    mean, scale = z.mean(0), z.std(0)
    theirs = linear.LogisticRegression(C=1 / (2 * 1e-3 * len(z)), tol=1e-10, max_iter=1000).fit((z - mean) / scale, y)
    right = theirs.score((z_test - mean) / scale, y_test)
    got = rep.linear_probe(z, y, z_test, y_test)
    assert got.value == pytest.approx(right, abs=1e-12)
    assert got.error == pytest.approx(math.sqrt(right * (1 - right) / 499), abs=1e-12)


def test_classes_may_be_words():
    (z, y), (z_test, y_test) = blobs(), blobs(500, seed=1)
    words = np.array(["an", "b", "cee", "d"])
    for probe in (rep.linear_probe, rep.neighbour_probe):
        assert probe(z, words[y], z_test, words[y_test]) == probe(z, y, z_test, y_test)


@pytest.mark.parametrize("k", [1, 7])
def test_the_neighbour_probe_is_sklearns(k, monkeypatch):
    neighbours = pytest.importorskip("sklearn.neighbors")
    (z, y), (z_test, y_test) = blobs(apart=0.7), blobs(500, seed=1, apart=0.7)
    theirs = neighbours.KNeighborsClassifier(k, algorithm="brute").fit(z, y).score(z_test, y_test)
    assert rep.neighbour_probe(z, y, z_test, y_test, k).value == pytest.approx(theirs, abs=1e-12)
    monkeypatch.setattr(samples, "PAIRS", 10_000)
    assert rep.neighbour_probe(z, y, z_test, y_test, k).value == pytest.approx(theirs, abs=1e-12)


def test_the_ridge_probe_is_sklearns():
    linear, metrics = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    z, z_test = rng.normal(size=(300, 4)), rng.normal(size=(200, 4))
    weight = rng.normal(size=(4, 2))
    v, v_test = (t @ weight + rng.normal(size=(len(t), 2)) for t in (z, z_test))
    mean, scale = z.mean(0), z.std(0)
    theirs = linear.Ridge(alpha=0.05 * 300).fit((z - mean) / scale, v).predict((z_test - mean) / scale)
    got = rep.ridge_probe(z, v, z_test, v_test, penalty=0.05)
    assert got.value == pytest.approx(metrics.r2_score(v_test, theirs), abs=1e-12)
    single = rep.ridge_probe(z, v[:, 0], z_test, v_test[:, 0], penalty=0.05)
    assert single.value == pytest.approx(metrics.r2_score(v_test[:, 0], theirs[:, 0]), abs=1e-12)


def test_the_error_of_r_squared_is_its_spread_over_test_sets():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 2))
    v = z[:, 0] + rng.normal(size=2000)
    found = []
    for seed in range(300):
        rng = np.random.default_rng([1, seed])
        z_test = rng.normal(size=(200, 2))
        found.append(rep.ridge_probe(z, v, z_test, z_test[:, 0] + rng.normal(size=200)))
    assert np.mean([f.value for f in found]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([f.error for f in found]) == pytest.approx(np.std([f.value for f in found]), rel=0.15)


def test_codes_that_know_nothing_are_at_chance():
    (z, y), (z_test, y_test) = blobs(2000), blobs(2000, seed=1)
    z, z_test = np.random.default_rng(2).normal(size=(2, 2000, 5))
    for probe in (rep.linear_probe, rep.neighbour_probe):
        got = probe(z, y, z_test, y_test)
        assert abs(got.value - 0.25) < 4 * got.error
    ridge = rep.ridge_probe(z, y, z_test, y_test)
    assert -0.02 < ridge.value < 4 * ridge.error


# -- maps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", ["none", "gaps", "words", "few"])
def test_rows_without_distances_have_no_figures_of_a_map(rows):
    rng = np.random.default_rng(0)
    z, y, x = rng.normal(size=(40, 2)), np.arange(40) % 2, rng.normal(size=(40, 3))
    held = x[:10] if rows == "few" else x
    given = {"none": None, "gaps": np.where(x > 1, np.nan, x), "words": x.astype(str), "few": held}[rows]
    codes, labels = z[: len(held)], y[: len(held)]
    assert "trustworthiness" in rep.representation(z, y, z, y, test=x)
    assert "trustworthiness" not in rep.representation(z, y, codes, labels, test=given)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_trustworthiness_is_sklearns(k, monkeypatch):
    manifold = pytest.importorskip("sklearn.manifold")
    x, _ = blobs(150, d=6)
    points = x[:, :2] + 0.5 * np.random.default_rng(0).normal(size=(150, 2))
    theirs = manifold.trustworthiness(x, points, n_neighbors=k)
    assert rep.trustworthiness(x, points, k) == pytest.approx(theirs, abs=1e-12)
    assert rep.continuity(x, points, k) == pytest.approx(manifold.trustworthiness(points, x, n_neighbors=k), abs=1e-12)
    monkeypatch.setattr(samples, "PAIRS", 1000)
    assert rep.trustworthiness(x, points, k) == pytest.approx(theirs, abs=1e-12)


def test_a_map_that_only_moves_the_points_keeps_all_neighbours():
    x, _ = blobs(100, d=2)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert rep.trustworthiness(x, 3 * x @ turn + 1) == 1 == rep.continuity(x, 3 * x @ turn + 1)


# -- all of it -------------------------------------------------------------------------------------


def test_every_figure_of_good_codes_is_high():
    got = rep.representation(*blobs(apart=8.0), *blobs(400, seed=1, apart=8.0))
    assert set(got) == {
        "linear_probe",
        "neighbour_probe",
        "cluster_accuracy",
        "cluster_information",
        "cluster_rand",
    }
    assert min(f.value for f in got.values()) > 0.95


Z, Y = blobs(20)
WRONG = {
    "rows": (lambda: rep.linear_probe(Z, Y[:5], Z, Y), "expected a label for each of 20 rows of codes"),
    "nan": (lambda: rep.trustworthiness(np.full((4, 2), np.nan), Z[:4]), "x has values that are not finite"),
    "widths": (lambda: rep.neighbour_probe(Z, Y, Z[:, :2], Y), "codes have 3 numbers, test codes 2"),
    "one class": (lambda: rep.linear_probe(Z, 0 * Y, Z, Y), "every row is labelled 0"),
    "real labels": (lambda: rep.linear_probe(Z, Y + 0.5, Z, Y), "probe real values with ridge_probe"),
    "many neighbours": (lambda: rep.neighbour_probe(Z, Y, Z, Y, k=21), "k=21 neighbours among 20 rows"),
    "constant": (lambda: rep.ridge_probe(Z, Y, Z, 0 * Y), "do not vary among the test rows"),
    "map": (lambda: rep.trustworthiness(Z, Z[:5]), "give a point to each row"),
    "near": (lambda: rep.trustworthiness(Z, Z, k=10), "fewer than half"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_are_told(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
