"""Data-parallel training: several processes, each with its share of every batch, take one step together."""

from __future__ import annotations

import atexit
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import reduce
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..constructors import checked_constructor
from ..core import Batch, LossOutput, Noise
from .learner import Ensemble, Learner
from .threads import usual_threads

log = logging.getLogger("vaekit")
T, N = TypeVar("T"), TypeVar("N", bound=Noise)
Gradients = dict[str, Sequence[Tensor | None]]

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others before it gives them up."""
LOOK = 50
"""On CUDA, every how many steps the host looks at what the processes wish: each look waits for the device."""
ENDED = "vaekit/ended"

_store: dist.Store | None = None


class Abandoned(RuntimeError):
    """Another process of the training ended, or was silent for too long."""


@contextmanager
def speaking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise Abandoned(
            f"another process of this training ended, or was silent for {TIMEOUT}: its own message says why ({error})"
        ) from error


@torch.library.custom_op("vaekit::total", mutates_args=())
def _total(tensor: Tensor) -> Tensor:
    """An operation of its own, so that a traced step can hold it."""
    total = tensor.clone(memory_format=torch.contiguous_format)
    with speaking():
        dist.all_reduce(total)
    return total


@torch.library.custom_op("vaekit::gather", mutates_args=())
def _gather(rows: Tensor) -> Tensor:
    gathered = rows.new_empty((dist.get_world_size(), *rows.shape))
    with speaking():
        dist.all_gather(list(gathered), rows.contiguous())
    return gathered


@_total.register_fake
def _(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


@_gather.register_fake
def _(rows: Tensor) -> Tensor:
    return rows.new_empty((dist.get_world_size(), *rows.shape))


@checked_constructor
class Processes:
    """The processes that train one model: of the rows of a batch each takes those at rank, rank + size, ...

    By default there is one, and nothing is sent. Where there are several, all have to make the same calls in the same
    order. total, gather, share: see `vaekit.core.Peers`.
    """

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size
        self._wishes: tuple[bool, ...] = ()
        self._heard: list[Tensor] = []
        self._message: Tensor | None = None
        self._rounds = 0

    # -- rows and noise ------------------------------------------------------------------------------

    def total(self, tensor: Tensor) -> Tensor:
        return _total(tensor.detach())

    def gather(self, rows: Tensor) -> Tensor:
        return _gather(rows.detach()).transpose(0, 1).flatten(0, 1)

    def share(self, rows: Tensor) -> Tensor:
        return rows[self.rank :: self.size]

    def own(self, index: Tensor) -> Tensor:
        """This process's share of the rows of a batch. Shares are of one length: where the rows do not come out even,
        the last ones are filled up with the first row, which `weighed` gives no weight."""
        if self.size == 1:
            return index
        return self.share(torch.cat([index, index[:1].expand(-len(index) % self.size)]))

    def weighed(self, batch: Batch, rows: int) -> Batch:
        """This process's share of a batch of so many rows."""
        if rows % self.size == 0:
            return batch
        place = self.rank + self.size * torch.arange(len(batch.x), device=batch.x.device)
        real = (place < rows).to(batch.x.dtype)
        return replace(batch, weight=real if batch.weight is None else real * batch.weight)

    def seed(self, seed: int, taken: int = 0) -> int:
        """Of this process's own noise: the first one's is the seed itself, unless it begins anew after some steps."""
        if self.rank == taken == 0:
            return seed
        return int(np.random.default_rng([seed, 2**31 + 2, self.rank, taken]).integers(2**63))

    def among(self, noise: N) -> N:
        """The noise, which then leads to these processes."""
        if self.size > 1:
            noise.peers = self
        return noise

    # -- a step --------------------------------------------------------------------------------------

    @torch.no_grad()
    def mean(self, batch: Batch, terms: LossOutput, gradients: Gradients) -> tuple[LossOutput, Gradients]:
        """Losses, metrics and gradients, which are means over this process's rows, as means over the rows of all.

        All travel in one message; the gradients are views of it, until the next.
        """
        leaves, structure = pytree.tree_flatten((terms.losses, terms.metrics, gradients))
        one = torch.ones_like(next(iter(terms.losses.values())))
        rows = one * len(batch.x) if batch.weight is None else batch.weight.sum()
        wishes = [one * wish for wish in self._wishes]
        tensors = [one, *wishes, *(t for t in leaves if t is not None)]
        means = self._means(tensors, rows, weighted=batch.weight is not None)
        self._heard, self._rounds = [wish.clone() for wish in means[1 : 1 + len(wishes)]], self._rounds + 1
        rest = iter(means[1 + len(wishes) :])
        losses, metrics, gradients = pytree.tree_unflatten([t if t is None else next(rest) for t in leaves], structure)
        losses, metrics = ({n: t.clone() for n, t in figures.items()} for figures in (losses, metrics))
        return LossOutput(losses, metrics, terms.updates), gradients

    def _means(self, tensors: list[Tensor], rows: Tensor, weighted: bool) -> list[Tensor]:
        """sum_r rows_r t_r / sum_r rows_r over the processes r; the first tensor has to be 1."""
        sizes = [t.numel() for t in tensors]
        if self._message is None or len(self._message) != sum(sizes):
            kind = reduce(torch.promote_types, (t.dtype for t in tensors))
            self._message = torch.empty(sum(sizes), dtype=kind, device=rows.device)
        message = self._message
        views = [view.view(t.shape) for view, t in zip(message.split(sizes), tensors)]
        for view, tensor in zip(views, tensors):
            torch.mul(tensor, rows, out=view)
        if weighted:
            message.masked_fill_(rows == 0, 0.0)  # a share without rows has means of 0 / 0
        with speaking():
            dist.all_reduce(message)
        message.div_(message[0].clone())
        return [view.to(t.dtype) for view, t in zip(views, tensors)]

    def agreed(self, *wishes: bool) -> tuple[bool, ...]:
        """Which of these wishes any process has. Between processes they travel with the gradients: heard is what was
        wished before the last step, or, on CUDA, before one of the last 50."""
        if self.size == 1:
            return wishes
        heard = (False,) * len(wishes)
        if self._heard and (not self._heard[0].is_cuda or self._rounds % LOOK == 0):
            heard = tuple(bool(wish > 0) for wish in self._heard)
        self._wishes = tuple(wish and not already for wish, already in zip(wishes, heard))
        return heard

    # -- between steps -------------------------------------------------------------------------------

    @property
    def _host(self) -> str:
        """The device from which what the host says is sent: NCCL alone sends nothing from the CPU."""
        return "cpu" if "gloo" in dist.get_backend_config() else "cuda"

    def first(self, find: Callable[[], T]) -> T:
        """What the first process finds, told to all; it has to be something that JSON can hold."""
        if self.size == 1:
            return find()
        told = torch.tensor(list(json.dumps(find()).encode()) if self.rank == 0 else [], dtype=torch.uint8)
        length = torch.tensor([len(told)], device=self._host)
        with speaking():
            dist.broadcast(length, 0)
            told = told.to(self._host) if self.rank == 0 else length.new_empty(int(length), dtype=torch.uint8)
            dist.broadcast(told, 0)
        return json.loads(bytes(told.tolist()))

    def largest(self, number: float) -> float:
        """The largest of the processes' numbers."""
        if self.size == 1:
            return number
        numbers = torch.tensor([number], dtype=torch.float64, device=self._host)
        with speaking():
            dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return float(numbers)

    def each(self, tensor: Tensor) -> list[Tensor]:
        """The tensor that each process has; all are of one shape."""
        if self.size == 1:
            return [tensor]
        own = tensor.to(self._host).contiguous()
        found = [torch.empty_like(own) for _ in range(self.size)]
        with speaking():
            dist.all_gather(found, own)
        return [t.to(tensor.device) for t in found]

    @property
    def threads(self) -> int:
        """The most threads that are tried: torch's own, but of several processes no more than each has cores."""
        if self.size == 1:
            return usual_threads()
        cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        return -int(self.largest(-min(torch.get_num_threads(), max(1, cores))))

    def alike(self, **told: int) -> None:
        """Raises ValueError where the processes were told different things."""
        if self.size == 1:
            return
        own_numbers = torch.tensor([int(number) for number in told.values()])
        for rank, numbers in enumerate(self.each(own_numbers)):
            for name, own, other in zip(told, own_numbers.tolist(), numbers.tolist()):
                if own != other:
                    raise ValueError(
                        f"process {self.rank} has {name}={own}, process {rank} has {name}={other}: give all processes "
                        "the same data, settings and run"
                    )

    def meet(self, learner: Learner | Ensemble, **told: int) -> None:
        """Before a training: all get the first one's weights. Raises ValueError for what several processes cannot train
        as one would, and where they were told different things."""
        if self.size == 1:
            return
        _check(learner)
        self.alike(parameters=sum(p.numel() for p in learner.parameters()), **told)
        for tensor in learner.state_dict().values():
            sent = tensor.contiguous()
            with speaking():
                dist.broadcast(sent, 0)
            tensor.copy_(sent)


def _check(learner: Learner | Ensemble) -> None:
    if isinstance(learner, Ensemble):
        raise ValueError(
            "expected one model, got an ensemble: several processes share the rows of one model; train the ensemble in "
            "one process, without torchrun"
        )
    if learner.objective.couples_rows:
        raise ValueError(
            f"{type(learner.objective).__name__} is no mean over rows (couples_rows), so that the gradients of several "
            "processes do not add up to that of the whole batch: train it in one process, without torchrun"
        )
    normalised = [type(m).__name__ for m in learner.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if normalised:
        raise ValueError(
            f"{normalised[0]} mixes the rows of a batch, and each process has but a share of them: use GroupNorm or "
            "LayerNorm, or train in one process, without torchrun"
        )
    device = learner.get_buffer("step").device
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"several processes train on cpu or cuda, this is {device.type}: pass device='cpu'")
    local, count = _local_rank(), torch.cuda.device_count()
    if device.type == "cuda" and local >= count:
        raise ValueError(f"process {local} of this machine has no device of its own: torch sees {count} CUDA devices")


# -- the group -------------------------------------------------------------------------------------


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def join() -> Processes:
    """The processes of torch's default group. Where there is none, it is begun if the environment asks for several, as
    torchrun's does, and ends with this process."""
    if not dist.is_available() or not (dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) > 1):
        return Processes()
    if not dist.is_initialized():
        _begin()
    return Processes(dist.get_rank(), dist.get_world_size())


def _begin() -> None:
    global _store
    cuda = torch.cuda.is_available()
    if cuda and _local_rank() < torch.cuda.device_count():
        torch.cuda.set_device(_local_rank())
    _store, rank, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=_store, rank=rank, world_size=size, timeout=TIMEOUT)
    atexit.register(_end)
    if rank:
        log.setLevel(logging.CRITICAL)  # the first process speaks for all


def _end() -> None:
    dist.destroy_process_group()
    # gloo's threads let go of the last message's tensors, for which each needs the interpreter's lock: one that still
    # waits for it when the interpreter ends would abort the process (torch 2.13).
    time.sleep(0.05)


def verdict(code: int, failed: bool) -> tuple[bool, int]:
    """How the work ends: whether this process is the one to tell, and the exit code of all.

    The first process tells, unless another one failed before; the others wait for its word.
    """
    rank = int(os.environ.get("RANK", "0"))
    if _store is None:  # it ends before the processes met: all alike
        return rank == 0, code
    try:
        if rank and not failed:
            _store.wait([ENDED], timedelta(days=7))
        teller, _, code_of_all = _store.compare_set(ENDED, "", f"{rank} {code}").decode().partition(" ")
    except RuntimeError:  # gone with the process that kept the store
        return False, code or 1
    return int(teller) == rank, int(code_of_all)
