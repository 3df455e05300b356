"""A normal posterior against flows, between the same networks.

    PYTHONPATH=src python benchmarks/reproductions/flow_posterior.py

Published, -ELBO in nats: Rezende & Mohamed 2015, arXiv:1505.05770: diagonal 89.9, 10 planar layers 87.5, 80 of them
85.1. Van den Berg et al. 2018, arXiv:1803.05649, table 1: diagonal 86.55, planar 86.06, inverse autoregressive 84.20,
Sylvester 83.32 to 83.40. Their flows are ahead by 2.4 to 4.8, and by .5 to 3.2 nats. They train for far longer, the
second with gated convolutions; here the networks are dense, 784-300-300 to 40 codes and back.
"""

from __future__ import annotations

from functools import partial

from protocol import Contest, Entry, contest

from vaekit import Ramp
from vaekit.data.spec import DataSpec
from vaekit.latents import InverseAutoregressive, Latent, Normal, Posterior, SplineFlow, StandardNormal, SylvesterFlow
from vaekit.networks import MLP
from vaekit.objectives import ELBO
from vaekit.recipes import Parts
from vaekit.training import Adam

SIZE = 40
POSTERIORS = {
    "spline": SplineFlow(SIZE, layers=2, bins=8, hidden=128, context=32),
    "inverse autoregressive": InverseAutoregressive(SIZE, layers=4, hidden=128, context=32),
    "Sylvester": SylvesterFlow(SIZE, layers=4, reflections=8),
    "normal": Normal(SIZE),
}


def parts(spec: DataSpec, posterior: Posterior) -> Parts:
    objective = ELBO(Ramp(1.0, 2000))
    return Parts(Latent(posterior, StandardNormal()), MLP((300, 300)), MLP((300, 300)), objective=objective)


ENTRIES = {name: Entry(partial(parts, posterior=posterior)) for name, posterior in POSTERIORS.items()}
ADAM = Adam(1e-3, schedule="cosine", warmup=500, average=0.999)

if __name__ == "__main__":
    title = "Posteriors, dynamically binarised MNIST"
    pairs = [(name, "normal") for name in POSTERIORS if name != "normal"]
    contest(Contest(title, ENTRIES, pairs, ADAM, epochs=40, draws=100, test_rows=2000, elbo=True))
