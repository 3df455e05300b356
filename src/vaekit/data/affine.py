"""Standardisation in float64: differences first, so that no offset takes digits from the values."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EXACT = 2.0**53
"""Integers below this are exact in float64."""
LAST = float(np.nextafter(2.0**63, 0))
"""Largest float64 that int64 holds."""
FARTHEST = 1e9
"""Standard deviations beyond which a value counts as this far away, to keep densities finite in float32. A training
row cannot be so far: among n rows no value is more than sqrt(n) standard deviations from the mean."""
UNSEEN = 4.0
"""Standard deviations that a value counts as in a column that was constant in fit, where it differs from the constant:
8 nats under a normal of scale 1, about log(n + 1) for 3,000 rows, and more the smaller the learned scale is."""


def differences(x: Tensor, reference: Tensor) -> Tensor:
    """`x - reference` in float64. Integers are subtracted as integers; both may be far above 2^53."""
    rough = x.double() - reference
    if x.is_floating_point() or x.dtype == torch.bool:
        return rough
    whole = _whole(reference)  # the difference of int64 wraps, and is right where it fits
    exact = (x.long() - whole.long()).double() - (reference - whole)
    return torch.where(rough.abs() < EXACT, exact, rough)


def _whole(x: Tensor) -> Tensor:
    """Nearest integers that int64 holds, float64."""
    return x.round().clamp(-(2.0**63), LAST)


def mean_and_deviation(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column of rows (N, C) that come in parts; NaN is left out.

    A column of one value has a standard deviation of exactly 0. Squares are taken in units of the largest difference
    and neither overflow nor underflow.

    Raises
    ------
    ValueError
        If the difference of two values is larger than float64 can hold.
    """
    reference = count = mean = squares = unit = torch.zeros((), dtype=torch.float64)
    for number, part in enumerate(parts):
        seen = ~part.isnan()
        if number == 0:
            reference = torch.full((part.shape[1],), torch.nan, dtype=torch.float64, device=part.device)
        reference = torch.where(reference.isnan(), _first(part, seen), reference)
        apart = torch.where(seen, differences(part, reference.nan_to_num()), 0.0)
        largest = torch.maximum(unit, apart.abs().amax(0))
        step = torch.where(largest > 0, largest, 1.0)
        shrunk, apart = unit / step, apart / step
        mean, squares, unit = mean * shrunk, squares * shrunk.square(), largest
        rows = seen.sum(0)  # Chan, Golub & LeVeque 1983: means and squares of parts, joined
        own = apart.sum(0) / rows.clamp(min=1)
        both, gap = (count + rows).clamp(min=1), own - mean
        within = torch.where(seen, (apart - own).square(), 0.0).sum(0)
        squares = squares + within + gap.square() * count * rows / both
        mean, count = mean + gap * rows / both, count + rows
    found = reference.nan_to_num() + mean * unit, (squares / count.clamp(min=1)).sqrt() * unit
    if not all(bool(t.isfinite().all()) for t in found):
        raise ValueError("the values are too large to standardise: their differences overflow float64; divide them")
    return found


def _first(part: Tensor, seen: Tensor) -> Tensor:
    """(C,), float64: the first value of each column that is there, NaN where there is none."""
    first = part.gather(0, seen.to(torch.uint8).argmax(0, keepdim=True)).squeeze(0).double()
    return torch.where(seen.any(0), first, torch.nan)


def in_units(apart: Tensor, offset: Tensor, dtype: np.dtype) -> NDArray:
    """`apart + offset`, float64 on the host, as this type: integers are rounded and clipped, reals are clipped."""
    if dtype.kind not in "iub":
        most = np.finfo(dtype).max
        return (apart + offset).numpy().clip(-most, most).astype(dtype)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values = (apart + offset).round().numpy()
    if float(high) < EXACT:
        return values.clip(low, high).astype(dtype)
    whole = _whole(offset)
    steps = (apart + (offset - whole)).round()
    exact, start = steps.abs() < EXACT, whole.long()
    near = torch.where(exact, steps, 0.0).long() + start  # wraps beyond the type
    near = torch.where((steps > 0) & (near < start), 2**63 - 1, near)
    near = torch.where((steps < 0) & (near > start), -(2**63), near)
    far = values.clip(float(low), LAST).astype(np.int64)
    return np.where(exact.numpy(), near.numpy(), far).clip(low, min(high, 2**63 - 1)).astype(dtype)
