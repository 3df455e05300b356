"""The floor of a model: the matrix products and convolutions of one step alone.

No autograd, no loss, no optimiser; inputs allocated once, dense outputs too. Forward, and of each layer the gradient of
its weights and, but for the layer that reads the data, of its input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from measure import Clock, seconds_of
from torch import Tensor

from .data import rows, widths

Products = list[Callable[[], object]]


def dense(
    sizes: list[int], batch: int, first: bool, members: tuple[int, ...] = (), backward: bool = True, **on
) -> Products:
    """Of dense layers; first: whether they read the data. members: (K,) for K models stacked; on: a device."""
    add, multiply = (torch.baddbmm, torch.bmm) if members else (torch.addmm, torch.mm)
    products: Products = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        x, y = torch.randn(*members, batch, n_in, **on), torch.randn(*members, batch, n_out, **on)
        weight, bias = torch.randn(*members, n_out, n_in, **on), torch.randn(*members, 1, n_out, **on)
        products.append(partial(add, bias, x, weight.mT, out=torch.empty_like(y)))
        if backward:
            products.append(partial(multiply, y.mT, x, out=torch.empty_like(weight)))
        if backward and not (first and i == 0):
            products.append(partial(multiply, y, weight, out=torch.empty_like(x)))
    return products


def mlp(task: dict, **on) -> Products:
    encoder, decoder = widths(task)
    members = (task["members"],) if "members" in task else ()
    k = task.get("k", 1)
    return dense(encoder, task["batch"], True, members, **on) + dense(decoder, task["batch"] * k, False, members, **on)


def convolutions(channels: list[int], side: int, batch: int, transposed: bool, first: bool, **on) -> Products:
    """4x4, stride 2, padding 1, each in the faster memory format; side: of the first layer's input."""
    products: Products = []
    for i, (n_in, n_out) in enumerate(pairwise(channels)):
        after = side * 2 if transposed else side // 2
        x, y = torch.randn(batch, n_in, side, side, **on), torch.randn(batch, n_out, after, after, **on)
        weight = torch.randn(*((n_in, n_out) if transposed else (n_out, n_in)), 4, 4, **on)
        how = ([2, 2], [1, 1], [1, 1], transposed, [0, 0], 1)
        bias, mask = torch.randn(n_out, **on), [not (first and i == 0), True, True]
        products.append(faster(torch.ops.aten.convolution, (x, weight, bias, *how)))
        products.append(faster(torch.ops.aten.convolution_backward, (y, x, weight, [n_out], *how, mask)))
        side = after
    return products


def faster(function: Callable, arguments: tuple) -> Callable[[], object]:
    """The call with its images as they are or with their channels last, whichever takes less time."""
    last = [a.to(memory_format=torch.channels_last) if isinstance(a, Tensor) and a.dim() == 4 else a for a in arguments]
    return min((partial(function, *given) for given in (arguments, last)), key=seconds_of)


def conv(task: dict, **on) -> Products:
    batch, latent = task["batch"], task["latent"]
    return [
        *convolutions([1, 32, 32, 64, 64], 64, batch, transposed=False, first=True, **on),
        *dense([1024, 256, 2 * latent], batch, False, **on),
        *dense([latent, 256, 1024], batch, False, **on),
        *convolutions([64, 64, 32, 32, 1], 4, batch, transposed=True, first=False, **on),
    ]


def run(products: Products) -> None:
    for product in products:
        product()


@torch.no_grad()
def fit(task: dict, clock: Clock) -> None:
    """As many times as training takes steps."""
    products = conv(task) if task["model"] == "conv" else mlp(task)
    steps = -(-task["rows"] // task["batch"])
    clock.begin()
    for _ in range(task["epochs"]):
        for _ in range(steps):
            run(products)
        clock.epoch()


@torch.no_grad()
def inference(task: dict, clock: Clock) -> dict:
    """Of scoring: every draw of every row through the decoder, the forward products alone."""
    encoder, decoder = widths(task)
    count = len(rows(task, "test"))
    if task["verb"] == "transform":
        return {"seconds": seconds_of(partial(run, dense(encoder, count, True, backward=False)))}
    if task["verb"] == "sample":
        return {"seconds": seconds_of(partial(run, dense(decoder, count, True, backward=False)))}
    products, times = dense(decoder, 20_000, True, backward=False), count * task["draws"] // 20_000
    return {"seconds": seconds_of(lambda: [run(products) for _ in range(times)], times=1, warm=False)}
