"""The classic, and its likelihoods."""

from __future__ import annotations

from ..likelihoods import Bernoulli, Gaussian
from ..likelihoods.real import Scale
from ..networks import ResidualDecoder, ResidualEncoder
from .recipe import Parts, classic, convolutional, dense, plain, recipe


@recipe("Kingma & Welling 2014, arXiv:1312.6114")
def vae(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The classic: dense ReLU networks, a normal code, sigmoid out, cross-entropy plus KL."""
    return classic(plain(latent_dim), hidden, heads=2)


@recipe("Kingma & Welling 2014, arXiv:1312.6114")
def vae_tanh(latent_dim: int, hidden: tuple[int, ...] = (128,), scale: float | Scale = 1.0) -> Parts:
    """The classic for data in [-1, 1]: tanh out, Gaussian likelihood."""
    return dense(plain(latent_dim), hidden, heads=2, likelihood=Gaussian(scale, mean="tanh"))


@recipe("Kingma & Welling 2014, arXiv:1312.6114; the likelihood follows the data", of_columns=True)
def auto(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """Dense networks and a normal code; the likelihood is a proper one of the kind of data."""
    return dense(plain(latent_dim), hidden, heads=2)


@recipe("Salakhutdinov & Murray 2008; Burda et al. 2016, arXiv:1509.00519")
def binarised(latent_dim: int, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """Grey levels as probabilities, drawn anew at each pass: the benchmark's binarised digits."""
    return dense(plain(latent_dim), hidden, heads=2, likelihood=Bernoulli(binarise="dynamic"))


@recipe("Kingma & Welling 2014, arXiv:1312.6114, with convolutions")
def conv(latent_dim: int, channels: tuple[int, ...] = (32, 64, 128), hidden: int = 256) -> Parts:
    """Convolutional networks for images of at least 8 x 8, any number of channels; cross-entropy."""
    return convolutional(plain(latent_dim), channels, hidden, likelihood=Bernoulli())


@recipe("He et al. 2016, arXiv:1603.05027; Salimans et al. 2017, arXiv:1701.05517", of_columns=True)
def residual(latent_dim: int, channels: tuple[int, ...] = (32, 64, 128), blocks: int = 1) -> Parts:
    """Residual convolutional networks; the likelihood follows the data (8-bit images: mixture of logistics)."""
    return Parts(
        plain(latent_dim),
        ResidualEncoder(tuple(channels), blocks),
        ResidualDecoder(tuple(channels)[::-1], blocks),
    )
