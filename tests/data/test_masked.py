"""Masked cells are missing cells, wherever arrays come in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import vaekit as vk
from vaekit.data.arrays import as_tensor, unmasked
from vaekit.data.frames import columns_of
from vaekit.evaluation.detection import chimeras
from vaekit.evaluation.samples import nearest
from vaekit.report.subject import rows_of

GAP = (np.arange(120) % 7 == 0).reshape(60, 2)


def rows(dtype: str = "float64") -> NDArray:
    return (10 * np.random.default_rng(0).normal(size=(60, 2))).astype(dtype)


def gappy(dtype: str = "float64") -> NDArray:
    return np.where(GAP, np.nan, rows(dtype))


def with_constants() -> NDArray:
    x = rows().astype(object)
    for place in np.argwhere(GAP):
        x[tuple(place)] = np.ma.masked
    return x


FORMS: dict[str, Callable[[], Any]] = {
    "masked": lambda: np.ma.array(rows(), mask=GAP),
    "masked, of NaN": lambda: np.ma.array(gappy(), mask=np.zeros_like(GAP)),
    "masked, with a fill value": lambda: np.ma.array(rows(), mask=GAP, fill_value=0.0),
    "a list of masked rows": lambda: list(np.ma.array(rows(), mask=GAP)),
    "a list with masked constants": lambda: [
        [np.ma.masked if g else v for v, g in zip(*pair)] for pair in zip(rows().tolist(), GAP)
    ],
    "objects with None": lambda: np.where(GAP, None, rows()),
    "objects with masked constants": lambda: with_constants(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_masked_cell_is_a_missing_cell(form: str) -> None:
    """The same model as of NaN, and the same refusal without missing=True."""
    x = FORMS[form]()
    np.testing.assert_array_equal(as_tensor(x)[0].numpy(), gappy())
    with pytest.raises(ValueError, match="missing=True"):
        vk.VAE(recipe="auto", epochs=1).fit(x)
    fits = [vk.VAE(recipe="auto", epochs=2, missing=True, threads=1, compile=False).fit(own) for own in (x, gappy())]
    assert fits[0].history_[-1]["elbo"] == fits[1].history_[-1]["elbo"]
    np.testing.assert_array_equal(fits[0].transform(x), fits[1].transform(gappy()))
    filled = fits[0].impute(x)
    assert np.isfinite(filled).all() and not np.ma.isMaskedArray(filled)
    np.testing.assert_array_equal(filled[~GAP], rows()[~GAP])


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", "bool"])
def test_masked_integers(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, (60, 2)).astype(dtype)
    got = as_tensor(np.ma.array(values, mask=GAP))[0].numpy()
    np.testing.assert_array_equal(got, np.where(GAP, np.nan, values))
    whole = as_tensor(np.ma.array(values, mask=False))[0]
    assert str(whole.dtype) == "torch." + {"uint16": "int64"}.get(dtype, dtype)
    with pytest.raises(ValueError, match="do not fit float64"):
        as_tensor(np.ma.array(np.array([[2**60 + 1, 3]]), mask=[[False, True]]))


def test_a_cell_of_objects() -> None:
    whole = np.array([[10**18 + 1], [10**18 + 2]], dtype=object)
    assert as_tensor(whole)[0].flatten().tolist() == [10**18 + 1, 10**18 + 2]
    with pytest.raises(ValueError, match="expected numbers"):
        as_tensor(np.array([["a", 1]], dtype=object))


def test_nullable_frames_read_as_arrays() -> None:
    pd = pytest.importorskip("pandas")
    for dtype in ("Int64", "Float64", "boolean"):
        values = np.random.default_rng(0).integers(0, 2, (60, 2))
        frame = pd.DataFrame(values, columns=["a", "b"]).astype(dtype)
        np.testing.assert_array_equal(as_tensor(frame)[0].numpy(), values)
        frame = frame.mask(GAP)
        np.testing.assert_array_equal(as_tensor(frame)[0].numpy(), np.where(GAP, np.nan, values))
    sparse = pd.DataFrame(values.astype(float)).astype(pd.SparseDtype("float64", 0.0))
    np.testing.assert_array_equal(as_tensor(sparse)[0].numpy(), values)


def test_structured_arrays() -> None:
    plain = np.zeros(50, dtype=[("age", "i8"), ("size", "f8"), ("name", "U3")])
    plain["age"], plain["size"], plain["name"] = np.arange(50), np.linspace(0, 1, 50), "a"
    masked = np.ma.array(plain, mask=False)
    masked["age"][3] = masked["size"][4] = masked["name"][5] = np.ma.masked
    columns = columns_of(masked)
    assert [int((~c.seen).sum()) for c in columns.values()] == [1, 1, 1]
    assert np.isnan(columns["age"].values[3]) and columns["age"].whole
    vae = vk.VAE(epochs=1).fit(masked[["age", "size"]])
    assert vae.spec_.schema.missing
    filled = vae.impute(masked[["age", "size"]])
    assert not np.ma.isMaskedArray(filled) and filled["age"][2] == 2 and 0 <= filled["age"][3] < 50


def test_rows_of_a_data_set_and_a_stream() -> None:
    class Masked(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 60

        def __getitem__(self, i: int) -> NDArray:
            return np.ma.array(rows(), mask=GAP)[i]

    for source in (Masked(), vk.data.Stream(iter(np.ma.array(rows(), mask=GAP)))):
        vae = vk.VAE(recipe="auto", epochs=1, missing=True).fit(source)
        assert vae.spec_.missing
        with pytest.raises(ValueError, match="NaN"):
            vk.VAE(recipe="auto", epochs=1).fit(vk.data.Stream(iter(np.ma.array(rows(), mask=GAP))))


def test_what_is_given_with_rows() -> None:
    x, cells = rows(), np.ma.array(rows()[:, :1], mask=GAP[:, :1])
    with pytest.raises(ValueError, match="a NaN, first at .*masked ones"):
        vk.VAE(recipe="auto", epochs=1).fit(x, context=cells)
    labels = np.ma.array(np.arange(60) % 2, mask=np.arange(60) % 3 == 0)
    scaled = (x - x.min()) / (x.max() - x.min())
    vae = vk.VAE(recipe=vk.recipes.m2(classes=2), epochs=1, validation=0).fit(scaled, labels)
    assert sum(vae.spec_.labels.shares) == pytest.approx(1) and len(vae.spec_.labels) == 2
    with pytest.raises(ValueError, match="expected finite codes, got nan in row 1, dimension 0"):
        vae.inverse_transform(np.ma.array(np.zeros((2, 4)), mask=np.eye(2, 4, -1)))


def test_rows_that_are_judged() -> None:
    """No value under a mask reaches a score, a picture or a row of a report."""
    x, seen = np.ma.array(np.where(GAP, 1e9, rows()), mask=GAP), rows()[~GAP]
    for made in (rows_of(x), chimeras(x)):
        assert np.isnan(made).any() and np.nanmax(np.abs(made)) <= np.abs(seen).max()
    with pytest.raises(ValueError, match="not finite"):
        nearest(x, rows())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_codes_that_are_not_finite_are_refused(bad: float) -> None:
    vae = vk.VAE(recipe="auto", epochs=1).fit(rows())
    codes = np.zeros((4, 2))
    codes[2, 1] = bad
    with pytest.raises(ValueError, match=f"expected finite codes, got {bad} in row 2, dimension 1"):
        vae.inverse_transform(codes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.uint16, torch.uint32])
def test_tensors_of_types_that_numpy_or_pytorch_lack(dtype: torch.dtype) -> None:
    x = torch.arange(120).reshape(60, 2).to(dtype)
    vae = vk.VAE(recipe="auto", epochs=1).fit(x)
    assert np.isfinite(vae.sample(5).astype(float)).all()
    with pytest.raises(ValueError, match="Complex data"):
        as_tensor(torch.zeros(3, 2, dtype=torch.complex64))


def test_unmasked_leaves_arrays_as_they_are() -> None:
    x = rows()
    assert unmasked(x) is x and np.shares_memory(unmasked(np.ma.array(x)), x)
