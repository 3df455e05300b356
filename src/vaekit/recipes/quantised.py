"""Codes from a codebook, or from a grid."""

from __future__ import annotations

from ..latents import Codebook, FiniteScalar, LookupFree, PixelPrior, ResidualCodebook, TransformerPrior
from ..likelihoods import Bernoulli
from .recipe import Parts, classic, convolutional, recipe


@recipe("van den Oord et al. 2017, arXiv:1711.00937")
def vq(latent_dim: int, codes: int = 256, positions: int = 8, hidden: tuple[int, ...] = (256,)) -> Parts:
    """`positions` codes per row, each the nearest of a codebook of vectors of latent_dim numbers."""
    return classic(Codebook(codes, latent_dim, positions), hidden)


@recipe("Fifty et al. 2024, arXiv:2410.06424")
def vq_rotation(latent_dim: int, codes: int = 256, positions: int = 8, hidden: tuple[int, ...] = (256,)) -> Parts:
    """The same, with a gradient that is turned as the encoder's vector is on its way to its code."""
    return classic(Codebook(codes, latent_dim, positions, gradient="rotation"), hidden)


@recipe("van den Oord et al. 2017, arXiv:1711.00937; Esser et al. 2021, arXiv:2012.09841")
def vq_transformer(
    latent_dim: int,
    codes: int = 256,
    positions: int = 8,
    width: int = 64,
    layers: int = 3,
    hidden: tuple[int, ...] = (256,),
) -> Parts:
    """Codes from a codebook with a small causal transformer as their prior."""
    return classic(Codebook(codes, latent_dim, positions, prior=TransformerPrior(width, layers)), hidden)


@recipe("van den Oord et al. 2017, arXiv:1711.00937; van den Oord et al. 2016, arXiv:1606.05328")
def conv_vq(
    latent_dim: int,
    codes: int = 128,
    channels: tuple[int, ...] = (32, 64),
    prior_channels: int = 64,
    prior_layers: int = 6,
) -> Parts:
    """A map of codes from convolutional networks, with gated masked convolutions as its prior."""
    latent = Codebook(codes, latent_dim, prior=PixelPrior(prior_channels, prior_layers))
    return convolutional(latent, channels, None, likelihood=Bernoulli())


@recipe("Zeghidour et al. 2021, arXiv:2107.03312; Lee et al. 2022, arXiv:2203.01941")
def residual_vq(
    latent_dim: int, depth: int = 4, codes: int = 256, positions: int = 8, hidden: tuple[int, ...] = (256,)
) -> Parts:
    """Every position is the sum of `depth` codes, each of what those before it have left."""
    return classic(ResidualCodebook(depth, codes, latent_dim, positions), hidden)


@recipe("Mentzer et al. 2023, arXiv:2309.15505")
def fsq(latent_dim: int, levels: tuple[int, ...] = (8, 5, 5, 5), hidden: tuple[int, ...] = (256,)) -> Parts:
    """latent_dim positions, each a few numbers that are rounded to `levels` levels: no codebook."""
    return classic(FiniteScalar(levels, latent_dim), hidden)


@recipe("Yu et al. 2023, arXiv:2310.05737")
def lfq(latent_dim: int, bits: int = 10, entropy: float = 0.1, hidden: tuple[int, ...] = (256,)) -> Parts:
    """latent_dim positions, each the signs of `bits` numbers: no codebook; a penalty keeps all codes in use."""
    return classic(LookupFree(bits, latent_dim, entropy), hidden)
