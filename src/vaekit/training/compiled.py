"""Forward and every player's backward as one program: run as it is, or traced and compiled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from ..core import Batch, Noise, Recorder, Terms
from .learner import Ensemble, Learner

log = logging.getLogger("vaekit")

Outcome = tuple[Terms, dict[str, Sequence[Tensor | None]]]
"""The terms, detached, and each player's gradients of its own loss."""


def gradients(
    learner: Callable[[Batch, Noise], Terms], players: dict[str, list[Tensor]], batch: Batch, noise: Noise
) -> Outcome:
    """Terms and gradients; the losses of an ensemble's members are summed, which leaves each its own gradient."""
    terms = learner(batch, noise)
    last = len(players) - 1
    found = {
        who: torch.autograd.grad(terms.losses[who].sum(), parameters, retain_graph=index < last, allow_unused=True)
        for index, (who, parameters) in enumerate(players.items())
    }
    return pytree.tree_map_only(Tensor, torch.detach, terms), found


class Given:
    """Numbers that were drawn beforehand, handed out in order."""

    def __init__(self, numbers: Sequence[Tensor]):
        self.numbers = iter(numbers)

    def randn(self, shape: Sequence[int]) -> Tensor:
        return next(self.numbers)

    rand = randn


def inductor(graph: GraphModule, example: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """A flat graph as fused loops, by TorchInductor."""
    from torch._inductor import compile as to_loops

    return to_loops(graph, list(example))


class Program:
    """`program(batch, noise)` is `gradients`, compiled once per shape of batch.

    The forward is pure and asks for the same noise whenever shapes are the same, so forward and backward can be
    traced into one flat list of tensor operations, without modules or autograd, which `backend` compiles. By default
    that takes 20 seconds or so for a new shape (a few when the machine has compiled it before). Where there is no C++
    compiler, or a user's module cannot be traced, this is said once and steps run as they are.
    """

    def __init__(
        self,
        learner: Learner | Ensemble,
        players: dict[str, list[Tensor]],
        backend: Callable[[GraphModule, Sequence[Tensor]], Callable[..., Sequence[Tensor]]] = inductor,
    ):
        self.learner, self.players, self.backend = learner, players, backend
        self.failure: str | None = None
        self._programs: dict[tuple, Callable[[Batch, Noise], Outcome]] = {}

    def eager(self, batch: Batch, noise: Noise) -> Outcome:
        return gradients(self.learner, self.players, batch, noise)

    def __call__(self, batch: Batch, noise: Noise) -> Outcome:
        if self.failure is not None:
            return self.eager(batch, noise)
        key = tuple((tuple(t.shape), t.dtype) for t in pytree.tree_leaves(batch) if t is not None)
        if key not in self._programs:
            try:
                self._programs[key] = self._compile(batch)
            except Exception as error:  # whatever a compiler or a user's module may raise
                self.failure = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
                log.warning("training goes on without compilation, which failed here (%s)", self.failure)
                return self.eager(batch, noise)
        return self._programs[key](batch, noise)

    def _compile(self, batch: Batch) -> Callable[[Batch, Noise], Outcome]:
        recorder = Recorder(self.learner.noise())
        with torch.no_grad():
            self.learner(batch, recorder)
        state = {**dict(self.learner.named_parameters()), **dict(self.learner.named_buffers())}
        own = {id(t): n for n, t in state.items()}
        players = {who: [own[id(p)] for p in parameters] for who, parameters in self.players.items()}

        def outcome(state: dict[str, Tensor], batch: Batch, numbers: list[Tensor]) -> Outcome:
            def learner(batch: Batch, noise: Noise) -> Terms:
                return functional_call(self.learner, leaves, (batch, noise))

            leaves = {n: t.detach().requires_grad_(t.requires_grad) for n, t in state.items()}
            chosen = {who: [leaves[n] for n in names] for who, names in players.items()}
            return gradients(learner, chosen, batch, Given(numbers))

        flat, example, structure = traced(outcome, state, batch, recorder.tape)
        program, weights = self.backend(flat, example), list(state.values())

        def run(batch: Batch, noise: Noise) -> Outcome:
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
