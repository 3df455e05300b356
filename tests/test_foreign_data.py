"""Data of every kind that a user may pass: they are taken, or refused in one sentence."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import vaekit as vk

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
REFUSED = {
    "nothing": (None, "expected rows: .* got NoneType"),
    "a number": (5, "expected rows: .* got int"),
    "a function": (len, "expected rows: .* got builtin_function_or_method"),
    "a set": ({1, 2}, "expected rows: .* got set"),
    "a dict": ({"a": [1, 2]}, r"got dict: pass pandas.DataFrame\(x\)"),
    "bytes": (b"abc", "expected rows: .* got bytes"),
    "rows of several lengths": ([[1, 2], [3]], r"expected rows of one shape, .* vaekit.data.padded\(x\)"),
    "a sparse tensor": (torch.tensor(X).to_sparse(), r"expected a dense tensor, .*: pass x.to_dense\(\)"),
    "a tensor without values": (torch.zeros(40, 3, device="meta"), "on the meta device: pass rows"),
    "a complex tensor": (torch.zeros(40, 3, dtype=torch.complex64), "Complex data not supported"),
    "a tensor without dimensions": (torch.tensor(3.0), r"expected rows of data, \(N, ...\), got shape \(\)"),
}


@pytest.fixture(scope="module")
def fitted() -> vk.VAE:
    return vk.VAE(2, epochs=1, validation=0, threads=1, compile=False).fit(X)


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_no_rows_is_refused_in_one_sentence(case, fitted):
    x, message = REFUSED[case]
    for call in (vk.VAE(2, epochs=1).fit, fitted.transform, fitted.impute):
        with pytest.raises((TypeError, ValueError), match=message) as error:
            call(x)
        assert len(str(error.value)) < 300 and "\n" not in str(error.value)


TAKEN = {
    "a tensor": torch.tensor(X),
    "a tensor with a gradient": torch.tensor(X, requires_grad=True),
    "bfloat16": torch.tensor(X).bfloat16(),
    "a list": X.tolist(),
    "an array of objects": X.astype(object),
    "a sparse matrix": sp.csr_matrix(X),
    "a sparse array": sp.coo_array(X),
}


@pytest.mark.parametrize("case", TAKEN)
def test_every_row_wise_verb_takes_what_fit_takes(case, fitted):
    x = TAKEN[case]
    for verb in (fitted.transform, fitted.score_samples, fitted.reconstruct, fitted.impute):
        found = verb(x)
        assert len(found) == len(X) and np.isfinite(np.asarray(found, dtype=float)).all()
    np.testing.assert_allclose(np.asarray(fitted.impute(x), dtype=float), X, atol=1e-2)


@pytest.mark.parametrize("kind", ["float64", "int64", "float32"])
def test_sparse_columns_of_a_frame_come_back_in_their_type(kind):
    cells = sp.random(40, 3, 0.4, random_state=0) * 5
    frame = pd.DataFrame.sparse.from_spmatrix(cells.astype(kind), columns=list("abc"))
    vae = vk.VAE(2, epochs=1, validation=0, threads=1, compile=False).fit(frame)
    assert list(vae.sample(5).dtypes) == list(frame.dtypes)
    pd.testing.assert_frame_equal(vae.impute(frame), frame)
