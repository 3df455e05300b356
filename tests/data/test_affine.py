"""Values keep their digits on the way into a model and back, whatever their offset, scale and type."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import vaekit as vk
from vaekit.data.affine import FARTHEST, UNSEEN, mean_and_deviation
from vaekit.data.lazy_rows import as_data
from vaekit.data.spec import DataSpec

OFFSETS = (0.0, 1.0, -3e4, 1e9, -1e12, 1.7e18, 1e300)
SCALES = (1e-300, 1e-15, 1e-6, 1.0, 1e6, 1e15)


def spec_of(x: object, support: str = "real") -> tuple[DataSpec, torch.Tensor]:
    rows, dtype = as_data(x)
    return DataSpec.infer(rows, dtype).for_likelihood(support, rows), rows


def rows_of(offset: float, scale: float, dtype: str = "float64", seed: int = 0) -> NDArray:
    return (offset + scale * np.random.default_rng(seed).normal(size=(500, 2))).astype(dtype)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("offset", OFFSETS)
def test_reals_come_back(offset: float, scale: float) -> None:
    """To 1e-6 standard deviations, or the precision of float64 where that is coarser; distinct values stay so."""
    x = rows_of(offset, scale)
    spec, rows = spec_of(x)
    z = spec.encode(rows)
    back = spec.decode(z)
    assert back.dtype == x.dtype and z.dtype == torch.float32
    np.testing.assert_allclose(back, x, rtol=4e-16, atol=1e-6 * scale)
    if np.spacing(abs(offset)) < 1e-3 * scale:
        assert abs(float(z.mean())) < 1e-3 and abs(float(z.std()) - 1) < 1e-2
        order = np.argsort(x[:, 0])
        apart = np.diff(x[order, 0]) > 1e-5 * scale
        assert (np.diff(back[order, 0])[apart] > 0).all()
    elif (x == x[0]).all():
        assert spec.constant == (0, 1)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("span", [2, 100, 10**6])
@pytest.mark.parametrize("place", ["low", "middle", "high"])
def test_integers_come_back_exactly(dtype: str, span: int, place: str) -> None:
    """Every integer, at both ends of its type: 2^63 - 1 as well, of which float64 holds one in 1,024."""
    limits = np.iinfo(dtype)
    low, high = int(limits.min), min(int(limits.max), 2**63 - 1)
    span = min(span, high - low)
    first = {"low": low, "middle": min((low + high) // 2, high - span), "high": high - span}[place]
    x = np.array([first + int(i) for i in np.random.default_rng(0).integers(0, span, 600, endpoint=True)], dtype)
    x = x.reshape(-1, 2)
    spec, rows = spec_of(x)
    np.testing.assert_array_equal(spec.decode(spec.encode(rows)), x)


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_timestamps_in_nanoseconds(unit: int) -> None:
    x = 1_700_000_000_000_000_000 + unit * np.arange(1000, dtype=np.int64).reshape(-1, 1)
    spec, rows = spec_of(x)
    back = spec.decode(spec.encode(rows))
    assert np.abs(back - x).max() <= max(1, 1e-4 * unit) and len(np.unique(back)) == 1000


def test_float32_rows_are_standardised_in_float32() -> None:
    """As always: bit for bit what float32 arithmetic gives."""
    x = torch.from_numpy(rows_of(3.0, 2.0, "float32"))
    spec, rows = spec_of(x)
    offset, scale = (torch.tensor(t, dtype=torch.float32) for t in (spec.offset, spec.scale))
    assert torch.equal(spec.encode(rows), (x - offset) / scale)


def test_other_rows_than_those_of_fit_keep_their_digits_too() -> None:
    x = rows_of(1e9, 1.0)
    spec, _ = spec_of(x)
    near = x.astype(np.float32)  # multiples of 64: as good as float32 is, and no worse
    np.testing.assert_allclose(spec.encode(torch.from_numpy(near)).numpy(), near.astype(float) - 1e9, atol=0.1)


@pytest.mark.parametrize("kind", ["npy", "parquet", "stream", "dataset"])
def test_stored_rows(kind: str, tmp_path: Path) -> None:
    x = np.column_stack([rows_of(1e9, 1.0)[:, 0], rows_of(0.0, 1e-15)[:, 0]])
    if kind == "npy":
        np.save(tmp_path / "x.npy", x)
        given = tmp_path / "x.npy"
    elif kind == "parquet":
        pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
        pq.write_table(pa.table({"a": x[:, 0], "b": x[:, 1]}), tmp_path / "x.parquet")
        given = tmp_path / "x.parquet"
    elif kind == "stream":
        given = vk.data.Stream(iter(x))
    else:
        given = torch.utils.data.TensorDataset(torch.from_numpy(x))
    spec, rows = spec_of(given)
    assert not spec.constant
    got = spec.decode(spec.encode(rows.tensor(np.arange(500))))
    assert (np.abs(got.reshape(500, -1) - x) < 1e-6 * x.std(0)).all()


def test_integers_beyond_int64_are_refused() -> None:
    with pytest.raises(ValueError, match="up to 2\\^63 - 1"):
        as_data(np.array([[2**64 - 1]], dtype=np.uint64))


def test_values_beyond_the_type_are_clipped() -> None:
    """A draw may lie outside what the type of the data holds."""
    for dtype in ("int8", "int64", "uint64", "float16"):
        spec, _ = spec_of(np.arange(100).reshape(-1, 1).astype(dtype))
        limits = np.finfo(dtype) if dtype == "float16" else np.iinfo(dtype)
        top = min(float(limits.max), 2.0**63)
        got = spec.decode(torch.tensor([[-1e30], [1e30]])).astype(float).ravel()
        np.testing.assert_allclose(got, [max(float(limits.min), -(2.0**63)), top], rtol=1e-9)


def test_series_and_images() -> None:
    x = 1e9 + np.random.default_rng(0).normal(size=(60, 12, 3)) * [1.0, 5.0, 0.1]
    rows, dtype = as_data(x)
    for series in (True, False):
        spec = DataSpec.infer(rows, dtype).for_likelihood("real", rows, series=series)
        assert np.abs(spec.decode(spec.encode(rows)) - x).max() < 1e-5


def test_context_keeps_its_digits() -> None:
    random = np.random.default_rng(0)
    x, context = random.normal(size=(80, 3)), 1_700_000_000_000_000_000 + random.integers(0, 10**6, (80, 1))
    vae = vk.VAE(recipe="auto", epochs=1).fit(x, context=context)
    seen = vae.fitted_.rows(x, context=context).context
    np.testing.assert_allclose(seen.std(unbiased=False), 1.0, rtol=0.1)
    assert len(seen.unique()) > 75


@pytest.mark.parametrize(("offset", "scale"), [(1e9, 1.0), (0.0, 1e-15), (-1e12, 1e-2), (1e300, 1e290)])
def test_a_model_of_such_rows(offset: float, scale: float) -> None:
    """The same model as of rows N(0, 1): one training, in other units."""
    plain = np.random.default_rng(0).normal(size=(120, 3))
    wanted = vk.VAE(recipe="auto", epochs=3, compile=False, threads=1).fit(plain)
    got = vk.VAE(recipe="auto", epochs=3, compile=False, threads=1).fit(offset + scale * plain)
    np.testing.assert_allclose(got.history_[-1]["elbo"], wanted.history_[-1]["elbo"], rtol=1e-3)
    again = (got.reconstruct(offset + scale * plain) - offset) / scale
    np.testing.assert_allclose(again, wanted.reconstruct(plain), atol=0.02)
    moved = got.evaluate(offset + scale * plain)["elbo"] + 3 * np.log(scale)
    np.testing.assert_allclose(moved, wanted.evaluate(plain)["elbo"], atol=0.05)
    assert np.isfinite(got.sample(20)).all()


def test_moments_of_parts_are_those_of_all() -> None:
    x = torch.from_numpy(np.column_stack([rows_of(1e9, 1e-3), rows_of(-5.0, 1e200), rows_of(7.0, 0.0)]))
    x[::7, 0] = torch.nan
    x[:130, 3] = torch.nan
    for size in (1, 7, 130, 500):
        mean, deviation = mean_and_deviation(x.split(size))
        wanted = np.ma.masked_invalid(x.numpy())
        np.testing.assert_allclose(mean, wanted.mean(0), rtol=1e-12)
        np.testing.assert_allclose(deviation[:2], (wanted[:, :2] - wanted.mean(0)[:2]).std(0), rtol=1e-5)
        np.testing.assert_allclose(deviation[2:4] / 1e200, (wanted[:, 2:4] / 1e200).std(0), rtol=1e-9)
        assert (deviation[4:] == 0).all()


def test_differences_that_overflow_are_refused() -> None:
    x = np.array([[1.7e308], [-1.7e308], [1e308]])
    with pytest.raises(ValueError, match="too large to standardise"):
        spec_of(x)


def test_a_far_value_has_a_finite_score() -> None:
    x = rows_of(0.0, 1.0)
    vae = vk.VAE(recipe="auto", epochs=2).fit(x)
    far = np.array([[1e300, 0.0], [-1e30, 0.0], [0.0, 0.0]])
    scores = vae.anomaly_score(far)
    assert np.isfinite(scores).all() and scores[:2].min() > 1e3 > scores[2]
    assert float(vae.fitted_.rows(far).batch(slice(0, 2)).x.abs().max()) == FARTHEST


# -- columns of one value ------------------------------------------------------------------------------


@pytest.mark.parametrize("constant", [0.0, 5.0, 0.1, 1e9, -1e-15])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_another_value_in_a_constant_column(constant: float, dtype: str) -> None:
    """It costs nats, is finite, and is reported; the constant itself is neither."""
    random = np.random.default_rng(0)
    x = np.column_stack([random.normal(size=200), np.full(200, constant), random.normal(size=200)]).astype(dtype)
    vae = vk.VAE(recipe="auto", epochs=2).fit(x)
    assert vae.spec_.constant == (1,)
    plain = vae.anomaly_score(x)
    other = x.copy()
    other[:20, 1] += max(1e-3, abs(constant))
    with pytest.warns(UserWarning, match=r"column 1 had one value in fit.*20 of the rows"):
        scores = vae.anomaly_score(other)
    assert np.isfinite(scores).all()
    assert (scores[:20] - plain[:20]).min() > 4
    np.testing.assert_allclose(scores[20:].mean(), plain[20:].mean(), atol=1)
    encoded = vae.spec_.encode(torch.from_numpy(other))
    assert (encoded[:20, 1] == UNSEEN).all() and (encoded[20:, 1] == 0).all()


def test_a_constant_column_in_use() -> None:
    x = np.column_stack([np.random.default_rng(0).normal(size=100), np.full(100, 3.0)])
    np.testing.assert_array_equal(vk.VAE(recipe="auto", epochs=1).fit(x).sample(5)[:, 1], 3.0)
    vae = vk.VAE(recipe="auto", epochs=1).fit(x)
    vae = vk.VAE.of(replace(vae.fitted_, feature_names=["a", "b"]))
    other = x.copy()
    other[0, 1] = 4.0
    with pytest.warns(UserWarning, match=r"column 'b' had one value in fit \(3\)"):
        vae.reconstruct(other)
    gap = x.copy()
    gap[:, 0] = np.nan
    filled = vae.impute(gap)  # cells that are given stay; the constant is no reason to warn
    np.testing.assert_array_equal(filled[:, 1], 3.0)


def test_the_spec_survives_its_description() -> None:
    spec, _ = spec_of(np.column_stack([rows_of(1e9, 1.0), np.full(500, 7.0)]))
    assert DataSpec.from_dict(spec.to_dict()) == spec
