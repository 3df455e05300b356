"""A pure function of a module and a batch as one program: run as it is, or traced and compiled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from ..core import ALONE, Batch, Noise, Peers, Recorder, importing, peers_of
from .interruption import breakable

log = logging.getLogger("vaekit")

State = dict[str, Tensor]
"""A module's parameters and buffers by name."""


def operations(f: Callable[[], Any]) -> int:
    """Call f and count the tensor operations that it runs, those of a backward pass included."""
    with importing():  # entering the mode imports torch's compiler
        from torch.utils._python_dispatch import TorchDispatchMode

        class Count(TorchDispatchMode):
            run = 0

            def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                self.run += 1
                return op(*args, **(kwargs or {}))

        with Count() as count:
            f()
        return count.run


class Given:
    """Numbers that were drawn beforehand, handed out in order."""

    def __init__(self, numbers: Sequence[Tensor], peers: Peers = ALONE):
        self.numbers, self.peers = iter(numbers), peers

    def randn(self, shape: Sequence[int]) -> Tensor:
        return next(self.numbers)

    rand = randn


def inductor(graph: GraphModule, example: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """A flat graph as fused loops, by TorchInductor."""
    with importing():
        from torch._inductor import compile as to_loops

        return to_loops(graph, list(example))


class Program:
    """`program(batch, noise)` is `f(module, state, batch, noise)`, compiled once per shape of batch.

    f is pure, reads the module by calling it and its tensors from `state`, and asks for the same noise whenever shapes
    are the same. So all it does, a backward included, can be traced into one flat list of tensor operations, without
    modules or autograd, which `backend` compiles: by default that takes 20 seconds or so for a new shape (a few when
    the machine has compiled it before). Where there is no C++ compiler, or a user's module cannot be traced, this is
    said once and f runs as it is. like: noise of the kind that f is given.
    """

    def __init__(
        self,
        f: Callable[[Callable[..., Any], State, Batch, Noise], Any],
        module: nn.Module,
        like: Noise,
        backend: Callable[[GraphModule, Sequence[Tensor]], Callable[..., Sequence[Tensor]]] = inductor,
    ):
        self.f, self.module, self.like, self.backend = f, module, like, backend
        self.state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        self.failure: str | None = None
        self._programs: dict[tuple, Callable[[Batch, Noise], Any]] = {}

    def eager(self, batch: Batch, noise: Noise) -> Any:
        return self.f(self.module, self.state, batch, noise)

    def __call__(self, batch: Batch, noise: Noise) -> Any:
        if self.failure is not None:
            return self.eager(batch, noise)
        key = tuple((tuple(t.shape), t.dtype) for t in pytree.tree_leaves(batch) if t is not None)
        if key not in self._programs:
            try:
                with breakable(peers_of(self.like) is ALONE):
                    self._programs[key] = self._compile(batch)
            except Exception as error:  # whatever a compiler or a user's module may raise
                self.failure = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
                log.warning("this goes on without compilation, which failed here (%s)", self.failure)
                return self.eager(batch, noise)
        return self._programs[key](batch, noise)

    def _compile(self, batch: Batch) -> Callable[[Batch, Noise], Any]:
        recorder = Recorder(self.like)
        self.f(self.module, self.state, batch, recorder)

        def pure(state: State, batch: Batch, numbers: list[Tensor]) -> Any:
            leaves = {n: t.detach().requires_grad_(t.requires_grad) for n, t in state.items()}

            def call(*arguments: Any, **settings: Any) -> Any:
                return functional_call(self.module, leaves, arguments, settings)

            return self.f(call, leaves, batch, Given(numbers, recorder.peers))

        flat, example, structure = traced(pure, self.state, batch, recorder.tape)
        program, weights = self.backend(flat, example), list(self.state.values())

        def run(batch: Batch, noise: Noise) -> Any:
            numbers = [getattr(noise, kind)(shape) for kind, shape in recorder.requests]
            rows = [t for t in pytree.tree_leaves(batch) if t is not None]
            with torch.no_grad():
                return pytree.tree_unflatten(program(*weights, *rows, *numbers), structure)

        return run


def traced(f: Callable[..., Any], *arguments: Any) -> tuple[GraphModule, list[Tensor], pytree.TreeSpec]:
    """A function of trees of tensors as a graph of flat ones, the flat arguments, and how its result is built up."""
    from torch.fx.experimental.proxy_tensor import make_fx

    leaves, inputs = pytree.tree_flatten(arguments)
    tensors = [t for t in leaves if t is not None]
    outputs: list[pytree.TreeSpec] = []

    def flat(*tensors: Tensor) -> tuple[Tensor | None, ...]:
        given = iter(tensors)
        result, structure = pytree.tree_flatten(
            f(*pytree.tree_unflatten([None if t is None else next(given) for t in leaves], inputs))
        )
        outputs.append(structure)
        return tuple(result)

    return make_fx(flat)(*tensors), tensors, outputs[-1]
