"""The very deep hierarchy: its densities, its path to the decoder, its sizes."""

import math

import numpy as np
import pytest
import torch
from compositions import calmed, stirred

import vaekit as vk
from vaekit import latents as lt
from vaekit import likelihoods as lk
from vaekit import testing
from vaekit.core import Batch, ForwardContext, Source
from vaekit.distributions import kl
from vaekit.latents import topdown
from vaekit.model import VAEModule
from vaekit.networks import MLP, ConvDecoder, ConvEncoder

FLOAT64 = torch.float64
UNEVEN = (((1, 1), 1), ((2, 1), 2), ((5, 3), 1))


def scope(seed=0):
    return ForwardContext.of(Source(seed, dtype=FLOAT64))


def maps(seed=0, **settings):
    """Over sizes that do not divide one another, one of them not square."""
    torch.manual_seed(seed)
    return lt.TopDown(UNEVEN, **{"channels": 2, "width": 4, "bottleneck": 3, **settings}).double()


def two_numbers(cells=3, wrap=lambda latent: latent):
    """Two blocks of one number each under a dense decoder of binary cells."""
    torch.manual_seed(0)
    latent = wrap(calmed(stirred(lt.TopDown(2, channels=1, width=6, bottleneck=4))))
    model = VAEModule(MLP((8,)), latent, MLP((8,)), lk.Bernoulli()).resolve_shapes((cells,)).double().eval()
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.mul_(1.5)
    return model


def evidence(latent, rows=7, seed=1):
    return Source(seed, dtype=FLOAT64).randn((rows, *latent.evidence_shape))


@torch.no_grad()
def by_quadrature(model, reach=6.5, points=131):
    """(2^cells,): p(x) of every binary row, summed over a grid of both numbers, and the mass of the grid."""
    line = torch.linspace(-reach, reach, points, dtype=FLOAT64)
    z = torch.cartesian_prod(line, line)
    mass = model.latent.log_prior(z, scope()).exp() * (line[1] - line[0]) ** 2
    x = testing.every_binary_row(model.likelihood.shape[0])
    px = model.decode(z)
    log_lik = torch.stack([px.log_prob(row).sum(1) for row in x])
    return log_lik.exp() @ mass, mass.sum()


def test_the_importance_weighted_bound_is_log_p_by_quadrature():
    model = two_numbers()
    p, mass = by_quadrature(model)
    assert float(mass) == pytest.approx(1, abs=1e-6) and float(p.sum()) == pytest.approx(1, abs=1e-6)
    x = testing.every_binary_row(3)
    log_w = model(Batch(x), Source(0, dtype=FLOAT64), draws=20_000).log_weight.detach().unflatten(0, (-1, len(x)))
    assert float(log_w.var(0).max()) > 0.01, "weights that do not vary test nothing"
    torch.testing.assert_close(log_w.logsumexp(0) - math.log(20_000), p.log(), rtol=0, atol=0.02)
    assert bool((log_w.mean(0) < p.log()).all())


def test_what_is_generated_has_the_probabilities_of_the_quadrature():
    model, n = two_numbers(), 20_000
    p, _ = by_quadrature(model)
    with torch.no_grad():
        noise = Source(3, dtype=FLOAT64)
        rows = model.decode(model.generate(n, noise)).draw(ForwardContext.of(noise))
    seen = torch.bincount((rows @ torch.tensor([1.0, 2.0, 4.0], dtype=FLOAT64)).long(), minlength=8) / n
    assert bool(((seen - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all())


def test_leapfrog_steps_over_it_stay_unbiased():
    testing.assert_unbiased(two_numbers(wrap=lambda latent: lt.Hamiltonian(latent, steps=2)), draws=1000)


def test_it_begins_at_the_standard_normal():
    latent = maps()
    draw = latent.infer(evidence(latent), scope())
    assert draw.kl.shape == (7, 4) and (draw.kl > 0).all()
    z = latent.generate(4000, scope()).detach()
    assert z.shape == (4000, *latent.shape) and latent.shape == (2 * (1 + 2 + 2 + 15),)
    assert abs(float(z.mean())) < 4 / z.numel() ** 0.5 and abs(float(z.var()) - 1) < 4 * (2 / z.numel()) ** 0.5


def test_a_draw_says_what_its_parts_say():
    """log_ratio, what is emitted and the closed rates, each beside the method that says it of any z."""
    latent = stirred(maps())
    e = evidence(latent, 1).expand(4000, -1, -1, -1)
    with torch.no_grad():
        draw = latent.infer(e, scope())
        torch.testing.assert_close(draw.log_ratio, latent.log_prior(draw.z, scope()) - latent(e, draw.z))
        torch.testing.assert_close(draw.emitted, latent.emit(draw.z))
    assert draw.emitted.shape[1:] == latent.emitted_shape == (4, 5, 3)
    gap = draw.kl.sum(1) + draw.log_ratio
    assert float(draw.kl.mean(0).min()) > 1e-3
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / len(gap) ** 0.5


def test_every_weight_is_reached_by_a_gradient():
    latent = stirred(maps())
    draw = latent.infer(evidence(latent), scope())
    (draw.log_ratio.sum() + draw.emitted.square().sum()).backward()
    unreached = [n for n, p in latent.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not unreached


def test_weights_of_q_alone_do_not_reach_what_is_generated():
    latent = stirred(maps())
    latent.emit(latent.generate(3, scope())).sum().backward()
    reached = {n for n, p in latent.named_parameters() if p.grad is not None}
    assert reached == set(latent.generative())


def test_codes_of_one_pixel_stand_between_convolutional_networks():
    """Whose smallest map is larger: the encoder's last layer and the decoder's first are dense then."""
    torch.manual_seed(0)
    latent = lt.TopDown([(1, 2)], channels=3, width=4, bottleneck=3)
    model = VAEModule(ConvEncoder((4, 8)), latent, ConvDecoder((8, 4)), lk.Bernoulli(binarise="dynamic"))
    model = model.resolve_shapes((12, 8)).double()
    x = torch.rand(5, 12, 8, dtype=FLOAT64, generator=torch.Generator().manual_seed(1))
    out = model(Batch(x), Source.like(model))
    assert out.draw.z.shape == (5, 6) and out.cells.shape == (5, 12, 8)
    out.log_lik.sum().backward()
    assert all(p.grad is not None for p in (*model.encoder.parameters(), *model.decoder.parameters()))
    with pytest.raises(ValueError, match="not 2 x 1"):
        VAEModule(ConvEncoder((4, 8)), lt.TopDown([((2, 1), 1)]), ConvDecoder((8, 4)), lk.Bernoulli()).resolve_shapes(
            (12, 8)
        )


def test_residual_networks_begin_smaller_the_deeper():
    def scales(blocks):
        torch.manual_seed(0)
        latent = lt.TopDown(blocks, channels=2, width=32, bottleneck=32)
        return [layer.weight.detach().std() for b in latent.blocks for layer in (b.residual.layers[-1], b.code)]

    few, many = torch.stack(scales(1)).mean(), torch.stack(scales(16)).mean()
    assert float(few / many) == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize(
    ("image", "channels", "sizes"),
    [
        ((1, 28, 28), (4, 4), [(1, 1), (3, 3), (7, 7)]),
        ((3, 20, 33), (4, 4), [(1, 1), (1, 2), (2, 4), (5, 8)]),
        ((1, 8, 8), (4,), [(1, 1), (2, 2), (4, 4)]),
    ],
)
def test_a_number_of_blocks_becomes_sizes_that_halve_the_encoder_s_map(image, channels, sizes):
    model = VAEModule(ConvEncoder(channels, 8), lt.TopDown(2, 1, 4), ConvDecoder(channels, 8), lk.Bernoulli())
    model = model.resolve_shapes(image)
    assert model.latent.rungs == tuple((size, 2) for size in sizes)
    assert model.latent.evidence_shape == (4, *sizes[-1])
    out = model(Batch(torch.rand(1, *image).round()), Source())
    assert out.px.mean.shape == (1, *image)
    testing.assert_config_round_trip(model, lambda m: m(Batch(torch.ones(2, *image)), Source()).log_weight)


WRONG = {
    "no rungs": (lambda: lt.TopDown(()), "or (size, blocks) from the top down"),
    "no blocks": (lambda: lt.TopDown(0), "expected a number of blocks"),
    "none at one size": (
        lambda: lt.TopDown(((1, 2), (4, 0))),
        "such as ((1, 2), (4, 4), (7, 2)): (4, 0) is not allowed",
    ),
    "sizes that shrink": (lambda: lt.TopDown(((4, 1), (2, 1))), "sizes that grow"),
    "no pairs": (lambda: lt.TopDown((1, 4)), "such as ((1, 2), (4, 4), (7, 2))"),
    "no channels": (lambda: lt.TopDown(2, channels=0), "channels=0): expected a whole number from 1"),
    "another map than the encoder's": (
        lambda: VAEModule(
            ConvEncoder((4, 4)), lt.TopDown(((1, 1), (4, 1)), 1, 4), ConvDecoder((4, 4)), lk.Bernoulli()
        ).resolve_shapes((1, 28, 28)),
        "2 halvings take images of (1, 28, 28) to maps of 7 x 7, not 4 x 4",
    ),
    "on a rung": (lambda: lt.LadderLevel(lt.TopDown(2), MLP((6,))), "LadderLevel reads flat evidence"),
    "two players": (
        lambda: vk.objectives.IWAE(2, gradient="dreg").check(two_numbers()),
        "TopDown has weights that serve both",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused(case):
    make, message = WRONG[case]
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((12, 10, 3), "uint8"), ((8, 8), "float32"), ((3, 9, 4), "float64"), ((8, 8), "uint8")]
)
def test_the_recipe_fits_images_of_any_kind(shape, dtype):
    x = np.random.default_rng(0).random((33, *shape))
    x = (x * 255).astype(dtype) if dtype == "uint8" else x.astype(dtype)
    settings = dict(epochs=1, batch_size=16, validation=0, seeds=2)
    vae = vk.VAE(2, recipe=vk.recipes.very_deep(rungs=1, width=8, channels=(4, 4)), **settings).fit(x)
    assert vae.sample(2).shape == (2, *shape) and vae.sample(2).dtype == x.dtype
    assert vae.reconstruct(x[:1]).shape == (1, *shape)
    assert len(vae.members_) == 2 and np.isfinite(vae.score_samples(x[:3], draws=2)).all()


def test_no_output_of_its_networks_makes_the_rate_of_a_number_more_than_three_thousand_nats():
    """With log sigma of p down to -5 it reached 10^8 nats, and one step that made it so was the last that was taken."""
    extremes = 10 ** torch.linspace(-1, 6, 8, dtype=FLOAT64)
    ends = torch.cartesian_prod(*[torch.cat([-extremes, torch.zeros(1, dtype=FLOAT64), extremes])] * 4)
    q = topdown.normal(ends[:, :2].reshape(-1, 2, 1, 1), topdown.SHARPEST_Q)
    p = topdown.normal(ends[:, 2:].reshape(-1, 2, 1, 1), topdown.SHARPEST_P)
    rate = kl(q, p)
    assert rate.isfinite().all() and float(rate.max()) < 3000


def test_a_normal_of_its_networks_is_nearly_what_they_give_where_that_is_small():
    small = torch.linspace(-0.3, 0.3, 7, dtype=FLOAT64).repeat_interleave(2).reshape(-1, 2, 1, 1)
    p = topdown.normal(small, topdown.SHARPEST_P)
    torch.testing.assert_close(p.loc, small[:, :1, 0, 0], rtol=2e-2, atol=1e-9)
    torch.testing.assert_close(p.scale.log(), small[:, 1:, 0, 0], rtol=5e-2, atol=1e-9)


@pytest.mark.parametrize("name", ["very-deep", "very-deep-conv", "very-deep-dense"])
def test_its_recipes_scale_gradients_instead_of_leaving_steps_out(name):
    regime = vk.recipes.Recipe(name).regime(1000)
    assert regime.clip == 200 and vk.VAE(recipe=name).skip is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["very-deep", "very-deep-conv", "very-deep-dense"])
def test_its_recipes_train_at_ten_times_their_learning_rate(name):
    """None goes back, and all get ahead of a coin for each pixel. `very-deep-conv` and `very-deep-dense` diverge here
    within 80 steps where mu is bounded by 50, log sigma by 5, and steps are left out in place of clipped gradients."""
    x = vk.datasets.mnist()[0][:960, ::2, ::2].copy()
    settings = dict(lr=1e-2, batch_size=60, epochs=8, validation=0, threads=1, compile=False, device="cpu")
    vae = vk.VAE(recipe=name, likelihood=lk.Bernoulli(binarise="dynamic"), **settings).fit(x)
    assert vae.ended_ == "finished" and vae.history_[-1]["elbo"] > -math.log(2) * 14 * 14
