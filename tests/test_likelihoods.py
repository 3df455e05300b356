"""The likelihoods: shapes, what the encoder reads, what is refused, and values by hand."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats as st
import torch
from compositions import COLUMNS
from compositions import LIKELIHOODS as COMPOSED
from compositions import rows as composed_rows
from torch import Tensor

from vaekit.core import ForwardContext, Source
from vaekit.likelihoods import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogisticMixture,
    Gaussian,
    Likelihood,
    Mixed,
    NegativeBinomial,
    Ordinal,
    Poisson,
    Warped,
    ZeroInflatedNegativeBinomial,
)

IMAGE = (3, 4, 5)


def mixed() -> Mixed:
    return Mixed(
        [
            Gaussian("per_output", shape=(2,)),
            Categorical(4, shape=(2,)),
            Bernoulli(shape=(1,)),
            NegativeBinomial(shape=(3,)),
        ]
    )


def data(likelihood: Likelihood, rows: int = 6) -> Tensor:
    """Rows inside the support."""
    g = torch.Generator().manual_seed(0)
    if isinstance(likelihood, (Warped, Ordinal)):
        return composed_rows(likelihood, rows, likelihood.shape[0]).float()
    if isinstance(likelihood, Mixed):
        return torch.cat([data(part, rows) for part in likelihood.parts], 1)
    u = torch.rand(rows, *likelihood.shape, generator=g)
    return {
        "unit": u,
        "signed": 2 * u - 1,
        "real": 3 * u - 1,
        "count": (20 * u).floor(),
        "levels": (getattr(likelihood, "levels", 2) * u).floor(),
    }[likelihood.support]


def parameters(likelihood: Likelihood, rows: int = 6, seed: int = 1) -> Tensor:
    numbers = torch.randn(rows, *likelihood.in_shape, generator=torch.Generator().manual_seed(seed))
    return numbers.sigmoid() if getattr(likelihood, "reads", "") == "probs" else numbers


SINGLE: dict[str, tuple[Callable[..., Likelihood], int]] = {  # how it is made, parameters per cell
    "bernoulli": (Bernoulli, 1),
    "bernoulli of probs": (lambda **k: Bernoulli("probs", **k), 1),
    "dynamic": (lambda **k: Bernoulli(binarise="dynamic", **k), 1),
    "continuous bernoulli": (ContinuousBernoulli, 1),
    "gaussian, fixed": (lambda **k: Gaussian(0.5, **k), 1),
    "gaussian, shared": (lambda **k: Gaussian("shared", "tanh", **k), 1),
    "gaussian, per dimension": (lambda **k: Gaussian("per_dimension", "sigmoid", **k), 1),
    "gaussian, per output": (lambda **k: Gaussian("per_output", **k), 2),
    "categorical": (lambda **k: Categorical(7, **k), 7),
    "discretised": (lambda **k: DiscretisedLogisticMixture(4, 16, **k), 12),
    "poisson": (Poisson, 1),
    "negative binomial": (NegativeBinomial, 1),
    "negative binomial, shared": (lambda **k: NegativeBinomial("shared", **k), 1),
    "negative binomial, per output": (lambda **k: NegativeBinomial("per_output", **k), 2),
    "zero-inflated": (ZeroInflatedNegativeBinomial, 2),
    "zero-inflated, per output": (lambda **k: ZeroInflatedNegativeBinomial("per_output", **k), 3),
}
ALL = {f"{name} {shape}": (make, shape) for name, (make, _) in SINGLE.items() for shape in [(7,), IMAGE]}
each = pytest.mark.parametrize(
    "likelihood",
    [*(make(shape=shape) for make, shape in ALL.values()), mixed(), *(COMPOSED[name]() for name in COLUMNS)],
    ids=[*ALL, "mixed", *COLUMNS],
)


# -- the contract --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SINGLE)
def test_parameters_are_stacked_on_the_channels(name: str):
    make, per_cell = SINGLE[name]
    assert make(shape=IMAGE).in_shape == (per_cell * 3, 4, 5)
    assert make(shape=(7,)).in_shape == (per_cell * 7,)


@each
def test_the_distribution_has_one_cell_per_element(likelihood: Likelihood):
    x, p = data(likelihood), likelihood(parameters(likelihood))
    likelihood.check(x)
    assert p.log_prob(x).shape == p.mean.shape == p.mode.shape == x.shape
    draw = p.draw(ForwardContext.of(Source(0)))
    assert draw.shape == x.shape and p.log_prob(draw).isfinite().all()
    if "Gaussian" not in repr(likelihood):  # its draws leave a bounded range
        likelihood.check(draw)


@each
def test_rows_do_not_depend_on_one_another(likelihood: Likelihood):
    x, numbers = data(likelihood), parameters(likelihood)
    torch.testing.assert_close(likelihood(numbers[2:3]).log_prob(x[2:3]), likelihood(numbers).log_prob(x)[2:3])


@each
def test_a_channel_of_x_reads_its_own_parameters(likelihood: Likelihood):
    """The gradient of a cell's log p reaches per_cell numbers, all at the cell's own place."""
    if isinstance(likelihood, Mixed):
        likelihood = max(likelihood.parts, key=lambda part: part.shape)
    if likelihood.shape == (1,) or isinstance(likelihood, Ordinal):
        pytest.skip("one column has no others, and an ordinal one a number for each of its levels")
    numbers = parameters(likelihood, 1).requires_grad_()
    cell = (0, 1, *(2 for _ in likelihood.shape[1:]))
    (g,) = torch.autograd.grad(likelihood(numbers).log_prob(data(likelihood, 1))[cell], numbers)
    own = g.unflatten(1, (likelihood.per_cell, -1)).movedim(1, -1)[cell]
    assert own.count_nonzero() >= likelihood.per_cell - 1 and g.count_nonzero() == own.count_nonzero()


@each
def test_the_encoder_reads_zero_where_the_mask_is_zero(likelihood: Likelihood):
    x = data(likelihood)
    mask = (torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.6).float()
    whole = likelihood.features(x)
    assert whole.shape[1:] == likelihood.features_shape and whole.dtype == x.dtype
    missing = torch.where(mask > 0, x, math.nan)
    seen, nothing = likelihood.features(missing, mask), likelihood.features(missing, torch.zeros_like(mask))
    assert seen.isfinite().all() and (nothing == 0).all()
    if not isinstance(likelihood, Mixed):
        torch.testing.assert_close(seen, whole * mask)


@each
def test_a_masked_cell_is_marginal(likelihood: Likelihood):
    """Nothing of a masked cell reaches the log-probability of the others."""
    x, p = data(likelihood), likelihood(parameters(likelihood))
    mask = torch.ones_like(x)
    mask[:, 1] = 0
    other = torch.where(mask > 0, x, 0.0)
    torch.testing.assert_close(p.log_prob(x) * mask, p.log_prob(other) * mask)


@each
def test_vmap_over_stacked_parameters(likelihood: Likelihood):
    x = data(likelihood)
    numbers = torch.stack([parameters(likelihood, seed=s) for s in range(3)])
    together = torch.vmap(lambda n: likelihood(n).log_prob(x))(numbers)
    torch.testing.assert_close(together, torch.stack([likelihood(n).log_prob(x) for n in numbers]))


@each
def test_every_parameter_has_a_gradient(likelihood: Likelihood):
    inputs = [parameters(likelihood).requires_grad_(), *likelihood.parameters()]
    for g in torch.autograd.grad(likelihood(inputs[0]).log_prob(data(likelihood)).sum(), inputs):
        padded = isinstance(likelihood, Ordinal) and g.shape == likelihood.cuts.shape
        dead = (~likelihood.there[:, 1:]).sum() if padded else 0
        assert g.isfinite().all() and g.count_nonzero() > 0.9 * (g.numel() - dead)


@pytest.mark.parametrize("name", SINGLE)
def test_an_open_shape_is_settled(name: str):
    make, _ = SINGLE[name]
    open_, built = make(), make(shape=(7,))
    settled = open_.resolve_shapes(shape=(7,))
    assert open_.shape is None and settled.arguments() == built.arguments()
    assert settled.state_dict().keys() == built.state_dict().keys()
    assert built.resolve_shapes(shape=(7,)) is built


def test_mixed_settles_to_itself():
    likelihood = mixed()
    assert likelihood.resolve_shapes(shape=(8,), z=3) is likelihood
    assert likelihood.shape == (8,) and likelihood.in_shape == (4 + 8 + 1 + 3,)
    assert likelihood.features_shape == (2 + 8 + 1 + 3,)


# -- values --------------------------------------------------------------------------------------


def test_probs_give_keras_cross_entropy():
    """Keras holds p within [1e-7, 1 - 1e-7]: a wrong 0 or 1 costs about 16.1 nats (15.9 in fp32 near 1)."""
    p = torch.tensor([[0.0, 1e-9, 0.3, 0.999, 1.0, 0.0, 1.0]], requires_grad=True)
    x = torch.tensor([[0.0, 0.0, 0.7, 1.0, 1.0, 1.0, 0.0]])
    clipped = p.detach().clamp(1e-7, 1 - 1e-7)
    keras = x * clipped.log() + (1 - x) * (1 - clipped).log()
    ours = Bernoulli("probs", shape=(7,))(p).log_prob(x)
    torch.testing.assert_close(ours, keras, rtol=1e-6, atol=1e-6)
    assert torch.autograd.grad(ours.sum(), p)[0].isfinite().all()
    half = Bernoulli("probs", shape=(7,))(p.detach().bfloat16()).log_prob(x)
    assert half.isfinite().all()


def test_binarisation():
    x = torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0]).expand(4000, 5)
    dynamic, scope = Bernoulli(binarise="dynamic"), ForwardContext.of(Source(0))
    first, second = dynamic.observe(x, scope), dynamic.observe(x, scope)
    assert set(first.unique().tolist()) == {0.0, 1.0} and not torch.equal(first, second)
    assert ((first.mean(0) - x[0]).abs() <= 4 * (x[0] * (1 - x[0]) / 4000).sqrt()).all()
    threshold = Bernoulli(binarise="threshold").observe(x, scope)[0]
    assert threshold.tolist() == [0, 0, 0, 1, 1] and Bernoulli().observe(x, scope) is x


def test_gaussian_scales():
    numbers, x = torch.randn(5, 6), torch.randn(5, 3)
    loc, log_scale = numbers.chunk(2, 1)
    given = Gaussian("per_output", shape=(3,))(numbers).log_prob(x)
    expected = st.norm(loc, 1e-3 + log_scale.exp()).logpdf(x)
    np.testing.assert_allclose(given, expected, 1e-4, 1e-4)
    fixed = Gaussian(0.3, "tanh", shape=(3,))(loc).log_prob(x)
    np.testing.assert_allclose(fixed, st.norm(loc.tanh(), 0.3).logpdf(x), 1e-4, 1e-4)
    floor = Gaussian("per_output", minimum_scale=0.1, shape=(3,))(torch.full((1, 6), -200.0)).scale
    assert (floor == 0.1).all()
    assert {n: tuple(p.shape) for n, p in Gaussian("per_dimension", shape=(3,)).named_parameters()} == {
        "log_scale": (3,)
    }


def test_levels_are_the_first_dimension_of_the_decoder():
    likelihood = Categorical(5, shape=IMAGE)
    numbers = parameters(likelihood)
    p = likelihood(numbers)
    assert p.logits.shape == (6, *IMAGE, 5)
    assert p.logits[1, 2, 3, 4, 0] == numbers[1, 2, 3, 4] and p.logits[1, 2, 3, 4, 3] == numbers[1, 3 * 3 + 2, 3, 4]


def test_mixed_is_its_parts():
    likelihood = mixed()
    x, numbers = data(likelihood), parameters(likelihood)
    columns, own = x.split([2, 2, 1, 3], 1), numbers.split([4, 8, 1, 3], 1)
    parts = [part(n).log_prob(c) for part, n, c in zip(likelihood.parts, own, columns, strict=True)]
    torch.testing.assert_close(likelihood(numbers).log_prob(x), torch.cat(parts, 1))


def test_mixed_reads_categories_one_hot():
    likelihood = Mixed([Gaussian(shape=(1,)), Categorical(3, shape=(1,)), Poisson(shape=(1,))])
    features = likelihood.features(torch.tensor([[0.5, 2.0, math.e - 1], [-1.0, 0.0, 0.0]]))
    torch.testing.assert_close(features, torch.tensor([[0.5, 0, 0, 1, 1], [-1, 1, 0, 0, 0]]))


# -- what is refused, and what is said -----------------------------------------------------------

X8 = np.array([[0, 255, 3]], dtype=np.uint8)
WRONG = {
    "decoder": (
        lambda: Gaussian("per_output", shape=(784,))(torch.zeros(2, 784)),
        r"Gaussian\(\(784,\)\) reads \(1568,\) per row but the decoder gives \(784,\): build the decoder "
        r"with out_shape=likelihood.in_shape",
    ),
    "grey bytes": (
        lambda: Bernoulli().check(X8),
        r"Bernoulli expects values in \[0, 1\], got 0..255: pass uint8 images to vaekit.VAE, which scales "
        r"them, or divide by 255",
    ),
    "below": (lambda: ContinuousBernoulli().check([-0.5, 1]), r"values in \[0, 1\], got -0.5..1"),
    "tanh": (lambda: Gaussian(mean="tanh").check([0.0, 2.0]), r"values in \[-1, 1\], got 0..2"),
    "infinite": (lambda: Gaussian().check([0.0, math.inf]), r"finite values, got 0..inf"),
    "negative count": (lambda: Poisson().check([-1, 3]), r"counts 0, 1, 2, ..., got -1..3: pass raw counts"),
    "fractions": (lambda: NegativeBinomial().check([0.5, 3]), r"got 0.5..3, not all whole: pass raw counts"),
    "levels": (lambda: Categorical(4).check([0, 4]), r"whole numbers 0..3, got 0..4"),
    "table": (
        lambda: mixed().check(torch.tensor([[0, 0, 4, 0, 1, 0, 0, 0]])),
        r"columns 2..3: Categorical expects",
    ),
    "open": (lambda: Poisson().in_shape, r"Poisson does not know the shape of x yet: .*settled\(shape=...\)"),
    "reads": (
        lambda: Bernoulli("sigmoid"),
        r"Bernoulli\(reads='sigmoid'\): expected \"logits\" or \"probs\"",
    ),
    "binarise": (lambda: Bernoulli(binarise="static"), 'expected "dynamic" or "threshold", or None'),
    "scale name": (
        lambda: Gaussian("learned"),
        'expected a number above 0, or "shared", "per_dimension", "per_output"',
    ),
    "scale": (lambda: Gaussian(0.0), r"Gaussian\(scale=0.0\): expected a number above 0"),
    "floor": (lambda: Gaussian(minimum_scale=0), r"minimum_scale=0\): expected a number above 0"),
    "one level": (lambda: Categorical(1), r"Categorical\(levels=1\): expected a whole number from 2"),
    "no component": (lambda: DiscretisedLogisticMixture(0), r"components=0\): expected a whole number from 1"),
    "library": (lambda: Poisson("known"), r"library='known'\): expected \"observed\" or \"latent\", or None"),
    "library of images": (
        lambda: NegativeBinomial(library="latent", shape=(3, 4, 5)),
        r"expected flat rows, before whose numbers .* got rows of \(3, 4, 5\): flatten them",
    ),
    "dispersion": (lambda: NegativeBinomial("gene"), r"dispersion='gene'\): expected \"shared\""),
    "open part": (lambda: Mixed([Poisson()]), r"got Poisson without such a shape: build each with shape="),
    "no part": (lambda: Mixed([]), r"Mixed\(parts=\[\]\): expected a non-empty list or tuple"),
    "columns": (
        lambda: mixed().resolve_shapes(shape=(9,)),
        r"Mixed has 8 columns in its parts but x has shape \(9,\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_say_what_to_do(name: str):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("likelihood", "x", "integer", "said"),
    [
        (Bernoulli(), [0, 1, 1], True, None),
        (Bernoulli(), [0, 0.5], True, "not a likelihood"),
        (Bernoulli(), [0, 0.5, math.nan], False, "not a likelihood"),
        (Bernoulli(binarise="dynamic"), [0, 0.5], True, None),
        (ContinuousBernoulli(), [0, 0.5], False, None),
        (ContinuousBernoulli(), [0, 0.5], True, "no upper bound"),
        (Gaussian(), [0.1, -3], False, None),
        (Gaussian(), [0.1, -3], True, "Gaussian is a density"),
        (Categorical(4), [0, 3], True, None),
        (Poisson(), [0, 3], True, None),
        (mixed(), [[0, 0, 1, 1, 0.5, 0, 0, 0]], False, "cross-entropy"),
    ],
)
def test_caveats(likelihood: Likelihood, x: Any, integer: bool, said: str | None):
    caveat = likelihood.caveat(torch.tensor(x), integer)
    assert caveat is None if said is None else said in caveat


def test_missing_values_are_not_checked():
    Bernoulli().check([math.nan, 0.5])
    Poisson().check(np.array([math.nan, 2.0]))
    Gaussian().check(torch.full((3,), math.nan))
