"""Every verdict both ways: with figures of a sick model it is there, with those of a healthy one it is not."""

import math

import pytest

from vaekit.evaluation import diagnose

HEALTHY = {
    "rate": 20.0,
    "distortion": 80.0,
    "read": 100.0,
    "units": 10,
    "active_units": 8.0,
    "information": 6.0,
    "information_at_most": 19.0,
    "gap_at_least": 1.0,
    "holes": 0.02,
    "strays": 0.05,
    "slope": 1.1,
    "rising": 0.001,
    "epochs": 50,
    "overfit_gap": 1.0,
    "lost": 0.02,
    "log_variance_clamped": 0.0,
    "decoder_scale_clamped": 0.0,
    "unused_codes": 0.1,
    "cells": 784,
    "behind": -20.0,
    "behind_error": 1.0,
    "skipped": 0.01,
    "skipped_lately": 0.0,
    "fallen": 0.1,
    "stalled": 0.04,
    "spread": 0.9,
}
SICK = {
    "posterior collapse": {"rate": 0.05, "information_at_most": 0.04, "active_units": 0.0, "read": 0.0},
    "posterior collapse, at a rate that is paid for nothing": {"information_at_most": 0.02},
    "partial collapse": {"active_units": 2.0},
    "partial collapse, of a codebook": {"unused_codes": 0.8},
    "decoder ignores z": {"read": 0.02},
    "holes": {"holes": 0.4},
    "holes, of codes that stray": {"strays": 0.4},
    "holes, by what the rate pays": {"gap_at_least": 8.0},
    "over-regularised": {"slope": 6.0},
    "under-trained": {"rising": 0.05},
    "under-trained, after an epoch": {"epochs": 1},
    "under-trained, after epochs that show no gain to lose": {"epochs": 2, "lost": 0.3, "overfit_gap": 12.0},
    "over-fitted": {"lost": 0.3, "overfit_gap": 12.0},
    "log-variance at its clamp": {"log_variance_clamped": 0.2},
    "untrained": {"epochs": 0},
    "untrained, as every step was left out": {"skipped": 1.0, "skipped_lately": 1.0},
    "diverged, to a loss of any size": {"distortion": 1e30},
    "diverged, as training says": {"ended_diverged": 1.0},
    "diverged, far below its start": {"fallen": 3.0},
    "diverged, leaving out its last steps": {"skipped": 0.4, "skipped_lately": 0.99},
    "worse than no latent": {"behind": 5.0},
    "stalled": {"stalled": 0.8},
    "codes off the prior's scale, narrow": {"spread": 0.13},
    "codes off the prior's scale, wide": {"spread": 30.0},
    "recovered": {"rolled_back": 300.0},
    "warm-up unfinished": {"warm_up_left": 0.4},
    "decoder scale at its floor": {"decoder_scale_clamped": 1.0},
    "diverged": {"distortion": math.nan},
}


def test_a_healthy_model_is_called_healthy():
    assert [v.name for v in diagnose(HEALTHY)] == ["healthy"]


@pytest.mark.parametrize("case", SICK)
def test_each_ailment_has_its_verdict_alone_with_what_to_try(case):
    verdicts = diagnose({**HEALTHY, **SICK[case]})
    assert [v.name for v in verdicts] == [case.partition(",")[0]]
    assert 1 <= len(verdicts[0].remedies) <= 2 and str(verdicts[0]).startswith(f"{verdicts[0].name}: ")


@pytest.mark.parametrize("left_out", HEALTHY)
def test_a_figure_that_is_not_there_makes_no_verdict(left_out):
    figures = {n: v for n, v in HEALTHY.items() if n != left_out}
    assert [v.name for v in diagnose(figures)] == ["healthy"]


def test_a_point_mass_is_told_by_what_its_decoder_reads():
    """It has neither a rate nor an information."""
    assert [v.name for v in diagnose({"distortion": 5.0, "read": 0.0})] == ["decoder ignores z"]
    assert [v.name for v in diagnose({"distortion": 5.0, "read": 3.0})] == ["healthy"]


def test_several_ailments_are_told_the_gravest_first():
    found = diagnose(
        {**HEALTHY, **SICK["log-variance at its clamp"], **SICK["partial collapse"], **SICK["under-trained"]}
    )
    assert [v.name for v in found] == ["partial collapse", "under-trained", "log-variance at its clamp"]


def test_a_training_that_is_short_or_ends_no_better_is_not_called_stalled():
    for figures in ({"epochs": 6}, {"behind": 0.05}, {"behind": 5.0}, {"behind": -2.0, "behind_error": 1.0}):
        assert "stalled" not in [v.name for v in diagnose({**HEALTHY, "stalled": 0.9, **figures})]


def test_over_fitted_and_under_trained_are_never_said_together():
    """Where held-out rows still gain, training is to go on, whatever the gap is."""
    for rising in (0.0, 0.005, 0.02, 0.5):
        for epochs in (0, 1, 2, 3, 50):
            figures = {**HEALTHY, **SICK["over-fitted"], "rising": rising, "epochs": epochs}
            assert len({"over-fitted", "under-trained"} & {v.name for v in diagnose(figures)}) <= 1


@pytest.mark.parametrize("size", [1e7, 1e30, 3e38])
@pytest.mark.parametrize("name", ["distortion", "rate"])
def test_no_loss_of_such_a_size_is_healthy(name, size):
    for sign in (1, -1):
        assert diagnose({"epochs": 50, "cells": 4, name: sign * size})[0].name == "diverged"


def test_a_model_that_was_not_trained_is_not_healthy_whatever_its_figures_are():
    assert diagnose({**HEALTHY, "epochs": 0})[0].name == "untrained"
    assert diagnose({**HEALTHY, "skipped": 1.0, "skipped_lately": 1.0})[0].name == "untrained"
