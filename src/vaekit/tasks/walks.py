"""Walks through the space of codes: from one code to another, along one dimension, and by what sets groups apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..core import importing, public
from ..suggest import nearest

Decode = Callable[[Tensor], Tensor]
"""Codes (N, D) -> points (N, ...) whose distances are meant, such as the means of p(x | z)."""

PATHS = ("linear", "spherical", "geodesic")
SEGMENTS = 32
"""Of a curve that is bent, at least."""


@public
def interpolate(a: Tensor, b: Tensor, steps: int, path: str = "linear", decode: Decode | None = None) -> Tensor:
    """(N, steps, D): codes on the way from a to b, (N, D) each, both ends among them.

    path: "linear"; "spherical", with the angle at an even speed (White 2016, arXiv:1609.04468); "geodesic", the
    shortest found by what `decode` makes of it. Raises ValueError for another path, codes that do not pair up, or
    opposite codes, between which no arc is the shortest.
    """
    if path not in PATHS:
        raise ValueError(f"path={path!r}{nearest(str(path), PATHS)}: expected {', '.join(PATHS)}")
    if a.shape != b.shape or a.dim() != 2:
        raise ValueError(f"expected as many rows to end at as to begin with, got {len(a)} and {len(b)}: pair them up")
    if steps < 2:
        raise ValueError(f"steps={steps}: expected at least 2, the ends")
    if path == "geodesic":
        if decode is None:
            raise ValueError('path="geodesic" needs the decoder that it is measured by: pass decode')
        return torch.stack([geodesic(*pair, steps, decode) for pair in zip(a, b)])
    return (line if path == "linear" else arc)(a, b, steps)


def line(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """(N, steps, D): straight from a to b."""
    return torch.lerp(a.unsqueeze(-2), b.unsqueeze(-2), _times(a, steps))


def arc(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """(N, steps, D): around the origin from a to b; the line where both point the same way."""
    wide, t = (a.double().unsqueeze(-2), b.double().unsqueeze(-2)), _times(a, steps).double()
    angle = torch.acos(cosine_similarity(*wide, dim=-1).clamp(-1, 1)).unsqueeze(-1)
    if bool((angle > math.pi - 1e-4).any()):
        raise ValueError('two codes are opposite, so that no arc between them is the shortest: use path="linear"')
    same = angle < 1e-6
    whole = torch.where(same, 1.0, angle.sin())
    first, last = (torch.where(same, s, (s * angle).sin() / whole) for s in (1 - t, t))
    return (first * wide[0] + last * wide[1]).to(a.dtype)


def _times(like: Tensor, steps: int) -> Tensor:
    return torch.linspace(0, 1, steps, device=like.device, dtype=like.dtype).unsqueeze(-1)


def geodesic(a: Tensor, b: Tensor, steps: int, decode: Decode, iterations: int = 200) -> Tensor:
    """(steps, D): the curve from a to b, (D,) each, of least energy `sum_t |decode(z_t+1) - decode(z_t)|^2`.

    Arvanitidis et al. 2018, arXiv:1710.11379, in the metric J^T J that the mean pulls back (theirs adds that of the
    scale), discretised: L-BFGS moves the knots of a polygon that starts as the line. Of least energy, it runs at an
    even speed. Where the polygon is no shorter than the line, the line it is.
    """
    fine = (steps - 1) * math.ceil(SEGMENTS / (steps - 1))
    straight = line(a.unsqueeze(0), b.unsqueeze(0), fine + 1)[0]
    inner = straight[1:-1].clone().requires_grad_()
    with importing():  # torch's optimisers import its compiler
        search = torch.optim.LBFGS([inner], max_iter=iterations, history_size=20, line_search_fn="strong_wolfe")

    def curve() -> Tensor:
        return torch.cat([a.unsqueeze(0), inner, b.unsqueeze(0)])

    def energy() -> Tensor:
        with torch.enable_grad():
            value = fine * decode(curve()).flatten(1).diff(dim=0).square().sum()
            inner.grad = torch.autograd.grad(value, inner)[0]  # alone: the decoder's weights get none
        return value

    search.step(energy)
    bent = curve().detach()
    shorter, longer = length(torch.stack([bent, straight]), decode)
    return (bent if bool(shorter < longer) else straight)[:: fine // (steps - 1)]


@torch.no_grad()
def length(curves: Tensor, decode: Decode, parts: int = 8) -> Tensor:
    """(N,): how long curves of codes (N, T, D) are where `decode` maps them, each segment taken in `parts`."""
    t = torch.arange(parts, device=curves.device, dtype=curves.dtype).reshape(-1, 1) / parts
    between = torch.lerp(curves[:, :-1].unsqueeze(2), curves[:, 1:].unsqueeze(2), t).flatten(1, 2)
    points = torch.cat([between, curves[:, -1:]], 1)
    return torch.stack([decode(curve).flatten(1).diff(dim=0).norm(dim=1).sum() for curve in points])


@public
def traverse(centres: Tensor, offsets: Tensor, dimensions: Sequence[int] | None = None) -> Tensor:
    """(N, dimensions, offsets, D): each of the dimensions (None: all) moved by the offsets (T,), the others held."""
    size = centres.shape[1]
    dimensions = range(size) if dimensions is None else dimensions
    wrong = [d for d in dimensions if not 0 <= d < size]
    if wrong:
        raise ValueError(f"dimensions={list(dimensions)}: expected numbers from 0 to {size - 1}, got {wrong[0]}")
    moved = torch.eye(size, device=centres.device, dtype=centres.dtype)[list(dimensions)]
    return centres[:, None, None] + moved.unsqueeze(1) * offsets.unsqueeze(1)


@public
def shift(codes: Tensor, present: Tensor, absent: Tensor, amount: float = 1.0) -> Tensor:
    """(N, D): codes moved by what sets two groups of codes apart, `amount * (mean(present) - mean(absent))`.

    Larsen et al. 2016, arXiv:1512.09300, section 4.1: attributes as directions.
    """
    return codes + amount * (present.mean(0) - absent.mean(0))
