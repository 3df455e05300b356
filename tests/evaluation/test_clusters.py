"""Clusters against scikit-learn, scipy and exact values."""

import numpy as np
import pytest

from vaekit.evaluation import clusters


def blobs(n, classes, apart, seed=0):
    """Codes around a centre for each class, and their classes."""
    rng = np.random.default_rng(seed)
    centres = apart * np.random.default_rng(99).normal(size=(classes, 3))
    y = rng.integers(classes, size=n)
    return centres[y] + rng.normal(size=(n, 3)), y


def test_kmeans_finds_the_best_clustering_that_sklearn_finds():
    cluster = pytest.importorskip("sklearn.cluster")
    z, _ = blobs(400, 6, 3.0)
    theirs = cluster.KMeans(6, n_init=30, random_state=0, tol=0).fit(z)
    got = clusters.kmeans(z, 6, starts=30)
    assert got.inertia == pytest.approx(theirs.inertia_, rel=1e-6)
    assert clusters.adjusted_rand_index(got.labels, theirs.labels_) == pytest.approx(1.0)
    for k in range(6):
        np.testing.assert_allclose(got.centres[k], z[got.labels == k].mean(0), atol=1e-9)


def test_clusters_are_functions_of_their_seed_and_better_for_more_starts():
    z, _ = blobs(300, 8, 1.5)
    first, again = clusters.kmeans(z, 8, seed=3), clusters.kmeans(z, 8, seed=3)
    assert np.array_equal(first.labels, again.labels) and first.inertia == again.inertia
    assert clusters.kmeans(z, 8, starts=20, seed=3).inertia <= clusters.kmeans(z, 8, starts=1, seed=3).inertia


def test_equal_rows_make_fewer_clusters_than_asked_for():
    z = np.repeat([[0.0], [1.0]], 5, 0)
    got = clusters.kmeans(z, 3)
    assert got.inertia == 0 and len(np.unique(got.labels)) == 2


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (10, 10), (4, 9), (9, 4)])
def test_the_best_assignment_is_scipys(shape):
    optimize = pytest.importorskip("scipy.optimize")
    for seed in range(30):
        rng = np.random.default_rng(seed)
        worth = rng.integers(0, 6, size=shape) if seed % 2 else rng.normal(size=shape)  # with ties, and without
        rows, columns = clusters.best_assignment(worth)
        theirs = optimize.linear_sum_assignment(worth, maximize=True)
        assert worth[rows, columns].sum() == pytest.approx(worth[theirs].sum(), abs=1e-9)
        assert len(set(rows)) == len(set(columns)) == min(shape)


def test_scores_of_clusters_are_sklearns():
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y = rng.integers(5, size=200)
        c = np.where(rng.random(200) < 0.4, rng.integers(7, size=200), y)
        shared, rand = clusters.normalised_mutual_information(c, y), clusters.adjusted_rand_index(c, y)
        assert shared == pytest.approx(metrics.normalized_mutual_info_score(y, c), abs=1e-12)
        assert rand == pytest.approx(metrics.adjusted_rand_score(y, c), abs=1e-12)


def test_the_names_of_clusters_do_not_count():
    _, y = blobs(600, 5, 4.0)
    named = np.array([7, 3, 9, 0, 1])[y]
    assert clusters.cluster_accuracy(named, y).value == 1
    assert clusters.normalised_mutual_information(named, y) == pytest.approx(1)
    assert clusters.adjusted_rand_index(named, y) == pytest.approx(1)
    split = np.concatenate([np.zeros(30, int), np.ones(10, int), np.full(60, 2)])  # the smaller half of a class is lost
    assert clusters.cluster_accuracy(split, [0] * 40 + [1] * 60).value == pytest.approx(0.9)


def test_one_cluster_of_all_rows():
    y = np.repeat([0, 1, 2, 3], 25)
    one = np.zeros(100, int)
    assert clusters.cluster_accuracy(one, y).value == 0.25
    assert clusters.normalised_mutual_information(one, y) == 0 == clusters.adjusted_rand_index(one, y)


WRONG = {
    "nan": (lambda: clusters.kmeans(np.full((4, 2), np.nan), 2), "not finite: leave those rows out"),
    "clusters": (lambda: clusters.kmeans(np.ones((20, 2)), 21), "21 clusters of 20 rows"),
    "pairs": (lambda: clusters.adjusted_rand_index([0, 1], [0, 1, 1]), "of the same rows"),
    "table": (lambda: clusters.best_assignment([1.0, 2.0]), "expected a table (R, C) of finite numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_are_told(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
