"""Objectives with critics: their losses written out, who moves whom, and what a critic is told."""

import itertools
import math

import numpy as np
import pytest
import torch
from compositions import batch, build

import vaekit as vk
from vaekit import objectives as ob
from vaekit.core import Batch, Recorder, ReplayNoise, Source
from vaekit.networks import MLP, ConvEncoder
from vaekit.training import Adam, Learner, Step


def learner(objective, latent="normal"):
    torch.manual_seed(0)
    return Learner(build(latent), objective).double()


def gradient(loss, parameters):
    found = torch.autograd.grad(loss, list(parameters), retain_graph=True, allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None] or [torch.zeros(0)])


def log_sigmoid(logits):
    return torch.nn.functional.logsigmoid(logits)


# -- codes against the prior -----------------------------------------------------------------------


@pytest.mark.parametrize("latent", ["normal", "point mass", "point mass, mixture prior"])
def test_the_losses_of_an_adversarial_autoencoder_written_out(latent):
    trained = learner(ob.AAE(MLP((6,)), weight=3.0), latent)
    model, critic, rows = trained.model, trained.objective.critic, batch(trained.model)
    noise = Recorder(Source.like(model))
    losses = trained(rows, noise).losses
    again = ReplayNoise(noise.tape)
    out, prior = model(rows, again), model.generate(6, again)
    of_prior, of_codes = critic(prior).flatten(), critic(out.draw.z).flatten()
    told = -0.5 * (log_sigmoid(of_prior) + log_sigmoid(-of_codes)).mean()
    torch.testing.assert_close(losses["critic"], told)
    fooled = -out.log_lik.mean() - 3.0 * log_sigmoid(of_codes).mean()
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    for own in (encoder, decoder):
        torch.testing.assert_close(gradient(losses["model"], own), gradient(fooled, own))
    learned = list(model.latent.prior.parameters())
    moved = gradient(losses["model"], learned) if learned else None
    if learned:
        torch.testing.assert_close(moved, gradient(-3.0 * log_sigmoid(-of_prior).mean(), learned))
        assert moved.abs().max() > 0


def test_the_best_critic_of_equal_distributions_says_one_half():
    """Codes that are draws of the prior: the critic's cross-entropy cannot fall below log 2, and settles there."""
    torch.manual_seed(0)
    critic = ob.AAE(MLP((16,), "tanh")).resolve_shapes(z_shape=(2,)).critic.double()
    generator, optimiser = torch.Generator().manual_seed(0), torch.optim.Adam(critic.parameters(), 1e-3)
    for _ in range(150):
        codes, prior = torch.randn(2, 512, 2, generator=generator, dtype=torch.float64)
        loss = 0.5 * (ob.mistaken(critic(prior), True) + ob.mistaken(critic(codes), False)).mean()
        optimiser.zero_grad(), loss.backward(), optimiser.step()
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=0.02)


def test_a_critic_s_own_row_weights_are_those_of_the_batch():
    trained = learner(ob.AAE(MLP((6,))))
    rows = batch(trained.model)
    noise = Recorder(Source.like(trained))
    weight = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    weighed = trained(Batch(rows.x, weight=weight), noise).losses
    kept = weight > 0
    part = trained(Batch(rows.x[kept]), ReplayNoise([t[kept] for t in noise.tape])).losses
    for name, loss in weighed.items():
        torch.testing.assert_close(loss, part[name])


# -- VAE-GAN ---------------------------------------------------------------------------------------


def vae_gan(latent="normal"):
    return learner(ob.VAEGAN(MLP((6,), "tanh", out_shape=4), MLP((6,)), gamma=0.3), latent)


@pytest.mark.parametrize("masked", [False, True])
def test_the_losses_of_a_vae_gan_written_out(masked):
    trained = vae_gan()
    model, objective, rows = trained.model, trained.objective, batch(trained.model, masked=masked)
    noise = Recorder(Source.like(model))
    losses = trained(rows, noise).losses
    again = ReplayNoise(noise.tape)
    out = model(rows, again)
    images = [rows.x, out.px.mean, model.decode(model.generate(6, again)).mean]
    features = [objective.features(x if rows.mask is None else x * rows.mask) for x in images]
    centred = [f - f.mean(1, keepdim=True) for f in features]
    seen, rebuilt, dreamt = (f / (f.square().mean(1, keepdim=True) + 1e-5).sqrt() for f in centred)
    real, again, dream = (objective.head(f) for f in (seen, rebuilt, dreamt))
    rate, content = out.draw.rate.mean(), 0.5 * (seen - rebuilt).square().sum(1).mean()
    want = {
        "inference": rate + content,
        "generation": rate + 0.3 * content - (log_sigmoid(again) + log_sigmoid(dream)).mean(),
        "critic": -(log_sigmoid(real) + log_sigmoid(-again) + log_sigmoid(-dream)).mean(),
    }
    for who, loss in want.items():
        torch.testing.assert_close(losses[who], loss, msg=lambda m, w=who: f"{w}: {m}")


def test_the_three_players_of_a_vae_gan_share_nothing_and_leave_out_nothing():
    trained = vae_gan("mixture prior")
    players = trained.param_groups()
    assert list(players) == ["inference", "generation", "critic"]
    assert sorted(n for own in players.values() for n in own) == sorted(n for n, _ in trained.named_parameters())
    assert all(n.startswith("model.encoder") for n in players["inference"])
    assert all(n.startswith("objective.") for n in players["critic"])


def test_a_step_moves_each_player_along_its_own_loss_alone():
    """One step at a tiny rate changes each loss by -rate * |its own gradient|_1 where only its player is moved."""
    trained = vae_gan()
    rows, noise = batch(trained.model), Recorder(Source.like(trained))
    losses, named = trained(rows, noise).losses, dict(trained.named_parameters())
    own = {
        who: torch.autograd.grad(losses[who], [named[n] for n in names], retain_graph=True)
        for who, names in trained.param_groups().items()
    }
    before = {n: p.detach().clone() for n, p in named.items()}
    Step(trained, Adam(1e-6))(rows, ReplayNoise(noise.tape))
    for who, names in trained.param_groups().items():
        for name, g in zip(names, own[who]):
            # Adam's first step has the size of the rate, and the sign of the gradient.
            moved = (before[name] - named[name].detach()) / 1e-6
            torch.testing.assert_close(moved, g / (g.abs() + 1e-8), rtol=1e-4, atol=1e-4)


def test_the_critic_waits_for_its_turn():
    trained = learner(ob.VAEGAN(MLP((6,), "tanh", out_shape=4), MLP((6,)), turns=3))
    step, noise, moved = Step(trained), trained.noise(), []
    for _ in range(6):
        before = {n: p.detach().clone() for n, p in trained.named_parameters()}
        step(batch(trained.model), noise)
        changed = {n for n, p in trained.named_parameters() if not torch.equal(p, before[n])}
        moved.append(any(n.startswith("objective") for n in changed))
        assert {n for n in changed if n.startswith("model")} == {n for n in before if n.startswith("model")}
    assert moved == [False, False, True] * 2


def test_open_convolutional_features_are_the_last_map():
    objective = ob.VAEGAN(ConvEncoder((4, 8)), MLP((6,))).resolve_shapes(x_shape=(3, 12, 12))
    assert objective.features.out_shape == objective.head.in_shape == (8, 3, 3)
    assert objective.head.out_shape == (1,)
    assert objective.resolve_shapes(x_shape=(3, 12, 12)) is objective


WRONG = {
    "features": (lambda: learner(ob.VAEGAN(MLP((6,)), MLP((6,)))), "VAEGAN(features=MLP(...)) is open"),
    "head": (
        lambda: learner(ob.VAEGAN(torch.nn.Linear(5, 4), MLP((6,)))),
        "VAEGAN(head=MLP(...)) is open: in_shape=None",
    ),
    "turns": (lambda: ob.VAEGAN(MLP(), MLP(), turns=0), "VAEGAN(turns=0): expected a whole number from 1"),
    "density": (lambda: learner(ob.VAEGAN(MLP((6,), out_shape=4), MLP((6,))), "point mass"), "has no density"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_critic_is_told_when_it_is_made(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=".*") as error:
        call()
    assert message in str(error.value)


# -- on data ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["aae", "wae-gan"])
def test_a_critic_holds_the_codes_of_digits_to_the_prior(recipe):
    """Without it (weight 0) they are where the decoder likes them.

    The median of three trainings: two players circle each other, and one of them may be far off at any given epoch.
    """
    x = vk.datasets.digits()[0]
    distance = {0.0: [], 10.0: []}
    for weight, seed in itertools.product(distance, range(3)):
        settings = vk.recipes.Recipe(recipe, weight=weight)
        vae = vk.VAE(2, recipe=settings, epochs=40, batch_size=64, validation=0, threads=1, seed=seed).fit(x)
        codes = torch.from_numpy(vae.transform(x))
        prior = torch.randn(codes.shape, generator=torch.Generator().manual_seed(0))
        distance[weight].append(float(ob.WAE().mmd(codes, prior)))
        assert vae.history_[-1]["distortion"] < vae.history_[0]["distortion"]
    assert np.median(distance[10.0]) < 0.5 * np.median(distance[0.0]), distance
