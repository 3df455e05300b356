"""What every distribution is: a small frozen record of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..core import ForwardContext, FunctionalModule

LOG_2PI = math.log(2 * math.pi)


def sum_cells(log_prob: Tensor, batch_dims: int = 1) -> Tensor:
    """The sum over all dimensions after the first `batch_dims`."""
    return log_prob.flatten(batch_dims).sum(batch_dims) if log_prob.dim() > batch_dims else log_prob


class Distribution:
    """A distribution over rows of cells, in nats.

    `log_prob(x)` keeps the cells: (B, *cells), where a cell is what can be missing (a pixel, a column); a family
    whose dimensions depend on one another has one cell per row and returns (B,). Parameters without a batch
    dimension broadcast. `draw` is reparameterised where the family allows it. `apart`: whether the cells of a row are
    independent of one another, given the parameters.
    """

    apart: ClassVar[bool] = True

    def log_prob(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def draw(self, scope: ForwardContext, rows: int | None = None) -> Tensor:
        """One draw per row; `rows` is how many, for parameters without a batch dimension."""
        raise NotImplementedError

    def draw_missing(self, scope: ForwardContext) -> Tensor:
        """One draw per row of cells that are known to be missing, where that says something of what they hold."""
        return self.draw(scope)

    def draw_with_log_density(self, scope: ForwardContext, rows: int | None = None) -> tuple[Tensor, Tensor]:
        """A draw and its log-density (B,): a family that knows it without looking back from z says so here."""
        z = self.draw(scope, rows)
        return z, self.log_density(z)

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        raise NotImplementedError

    @property
    def moments(self) -> Any:
        """What a guess at x is made of, a tensor (B, ...) or a tree of such, to be averaged over draws of z."""
        return self.mean

    def guess(self, moments: Any) -> Tensor:
        """(B, *cells): the best guess by averaged `moments`: of numbers the mean, of levels the likeliest."""
        return moments

    @property
    def representative(self) -> Tensor:
        """What stands for the distribution in a table: the mean, and the mode where values have no order."""
        return self.mean

    def log_cells(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, *cells): `log_prob`, and 0 where the mask is: those cells are unknown."""
        cells = self.log_prob(x)
        return cells if mask is None else cells * mask

    def log_density(self, x: Tensor) -> Tensor:
        """(B,): the log-probability of whole rows."""
        return sum_cells(self.log_prob(x))

    def map(self, f: Callable[[Tensor], Tensor]) -> Self:
        """`f` on every parameter that has rows (networks inside the record are left as they are)."""
        leaves, structure = pytree.tree_flatten(self, is_leaf=lambda leaf: isinstance(leaf, FunctionalModule))
        return pytree.tree_unflatten([f(t) if isinstance(t, Tensor) else t for t in leaves], structure)

    def detach(self) -> Self:
        """The same distribution with its parameters, and those of networks inside it, held fixed."""
        return pytree.tree_map_only(Tensor, torch.detach, self)


def per_row(shape: torch.Size, rows: int | None) -> tuple[int, ...]:
    """The shape of a draw: the parameters' own, or, for parameters shared by all rows, with `rows` before it."""
    return tuple(shape) if rows is None else (rows, *shape)


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that these broadcast to. That of torch imports sympy, for seconds, when it is first called."""
    longest = max(map(len, shapes))
    each = zip(*((1,) * (longest - len(shape)) + tuple(shape) for shape in shapes))
    return tuple(next((n for n in sizes if n != 1), 1) for sizes in each)


def straight_through(hard: Tensor, relaxed: Tensor) -> Tensor:
    """The values of `hard`, to the bit, with the gradient of `relaxed` (Bengio et al. 2013, arXiv:1308.3432)."""
    return hard + (relaxed - relaxed.detach())


KL: dict[tuple[type, type], Callable[[Distribution, Distribution], Tensor]] = {}
"""The closed forms: (type of q, type of p) -> KL(q || p) per unit, (B, units), in nats."""


def closed_form(q: type, p: type) -> Callable[[Callable], Callable]:
    """Enters a closed KL into the table."""

    def enter(f: Callable) -> Callable:
        KL[q, p] = f
        return f

    return enter


def kl(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q || p) per unit (B, units), in nats, where a closed form is known; None otherwise."""
    form = KL.get((type(q), type(p)))
    return None if form is None else form(q, p)
