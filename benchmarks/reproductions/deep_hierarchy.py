"""A very deep hierarchy against flat models, on dynamically binarised MNIST at equal time.

`PYTHONPATH=src python benchmarks/reproductions/deep_hierarchy.py`, about 25 minutes on two quiet cores. No paper has
these figures: the question is whether the hierarchy is ahead of every flat model. Within the first thousand steps it is
not: it begins with codes that say nothing.
"""

from __future__ import annotations

from contest import contest

from vaekit import recipes
from vaekit.data.spec import DataSpec
from vaekit.recipes import Parts
from vaekit.training import Adam


def deep(spec: DataSpec) -> Parts:
    return recipes.very_deep(rungs=((1, 1), (3, 2), (7, 3)), width=32).build(4, spec)


def conv(spec: DataSpec) -> Parts:
    return recipes.conv(channels=(32, 64)).build(40, spec)


def dense(spec: DataSpec) -> Parts:
    return recipes.binarised(hidden=(300, 300)).build(40, spec)


ADAM = Adam(2e-3, schedule="cosine", warmup=200, skip=2000.0, average=0.99)
"""The same for all. The gradients' norms begin at about 400, nats per image."""

if __name__ == "__main__":
    entries = {"very-deep": deep, "conv": conv, "dense": dense}
    contest(__doc__.split("\n")[0], entries, ADAM, seconds=600.0, draws=100, test_rows=1000)
