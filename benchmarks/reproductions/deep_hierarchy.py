"""A very deep hierarchy against flat models, on dynamically binarised MNIST at equal time.

`PYTHONPATH=src python benchmarks/reproductions/deep_hierarchy.py`, about 25 minutes on two quiet cores. No paper has
these figures: the claim is that the hierarchy is ahead of every flat model.
"""

from __future__ import annotations

from functools import partial

from contest import contest

from vaekit import recipes
from vaekit.training import Adam

DEEP = recipes.very_deep(rungs=((1, 1), (3, 2), (7, 3)), width=32, bottleneck=16)
ENTRIES = {
    "very-deep": partial(DEEP.build, 4),
    "conv": partial(recipes.conv(channels=(32, 64), hidden=256).build, 40),
    "dense": partial(recipes.binarised(hidden=(300, 300)).build, 40),
}
ADAM = Adam(2e-3, schedule="cosine", warmup=200, skip=2000.0, average=0.99)
"""The same for all. The gradients' norms begin at about 400, nats per image."""

if __name__ == "__main__":
    contest(__doc__.split("\n")[0], ENTRIES, ADAM, seconds=600.0, draws=100, test_rows=1000)
