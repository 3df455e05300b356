"""What an evaluation depends on, and which two of them may stand side by side."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.core import Batch
from vaekit.evaluation import compare
from vaekit.evaluation.comparison import ALIKE
from vaekit.evaluation.observed import Observed
from vaekit.likelihoods import Bernoulli, Gaussian
from vaekit.model import VAEModule
from vaekit.networks import MLP

GREY = np.random.default_rng(0).integers(0, 256, (120, 4, 4)) * np.linspace(0.02, 1, 120)[:, None, None]
GREY = GREY.astype("uint8")
"""Rows of which some are harder than others, for any model."""


def fitted(likelihood=None, x=GREY, **settings):
    settings = {"recipe": "vae", "epochs": 1, "threads": 1, "compile": False, **settings}
    return vk.VAE(likelihood=likelihood, **settings).fit(x)


@pytest.fixture(scope="module")
def dynamic():
    return [fitted(Bernoulli(binarise="dynamic"), latent_dim=d, seed=d, epochs=60, lr=1e-2) for d in (2, 5)]


def test_differences_are_paired_row_by_row(dynamic):
    a, b = (vae.evaluate(GREY, draws=5) for vae in dynamic)
    found = compare(a, b)
    rows = a.per_row["elbo"] - b.per_row["elbo"]
    assert found["elbo"] == pytest.approx(a["elbo"] - b["elbo"])
    assert found.figures["elbo"].error == pytest.approx(float(rows.std()) / len(rows) ** 0.5)
    assert found.figures["elbo"].error < a.figures["elbo"].error
    assert set(found.figures) == {"elbo", "distortion", "rate", "log_likelihood", "bits_per_dim"}
    assert "the same 120 rows, k = 5" in str(found) and compare(a, a)["elbo"] == 0
    assert found["bits_per_dim"] == pytest.approx(-found["log_likelihood"] / (16 * np.log(2)))


def test_all_models_explain_the_same_binarised_rows_in_batches_of_any_size(dynamic):
    """Whatever noise they take for z, whatever their seed."""
    a, b = (vae.evaluate(GREY, draws=k, seed=s).protocol for vae, k, s in zip(dynamic, (1, 7), (3, 4)))
    assert a.binarisation == b.binarisation != "none" and len(a.binarisation) == 64
    x = torch.rand(10, 7)
    model = VAEModule(
        MLP((4,)),
        vk.latents.Latent(vk.latents.Normal(1), vk.latents.StandardNormal()),
        MLP((4,)),
        Bernoulli(binarise="dynamic"),
    ).resolve_shapes((7,))
    whole, parts = ([b.x for b in Observed(model, map(Batch, x.split(n)))] for n in (10, 3))
    assert torch.equal(torch.cat(whole), torch.cat(parts)) and set(torch.cat(whole).unique().tolist()) == {0.0, 1.0}


def evaluations():
    """The second of each pair differs from the first in more than the model, in what is named."""
    x = np.random.default_rng(1).normal(size=(60, 3))
    binary = (GREY > 127).astype("uint8")
    dynamic, classic = fitted(Bernoulli(binarise="dynamic")), fitted()
    real = fitted(x=x, recipe="auto")
    cut = fitted(Bernoulli(binarise="threshold"))
    plain = fitted(x=binary, recipe="auto")
    density = fitted(vk.likelihoods.ContinuousBernoulli())
    beside = vk.VAE(epochs=1, threads=1, compile=False).fit(x, context=np.arange(60) % 2)
    yield "draws", dynamic.evaluate(GREY, draws=2), dynamic.evaluate(GREY, draws=3)
    yield "rows", dynamic.evaluate(GREY, draws=2), dynamic.evaluate(GREY[:100], draws=2)
    yield "rows_sha256", real.evaluate(x, draws=2), real.evaluate(x[::-1].copy(), draws=2)
    yield "rows_sha256", dynamic.evaluate(GREY, draws=2), plain.evaluate(binary, draws=2)
    yield "binarisation", dynamic.evaluate(GREY, draws=2), cut.evaluate(GREY, draws=2)
    yield "measure", classic.evaluate(GREY, draws=2), dynamic.evaluate(GREY, draws=2)
    yield "measure", density.evaluate(GREY, draws=2), dynamic.evaluate(GREY, draws=2)
    yield "given", real.evaluate(x, draws=2), beside.evaluate(x, draws=2, context=np.arange(60) % 2)


def test_what_differs_in_more_than_the_model_is_refused_with_both_values_and_what_to_do():
    met = set()
    for field, a, b in evaluations():
        with pytest.raises(ValueError, match="these evaluations differ in more than the model") as error:
            compare(a, b)
        assert f"{field} (" in str(error.value) and ALIKE[field] in str(error.value), field
        met.add(field)
    assert met == set(ALIKE)


def test_an_evaluation_without_rows_is_refused():
    bare = replace(fitted().evaluate(GREY, draws=1), protocol=None)
    with pytest.raises(ValueError, match="pass what vae.evaluate"):
        compare(bare, bare)


def test_models_of_other_scales_of_the_same_data_may_be_compared():
    """Each density is in the data's own units, by its Jacobian."""
    x = np.random.default_rng(1).random((60, 3))
    a = fitted(Gaussian("shared"), x=x, recipe="auto").evaluate(x, draws=2)
    b = fitted(vk.likelihoods.ContinuousBernoulli(), x=x, recipe="auto").evaluate(x, draws=2)
    assert a.protocol.preprocessing != b.protocol.preprocessing and np.isfinite(compare(a, b)["log_likelihood"])


def test_the_rows_are_known_by_their_values_whatever_holds_them(dynamic):
    as_lists = torch.from_numpy(GREY)
    assert dynamic[0].evaluate(GREY, draws=1).protocol == dynamic[0].evaluate(as_lists, draws=1).protocol


def test_a_protocol_says_everything_and_is_written(dynamic):
    found = dynamic[0].evaluate(GREY, draws=3, seed=8)
    told = found.protocol.to_dict()
    assert told["draws"] == 3 and told["seed"] == 8 and told["rows"] == 120 and told["preprocessing"] == "(x - 0) / 255"
    assert "binarise='dynamic'" in told["likelihood"] and told["measure"] == "a probability"
    assert json.loads(json.dumps(found.to_dict()))["protocol"] == told
    assert "protocol: data 8-bit levels" in str(found) and told["rows_sha256"][:12] in str(found)


# -- the entropy floor -------------------------------------------------------------------------------


def test_the_floor_of_binarised_mnist_is_the_published_one():
    x = torch.from_numpy(vk.datasets.mnist()[1]).double() / 255
    floors = [Bernoulli(binarise=b).floor(x) for b in ("dynamic", None)]
    assert float(floors[0].mean()) == pytest.approx(45.53, abs=0.005) and torch.equal(*floors)


def test_no_model_is_below_the_floor_not_even_one_that_knows_the_pixels(dynamic):
    """The best there is, p = x, is at it: the floor is what the draws themselves cost."""
    found = dynamic[0].evaluate(GREY, draws=5)
    x = torch.from_numpy(GREY).double() / 255
    assert found["entropy_floor"] == pytest.approx(
        float((torch.special.entr(x) + torch.special.entr(1 - x)).sum((1, 2)).mean())
    )
    assert found["entropy_floor"] < -found["log_likelihood"]
    noise = torch.rand(1000, *x.shape[1:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = (noise < x[:1]).double()
    oracle = torch.distributions.Bernoulli(x[:1]).log_prob(drawn).sum((1, 2))
    floor = float(Bernoulli(binarise="dynamic").floor(x[:1]))
    assert abs(-float(oracle.mean()) - floor) < 4 * float(oracle.std()) / 1000**0.5


def test_there_is_no_floor_where_none_is_known():
    binary = (GREY > 127).astype("uint8")
    assert "entropy_floor" not in fitted(x=binary, recipe="auto").evaluate(binary, draws=1).figures
    assert "entropy_floor" not in fitted(Bernoulli(binarise="threshold")).evaluate(GREY, draws=1).figures
    masked = Bernoulli().floor(torch.full((2, 3), 0.5), torch.tensor([[1.0, 1, 0], [0, 0, 0]]))
    np.testing.assert_allclose(masked, [2 * np.log(2), 0])
