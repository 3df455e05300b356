"""A prior fitted after training: what it changes, what it leaves, and what it is refused for."""

import copy

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit import latents as lt
from vaekit import objectives as ob
from vaekit.core import Source
from vaekit.sklearn_compat import NotFittedError

HELD = slice(2000, 2500)


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:2500]


def model(digits, **settings):
    return vk.VAE(**{"epochs": 4, "validation": 0, "lr": 2e-3, "threads": 1, **settings}).fit(digits[:2000])


@pytest.fixture(scope="module")
def fitted(digits):
    return model(digits, latent_dim=4)


def still(vae):
    """Everything but the latent's prior."""
    own = f"latent.{vae.module_.latent.own_prior}."
    return {n: t.clone() for n, t in vae.module_.state_dict().items() if not n.startswith(own)}


def distance(vae, x, seed=0):
    """MMD between the codes of rows and draws from the prior, in units of the codes' spread; about 0 if they agree."""
    z = torch.from_numpy(vae.transform(x))
    drawn = vae.module_.generate(len(x), Source(seed)).detach()
    return float(ob.WAE().mmd(z / z.std(0), drawn / z.std(0)))


PRIORS = {
    "mixture": lambda: lt.GaussianMixture(10),
    "flow": lambda: lt.FlowPrior(2, 32),
    "vamp": lambda: lt.VampPrior(50),
    "second stage": lambda: lt.SecondStage((64,)),
}


@pytest.mark.parametrize("name", PRIORS)
def test_a_fitted_prior_raises_the_held_out_bound_and_leaves_the_rest_as_it_was(name, fitted, digits, tmp_path):
    vae, prior = copy.deepcopy(fitted), PRIORS[name]()
    before, kept = vae.evaluate(digits[HELD], draws=10), still(vae)
    vae.fit_prior(digits[:2000], prior, epochs=8)
    after = vae.evaluate(digits[HELD], draws=10)
    assert all(torch.equal(t, vae.module_.state_dict()[n]) for n, t in kept.items())
    assert after["log_likelihood"] > before["log_likelihood"] + 0.2
    assert after["rate"] < before["rate"] - 0.2
    assert after["distortion"] == pytest.approx(before["distortion"], abs=0.5), "the same up to the noise"
    assert all(p.requires_grad for p in vae.module_.parameters())
    vae.save(tmp_path)
    loaded = vk.load(tmp_path)
    np.testing.assert_array_equal(loaded.sample(4, seed=1), vae.sample(4, seed=1))
    np.testing.assert_array_equal(loaded.score_samples(digits[:3], draws=2), vae.score_samples(digits[:3], draws=2))
    assert [r["epoch"] for r in loaded.history_] == list(range(1, 13))


@pytest.fixture(scope="module")
def autoencoder(digits):
    return model(digits, recipe="rae", latent_dim=4)


@pytest.mark.parametrize("name", ["mixture", "flow", "second stage"])
def test_an_autoencoder_gets_a_prior_to_sample_from(name, autoencoder, digits):
    vae = copy.deepcopy(autoencoder)
    before, kept = distance(vae, digits[HELD]), still(vae)
    vae.fit_prior(digits[:2000], PRIORS[name](), epochs=15)
    assert distance(vae, digits[HELD]) < 0.25 * before
    assert vae.history_[-1]["cross_entropy"] < vae.history_[4]["cross_entropy"]
    assert all(torch.equal(t, vae.module_.state_dict()[n]) for n, t in kept.items())
    assert vae.sample(3).shape == (3, 28, 28)


@pytest.mark.parametrize(
    "recipe",
    [
        vk.recipes.vq(codes=16, positions=4),
        pytest.param(vk.recipes.conv_vq(codes=16, prior_layers=1), marks=pytest.mark.slow),
    ],
    ids=["vq", "conv-vq"],
)
def test_a_prior_over_codes_is_fitted_and_the_codebook_stays(recipe, digits):
    vae = model(digits[:600], recipe=recipe, latent_dim=4, epochs=2)
    before, kept = vae.evaluate(digits[HELD], draws=1), still(vae)
    vae.fit_prior(digits[:600], lt.TransformerPrior(16, 1, 2), epochs=3)
    after = vae.evaluate(digits[HELD], draws=1)
    assert isinstance(vae.module_.latent.prior, lt.TransformerPrior)
    assert after["elbo"] > before["elbo"]
    assert after["distortion"] == pytest.approx(before["distortion"], rel=1e-6)  # convolutions may be laid out anew
    assert all(torch.equal(t, vae.module_.state_dict()[n]) for n, t in kept.items())


def test_the_top_of_a_ladder_gets_the_prior(digits):
    vae = model(digits[:600], recipe="ladder", latent_dim=3, epochs=2)
    kept = still(vae)
    vae.fit_prior(digits[:600], lt.GaussianMixture(5), epochs=2)
    assert isinstance(vae.module_.latent.rungs[0].latent.prior, lt.GaussianMixture)
    assert all(torch.equal(t, vae.module_.state_dict()[n]) for n, t in kept.items())


def test_every_seed_gets_a_prior_of_its_own(digits, tmp_path):
    vae = model(digits[:300], seeds=2, epochs=1, validation=0.2)
    vae.fit_prior(digits[:300], lt.GaussianMixture(3), epochs=1, run=tmp_path)
    first, second = (m.module_.latent.prior.loc for m in vae.members_)
    assert vae.members_[0].module_ is vae.module_ and not torch.equal(first, second)
    loaded = vk.load(tmp_path)
    np.testing.assert_array_equal(loaded.members_[1].sample(2), vae.members_[1].sample(2))


def test_an_interrupted_fit_of_a_prior_goes_on_where_it_stopped(fitted, digits, tmp_path):
    class Stop:
        def start(self, training): ...
        def stop(self): ...
        def step(self, training, speed): ...

        def epoch(self, training, record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

    whole, parted = copy.deepcopy(fitted), copy.deepcopy(fitted)
    prior = lt.FlowPrior(2, 16)
    whole.fit_prior(digits[:500], prior, epochs=3)
    with pytest.raises(KeyboardInterrupt):
        parted.fit_prior(digits[:500], prior, epochs=3, run=tmp_path, display=Stop())
    assert isinstance(parted.module_.latent.prior, lt.StandardNormal), "what failed changes nothing"
    assert all(p.requires_grad for p in parted.module_.parameters())
    parted.fit_prior(digits[:500], prior, epochs=3, run=tmp_path, resume=True)
    for name, want in whole.module_.state_dict().items():
        assert torch.equal(parted.module_.state_dict()[name], want)


def test_the_two_stages_at_once_give_each_its_own(digits):
    vae = model(digits[:600], recipe="two-stage", epochs=2)
    for record in vae.history_:
        assert record["elbo"] == pytest.approx(-record["distortion"] - record["rate"], abs=1e-3)
    assert vae.history_[-1]["rate"] < vae.history_[-1]["rate_to_normal"] + 1


@pytest.mark.parametrize(
    ("recipe", "prior", "message"),
    [
        ("hamiltonian", lambda: lt.GaussianMixture(3), "Hamiltonian has no prior that can be replaced"),
        ("vae", lt.StandardNormal, "that of Latent cannot be: it has no parameters"),
        ("vae", lt.PixelPrior, "PixelPrior is a prior over the codes of a codebook"),
        ("vq", lt.FlowPrior, "takes a prior over its codes, PixelPrior() or TransformerPrior(), and FlowPrior is none"),
        ("vae", lambda: lt.GaussianMixture(3, size=5), "built with size=5 but the parts around it need size=2"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(recipe, prior, message, digits):
    vae = vk.VAE(recipe=recipe, epochs=0, validation=0).fit(digits[:50])
    before = vae.module_
    with pytest.raises(ValueError) as error:
        vae.fit_prior(digits[:50], prior())
    assert message in str(error.value) and vae.module_ is before
    with pytest.raises(ValueError, match="reshape"):
        vae.fit_prior(digits[:50, :20], lt.GaussianMixture(3))


def test_a_model_that_is_not_fitted_has_no_codes_to_fit_a_prior_to(digits):
    with pytest.raises(NotFittedError):
        vk.VAE().fit_prior(digits, lt.GaussianMixture(3))


def test_an_objective_without_a_prior_to_train_is_refused():
    parts = lt.Latent(lt.Normal(2), lt.StandardNormal())
    module = vk.VAEModule(vk.networks.MLP((4,)), parts, vk.networks.MLP((4,)), vk.likelihoods.Bernoulli())
    for objective in (ob.PriorFit(), ob.TwoStage()):
        with pytest.raises(ValueError, match="it has no parameters"):
            objective.check(module.resolve_shapes((5,)))


def test_a_prior_may_be_trained_for_another_objective(fitted, digits):
    """Importance-weighted bounds, too, move the prior alone."""
    vae, kept = copy.deepcopy(fitted), still(fitted)
    before = vae.evaluate(digits[HELD], draws=10)
    vae.fit_prior(digits[:2000], lt.FlowPrior(2, 32), objective=ob.IWAE(3), epochs=4)
    assert all(torch.equal(t, vae.module_.state_dict()[n]) for n, t in kept.items())
    assert vae.evaluate(digits[HELD], draws=10)["log_likelihood"] > before["log_likelihood"]
    assert "elbo" in vae.history_[-1]


def test_an_objective_with_networks_of_its_own_trains_no_prior(fitted, digits):
    objective = ob.FactorTC(vk.networks.MLP((16,)))
    with pytest.raises(ValueError, match="FactorTC trains networks of its own, and a prior is trained alone"):
        copy.deepcopy(fitted).fit_prior(digits[:2000], lt.FlowPrior(2, 32), objective=objective)
