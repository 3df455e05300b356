"""Private training: the clipped, noisy gradient, the batches, what they spend, and what is refused."""

import math
import signal

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.core import ReplayNoise, Source
from vaekit.training import Privacy
from vaekit.training.privacy import PrivateGradients, PrivateTraining, check_private, tape
from vaekit.training.step import gradients
from vaekit.training.train import assemble
from vaekit.training.trainer import Silent

X = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)


def latent(prior=None):
    return vk.latents.Latent(vk.latents.Normal(2), prior or vk.latents.StandardNormal())


def assembled(objective=None, x=X, likelihood=None, prior=None, encoder=None):
    networks = encoder or vk.networks.MLP((8,), heads=2), vk.networks.MLP((8,))
    model = vk.VAEModule(networks[0], latent(prior), networks[1], likelihood or vk.likelihoods.Gaussian("shared"))
    return assemble(model, x, objective or vk.objectives.ELBO(), seed=0)


@pytest.fixture
def known(monkeypatch):
    """An accountant that needs no package: sigma 1, a hundredth of epsilon a step."""
    monkeypatch.setattr(Privacy, "noise_multiplier", lambda self, rate, steps: 1.0)
    monkeypatch.setattr(Privacy, "spent", lambda self, multiplier, rate, steps: 0.01 * steps)


# -- the gradient ----------------------------------------------------------------------------------------


def with_gaps():
    x = X.copy()
    x[::3, 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("objective", "x"),
    [
        (vk.objectives.ELBO(), X),
        (vk.objectives.ELBO(beta=4.0), with_gaps()),
        (vk.objectives.IWAE(4), X),
    ],
    ids=["ELBO", "gaps", "IWAE"],
)
def test_without_clip_and_noise_it_is_the_ordinary_gradient(objective, x):
    learner, rows = assembled(objective, x)
    batch = rows.batch(torch.arange(16))
    terms, own = PrivateGradients(learner, math.inf, 0.0, 16, Source(0))(batch, Source(3))
    given = {n: t for n, t in (("x", batch.x), ("mask", batch.mask)) if t is not None}
    numbers = tape(learner, given, Source(3), 16)
    state = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
    replayed = ReplayNoise([t.movedim(0, 1).flatten(0, 1) for t in numbers])
    want_terms, want = gradients(learner.param_groups(), learner, state, batch, replayed)
    assert terms.losses["model"] == pytest.approx(float(want_terms.losses["model"]), rel=1e-5)
    for a, b in zip(own["model"], want["model"], strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-4)


def test_rows_in_parts_give_the_same_gradient(monkeypatch):
    learner, rows = assembled()
    batch = rows.batch(torch.arange(16))
    private = PrivateGradients(learner, 0.5, 0.0, 16, Source(0))
    whole = private(batch, Source(3))[1]["model"]
    monkeypatch.setattr("vaekit.training.privacy.AT_ONCE", 5 * sum(t.numel() for t in whole))
    for a, b in zip(private(batch, Source(3))[1]["model"], whole, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_no_row_moves_the_sum_by_more_than_the_clip():
    learner, rows = assembled()
    for clip in (0.01, 1.0):
        private = PrivateGradients(learner, clip, 0.0, 1, Source(0))
        for i in range(8):
            own = private(rows.batch(torch.tensor([i])), Source(i))[1]["model"]
            assert math.sqrt(sum(float(g.square().sum()) for g in own)) <= clip * (1 + 1e-5)


def test_clipping_keeps_the_direction_and_leaves_small_gradients_and_drops_what_is_not_finite():
    private = PrivateGradients(assembled()[0], 1.0, 0.0, 1, Source(0))
    rows = {"a": torch.tensor([[3.0, 0.0], [0.3, 0.0], [math.nan, 1.0]]), "b": torch.tensor([[4.0], [0.4], [1.0]])}
    own = private.clipped(rows)
    assert torch.allclose(own["a"], torch.tensor([[0.6, 0.0], [0.3, 0.0], [0.0, 0.0]]))
    assert torch.allclose(own["b"], torch.tensor([[0.8], [0.4], [0.0]]))


def test_the_noise_has_the_scale_it_should_have():
    """Without a row the gradient is noise alone, N(0, (sigma clip / batch_size)^2) in each of its n numbers: their
    mean square within four standard errors, sqrt(2 / n)."""
    learner, rows = assembled()
    private = PrivateGradients(learner, 2.0, 1.5, 30, Source(0))
    drawn = [private(rows.batch(torch.arange(0)), Source(k))[1]["model"] for k in range(20)]
    numbers = torch.cat([g.flatten() for own in drawn for g in own]) / (1.5 * 2.0 / 30)
    assert float(numbers.square().mean()) == pytest.approx(1.0, abs=4 * math.sqrt(2 / len(numbers)))
    assert abs(float(numbers.mean())) < 4 / math.sqrt(len(numbers))


def test_rows_are_drawn_each_by_itself(known):
    """Sizes of batches of N rows at rate q: mean N q, variance N q (1 - q), within four standard errors."""
    learner, rows = assembled(x=np.tile(X, (10, 1)))
    training = PrivateTraining(learner, rows, 60, 64, privacy=Privacy(1.0, delta=1e-6, seed=0))
    sizes = np.array([len(index) for _ in range(60) for index in training._indices()])
    spread = math.sqrt(640 * 0.1 * 0.9)
    assert len(sizes) == 600 and abs(sizes.mean() - 64) < 4 * spread / math.sqrt(600)
    assert sizes.std() == pytest.approx(spread, rel=4 / math.sqrt(2 * 600))


# -- what it spends --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_epsilon_is_that_of_opacus(accountant):
    pytest.importorskip("opacus")
    from opacus.accountants import PRVAccountant, RDPAccountant

    privacy = Privacy(3.0, accountant=accountant)
    sigma, own = privacy.noise_multiplier(0.05, 200), {"rdp": RDPAccountant, "prv": PRVAccountant}[accountant]()
    for _ in range(200):
        own.step(noise_multiplier=sigma, sample_rate=0.05)
    spent = privacy.spent(sigma, 0.05, 200)
    assert spent == pytest.approx(own.get_epsilon(delta=1e-5), rel=1e-9) and 2.9 < spent <= 3.0
    assert privacy.spent(sigma, 0.05, 0) == 0 < privacy.spent(sigma, 0.05, 50) < spent


# -- what is refused -------------------------------------------------------------------------------------


def normalised():
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 4))


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (dict(objective=vk.objectives.FactorTC(vk.networks.MLP((8,)))), "FactorTC trains model and critic"),
        (dict(objective=vk.objectives.TotalCorrelation()), "TotalCorrelation is no mean over rows"),
        (dict(objective=vk.objectives.ELBO(free_bits=0.5)), "ELBO asks for a mean over the rows of a batch"),
        (dict(likelihood=vk.likelihoods.Gaussian("optimal")), "likelihood.variance keeps what rows leave behind"),
        (dict(encoder=normalised()), "normalises by the other rows of a batch"),
    ],
)
def test_what_has_no_gradient_of_a_row_is_refused(parts, says):
    with pytest.raises(ValueError, match=f"cannot be trained privately: .*{says}"):
        check_private(*assembled(**parts))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (dict(patience=3), "the best epoch is chosen by held-out rows"),
        (dict(warm_start=True), "what the weights have spent before"),
        (dict(seeds=2), "every model spends by itself"),
        (dict(compile=True), "are not compiled"),
        (dict(latent=latent(vk.latents.VampPrior(10))), "pseudo.* starts from training rows"),
        (dict(privacy=Privacy(1.0, delta=0.1)), "expected delta below one over their number"),
    ],
)
def test_settings_that_would_tell_more_are_refused(known, settings, says):
    with pytest.raises(ValueError, match=says):
        vk.VAE(2, **{"privacy": Privacy(1.0), "epochs": 1, "threads": 1, **settings}).fit(X)


@pytest.mark.parametrize("wrong", [dict(epsilon=0), dict(epsilon=1, delta=1), dict(epsilon=1, clip=0)])
def test_numbers_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="expected a number (above 0|between 0 and 1)"):
        Privacy(**wrong)
    with pytest.raises(ValueError, match='expected "rdp" or "prv"'):
        Privacy(1.0, accountant="moments")


# -- a whole journey -------------------------------------------------------------------------------------


def test_a_private_model_says_what_it_has_spent(known, tmp_path):
    def fitted():
        privacy = Privacy(3.0, delta=1e-3, seed=1)
        return vk.VAE(2, epochs=3, batch_size=16, threads=1, privacy=privacy).fit(X)

    vae, again = fitted(), fitted()
    assert [round(r["epsilon"], 6) for r in vae.history_] == [0.04, 0.08, 0.12]
    assert np.array_equal(vae.transform(X), again.transform(X))
    vae.save(tmp_path / "run")
    loaded = vk.load(tmp_path / "run")
    assert loaded.privacy.epsilon == 3.0 and loaded.privacy_ == vae.privacy_
    assert any("epsilon = 0.12 at delta = 0.001" in note for note in loaded.evaluate(X, draws=2).notes)
    with pytest.raises(ValueError, match="is not private"):
        vae.fit_prior(X, vk.latents.FlowPrior())


def test_what_an_interrupted_epoch_has_spent_is_told_too(known, tmp_path):
    class Interrupt(Silent):
        def step(self, training, rows_per_second):
            if training.taken == 6:
                signal.raise_signal(signal.SIGINT)

    privacy = Privacy(3.0, delta=1e-3, seed=1)
    vae = vk.VAE(2, epochs=9, batch_size=16, threads=1, privacy=privacy).fit(X, run=tmp_path, display=Interrupt())
    assert vae.ended_ == "interrupted" and vae.history_[-1]["step"] == 4
    assert vk.load(tmp_path).epsilon_ == vae.epsilon_ == pytest.approx(0.06)


def test_a_sweep_is_refused():
    with pytest.raises(ValueError, match="every model of a sweep spends by itself"):
        vk.sweep(vk.VAE(2, privacy=Privacy(1.0)), X, over={"lr": [1e-3, 1e-2]})


def test_without_a_seed_no_two_trainings_are_alike(known):
    def fitted():
        return vk.VAE(2, epochs=1, threads=1, privacy=Privacy(3.0)).fit(X).transform(X)

    assert not np.array_equal(fitted(), fitted())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_private_model_spends_no_more_than_it_may():
    pytest.importorskip("opacus")
    vae = vk.VAE(2, epochs=4, batch_size=8, threads=1, privacy=Privacy(2.0, seed=0)).fit(X)
    assert 1.5 < vae.history_[-1]["epsilon"] <= 2.0
