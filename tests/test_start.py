"""Where training starts: at the moments of the data, for counts and for data that are read as they are."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import vaekit as vk
from vaekit.evaluation.independent import Independent
from vaekit.likelihoods import (
    Autoregressive,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogisticMixture,
    Gaussian,
    Likelihood,
    Mixed,
    Modalities,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from vaekit.networks import MLP, ConvDecoder, PartDecoder, Recurrent, SequenceDecoder
from vaekit.networks.network import Network
from vaekit.training.build import learner_for
from vaekit.training.splitting import split

DISPERSIONS = ("shared", "per_dimension", "per_output")
COUNTS: dict[str, Callable[[], Likelihood]] = {
    "Poisson": Poisson,
    **{f"NB {d}": lambda d=d: NegativeBinomial(d) for d in DISPERSIONS},
    **{f"ZINB {d}": lambda d=d: ZeroInflatedNegativeBinomial(d) for d in DISPERSIONS},
}
"""Likelihoods of counts."""


def counts(kind: str, rows: int = 400, shape: tuple[int, ...] = (6,), seed: int = 0) -> NDArray[np.int64]:
    """Counts of one kind, whose cells have means of their own."""
    random = np.random.default_rng(seed)
    cell, noise = random.uniform(0.7, 1.3, shape), random.normal(size=(rows, *shape))
    made = {
        "12 bits": lambda: (2000 * cell + 300 * noise).clip(0, 4095).round(),
        "16 bits": lambda: (30000 * cell + 5000 * noise).clip(0, 65535).round(),
        "small": lambda: random.poisson(1.5 * cell, (rows, *shape)),
        "with zeros": lambda: random.poisson(np.exp(6 * cell + noise)) * (random.random((rows, *shape)) < 0.4),
        "rare": lambda: random.poisson(0.05 * cell, (rows, *shape)),
    }
    return made[kind]().astype(np.int64)


KINDS = ("12 bits", "16 bits", "small", "with zeros", "rare")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", COUNTS)
@torch.no_grad()
def test_starts_at_the_mean_of_each_cell(name: str, kind: str) -> None:
    x = torch.from_numpy(counts(kind)).float()
    mask = (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.8).float()
    likelihood = COUNTS[name]().resolve_shapes(shape=(6,))
    for seen in (None, mask):
        at = likelihood.start(x if seen is None else x * seen, seen)
        assert at.shape == likelihood.in_shape
        of = torch.ones_like(x) if seen is None else seen
        mean = torch.maximum((x * of).sum(0) / of.sum(0), 0.5 / (1 + of.sum(0)))
        torch.testing.assert_close(likelihood(at[None]).mean[0], mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_starts_near_the_best_independent_model(kind: str) -> None:
    """Within 0.1 nats a cell of the maximum-likelihood negative binomial, where the old start was off by up to 3e4."""
    vae = vk.VAE(recipe="auto", epochs=0, validation=0).fit(counts(kind))
    rows, likelihood = vae.fitted_.rows(counts(kind)), vae.module_.likelihood
    best = Independent(likelihood, rows).log_p(rows).mean()
    with torch.no_grad():
        px = vae.module_.decode(torch.zeros(1, 2))
        start = px.log_prob(rows.batch(slice(0, 400)).x).sum(1).mean()
    assert best - 0.6 <= start <= best + 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_few_rounds_are_enough_for_the_independent_model(kind: str) -> None:
    """The baseline of a health check takes 25 rounds of L-BFGS: too few to get from 1 to 30,000."""
    x = torch.from_numpy(counts(kind)).double()
    fits = [Independent.of_cells(NegativeBinomial(shape=(6,)), x, rounds=rounds) for rounds in (25, 300)]
    few, many = (float(model.log_p_of_cells(x).mean()) for model in fits)
    assert many - 0.05 < few <= many + 1e-6


@pytest.mark.parametrize("shape", [(6,), (4, 4), (3, 2, 2)])
@torch.no_grad()
def test_own_numbers_start_at_the_moments(shape: tuple[int, ...]) -> None:
    """The variance of a negative binomial at its start is that of the cell, where that is more than a Poisson's."""
    x = torch.from_numpy(counts("12 bits", 1000, shape)).float()
    likelihood = NegativeBinomial().resolve_shapes(shape=shape)
    px = likelihood(likelihood.start(x)[None])
    variance = px.mean + px.mean.square() / px.log_theta.exp()
    torch.testing.assert_close(variance[0], x.var(0, unbiased=False), rtol=1e-3, atol=0)


@pytest.mark.parametrize("scale", ["shared", "per_dimension", "per_output", 1.0])
@torch.no_grad()
def test_gaussian_of_data_as_they_are(scale: float | str) -> None:
    x = torch.tensor([5.0, -300.0, 1e4]) + torch.tensor([0.1, 40.0, 9.0]) * torch.randn(500, 3)
    gaussian = Gaussian(scale, shape=(3,))
    px = gaussian(gaussian.start(x)[None])
    torch.testing.assert_close(px.mean[0], x.mean(0))
    if isinstance(scale, str):
        deviation = x.var(0, unbiased=False)
        wanted = deviation.mean().expand(3) if scale == "shared" else deviation
        torch.testing.assert_close(px.scale[0], wanted.sqrt(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("levels", [256, 4096, 65536])
@torch.no_grad()
def test_levels_start_at_the_moments(levels: int) -> None:
    top = levels - 1
    middle, noise = torch.tensor([0.3, 0.5, 0.7]), torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    x = ((middle + 0.06 * noise).clamp(0, 1) * top).round()
    mixture = DiscretisedLogisticMixture(levels=levels, shape=(3,))
    px = mixture(mixture.start(x)[None])
    torch.testing.assert_close(px.mean[0], x.mean(0), rtol=0.01, atol=0)
    flat = mixture(torch.zeros(1, *mixture.in_shape))
    assert (px.log_prob(x).mean(0) > flat.log_prob(x).mean(0) + 0.5).all()
    constant = mixture(mixture.start(torch.full((50, 3), 7.0))[None])
    assert constant.log_prob(torch.full((1, 3), float(top))).min() > -200  # finite where a level was never met


@pytest.mark.parametrize("mean", [0.03, 0.3, 0.5, 0.97])
@torch.no_grad()
def test_numbers_in_the_unit_interval_start_at_the_mean(mean: float) -> None:
    x = (mean + 0.01 * torch.randn(500, 4, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    density = ContinuousBernoulli(shape=(4,))
    torch.testing.assert_close(density(density.start(x)[None]).mean[0], x.mean(0), rtol=1e-3, atol=1e-4)
    edge = density(density.start(torch.zeros(50, 4))[None])
    assert edge.log_prob(torch.ones(1, 4)).min() > -60
    assert ContinuousBernoulli("probs", shape=(4,)).start(x) is None


class Raw(Gaussian):
    """A Gaussian that reads the data as they are."""

    support = "raw"


def decoded(vae: vk.VAE, rows: int = 1) -> NDArray:
    """The mean at the centre of the prior, in the likelihood's space."""
    model = vae.module_
    with torch.no_grad():
        return model.decode(torch.zeros(rows, *model.latent.shape)).mean.numpy()[0]


@pytest.mark.parametrize("source", ["memory", "file"])
@pytest.mark.parametrize(
    ("decoder", "shape", "shared"),
    [
        (MLP((8,)), (6,), ()),
        (MLP((8,)), (8, 8), ()),
        (ConvDecoder((4, 4), 8), (8, 8), (0, 1)),
        (SequenceDecoder(Recurrent(8)), (9, 3), (0,)),
    ],
)
def test_built_in_decoders_start_at_the_mean(
    decoder: Network, shape: tuple[int, ...], shared: tuple[int, ...], source: str, tmp_path
) -> None:
    x = counts("12 bits", 300, shape)
    np.save(tmp_path / "x.npy", x)
    given = x if source == "memory" else tmp_path / "x.npy"
    vae = vk.VAE(decoder=decoder, likelihood=NegativeBinomial(), epochs=0, validation=0, recipe="auto").fit(given)
    mean = np.broadcast_to(x.mean((0, *(1 + a for a in shared)), keepdims=True)[0], shape)
    if isinstance(decoder, SequenceDecoder):  # its last layer reads a state that is not 0
        np.testing.assert_allclose(vae.module_.decoder.give.bias.detach().exp(), mean[0], rtol=1e-3)
    else:
        np.testing.assert_allclose(decoded(vae).reshape(shape), mean, rtol=1e-3)


def test_parts_start_at_their_own_moments() -> None:
    random = np.random.default_rng(0)
    x = np.column_stack([random.normal(50, 3, 300), random.poisson(700, 300), random.integers(0, 3, 300)])
    parts = [Gaussian("per_dimension", shape=(1,)), Poisson(shape=(1,)), Categorical(3, shape=(1,))]
    vae = vk.VAE(recipe="auto", likelihood=Mixed(parts), epochs=0, validation=0).fit(x)
    with torch.no_grad():
        px = vae.module_.decode(torch.zeros(1, 2))
    np.testing.assert_allclose([px.parts[0].mean.item(), px.parts[1].mean.item()], x[:, :2].mean(0), rtol=1e-4)


@pytest.mark.parametrize("wrapped", [False, True])
def test_rows_of_parts(wrapped: bool) -> None:
    x = counts("12 bits", 300, (6,))
    inner = NegativeBinomial("per_output")
    decoder = PartDecoder([MLP((8,)), MLP((8,))]) if wrapped else MLP((8,))
    vae = vk.VAE(recipe="mvae", likelihood=Modalities(inner, (2, 4)), decoder=decoder, epochs=0, validation=0).fit(x)
    np.testing.assert_allclose(decoded(vae), x.mean(0), rtol=1e-3)


def test_an_autoregressive_network_starts_at_the_mean() -> None:
    x = counts("12 bits", 300, (9, 2))
    likelihood = Autoregressive(NegativeBinomial(), SequenceDecoder(Recurrent(8)))
    before = vk.VAE(recipe="auto", likelihood=likelihood, epochs=0, validation=0).fit(x)
    bias = before.module_.likelihood.network.give.bias.detach().exp()
    np.testing.assert_allclose(bias.numpy(), x.mean((0, 1)), rtol=1e-3)


def test_the_encoder_reads_large_counts_centred_and_scaled() -> None:
    for kind in KINDS:
        vae = vk.VAE(recipe="auto", epochs=0, validation=0).fit(x := counts(kind))
        seen = vae.module_.likelihood.features(torch.from_numpy(x).float())
        if x.mean() > 20:
            assert seen.mean(0).abs().max() < 1e-3 and 0.5 < seen.std(0).min() <= seen.std(0).max() < 1.1, kind
        else:
            torch.testing.assert_close(seen, torch.from_numpy(x).float().log1p())


def test_a_missing_count_reads_as_zero() -> None:
    x = counts("12 bits").astype(float)
    x[::3, 1] = np.nan
    vae = vk.VAE(recipe="auto", likelihood=NegativeBinomial(), missing=True, epochs=0, validation=0).fit(x)
    batch = vae.fitted_.rows(x).batch(slice(0, 4))
    features = vae.module_.likelihood.features(torch.where(batch.mask > 0, batch.x, 0.0), batch.mask)
    assert (features[batch.mask == 0] == 0).all()
    np.testing.assert_allclose(decoded(vae), np.nanmean(x, 0), rtol=1e-3)


@pytest.mark.parametrize("kind", ["12 bits", "16 bits", "with zeros"])
def test_counts_end_no_worse_than_independent_cells(kind: str) -> None:
    x = counts(kind, 300)
    vae = vk.VAE(recipe="auto", epochs=20, compile=False, threads=1).fit(x)
    rows = vae.fitted_.rows(x)
    independent = float(Independent(vae.module_.likelihood, rows).log_p(rows).mean())
    assert vae.history_[0]["elbo"] > independent - 25
    assert vae.history_[-1]["elbo"] > independent - 2


@pytest.mark.parametrize("recipe", ["vae", "conv", "binarised"])
def test_the_cross_entropy_starts_as_ever(recipe: str) -> None:
    """Biases of zero: p = 1/2 costs at most log 2 nats a pixel."""
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    vae = vk.VAE(recipe=recipe, epochs=0, validation=0).fit(x)
    biases = [p for name, p in vae.module_.decoder.named_parameters() if name.endswith("bias")]
    assert biases and all((b == 0).all() for b in biases)


@pytest.mark.parametrize("x", [np.random.default_rng(0).normal(5, 2, (80, 4)), np.eye(4, dtype=np.int64).repeat(20, 0)])
def test_standardised_and_binary_rows_start_as_ever(x: NDArray) -> None:
    decoder = vk.VAE(recipe="auto", epochs=0, validation=0).fit(x).module_.decoder
    assert all((p == 0).all() for name, p in decoder.named_parameters() if name.endswith("bias"))


def test_networks_with_weights_keep_them() -> None:
    x = counts("12 bits")
    encoder, decoder = nn.Linear(6, 4), nn.Linear(2, 6)
    vae = vk.VAE(recipe="auto", encoder=encoder, decoder=decoder, epochs=0, validation=0).fit(x)
    assert torch.equal(vae.module_.decoder.module.bias, decoder.bias)
    torch.testing.assert_close(vae.module_.likelihood.features(ones := torch.ones(1, 6)), ones.log1p())
    built = MLP((8,), in_shape=2, out_shape=6)
    vae = vk.VAE(recipe="auto", decoder=built, epochs=0, validation=0).fit(x)
    assert torch.equal(vae.module_.decoder.layers[-1].bias, built.layers[-1].bias)


def test_a_private_training_reads_no_row_before_its_first_step() -> None:
    x = counts("12 bits")
    vae = vk.VAE(recipe="auto", privacy=vk.training.Privacy(1.0))
    model = learner_for(vae.config(), split(vae.config(), x).rows).model
    assert (model.likelihood.centre == 0).all() and (model.decoder.layers[-1].bias == 0).all()


def test_own_loops_start_there_too() -> None:
    x = counts("12 bits")

    def model(decoder: Network) -> vk.VAEModule:
        from vaekit.latents import Latent, Normal, StandardNormal

        return vk.VAEModule(MLP((8,), heads=2), Latent(Normal(2), StandardNormal()), decoder, NegativeBinomial())

    for training in vk.train(model(MLP((8,))), x, epochs=1, batch_size=400):
        bias = training.learner.model.decoder.layers[-1].bias.detach()
        np.testing.assert_allclose(bias.exp(), x.mean(0), rtol=0.5)  # PyTorch's own biases are added
    built = MLP((8,), in_shape=2, out_shape=6)
    for training in vk.train(model(built), x, epochs=1, batch_size=400):
        assert training.learner.model.decoder.layers[-1].bias.detach().abs().max() < 1


def test_raw_data_are_not_standardised() -> None:
    x = np.random.default_rng(0).normal([50, -7], [3, 0.5], (300, 2))
    vae = vk.VAE(recipe="auto", likelihood=Raw("per_dimension"), epochs=3, validation=0).fit(x)
    assert vae.spec_.offset == (0.0,) and vae.spec_.scale == (1.0,)
    torch.testing.assert_close(vae.fitted_.rows(x).batch(slice(0, 5)).x, torch.from_numpy(x[:5]).float())
    assert np.abs(vae.reconstruct(x).mean(0) - x.mean(0)).max() < 2
    with pytest.raises(ValueError, match="infinity"):
        vae.evaluate(np.full((2, 2), np.inf))
