"""VampPrior against the standard normal, between the same gated networks.

    PYTHONPATH=src python benchmarks/reproductions/vamp.py

Published for these networks (gated 300-300, 40 latents), trained to the end and scored with 5000 draws: 84.45 for the
standard normal, 82.43 for the VampPrior of 500 pseudo-inputs (Norouzi et al. 2020, arXiv:2004.04795, after Tomczak &
Welling 2018, arXiv:1705.07120). This is a shorter run, in bfloat16: the question is the distance.
"""

from __future__ import annotations

from functools import partial

from protocol import Contest, Entry, contest

from vaekit import Ramp
from vaekit.data.spec import DataSpec
from vaekit.latents import Latent, Normal, Prior, StandardNormal, VampPrior
from vaekit.networks import MLP
from vaekit.objectives import ELBO
from vaekit.recipes import Parts
from vaekit.training import Adam

GATED = MLP((300, 300), activation="gated")


def parts(spec: DataSpec, prior: Prior) -> Parts:
    return Parts(Latent(Normal(40), prior), GATED, GATED, objective=ELBO(Ramp(1.0, 3000)))


ENTRIES = {
    "VampPrior": Entry(partial(parts, prior=VampPrior(500)), 82.43),
    "standard normal": Entry(partial(parts, prior=StandardNormal()), 84.45),
}
ADAM = Adam(2e-3, schedule="cosine", warmup=1000, average=0.9995)

if __name__ == "__main__":
    title = "VampPrior, dynamically binarised MNIST"
    pairs = [tuple(ENTRIES)]
    contest(Contest(title, ENTRIES, pairs, ADAM, epochs=120, batch_size=200, bf16=True, draws=1000, test_rows=2000))
