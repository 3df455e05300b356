"""What makes figures of VAEs wrong, mistake by mistake: each cannot be made here, or is told."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import vaekit as vk
from vaekit import latents as lt
from vaekit import likelihoods as lk
from vaekit.core import Batch, Ramp, Source
from vaekit.data.rows import Rows
from vaekit.data.spec import DataSpec
from vaekit.evaluation import annealed, compare, evaluate_rows, score_rows
from vaekit.model import VAEModule
from vaekit.networks import MLP
from vaekit.objectives import ELBO
from vaekit.training import Learner

GREY = np.random.default_rng(0).integers(0, 256, (80, 4, 4), dtype="uint8")
REAL = np.random.default_rng(1).normal(size=(100, 3))
X, LOG_P, ELBO_OF_THE_TOY = 1.3, -1.6880121235, -1.9502777548


class Constant(nn.Module):
    """Says the same of every row."""

    def __init__(self, *values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values, dtype=torch.float64))

    def forward(self, x):
        return self.values.to(x.dtype).expand(len(x), -1)


class Twice(nn.Module):
    """The same code in two columns."""

    def forward(self, z):
        return z.expand(len(z), 2)


def toy(mean=0.65, variance=1.2):
    """z ~ N(0, 1), x | z ~ N(z, 1), q = N(mean, variance); N(.65, .5) is the exact posterior of x = 1.3."""
    latent = lt.Latent(lt.Normal(1), lt.StandardNormal())
    model = VAEModule(Constant(mean, math.log(variance)), latent, nn.Identity(), lk.Gaussian(1.0))
    return model.resolve_shapes((1,)).double().eval()


def toy_rows(n=2000):
    return Rows(torch.full((n, 1), X, dtype=torch.float64), DataSpec("real", (1,), "float64"), torch.float64)


def fitted(likelihood=None, x=GREY, **settings):
    settings = {"recipe": "vae", "epochs": 1, "threads": 1, "compile": False, **settings}
    return vk.VAE(likelihood=likelihood, **settings).fit(x)


# -- sums and means ----------------------------------------------------------------------------------


def test_reconstruction_and_rate_are_both_sums_so_that_beta_is_what_it_says():
    """A constant model of D pixels and d latents: D log 2 nats of distortion, d KLs of one dimension of rate."""
    for pixels, latents in ((4, 1), (400, 1), (4, 3)):
        encoder = Constant(*[1.0] * latents, *[0.0] * latents)
        latent = lt.Latent(lt.Normal(latents), lt.StandardNormal())
        model = VAEModule(encoder, latent, Constant(*[0.0] * pixels), lk.Bernoulli()).resolve_shapes((pixels,)).double()
        batch = Batch(torch.zeros(5, pixels, dtype=torch.float64))
        with torch.no_grad():
            terms = Learner(model, ELBO(beta=3.0))(batch, Source(0, dtype=torch.float64))
        assert float(terms.metrics["distortion"]) == pytest.approx(pixels * math.log(2))
        assert float(terms.metrics["rate"]) == pytest.approx(latents * 0.5)
        assert float(terms.losses["model"]) == pytest.approx(pixels * math.log(2) + 3 * latents * 0.5)


def test_a_squared_error_has_a_variance():
    """`-log N(x; m, s^2)` is the squared error over 2 s^2 and D/2 log(2 pi s^2), which is what s is paid by."""
    x, mean = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    for scale in (0.1, 1.0):
        found = lk.Gaussian(scale, shape=(6,))(mean).log_density(x)
        error = 0.5 * (x - mean).square().sum(1) / scale**2
        np.testing.assert_allclose(found, -error - 3 * math.log(2 * math.pi * scale**2), rtol=1e-6)


# -- what is a likelihood, and of what ---------------------------------------------------------------


def test_cross_entropy_on_grey_levels_is_told_to_be_no_likelihood():
    found = fitted().evaluate(GREY, draws=2)
    assert any("not a likelihood" in note for note in found.notes) and "note: cross-entropy" in str(found)
    assert "bits_per_dim" not in found.figures and found.protocol.measure.startswith("no likelihood")
    proper = fitted(lk.Bernoulli(binarise="dynamic")).evaluate(GREY, draws=2)
    assert all("were trained on" in note for note in proper.notes) and "bits_per_dim" in proper.figures


def test_binarisations_are_not_mixed():
    fixed = vk.datasets.binarise(GREY, seed=0)
    every = {
        "dynamic": fitted(lk.Bernoulli(binarise="dynamic")).evaluate(GREY, draws=2),
        "threshold": fitted(lk.Bernoulli(binarise="threshold")).evaluate(GREY, draws=2),
        "static": fitted(x=fixed, recipe="auto").evaluate(fixed, draws=2),
        "static, drawn again": fitted(x=fixed, recipe="auto").evaluate(vk.datasets.binarise(GREY, seed=1), draws=2),
    }
    for a in every:
        for b in every:
            if a != b:
                with pytest.raises(ValueError, match="differ in more than the model: (binarisation|rows_sha256)"):
                    compare(every[a], every[b])


def test_a_density_is_told_and_has_the_jacobian_of_its_scaling():
    """In other units the same rows have log p less D log(factor), not the same."""
    units = [fitted(x=factor * REAL, recipe="auto").evaluate(factor * REAL, draws=5) for factor in (1.0, 256.0)]
    for name in ("elbo", "log_likelihood"):
        assert units[0][name] - units[1][name] == pytest.approx(3 * math.log(256), abs=1e-3)
    assert "of a density" in str(units[0]) and units[0].protocol.measure == "a density in the data's units"
    whole = fitted(lk.Gaussian(), x=GREY, recipe="auto").evaluate(GREY, draws=2)
    assert any("is a density and these data are whole numbers" in note for note in whole.notes)
    assert "bits_per_dim" not in whole.figures


def test_the_jacobian_is_of_the_cells_that_are_there():
    """x = offset + scale (z + noise) in two columns, the second missing: the figures are those of the marginal of the
    first, N(x; offset, 2 scale^2), which the exact posterior gives without variance."""
    latent = lt.Latent(lt.Normal(1), lt.StandardNormal())
    model = (
        VAEModule(Constant(0.65, math.log(0.5)), latent, Twice(), lk.Gaussian(1.0)).resolve_shapes((2,)).double().eval()
    )
    spec = DataSpec("real", (2,), "float64", missing=True, offset=(3.0, -1.0), scale=(2.0, 50.0))
    x = torch.tensor([[3.0 + 2.0 * X, math.nan]], dtype=torch.float64).expand(20, 2)
    rows, log_p = Rows(x, spec, torch.float64), LOG_P - math.log(2.0)
    found = score_rows(model, rows, draws=3)
    np.testing.assert_allclose(found.bound, log_p, atol=1e-6)
    np.testing.assert_allclose(found.elbo, -found.distortion - found.rate)
    assert float((annealed(model, rows, chains=8, betas=60, steps=5) - log_p).abs().mean()) < 0.05


@pytest.mark.parametrize("shape", [(3,), (6, 2), (5, 4, 3)], ids=["columns", "image", "channels last"])
def test_in_other_units_rows_with_gaps_differ_by_the_cells_that_are_there(shape):
    x = np.random.default_rng(2).normal(size=(60, *shape))
    x[np.random.default_rng(3).random(x.shape) < 0.4] = np.nan
    scores = [fitted(x=f * x, recipe="auto", missing=True).score_samples(f * x, draws=3) for f in (1.0, 100.0)]
    there = (~np.isnan(x)).reshape(60, -1).sum(1)
    np.testing.assert_allclose(scores[0] - scores[1], there * math.log(100), atol=1e-3)


# -- bounds --------------------------------------------------------------------------------------------


def test_a_bound_is_never_without_its_k_nor_beside_one_of_another():
    few, many = (evaluate_rows(toy(), toy_rows(200), draws=k) for k in (1, 50))
    assert "k = 50 draws per row" in str(many) and many.figures["log_likelihood"].meaning.endswith("k = 50")
    assert many.figures["elbo"].meaning.startswith("evidence lower bound")
    with pytest.raises(ValueError, match="draws .1; 50.: the bound rises with k"):
        compare(few, many)


@pytest.mark.parametrize("draws", [1, 7, 300])
def test_the_mean_of_weights_has_its_minus_log_k(draws):
    """With the exact posterior every weight is p(x): any number of draws, in any chunks, gives log p(x)."""
    scores = score_rows(toy(0.65, 0.5), toy_rows(20), draws=draws)
    np.testing.assert_allclose(scores.bound, LOG_P, atol=1e-9)
    np.testing.assert_allclose(scores.ess, draws, rtol=1e-9)


def test_an_elbo_is_of_draws_not_of_the_mean():
    found = evaluate_rows(toy(), toy_rows(), draws=1).figures["elbo"]
    rate = 0.5 * (1.2 + 0.65**2 - 1 - math.log(1.2))
    at_the_mean = -0.5 * (X - 0.65) ** 2 - 0.5 * math.log(2 * math.pi) - rate
    assert abs(found.value - ELBO_OF_THE_TOY) < 4 * found.error
    assert abs(found.value - at_the_mean) > 20 * found.error


def test_an_elbo_has_neither_warm_up_nor_free_bits():
    model = VAEModule(
        MLP((8,)), lt.Latent(lt.Normal(2), lt.StandardNormal()), MLP((8,)), lk.Bernoulli()
    ).resolve_shapes((4,))
    batch = Batch(torch.rand(16, 4).round())
    with torch.no_grad():
        plain, warm = (Learner(model, o)(batch, Source(0)) for o in (ELBO(), ELBO(Ramp(1.0, 10**6), free_bits=2.0)))
    assert torch.equal(plain.metrics["elbo"], warm.metrics["elbo"])
    assert float(warm.losses["model"]) != pytest.approx(-float(warm.metrics["elbo"]))
    assert float(warm.metrics["elbo"]) == pytest.approx(
        -float(warm.metrics["distortion"]) - float(warm.metrics["rate"]), rel=1e-6
    )


def test_log_weights_are_of_full_precision():
    """Low precision is of the networks' products in training alone; weights are summed in fp64."""
    low, full = (fitted(x=REAL, recipe="auto", precision=p) for p in ("bf16", "fp32"))
    low.module_.load_state_dict(full.module_.state_dict())
    np.testing.assert_array_equal(low.score_samples(REAL, draws=5), full.score_samples(REAL, draws=5))
    assert low.score_samples(REAL, draws=5).dtype == np.float64


# -- the test set --------------------------------------------------------------------------------------


def test_held_out_rows_decide_nothing_neither_scales_nor_pseudo_inputs():
    out = vk.VAE(validation=0.2, seed=3).holds_out(len(REAL)).numpy()
    strange = np.where(out[:, None], 1e4 + REAL, REAL)
    made = [
        fitted(x=x, recipe="vamp", likelihood=lk.Gaussian("shared"), validation=0.2, seed=3) for x in (REAL, strange)
    ]
    assert made[0].spec_.offset == made[1].spec_.offset and made[0].spec_.scale == made[1].spec_.scale
    for a, b in zip(*(vae.module_.state_dict().values() for vae in made)):
        assert torch.equal(a, b)


# -- errors --------------------------------------------------------------------------------------------


def test_what_is_a_mean_over_rows_has_its_standard_error():
    found = fitted(lk.Bernoulli(binarise="dynamic")).evaluate(GREY, draws=3)
    for name in ("elbo", "distortion", "rate", "log_likelihood", "ess", "bits_per_dim", "entropy_floor"):
        assert found.figures[name].error > 0 and "±" in next(line for line in str(found).splitlines() if name in line)
    values = found.per_row["elbo"]
    assert found.figures["elbo"].error == pytest.approx(float(values.std()) / math.sqrt(len(GREY)))


def test_a_bound_whose_weights_do_not_count_is_told_to_be_loose():
    lost = evaluate_rows(toy(-4.0, 0.3), toy_rows(100), draws=100)
    assert any("draws a row" in note and "loose" in note for note in lost.notes)
    assert not evaluate_rows(toy(), toy_rows(100), draws=100).notes


def test_the_mean_over_seeds_stands_beside_the_first_not_the_best():
    base = evaluate_rows(toy(), toy_rows(50), draws=1)
    figure = base.figures["elbo"]
    others = [replace(base, figures={**base.figures, "elbo": replace(figure, value=v)}) for v in (5.0, -9.0)]
    found = base.among(others)
    assert found["elbo"] == figure.value  # its own, though another seed has a better one
    assert found.spread["elbo"].value == pytest.approx((figure.value + 5 - 9) / 3) and found.spread["elbo"].error > 0
    assert "3 seeds, of which this model is the first: mean ± standard error over the seeds" in str(found)


def test_no_compression_baseline_is_a_sum_of_single_images():
    """Of one .png for each image the headers alone are more than a model needs: no baseline here is made so."""
    folder = Path(vk.evaluation.__file__).parent
    assert not [p.name for p in folder.glob("*.py") if re.search(r"\bpng\b", p.read_text(), re.IGNORECASE)]
