"""Rows brought into the model's space batch by batch: from memory, or from where they are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, tee
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import Batch
from ..paths import naming
from .covariates import NOTHING, Covariates
from .lazy_rows import LazyRows
from .spec import DataSpec
from .unknown import unknown_cost

Index = Tensor | slice

AHEAD = 2**25
"""Bytes that a source is read ahead of training, or two batches."""
CHECKED = 1024
"""Rows checked at a time."""


class AbstractRows(ABC):
    """Rows of one kind, `spec`, for the device they are used on."""

    spec: DataSpec
    device: torch.device
    unknown: NDArray | None = None

    @property
    def cost(self) -> NDArray | None:
        """(N, C + K), nats: what values of a table that fit did not see add to anomaly scores, by its cells and its
        constants; None where all were seen. See `vaekit.data.unknown.unknown_cost`."""
        return None if self.unknown is None else unknown_cost(self.unknown, self.spec.schema.rows)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def order(self, seed: int, epoch: int) -> Tensor:
        """The order of rows in an epoch, (N,): a function of the seed and the epoch, where `batch` wants it."""

    @abstractmethod
    def batch(self, index: Index) -> Batch:
        """The rows of an index."""

    @abstractmethod
    def stream(self, indices: Iterable[Index]) -> Iterator[Batch]:
        """The batches of indices, one after the other. Closing it ends what it has under way."""

    @abstractmethod
    def checked(self, check: Callable[[Tensor], None]) -> Self:
        """The rows, of which `spec.check` and `check`, of x in the model's space, refuse those that do not fit."""

    def batches(self, size: int) -> Iterator[Batch]:
        """All rows in order."""
        return self.stream(slice(start, start + size) for start in range(0, len(self), size))


@dataclass(frozen=True)
class Rows(AbstractRows):
    """Rows in memory. x: (N, *shape) in its own type, on the device. weight: (N,). context: (N, C). label: (N, K).
    unknown: of a table, which cells and constants hold values that fit did not see, see `Schema.read`."""

    x: Tensor
    spec: DataSpec
    dtype: torch.dtype = torch.float32
    weight: Tensor | None = None
    context: Tensor | None = None
    label: Tensor | None = None
    unknown: NDArray | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def device(self) -> torch.device:
        return self.x.device

    def order(self, seed: int, epoch: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(self))).to(self.device)

    def batch(self, index: Index) -> Batch:
        """The rows of an index, (B,) or, for an ensemble, (K, B)."""
        # Rows are copied whole by index_select, and cell by cell, ten times as slowly, by x[index].
        raw = self.x[index] if isinstance(index, slice) else self.x.index_select(0, index.flatten())
        lead = (len(raw),) if isinstance(index, slice) else index.shape
        x, mask = _encoded(raw, self.spec, self.dtype)
        return Batch(
            x.unflatten(0, lead),
            None if mask is None else mask.unflatten(0, lead),
            None if self.context is None else self.context[index],
            None if self.weight is None else self.weight[index],
            None if self.label is None else self.label[index],
        )

    def stream(self, indices: Iterable[Index]) -> Iterator[Batch]:
        for index in indices:
            yield self.batch(index)

    def checked(self, check: Callable[[Tensor], None]) -> Self:
        """The same, all of them checked."""
        self.spec.check(self.x)
        if self.spec.kind != "bytes":  # their range is checked with their type
            for batch in self.batches(CHECKED):
                check(batch.x)
        return self


@dataclass(frozen=True)
class StoredRows(AbstractRows):
    """Rows of a stored source, read ahead by a thread. x: (N, *shape). check: of x in the model's space. context,
    label: of all rows, in memory, as in `Rows`."""

    x: LazyRows
    spec: DataSpec
    device: torch.device
    dtype: torch.dtype = torch.float32
    check: Callable[[Tensor], None] | None = None
    context: Tensor | None = None
    label: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def runs_user_code(self) -> bool:
        return self.x.runs_user_code

    def order(self, seed: int, epoch: int) -> Tensor:
        return self.x.order(seed, epoch)

    def batch(self, index: Index) -> Batch:
        return self._batch(self._read(index), index)

    def stream(self, indices: Iterable[Index]) -> Iterator[Batch]:
        """The batches of these indices, in order.

        A thread reads ahead, unless rows come from the user's code: what that draws from the global generators would
        mix, in an order that varies, with what the network draws from them at the same time.
        """
        if self.runs_user_code:
            yield from map(self.batch, indices)
            return
        indices, again = tee(indices)
        with closing(ahead(self._read, indices)) as read:
            for raw, index in zip(read, again):
                yield self._batch(raw, index)

    def checked(self, check: Callable[[Tensor], None]) -> Self:
        """The same, each batch checked when it is read."""
        return replace(self, check=check)

    def _read(self, index: Index) -> Tensor:
        """The rows of an index as they are stored. Not a call to the device: a graph may be captured meanwhile."""
        rows = np.arange(*index.indices(len(self))) if isinstance(index, slice) else index.numpy()
        if rows.ndim != 1:
            raise ValueError(
                f"expected one order of rows, got {len(rows)}: an ensemble whose members each have their own reads "
                "rows from memory only; pass an array, or Ensemble(..., shared_rows=True)"
            )
        return self.x.tensor(rows)

    def _batch(self, raw: Tensor, index: Index) -> Batch:
        with naming(self.x.store.name):
            self.spec.check(raw, anew=self.check is None)
        raw = raw.pin_memory() if self.device.type == "cuda" else raw
        x, mask = _encoded(raw.to(self.device, non_blocking=True), self.spec, self.dtype)
        if self.check is not None and self.spec.kind != "bytes":
            with naming(self.x.store.name):
                self.check(x)
        return Batch(x, mask, context=_at(self.context, index), label=_at(self.label, index))


def _at(beside: Tensor | None, index: Index) -> Tensor | None:
    """What stands beside the rows of an index, on its own device."""
    if beside is None:
        return None
    return beside[index if isinstance(index, slice) else index.to(beside.device)]


def as_rows(
    x: Tensor | LazyRows, spec: DataSpec, device: torch.device | str, beside: Covariates = NOTHING
) -> AbstractRows:
    """Rows for a device, from memory or from where they are stored, with what is given beside them."""
    given = {n: None if t is None else t.to(device) for n, t in beside.encoded(spec).items()}
    if not isinstance(x, LazyRows):
        return Rows(x.to(device), spec, **given)
    return StoredRows(x, spec, torch.device(device), **given)


def _encoded(raw: Tensor, spec: DataSpec, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Rows in the data's units -> (B, *model_shape) in the model's space, and which cells are there."""
    mask = None
    if spec.missing:
        seen = ~raw.isnan()
        raw = torch.where(seen, raw, 0.0)
        mask = spec.laid_out(seen.to(dtype))
    return spec.encode(raw, dtype), mask


def ahead(read: Callable[[Index], Tensor], indices: Iterable[Index]) -> Iterator[Tensor]:
    """What `read` gives of each index, in order, read by one thread up to `AHEAD` bytes ahead.

    What `read` raises is raised here. The thread ends with the last index, or when the generator is closed.
    """
    indices, depth = iter(indices), 2
    waiting: deque[Future[Tensor]] = deque()
    reader = ThreadPoolExecutor(1, "vaekit-reader")
    try:
        while True:
            waiting.extend(reader.submit(read, index) for index in islice(indices, max(0, depth - len(waiting))))
            if not waiting:
                return
            result = waiting.popleft().result()
            depth = max(2, AHEAD // max(1, result.nbytes))
            yield result
    finally:
        reader.shutdown(wait=True, cancel_futures=True)
