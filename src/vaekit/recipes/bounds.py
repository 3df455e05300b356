"""Tighter bounds."""

from __future__ import annotations

from ..latents import Binary, BinaryPrior, Latent
from ..likelihoods import Bernoulli, SelfMaskedGaussian
from ..objectives import IWAE
from .recipe import Parts, dense, plain, recipe


def on_binarised(latent_dim: int, hidden: tuple[int, ...], objective: IWAE) -> Parts:
    """The benchmark's model of binarised digits, trained for another bound."""
    return dense(plain(latent_dim), hidden, 2, likelihood=Bernoulli(binarise="dynamic"), objective=objective)


@recipe("Burda et al. 2016, arXiv:1509.00519")
def iwae(latent_dim: int, k: int = 5, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """The bound of k importance-weighted draws, on binarised data."""
    return on_binarised(latent_dim, hidden, IWAE(k))


@recipe("Tucker et al. 2019, arXiv:1810.04152")
def dreg(latent_dim: int, k: int = 5, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """IWAE whose encoder learns by the doubly reparameterised gradient."""
    return on_binarised(latent_dim, hidden, IWAE(k, gradient="dreg"))


@recipe("Mattei & Frellsen 2019, arXiv:1812.02633", of_columns=True)
def miwae(latent_dim: int, k: int = 20, hidden: tuple[int, ...] = (128, 128)) -> Parts:
    """The importance-weighted bound over observed cells: for data with missing ones (missing=True)."""
    return dense(plain(latent_dim), hidden, heads=2, objective=IWAE(k))


@recipe("Ipsen, Mattei & Frellsen 2021, arXiv:2006.12871")
def not_miwae(latent_dim: int, k: int = 20, hidden: tuple[int, ...] = (128, 128)) -> Parts:
    """The same bound where cells are missing by what they hold: the mask is modelled, too (missing=True)."""
    return dense(plain(latent_dim), hidden, heads=2, likelihood=SelfMaskedGaussian(), objective=IWAE(k))


@recipe("Roeder et al. 2017, arXiv:1703.09194")
def stl(latent_dim: int, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """Sticking the landing: the ELBO by a gradient whose noise vanishes as q becomes exact, on binarised data."""
    return on_binarised(latent_dim, hidden, IWAE(1, gradient="stl"))


@recipe("Rainforth et al. 2018, arXiv:1802.04537, their MIWAE")
def multiple_iwae(latent_dim: int, m: int = 8, k: int = 8, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """The mean of m bounds of k draws each: between the ELBO and IWAE, on binarised data."""
    return on_binarised(latent_dim, hidden, IWAE(k, m=m))


@recipe("Rainforth et al. 2018, arXiv:1802.04537")
def piwae(latent_dim: int, m: int = 8, k: int = 8, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """The same for the encoder, and one bound of all m * k draws for the decoder."""
    return on_binarised(latent_dim, hidden, IWAE(k, gradient="partial", m=m))


@recipe("Rainforth et al. 2018, arXiv:1802.04537")
def ciwae(latent_dim: int, beta: float = 0.05, k: int = 64, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """beta times the ELBO and 1 - beta times the bound of k draws, on binarised data."""
    return on_binarised(latent_dim, hidden, IWAE(k, elbo=beta))


@recipe("Mnih & Rezende 2016, arXiv:1602.06725")
def vimco(latent_dim: int, k: int = 5, hidden: tuple[int, ...] = (200, 200)) -> Parts:
    """latent_dim bits, never relaxed: the encoder learns by the score function over k draws, on binarised data."""
    latent = Latent(Binary(latent_dim, draws="hard"), BinaryPrior(learned=True))
    return dense(latent, hidden, likelihood=Bernoulli(binarise="dynamic"), objective=IWAE(k, gradient="vimco"))
