"""Rows held in memory in their own type, brought into the model's space batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core import Batch
from .spec import DataSpec


def as_tensor(x: object, allow_missing: bool = True) -> tuple[Tensor, str]:
    """Checked rows (N, ...) as a tensor in their own type, and the name of that type.

    Raises TypeError for what is not a numeric array, ValueError for no rows, a scalar, infinities, or missing
    values where they are not allowed.
    """
    if isinstance(x, Tensor):
        tensor = x.detach()
        name = str(tensor.dtype).removeprefix("torch.")
    else:
        tensor, name = _from_array(x)
    if tensor.dim() < 2:
        raise ValueError(
            f"expected rows of data, (N, ...), got shape {tuple(tensor.shape)}. Reshape your data: reshape(-1, 1) "
            "makes a column, reshape(1, -1) makes one row"
        )
    if tensor.shape[0] == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={tuple(tensor.shape)}) while a minimum of 1 is required."
        )
    if tensor[0].numel() == 0:
        raise ValueError(f"0 feature(s) (shape={tuple(tensor.shape)}) while a minimum of 1 is required.")
    if tensor.is_floating_point():
        if bool(tensor.isinf().any()):
            where = tuple(int(i) for i in tensor.isinf().nonzero()[0])
            raise ValueError(f"the data hold an infinity, first at {where}: mend it, or mark it missing (NaN)")
        if not allow_missing and bool(tensor.isnan().any()):
            where = tuple(int(i) for i in tensor.isnan().nonzero()[0])
            raise ValueError(
                f"the data hold a NaN, first at {where}: mend it, or say that cells may be missing (missing=True)"
            )
    return tensor, name


def _from_array(x: object) -> tuple[Tensor, str]:
    if hasattr(x, "toarray"):
        raise TypeError("sparse input is not supported: pass x.toarray()")
    array = np.asarray(x)
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"expected numbers, got an array of objects ({error}): encode them as numbers first"
            ) from None
    if array.dtype.kind == "c":
        raise ValueError("Complex data not supported: pass real and imaginary parts as two columns")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"expected numbers, got an array of {array.dtype}: encode other columns as numbers first")
    name = array.dtype.name
    if array.dtype.kind == "u" and array.dtype != np.uint8:
        array = array.astype(np.int64)
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
    return torch.from_numpy(array if array.flags.writeable else array.copy()), name


@dataclass(frozen=True)
class Rows:
    """x: (N, *shape) in its own type, on the device. weight: (N,). context: (N, C)."""

    x: Tensor
    spec: DataSpec
    dtype: torch.dtype = torch.float32
    weight: Tensor | None = None
    context: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Tensor | slice) -> Batch:
        """The rows of an index, (B,) or, for an ensemble, (K, B)."""
        raw = self.x[index]
        lead = raw.shape[: raw.dim() - len(self.spec.shape)]
        raw = raw.flatten(0, len(lead) - 1)
        mask = None
        if self.spec.missing:
            seen = ~raw.isnan()
            raw = torch.where(seen, raw, 0.0)
            mask = seen.to(self.dtype)
            mask = (mask.movedim(-1, 1) if self.spec.channels_last else mask).reshape(-1, *self.spec.model_shape)
        x = self.spec.encode(raw, self.dtype)

        def shaped(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.unflatten(0, lead)

        return Batch(
            shaped(x),
            shaped(mask),
            None if self.context is None else self.context[index],
            None if self.weight is None else self.weight[index],
        )

    def batches(self, size: int) -> Iterator[Batch]:
        """All rows in order."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))
