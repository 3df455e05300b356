"""The frozen classifier of digits: the file is the one that is named, small, and good enough to measure by."""

from importlib import resources

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.evaluation import DIGITS, digit_features, samples


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist(labels=True)


def test_the_weights_are_those_that_the_name_says():
    content = resources.files("vaekit.evaluation").joinpath("digit_features.safetensors").read_bytes()
    assert len(content) < 200_000
    assert DIGITS.name == f"vaekit's digit features, sha256 {digit_features.SHA256[:8]}" and "FID" not in DIGITS.name


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr(digit_features, "SHA256", "0" * 64)
    digit_features.digit_classifier.cache_clear()
    with pytest.raises(ValueError, match=r"has SHA-256 [0-9a-f]{12}\.\.\., expected 000000000000"):
        digit_features.digit_classifier()
    digit_features.digit_classifier.cache_clear()


def test_the_classifier_knows_the_digits_of_the_test_set(digits):
    _, (x, y) = digits
    with torch.no_grad():
        told = digit_features.digit_classifier()(torch.from_numpy(x[:2000]).float() / 255).argmax(1)
    assert float((told.numpy() == y[:2000]).mean()) > 0.98


def test_features_are_the_same_for_bytes_and_for_numbers_in_the_unit_interval(digits):
    x = digits[1][0][:20]
    got = DIGITS.of(x)
    assert got.shape == (20, digit_features.FEATURES)
    np.testing.assert_allclose(DIGITS.of(x / 255), got, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(DIGITS.of(x.reshape(20, 784)), got)


def test_the_distance_grows_as_digits_are_spoilt_and_its_floor_is_low(digits):
    (x, _), (x_test, _) = digits
    x, of_test = x[:1000], DIGITS.of(x_test[:1000])
    noise = np.random.default_rng(0).normal(size=x.shape)
    spoilt = (np.clip(x / 255 + s * noise, 0, 1) for s in (0.0, 0.3, 0.6))
    floor, some, much = (samples.frechet_distance(DIGITS.of(t), of_test) for t in spoilt)
    assert 2 * floor < some and 2 * some < much
    assert floor < 0.1 * np.trace(np.cov(of_test.T))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 32, 32)), "expected images of 28 x 28 grey levels"),
        (np.full((3, 28, 28), 200.0), "floats in [0, 1], got float64 in [200, 200]"),
        (np.full((3, 784), np.nan), "expected uint8, or floats in [0, 1]"),
    ],
)
def test_other_images_are_refused(images, message):
    with pytest.raises(ValueError) as error:
        DIGITS.of(images)
    assert message in str(error.value)
