"""Sparse matrices and annotated data: what is read of them, and that a fit to them is that to the dense array."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import vaekit as vk
from vaekit.cli import main
from vaekit.data import annotated
from vaekit.data.lazy_rows import stored
from vaekit.data.sparse import CompressedRows
from vaekit.data.spec import DataSpec

FORMATS = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_matrix,
    "csr array": sparse.csr_array,
    "coo array": sparse.coo_array,
}


def counts(rows=60, columns=12, seed=0, dtype="float32"):
    generator = np.random.default_rng(seed)
    return generator.poisson(generator.gamma(0.4, 2, (rows, columns))).astype(dtype)


def small(**settings):
    settings = {"likelihood": vk.likelihoods.NegativeBinomial(), **settings}
    return vk.VAE(3, epochs=2, batch_size=16, threads=1, compile=False, **settings)


def same(a, b):
    ours, theirs = a.module_.state_dict(), b.module_.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# -- rows of a sparse matrix -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_are_those_of_the_dense_array_in_any_order(kind):
    x = counts()
    rows = CompressedRows.of(FORMATS[kind](x))
    for index in ([3, 3, 0], range(60), [59], []):
        index = np.array(index, dtype=np.int64)
        np.testing.assert_array_equal(rows.read(index), x[index])


def test_what_stands_twice_in_a_cell_is_added_up_and_the_matrix_stays_as_it_was():
    one = sparse.csr_matrix((np.array([1.0, 2, 4]), np.array([2, 2, 0]), np.array([0, 3, 3])), shape=(2, 3))
    before = one.data.copy(), one.indices.copy()
    np.testing.assert_array_equal(CompressedRows.of(one).read(np.arange(2)), [[4, 0, 3], [0, 0, 0]])
    np.testing.assert_array_equal(one.data, before[0])
    np.testing.assert_array_equal(one.indices, before[1])


@pytest.mark.parametrize("index", [None, np.array([1, 5, 7])])
def test_the_values_met_are_those_of_the_rows(index):
    x = counts()
    own = x if index is None else x[index]
    met = np.concatenate([part.ravel() for part in CompressedRows.of(sparse.csr_matrix(x)).met(index, 10)])
    assert set(met) == set(own.ravel())
    full = CompressedRows.of(sparse.csr_matrix(x + 1))
    assert 0 not in np.concatenate([part.ravel() for part in full.met(index, 10)])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[0.0, 3], [1, 0]], "count"),
        ([[0.0, 1], [1, 0]], "binary"),
        ([[0, 200], [1, 0]], "count"),
        ([[0, 0.5], [1, 0]], "unit"),
        ([[0, -2.5], [1, 0]], "real"),
    ],
)
def test_whole_numbers_are_counts_whatever_their_type(values, kind):
    for dtype in ("float32", "float64", *(["uint8", "int32", "uint16"] if kind == "count" else [])):
        x = stored(sparse.csr_matrix(np.array(values, dtype=dtype)))
        spec = DataSpec.infer(x, x.dtype.name)
        assert (spec.kind, spec.dtype) == (kind, dtype)


def test_missing_cells_and_infinities_of_a_sparse_matrix_are_told():
    x = counts()
    x[4, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN, first at \(4, 2\)"):
        small().fit(sparse.csr_matrix(x))
    vae = small(missing=True).fit(sparse.csr_matrix(x))
    assert vae.spec_.missing and vae.spec_.kind == "count"
    x[4, 2] = np.inf
    with pytest.raises(ValueError, match=r"infinity, first at \(4, 2\)"):
        small().fit(sparse.csr_matrix(x))


def test_fractions_are_no_counts():
    with pytest.raises(ValueError, match=r"whole numbers from 0 .* pass an integer dtype"):
        small().fit(sparse.csr_matrix(counts() / 3))


# -- fits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_a_fit_to_a_sparse_matrix_is_that_to_the_array_bit_for_bit(kind):
    x, sparse_x = counts(), FORMATS[kind](counts())
    beside = {"context": np.array(["a", "b", "c"] * 20)}
    dense, ours = small().fit(counts(dtype=int), **beside), small().fit(sparse_x, **beside)
    same(dense, ours)
    for call in (
        lambda vae, x: vae.transform(x, context="a"),
        lambda vae, x: vae.score_samples(x, draws=3, context="a"),
        lambda vae, x: vae.health(x, context="a").figures["read"].value,
    ):
        np.testing.assert_array_equal(call(ours, sparse_x), call(dense, x.astype(int)))
    np.testing.assert_allclose(ours.reconstruct(sparse_x, context="b").round(), dense.reconstruct(x, context="b"))
    assert ours.sample(3).dtype == np.float32


def test_labels_stand_beside_sparse_rows():
    x, y = counts(), np.array([0, 1, -1] * 20)
    recipe = vk.recipes.count_classes(classes=2)
    settings = dict(recipe=recipe, likelihood=None)
    a, b = (small(**settings).fit(rows, y) for rows in (counts(dtype=int), sparse.csr_matrix(x)))
    same(a, b)
    np.testing.assert_array_equal(a.predict(x), b.predict(sparse.csc_matrix(x)))


def test_held_out_rows_may_be_a_sparse_matrix_of_their_own():
    x = counts()
    a = small(validation=x[40:]).fit(x[:40].astype(int))
    c = small(validation=sparse.csr_matrix(x[40:])).fit(sparse.csr_matrix(x[:40]))
    same(a, c)
    assert a.history_[-1]["val_elbo"] == c.history_[-1]["val_elbo"]


def test_simple_models_read_sparse_rows_like_dense_ones():
    x = counts(80)
    vae = small().fit(sparse.csr_matrix(x))
    ours = vae.evaluate(sparse.csr_matrix(x[60:]), draws=3, against=sparse.csr_matrix(x[:60]))
    dense = vk.evaluation.baselines(x[:60].astype(int), x[60:].astype(int), latents=3)
    for name in ("factorised", "xz"):
        assert ours.baselines[name]["bits_per_dim"].value == pytest.approx(dense[name]["bits_per_dim"].value)
    assert "reconstruction_error" in ours.baselines["this model"]


def test_a_fit_never_makes_more_rows_dense_than_a_batch_or_what_the_model_is_first_shown(monkeypatch):
    asked, read = [], CompressedRows.read
    monkeypatch.setattr(CompressedRows, "read", lambda self, index: asked.append(len(index)) or read(self, index))
    x = sparse.csr_matrix(counts(5000, 5))
    vae = vk.VAE(2, recipe=vk.recipes.counts(hidden=(4,)), epochs=1, batch_size=500, threads=1, compile=False).fit(x)
    vae.transform(x)
    assert max(asked) == 2048 and sum(asked) <= 2048 + 4 * 5000


# -- annotated data --------------------------------------------------------------------------------

OBS = pd.DataFrame(
    {
        "batch": pd.Categorical(["one", "two", "one"] * 20),
        "kind": pd.Categorical(["T", None, "B"] * 20),
        "plate": [0, 1, 2] * 20,
        "size": np.linspace(0, 1, 60),
    }
)
GENES = [f"gene {i}" for i in range(12)]


def cells(x=None, genes=GENES, layers=()):
    """An AnnData, as far as it is read."""
    x = sparse.csr_matrix(counts()) if x is None else x
    obs, genes = OBS.iloc[: x.shape[0]], pd.Index(genes)
    return SimpleNamespace(X=x, obs=obs, var_names=genes, layers=dict(layers), isbacked=False)


def written(path, x, layers=(), kind="csr_matrix"):
    """An `.h5ad` file, as anndata 0.12 writes it."""
    h5py = pytest.importorskip("h5py")

    def matrix(group, name, x):
        if isinstance(x, np.ndarray):
            group[name] = x
            return
        x = x.tocsc() if kind == "csc_matrix" else x.tocsr()
        made = group.create_group(name)
        made.attrs.update({"encoding-type": kind, "encoding-version": "0.1.0", "shape": x.shape})
        for part in ("data", "indices", "indptr"):
            made[part] = getattr(x, part)

    with h5py.File(path, "w") as file:
        matrix(file, "X", x)
        group = file.create_group("layers")
        for name, layer in dict(layers).items():
            matrix(group, name, layer)
        obs, var = file.create_group("obs"), file.create_group("var")
        obs.attrs.update({"_index": "_index", "column-order": list(OBS)})
        var.attrs.update({"_index": "_index", "column-order": np.array([], dtype=float)})
        var["_index"] = GENES
        obs["_index"] = [f"cell {i}" for i in range(x.shape[0])]
        for name in ("batch", "kind"):
            codes = obs.create_group(name)
            codes["codes"], codes["categories"] = OBS[name].cat.codes.to_numpy(), list(OBS[name].cat.categories)
        obs["plate"], obs["size"] = OBS["plate"].to_numpy(), OBS["size"].to_numpy()
    return path


def test_columns_of_obs_are_context_and_labels_by_their_names():
    data, x = cells(), counts()
    settings = dict(recipe=vk.recipes.count_classes(classes=2), likelihood=None)
    named = small(**settings).fit(data, y="kind", context="batch")
    own = small(**settings).fit(sparse.csr_matrix(x), np.array(OBS["kind"]), context=np.array(OBS["batch"]))
    same(named, own)
    assert named.classes_.tolist() == ["B", "T"] and named.spec_.context.levels == ("one", "two")
    np.testing.assert_array_equal(
        named.transform(data, context="batch"), own.transform(x, context=np.array(OBS["batch"]))
    )
    np.testing.assert_array_equal(named.transform(data, context="two"), own.transform(x, context="two"))
    numbers = small().fit(data, context="size")
    assert isinstance(numbers.spec_.context, DataSpec)


def test_genes_are_picked_by_their_names_and_brought_into_their_order(tmp_path):
    vae, x = small().fit(cells()), sparse.csr_matrix(counts())
    assert vae.feature_names_in_.tolist() == GENES
    order = np.random.default_rng(0).permutation(12)
    more = sparse.hstack([x[:, order], x[:, :2]]).tocsr()
    other = cells(more, [*np.array(GENES)[order], "new 1", "new 2"])
    np.testing.assert_array_equal(vae.transform(other), vae.transform(x))
    np.testing.assert_array_equal(vae.score_samples(other, draws=2), vae.score_samples(x, draws=2))
    vae.save(tmp_path)
    again = vk.load(tmp_path)
    assert again.feature_names_in_.tolist() == GENES
    np.testing.assert_array_equal(again.transform(other), vae.transform(x))
    with pytest.raises(ValueError, match="the model reads gene 1, .*no such gene"):
        again.transform(cells(x, [GENES[0], *["other"] * 11]))


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "dense"])
@pytest.mark.parametrize("whole", [True, False], ids=["in memory", "from disk"])
def test_a_file_is_read_like_the_matrix_in_it(tmp_path, monkeypatch, kind, whole):
    monkeypatch.setattr(annotated, "IN_MEMORY", 2**30 if whole else 0)
    x = counts() if kind == "dense" else sparse.csr_matrix(counts())
    path = written(tmp_path / "cells.h5ad", x, kind=kind)
    a, b = small().fit(cells(), context="batch"), small().fit(path, context="batch")
    same(a, b)
    np.testing.assert_array_equal(a.transform(cells(), context="batch"), b.transform(str(path), context="batch"))
    assert b.feature_names_in_.tolist() == GENES
    file = vk.data.Annotated(path)
    for name in OBS:
        np.testing.assert_array_equal(
            pd.Series(file.beside(name)).fillna("?"), pd.Series(np.array(OBS[name])).fillna("?")
        )
    rows = np.array([5, 2, 2, 30, 31, 32])
    np.testing.assert_array_equal(file.store.read(rows), counts()[rows])


def test_the_command_line_reads_cells_and_their_batches(tmp_path):
    path, run = written(tmp_path / "cells.h5ad", sparse.csr_matrix(counts())), tmp_path / "run"
    settings = ["--recipe", "counts", "--context", "obs:batch", "--epochs", "1", "--quiet"]
    assert main(["fit", str(path), *settings, "-o", str(run)]) == 0
    assert main(["embed", str(run), str(path)]) == 0
    codes = vk.load(run).transform(path, context="batch")
    np.testing.assert_array_equal(np.load(run / "codes.npy"), codes)
    assert main(["fit", str(path), *settings[:3], "obs:patch", "-o", str(tmp_path / "other")]) != 0


def test_a_layer_is_read_in_place_of_x(tmp_path):
    x, logs = sparse.csr_matrix(counts()), sparse.csr_matrix(np.log1p(counts()))
    layers = {"counts": x}
    file = written(tmp_path / "cells.h5ad", logs, layers)
    for source in (cells(logs, layers=layers), file):
        same(small().fit(vk.data.Annotated(source, layer="counts")), small().fit(x))
        with pytest.raises(ValueError, match="whole numbers from 0"):
            small().fit(source)


WRONG = {
    "column": (lambda v: small().fit(cells(), context="batches"), r'no column \'batches\' \(did you mean "batch"\?\)'),
    "column of a fitted model": (lambda v: v.transform(cells(), context="patch"), "did you mean"),
    "layer": (lambda v: vk.data.Annotated(cells(), "count"), "no layer 'count'; there are: none"),
    "gene": (
        lambda v: v.transform(cells(sparse.csr_matrix(counts()[:, :10]), GENES[:10])),
        "the model reads gene 10, gene 11, and these rows have no such gene",
    ),
    "one name": (lambda v: v.transform(cells(genes=["a", *GENES[1:]])), "the model reads gene 0"),
    "twice": (
        lambda v: v.transform(cells(sparse.csr_matrix(np.hstack([counts(), counts()])), [*GENES, *GENES])),
        "several genes have one name",
    ),
    "nothing": (lambda v: vk.data.Annotated(cells(np.zeros((3, 0)), [])).store, "0 feature"),
    "no file": (lambda v: small().fit("nowhere.h5ad"), "nowhere.h5ad does not exist"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls_are_told(case):
    call, message = WRONG[case]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        call(small().fit(cells()))


def test_a_damaged_file_is_told(tmp_path):
    pytest.importorskip("h5py")
    (tmp_path / "cells.h5ad").write_bytes(b"no such file")
    with pytest.raises(ValueError, match="not a whole .h5ad file"):
        small().fit(tmp_path / "cells.h5ad")


def test_an_anndata_is_read_like_its_file(tmp_path):
    anndata = pytest.importorskip("anndata")
    obs = OBS.set_axis([f"cell {i}" for i in range(60)])
    data = anndata.AnnData(sparse.csr_matrix(counts()), obs=obs, var=pd.DataFrame(index=GENES))
    data.write_h5ad(tmp_path / "cells.h5ad")
    a, b = small().fit(data, context="batch"), small().fit(tmp_path / "cells.h5ad", context="batch")
    same(a, b)
    same(a, small().fit(cells(), context="batch"))
    np.testing.assert_array_equal(a.transform(data[:, ::-1], context="batch"), b.transform(data, context="batch"))
