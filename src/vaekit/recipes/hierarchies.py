"""Codes above codes."""

from __future__ import annotations

from ..core import Ramp
from ..latents import Conditional, Ladder, LadderLevel, Latent, Normal, TopDown, VampPrior
from ..likelihoods import Bernoulli
from ..networks import MLP
from ..objectives import ELBO
from .recipe import Parts, TrainingDefaults, classic, convolutional, dense, plain, recipe


@recipe("Sønderby et al. 2016, arXiv:1602.02282; Kingma et al. 2016, arXiv:1606.04934")
def ladder(
    latent_dim: int,
    rungs: int = 2,
    free_bits: float = 0.5,
    width: int = 128,
    hidden: tuple[int, ...] = (128,),
) -> Parts:
    """A hierarchy of `rungs` codes of latent_dim numbers, each given those above it."""
    top = LadderLevel(plain(latent_dim), MLP((width,)))
    lower = [
        LadderLevel(Latent(Normal(latent_dim), Conditional(MLP((width,)), Normal(latent_dim))), MLP((width,)))
        for _ in range(rungs - 1)
    ]
    return classic(Ladder([top, *lower], width), hidden, objective=ELBO(free_bits=free_bits))


def under_a_vamp(latent_dim: int, components: int, hidden: tuple[int, ...]) -> Ladder:
    """Two codes: the upper one with a VampPrior, the lower one normal given the upper."""
    top = LadderLevel(Latent(Normal(latent_dim), VampPrior(components)), MLP(hidden[-1:]))
    lower = LadderLevel(Latent(Normal(latent_dim), Conditional(MLP(hidden), Normal(latent_dim))), MLP(hidden[-1:]))
    return Ladder([top, lower], width=hidden[-1])


@recipe("Tomczak & Welling 2018, arXiv:1705.07120, two levels")
def two_level_vamp(
    latent_dim: int, components: int = 500, warm_up: int = 5000, hidden: tuple[int, ...] = (300, 300)
) -> Parts:
    """Two codes, the upper one with a VampPrior, on binarised data; the rate warms up."""
    latent, objective = under_a_vamp(latent_dim, components, tuple(hidden)), ELBO(Ramp(1.0, warm_up))
    return dense(latent, hidden, likelihood=Bernoulli(binarise="dynamic"), objective=objective)


@recipe("Tomczak & Welling 2018, arXiv:1705.07120, two levels with convolutions")
def conv_two_level_vamp(
    latent_dim: int,
    components: int = 500,
    warm_up: int = 5000,
    channels: tuple[int, ...] = (32, 64, 128),
    hidden: int = 256,
) -> Parts:
    """The same between convolutional networks, for images of at least 8 x 8."""
    latent, objective = under_a_vamp(latent_dim, components, (hidden, hidden)), ELBO(Ramp(1.0, warm_up))
    return convolutional(latent, channels, hidden, likelihood=Bernoulli(binarise="dynamic"), objective=objective)


CLIP = 200.0
"""Largest norm of a gradient, as in Child 2021. It is scaled, not skipped: where the gradients of all batches are too
large, no step would lead out."""


@recipe("Child 2021, arXiv:2011.10650", of_columns=True, regime=lambda rows: TrainingDefaults(clip=CLIP))
def very_deep(
    latent_dim: int,
    rungs: int | tuple[tuple[int, int], ...] = 2,
    width: int = 64,
    bottleneck: int = 16,
    channels: tuple[int, ...] = (32, 64),
    free_bits: float = 0.0,
) -> Parts:
    """Codes that are maps of growing size, latent_dim numbers at each pixel, for images of at least 4 x 4.

    channels: of the convolutions that halve the image down to the largest map. rungs: blocks at each size, or (size,
    blocks) from the top down: ((1, 2), (3, 4), (7, 8)) for 28 x 28.
    """
    latent = TopDown(rungs, latent_dim, width, bottleneck)
    return convolutional(latent, channels, None, objective=ELBO(free_bits=free_bits))


@recipe(
    "Child 2021, arXiv:2011.10650; Sønderby et al. 2016, arXiv:1602.02282",
    of_columns=True,
    regime=lambda rows: TrainingDefaults(clip=CLIP),
)
def very_deep_dense(
    latent_dim: int,
    blocks: int = 4,
    width: int = 256,
    bottleneck: int = 64,
    hidden: tuple[int, ...] = (256,),
    free_bits: float = 0.5,
) -> Parts:
    """The same without maps, for rows of any kind: `blocks` codes of latent_dim numbers along a residual path."""
    return dense(TopDown(blocks, latent_dim, width, bottleneck), hidden, objective=ELBO(free_bits=free_bits))


@recipe(
    "Child 2021, arXiv:2011.10650; Sønderby et al. 2016, arXiv:1602.02282, warm-up",
    of_columns=True,
    latent_dim=lambda spec: 5,
    regime=lambda rows: TrainingDefaults(schedule="cosine", clip=CLIP),
)
def very_deep_conv(
    latent_dim: int,
    blocks: int = 8,
    width: int = 256,
    bottleneck: int = 128,
    channels: tuple[int, ...] = (32, 64),
    warm_up: int = 2500,
) -> Parts:
    """Codes of latent_dim numbers, `blocks` of them above one another, between convolutional networks: small images.

    These have at least 4 x 4 pixels; `channels` are as in `very_deep`. The rate warms up over `warm_up` steps.
    """
    latent = TopDown([(1, blocks)], latent_dim, width, bottleneck)
    return convolutional(latent, channels, None, objective=ELBO(Ramp(1.0, warm_up)))
