"""Plain JAX: a whole epoch is one compiled call, its steps a `lax.scan`."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
from measure import Clock

from .data import rows, unit, widths

Layers = list[tuple[jax.Array, jax.Array]]


def glorot(key: jax.Array, sizes: list[int]) -> Layers:
    draw, keys = jax.nn.initializers.glorot_uniform(), jax.random.split(key, len(sizes) - 1)
    return [(draw(k, pair), jnp.zeros(pair[1])) for k, pair in zip(keys, pairwise(sizes))]


def network(layers: Layers, x: jax.Array) -> jax.Array:
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight + bias
        x = jax.nn.relu(x) if i < len(layers) - 1 else x
    return x


def loss(parameters: tuple[Layers, Layers], x: jax.Array, key: jax.Array) -> jax.Array:
    mu, log_var = jnp.split(network(parameters[0], x), 2, axis=-1)
    logits = network(parameters[1], mu + jnp.exp(0.5 * log_var) * jax.random.normal(key, mu.shape))
    distortion = jnp.sum(jax.nn.softplus(logits) - x * logits)
    return (distortion - 0.5 * jnp.sum(1 + log_var - mu**2 - jnp.exp(log_var))) / len(x)


def adam(state: tuple, x: jax.Array, key: jax.Array) -> tuple:
    parameters, first, second, count = state
    gradient, count = jax.grad(loss)(parameters, x, key), count + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    moved = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), parameters, first, second)
    return moved, first, second, count


def epoch(state: tuple, x: jax.Array, key: jax.Array, batch: int) -> tuple:
    """All full batches in one scan, then the rest of the rows."""
    shuffle, noise, last = jax.random.split(key, 3)
    order, full = jax.random.permutation(shuffle, len(x)), len(x) // batch

    def step(state: tuple, now: tuple) -> tuple:
        return adam(state, x[now[0]], now[1]), None

    batches = order[: full * batch].reshape(full, batch)
    state, _ = jax.lax.scan(step, state, (batches, jax.random.split(noise, full)))
    return adam(state, x[order[full * batch :]], last) if len(x) % batch else state


def fit(task: dict, clock: Clock) -> dict:
    x, x_test = (jnp.asarray(unit(rows(task, part)).reshape(-1, task["cells"])) for part in ("train", "test"))
    key = jax.random.key(0)
    parameters = tuple(glorot(jax.random.fold_in(key, i), sizes) for i, sizes in enumerate(widths(task)))
    first, second = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
    state, run = (parameters, first, second, jnp.zeros(())), jax.jit(epoch, static_argnums=3, donate_argnums=0)
    clock.begin()
    for i in range(task["epochs"]):
        state = jax.block_until_ready(run(state, x, jax.random.fold_in(key, 10 + i), task["batch"]))
        clock.epoch()
    return {"held_out": -float(loss(state[0], x_test, key))} if task.get("evaluate", True) else {}
