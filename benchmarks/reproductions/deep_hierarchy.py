"""A very deep hierarchy against flat models, each trained for the same time of one core.

    PYTHONPATH=src python benchmarks/reproductions/deep_hierarchy.py

After Child 2021, arXiv:2011.10650. No paper has these figures: the question is whether the hierarchy is ahead of every
flat model. Within the first thousand steps it is not: it begins with codes that say nothing.
"""

from __future__ import annotations

from protocol import Contest, Entry, contest

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


ENTRIES = {"very deep": Entry(deep), "convolutional": Entry(conv), "dense": Entry(dense)}
AHEAD = [("very deep", "convolutional"), ("very deep", "dense")]
ADAM = Adam(2e-3, schedule="cosine", warmup=200, skip=2000.0, average=0.99)
"""The same for all. The gradients' norms begin at about 400, nats per image."""

if __name__ == "__main__":
    title = "A very deep hierarchy against flat models, dynamically binarised MNIST"
    contest(Contest(title, ENTRIES, AHEAD, ADAM, seconds=900.0, draws=100, test_rows=1000))
