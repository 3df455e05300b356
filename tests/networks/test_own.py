"""Networks of users' own in a model: what their outputs are, which way round images come, batch normalisation."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import vaekit as vk
from vaekit.data.rows import as_rows
from vaekit.data.spec import DataSpec
from vaekit.likelihoods import Bernoulli, ContinuousBernoulli, Gaussian
from vaekit.networks import Foreign, gives_probabilities
from vaekit.training import Ensemble, Learner, Training


class Ends(nn.Module):
    """Two layers with this function of what they give, applied inside `forward`."""

    def __init__(self, end: Callable[[Tensor], Tensor], hidden: nn.Module | None = None, cells: int = 12):
        super().__init__()
        self.first, self.hidden, self.last, self.end = nn.Linear(2, 16), hidden or nn.ReLU(), nn.Linear(16, cells), end

    def forward(self, z: Tensor) -> Tensor:
        return self.end(self.last(self.hidden(self.first(z))))


def zeroed() -> nn.Module:
    network = Ends(lambda y: y)
    nn.init.zeros_(network.last.weight)
    nn.init.uniform_(network.last.bias, 0.1, 0.9)
    return network


def trained() -> nn.Module:
    """A sigmoid as far out as that of a decoder of sparse images: most outputs are near 0."""
    network = Ends(torch.sigmoid)
    nn.init.constant_(network.last.bias, -9.0)
    return network


PROBABILITIES: dict[str, Callable[[], nn.Module]] = {
    "torch.sigmoid": lambda: Ends(torch.sigmoid),
    "sigmoid after tanh": lambda: Ends(torch.sigmoid, nn.Tanh()),
    "(1 + tanh) / 2": lambda: Ends(lambda y: (1 + y.tanh()) / 2),
    "sigmoid with dropout": lambda: Ends(lambda y: nn.functional.dropout(y.sigmoid(), 0.0), nn.Dropout()),
    "one cell": lambda: Ends(torch.sigmoid, cells=1),
    "trained": trained,
}
OTHERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: Ends(lambda y: y),
    "linear after tanh": lambda: Ends(lambda y: y, nn.Tanh()),
    "linear, zero weights": zeroed,
    "ReLU": lambda: Ends(torch.relu),
    "ReLU after tanh": lambda: Ends(torch.relu, nn.Tanh()),
    "ReLU of one cell": lambda: Ends(torch.relu, cells=1),
    "softplus": lambda: Ends(nn.functional.softplus),
    "tanh": lambda: Ends(torch.tanh),
    "softmax": lambda: Ends(lambda y: y.softmax(1)),
    "softmax over channels": lambda: Ends(lambda y: y.reshape(-1, 3, 2, 2).softmax(1)),
}


@pytest.mark.parametrize("seed", range(3))
def test_a_sigmoid_inside_forward_is_noticed(seed: int) -> None:
    torch.manual_seed(seed)
    for make, wanted in ((PROBABILITIES, True), (OTHERS, False)):
        for name, network in make.items():
            module = network()
            cells = module(torch.zeros(2, 2))[0].shape
            assert gives_probabilities(Foreign(module, 2, tuple(cells))) is wanted, name


def images(*shape: int, rows: int = 65) -> NDArray:
    return np.random.default_rng(0).random((rows, *shape)).astype(np.float32)


@pytest.mark.parametrize("likelihood", [Bernoulli, ContinuousBernoulli])
def test_its_outputs_are_read_as_probabilities(likelihood: type, capsys: pytest.CaptureFixture[str]) -> None:
    x, shown = images(3, 4), nn.Sequential(Ends(lambda y: y), nn.Sigmoid())
    inside = Ends(torch.sigmoid)
    inside.load_state_dict(shown[0].state_dict())
    settings = {"recipe": "auto" if likelihood is ContinuousBernoulli else "vae", "epochs": 1, "compile": False}
    fits = [vk.VAE(decoder=d, threads=1, verbose=d is inside, **settings).fit(x) for d in (shown, inside)]
    assert all(isinstance(vae.module_.likelihood, likelihood) for vae in fits)
    assert [vae.module_.likelihood.reads for vae in fits] == ["probs", "probs"]
    assert "read as probabilities" in capsys.readouterr().err
    with torch.no_grad():
        px = fits[1].module_.decode(torch.zeros(1, 2))
        given = fits[1].module_.decoder.module(torch.zeros(1, 2))
    torch.testing.assert_close(px.logits.sigmoid().flatten(), given.flatten())
    with pytest.raises(ValueError, match=r'reads logits: pass \w+\(reads="probs"\), or leave out the sigmoid'):
        vk.VAE(decoder=inside, likelihood=likelihood(), epochs=1).fit(x)
    assert vk.VAE(decoder=Ends(lambda y: y), epochs=1).fit(x).module_.likelihood.reads == "logits"
    vk.VAE(decoder=inside, likelihood=Gaussian(mean=None), epochs=1).fit(x)  # which reads any numbers


# -- channels ------------------------------------------------------------------------------------------


class Reads(nn.Module):
    """A convolution that keeps the shape of what it read."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, 2, 3), nn.Flatten(), nn.LazyLinear(4))
        self.shape: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        self.shape = tuple(x.shape[1:])
        return self.layers(x)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((9, 8, 3), (3, 9, 8)),
        ((3, 9, 8), (3, 9, 8)),
        ((9, 8, 1), (1, 9, 8)),
        ((9, 8), (1, 9, 8)),
        ((8, 9, 4), (4, 8, 9)),
    ],
)
def test_images_come_with_channels_first(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """The user's networks, and the built-in one next to them, read (C, H, W); rows come back as they came."""
    x = images(*shape)
    decoder = nn.Sequential(nn.Linear(2, int(np.prod(shape))), nn.Unflatten(1, wanted))
    vae = vk.VAE(encoder=Reads(wanted[0]), decoder=decoder, epochs=1, threads=1, compile=False).fit(x)
    assert vae.module_.encoder.module.shape == wanted and vae.spec_.model_shape == wanted
    again = vae.reconstruct(x)
    assert again.shape == x.shape
    with torch.no_grad():
        z = torch.from_numpy(vae.transform(x[:2]))
        own = vae.module_.decoder.module(z).sigmoid().numpy()
    last = len(shape) == 3 and shape != wanted
    own = np.moveaxis(own.reshape(2, *wanted), 1, -1) if last else own
    np.testing.assert_allclose(again[:2], own.reshape(2, *shape), rtol=1e-4)


# -- batch normalisation -------------------------------------------------------------------------------


def normalised(d: int = 3, running: bool = True) -> tuple[nn.Module, nn.Module]:
    def norm() -> nn.Module:
        return nn.BatchNorm1d(8, track_running_stats=running)

    encoder = nn.Sequential(nn.Linear(d, 8), norm(), nn.ReLU(), nn.Linear(8, 4))
    return encoder, nn.Sequential(nn.Linear(2, 8), norm(), nn.ReLU(), nn.Linear(8, d))


@pytest.mark.parametrize(("rows", "batch", "sizes"), [(65, 32, [32, 33]), (64, 32, [32, 32]), (66, 32, [32, 32, 2])])
def test_a_last_batch_of_one_row_joins_the_one_before(rows: int, batch: int, sizes: list[int]) -> None:
    encoder, decoder = normalised()
    x = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    settings = {"batch_size": batch, "epochs": 2, "validation": 0, "compile": False, "threads": 1}
    vae = vk.VAE(recipe="auto", encoder=encoder, decoder=decoder, **settings)
    vae.fit(x)
    spec = vae.spec_
    training = Training(Learner(vae.module_, vae.objective_), as_rows(torch.from_numpy(x), spec, "cpu"), 2, batch)
    seen = [len(index) for index in training._indices()]
    assert seen == sizes and training.batches == len(sizes)
    places = [(t.epoch, t.batch, t.taken) for t in training]
    assert places[-1] == (2, 0, 2 * len(sizes)) and len(vae.history_) == 2


def test_without_batch_normalisation_nothing_changes() -> None:
    x = np.random.default_rng(0).normal(size=(65, 3)).astype(np.float32)
    vae = vk.VAE(recipe="auto", batch_size=32, epochs=1, validation=0).fit(x)
    training = Training(Learner(vae.module_, vae.objective_), as_rows(torch.from_numpy(x), vae.spec_, "cpu"), 1, 32)
    assert [len(index) for index in training._indices()] == [32, 32, 1]


@pytest.mark.parametrize("source", ["memory", "file"])
def test_interrupted_and_resumed(source: str, tmp_path) -> None:
    """Bit for bit what an uninterrupted training gives."""
    x = np.random.default_rng(0).normal(size=(65, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    rows = x if source == "memory" else tmp_path / "x.npy"
    encoder, decoder = normalised()
    settings = {"batch_size": 32, "validation": 0, "compile": False, "threads": 1}
    vae = vk.VAE(recipe="auto", encoder=encoder, decoder=decoder, epochs=1, **settings).fit(rows)
    data = vk.data.lazy_rows.as_data(rows)[0]

    def training() -> Training:
        torch.manual_seed(0)
        learner = Learner(vae.module_, vae.objective_)
        return Training(learner, as_rows(data, vae.spec_, "cpu"), 3, 32)

    start = {n: t.clone() for n, t in vae.module_.state_dict().items()}
    through = training()
    for _ in through:
        pass
    wanted = {n: t.clone() for n, t in through.weights().items()}
    vae.module_.load_state_dict(start)
    first = training()
    for t in first:
        if t.taken == 3:
            tensors, place = t.state()
            tensors = {n: v.clone() for n, v in tensors.items()}
            break
    vae.module_.load_state_dict(start)
    second = training()
    second.restore(tensors, place)
    for _ in second:
        pass
    assert all(torch.equal(t, second.weights()[n]) for n, t in wanted.items())


def test_stacked_members() -> None:
    """Members whose layers keep no running statistics are trained together, on batches of the same sizes."""
    x = np.random.default_rng(0).normal(size=(33, 3)).astype(np.float32)
    spec = DataSpec.infer(torch.from_numpy(x), "float32").for_likelihood("real", torch.from_numpy(x))
    encoder, decoder = normalised(running=False)
    settings = {"batch_size": 32, "epochs": 1, "validation": 0, "compile": False, "threads": 1}
    vaes = [vk.VAE(recipe="auto", encoder=encoder, decoder=decoder, seed=s, **settings).fit(x) for s in (0, 1)]
    ensemble = Ensemble([Learner(v.module_, v.objective_) for v in vaes])
    training = Training(ensemble, as_rows(torch.from_numpy(x), spec, "cpu"), 1, 32, seeds=[0, 1])
    assert [t.epoch for t in training] == [1]
