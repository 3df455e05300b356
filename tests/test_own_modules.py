"""Own networks anywhere in a model: saved, passed in again in every form, and the same to the last bit."""

import numpy as np
import pytest
import torch
from torch import nn

import vaekit as vk
from vaekit import latents as lt
from vaekit import likelihoods as lk
from vaekit import objectives as ob
from vaekit.networks import MLP, Foreign, PartDecoder, PartEncoder
from vaekit.storage import StorageError


class Own(nn.Sequential):
    """A network of one's own: dense layers."""

    def __init__(self, n_in, n_out, width=5):
        super().__init__(nn.Flatten(), nn.Linear(n_in, width), nn.Tanh(), nn.Linear(width, n_out))


class Scored(lk.Gaussian):
    """A likelihood of one's own that holds a network."""

    def __init__(self, network, scale=1.0, mean=None, minimum_scale=0.1, shape=None):
        super().__init__(scale, mean, minimum_scale, shape)
        self.network = network

    def distribution(self, parameters):
        return super().distribution(parameters + self.network(parameters))


class Penalised(ob.ELBO):
    """An objective of one's own that holds a network."""

    def __init__(self, network, beta=1.0, free_bits=0.0, capacity=None):
        super().__init__(beta, free_bits, capacity)
        self.network = network


def plain(size=2):
    return lt.Latent(lt.Normal(size), lt.StandardNormal())


def ladder():
    below = lt.Latent(lt.Normal(2), lt.Conditional(Own(2, 4), lt.Normal(2)))
    return lt.Ladder([lt.LadderLevel(plain(), Own(6, 4)), lt.LadderLevel(below, Own(8, 4))], width=6)


def experts(**own):
    sizes = dict(
        likelihood=lk.Modalities(lk.Gaussian(), (4, 4)), latent=lt.Latent(lt.ProductOfExperts(2), lt.StandardNormal())
    )
    return sizes | own


COMPOSITIONS = {
    "encoder": lambda: dict(encoder=Own(8, 4)),
    "decoder": lambda: dict(decoder=Own(2, 8)),
    "both": lambda: dict(encoder=Own(8, 4), decoder=Own(2, 8)),
    "an adapter": lambda: dict(encoder=Foreign(Own(8, 4))),
    "a ladder": lambda: dict(latent=ladder(), encoder=MLP((6,)), decoder=MLP((6,))),
    "a ladder and both": lambda: dict(latent=ladder(), encoder=Own(8, 6), decoder=Own(4, 8)),
    "experts": lambda: experts(
        encoder=PartEncoder([Own(4, 4), Own(4, 4, width=7)]), decoder=PartDecoder([Own(2, 4), Own(2, 4, width=7)])
    ),
    "experts of both kinds": lambda: experts(
        encoder=PartEncoder([Own(4, 4), MLP((5,))]), decoder=PartDecoder([MLP((5,)), Own(2, 4)])
    ),
    "a critic": lambda: dict(objective=ob.FactorTC(Own(2, 2), gamma=2.0)),
    "a critic of codes": lambda: dict(objective=ob.AAE(Own(2, 1), weight=2.0)),
    "a discriminator of two": lambda: dict(objective=ob.VAEGAN(Own(8, 4), Own(4, 1), gamma=0.5)),
    "a likelihood": lambda: dict(likelihood=Scored(Own(8, 8))),
    "an objective": lambda: dict(objective=Penalised(Own(2, 2))),
    "a metric": lambda: dict(latent=lt.RiemannianHamiltonian(plain(), lt.RiemannianMetric(Own(4, 3), 5), steps=1)),
    "everywhere": lambda: dict(
        encoder=Own(8, 6),
        decoder=Own(4, 8),
        latent=ladder(),
        likelihood=Scored(Own(8, 8)),
        objective=Penalised(Own(2, 2)),
    ),
}


def rows():
    return np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_what_was_saved_comes_back_whichever_way_it_is_passed(name, tmp_path):
    torch.manual_seed(0)
    parts, x = COMPOSITIONS[name](), rows()
    vae = vk.VAE(epochs=1, batch_size=16, validation=0, **parts).fit(x)
    vae.save(tmp_path)
    own = vk.storage.external_classes(
        [vk.storage.describe(vae.module_), vk.storage.describe(vae.objective_, "objective")]
    )
    groups = {n: [p for p in own if p.split(".")[0] == n] for n in {p.split(".")[0] for p in own}}
    learner = {"objective": vae.objective_, **dict(vae.module_.named_children())}
    modules = {p: nn.ModuleDict(learner).get_submodule(p) for p in own}
    torch.manual_seed(1)
    new = COMPOSITIONS[name]()
    forms = {
        "as passed to VAE": {n: new[n] for n in groups},
        "lists": {n: [modules[p] for p in paths] for n, paths in groups.items()},
        "by saved path": {p.removesuffix(".module"): m for p, m in modules.items()},
        "by saved path in dicts": {n: {p: modules[p] for p in paths} for n, paths in groups.items()},
    }
    want = vae.transform(x), vae.sample(3, seed=1), vae.score(x)
    for form, given in forms.items():
        again = vk.load(tmp_path, **given)
        for got, expected in zip((again.transform(x), again.sample(3, seed=1), again.score(x)), want):
            np.testing.assert_array_equal(got, expected, err_msg=form)
    missing = next(iter(groups))
    with pytest.raises(StorageError, match=rf"pass them in again, load\(path, .*{missing}="):
        vk.load(tmp_path, **{n: new[n] for n in groups if n != missing})


@pytest.fixture
def hierarchy(tmp_path):
    vk.VAE(epochs=1, validation=0, latent=ladder(), encoder=MLP((6,)), decoder=MLP((6,))).fit(rows()).save(tmp_path)
    return tmp_path


def test_the_message_lists_what_to_pass(hierarchy):
    listed = "latent.rungs.0.network .*latent.rungs.1.latent.prior.network .*latent.rungs.1.network"
    with pytest.raises(StorageError, match=rf"load\(path, latent=\[..., ..., ...\]\); in this order: {listed}"):
        vk.load(hierarchy)


WRONG = {
    "one for three": (lambda: {"latent": Own(6, 4)}, "latent: expected 3 modules, .*, got one: pass a list"),
    "two for three": (lambda: {"latent": [Own(6, 4)] * 2}, "latent: expected 3 modules, .*, got 2"),
    "another structure": (lambda: {"latent": plain()}, "this Latent has no rungs.0.network, which the saved one has"),
    "a name it has not": (lambda: {"latents": ladder()}, "no module of your own named .latents. .did you mean .latent"),
    "no module": (lambda: {"latent": [1, 2, 3]}, "expected a torch or Keras module, got int"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_modules_are_refused(hierarchy, case):
    make, message = WRONG[case]
    with pytest.raises(TypeError, match=message):
        vk.load(hierarchy, **make())


def test_modules_of_another_shape_are_refused(hierarchy):
    with pytest.raises(StorageError, match="does not fit the model that config.json describes"):
        vk.load(hierarchy, latent=[Own(6, 4, width=9), Own(2, 4), Own(8, 4)])


def test_what_was_passed_stays_as_it_is(hierarchy):
    own = ladder()
    before = {n: t.clone() for n, t in own.state_dict().items()}
    vk.load(hierarchy, latent=own)
    assert all(torch.equal(before[n], t) for n, t in own.state_dict().items())
