"""Parameters spread over the processes of a training: each keeps a part of a tensor, and gathers it when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ReferenceType, ref

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils import parametrize

from ..core import Batch
from .distributed import Processes, speaking
from .learner import Learner

WORTH_SHARDING = 2**12
"""A tensor of fewer numbers stays whole on every process: a message of its own would cost more than its memory."""


class Shards(nn.Module):
    """What a module reads as its tensor of `shape`, made of the parts that the processes keep: (n,) each, the last
    filled up with zeros. The gradient of a part is its part of the mean over the rows of all processes.

    gathered: told of every whole tensor and the part of it that is kept.
    """

    def __init__(self, shape: torch.Size, processes: Processes, gathered: Callable[[Tensor, Tensor, Shards], None]):
        super().__init__()
        self.shape, self.processes, self.gathered = shape, processes, gathered
        self.length = -(-shape.numel() // processes.size)
        self.share = torch.ones(())
        """Of the rows of the batch, this process's."""

    def forward(self, part: Tensor) -> Tensor:
        whole = Whole.apply(part, self)
        self.gathered(whole, part, self)
        return whole

    def whole(self, part: Tensor) -> Tensor:
        found = part.new_empty(self.processes.size, self.length)
        with speaking():
            dist.all_gather(list(found), part.detach().contiguous())
        return found.reshape(-1)[: self.shape.numel()].view(self.shape)

    def right_inverse(self, whole: Tensor) -> Tensor:
        """The part of a tensor that this process keeps."""
        start = self.processes.rank * self.length
        return self._filled_up(whole.detach())[start : start + self.length].clone()

    def summed_part(self, gradient: Tensor) -> Tensor:
        """This process's part of the sum over the processes, each counting by its share of the rows."""
        weighed = self._filled_up(torch.where(self.share > 0, gradient * self.share, 0.0))
        own = weighed.new_empty(self.length)
        with speaking():
            dist.reduce_scatter(own, list(weighed.split(self.length)))
        return own

    def _filled_up(self, tensor: Tensor) -> Tensor:
        flat = tensor.reshape(-1)
        return torch.cat([flat, flat.new_zeros(self.length * self.processes.size - len(flat))])


class Whole(torch.autograd.Function):
    """Part -> whole, and the gradient of the whole -> the part's own."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, shards: Shards) -> Tensor:
        ctx.shards = shards
        return shards.whole(part)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.shards.summed_part(gradient), None


class Sharded:
    """A learner whose networks' weights are spread over the processes, from now until `end`.

    A whole tensor exists while its layer computes, and again in the backward, for which autograd keeps the part alone.
    Gradients and Adam's moments are of the parts. So each of N processes holds an N-th of the networks' weights,
    gradients and moments, and one layer whole (Rajbhandari et al. 2020, arXiv:1910.02054, its third stage).
    """

    def __init__(self, learner: Learner, processes: Processes):
        self.processes = processes
        self.shards: dict[str, Shards] = {}
        """By the name that a part has among the learner's parameters."""
        self.plain: dict[str, str] = {}
        """Its name -> that of the whole tensor."""
        self._places: list[tuple[nn.Module, str]] = []
        self._out: dict[int, tuple[ReferenceType[Tensor], Tensor, Shards]] = {}
        readers = [type(m).__name__ for m in learner.modules() if getattr(m, "reads_weights", False)]
        if readers:
            raise ValueError(
                f"{readers[0]} reads the networks' weights themselves, of which each process would have a part: train "
                "without sharded=True"
            )
        moved = [type(m).__name__ for m in learner.model.latent.modules() if getattr(m, "follows_gradients", False)]
        if moved:
            raise ValueError(
                f"{moved[0]} moves its draws by gradients through the decoder, which cannot be gathered within: train "
                "without sharded=True"
            )
        self._order = [name for name, _ in learner.named_parameters()]
        for name, parameter in list(learner.named_parameters()):
            network = name.startswith(("model.encoder.", "model.decoder."))
            if network and parameter.numel() >= WORTH_SHARDING and parameter.is_floating_point():
                self._spread(learner, name, parameter)

    def _spread(self, learner: Learner, name: str, parameter: Tensor) -> None:
        path, _, own = name.rpartition(".")
        module, shards = learner.get_submodule(path), Shards(parameter.shape, self.processes, self._gathered)
        parametrize.register_parametrization(module, own, shards, unsafe=True)
        part = f"{path}.parametrizations.{own}.original"
        self.shards[part], self.plain[part] = shards, name
        self._places.append((module, own))

    def as_before(self, names: list[str]) -> list[str]:
        """Names of parameters in the order that they had before some of them became parts."""
        return sorted(names, key=lambda name: self._order.index(self.plain.get(name, name)))

    def end(self) -> None:
        """Every process has the whole model again."""
        for module, own in self._places:
            parametrize.remove_parametrizations(module, own)

    # -- a step --------------------------------------------------------------------------------------

    @contextmanager
    def step(self, batch: Batch) -> Iterator[None]:
        """Around the forward and the backwards of a step on this process's share of a batch."""
        one = torch.ones((), device=batch.x.device, dtype=batch.x.dtype)
        rows = one * len(batch.x) if batch.weight is None else batch.weight.sum()
        share = rows / self.processes.total(rows)
        for shards in self.shards.values():
            shards.share = share
        with saved_tensors_hooks(self._keep, self._find):
            yield
        self._out.clear()

    def _gathered(self, whole: Tensor, part: Tensor, shards: Shards) -> None:
        self._out[whole.untyped_storage().data_ptr()] = ref(whole), part, shards

    def _keep(self, tensor: Tensor) -> Any:
        """What autograd keeps of a tensor: of a whole one that was gathered, the part and how it was looked at."""
        reference, part, shards = self._out.get(tensor.untyped_storage().data_ptr(), (lambda: None, None, None))
        if reference() is None:
            return tensor
        return part, shards, tensor.shape, tensor.stride(), tensor.storage_offset()

    @staticmethod
    def _find(kept: Any) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        part, shards, *view = kept
        return shards.whole(part).as_strided(*view)

    def squares(self, names: list[str], gradients: list[Tensor]) -> Tensor:
        """The sum of the squares of the gradients of these parameters, of which some are parts."""
        own = [g.square().sum() for n, g in zip(names, gradients) if n in self.shards]
        everyones = [g.square().sum() for n, g in zip(names, gradients) if n not in self.shards]
        return sum(everyones) + (self.processes.total(sum(own)) if own else 0.0)

    # -- between steps -------------------------------------------------------------------------------

    def whole(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A learner's state as it is without sharding, on the host. All processes have to ask for it."""
        found = {n: self.shards[n].whole(t).cpu() if n in self.shards else t for n, t in state.items()}
        return {self.plain.get(n, n): t for n, t in found.items()}

    def parts(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of a learner's whole state what this process keeps."""
        names = {plain: n for n, plain in self.plain.items()}
        found = {n: self.shards[names[n]].right_inverse(t) if n in names else t for n, t in state.items()}
        return {names.get(n, n): t for n, t in found.items()}
