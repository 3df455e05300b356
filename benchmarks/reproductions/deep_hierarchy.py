"""A deep hierarchy against flat models, each trained for the same time of one core.

    PYTHONPATH=src python benchmarks/reproductions/deep_hierarchy.py

After Child 2021, arXiv:2011.10650, made of dense layers: two blocks of 20 codes along a residual path, each told from
above and from x. No paper has these figures: the question is whether the hierarchy is ahead of every flat model. The
rate is warmed up in all of them: without that the flat dense model ended at 90.6 nats for 86.0.
"""

from __future__ import annotations

from functools import partial

from protocol import Contest, Entry, contest

from vaekit import Ramp
from vaekit.data.spec import DataSpec
from vaekit.latents import AbstractLatent, Latent, Normal, StandardNormal, TopDown
from vaekit.networks import MLP, ConvDecoder, ConvEncoder
from vaekit.objectives import ELBO
from vaekit.recipes import Parts
from vaekit.training import Adam

CHANNELS = (32, 64)


def objective() -> ELBO:
    return ELBO(Ramp(1.0, 2500))


def dense(spec: DataSpec, latent: AbstractLatent, hidden: tuple[int, ...], heads: int = 1) -> Parts:
    return Parts(latent, MLP(hidden, heads=heads), MLP(hidden), objective=objective())


def convolutional(spec: DataSpec) -> Parts:
    return Parts(flat(), ConvEncoder(CHANNELS), ConvDecoder(CHANNELS[::-1]), objective=objective())


def flat() -> Latent:
    return Latent(Normal(40), StandardNormal())


HIERARCHY = TopDown(2, 20, width=300, bottleneck=150, activation="relu")
ENTRIES = {
    "deep": Entry(partial(dense, latent=HIERARCHY, hidden=(300,))),
    "flat, convolutional": Entry(convolutional),
    "flat, dense": Entry(partial(dense, latent=flat(), hidden=(300, 300), heads=2)),
}
AHEAD = [("deep", "flat, convolutional"), ("deep", "flat, dense")]
ADAM = Adam(3e-3, schedule="cosine", warmup=200, skip=2000.0, average=0.995)
"""The same for all. The gradients' norms begin at about 400, nats per image."""

if __name__ == "__main__":
    title = "A deep hierarchy against flat models, dynamically binarised MNIST"
    contest(Contest(title, ENTRIES, AHEAD, ADAM, seconds=750.0, batch_size=240, bf16=True, draws=100, test_rows=1000))
