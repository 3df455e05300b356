"""Tables: from a data frame to a model of all its columns, and back."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.core import Source
from vaekit.data.schema import Schema

pd = pytest.importorskip("pandas")


def mixed(rows=300, seed=0, gaps=True):
    """A table of every kind."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=rows)
    frame = pd.DataFrame(
        {
            "height": 170 + 10 * z + rng.normal(size=rows),
            "income": np.round(np.exp(8 + z + 0.3 * rng.normal(size=rows)), 2),
            "age": rng.integers(18, 90, rows),
            "visits": rng.poisson(np.exp(1 + 0.5 * z)),
            "city": rng.choice(["Oslo", "Rome", "Bern"], rows),
            "smoker": rng.random(rows) < 1 / (1 + np.exp(-2 * z)),
            "size": pd.Categorical(
                np.array(["S", "M", "L"])[np.digitize(z, [-0.5, 0.5])], ["S", "M", "L"], ordered=True
            ),
            "stars": rng.integers(1, 6, rows),
            "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, rows), unit="D"),
            "born": [str(np.datetime64("1850-01-01") + int(k)) for k in rng.integers(0, 900, rows)],
            "planet": "Earth",
        }
    )
    if gaps:
        for place, name in enumerate(["height", "income", "city", "size", "joined", "born"]):
            frame.loc[place :: 7 + place, name] = None
    return frame


KINDS = {
    "height": "real", "income": "positive", "age": "real", "visits": "count", "city": "category", "smoker": "boolean",
    "size": "ordinal", "stars": "ordinal", "joined": "datetime", "born": "datetime", "planet": "constant",
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    return vk.VAE(latent_dim=3, epochs=3).fit(mixed())


# -- the schema -----------------------------------------------------------------------------------------


def test_kinds_are_inferred():
    schema = Schema.infer(mixed())
    assert {c.name: c.kind for c in schema.columns} == KINDS
    assert (
        schema.column("income").step == 0.01 and schema.column("age").step == 1 and schema.column("height").step is None
    )
    assert schema.column("city").levels == ("Bern", "Oslo", "Rome") and schema.column("size").levels == ("S", "M", "L")
    assert schema.column("city").missing == pytest.approx(mixed()["city"].isna().mean())
    text = str(schema).splitlines()
    assert len(text) == 12 and text[0].split() == ["column", "kind", "type", "missing", "values"]


def test_a_table_comes_back_from_its_cells_as_it_was():
    frame = mixed()
    schema = Schema.infer(frame)
    cells = schema.encode(frame)
    assert cells.shape == (300, 10) and np.isnan(cells).any()
    pd.testing.assert_frame_equal(schema.decode(cells), frame)


def test_a_schema_survives_its_file():
    schema = Schema.infer(mixed())
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


# -- the journey ----------------------------------------------------------------------------------------


def test_a_data_frame_is_fitted_as_it_comes(fitted, tmp_path):
    frame = mixed()
    made = fitted.sample(500)
    assert list(made.dtypes) == list(frame.dtypes) and list(made.columns) == list(frame.columns)
    assert not made.isna().any().any()
    for name in ("height", "income", "age", "visits", "joined"):
        assert frame[name].min() <= made[name].min() and made[name].max() <= frame[name].max()
    assert (made["income"] * 100 - (made["income"] * 100).round()).abs().max() < 1e-6
    assert set(made["city"]) <= {"Oslo", "Rome", "Bern"} and set(made["planet"]) == {"Earth"}
    assert fitted.transform(frame).shape == (300, 3)
    assert list(fitted.reconstruct(frame).dtypes) == list(frame.dtypes)
    assert np.isfinite(fitted.score_samples(frame, draws=5)).all()
    fitted.save(tmp_path / "run")
    again = vk.load(tmp_path / "run")
    pd.testing.assert_frame_equal(again.sample(20), fitted.sample(20))
    assert np.array_equal(again.transform(frame), fitted.transform(frame))
    assert again.spec_.schema == fitted.spec_.schema


def test_columns_in_another_order_and_type_are_the_same_columns(fitted):
    frame = mixed()
    other = frame[frame.columns[::-1]].assign(extra=1)
    other["age"], other["city"] = other["age"].astype(float), other["city"].astype("category")
    assert np.array_equal(fitted.transform(other), fitted.transform(frame))


def test_a_missing_cell_changes_nothing_whatever_stands_there(fitted):
    """Masked values enter neither the code nor log p, which is the sum over the cells that are there."""
    rows = fitted._seen(mixed())
    batch = rows.batch(slice(0, 64))
    model = fitted.module_
    noise = Source(0)
    first = model(batch, noise)
    junk = replace(batch, x=torch.where(batch.mask > 0, batch.x, 0.5))
    noise = Source(0)
    second = model(junk, noise)
    assert torch.equal(first.log_lik, second.log_lik) and torch.equal(first.draw.z, second.draw.z)
    assert (first.cells[batch.mask == 0] == 0).all()
