"""Series and sentences: the laws of a decoder that reads x, and journeys from rows of unequal length to filled gaps."""

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from compositions import STEPS, series

import vaekit as vk
from vaekit import likelihoods as lk
from vaekit import testing
from vaekit.core import Batch, ForwardContext, Recorder, ReplayNoise, Source
from vaekit.networks import Recurrent, SequenceDecoder
from vaekit.training import Adam, Ensemble, Learner, Sources, Step

each = pytest.mark.parametrize("steps", STEPS)


def rows(model, n=5, length=7, seed=0):
    """Rows that end after 7, 6, 4, 1 and 0 steps, with gaps before their ends."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, length, 3, generator=generator, dtype=torch.float64)
    ends = torch.tensor([length, length - 1, 4, 1, 0])[:n, None, None, None]
    seen = torch.rand(x.shape, generator=generator, dtype=torch.float64) > 0.2
    mask = (seen & (torch.arange(length)[:, None] < ends)).double()
    return Batch(x, mask)


# -- laws of models of series --------------------------------------------------------------------


@each
@pytest.mark.parametrize("latent", ["normal", "vamp", "exemplars", "hamiltonian"])
def test_a_step_over_series_never_waits(steps, latent):
    model = series(steps, latent=latent)
    testing.assert_no_sync(model, rows(model))
    testing.assert_rows_independent(model, rows(model))
    testing.assert_config_round_trip(model, lambda m: m(rows(m), Source.like(m)).log_weight)


@each
def test_padding_changes_neither_z_nor_log_p(steps):
    model, longer = series(steps).eval(), series(steps, length=10).eval()
    longer.load_state_dict(model.state_dict())
    own = rows(model)
    recorder = Recorder(Source.like(model))
    want = model(own, recorder)
    pad = torch.full((5, 1, 3, 3), torch.nan, dtype=torch.float64)
    further = Batch(torch.cat([own.x, pad], 2), torch.cat([own.mask, torch.zeros_like(pad)], 2))
    other = Batch(torch.where(own.mask > 0, own.x, 9.0), own.mask)
    for other_model, batch in ((longer, further), (model, other)):
        got = other_model(batch, ReplayNoise(recorder.tape))
        torch.testing.assert_close(got.draw.z, want.draw.z)
        torch.testing.assert_close(got.log_weight, want.log_weight)


@each
def test_a_gap_is_told_to_the_encoder_and_left_out_of_log_p(steps):
    model, own = series(steps).eval(), rows(series(steps))
    recorder = Recorder(Source.like(model))
    out = model(own, recorder)
    assert (out.cells[own.mask == 0] == 0).all() and (out.cells[own.mask == 1] != 0).all()
    x, mask = own.x.clone(), own.mask.clone()
    x[0, 0, 2], mask[0, 0, 2] = 0, 1
    whole = model(Batch(x, mask), ReplayNoise(recorder.tape))
    mask[0, 0, 2] = 0
    gap = model(Batch(x, mask), ReplayNoise(recorder.tape))
    assert (whole.draw.z[0] != gap.draw.z[0]).any()
    torch.testing.assert_close(whole.draw.z[1:], gap.draw.z[1:], rtol=0, atol=0)


@each
def test_an_ensemble_of_series_equals_its_members(steps):
    learners = [Learner(series(steps), vk.objectives.ELBO(beta)).double() for beta in (0.5, 1.0, 2.0)]
    alone, batches = copy.deepcopy(learners), [rows(learners[0].model, seed=t) for t in range(5)]
    for k, learner in enumerate(alone):
        step, noise = Step(learner, Adam(clip=0.5), total_steps=5), Source.like(learner, k)
        for batch in batches:
            step(batch, noise)
    step = Step(Ensemble(learners, shared_rows=True), Adam(clip=0.5), total_steps=5)
    noise = Sources([Source.like(learners[0], k) for k in range(3)])
    for batch in batches:
        step(batch, noise)
    for member, lone in zip(step.learner.members(), alone):
        for got, want in zip(member.state_dict().values(), lone.state_dict().values()):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


# -- laws of a decoder that reads x ----------------------------------------------------------------


def autoregressive(steps, shape=(4,), levels=3, dropout=0.0):
    torch.manual_seed(0)
    inner = lk.Categorical(levels, one_hot=True)
    likelihood = lk.Autoregressive(inner, SequenceDecoder(STEPS[steps]()), 2, dropout, shape).double()
    for p in likelihood.requires_grad_(False).parameters():
        p.mul_(3)  # far from uniform
    return likelihood


def given(n=1):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def every_row(shape, levels):
    return torch.tensor([*itertools.product(range(levels), repeat=int(np.prod(shape)))]).double().reshape(-1, *shape)


@each
@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_probabilities_of_all_rows_sum_to_one(steps, shape):
    x = every_row(shape, 3)
    px = autoregressive(steps, shape)(given().expand(len(x), -1))
    assert float(px.log_density(x).exp().sum()) == pytest.approx(1, abs=1e-9)


@each
def test_draws_follow_the_probabilities_of_whole_rows(steps):
    x, n = every_row((3,), 3), 20_000
    likelihood = autoregressive(steps, (3,))
    p = likelihood(given().expand(len(x), -1)).log_density(x).exp()
    drawn = likelihood(given().expand(n, -1)).draw(ForwardContext.of(Source(0, dtype=torch.float64)))
    seen = torch.bincount((drawn @ torch.tensor([9.0, 3.0, 1.0]).double()).long(), minlength=27) / n
    assert ((seen - p).abs() <= 4.5 * (p * (1 - p) / n).sqrt() + 1e-4).all()


@each
def test_a_step_depends_on_those_before_it_only(steps):
    px, x = autoregressive(steps)(given()), torch.tensor([[0.0, 1.0, 2.0, 1.0]]).double()
    for t in range(4):
        other = x.clone()
        other[0, t] = (x[0, t] + 1) % 3
        changed = (px.log_prob(x) != px.log_prob(other))[0]
        assert changed[t:].all() and not changed[:t].any()


@each
def test_the_greedy_row_has_the_most_probable_step_at_every_place(steps):
    px = autoregressive(steps)(given(3))
    best = px.mode
    for t, level in itertools.product(range(4), range(3)):
        other = best.clone()
        other[:, t] = level
        assert (px.log_prob(other)[:, t] <= px.log_prob(best)[:, t]).all()


def test_a_row_of_reals_integrates_to_one_and_is_drawn_as_it_is_scored():
    torch.manual_seed(0)
    likelihood = lk.Autoregressive(lk.Gaussian(0.7), SequenceDecoder(Recurrent(4)), 2, shape=(2, 1)).double()
    likelihood.requires_grad_(False)
    n, grid = 200_000, torch.linspace(-6, 6, 241, dtype=torch.float64)
    x = torch.cartesian_prod(grid, grid).reshape(-1, 2, 1)
    p = likelihood(given().expand(len(x), -1)).log_density(x).exp() * 0.05**2
    assert float(p.sum()) == pytest.approx(1, abs=1e-6)
    drawn = likelihood(given().expand(n, -1)).draw(ForwardContext.of(Source(0, dtype=torch.float64))).prod(1)[:, 0]
    assert float(drawn.mean()) == pytest.approx(float((p * x.prod(1)[:, 0]).sum()), abs=4 * float(drawn.std()) / n**0.5)


def test_missing_steps_at_the_end_are_marginal():
    """The probability of a row that ends early is the sum over all that could follow."""
    likelihood = autoregressive("gru")
    x, mask = every_row((4,), 3), torch.tensor([[1.0, 1, 0, 0]]).double().expand(81, -1)
    px = likelihood(given().expand(81, -1))
    scope = ForwardContext.of(Source(0, dtype=torch.float64))
    cut = (likelihood.fitted(px, x, mask, scope)[0].log_prob(x * mask) * mask).sum(1).exp()
    whole = px.log_density(x).exp()
    torch.testing.assert_close(cut[::9], whole.reshape(9, 9).sum(1))


def test_word_dropout_hides_what_is_read_and_never_what_is_explained():
    likelihood, x = autoregressive("gru", dropout=1.0), torch.tensor([[0.0, 1, 2, 1], [2, 0, 1, 1]]).double()
    px, scope = likelihood(given().expand(2, -1)), ForwardContext.of(Source(0, dtype=torch.float64))
    hidden = likelihood.train().fitted(px, x, None, scope)[0]
    nothing = replace(px, known=torch.zeros(2, 1, 4, 1).double())
    torch.testing.assert_close(hidden.log_prob(x), nothing.log_prob(x), rtol=0, atol=0)
    one_by_one = torch.stack([hidden.log_prob(torch.full_like(x, level)) for level in range(3)], -1).exp()
    torch.testing.assert_close(one_by_one.sum(-1), torch.ones_like(x))  # independent steps, each a distribution
    torch.testing.assert_close(
        likelihood.eval().fitted(px, x, None, scope)[0].log_prob(x), px.log_prob(x), rtol=0, atol=0
    )


def test_word_dropout_hides_its_share_of_steps_whole():
    likelihood = lk.Autoregressive(
        lk.Gaussian(), SequenceDecoder(Recurrent(2)), 2, dropout=0.3, shape=(1, 50, 2)
    ).double()
    px = likelihood(given().expand(400, -1))
    mask = torch.ones(400, 1, 50, 2).double()
    mask[:, :, 40:] = 0
    known = likelihood.train().fitted(px, mask, mask, ForwardContext.of(Source(0, dtype=torch.float64)))[0].known
    assert (known[..., 40:, :] == 0).all() and torch.equal(known[..., 0], known[..., 1])
    kept = known[..., :40, 0]
    assert float(kept.mean()) == pytest.approx(0.7, abs=4 * (0.21 / kept.numel()) ** 0.5)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"dropout=1.5\): expected a number in \[0, 1\]"):
        lk.Autoregressive(lk.Bernoulli(), SequenceDecoder(Recurrent(2)), dropout=1.5)


# -- data ------------------------------------------------------------------------------------------


def test_rows_of_unequal_length_are_padded_and_cut_again():
    rows_ = [np.arange(3), np.arange(5), np.arange(1)]
    x = vk.data.padded(rows_)
    assert x.shape == (3, 5) and x.dtype == np.float64 and np.isnan(x).sum() == 6
    for cut, row in zip(vk.data.unpadded(x), rows_):
        np.testing.assert_array_equal(cut, row)
    wide = [np.ones((2, 3), "float32"), np.ones((4, 3), "float32")]
    wide[1][1] = np.nan  # a gap, not the end
    x = vk.data.padded(wide, length=6)
    assert x.shape == (2, 6, 3) and x.dtype == np.float32
    assert [len(row) for row in vk.data.unpadded(x)] == [2, 4]
    assert [len(row) for row in vk.data.unpadded(np.full((1, 4), np.nan))] == [0]
    assert [row.tolist() for row in vk.data.unpadded(np.array([[4, 5, 0, 0], [1, 2, 3, 4]]), end=0)] == [
        [4, 5],
        [1, 2, 3, 4],
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vk.data.padded([]), "got no rows"),
        (lambda: vk.data.padded([np.ones((2, 3)), np.ones((2, 4))]), r"one C for all, got \(2, 3\), \(2, 4\)"),
        (lambda: vk.data.padded([np.ones(5)], length=4), "the longest row has 5 steps"),
    ],
)
def test_rows_that_do_not_fit_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_numbers_of_a_step_each_have_their_own_scale():
    x = np.random.default_rng(0).normal(size=(200, 5, 2)) * [1, 1000] + [0, 5e4]
    vae = vk.VAE(recipe="recurrent", epochs=1, validation=0).fit(x)
    assert len(vae.spec_.scale) == 2
    np.testing.assert_allclose(vae.spec_.decode(vae.spec_.encode(torch.from_numpy(x))), x, rtol=1e-5)
    assert vk.VAE(recipe="auto", epochs=0, validation=0).fit(x).spec_.scale != vae.spec_.scale


@pytest.mark.parametrize("recipe", ["recurrent", "sentence"])
def test_series_come_back_with_their_gaps_filled_and_their_ends_where_they_were(recipe):
    rows_ = [np.random.default_rng(n).integers(0, 5, n) for n in (3, 7, 5, 1) * 5]
    x = vk.data.padded(rows_)
    x = x[..., None] + 0.5 if recipe == "recurrent" else x
    x[1, 2] = np.nan
    vae = vk.VAE(recipe=recipe, missing=True, epochs=1, validation=0).fit(x)
    out = vae.reconstruct(x)
    assert out.shape == x.shape and out.dtype == x.dtype
    assert [len(row) for row in vk.data.unpadded(out)] == [len(row) for row in rows_]
    assert np.isfinite(out[1]).all()
    assert np.isfinite(vae.sample(3)).all()
    if recipe == "sentence":
        assert set(np.unique(out[1])) | set(np.unique(vae.sample(9))) <= {0, 1, 2, 3, 4}


def test_what_comes_after_the_end_of_a_series_is_forecast_by_imputation():
    rows_ = [np.random.default_rng(n).normal(size=(length, 2)) for n, length in enumerate((9, 7, 9, 5) * 5)]
    x = vk.data.padded(rows_)
    x[2, 3:5] = np.nan
    filled = vk.VAE(recipe="recurrent", missing=True, epochs=1, validation=0, threads=1).fit(x).impute(x)
    seen = ~np.isnan(x)
    np.testing.assert_allclose(filled[seen], x[seen])
    assert filled.shape == x.shape and np.isfinite(filled).all()


def test_a_token_that_only_held_out_rows_have_is_told():
    x = np.random.default_rng(0).integers(0, 5, (40, 6))
    with pytest.raises(ValueError, match=r"whole numbers 0\.\.4, got 0\.\.7: .*levels=\(the highest value \+ 1\)"):
        vk.VAE(recipe="sentence", epochs=1, validation=np.where(x > 3, 7, x)).fit(x)


def test_flat_rows_are_no_series():
    with pytest.raises(ValueError, match=r"got flat rows: give rows of one number a step as x\[..., None\]"):
        vk.VAE(recipe="recurrent", epochs=1).fit(np.random.default_rng(0).normal(size=(20, 6)))


def test_fractions_are_no_tokens():
    x = np.array([[0.5, 2.0, np.nan]] * 20)
    with pytest.raises(ValueError, match="whole numbers from 0"):
        vk.VAE(recipe="sentence", missing=True, epochs=1).fit(x)


@pytest.mark.parametrize("recipe", ["recurrent", "temporal-conv", "transformer", "sentence"])
@pytest.mark.parametrize(("shape", "dtype"), [((8, 8), "uint8"), ((8, 8, 3), "uint8"), ((3, 8, 8), "float32")])
def test_images_are_read_as_series_of_rows(recipe, shape, dtype):
    x = np.random.default_rng(0).integers(0, 2, (9, *shape)).astype(dtype)
    vae = vk.VAE(recipe=recipe, epochs=1, validation=0, batch_size=4).fit(x)
    for out in (vae.reconstruct(x[:1]), vae.sample(1)):
        assert (out.shape, out.dtype) == ((1, *shape), x.dtype)
    assert np.isfinite(vae.score_samples(x[:1], draws=2)).all()


@pytest.mark.parametrize("recipe", ["recurrent", "temporal-conv", "transformer", "sentence"])
def test_series_are_trained_stacked(recipe):
    x = np.random.default_rng(0).integers(0, 3, (12, 5) if recipe == "sentence" else (12, 5, 2))
    vae = vk.VAE(recipe=recipe, epochs=2, validation=0, seeds=2).fit(x)
    alone = vk.VAE(recipe=recipe, epochs=2, validation=0, seed=1).fit(x)
    assert len(vae.members_) == 2
    np.testing.assert_allclose(vae.members_[1].transform(x), alone.transform(x), rtol=1e-3, atol=1e-5)


def waves(n, seed=0):
    """Sines of random phase and frequency in noise, 24 steps of them and their cosines."""
    generator = np.random.default_rng(seed)
    phase, frequency = generator.uniform(0, 6.28, (n, 1)), generator.uniform(0.3, 0.8, (n, 1))
    angle = phase + frequency * np.arange(24)
    return np.stack([np.sin(angle), 50 * np.cos(angle)], -1) + generator.normal(size=(n, 24, 2)) * [0.05, 2.5]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "count", "settings"),
    [
        ("recurrent", 1000, {"epochs": 15, "batch_size": 64, "lr": 4e-3}),
        ("temporal-conv", 1000, {"epochs": 15, "batch_size": 64, "lr": 4e-3}),
        ("transformer", 2000, {"epochs": 30, "lr": 2e-3}),
    ],
)
def test_gaps_in_series_are_filled_better_than_by_straight_lines(recipe, count, settings):
    def with_gaps(x, seed):
        gone = np.zeros(x.shape[:2], bool)
        for row, start in zip(gone, np.random.default_rng(seed).integers(3, 14, len(x))):
            row[start : start + 6] = True
        return np.where(gone[..., None], np.nan, x), gone

    x, _ = with_gaps(waves(count), 1)
    truth = waves(200, 7)
    seen, gone = with_gaps(truth, 2)
    vae = vk.VAE(8, recipe=recipe, missing=True, validation=0, threads=1, **settings).fit(x)
    lines = seen.copy()
    for row, hole in zip(lines, gone):
        for c in range(2):
            row[hole, c] = np.interp(np.flatnonzero(hole), np.flatnonzero(~hole), row[~hole, c])
    error = [((guess - truth)[gone] ** 2).mean(0) for guess in (vae.reconstruct(seen), lines)]
    assert (error[0] < 0.5 * error[1]).all()
