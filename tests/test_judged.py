"""Losses that stand where a likelihood stands: against their definitions, and said to be no likelihoods."""

import copy

import numpy as np
import pytest
import torch
from compositions import plain

import vaekit as vk
from vaekit import testing
from vaekit.core import Batch, Source
from vaekit.distributions.similarity import multi_scale_similarity
from vaekit.likelihoods import MultiScaleSimilarity, Perceptual
from vaekit.networks import ConvDecoder, ConvEncoder
from vaekit.objectives import ELBO, IWAE
from vaekit.training import Adam, Ensemble, Learner, Step

JUDGES = {
    "ms-ssim": MultiScaleSimilarity,
    "ms-ssim, of images given": lambda: MultiScaleSimilarity(2.0, scales=1, window=5, reads="probs"),
    "perceptual": lambda: Perceptual(ConvEncoder((4,), None), weight=3.0),
    "perceptual, several maps": lambda: Perceptual(TwoMaps()),
}


class TwoMaps(torch.nn.Module):
    """A user's network: the maps of two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(1, 3, 3), torch.nn.Conv2d(3, 2, 3)

    def forward(self, x):
        first = self.first(x)
        return first, self.second(first.relu())


def images(rows, shape=(1, 8, 8), seed=0):
    return torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model_of(judge, seed=0):
    torch.manual_seed(seed)
    decoder = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Sigmoid(), torch.nn.Unflatten(1, (1, 8, 8)))
    given = getattr(judge, "reads", None) == "probs"
    model = vk.VAEModule(ConvEncoder((4, 8), 16), plain(), decoder if given else ConvDecoder((8, 4), 16), judge)
    return model.resolve_shapes((1, 8, 8)).double()


# -- MS-SSIM ---------------------------------------------------------------------------------------

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def by_definition(x, y, scales, window):
    """MS-SSIM of two planes, window by window, with variances about the mean."""
    places = np.arange(window) - (window - 1) / 2
    bell = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * 1.5**2))
    bell, weights, total = bell / bell.sum(), WEIGHTS[:scales] / WEIGHTS[:scales].sum(), 1.0
    for scale, weight in enumerate(weights):
        luminance, structure = [], []
        for i in range(x.shape[0] - window + 1):
            for j in range(x.shape[1] - window + 1):
                a, b = x[i : i + window, j : j + window], y[i : i + window, j : j + window]
                mu, nu = (bell * a).sum(), (bell * b).sum()
                variances = (bell * (a - mu) ** 2).sum() + (bell * (b - nu) ** 2).sum()
                structure.append((2 * (bell * (a - mu) * (b - nu)).sum() + 0.0009) / (variances + 0.0009))
                luminance.append((2 * mu * nu + 0.0001) / (mu**2 + nu**2 + 0.0001))
        last = scale == scales - 1
        total *= np.mean(np.multiply(luminance, structure) if last else structure) ** weight
        x, y = (p[: len(p) // 2 * 2, : p.shape[1] // 2 * 2] for p in (x, y))
        x, y = ((p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2]) / 4 for p in (x, y))
    return total


@pytest.mark.parametrize(("shape", "scales", "window"), [((1, 24, 23), 2, 11), ((2, 21, 30), 3, 5), ((3, 9, 9), 1, 7)])
def test_ms_ssim_is_its_definition(shape, scales, window):
    x = images(3, shape)
    y = (x + 0.3 * (images(3, shape, seed=1) - 0.5)).clamp(0, 1)
    got = multi_scale_similarity(x, y, scales, window)
    for row in range(3):
        want = np.mean([by_definition(x[row, c].numpy(), y[row, c].numpy(), scales, window) for c in range(shape[0])])
        assert float(got[row]) == pytest.approx(want, rel=1e-9)


def test_ms_ssim_has_five_scales_where_the_window_of_eleven_fits_them():
    x = images(1, (1, 176, 176))
    y = (x + 0.2 * images(1, (1, 176, 176), seed=1)).clamp(0, 1)
    judge = MultiScaleSimilarity(shape=(1, 176, 176))
    torch.testing.assert_close(judge.loss(y, x), 1 - multi_scale_similarity(x, y, 5, 11))
    smaller = MultiScaleSimilarity(shape=(1, 175, 176))
    torch.testing.assert_close(
        smaller.loss(y[:, :, 1:], x[:, :, 1:]), 1 - multi_scale_similarity(x[:, :, 1:], y[:, :, 1:], 4, 11)
    )


def test_ms_ssim_is_one_for_equal_images_less_for_others_and_symmetric():
    x, y = images(5, (2, 32, 32)), images(5, (2, 32, 32), seed=1)
    torch.testing.assert_close(multi_scale_similarity(x, x, 2, 11), torch.ones(5, dtype=torch.float64))
    assert (multi_scale_similarity(x, y, 2, 11) < 0.2).all()
    torch.testing.assert_close(multi_scale_similarity(x, y, 2, 11), multi_scale_similarity(y, x, 2, 11))


@pytest.mark.parametrize("y", [0.0, 0.5, 1.0])
def test_ms_ssim_has_a_gradient_everywhere(y):
    """Of blank images, and of an image's negative, whose structure is negative."""
    x = images(2, (1, 16, 16)).round()
    for other in (torch.full_like(x, y), 1 - x):
        other.requires_grad_()
        (gradient,) = torch.autograd.grad(multi_scale_similarity(x, other, 2, 7).sum(), other)
        assert gradient.isfinite().all()


def test_a_window_fits_small_images_of_its_own():
    for side, scales, window in ((28, 2, 11), (8, 1, 7), (1, 5, 1), (44, 3, 11)):
        judge = MultiScaleSimilarity(shape=(1, side, side))
        assert (judge._scales, judge._window) == (scales if side > 1 else 1, window)


# -- what a network sees ---------------------------------------------------------------------------


def test_the_perceptual_loss_is_half_the_mean_square_of_each_map_added():
    judge = Perceptual(TwoMaps().double(), weight=3.0, shape=(1, 8, 8))
    x, y = images(4), images(4, seed=1)
    maps = zip(judge.network(x), judge.network(y))
    want = sum(0.5 * np.square((a - b).numpy()).reshape(4, -1).mean(1) for a, b in maps)
    np.testing.assert_allclose(judge.loss(x, y).numpy(), want)
    logits = torch.logit(y)
    np.testing.assert_allclose(judge(logits).log_prob(x).numpy(), -3.0 * 64 * want, rtol=1e-9)
    assert (judge.loss(x, x) == 0).all()


def test_the_network_stays_as_it_is_while_the_model_learns():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.ReLU())
    model = model_of(Perceptual(network.double()))
    before = copy.deepcopy(network.state_dict())
    step = Step(Learner(model, ELBO()).double().train(), Adam(1e-2))
    first = step(Batch(images(6)), step.learner.noise()).losses["model"]
    for _ in range(30):
        last = step(Batch(images(6)), step.learner.noise()).losses["model"]
    assert last < first
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    assert not any("network" in n for names in step.param_groups.values() for n in names)


# -- laws ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", JUDGES)
def test_the_laws_of_a_step_hold(name):
    model, rows = model_of(JUDGES[name]()), Batch(images(4))
    testing.assert_no_sync(model, rows)
    testing.assert_rows_independent(model, rows)
    testing.assert_padding_is_nothing(model, rows)
    testing.assert_players_own_gradients(model, rows, IWAE(2, gradient="dreg"))
    testing.assert_likelihood(model.likelihood, rows.x)


@pytest.mark.parametrize("name", JUDGES)
def test_an_ensemble_equals_its_members(name):
    learners = [Learner(model_of(JUDGES[name](), seed), ELBO()).double().train() for seed in range(2)]
    alone, rows = copy.deepcopy(learners), [Batch(images(4, seed=t)) for t in range(5)]
    for k, learner in enumerate(alone):
        step, noise = Step(learner, Adam(1e-2)), Source.like(learner, k)
        for b in rows:
            step(b, noise)
    step = Step(Ensemble(learners, shared_rows=True), Adam(1e-2))
    noise = step.learner.noise([0, 1])
    for b in rows:
        step(b, noise)
    for member, lone in zip(step.learner.members(), alone):
        for (n, got), want in zip(member.state_dict().items(), lone.state_dict().values()):
            torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8, msg=lambda m, n=n: f"{n}: {m}")


def test_figures_say_that_there_is_no_elbo(tmp_path):
    x = (images(40, (8, 8)) * 255).to(torch.uint8).numpy()
    for recipe in ("ms-ssim", "perceptual"):
        vae = vk.VAE(recipe=recipe, epochs=1, validation=0).fit(x)
        report = vae.evaluate(x, draws=2)
        assert any("is a loss, not a likelihood" in note for note in report.notes)
        assert "bits_per_dim" not in report.figures
        assert vae.caveat_ is not None


def test_figures_say_that_a_critic_s_features_were_trained_and_no_likelihood():
    x = (images(40, (8, 8)) * 255).to(torch.uint8).numpy()
    vae = vk.VAE(recipe=vk.recipes.vae_gan(channels=(4, 4), critic=(4,), hidden=8), epochs=1, validation=0).fit(x)
    assert any("a likelihood that nobody maximised" in note for note in vae.evaluate(x, draws=2).notes)
    assert not any("nobody" in note for note in vk.VAE(epochs=1, validation=0).fit(x).evaluate(x, draws=2).notes)


def test_a_network_of_the_user_s_is_passed_in_again(tmp_path):
    x = (images(40, (8, 8)) * 255).to(torch.uint8).numpy()
    vae = vk.VAE(likelihood=Perceptual(TwoMaps()), epochs=1, validation=0).fit(x)
    vae.save(tmp_path)
    with pytest.raises(vk.storage.StorageError, match=r"load\(path, likelihood=...\)"):
        vk.load(tmp_path)
    loaded = vk.load(tmp_path, likelihood=TwoMaps())
    np.testing.assert_array_equal(vae.score_samples(x[:5], draws=2), loaded.score_samples(x[:5], draws=2))


# -- wrong calls -----------------------------------------------------------------------------------

WRONG = {
    "weight": (lambda: Perceptual(TwoMaps(), weight=0.0), "expected a number above 0"),
    "reads": (lambda: MultiScaleSimilarity(reads="mean"), 'expected "logits" or "probs"'),
    "scales": (lambda: MultiScaleSimilarity(scales=6), "expected 1 to 5, or None"),
    "window": (lambda: MultiScaleSimilarity(window=4), "expected an odd number of pixels"),
    "too small": (lambda: MultiScaleSimilarity(window=11, shape=(1, 8, 8)), "have 0 scales of at least 11 pixels"),
    "too many": (lambda: MultiScaleSimilarity(scales=3, shape=(1, 28, 28)), "have 2 scales of at least 11 pixels"),
    "columns": (lambda: MultiScaleSimilarity(shape=(9,)), "compares images (C, H, W), got rows of (9,)"),
    "missing": (
        lambda: model_of(MultiScaleSimilarity()).prepare(Batch(images(4), torch.ones(4, 1, 8, 8)), Source()),
        "takes a row as one cell, so that a missing one cannot be left out",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_judge_is_told_when_it_is_made(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=".*") as error:
        call()
    assert message in str(error.value)
