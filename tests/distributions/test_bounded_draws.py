"""Whatever the weights are, a draw is finite and bounded, and its density is that of the map that made it."""

import math

import pytest
import torch
from compositions import LATENTS, batch, build

from vaekit import latents as lt
from vaekit import testing
from vaekit.core import Batch, ForwardContext, Source
from vaekit.distributions.elementwise import CONTRACTION, EXPANSION, SHIFT, soft_clamp
from vaekit.distributions.transforms import DISTANCE, ENTRY
from vaekit.networks import MLP

FACTORS = (1, 3, 10, 30)
NOISE = 6.0
"""No draw of a standard normal is larger in these tests: of 2,000 x 4 one in 60,000 would be."""
SIZE, LAYERS, ROWS = 4, 4, 2000
WIDEN = math.exp(EXPANSION)
SCALE = 20.1  # exp(3), the largest standard deviation of a normal posterior

# Each posterior with the bound of its draws, given the bounds of mu and sigma of its base.
POSTERIORS = {
    "coupling": (lambda: lt.Coupling(SIZE, LAYERS, 16, 4), lambda base, s: WIDEN * (base + LAYERS * SHIFT)),
    "masked autoregressive": (
        lambda: lt.MaskedAutoregressive(SIZE, LAYERS, 16, 4),
        lambda base, s: WIDEN * (base + LAYERS * SHIFT),
    ),
    "inverse autoregressive": (
        lambda: lt.InverseAutoregressive(SIZE, LAYERS, 16, 4),
        lambda base, s: torch.as_tensor(base).clamp_min(SHIFT),
    ),
    "planar": (lambda: lt.PlanarFlow(SIZE, LAYERS), lambda base, s: base + LAYERS * DISTANCE),
    "radial": (lambda: lt.RadialFlow(SIZE, LAYERS), lambda base, s: base + LAYERS * DISTANCE),
    "sylvester": (lambda: lt.SylvesterFlow(SIZE, LAYERS), lambda base, s: base + s * LAYERS * ENTRY * SIZE**1.5),
    "spline": (lambda: lt.SplineFlow(SIZE, LAYERS, 6, 16, 4), lambda base, s: base + 5 * s),
}


def random_weights(part, factor, seed=0):
    """Random numbers in all parameters, those that begin at zero too, as large as usual times a factor."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in part.parameters():
            fan = p.shape[-1] if p.dim() > 1 else 16
            p.copy_(factor / math.sqrt(fan) * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return part


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", POSTERIORS)
def test_a_posterior_flow_is_bounded_whatever_its_weights(name, factor, dtype):
    make, bound = POSTERIORS[name]
    posterior = random_weights(make().to(dtype), factor)
    evidence = torch.randn(ROWS, posterior.n_in, dtype=dtype, generator=torch.Generator().manual_seed(1))
    evidence[:, 2 * SIZE :] *= factor  # mu and log sigma^2 come first
    mu, sigma = evidence[:, :SIZE].abs(), (0.5 * evidence[:, SIZE : 2 * SIZE]).exp()
    most = bound(float((mu + NOISE * sigma).max()), float(sigma.max()))
    testing.assert_bounded_draws(posterior(evidence), most)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("bins", [0, 8])
def test_a_flow_prior_is_bounded_whatever_its_weights(bins, factor, dtype):
    """Within exp(2) (|u| + 5 layers) standard deviations with affine layers, max(5, |u|) with splines."""
    prior = random_weights(lt.FlowPrior(LAYERS, 16, SIZE, bins).to(dtype), factor)
    loc, scale = prior.loc.detach().abs(), soft_clamp(prior.log_scale.detach(), -10, 10).exp()
    far = max(5, NOISE) if bins else WIDEN * (NOISE + 5 * LAYERS)
    p = prior(ForwardContext.of(Source(0, dtype=dtype)))
    testing.assert_bounded_draws(p, loc + 1.001 * far * scale, ROWS)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_flow_prior_ends_in_the_place_that_its_codes_have(factor):
    """The bound is in units of the codes: a thousand away and a hundred wide is as well as 0 and 1."""
    codes = 1000 + 100 * torch.randn(500, SIZE, generator=torch.Generator().manual_seed(0))
    prior = lt.FlowPrior(LAYERS, 16, SIZE)
    prior.start(codes, None)
    z = prior(ForwardContext.of(Source(0))).draw(ForwardContext.of(Source(0)), 4000)
    torch.testing.assert_close(z.mean(0), codes.mean(0), rtol=0, atol=6)
    torch.testing.assert_close(z.std(0), codes.std(0), rtol=0.05, atol=0)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("family", [lt.Normal, lt.Laplace, lt.FullNormal, lt.LowRankNormal])
def test_a_conditional_prior_is_bounded_whatever_its_network_says(family, factor):
    prior = lt.Conditional(MLP((16,)), family(SIZE)).resolve_shapes(above=3)
    above = factor * torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(1))
    p = random_weights(prior, factor)(ForwardContext.of(Source(0)), above)
    spread = {lt.Laplace: 20 * SCALE, lt.Normal: NOISE * SCALE}.get(family, NOISE * (SCALE + 20 * SIZE))
    testing.assert_bounded_draws(p, 50 + spread)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_second_stage_is_bounded_whatever_its_networks_say(factor):
    prior = random_weights(lt.SecondStage((16,), SIZE), factor)
    testing.assert_bounded_draws(prior(ForwardContext.of(Source(0))), 20 + NOISE * SCALE, ROWS)


@torch.no_grad()
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", ["vamp", "low rank and vamp", "full normal and vamp", "planar and vamp", "exemplars"])
def test_a_mixture_over_encoded_rows_is_bounded_around_its_components(name, factor):
    """No component is wider than a posterior may be, and a planar flow moves z by less than 10 a layer."""
    model = build(name)
    random_weights(model, factor)
    z = model.generate(ROWS, Source.like(model, 0))
    inputs = next(
        getattr(model.latent.prior, n) for n in ("pseudo_inputs", "exemplars") if hasattr(model.latent.prior, n)
    )
    q = model.latent.posterior(model.encoder(inputs))
    base = getattr(q, "base", q)
    spread = math.exp(10) if name == "exemplars" else SCALE + 20 * 2  # exemplars: one scale, a parameter
    most = float(base.mean.abs().max()) + NOISE * spread + 2 * DISTANCE
    assert z.isfinite().all()
    assert float(z.abs().max()) <= most


@pytest.mark.parametrize("name", LATENTS)
def test_no_latent_draws_what_is_not_finite_whatever_the_weights(name):
    model = build(name).float()
    rows = batch(model)
    for p in model.parameters():
        p.data.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    testing.assert_finite_at_large_weights(model, Batch(rows.x.float()))


def test_the_bounds_leave_a_flow_its_reach():
    """Soft clamps hardly change what is small: a layer near the identity is the affine map that its numbers say."""
    x = torch.linspace(-0.1, 0.1, 21, dtype=torch.float64)
    torch.testing.assert_close(soft_clamp(x, -CONTRACTION / 4, EXPANSION / 4), x, rtol=0.015, atol=0)
    values = soft_clamp(torch.tensor([-1e30, 0.0, 1e30]), -2.0, 1.0)
    assert values.tolist() == [-2.0, 0.0, 1.0]
