"""Scores of samples against closed forms, against others' code, and on samples whose worth is known."""

import math

import numpy as np
import pytest

from vaekit.evaluation import samples


def normal(n, d, seed, shift=0.0, scale=1.0):
    return shift + scale * np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.slow
def test_neighbourhoods_of_two_samples_of_a_wide_normal_are_the_published_ones():
    """Naeem et al. 2020, arXiv:2002.09797, table of their code: N(0, I), 1000 dimensions, 10,000 rows, k = 5."""
    got = samples.neighbourhoods(normal(10_000, 1000, 0), normal(10_000, 1000, 1), k=5)
    assert vars(got) == pytest.approx(dict(precision=0.48, recall=0.47, density=1.06, coverage=0.97), abs=0.03)


def test_neighbourhoods_are_the_definition_written_out():
    made, real, k = normal(30, 2, 0, 0.5), normal(40, 2, 1), 3

    def radius(x, i):
        return sorted(np.linalg.norm(x - x[i], axis=1))[k]

    inside = np.array([[np.linalg.norm(m - r) <= radius(real, j) for j, r in enumerate(real)] for m in made])
    back = np.array([[np.linalg.norm(m - r) <= radius(made, i) for i, m in enumerate(made)] for r in real])
    want = dict(precision=inside.any(1).mean(), recall=back.any(1).mean(), density=inside.sum() / (3 * 30))
    assert vars(samples.neighbourhoods(made, real, k)) == pytest.approx({**want, "coverage": inside.any(0).mean()})


def test_samples_of_one_mode_are_precise_and_recall_little():
    real = np.concatenate([normal(500, 2, 0, -5), normal(500, 2, 1, 5)])
    got = samples.neighbourhoods(normal(1000, 2, 2, 5), real)
    assert got.precision > 0.9 and got.recall < 0.6 and got.coverage < 0.6


def test_chunks_change_nothing(monkeypatch):
    made, real = normal(300, 3, 0, 0.3), normal(200, 3, 1)
    whole = samples.neighbourhoods(made, real), samples.nearest(made, real)
    monkeypatch.setattr(samples, "PAIRS", 1000)
    parts = samples.neighbourhoods(made, real), samples.nearest(made, real)
    assert parts[0] == whole[0] and np.array_equal(parts[1][0], whole[1][0])


def test_the_frechet_distance_of_normals_is_the_closed_one():
    """Of the very moments of the two sets, diagonal: sum (m - m')^2 + (s - s')^2."""
    signs = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)]) * math.sqrt(3 / 4)  # covariance I, with n - 1
    a, b = signs * [1.0, 3.0], signs * [2.0, 0.5] + [1.0, -2.0]
    assert samples.frechet_distance(a, b) == pytest.approx(1 + 4 + 1 + 2.5**2, abs=1e-5)
    assert samples.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_the_frechet_distance_is_scipys_root():
    linalg = pytest.importorskip("scipy.linalg")
    a, b = normal(500, 4, 0) @ normal(4, 4, 1), normal(400, 4, 2, 0.3) @ normal(4, 4, 3)
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    want = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert samples.frechet_distance(a, b) == pytest.approx(want, rel=1e-4)


def test_the_kernel_distance_is_unbiased_and_the_sum_written_out():
    a, b = normal(6, 3, 0), normal(6, 3, 1)

    def k(u, v):
        return (u @ v / 3 + 1) ** 3

    within = [sum(k(t[i], t[j]) for i in range(6) for j in range(6) if i != j) / 30 for t in (a, b)]
    want = sum(within) - 2 * np.mean([[k(u, v) for v in b] for u in a])
    assert samples.kernel_distance(a, b, blocks=1)[0] == pytest.approx(want, rel=1e-4)
    found = np.array(
        [samples.kernel_distance(normal(100, 3, 2 * i), normal(100, 3, 2 * i + 1), 1)[0] for i in range(200)]
    )
    assert abs(found.mean()) < 4 * found.std() / math.sqrt(200)
    distance, error = samples.kernel_distance(normal(2000, 3, 0, 0.5), normal(2000, 3, 1))
    assert distance > 10 * error


@pytest.mark.slow
def test_a_classifier_cannot_tell_two_samples_of_one_distribution():
    assert abs(samples.classifier_test(normal(1000, 4, 0), normal(1500, 4, 1)) - 0.5) < 4 * 0.5 / math.sqrt(2000)


@pytest.mark.slow
def test_a_classifier_tells_a_shift_and_a_dependence():
    """The optimum for two normals a shift of 1 apart is Phi(1/2) = .691; a lost correlation only trees see."""
    shifted = samples.classifier_test(normal(2000, 2, 0, [1.0, 0.0]), normal(2000, 2, 1))
    assert 0.66 < shifted < 0.691 + 4 * 0.5 / math.sqrt(4000)
    real = normal(2000, 1, 2)
    real = np.concatenate([real, real + 0.3 * normal(2000, 1, 3)], 1)
    made = np.stack([real[:, 0], np.roll(real[:, 1], 1)], 1)
    assert samples.classifier_test(made, real) > 0.75


def test_rows_that_were_copied_are_found():
    training, test = normal(2000, 5, 0), normal(1000, 5, 1)
    assert samples.copied(normal(1000, 5, 2), training, test) < 0.03
    half = np.concatenate([training[:500] + 1e-4, normal(500, 5, 3)])
    assert samples.copied(half, training, test) == pytest.approx(0.505, abs=0.02)
    index, distance = samples.nearest(training[5:8], training)
    assert index.tolist() == [5, 6, 7] and distance.max() < 1e-2


def test_a_judgement_has_the_floor_beside_it():
    test, training = normal(400, 3, 0), normal(600, 3, 1)
    got = samples.judge(normal(300, 3, 2, 1.0), test, training)
    assert got.samples["frechet_distance"].value > 5 * got.floor["frechet_distance"].value
    assert got.samples["classifier_test"].value > 0.65 > got.floor["classifier_test"].value
    assert set(got.samples) == set(got.floor) and got.rows == (300, 400)
    lines = str(got).splitlines()
    assert lines[0].endswith("against 400 test rows, by the rows as they are") and "floor" in lines[1]
    assert len(lines) == 2 + len(got.samples)
    assert got.to_dict()["floor"]["copied"]["value"] == 0.01


def test_rows_are_compared_by_features_and_copies_as_they_are():
    test, training = normal(300, 3, 0), normal(400, 3, 1)
    first = samples.Features("the first number", lambda x: np.asarray(x)[:, :1])
    got = samples.judge(training[:200], test, training, features=first)
    assert got.by == "the first number" and "on the first number" in got.samples["frechet_distance"].meaning
    assert got.samples["frechet_distance"].value == samples.frechet_distance(training[:200, :1], test[:, :1])
    assert got.samples["copied"].value == 1


WRONG = {
    "widths": (
        lambda: samples.frechet_distance(normal(5, 2, 0), normal(5, 3, 0)),
        "made rows have 2 numbers, real ones 3",
    ),
    "one row": (lambda: samples.nearest(normal(1, 2, 0), normal(5, 2, 0)), "expected at least two rows as made"),
    "nan": (
        lambda: samples.kernel_distance(np.full((5, 2), np.nan), normal(5, 2, 0)),
        "made has values that are not finite",
    ),
    "k": (lambda: samples.neighbourhoods(normal(5, 2, 0), normal(5, 2, 0), k=5), "fewer than there are rows"),
    "folds": (lambda: samples.classifier_test(normal(3, 2, 0), normal(9, 2, 0)), "3 rows for 5 folds"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rows_are_told(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
