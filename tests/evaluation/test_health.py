"""Models made sick on purpose, and one that is well: what is measured, and what is said of it."""

import math

import compositions
import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit import latents as lt
from vaekit import likelihoods as lk
from vaekit.core import Source
from vaekit.data.rows import Rows
from vaekit.data.spec import DataSpec
from vaekit.evaluation import health
from vaekit.model import VAEModule
from vaekit.networks import MLP
from vaekit.objectives import IWAE, Lagging

NOISE, WEIGHTS = 0.5, (3.0, 2.0)


def data(rows=1000, cells=6, seed=0):
    """x = W z + noise, z ~ N(0, I), the columns of W orthogonal and of lengths 3 and 2."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    noise = NOISE * torch.randn(rows, cells, generator=generator, dtype=torch.float64)
    return Rows(z @ loadings(cells).T + noise, DataSpec("real", (cells,), "float64"), torch.float64)


def loadings(cells=6):
    columns = torch.linalg.qr(torch.randn(cells, 2, generator=torch.Generator().manual_seed(7)).double())[0]
    return columns * torch.tensor(WEIGHTS, dtype=torch.float64)


@torch.no_grad()
def optimum(beta=1.0, latents=2, likelihood=None):
    """The linear VAE at the optimum of beta-VAE for these data and this noise; latents beyond two say nothing.

    q has the variance `1 / (1 + w^2 / (beta noise^2))` in each dimension, and its mean is that times W^T x / (beta
    noise^2).
    """
    latent = lt.Latent(lt.Normal(latents), lt.StandardNormal())
    model = VAEModule(MLP(()), latent, MLP(()), likelihood or lk.Gaussian(NOISE)).resolve_shapes((6,)).double().eval()
    encoder, decoder = model.encoder.layers[-1], model.decoder.layers[-1]
    for layer in (encoder, decoder):
        layer.weight.zero_(), layer.bias.zero_()
    variance = 1 / (1 + torch.tensor(WEIGHTS, dtype=torch.float64).square() / (beta * NOISE**2))
    decoder.weight[:, :2] = loadings()
    encoder.weight[:2] = variance[:, None] * loadings().T / (beta * NOISE**2)
    encoder.bias[latents : latents + 2] = variance.log()
    return model


def looked(model, rows=200, **settings):
    return health(model, data(rows), **settings)


def test_a_model_at_its_optimum_is_healthy_and_its_figures_are_those_known():
    found = looked(optimum(), 1000)
    assert found.names == ("healthy",)
    variance = [1 / (1 + w**2 / NOISE**2) for w in WEIGHTS]
    rate = -0.5 * sum(math.log(v) for v in variance)
    assert abs(found["rate"] - rate) < 4 * found.figures["rate"].error
    assert found["information"] - 0.1 < rate < found["information_at_most"] + 0.1  # q(z) is the prior
    assert found["active_units"] == found["active_means"] == 2
    assert found["holes"] < 0.05 and found["strays"] < 0.05 and found["gap_at_least"] < 0.1
    assert abs(found["mmd"]) < 5 * found.figures["mmd"].error
    assert found["slope"] == pytest.approx(1.0, abs=0.15)
    assert found.kl_per_unit == pytest.approx([-0.5 * math.log(v) for v in variance], rel=0.1)


@pytest.mark.parametrize("beta", [4.0, 8.0])
def test_the_slope_is_the_beta_that_the_posterior_is_the_optimum_of(beta):
    found = looked(optimum(beta), 1000)
    assert found["slope"] == pytest.approx(beta, rel=0.15)
    assert "over-regularised" in found.names


def test_weighted_draws_want_a_wider_posterior_which_is_no_ailment():
    for objective in (IWAE(5), Lagging(IWAE(5))):
        found = looked(optimum(4.0), objective=objective)
        assert "over-regularised" not in found.names and "slope" in found.left_out
    assert "slope" in looked(optimum(4.0), objective=IWAE(1)).figures


@torch.no_grad()
def deaf(model):
    """The encoder says the same of every row: the prior."""
    for t in model.encoder.parameters():
        t.zero_()


@torch.no_grad()
def mute(model):
    """The decoder says the same of every code."""
    model.decoder.layers[-1].weight.zero_()


@torch.no_grad()
def stretched(model):
    """Codes four times as far apart, which the decoder makes good."""
    model.encoder.layers[-1].weight[:2] *= 4
    model.encoder.layers[-1].bias[2:] += 2 * math.log(4)
    model.decoder.layers[-1].weight /= 4


@torch.no_grad()
def moved(model):
    model.encoder.layers[-1].bias[0] += 6
    model.decoder.layers[-1].bias -= 6 * model.decoder.layers[-1].weight[:, 0]


@torch.no_grad()
def too_sure(model):
    model.encoder.layers[-1].bias[2:] = -100.0


SICK = {
    "posterior collapse": deaf,
    "decoder ignores z": mute,
    "holes": stretched,
    "holes, elsewhere": moved,
    "log-variance at its clamp": too_sure,
}


@pytest.mark.parametrize("case", SICK)
def test_what_was_done_to_a_model_is_found(case):
    model = optimum()
    SICK[case](model)
    found = looked(model)
    assert found.names[0] == case.partition(",")[0] or case.partition(",")[0] in found.names
    assert "healthy" not in found.names


def test_units_that_say_nothing_are_a_partial_collapse():
    found = looked(optimum(latents=10))
    assert found.names == ("partial collapse",) and found["active_units"] == 2
    assert "2 of 10 units are active" in found.verdicts[0].said
    assert looked(optimum(latents=3)).names == ("healthy",)


@pytest.mark.parametrize(("log_scale", "floored"), [(-30.0, True), (math.log(NOISE), False)])
def test_a_decoder_scale_at_its_minimum_is_told(log_scale, floored):
    for likelihood in (lk.Gaussian("shared"), lk.Gaussian("per_dimension", shape=(6,))):
        model = optimum(likelihood=likelihood)
        model.likelihood.log_scale.data.fill_(log_scale)
        found = looked(model)
        assert found["decoder_scale"] == pytest.approx(1e-3 + math.exp(log_scale))
        assert ("decoder scale at its floor" in found.names) == floored


def test_a_model_whose_numbers_overflowed_is_told_to_have_diverged():
    model = optimum()
    model.decoder.layers[-1].weight.data.fill_(math.nan)
    assert looked(model).names[0] == "diverged"
    model.encoder.layers[-1].weight.data.fill_(math.nan)
    found = looked(model)
    assert found.names[0] == "diverged" and set(found.left_out) >= {"information", "holes"}


def test_a_codebook_of_which_few_codes_are_taken_has_collapsed_in_part():
    book = (
        VAEModule(MLP((8,)), lt.Codebook(16, 2, positions=2), MLP((8,)), lk.Gaussian(NOISE))
        .resolve_shapes((6,))
        .double()
    )
    rows = data(200)
    book.prepare(rows.batch(slice(None)), Source.like(book))
    spread = health(book, rows)
    assert "partial collapse" not in spread.names and spread["unused_codes"] < 0.5
    book.latent.book[2:] = 1e3
    found = health(book, rows)
    assert "partial collapse" in found.names and found["unused_codes"] >= 14 / 16


# -- what training came to -------------------------------------------------------------------------


def course(own, held):
    return [{"epoch": i + 1, "elbo": a, "val_elbo": b} for i, (a, b) in enumerate(zip(own, held))]


def settling(epochs=40, gain=100.0):
    """A curve that has settled."""
    return [-50.0 - gain * 0.7**i for i in range(epochs)]


def test_a_training_that_has_settled_is_well():
    found = looked(optimum(), history=course(settling(), [v - 1 for v in settling()]))
    assert found.names == ("healthy",) and found["overfit_gap"] == pytest.approx(1) and found["rising"] < 1e-3


def test_a_training_that_still_gains_is_under_trained():
    rising = [-100.0 + i for i in range(20)]
    assert looked(optimum(), history=course(rising, rising)).names == ("under-trained",)
    assert looked(optimum(), history=course(rising, rising), ended="stopped early").names == ("healthy",)
    assert looked(optimum(), history=course(rising[:1], rising[:1])).names == ("under-trained",)


def test_held_out_rows_that_turn_back_are_over_fitting_unless_the_best_weights_came_back():
    held = [-50.0 - 100 * 0.7**i - 2.0 * max(0, i - 10) for i in range(40)]
    assert looked(optimum(), history=course(settling(), held)).names == ("over-fitted",)
    assert "over-fitted" not in looked(optimum(), history=course(settling(), held), kept=11).names


@pytest.mark.slow
def test_models_that_are_trained_so_are_found_so():
    rows = data(1000, seed=3).x.float().numpy()
    noise = np.random.default_rng(0).normal(size=(100, 40)).astype("float32")
    settings = dict(latent_dim=2, recipe="auto", lr=5e-3, threads=1, compile=False)
    well = vk.VAE(epochs=60, schedule="cosine", **settings).fit(rows)
    assert well.health(data(1000, seed=4).x.float().numpy()).names == ("healthy",)
    by_heart = vk.VAE(epochs=300, batch_size=20, **{**settings, "latent_dim": 10}, validation=0.5).fit(noise)
    assert "over-fitted" in by_heart.health(noise).names
    begun = vk.VAE(epochs=4, **settings).fit(rows)
    assert "under-trained" in begun.health(rows).names
    pressed = vk.VAE(epochs=40, **{**settings, "recipe": vk.recipes.beta_vae(beta=8.0)}, likelihood=lk.Gaussian(0.5))
    assert {"over-regularised", "posterior collapse"} & set(pressed.fit(rows).health(rows).names)


def test_a_model_that_was_not_trained_is_not_healthy():
    """Interrupted before its first epoch, with every step left out, or with a loss that no data take."""
    assert looked(optimum(), ended="interrupted").names[0] == "untrained"
    steps = [{**r, "step": 10 * r["epoch"], "skipped": 10 * r["epoch"]} for r in course(settling(), settling())]
    assert looked(optimum(), history=steps).names[0] == "untrained"
    lately = [{**r, "skipped": max(0, 10 * (r["epoch"] - 20))} for r in steps]
    assert looked(optimum(), history=lately).names[0] == "diverged"
    model = optimum()
    model.decoder.layers[-1].bias.data.fill_(1e15)
    found = looked(model)
    assert found["distortion"] > 1e29 and found.names[0] == "diverged" and "healthy" not in found.names


def test_a_training_that_went_back_once_is_not_called_healthy():
    steps = [{**r, "step": 10 * r["epoch"]} for r in course(settling(), settling())]
    steps[20:] = [{**r, "rolled_back": 150} for r in steps[20:]]
    found = looked(optimum(), history=steps, ended="recovered")
    assert found.names == ("recovered",) and "step 150" in found.verdicts[0].said


def test_a_training_whose_elbo_fell_far_below_its_start_has_diverged():
    falling = [-50.0, *(-50.0 * 1.5**i for i in range(20))]
    assert looked(optimum(), history=course(falling, falling)).names[0] == "diverged"


def test_a_model_that_is_worse_than_independent_cells_is_said_to_be():
    model, rows = optimum(), 400
    well = looked(model, rows)
    assert well["behind"] < 0 and "worse than no latent" not in well.names
    model.decoder.layers[-1].weight.data.mul_(-1)
    found = looked(model, rows)
    assert "worse than no latent" in found.names and found["behind"] > 0
    assert found["without_latent"] == well["without_latent"]


def test_a_training_that_stood_still_for_most_of_its_epochs_is_said_to_have_stalled():
    """The history of a training that began to learn after 30 of 40 epochs; the level is that of independent cells."""
    model = optimum()
    level = looked(model, 400)["behind"]
    late = [level - 0.5 + 0.01 * (i % 2) for i in range(30)] + [level * (9 - i) / 10 for i in range(10)]
    found = looked(model, 400, history=course(late, late))
    assert found["stalled"] == 0.75 and "stalled" in found.names and "30 of 40 epochs" in str(found)
    assert "stalled" not in looked(model, 400, history=course(settling(), settling())).names


def test_deterministic_codes_that_are_far_narrower_than_the_prior_are_said_to_be():
    model = optimum()
    with torch.no_grad():
        model.encoder.layers[-1].weight[:2] *= 0.1
        model.encoder.layers[-1].bias[:2] *= 0.1
        model.encoder.layers[-1].bias[2:] = -12.0
        model.decoder.layers[-1].weight *= 10
    found = looked(model)
    assert 0.05 < found["spread"] < 0.15 and "codes off the prior's scale" in found.names


def test_a_warm_up_that_is_longer_than_the_training_is_said():
    steps = [{**r, "step": 10 * r["epoch"]} for r in course(settling(), settling())]
    short = looked(optimum(), history=steps, objective=vk.objectives.ELBO(vk.Ramp(1.0, 400)))
    assert short.names == ("healthy",)
    found = looked(optimum(), history=steps, objective=vk.objectives.ELBO(vk.Ramp(1.0, 1000)))
    assert found.names == ("warm-up unfinished",) and found["warm_up_left"] == pytest.approx(0.6)


# -- every latent and likelihood -------------------------------------------------------------------


def few(model, context=0):
    x = compositions.rows(model.likelihood, 50, model.likelihood.shape[0])
    kind = {"unit": "binary", "count": "count", "levels": "count"}.get(model.likelihood.support, "real")
    beside = torch.randn(50, context, dtype=torch.float64) if context else None
    return Rows(x, DataSpec(kind, tuple(x.shape[1:]), "float64"), torch.float64, context=beside)


MEASURES = ("active_units", "information", "holes", "slope", "log_variance_clamped")


@pytest.mark.parametrize("latent", [*compositions.LATENTS, *compositions.POINTS])
def test_every_latent_is_looked_at_or_it_is_said_why_not(latent):
    model = compositions.build(latent)
    found = health(model, few(model))
    for name in MEASURES:
        reason = found.left_out.get(name)
        measured = name in found.figures or (name == "active_units" and "active_means" in found.figures)
        assert measured != bool(reason), f"{name}: {reason}"
    assert found.verdicts and all(math.isfinite(f.value) for f in found.figures.values())
    assert ("rate" in found.figures) == (latent not in compositions.POINTS)


@pytest.mark.parametrize("likelihood", compositions.LIKELIHOODS)
def test_every_likelihood_is_looked_at(likelihood):
    model = compositions.build(likelihood=likelihood, context=2)
    assert math.isfinite(health(model, few(model, 2))["read"])


def test_looking_changes_nothing_and_gives_the_same_again():
    model = compositions.build("vamp").train()
    before, state = {n: t.clone() for n, t in model.state_dict().items()}, torch.get_rng_state()
    first, again = health(model, few(model)), health(model, few(model))
    assert first == again and model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert not model.latent.posterior._forward_hooks


def test_few_rows_are_refused_many_are_a_random_few():
    model = optimum()
    with pytest.raises(ValueError, match="in at least 50 rows, got 49: pass more"):
        health(model, data(49))
    assert health(model, data(1200)).rows == 1000 and health(model, data(300), most=100).rows == 100


# -- where it is told ------------------------------------------------------------------------------


class Told:
    """A display that remembers."""

    def __init__(self):
        self.lines = []

    def start(self, training): ...
    def step(self, training, rows_per_second): ...
    def epoch(self, training, record): ...
    def stop(self): ...

    def tell(self, text):
        self.lines += text.splitlines()


@pytest.mark.parametrize(("validation", "on"), [(0.5, "held-out"), (0, "training"), (0.1, "training")])
def test_fit_ends_with_two_lines_on_the_health_which_change_nothing(validation, on):
    x = data(120).x.float().numpy()
    made = [vk.VAE(epochs=2, validation=validation, threads=1, compile=False) for _ in range(2)]
    told = Told()
    state = torch.get_rng_state()
    made[0].fit(x, display=told)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(told.lines) == 2 and f" {on} rows: rate " in told.lines[0] and "under-trained" in told.lines[1]
    made[1].fit(x)
    assert np.array_equal(made[0].transform(x), made[1].transform(x))


def test_fit_says_it_where_it_is_to_be_verbose_and_of_too_few_rows_nothing(capsys):
    x = data(120).x.float().numpy()
    vk.VAE(epochs=1, verbose=True, threads=1, compile=False).fit(x)
    assert "health on " in capsys.readouterr().err
    vk.VAE(epochs=1, verbose=True, threads=1, compile=False).fit(x[:40])
    assert "health" not in capsys.readouterr().err


def test_an_evaluation_has_it_prints_it_and_writes_it():
    x = data(200).x.float().numpy()
    vae = vk.VAE(epochs=2, threads=1, compile=False).fit(x)
    found = vae.evaluate(x, draws=3)
    assert found.health == vae.health(x) and str(found.health.verdicts[0].said)[:20] in str(found)
    written = found.to_dict()["health"]
    assert written["verdicts"][0]["name"] == found.health.names[0] and written["rows"] == 200
    assert vae.evaluate(x[:10], draws=3).health is None
