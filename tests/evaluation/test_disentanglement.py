"""Scores of disentanglement on codes whose worth is known."""

import math

import numpy as np
import pytest

from vaekit.evaluation import disentanglement as dis
from vaekit.evaluation.forest import Forest

SIZES = (3, 4, 6, 8, 10)
GRID = np.stack(np.unravel_index(np.arange(math.prod(SIZES)), SIZES), 1)
"""Every combination of the factors' levels once, so that they are independent exactly."""
ORACLE = GRID / GRID.std(0)
SCORES = ("mig", "sap", "dci_disentanglement", "factor_vae")


def turned(seed=0):
    """Every code depends on several factors."""
    return ORACLE @ np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0]


def noise(seed=0):
    return np.random.default_rng(seed).normal(size=GRID.shape)


@pytest.mark.slow
def test_the_factors_themselves_score_one():
    got = dis.disentanglement(ORACLE, GRID)
    assert got.pop("explicitness") > 0.8  # a linear classifier cannot single out a level in the middle
    assert got == pytest.approx(dict.fromkeys(got, 1.0), abs=1e-12)


def test_neither_order_nor_sign_nor_scale_of_codes_counts():
    again = -ORACLE[:, [3, 1, 4, 0, 2]] * [1.0, 2.0, 7.0, 1.5, 3.0] + 5
    want, got = dis.disentanglement(ORACLE, GRID), dis.disentanglement(again, GRID)
    assert got == pytest.approx(want, abs=1e-9)


@pytest.mark.slow
def test_codes_that_know_nothing_score_next_to_nothing():
    got = dis.disentanglement(noise(), GRID)
    for name in ("mig", "sap", "dci_disentanglement", "dci_completeness", "explicitness"):
        assert got[name] < 0.1, name
    assert (
        got["dci_informativeness"] < 0.4 and got["factor_vae"] < 0.35 and got["beta_vae"] < 0.35
    )  # chance: .23, .2, .2


def test_codes_that_each_mix_all_factors_alike_are_told():
    grid = np.stack(np.unravel_index(np.arange(6**4), (6, 6, 6, 6)), 1)
    signs = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    got = dis.disentanglement(grid @ signs, grid)
    assert all(got[name] < 0.1 for name in ("mig", "sap", "dci_disentanglement")), got


def test_two_codes_of_one_factor_leave_no_gap_and_share_its_importance():
    got = dis.disentanglement(np.concatenate([ORACLE, ORACLE], 1), GRID)
    assert got["mig"] <= 1e-12 and got["sap"] <= 1e-12
    assert got["dci_disentanglement"] == pytest.approx(1.0)
    assert got["dci_completeness"] == pytest.approx(1 - math.log(2) / math.log(10), abs=0.02)


def test_mutual_information_of_levels_is_their_entropy_and_of_others_nothing():
    got = dis.mutual_information(ORACLE, GRID)
    np.testing.assert_allclose(got, np.diag(np.log(SIZES)), atol=1e-12)


@pytest.mark.slow
def test_mutual_information_is_sklearns():
    metrics = pytest.importorskip("sklearn.metrics")
    z = ORACLE[:, :2] + 0.5 * noise()[:, :2]
    got = dis.mutual_information(z, GRID, bins=7)
    for j, column in enumerate(z.T):
        cells = np.minimum(((column - column.min()) / np.ptp(column) * 7).astype(int), 6)
        for k in range(5):
            assert got[j, k] == pytest.approx(metrics.mutual_info_score(cells, GRID[:, k]), abs=1e-12)


def test_the_gap_is_that_of_the_mutual_information_in_closed_form():
    """One code is a factor of 8 levels, another its higher half: the gap is 1 - log 2 / log 8."""
    factor = GRID[:, 3:4]
    codes = np.concatenate([factor, factor >= 4], 1).astype(float)
    assert dis.mig(codes, factor) == pytest.approx(1 - math.log(2) / math.log(8), abs=1e-12)


def test_modularity_of_a_code_of_two_factors_is_the_closed_one():
    """One code that tells two factors of equal levels apart: all but the best, 1 of F - 1, is lost."""
    grid = np.stack(np.unravel_index(np.arange(4 * 4 * 4), (4, 4, 4)), 1)
    code = (grid[:, :1] * 4 + grid[:, 1:2]).astype(float)
    assert dis.modularity(code, grid) == pytest.approx(1 - 1 / 2, abs=1e-12)


def test_robustness_is_the_deviation_written_out():
    """z = v_0 + v_1 / 2, v_0 in 0..3, v_1 in 0..1: fixing v_0 leaves 1/4 of the 1.75 that z may be off its mean."""
    grid = np.stack(np.unravel_index(np.arange(8), (4, 2)), 1)
    z = grid[:, :1] + 0.5 * grid[:, 1:]
    assert dis.irs(z, grid, quantile=1.0) == pytest.approx(1 - 0.25 / 1.75, abs=1e-12)


def test_codes_that_agree_between_seeds_are_chosen_without_knowing_the_factors():
    same = [ORACLE, -ORACLE[:, ::-1], ORACLE**3]
    assert dis.udr(same) == pytest.approx(np.ones(3), abs=1e-9)
    assert (dis.udr([turned(1), turned(2), turned(3)]) < 0.5).all()
    mixed = dis.udr([ORACLE, ORACLE, turned(1)])
    assert mixed.argmin() == 2
    dead = np.concatenate([ORACLE, noise()[:, :1]], 1)
    rates = [np.array([1.0] * 5 + [0.0]), np.ones(5)]
    assert dis.udr([dead, ORACLE], rates) == pytest.approx(np.ones(2), abs=1e-9)


def test_a_dead_code_does_not_win_votes():
    codes = np.concatenate([ORACLE, 1e-3 * noise()[:, :1]], 1)
    assert dis.factor_vae_score(codes, GRID) == 1.0


@pytest.mark.slow
def test_scores_are_functions_of_their_seed():
    z, v = ORACLE[::7] + 0.8 * noise()[::7], GRID[::7]
    assert dis.disentanglement(z, v, seed=3) == dis.disentanglement(z, v, seed=3)


# -- what they are made of -------------------------------------------------------------------------


def test_ranks_and_areas_are_scipys_and_sklearns():
    stats = pytest.importorskip("scipy.stats")
    metrics = pytest.importorskip("sklearn.metrics")
    values = np.round(noise()[:, 0], 1)
    np.testing.assert_allclose(dis.ranks(values), stats.rankdata(values))
    positive = GRID[:, 0] == 1
    assert dis.area_under_roc(values, positive) == pytest.approx(metrics.roc_auc_score(positive, values), abs=1e-12)


def test_the_linear_classifier_is_sklearns():
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = ORACLE + noise(), GRID[:, 1]
    scaled = (x - x.mean(0)) / x.std(0)
    n = len(x)
    theirs = linear.LogisticRegression(C=1 / (2 * 1e-3 * n), tol=1e-10, max_iter=1000).fit(scaled, y)
    np.testing.assert_allclose(dis.linear_probabilities(x, y, x), theirs.predict_proba(scaled), atol=1e-4)


def test_trees_find_what_decides_and_predict_as_well_as_others():
    ensemble = pytest.importorskip("sklearn.ensemble")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 6))
    y = (x[:, 2] * x[:, 4] > 0).astype(int) + (x[:, 1] > 1)
    ours = Forest(seed=0).fit(x[:2000], y[:2000])
    theirs = ensemble.RandomForestClassifier(10, max_features=None, random_state=0).fit(x[:2000], y[:2000])
    accuracy = [(m.predict(x[2000:]) == y[2000:]).mean() for m in (ours, theirs)]
    assert accuracy[0] > accuracy[1] - 0.02
    assert set(np.argsort(ours.importance)[-3:]) == {1, 2, 4} and ours.importance.sum() == pytest.approx(1)


WRONG = {
    "rows": (lambda: dis.mig(ORACLE[:5], GRID), "of the same N rows, got (5, 5) and (5760, 5)"),
    "flat": (lambda: dis.sap(ORACLE[:, 0], GRID), "expected codes (N, D) and factors (N, F)"),
    "nan": (lambda: dis.dci(np.full_like(ORACLE, np.nan), GRID), "not finite: leave those rows out"),
    "real factors": (lambda: dis.mig(ORACLE, GRID + 0.5), "factors are whole numbers"),
    "nothing varies": (lambda: dis.beta_vae_score(ORACLE, np.ones_like(GRID)), "every factor has one level only"),
    "one model": (lambda: dis.udr([ORACLE]), "train more seeds"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_table_is_told(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
