"""Tables: from a data frame to a model of all its columns, and back."""

import contextlib
import datetime
import json
import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.core import ForwardContext, Source
from vaekit.data.column import SchemaWarning
from vaekit.data.schema import Schema
from vaekit.likelihoods import CountColumns, Ordinal, of_table
from vaekit.likelihoods.columns import softly

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


@contextlib.contextmanager
def brief_start():
    """The start of a table's model, cut short where nothing depends on how well it fits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.recipes.factors.FITTING", 10)
        yield


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
    assert again.feature_names_in_.tolist() == fitted.feature_names_in_.tolist() == list(frame)


def test_columns_in_another_order_and_type_are_the_same_columns(fitted):
    frame = mixed()
    other = frame[frame.columns[::-1]].assign(extra=1)
    other["age"], other["city"] = other["age"].astype(float), other["city"].astype("category")
    assert np.array_equal(fitted.transform(other), fitted.transform(frame))


def test_a_data_frame_that_is_read_as_an_array_has_its_columns_by_name(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
    frame["c"] *= 9
    vae = vk.VAE(epochs=1, likelihood=vk.likelihoods.Gaussian()).fit(frame)
    vae.save(tmp_path)
    again = vk.load(tmp_path)
    assert again.feature_names_in_.tolist() == ["a", "b", "c"] and again.spec_.schema is None
    for model in (vae, again):
        assert np.array_equal(model.transform(frame[["c", "a", "b"]].assign(more=1)), vae.transform(frame.to_numpy()))
        with pytest.raises(ValueError, match="the rows have no column 'b', which fit read"):
            model.transform(frame[["a", "c"]])


def test_a_missing_cell_changes_nothing_whatever_stands_there(fitted):
    """Masked values enter neither the code nor log p, which is the sum over the cells that are there."""
    rows = fitted.fitted_.rows(mixed())
    batch = rows.batch(slice(0, 64))
    model = fitted.module_
    noise = Source(0)
    first = model(batch, noise)
    junk = replace(batch, x=torch.where(batch.mask > 0, batch.x, 0.5))
    noise = Source(0)
    second = model(junk, noise)
    assert torch.equal(first.log_lik, second.log_lik) and torch.equal(first.draw.z, second.draw.z)
    assert (first.cells[batch.mask == 0] == 0).all()


@pytest.mark.slow
def test_gaps_that_fit_did_not_have_are_left_out_at_prediction():
    frame = mixed(gaps=False)
    vae = vk.VAE(epochs=1).fit(frame)
    assert not vae.spec_.missing
    frame.loc[3, "city"] = None
    assert np.isfinite(vae.score_samples(frame.head(6), draws=2)).all()


@pytest.mark.slow
def test_arrow_tables_and_structured_arrays_come_back_as_such():
    frame = mixed(120, gaps=False).drop(columns=["size", "joined"])
    arrow = pytest.importorskip("pyarrow").Table.from_pandas(frame, preserve_index=False)
    made = vk.VAE(epochs=1).fit(arrow).sample(5)
    assert made.schema.names == arrow.schema.names and made.schema.types == arrow.schema.types
    assert vk.VAE(epochs=0).fit(arrow).feature_names_in_.tolist() == arrow.schema.names
    records = frame.assign(city=frame["city"].astype(object)).to_records(index=False).view(np.ndarray)
    made = vk.VAE(epochs=1).fit(records).sample(5)
    assert made.shape == (5,) and made.dtype == records.dtype


@pytest.mark.slow
def test_polars_frames_come_back_as_such():
    polars = pytest.importorskip("polars")
    frame = polars.from_pandas(mixed(120))
    made = vk.VAE(epochs=1).fit(frame).sample(5)
    assert made.schema == frame.schema and made.null_count().sum_horizontal().item() == 0


def test_a_kind_can_be_said(tmp_path):
    frame = mixed()
    columns = {"stars": "category", "age": "count", "visits": "identifier", "city": ["Bern", "Rome", "Oslo"]}
    with brief_start():
        vae = vk.VAE(epochs=1, columns=columns).fit(frame)
    kinds = {c.name: c.kind for c in vae.spec_.schema.columns}
    assert (kinds["stars"], kinds["age"], kinds["visits"], kinds["city"]) == (
        "category",
        "count",
        "identifier",
        "ordinal",
    )
    assert vae.spec_.schema.column("city").levels == ("Bern", "Rome", "Oslo")
    assert "visits" not in vae.sample(2)
    vae.save(tmp_path)
    again = vk.load(tmp_path)
    assert again.columns == columns and again.spec_.schema == vae.spec_.schema


@pytest.mark.slow
def test_files_are_tables(tmp_path):
    mixed().to_csv(tmp_path / "x.csv", index=False)
    mixed().drop(columns="size").to_parquet(tmp_path / "x.parquet")
    assert list(vk.VAE(epochs=1).fit(tmp_path / "x.csv").sample(2)) == list(KINDS)
    assert list(vk.VAE(epochs=1).fit(str(tmp_path / "x.parquet")).sample(2)) == [n for n in KINDS if n != "size"]


def test_values_far_from_zero_come_out_of_a_model(tmp_path):
    """Account numbers, identities of 64 bits and prices near one: as many values as went in, in their bounds."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "account": 10**9 + rng.integers(0, 50_000, 200),
            "identity": 10**18 + rng.integers(0, 10**6, 200),
            "price": np.round(1 + 2e-5 * rng.normal(size=200), 6),
            "rain": np.where(rng.random(200) < 0.6, 0.0, rng.gamma(1, 5, 200)),
        }
    )
    with brief_start():
        vae = vk.VAE(2, epochs=1).fit(frame)
    made = vae.sample(200)
    assert (made.dtypes == frame.dtypes).all() and made.notna().all().all()
    assert (made.min() >= frame.min()).all() and (made.max() <= frame.max()).all()
    assert made["account"].nunique() > 100 and made["identity"].nunique() > 100 and made["price"].nunique() > 20
    given = 10**18 + 123_457
    assert vae.sample(3, given={"identity": given})["identity"].tolist() == [given] * 3
    vae.save(tmp_path)
    pd.testing.assert_frame_equal(vk.load(tmp_path).reconstruct(frame), vae.reconstruct(frame))


# -- likelihoods ----------------------------------------------------------------------------------------


def test_a_rounded_column_has_probabilities_that_sum_to_one():
    """Of every multiple of the step, and so in the table's own units, whatever they are."""
    rng = np.random.default_rng(0)
    for values in (rng.integers(18, 90, 400).astype(float), np.round(np.exp(rng.normal(3, 1, 400)), 1)):
        schema = Schema.infer(pd.DataFrame({"x": values}))
        (column,) = schema.cells
        likelihood = of_table(schema).double()
        every = (
            np.arange(column.step, 40 * values.max(), column.step)
            if column.kind == "positive"
            else np.arange(-9000, 9000)
        )
        cells = torch.from_numpy((every - column.offset) / column.scale)[:, None]
        px = likelihood(torch.tensor([[0.3, -0.2]], dtype=torch.float64).expand(len(cells), 2))
        assert px.log_prob(cells).exp().sum().item() == pytest.approx(1, abs=2e-3)


def test_a_density_integrates_to_one_and_stays_finite_where_values_repeat():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(1000) < 0.5, 0.0, rng.normal(size=1000) * 7)
    schema = Schema.infer(pd.DataFrame({"x": values}))
    (column,) = schema.cells
    likelihood = of_table(schema).double()
    at = np.linspace(-60, 60, 1_200_001)
    cells = torch.from_numpy((at - column.offset) / column.scale)[:, None]
    px = likelihood(torch.tensor([[0.1, 0.4]], dtype=torch.float64).expand(len(cells), 2))
    assert px.log_prob(cells).exp().mean().item() * 120 == pytest.approx(1, abs=2e-3)
    sharp = likelihood(torch.tensor([[0.0, -50.0]], dtype=torch.float64).expand(1, 2))
    assert sharp.log_prob(torch.zeros(1, 1, dtype=torch.float64)).item() < math.log(1e3 / column.scale) + 1e-6


def test_draws_of_a_warped_column_follow_its_probabilities():
    values = np.random.default_rng(0).choice([0.0, 1.0, 2.0, 5.0, 50.0], 1000, p=[0.4, 0.3, 0.1, 0.15, 0.05])
    schema = Schema.infer(pd.DataFrame({"x": values}), {"x": "real"})
    likelihood = of_table(schema)
    px = likelihood(torch.tensor([[0.2, 0.5]]).expand(20_000, 2))
    drawn = schema.decode(px.draw(ForwardContext.of(Source(0))).double().numpy())["x"].to_numpy()
    met = (0.0, 1.0, 2.0, 5.0, 50.0)
    each = schema.rows_of(pd.DataFrame({"x": met}))
    mass = likelihood(torch.tensor([[0.2, 0.5]]).expand(5, 2)).log_prob(each).exp()[:, 0]
    for value, p in zip(met, (mass / mass.sum()).tolist()):  # draws are held within the values that were met
        assert (drawn == value).mean() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 20_000) + 0.002)


def test_ordered_levels_have_probabilities_that_sum_to_one():
    likelihood = Ordinal([3, 5], [[0.2, 0.3, 0.5], [0.2] * 5])
    assert likelihood.in_shape == (12,) and likelihood.column_features_shape == (10,)
    px = likelihood(torch.randn(7, 12, generator=torch.Generator().manual_seed(0)))
    mass = torch.stack([px.log_prob(torch.full((7, 2), float(k))).exp() for k in range(5)])
    torch.testing.assert_close(mass.sum(0), torch.ones(7, 2))
    assert (mass[3:, :, 0] < 1e-30).all()
    level = torch.tensor([[0.0, 4.0]])
    plain = Ordinal([3, 5], [[0.2, 0.3, 0.5], [0.2] * 5])(torch.zeros(1, 12))
    assert (plain.log_prob(level).exp() > 0.05).all()


@pytest.mark.slow
def test_counts_are_negative_binomial():
    stats = pytest.importorskip("scipy.stats")
    likelihood = CountColumns([4.0], [10.0]).double()
    x = torch.arange(30, dtype=torch.float64)[:, None]
    px = likelihood(torch.tensor([[0.3, -0.2]], dtype=torch.float64).expand(30, 2))
    theta, mean = 16 / 6 * math.exp(-0.2), 4 * math.exp(0.3)
    want = stats.nbinom.logpmf(np.arange(30), theta, theta / (theta + mean))
    np.testing.assert_allclose(px.log_prob(x).numpy()[:, 0], want, rtol=1e-5)


def test_the_bound_of_what_a_decoder_gives_for_counts_changes_only_what_is_far_out():
    x = torch.linspace(-40, 40, 8001, dtype=torch.float64, requires_grad=True)
    y = softly(x, 10.0)
    (slope,) = torch.autograd.grad(y.sum(), x)
    near = x.detach().abs() <= 5
    assert torch.equal(y[near], x[near]) and (slope[near] == 1).all()
    assert (y.abs() <= 10).all() and (y.diff() >= 0).all() and (slope >= 0).all()
    assert slope.diff().abs().max() < 2e-3  # no kink where the bend starts
    far = torch.tensor([[1e30, -1e30], [-math.inf, math.inf]])
    assert CountColumns([4.0], [10.0])(far).log_prob(torch.tensor([[0.0], [1e6]])).isfinite().all()


@pytest.mark.slow
def test_the_unit_of_a_column_changes_nothing():
    """In millimetres or in kilometres: the same cells, so the same model; no column drowns another by its size."""
    frame = mixed(200, gaps=False)[["age", "visits", "smoker"]]
    a, b = (Schema.infer(frame.assign(age=frame["age"] * unit)) for unit in (1, 1000))
    np.testing.assert_allclose(a.encode(frame), b.encode(frame.assign(age=frame["age"] * 1000)), rtol=1e-12)
    models = [vk.VAE(epochs=2, validation=0).fit(frame.assign(age=frame["age"] * unit)) for unit in (1, 1000)]
    scores = [m.score_samples(frame.assign(age=frame["age"] * unit), draws=5) for m, unit in zip(models, (1, 1000))]
    np.testing.assert_allclose(*scores, rtol=1e-4)  # a probability has no unit


def test_columns_of_all_kinds_weigh_alike():
    """At the start no column's gradient with respect to what the decoder gives is ten times another's."""
    frame = mixed(600, gaps=False)
    schema = Schema.infer(frame)
    likelihood = of_table(schema)
    x = schema.rows_of(frame)
    parameters = torch.zeros(len(x), *likelihood.in_shape, requires_grad=True)
    likelihood(parameters).log_prob(x).sum().backward()
    sizes = []
    for part, own in zip(likelihood.parts, parameters.grad.square().mean(0).split(likelihood.parameter_widths)):
        sizes.append(own.sum().sqrt().item() / math.sqrt(part.shape[0]))
    assert max(sizes) < 10 * min(sizes), sizes


# -- bad tables -----------------------------------------------------------------------------------------

GOOD = mixed(120, gaps=False)[["height", "city", "stars"]]


def with_column(values):
    return GOOD.assign(odd=values)


REFUSED = {
    "mixed types": (lambda: with_column(["a", 1] * 60), TypeError, "column 'odd': holds numbers and words"),
    "two of one name": (lambda: pd.concat([GOOD, GOOD[["city"]]], axis=1), ValueError, "two columns are named city"),
    "infinities": (
        lambda: with_column([np.inf] + [1.5] * 119),
        ValueError,
        "column 'odd' holds an infinity, first in row 0",
    ),
    "no rows": (lambda: GOOD.head(0), ValueError, "0 sample"),
    "no columns": (lambda: GOOD[[]], ValueError, "0 feature"),
    "nothing to model": (lambda: pd.DataFrame({"a": [1.0] * 9}), ValueError, "no column of the table can be modelled"),
    "spans of time": (
        lambda: with_column(pd.to_timedelta(range(120), unit="D")),
        TypeError,
        "column 'odd': spans of time",
    ),
    "complex numbers": (lambda: with_column(1j), TypeError, "column 'odd': complex numbers"),
    "lists": (lambda: with_column([[1, 2]] * 120), TypeError, "column 'odd': holds list"),
    "bytes": (lambda: with_column([b"a"] * 120), TypeError, "column 'odd': holds bytes, which is not understood"),
    "truth values and numbers": (lambda: with_column([True, 2] * 60), TypeError, "holds numbers and truth values"),
    "infinities below": (lambda: with_column([1.5] * 119 + [-np.inf]), ValueError, "an infinity, first in row 119"),
    "intervals": (
        lambda: with_column(pd.cut(np.arange(120.0), 4)),
        TypeError,
        r"'odd': its categories are Interval: make them words, column.cat.rename_categories\(str\)",
    ),
    "mixed categories": (
        lambda: with_column(pd.Categorical(["a", 1] * 60)),
        TypeError,
        "'odd': its categories are numbers and words: make them words",
    ),
    "periods": (
        lambda: with_column(pd.period_range("2000", periods=120, freq="M")),
        TypeError,
        "periods: pass their start as dates",
    ),
    "words that are nearly dates": (
        lambda: with_column([f"2020-13-{k % 28 + 1:02d}" for k in range(120)]),
        ValueError,
        "column 'odd' holds dates, got Month out of range",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_table_is_refused_with_its_column(case):
    table, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        vk.VAE(epochs=1).fit(table())


def arrow(values, kind):
    """A column of a pandas data frame that Arrow holds."""
    pa = pytest.importorskip("pyarrow")
    return pd.array(values, dtype=pd.ArrowDtype(pa.type_for_alias(kind)))


WORDS = [f"word {k}" for k in range(10_000)]
TAKEN = {
    "one value": (lambda: with_column(7), "constant"),
    "all missing": (lambda: with_column(np.nan), "constant"),
    "one value or none": (lambda: with_column([7.0, np.nan] * 60), "constant"),
    "dates before 1900": (lambda: with_column([f"17{k % 90 + 10}-03-01" for k in range(120)]), "datetime"),
    "extreme scales": (lambda: with_column(10.0 ** np.linspace(-300, 300, 120)), "positive"),
    "extreme scales, signed": (
        lambda: with_column(np.sign(np.arange(120) - 60.5) * 10.0 ** np.linspace(-9, 200, 120)),
        "real",
    ),
    "tiny differences": (lambda: with_column(1e9 + np.linspace(0, 1e-3, 120)), "real"),
    "two values": (lambda: with_column(["yes", "no"] * 60), "category"),
    "one word or none": (lambda: with_column(["x", None] * 60), "constant"),
    "nothing but None": (lambda: with_column([None] * 120), "constant"),
    "nothing but NA": (lambda: with_column(pd.array([pd.NA] * 120, dtype="Int64")), "constant"),
    "one date": (lambda: with_column(pd.Timestamp("1850-01-01")), "constant"),
    "one value among gaps": (lambda: with_column([np.nan] * 119 + [3.0]), "constant"),
    "one row with another level": (lambda: with_column(["a"] * 119 + ["b"]), "category"),
    "one row with another number": (lambda: with_column([0.0] * 119 + [1e6]), "ordinal"),
    "truth values with gaps": (lambda: with_column([True, False, None] * 40), "boolean"),
    "dates of the first century": (lambda: with_column([f"00{k % 90 + 10}-03-01" for k in range(120)]), "datetime"),
    "dates with a time zone": (lambda: with_column(pd.date_range("1890", periods=120, tz="Europe/Oslo")), "datetime"),
    "a level that nobody has": (lambda: with_column(pd.Categorical(["a", "b"] * 60, ["a", "z", "b"], True)), "ordinal"),
    "categories of numbers": (lambda: with_column(pd.Categorical([3, 1, 2] * 40)), "category"),
    "empty words": (lambda: with_column(["", "a"] * 60), "category"),
    "numbers beyond exact ones": (lambda: with_column(np.arange(120) ** 9), "real"),
    "numbers next to 0": (lambda: with_column(5e-324 * np.arange(120)), "real"),
    "the largest numbers": (lambda: with_column(1.7e308 * np.sign(np.arange(120) - 60.5)), "ordinal"),
    "half precision": (lambda: with_column((np.arange(120) / 7).astype(np.float16)), "real"),
    "decimals": (lambda: with_column([Decimal("1.10") * k for k in range(120)]), "real"),
    "whole numbers of Arrow's with gaps": (lambda: with_column(arrow([1, 2, None] * 40, "int64")), "ordinal"),
    "words of Arrow's with gaps": (lambda: with_column(arrow(["a", "b", None] * 40, "string")), "category"),
    "nothing, of Arrow's": (lambda: with_column(arrow([None] * 120, "null")), "constant"),
    "whole floats with gaps": (lambda: with_column([0.0, 3.0, 9.0, np.nan] * 30), "count"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", TAKEN)
def test_a_bad_table_is_taken_and_comes_back_and_is_saved(case, tmp_path):
    table, kind = TAKEN[case]
    table = table()
    wide = pytest.warns(SchemaWarning, match="kept to 15 digits") if "exact" in case else contextlib.nullcontext()
    with wide:
        vae = vk.VAE(epochs=1).fit(table)
    assert vae.spec_.schema.column("odd").kind == kind
    assert math.isfinite(vae.history_[0]["elbo"]) and math.isfinite(vae.history_[0]["val_elbo"])
    made = vae.sample(30)
    assert made["odd"].dtype == table["odd"].dtype
    known, drawn = table["odd"].dropna(), made["odd"].dropna()
    if kind in ("real", "positive", "count", "datetime"):
        assert known.min() <= drawn.min() <= drawn.max() <= known.max()
    else:
        assert set(drawn) <= set(known) and (len(drawn) == 30 or kind == "constant")
    vae.save(tmp_path)
    again = vk.load(tmp_path)
    assert again.spec_.schema == vae.spec_.schema
    assert np.array_equal(again.transform(table), vae.transform(table))


POLARS = {
    "nothing": lambda pl: [pl.Series([None] * 120), pl.Null],
    "whole numbers with gaps": lambda pl: [pl.Series([1, 2, None] * 40, dtype=pl.Int8), pl.Int8],
    "large numbers": lambda pl: [pl.Series([2**63 + 4096 * k for k in range(120)], dtype=pl.UInt64), pl.UInt64],
    "decimals": lambda pl: [pl.Series([Decimal("1.1"), Decimal("2.2")] * 60), pl.Float64],
    "truth values with gaps": lambda pl: [pl.Series([True, False, None] * 40), pl.Boolean],
    "NaN": lambda pl: [pl.Series([math.nan, 1.5, 2.5] * 40), pl.Float64],
    "categories": lambda pl: [pl.Series(["a", "b", None] * 40, dtype=pl.Categorical), pl.Categorical],
    "days": lambda pl: [pl.Series([datetime.date(1700 + k, 1, 1) for k in range(120)]), pl.Date],
    "times of a zone": lambda pl: [
        pl.Series([datetime.datetime(1890 + k, 1, 1) for k in range(120)], dtype=pl.Datetime("ms", "Europe/Oslo")),
        pl.Datetime("ms", "Europe/Oslo"),
    ],
}
ARROW = {
    "nothing": lambda pa: [pa.nulls(120), pa.null()],
    "whole numbers with gaps": lambda pa: [pa.array([1, 2, None] * 40, pa.uint8()), pa.uint8()],
    "half precision": lambda pa: [pa.array(np.arange(120, dtype=np.float16) / 7), pa.float16()],
    "decimals": lambda pa: [pa.array([Decimal("1.1"), Decimal("2.2")] * 60), pa.float64()],
    "a dictionary": lambda pa: [
        pa.array(["a", "b", None] * 40).dictionary_encode(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    "large words": lambda pa: [pa.array(["a", "b", None] * 40, pa.large_string()), pa.large_string()],
    "days": lambda pa: [pa.array([datetime.date(1700 + k, 1, 1) for k in range(120)]), pa.date32()],
    "times of a zone": lambda pa: [
        pa.array([datetime.datetime(1890 + k, 1, 1) for k in range(120)], pa.timestamp("s", "UTC")),
        pa.timestamp("s", "UTC"),
    ],
}


def schema_of_samples(table):
    """The types of a table that is drawn from a model of this one, which reads it, too."""
    with brief_start():
        vae = vk.VAE(2, epochs=1).fit(table)
    assert vae.transform(table).shape == (120, 2)
    return vae.sample(9).schema


@pytest.mark.parametrize("case", POLARS)
def test_a_polars_column_comes_back_in_its_type(case):
    polars = pytest.importorskip("polars")
    column, kind = POLARS[case](polars)
    table = polars.DataFrame({"x": np.arange(120) / 7, "odd": column})
    assert schema_of_samples(table)["odd"] == kind


@pytest.mark.slow
@pytest.mark.parametrize("case", ARROW)
def test_an_arrow_column_comes_back_in_its_type(case):
    pa = pytest.importorskip("pyarrow")
    column, kind = ARROW[case](pa)
    table = pa.table({"x": np.arange(120) / 7, "odd": column})
    assert schema_of_samples(table).field("odd").type == kind


@pytest.mark.slow
def test_ten_thousand_levels_are_left_out_with_a_warning():
    with pytest.warns(SchemaWarning, match="column 'odd' names the rows and is left out"):
        schema = Schema.infer(pd.DataFrame({"x": np.arange(10_000) % 7, "odd": WORDS}))
    assert [c.name for c in schema.cells] == ["x"]
    with pytest.warns(SchemaWarning, match="column 'odd' names the rows and is left out"):
        Schema.infer(with_column(np.arange(120)))
    schema = Schema.infer(pd.DataFrame({"x": np.arange(10_000) % 7, "odd": WORDS}), {"odd": "category"})
    assert len(schema.column("odd").levels) == 10_000


@pytest.fixture(scope="module")
def good():
    with brief_start():
        return vk.VAE(epochs=1, unknown="error").fit(GOOD)


LATER = {
    "a new level": (
        GOOD.head(3).assign(city="Lima"),
        ValueError,
        "column 'city' has levels that fit did not meet: Lima",
    ),
    "a lost column": (GOOD[["city", "stars"]], ValueError, "the table has no column 'height', which fit read"),
    "words for numbers": (GOOD.head(3).assign(height="tall"), ValueError, "column 'height' holds numbers, got 'tall'"),
    "an infinity": (GOOD.head(3).assign(height=np.inf), ValueError, "column 'height' holds an infinity"),
    "no rows": (GOOD.head(0), ValueError, "0 sample"),
    "an array": (GOOD[["height"]].to_numpy(), TypeError, "expected a table"),
    "two of one name": (pd.concat([GOOD, GOOD[["city"]]], axis=1), ValueError, "two columns are named city"),
    "dates for numbers": (GOOD.assign(height=pd.Timestamp("2020")), ValueError, "'height' holds numbers, got '2020"),
    "dates for levels": (GOOD.assign(city=pd.Timestamp("2020")), ValueError, "'city' holds levels .*, got dates"),
    "a number for levels": (GOOD.assign(city=1), ValueError, "'city' has levels that fit did not meet: 1; it met Bern"),
    "a number between levels": (GOOD.assign(stars=2.5), ValueError, "'stars' has levels that fit did not meet: 2.5"),
    "an infinity for levels": (GOOD.assign(stars=np.inf), ValueError, "column 'stars' holds an infinity"),
    "mixed types": (GOOD.assign(city=["Rome", 1] * 60), TypeError, "column 'city': holds numbers and words"),
}


@pytest.mark.parametrize("case", LATER)
def test_what_fit_did_not_meet_is_refused_with_its_column(good, case):
    table, error, message = LATER[case]
    with pytest.raises(error, match=message):
        good.transform(table)


WIDE = GOOD.assign(
    visits=np.arange(120) % 40,
    smoker=np.arange(120) % 3 == 0,
    joined=pd.Timestamp("1890-01-01") + pd.to_timedelta(np.arange(120) % 50, unit="D"),
    zip=np.resize(["10", "20", "305"], 120),
    planet="Earth",
)


@pytest.fixture(scope="module")
def wide():
    with brief_start():
        return vk.VAE(epochs=1).fit(WIDE)


SAME = {
    "whole numbers as floats": lambda t: t.assign(visits=t["visits"].astype(float)),
    "numbers as words": lambda t: t.assign(height=t["height"].astype(str), visits=t["visits"].astype(str)),
    "numbers as objects": lambda t: t.assign(height=t["height"].astype(object)),
    "levels as floats": lambda t: t.assign(stars=t["stars"].astype(float)),
    "levels as words": lambda t: t.assign(stars=t["stars"].astype(str)),
    "levels as categories": lambda t: t.astype({"stars": "category", "city": "category", "smoker": "category"}),
    "words that are numbers, as these": lambda t: t.assign(zip=t["zip"].astype(int)),
    "truth values as numbers": lambda t: t.assign(smoker=t["smoker"].astype(int)),
    "truth values as words": lambda t: t.assign(smoker=t["smoker"].astype(str)),
    "dates as words": lambda t: t.assign(joined=t["joined"].dt.strftime("%Y-%m-%d")),
    "dates of Python's": lambda t: t.assign(joined=[datetime.date(d.year, d.month, d.day) for d in t["joined"]]),
    "dates in UTC": lambda t: t.assign(joined=t["joined"].dt.tz_localize("UTC")),
    "another order": lambda t: t[t.columns[::-1]],
    "without the constant": lambda t: t.drop(columns="planet"),
    "a column more, not understood": lambda t: t.assign(more=[[1]] * len(t)),
    "Arrow's": lambda t: pytest.importorskip("pyarrow").Table.from_pandas(t),
    "another index": lambda t: t.set_index(np.arange(len(t)) + 9),
}


@pytest.mark.parametrize("case", SAME)
def test_the_same_rows_in_other_types_are_the_same_rows(wide, case):
    assert np.array_equal(wide.transform(SAME[case](WIDE)), wide.transform(WIDE))


WRONG = {
    "no such column": ({"cty": "count"}, "has no such column, did you mean 'city'|no such column"),
    "no such kind": ({"city": "categorical"}, "expected one of real, positive"),
    "words that are no counts": ({"city": "count"}, "it holds words, such as"),
    "negative numbers": ({"height": "count"}, "expected counts from 0, got"),
    "a level left out": ({"city": ["Bern", "Rome"]}, "leaves out the level 'Oslo'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_word_on_a_column_is_refused(case):
    columns, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        Schema.infer(GOOD, columns)


# -- the start from factor analysis -------------------------------------------------------------------


def test_the_start_of_a_table_moves_as_torch_s_adam_would():
    from vaekit.recipes import factors

    parameters = [torch.nn.Parameter(torch.randn(4, 5, dtype=torch.float64)), torch.nn.Parameter(torch.zeros(3))]
    expected = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    move, reference = factors._adam(parameters), torch.optim.Adam(expected, lr=1.0)
    for t in range(20):
        rate, gradient = 0.1 / (t + 1), torch.randn(5, 4, dtype=torch.float64).T  # not contiguous
        gradients = [gradient, None if t % 2 else torch.full((3,), 0.1)]
        move(gradients, rate)
        reference.param_groups[0]["lr"] = rate
        for p, g in zip(expected, gradients):
            p.grad = g
        reference.step()
    for own, other in zip(parameters, expected):
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-7)


def test_a_fit_of_a_table_uses_no_optimiser_that_imports_the_compiler(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the first optimiser of torch.optim in a process imports torch._dynamo and sympy: seconds")

    monkeypatch.setattr(torch.optim.Optimizer, "__init__", refuse)
    vk.VAE(2, recipe="table", epochs=1, threads=1, compile=False).fit(GOOD)
