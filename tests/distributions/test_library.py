"""Counts around a row's library: values against scipy, masks, draws, and where they start from."""

import numpy as np
import pytest
import scipy.stats as st
import torch

from vaekit import distributions as d
from vaekit import likelihoods as lk
from vaekit.core import ForwardContext, Source

F64 = torch.float64
X = torch.tensor([[3.0, 0, 12, 5], [0, 0, 0, 0], [900, 20, 4, 0]], dtype=F64)
LOGITS = torch.tensor([[0.3, -2, 1, 0], [1, 1, 1, 1], [4, 0, -1, -3]], dtype=F64)
THETA = torch.tensor([0.5, 2, 30, 1e5], dtype=F64)
COLUMNS = [0, 2, 3]


def library(observed=True, dtype=F64, log_library=2.0, spread=0.3, family=d.NegativeBinomial):
    others = () if family is d.Poisson else (THETA.log().expand(3, -1).to(dtype),)
    depth = torch.ones(3, 1, dtype=dtype)
    return d.Library(LOGITS.to(dtype), others, depth * log_library, depth * spread, family, observed)


def scipys(x, mean, theta):
    x, mean, theta = (t.numpy() for t in (x, mean, theta))
    return st.nbinom.logpmf(x, theta, theta / (theta + mean))


@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-9), (torch.float32, 3e-5)], ids=["fp64", "fp32"])
def test_given_its_total_a_row_s_log_p_is_scipy_s(dtype, tolerance):
    total = X.sum(1, keepdim=True).clamp(min=1e-6)
    want = scipys(X, total * LOGITS.softmax(1), THETA.expand(3, -1))
    got = library(dtype=dtype).log_prob(X.to(dtype))
    assert got.dtype == dtype
    np.testing.assert_allclose(got.double().numpy(), want, tolerance, tolerance)
    poisson = library(dtype=dtype, family=d.Poisson).log_prob(X.to(dtype)).double().numpy()
    want = st.poisson.logpmf(X.numpy(), (total * LOGITS.softmax(1)).numpy())
    np.testing.assert_allclose(poisson, want, 10 * tolerance, 10 * tolerance)


def test_a_latent_library_is_not_read_off_x():
    want = scipys(X, np.exp(2.0) * LOGITS.softmax(1), THETA.expand(3, -1))
    np.testing.assert_allclose(library(observed=False).log_prob(X), want, 1e-9, 1e-9)


def test_masked_columns_leave_those_that_are_seen_as_rows_of_their_own():
    mask = torch.tensor([[1.0, 0, 1, 1]]).double().expand(3, -1)
    hidden = torch.where(mask > 0, X, 1e6)
    depth = torch.zeros(3, 1, dtype=F64)
    own = d.Library(LOGITS[:, COLUMNS], (THETA[COLUMNS].log().expand(3, -1),), depth, depth, d.NegativeBinomial, True)
    cells = library().log_cells(hidden, mask)
    assert (cells[:, 1] == 0).all()
    torch.testing.assert_close(cells[:, COLUMNS], own.log_prob(X[:, COLUMNS]))
    latent = library(observed=False)
    torch.testing.assert_close(latent.log_cells(hidden, mask)[:, COLUMNS], latent.log_prob(X)[:, COLUMNS])


def test_a_row_with_gaps_has_the_library_that_its_seen_columns_tell():
    px, mask = library(), torch.tensor([[1.0, 0, 1, 1]]).double().expand(3, -1)
    seen = (X * mask).sum(1, keepdim=True) / (px.shares * mask).sum(1, keepdim=True)
    own = px.for_rows(X, mask)
    torch.testing.assert_close(own.mean[[0, 2]], (seen * px.shares)[[0, 2]])
    torch.testing.assert_close(own.log_cells(X, mask), px.log_cells(X, mask))
    torch.testing.assert_close(px.for_rows(X).mean.sum(1)[[0, 2]], X.sum(1)[[0, 2]])
    nothing = px.for_rows(X, torch.zeros_like(mask))
    assert nothing.mean.isfinite().all() and (nothing.log_cells(X, torch.zeros_like(mask)) == 0).all()


def test_a_row_without_counts_is_as_good_as_certain_and_has_gradients():
    logits = LOGITS.clone().requires_grad_()
    depth = torch.zeros(3, 1, dtype=F64)
    px = d.Library(logits, (THETA.log().expand(3, -1),), depth, depth, d.NegativeBinomial, True)
    cells = px.log_prob(X)
    assert -1e-5 < float(cells[1].sum().detach()) < 0
    cells.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("observed", [True, False])
def test_draws_have_log_normal_libraries_and_the_mean(observed):
    n, depth = 20_000, torch.ones(20_000, 1, dtype=F64)
    spread = 0.3 * observed
    px = d.Library(LOGITS[:1].expand(n, -1), (), depth * 9, depth * spread, d.Poisson, observed)
    drawn = px.draw(ForwardContext.of(Source(0, dtype=F64)))
    logs, noise = drawn.sum(1).log(), np.exp(-9)  # the total of Poisson counts adds a variance of 1 / l
    assert float(logs.mean()) == pytest.approx(9, abs=4 * (spread + 0.02) / n**0.5 + noise)
    assert float(logs.std()) == pytest.approx((spread**2 + noise) ** 0.5, rel=0.03)
    error = drawn.std(0) / n**0.5
    assert ((drawn.mean(0) - px.mean[0]).abs() < 4 * error).all()


@pytest.mark.parametrize("observed", [True, False])
def test_shares_sum_to_one_and_means_to_the_library(observed):
    px = library(observed)
    torch.testing.assert_close(px.shares.sum(1), torch.ones(3).double())
    torch.testing.assert_close(
        px.at(torch.full((3, 1), 4.0).double()).mean.sum(1).log(), torch.full((3,), 4.0).double()
    )
    assert px.mode.shape == px.mean.shape == X.shape


# -- where a likelihood starts from ----------------------------------------------------------------


def cells(rows=4000, seed=0):
    """Counts of known shares and dispersions, and the libraries' mean and standard deviation."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(8, 2.0))
    theta = np.array([0.5, 1, 2, 4] * 2)
    library = np.exp(generator.normal(6, 0.4, (rows, 1)))
    mean = library * shares
    return torch.from_numpy(generator.negative_binomial(theta, theta / (theta + mean))).double(), shares, theta


def test_what_a_likelihood_starts_from_are_the_shares_totals_and_moments_of_the_rows():
    x, shares, theta = cells()
    likelihood = lk.NegativeBinomial(library="observed", shape=(8,)).double()
    with torch.no_grad():
        likelihood.prepare(x)
    px = likelihood(torch.zeros(len(x), 8).double())
    np.testing.assert_allclose(px.shares[0].detach(), shares, rtol=0.1)
    assert (np.abs(likelihood.log_theta.detach().numpy() - np.log(theta)) < np.log(2)).all()
    logs = x.sum(1).log()
    torch.testing.assert_close(likelihood.log_library, torch.stack([logs.mean(), logs.std(unbiased=False)]))
    shared = lk.NegativeBinomial("shared", "observed", (8,)).double()
    with torch.no_grad():
        shared.prepare(x)
    assert shared.log_theta.shape == () and 0.3 < float(shared.log_theta.detach().exp()) < 4


def test_rows_of_nothing_and_columns_of_nothing_start_finite():
    x = torch.tensor([[0.0, 0, 0], [0, 5, 0]])
    for likelihood in (lk.ZeroInflatedNegativeBinomial(library="latent", shape=(3,)), lk.Poisson("observed", (3,))):
        with torch.no_grad():
            likelihood.prepare(x)
            likelihood.prepare(torch.zeros(2, 3))
            likelihood.prepare(torch.full((2, 3), torch.nan), torch.zeros(2, 3))
        assert all(t.isfinite().all() for t in likelihood.state_dict().values())
        px = likelihood(torch.zeros(2, *likelihood.in_shape))
        assert px.log_prob(x).isfinite().all()


def test_the_first_number_of_a_latent_library_moves_all_means_alike():
    likelihood = lk.Poisson("latent", (3,))
    assert likelihood.in_shape == (4,)
    numbers = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    likelihood.log_library.copy_(torch.tensor([7.0, 0.5]))
    mean = likelihood(numbers).mean
    torch.testing.assert_close(mean.sum(1).log(), 7 + 0.5 * numbers[:, 0])
    torch.testing.assert_close(mean / mean.sum(1, keepdim=True), numbers[:, 1:].softmax(1))
