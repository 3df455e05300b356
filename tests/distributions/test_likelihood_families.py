"""The families of p(x | z): a table of (record, scipy's equivalent) x laws, and reference values."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.stats as st
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from vaekit.core import ForwardContext, Recorder, ReplayNoise, Source
from vaekit.distributions import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogisticMixture,
    Distribution,
    Joint,
    NegativeBinomial,
    Normal,
    Poisson,
    zero_inflated_negative_binomial,
)

F32, F64 = torch.float32, torch.float64


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


@dataclass
class Mirrored:
    """The law of 1 - X."""

    of: Any

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        return self.of.logpdf(1 - x)

    def mean(self) -> float:
        return 1 - self.of.mean()

    def var(self) -> float:
        return self.of.var()


def continuous_bernoulli(logit: float) -> Any:
    """scipy's truncated exponential has the density exp(-b x) on [0, 1]."""
    if abs(logit) < 1e-9:
        return st.uniform()
    law = st.truncexpon(abs(logit), scale=1 / abs(logit))
    return law if logit < 0 else Mirrored(law)


def discretised(logits: Tensor, loc: Tensor, log_scale: Tensor, levels: int) -> Any:
    k = np.arange(levels)
    upper = np.append((2 * k[:-1] + 1) / (levels - 1) - 1, np.inf)
    cdf = st.logistic.cdf(upper, loc.numpy()[:, None], log_scale.exp().numpy()[:, None])
    masses = np.diff(logits.softmax(-1).numpy() @ cdf, prepend=0)
    return st.rv_discrete(values=(k, masses))


def inflated(pi: float, inner: Any) -> Any:
    """Scipy's law of counts that are 0 with probability pi, or else as `inner` says, below 1,500."""
    k = np.arange(1500)
    return st.rv_discrete(values=(k, pi * (k == 0) + (1 - pi) * inner.pmf(k)))


@dataclass
class Case:
    """One family at several parameters: `references` has one law of scipy's per row of the parameters."""

    name: str
    make: Any
    parameters: tuple[Tensor, ...]
    references: list
    x: Tensor  # where mass or density is compared: (M, 1)
    complete: bool = True  # whether x is all of the support, up to a mass of 1e-10

    def record(self, dtype: torch.dtype = F64) -> Distribution:
        return self.make(*(p.to(dtype) for p in self.parameters))

    def reference(self, dtype: torch.dtype = F64) -> np.ndarray:
        x = self.x.numpy()
        columns = [(r.logpmf if hasattr(r, "logpmf") else r.logpdf)(x[:, 0]) for r in self.references]
        return np.stack(columns, 1)


def levels(n: int) -> Tensor:
    return torch.arange(n, dtype=F64).unsqueeze(1)


LOGITS = t(-3, -0.6, -1e-4, 0, 0.499, 0.501, 4)
CATEGORIES = torch.tensor([[0, 0, 0, 0], [3, -1, 0.5, -20], [-2, 0, 2, 4]], dtype=F64)
WEIGHTS = torch.tensor([[0, 1.0], [0, 0], [-1, 1]], dtype=F64)
LOCS = torch.tensor([[-0.5, 0.4], [-1.2, 0], [0.98, -0.9]], dtype=F64)
LOG_SCALES = torch.tensor([[-2, -1.0], [-1.5, -3], [-2, -2]], dtype=F64)
RATES, MEANS, THETAS = t(0.02, 0.9, 7, 60), t(0.1, 3, 20, 40), t(2, 0.7, 9, 1e6)

CASES = [
    Case("bernoulli", Bernoulli, (LOGITS,), [st.bernoulli(p) for p in LOGITS.sigmoid()], levels(2)),
    Case(
        "continuous bernoulli",
        ContinuousBernoulli,
        (LOGITS,),
        [continuous_bernoulli(v) for v in LOGITS.tolist()],
        torch.linspace(0, 1, 21, dtype=F64).unsqueeze(1),
        complete=False,
    ),
    Case(
        "categorical",
        Categorical,
        (CATEGORIES,),
        [st.rv_discrete(values=(np.arange(4), p)) for p in CATEGORIES.softmax(-1).numpy()],
        levels(4),
    ),
    Case(
        "discretised logistic mixture",
        lambda *p: DiscretisedLogisticMixture(*p, levels=32),
        (WEIGHTS, LOCS, LOG_SCALES),
        [discretised(*row, levels=32) for row in zip(WEIGHTS, LOCS, LOG_SCALES, strict=True)],
        levels(32),
    ),
    Case("poisson", Poisson, (RATES.log(),), [st.poisson(r) for r in RATES.numpy()], levels(200)),
    Case(
        "negative binomial",
        NegativeBinomial,
        (MEANS.log(), THETAS.log()),
        [st.nbinom(s, s / (s + m)) for m, s in zip(MEANS.numpy(), THETAS.numpy(), strict=True)],
        levels(400),
    ),
    Case(
        "zero-inflated negative binomial",
        zero_inflated_negative_binomial,
        (MEANS.log(), THETAS[[0, 1, 2, 2]].log(), t(-3, 0.5, -1, 2)),
        [
            inflated(1 / (1 + math.exp(-logit)), st.nbinom(s, s / (s + m)))
            for m, s, logit in zip(MEANS.numpy(), THETAS[[0, 1, 2, 2]].numpy(), (-3, 0.5, -1, 2), strict=True)
        ],
        levels(400),
    ),
]

each = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name.replace(" ", "-"))


# -- laws ----------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-9), (F32, 2e-5)], ids=["fp64", "fp32"])
def test_log_prob_is_scipys(case: Case, dtype: torch.dtype, tolerance: float):
    ours = case.record(dtype).log_prob(case.x.to(dtype))
    reference = case.reference()
    reached = reference > -600  # scipy's own masses underflow beyond
    assert ours.dtype == dtype and ours.shape == reference.shape
    np.testing.assert_allclose(ours.double().numpy()[reached], reference[reached], tolerance, tolerance)


@each
def test_mass_is_one(case: Case):
    record = case.record()
    if case.complete:
        total = record.log_prob(case.x).exp().sum(0)
    else:
        nodes, weights = np.polynomial.legendre.leggauss(40)
        x, w = torch.from_numpy((nodes + 1) / 2).unsqueeze(1), torch.from_numpy(weights / 2).unsqueeze(1)
        total = (record.log_prob(x).exp() * w).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-10)


@each
@pytest.mark.parametrize("dtype", [F64, F32], ids=["fp64", "fp32"])
def test_mean_is_scipys(case: Case, dtype: torch.dtype):
    expected = torch.tensor([r.mean() for r in case.references], dtype=F64)
    tolerance = 5e-3 if "logistic" in case.name else 1e-9 if dtype == F64 else 1e-5
    torch.testing.assert_close(case.record(dtype).mean.double(), expected, rtol=tolerance, atol=tolerance)


@each
def test_mode_has_the_highest_probability(case: Case):
    record = case.record()
    assert (record.log_prob(record.mode) >= record.log_prob(case.x).amax(0) - 1e-9).all()


@each
@pytest.mark.parametrize("dtype", [F64, F32], ids=["fp64", "fp32"])
def test_draws_have_the_mean_and_variance(case: Case, dtype: torch.dtype):
    n = 20_000
    draws = case.record(dtype).draw(ForwardContext.of(Source(3, dtype=dtype)), rows=n)
    assert draws.shape == (n, len(case.references)) and draws.dtype == dtype
    draws = draws.double()
    mean, variance = (torch.tensor([getattr(r, m)() for r in case.references]) for m in ("mean", "var"))
    error = (variance / n).sqrt()
    assert ((draws.mean(0) - mean).abs() < 4 * error + 1e-12).all()
    squares = (draws - mean).square()
    assert ((squares.mean(0) - variance).abs() < 4 * squares.std(0) / n**0.5 + 1e-3 * variance).all()


@each
def test_draws_follow_the_law(case: Case):
    """Chi-square over the cells of the support (ten equal intervals where continuous), p > 1e-4 each."""
    n = 20_000
    draws = case.record(F32).draw(ForwardContext.of(Source(5)), rows=n).numpy()
    for own, reference in zip(draws.T, case.references, strict=True):
        if case.complete:
            expected = np.exp(reference.logpmf(case.x[:, 0].numpy())) * n
            seen = np.bincount(own.astype(int), minlength=len(expected))
        else:
            edges = np.linspace(0, 1, 11)
            density = np.exp(reference.logpdf(np.linspace(0, 1, 10_001)))
            mass = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])[::1000]
            expected, seen = np.diff(mass) / mass[-1] * n, np.histogram(own, edges)[0]
        keep = expected >= 5
        pooled = [np.append(v[keep], v[~keep].sum()) for v in (seen, expected)]
        statistic = ((pooled[0] - pooled[1]) ** 2 / np.maximum(pooled[1], 1)).sum()
        assert st.chi2.sf(statistic, keep.sum()) > 1e-4


@each
def test_gradient_is_the_finite_difference(case: Case):
    inputs = tuple(p.clone().requires_grad_() for p in case.parameters)
    x = case.x[:: max(1, len(case.x) // 12)]
    assert torch.autograd.gradcheck(lambda *p: case.make(*p).log_prob(x), inputs, atol=1e-5, rtol=1e-4)


@each
def test_vmap_equals_a_loop(case: Case):
    """log_prob, mean, mode and, on the same noise, draw."""
    n = len(case.references)
    recorder = Recorder(Source(0, dtype=F64))
    case.make(*(p[0] for p in case.parameters)).draw(ForwardContext.of(recorder))
    source = Source(1, dtype=F64)
    noise = [getattr(source, kind)((n, *shape)) for kind, shape in recorder.requests]

    def all_of(parameters: tuple, x: Tensor, noise: list) -> tuple:
        record = case.make(*parameters)
        return record.log_prob(x), record.mean, record.mode, record.draw(ForwardContext.of(ReplayNoise(noise)))

    x = case.x[:1, 0].expand(n)
    together = torch.vmap(all_of)(case.parameters, x, noise)
    alone = [all_of(tuple(p[i] for p in case.parameters), x[i], [u[i] for u in noise]) for i in range(n)]
    for vmapped, looped in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(vmapped, torch.stack(looped))


@each
def test_a_record_is_a_pytree(case: Case):
    record = case.record()
    leaves, structure = pytree.tree_flatten(record)
    assert len([leaf for leaf in leaves if leaf is not None]) == len(case.parameters)
    again = pytree.tree_map_only(torch.Tensor, torch.clone, pytree.tree_unflatten(leaves, structure))
    assert type(again) is type(record)
    assert torch.equal(again.log_prob(case.x), record.log_prob(case.x))


@each
@pytest.mark.parametrize("dtype", [F64, F32], ids=["fp64", "fp32"])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-3, 20.0, -20.0, 60.0, -60.0])
def test_values_and_gradients_stay_finite(case: Case, dtype: torch.dtype, size: float):
    inputs = [torch.full_like(p, size, dtype=dtype).requires_grad_() for p in case.parameters]
    value = case.make(*inputs).log_prob(case.x.to(dtype))
    assert value.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(value.sum(), inputs))


# -- reference values ----------------------------------------------------------------------------


def test_continuous_bernoulli_normaliser():
    """log C = log p(x) under it minus the cross-entropy; near one half log 2 + 4 d^2/3 + 104 d^4/45."""
    d = t(1e-1, 3e-2, 1e-3, 1e-6, 0)
    probability = torch.cat([t(0.3, 0.9), 0.5 + d[1:], 0.5 - d[1:]])
    logits, x = torch.logit(probability), t(0.37)
    constant = ContinuousBernoulli(logits).log_prob(x) - Bernoulli(logits).log_prob(x)
    series = 0.6931471805599453 + 4 * d[1:] ** 2 / 3 + 104 * d[1:] ** 4 / 45
    expected = torch.cat([t(0.7505877509, 1.0103385595), series, series])
    torch.testing.assert_close(constant, expected, rtol=0, atol=1e-8)


def test_continuous_bernoulli_draws_are_reparameterised():
    """dx/dlogits by autograd against central differences, on both sides of both switches."""
    logits = t(-30, -2, -1.1e-3, -0.9e-3, 0, 1e-5, 0.9e-3, 1.1e-3, 0.5, 30).requires_grad_()
    u = torch.full_like(logits, 0.3)
    assert torch.autograd.gradcheck(
        lambda v: ContinuousBernoulli(v).draw(ForwardContext.of(ReplayNoise([u.detach()]))),
        (logits,),
        eps=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("loc", [-1.0, -0.999, 0.0, 1.0])
@pytest.mark.parametrize("scale", [0.002, 0.1, 3.0])
def test_discretised_masses_sum_to_one(loc: float, scale: float):
    record = DiscretisedLogisticMixture(t(0, 1), t(loc, -loc), t(scale, scale).log(), levels=256)
    total = record.log_prob(torch.arange(256, dtype=F64)).exp().sum()
    assert abs(total - 1) < 1e-12


def test_discretised_in_fp32_is_fp64():
    parameters = [t(0, 1), t(0.5, -1), t(0.002, 0.1).log()]
    k = torch.arange(256)
    wide = DiscretisedLogisticMixture(*parameters, levels=256).log_prob(k.double())
    narrow = DiscretisedLogisticMixture(*(p.float() for p in parameters), levels=256).log_prob(k.float())
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-4, atol=1e-4)


def test_negative_binomial_near_poisson_in_fp32():
    """torch.distributions gives -10.56 here."""
    value = NegativeBinomial(torch.tensor(5.0).log(), torch.tensor(1e7).log()).log_prob(torch.tensor(7.0))
    assert abs(value + 2.2590) < 1e-4


def test_counts_in_fp32_keep_their_digits():
    """Against fp64 on the same parameters: relative error below 1e-5 over the range of counts."""
    theta, mean = torch.logspace(-3, 8, 23), torch.logspace(-3, 5, 17)
    x = torch.cat([torch.arange(13.0), torch.logspace(1.2, 5, 20).round()])
    log_mean, log_theta, x = torch.meshgrid(mean.log(), theta.log(), x, indexing="ij")
    spread = log_mean.exp() + 3 * (log_mean.exp() + (2 * log_mean - log_theta).exp()).sqrt()
    for counts in (x, spread.round().clamp(max=1e5)):
        narrow = NegativeBinomial(log_mean, log_theta).log_prob(counts).double()
        wide = NegativeBinomial(log_mean.double(), log_theta.double()).log_prob(counts.double())
        assert ((narrow - wide) / wide).abs().max() < 1e-5
        narrow, wide = (
            Poisson(log_mean).log_prob(counts),
            Poisson(log_mean.double()).log_prob(counts.double()),
        )
        assert ((narrow.double() - wide) / wide).abs().max() < 1e-5


def test_counts_in_fp64_at_the_ends_of_the_range():
    """scipy's values far from the middle."""
    for mean, theta, x in [
        (1e-3, 1e-3, 0),
        (1e5, 1e-3, 3),
        (1e5, 1e4, 101_000),
        (1e-3, 1.0, 2),
        (50, 1e5, 60),
    ]:
        ours = NegativeBinomial(t(mean).log(), t(theta).log()).log_prob(t(x)).item()
        assert ours == pytest.approx(st.nbinom(theta, theta / (theta + mean)).logpmf(x), rel=1e-8)
    limit = NegativeBinomial(RATES.log(), t(1e15).log()).log_prob(levels(60))
    torch.testing.assert_close(limit, Poisson(RATES.log()).log_prob(levels(60)), rtol=1e-9, atol=1e-9)


def test_counts_are_drawn_at_large_and_small_rates():
    rates = torch.tensor([1e-6, 1e-2, 300.0, 1e4, 3e5])
    n = 4_000
    draws = Poisson(rates.log()).draw(ForwardContext.of(Source(0)), rows=n).double()
    assert ((draws.mean(0) - rates).abs() <= 4 * (rates / n).sqrt()).all()
    for own, rate in zip(draws.T[2:], rates[2:].tolist(), strict=True):
        grid = st.poisson(rate).ppf(np.linspace(0.05, 0.95, 19))
        below = (own[:, None] <= torch.from_numpy(grid)).double().mean(0).numpy()
        assert np.abs(below - st.poisson(rate).cdf(grid)).max() < 1.95 / n**0.5  # Kolmogorov-Smirnov at .001
    overdispersed = NegativeBinomial(torch.tensor(100.0).log(), torch.tensor(0.05).log())
    zeros = (overdispersed.draw(ForwardContext.of(Source(1)), rows=n) == 0).double().mean().item()
    p = st.nbinom(0.05, 0.05 / 100.05).pmf(0)
    assert abs(zeros - p) < 4 * (p * (1 - p) / n) ** 0.5


# -- side by side --------------------------------------------------------------------------------


def test_a_joint_is_its_parts():
    parts = (Normal(t(0, 1), t(1, 2)), Categorical(CATEGORIES[1:2]), Poisson(t(0.3)))
    joint = Joint(parts, (2, 1, 1))
    x = torch.cat([torch.randn(5, 2, dtype=F64), levels(4)[[0, 1, 2, 3, 1]], levels(5)], 1)
    expected = [p.log_prob(own) for p, own in zip(parts, x.split([2, 1, 1], 1), strict=True)]
    torch.testing.assert_close(joint.log_prob(x), torch.cat(expected, 1))
    assert joint.mean.shape == joint.mode.shape == (4,)
    assert joint.draw(ForwardContext.of(Source(0, dtype=F64)), rows=7).shape == (7, 4)
    again = pytree.tree_map_only(torch.Tensor, torch.clone, joint)
    assert again.sizes == (2, 1, 1) and torch.equal(again.log_prob(x), joint.log_prob(x))
