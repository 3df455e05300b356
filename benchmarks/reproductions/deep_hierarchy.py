"""A deep hierarchy against flat models, each trained for the same time of one core.

    PYTHONPATH=src python benchmarks/reproductions/deep_hierarchy.py

After Child 2021, arXiv:2011.10650, the recipe `very-deep-conv`: eight blocks of 5 codes along a residual path, each
told from above and from x. No paper has these figures: the question is whether the hierarchy is ahead of every flat
model of 40 codes. One of them has the same networks and a single block, so that nothing is left to differ but the
depth. The rate is warmed up in all of them: without that the flat dense model ended at 90.6 nats for 86.0 in a single
training.
"""

from __future__ import annotations

from protocol import Contest, Entry, contest

from vaekit import Ramp
from vaekit.data.spec import DataSpec
from vaekit.latents import Latent, Normal, StandardNormal
from vaekit.networks import MLP, ConvDecoder, ConvEncoder
from vaekit.objectives import ELBO
from vaekit.recipes import Parts, very_deep_conv
from vaekit.training import Adam

CHANNELS = (32, 64)
"""Those of the recipe."""


def deep(spec: DataSpec) -> Parts:
    return very_deep_conv(blocks=8).build(5, spec)


def one_block(spec: DataSpec) -> Parts:
    return very_deep_conv(blocks=1).build(40, spec)


def convolutional(spec: DataSpec) -> Parts:
    return flat(ConvEncoder(CHANNELS), ConvDecoder(CHANNELS[::-1]))


def dense(spec: DataSpec) -> Parts:
    return flat(MLP((300, 300), heads=2), MLP((300, 300)))


def flat(*networks: MLP | ConvEncoder | ConvDecoder) -> Parts:
    return Parts(Latent(Normal(40), StandardNormal()), *networks, objective=ELBO(Ramp(1.0, 2500)))


ENTRIES = {
    "deep": Entry(deep),
    "flat, a single block": Entry(one_block),
    "flat, convolutional": Entry(convolutional),
    "flat, dense": Entry(dense),
}
ADAM = Adam(3e-3, schedule="cosine", warmup=200, clip=200.0, average=0.995)
"""The same for all. The gradients' norms begin at about 400, nats per image. They are clipped and no step is skipped:
once the gradients of all batches are large, no step would lead out."""

if __name__ == "__main__":
    title = "A deep hierarchy against flat models, dynamically binarised MNIST"
    ahead = [("deep", name) for name in ENTRIES if name != "deep"]
    contest(Contest(title, ENTRIES, ahead, ADAM, seconds=600.0, batch_size=240, bf16=True, draws=100, test_rows=1000))
