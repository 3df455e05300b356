"""Images are images whatever type their levels come in."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import vaekit as vk
from vaekit.data.lazy_rows import as_data
from vaekit.data.spec import DataSpec
from vaekit.evaluation.baselines import baselines
from vaekit.likelihoods import Bernoulli, DiscretisedLogisticMixture, Gaussian, NegativeBinomial

DTYPES = ("int16", "uint16", "int32", "uint32", "int64", "float32", "float64")


def images(rows: int = 60, top: int = 255, shape: tuple[int, ...] = (8, 9), seed: int = 0) -> NDArray[np.int64]:
    """Blobs of light on a dark ground, of levels from 0 to `top`."""
    random = np.random.default_rng(seed)
    level = random.random((rows, *shape)) * random.random((rows, *[1] * len(shape)))
    return np.round(level / level.max() * top).astype(np.int64)


def spec_of(x: object) -> DataSpec:
    return DataSpec.infer(*as_data(x))


def small(**settings: Any) -> vk.VAE:
    return vk.VAE(**{"epochs": 2, "threads": 1, "compile": False, **settings})


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_image_is_the_same_model(dtype: str) -> None:
    """Bit for bit the model of uint8; rows come back in their own type."""
    x = images()
    wanted, got = small().fit(x.astype(np.uint8)), small().fit(x.astype(dtype))
    assert got.recipe_.name == "vae" and isinstance(got.module_.likelihood, Bernoulli)
    assert [r["elbo"] for r in got.history_] == [r["elbo"] for r in wanted.history_]
    again = got.reconstruct(x.astype(dtype))
    assert again.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(again, wanted.reconstruct(x.astype(np.uint8)))
    assert got.reconstruct(again).shape == x.shape  # what comes out may go in
    np.testing.assert_array_equal(got.sample(3), wanted.sample(3))


@pytest.mark.parametrize("shape", [(8, 9), (9, 8, 3), (3, 9, 8), (8, 8, 1)])
@pytest.mark.parametrize("source", ["memory", "file"])
def test_shapes_and_sources(shape: tuple[int, ...], source: str, tmp_path) -> None:
    x = images(shape=shape).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    spec = spec_of(x if source == "memory" else tmp_path / "x.npy")
    assert spec.kind == "bytes" and spec.top == 255 and spec.dtype == "float32"


@pytest.mark.parametrize(("top", "bits"), [(255, 8), (256, 12), (4095, 12), (4096, 16), (65535, 16)])
def test_images_of_more_bits(top: int, bits: int) -> None:
    """uint16 images are scaled by the top of 8, 12 or 16 bits, the fewest that hold the greatest level."""
    x = images(top=top).astype(np.uint16)
    vae = small().fit(x)
    assert f"{bits}-bit levels 0..{2**bits - 1}" in str(vae.spec_) and vae.recipe_.name == "vae"
    encoded = vae.fitted_.rows(x).batch(slice(0, 60)).x
    torch.testing.assert_close(encoded[:, 0].double(), torch.from_numpy(x / (2**bits - 1)), rtol=1e-6, atol=0)
    again = vae.reconstruct(x)
    assert again.dtype == np.uint16 and again.max() <= 2**bits - 1
    auto = small(recipe="auto").fit(x)
    assert isinstance(auto.module_.likelihood, DiscretisedLogisticMixture)
    assert auto.module_.likelihood.levels == 2**bits
    assert np.isfinite(auto.evaluate(x)["elbo"]) and auto.sample(4).max() <= 2**bits - 1
    assert "factorised" in baselines(x, x).figures
    with pytest.raises(ValueError, match=f"expected {bits}-bit levels"):
        vae.transform(np.where(x == top, 2**16 - 1 if bits < 16 else -1, x.astype(int)))


NOT_IMAGES = {
    "flat rows": images(shape=(20,)),
    "small counts": np.random.default_rng(0).poisson(3, (60, 8, 9)),
    "counts up to 300": images(top=300),
    "negative levels": images() - 1,
    "halves": images() / 2,
    "zeros and ones": images(top=1),
    "in [0, 1]": images() / 255,
    "short sides": images(shape=(5, 3)),
    "volumes": images(shape=(8, 8, 8)),
}


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_other_rows_are_as_ever(name: str) -> None:
    kind = spec_of(NOT_IMAGES[name]).kind
    assert kind == {
        "flat rows": "count",
        "small counts": "count",
        "counts up to 300": "count",
        "zeros and ones": "binary",
        "in [0, 1]": "unit",
        "short sides": "count",
        "volumes": "count",
    }.get(name, "real")


@pytest.mark.parametrize(("dtype", "kind"), [("int32", "count"), ("uint16", "count"), ("float64", "real")])
def test_a_likelihood_overrules(dtype: str, kind: str) -> None:
    x = images().astype(dtype)
    for likelihood in (Gaussian(), *([NegativeBinomial()] if kind == "count" else [])):
        vae = small(recipe="auto", likelihood=likelihood).fit(x)
        assert vae.spec_.kind == kind and vae.spec_.top == np.inf
        more = x.copy()
        more[0, 0, 0] = 300
        assert np.isfinite(vae.anomaly_score(more)).all()  # 300 is a count, or a number, like any other
    assert "this model" in str(vae.evaluate(x, against=x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_black_and_white(dtype: str) -> None:
    """0 and 255 alone are binary, as they are as uint8."""
    x = (images() > 90) * 255
    wanted, got = (small(recipe="auto").fit(x.astype(d)) for d in ("uint8", dtype))
    assert got.spec_.kind == wanted.spec_.kind == "binary" and got.spec_.top == 255
    assert got.history_[-1]["elbo"] == wanted.history_[-1]["elbo"]
    assert small(recipe="auto", likelihood=Gaussian()).fit(x.astype(dtype)).spec_.kind != "binary"


def test_series_are_not_images() -> None:
    x = np.random.default_rng(0).integers(0, 200, (60, 12, 9)).astype(np.float32)
    assert small(recipe="recurrent").fit(x).spec_.kind == "real"


def test_a_missing_pixel() -> None:
    x = images().astype(np.float32)
    x[::2, :4] = np.nan
    vae = small(missing=True).fit(x)
    assert vae.spec_.kind == "bytes" and vae.spec_.missing
    filled = vae.impute(x)
    assert (filled == filled.round()).all() and filled.max() <= 255
    np.testing.assert_array_equal(filled[1::2], x[1::2])


def test_the_choice_is_reported(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.INFO, "vaekit"):
        small(verbose=True).fit(images().astype(np.float32))
    assert "rows 8x9 of float32 that hold whole numbers up to 255 are read as images" in caplog.text
    assert "are read as images of 8-bit levels 0..255" in capsys.readouterr().err.replace("\n", " ")
    with caplog.at_level(logging.INFO, "vaekit"):
        small().fit(NOT_IMAGES["counts up to 300"])
    assert "are read as counts; as images they are uint16" in caplog.text
    assert spec_of(images().astype(np.uint8)).choice is None


def test_saved_and_loaded(tmp_path) -> None:
    x = images(top=3000).astype(np.uint16)
    vae = small().fit(x)
    vae.save(tmp_path)
    again = vk.load(tmp_path)
    assert again.spec_ == vae.spec_
    np.testing.assert_array_equal(again.reconstruct(x), vae.reconstruct(x))


def test_a_detector_of_images_keeps_their_type() -> None:
    detector = vk.OutlierDetector(small()).fit(images(top=3000).astype(np.uint16))
    assert detector.vae_.spec_.dtype == "uint16" and detector.vae_.spec_.kind == "bytes"
