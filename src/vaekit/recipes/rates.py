"""The rate weighed differently, or its parts weighed apart."""

from __future__ import annotations

from typing import Literal

from ..core import Cycle, Ramp
from ..latents import AutoregressivePrior, CommittedNormal, Latent, Normal, StandardNormal
from ..likelihoods import Gaussian
from ..networks import MLP
from ..objectives import DIP, ELBO, FactorTC, Lagging, TotalCorrelation
from ..objectives.aggregate import Estimator
from .recipe import Parts, classic, dense, plain, recipe


@recipe("Higgins et al. 2017, ICLR")
def beta_vae(latent_dim: int, beta: float = 4.0, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The rate weighed by beta: above 1 for codes that are simpler and less dependent."""
    return classic(plain(latent_dim), hidden, heads=2, objective=ELBO(beta))


@recipe("Rybkin et al. 2021, arXiv:2006.13202")
def sigma(latent_dim: int, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A Gaussian decoder whose variance is the optimal one, in closed form: distortion and rate are balanced by it."""
    return dense(plain(latent_dim), hidden, heads=2, likelihood=Gaussian("optimal"))


@recipe("Bowman et al. 2016, arXiv:1511.06349")
def warm_up(latent_dim: int, steps: int = 5000, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The rate's weight rises from 0 to 1 over the first steps, against collapse."""
    return classic(plain(latent_dim), hidden, heads=2, objective=ELBO(Ramp(1.0, steps)))


@recipe("Kingma et al. 2016, arXiv:1606.04934")
def free_bits(latent_dim: int, nats: float = 0.1, hidden: tuple[int, ...] = (128,)) -> Parts:
    """Each dimension may spend some nats for nothing, against collapse."""
    return classic(plain(latent_dim), hidden, heads=2, objective=ELBO(free_bits=nats))


@recipe("Razavi et al. 2019, arXiv:1901.03416")
def delta(latent_dim: int, rate: float = 2.0, steps: int = 1, hidden: tuple[int, ...] = (128,)) -> Parts:
    """A posterior that cannot come nearer to the prior than `rate` nats, so that codes cannot collapse.

    With steps above 1 the code is a sequence, and the rate is committed by an autoregressive prior.
    """
    committed = Latent(CommittedNormal(latent_dim, rate), StandardNormal())
    return classic(
        committed if steps == 1 else Latent(Normal(latent_dim), AutoregressivePrior(steps, rate)), hidden, heads=2
    )


@recipe("Burgess et al. 2018, arXiv:1804.03599")
def annealed(
    latent_dim: int, capacity: float = 25.0, steps: int = 25000, gamma: float = 1000.0, hidden: tuple[int, ...] = (128,)
) -> Parts:
    """The rate is drawn to a capacity that rises over training, for disentangled codes."""
    objective = ELBO(beta=gamma, capacity=Ramp(capacity, steps))
    return classic(plain(latent_dim), hidden, heads=2, objective=objective)


@recipe("Kim & Mnih 2018, arXiv:1802.05983")
def factor_vae(
    latent_dim: int, gamma: float = 6.0, critic: tuple[int, ...] = (256, 256), hidden: tuple[int, ...] = (128,)
) -> Parts:
    """A critic estimates the total correlation of the codes, which costs gamma."""
    objective = FactorTC(MLP(tuple(critic), activation="leaky_relu"), gamma)
    return classic(plain(latent_dim), hidden, heads=2, objective=objective)


@recipe("Fu et al. 2019, arXiv:1903.10145")
def cyclical(latent_dim: int, period: int = 5000, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The rate's weight rises from 0 to 1 again and again, against collapse."""
    return classic(plain(latent_dim), hidden, heads=2, objective=ELBO(Cycle(1.0, period)))


@recipe("Chen et al. 2018, arXiv:1802.04942")
def beta_tc(
    latent_dim: int, beta: float = 6.0, estimator: Estimator = "weighted", hidden: tuple[int, ...] = (128,)
) -> Parts:
    """The codes' total correlation, estimated within the batch, weighed by beta."""
    return classic(plain(latent_dim), hidden, heads=2, objective=TotalCorrelation(beta, estimator))


@recipe("Kumar et al. 2018, arXiv:1711.00848")
def dip(
    latent_dim: int,
    kind: Literal[1, 2] = 2,
    off_diagonal: float = 10.0,
    diagonal: float = 10.0,
    hidden: tuple[int, ...] = (128,),
) -> Parts:
    """Codes with a covariance close to the identity: of their means (kind 1), or of themselves (kind 2)."""
    return classic(plain(latent_dim), hidden, heads=2, objective=DIP(kind, off_diagonal, diagonal))


@recipe("He et al. 2019, arXiv:1901.05534")
def lagging(latent_dim: int, turns: int = 10, until: int = 2000, hidden: tuple[int, ...] = (128,)) -> Parts:
    """The encoder takes `turns` steps to one of the decoder, in the first `until` steps, against collapse."""
    return classic(plain(latent_dim), hidden, heads=2, objective=Lagging(ELBO(), turns, until))
