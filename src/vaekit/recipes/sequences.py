"""Series, (N, T, C), and sentences, (N, T): rows of steps."""

from __future__ import annotations

from ..core import Ramp
from ..data.spec import DataSpec
from ..likelihoods import Autoregressive, Categorical, Likelihood
from ..networks import MLP, Recurrent, SequenceDecoder, SequenceEncoder, Steps, TemporalConv, Transformer
from ..networks.steps import Cell
from ..objectives import ELBO
from .recipe import Parts, plain, recipe


def series(latent_dim: int, steps: Steps, warm_up: int) -> Parts:
    """The same way of reading steps on both sides. The rate warms up: steps of one mean are what is learned first, and
    the code would collapse meanwhile."""
    objective = ELBO(Ramp(1.0, warm_up))
    return Parts(plain(latent_dim), SequenceEncoder(steps), SequenceDecoder(steps), objective=objective)


@recipe("Fabius & van Amersfoort 2014, arXiv:1412.6581", of_columns=True)
def recurrent(latent_dim: int, width: int = 128, layers: int = 1, cell: Cell = "gru", warm_up: int = 500) -> Parts:
    """Series (N, T, C) by gated recurrent networks; padding and gaps are NaN; the likelihood follows the data."""
    return series(latent_dim, Recurrent(width, layers, cell), warm_up)


@recipe("Yang et al. 2017, arXiv:1702.08139; Bai et al. 2018, arXiv:1803.01271", of_columns=True)
def temporal_conv(latent_dim: int, width: int = 64, layers: int = 4, warm_up: int = 500) -> Parts:
    """The same by dilated convolutions over time."""
    return series(latent_dim, TemporalConv(width, layers), warm_up)


@recipe("Vaswani et al. 2017, arXiv:1706.03762; Petrovich et al. 2021, arXiv:2104.05670", of_columns=True)
def transformer(latent_dim: int, width: int = 64, layers: int = 2, heads: int = 4, warm_up: int = 500) -> Parts:
    """The same by self-attention."""
    return series(latent_dim, Transformer(width, layers, heads), warm_up)


@recipe("Bowman et al. 2016, arXiv:1511.06349")
def sentence(
    latent_dim: int,
    levels: int | None = None,
    width: int = 256,
    cell: Cell = "gru",
    dropout: float = 0.25,
    warm_up: int = 2000,
) -> Parts:
    """Whole numbers (N, T) below `levels`, such as characters or words, each given those before it and the code."""

    def tokens(spec: DataSpec) -> Likelihood:
        inner = Categorical(levels or max(2, int(spec.high) + 1), one_hot=True)
        return Autoregressive(inner, SequenceDecoder(Recurrent(width, 1, cell)), dropout=dropout)

    encoder = SequenceEncoder(Recurrent(width, 1, cell))
    return Parts(plain(latent_dim), encoder, MLP(()), tokens, ELBO(Ramp(1.0, warm_up)))
