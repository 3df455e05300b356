"""Normal against von Mises-Fisher posteriors, between the same dense networks.

    PYTHONPATH=src python benchmarks/reproductions/hyperspherical.py
    PYTHONPATH=src python benchmarks/reproductions/hyperspherical.py --models "normal, d = 2" "spherical, d = 2"

Davidson et al. 2018, arXiv:1804.00891, table 1: 784-256-128 and back, 500 importance samples. A dimension d is that of
the manifold, as in the paper: the sphere S^d lies in d + 1 numbers, which the decoder reads. The paper trains in
batches of 64 with a rate that is warmed up over 100 epochs and stops early, after up to 1000 epochs; this is a
shortened run, in bfloat16.
"""

from __future__ import annotations

from functools import partial

from protocol import Contest, Entry, contest

from vaekit import Ramp
from vaekit.data.spec import DataSpec
from vaekit.latents import Latent, Normal, StandardNormal, UniformSphere, VonMisesFisher
from vaekit.networks import MLP
from vaekit.objectives import ELBO
from vaekit.recipes import Parts
from vaekit.training import Adam

PAPER = {2: (135.73, 132.50), 5: (110.21, 108.43), 10: (93.84, 93.16)}
HIDDEN = (256, 128)


def normal(spec: DataSpec, dimension: int) -> Parts:
    return parts(Latent(Normal(dimension), StandardNormal()))


def spherical(spec: DataSpec, dimension: int) -> Parts:
    return parts(Latent(VonMisesFisher(dimension + 1), UniformSphere()))


def parts(latent: Latent) -> Parts:
    return Parts(latent, MLP(HIDDEN), MLP(HIDDEN[::-1]), objective=ELBO(Ramp(1.0, 5000)))


ENTRIES, AHEAD = {}, []
for dimension, published in reversed(PAPER.items()):
    names = f"spherical, d = {dimension}", f"normal, d = {dimension}"
    for name, make, paper in zip(names, (spherical, normal), reversed(published)):
        ENTRIES[name] = Entry(partial(make, dimension=dimension), paper)
    AHEAD.append(names)
ADAM = Adam(2e-3, schedule="cosine", warmup=1000, average=0.999)

if __name__ == "__main__":
    title = "Hyperspherical latents, dynamically binarised MNIST"
    contest(Contest(title, ENTRIES, AHEAD, ADAM, epochs=80, bf16=True, draws=500, test_rows=2000))
