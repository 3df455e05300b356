"""Scores of odd rows: the area under the ROC curve, chimeras, and a detector that is given no label."""

import math

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.evaluation import detection as det


def two(m=40, n=60, seed=0, shift=1.0, digits=1):
    """Scores with many ties, and which rows are odd."""
    rng = np.random.default_rng(seed)
    odd = np.repeat([1, 0], [m, n])
    return np.round(rng.normal(size=m + n) + shift * odd, digits), odd


# -- the area under the ROC curve ------------------------------------------------------------------


def test_the_area_is_the_share_of_pairs_in_order():
    scores, odd = two()
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[odd == 1] for b in scores[odd == 0]]
    assert any(p == 0.5 for p in pairs)
    assert det.roc_auc(scores, odd).value == pytest.approx(np.mean(pairs), abs=1e-12)


def test_the_area_is_sklearns():
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(10):
        scores, odd = two(seed=seed, digits=seed % 3)
        assert det.roc_auc(scores, odd).value == pytest.approx(metrics.roc_auc_score(odd, scores), abs=1e-12)


def test_the_error_is_that_of_the_definition_written_out():
    scores, odd = two()
    a, b = scores[odd == 1], scores[odd == 0]
    psi = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    want = math.sqrt(psi.mean(1).var(ddof=1) / len(a) + psi.mean(0).var(ddof=1) / len(b))
    assert det.roc_auc(scores, odd).error == pytest.approx(want, abs=1e-12)


def test_the_error_is_the_spread_over_samples():
    found = [det.roc_auc(*two(seed=seed)) for seed in range(400)]
    assert np.mean([f.error for f in found]) == pytest.approx(np.std([f.value for f in found]), rel=0.1)


def test_scores_apart_and_scores_alike():
    assert det.roc_auc([3, 4, 1, 2], [1, 1, 0, 0]).value == 1
    assert det.roc_auc([1, 2, 3, 4], [1, 1, 0, 0]).value == 0
    assert det.roc_auc([1, 1, 1, 1], [True, True, False, False]).value == 0.5


# -- parts of a detector ---------------------------------------------------------------------------


def test_the_mahalanobis_distance_is_the_formula():
    rng = np.random.default_rng(0)
    normal, z = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3)) + 1, rng.normal(size=(20, 3))
    apart = z - normal.mean(0)
    want = np.einsum("nd,de,ne->n", apart, np.linalg.inv(np.cov(normal.T)), apart)
    np.testing.assert_allclose(det.mahalanobis(z, normal), want, rtol=1e-9)


def test_a_code_that_never_varies_does_not_decide():
    rng = np.random.default_rng(0)
    normal, z = rng.normal(size=(300, 2)), rng.normal(size=(20, 2))
    flat = [np.concatenate([t, np.full((len(t), 1), 5.0)], 1) for t in (z, normal)]
    np.testing.assert_allclose(det.mahalanobis(*flat), det.mahalanobis(z, normal), rtol=1e-9)


@pytest.mark.parametrize("shape", [(9,), (12, 10), (3, 12, 10), (12, 10, 3)])
def test_a_chimera_has_cells_of_two_rows(shape):
    rows = np.arange(8.0).reshape(-1, *[1] * len(shape)) * np.ones((8, *shape))
    made = det.chimeras(rows, seed=1)
    assert made.shape == rows.shape and np.array_equal(made, det.chimeras(rows, seed=1))
    for i, row in enumerate(made):
        values, counts = np.unique(row, return_counts=True)
        assert i in values and len(values) == 2 and counts.min() >= 0.05 * row.size


def test_an_image_is_cut_along_a_line_and_all_its_channels_alike():
    rows = np.arange(20.0).reshape(-1, 1, 1, 1) * np.ones((20, 12, 10, 3))
    own = det.chimeras(rows) == rows
    for image in own:
        assert (image == image[..., :1]).all()
        one = image[..., 0]
        assert (one == one[:1]).all() != (one == one[:, :1]).all()
        line = one[0] if (one == one[:1]).all() else one[:, 0]
        assert np.abs(np.diff(line.astype(int))).sum() == 1


def test_smoothing_keeps_the_sum_and_the_place():
    image = torch.zeros(1, 1, 21, 21)
    image[0, 0, 10, 8] = 1.0
    got = det.smoothed(image, 1.5)
    assert float(got.sum()) == pytest.approx(1, abs=1e-4) and divmod(int(got.argmax()), 21) == (10, 8)
    row = got[0, 0, 10] / got[0, 0, 10, 8]
    assert float(row[9]) == pytest.approx(math.exp(-0.5 / 1.5**2), abs=1e-5)


def test_the_score_that_tells_chimeras_is_first():
    rng = np.random.default_rng(0)
    normal = {"blind": rng.normal(size=50), "seeing": rng.normal(size=50)}
    odd = {"blind": rng.normal(size=50), "seeing": 3 + rng.normal(size=50)}
    assert list(det.told_apart(normal, odd)) == ["seeing", "blind"]


# -- a detector ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ones():
    """A model of ones, ones that it has not seen, and other digits."""
    (x, y), (x_test, y_test) = vk.datasets.mnist(labels=True)
    one = x[y == 1]
    vae = vk.VAE(4, recipe="auto", likelihood=vk.likelihoods.Gaussian("optimal"), epochs=6, threads=1, compile=False)
    return vae.fit(one[:1500]), one[1500:1900], x_test[y_test == 1][:200], x_test[y_test != 1][:200]


def test_a_detector_tells_other_digits_without_having_seen_any(ones):
    vae, normal, same, other = ones
    detector = vae.detector(normal)
    odd = np.repeat([0, 1], [len(same), len(other)])
    found = det.roc_auc(detector(np.concatenate([same, other])), odd)
    assert found.value > 0.97
    assert detector.chosen == next(iter(detector.on_chimeras))
    assert detector.on_chimeras[detector.chosen].value == max(f.value for f in detector.on_chimeras.values())


def test_every_score_is_what_it_says(ones):
    vae, normal, same, _ = ones
    detector = vae.detector(normal, draws=10, seed=3)
    got = detector.scores(same)
    assert np.array_equal(got["bound"], -vae.score_samples(same, draws=10, seed=3))
    np.testing.assert_allclose(got["elbo"], got["distortion"] + got["rate"], rtol=1e-5)
    entropy = -vae.score_samples(normal, draws=10, seed=3).mean()
    np.testing.assert_allclose(got["typicality"], np.abs(got["bound"] - entropy), rtol=1e-9)
    np.testing.assert_allclose(
        got["mahalanobis"], det.mahalanobis(vae.transform(same), vae.transform(normal)), rtol=1e-3
    )
    scale = vae.spec_.scale[0]
    size = np.square(same.astype(float) / scale).sum((1, 2))
    np.testing.assert_allclose(got["relative_error"], got["error"] / size, rtol=1e-4)
    with torch.no_grad():
        mean = vae.module_.decode(torch.from_numpy(vae.transform(same))).mean.numpy()[:, 0]
    apart = (same.astype(float) - vae.spec_.offset[0]) / scale - mean
    np.testing.assert_allclose(got["error"], np.square(apart).sum((1, 2)), rtol=1e-4)


def test_tables_and_point_masses_have_the_scores_that_they_can():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1)) @ rng.normal(size=(1, 6)) + 0.1 * rng.normal(size=(300, 6))
    table = vk.VAE(1, epochs=1, threads=1, compile=False).fit(x)
    assert "smooth_error" not in table.detector(x).scores(x)
    point = vk.VAE(1, recipe="wae", likelihood=vk.likelihoods.Gaussian(), epochs=1, threads=1, compile=False).fit(x)
    assert set(point.detector(x).scores(x)) == {"distortion", "error", "relative_error", "mahalanobis"}


WRONG = {
    "one kind": (lambda: det.roc_auc([1, 2, 3], [0, 0, 0]), "0 odd rows and 3 normal ones"),
    "labels": (lambda: det.roc_auc([1, 2, 3], [0, 1, 2]), "for each, whether it is odd"),
    "nan": (lambda: det.roc_auc([1, math.nan, 3, 4], [0, 0, 1, 1]), "scores are NaN"),
    "codes": (lambda: det.mahalanobis(np.zeros((3, 2)), np.zeros((3, 4))), "got (3, 2), (3, 4)"),
    "a row": (lambda: det.chimeras(np.zeros((1, 4))), "chimeras are made of pairs"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_are_told(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
