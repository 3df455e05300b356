"""What every likelihood is: the last step from a decoder's numbers to a distribution over x."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core import Component, ForwardContext
from ..distributions import Distribution

BOUNDS = {
    "unit": (0.0, 1.0),
    "signed": (-1.0, 1.0),
    "real": (-math.inf, math.inf),
    "raw": (-math.inf, math.inf),
    "count": (0.0, math.inf),
}


class Likelihood(Component):
    """p(x | z) for rows of x of one `shape`, left None until it is settled.

    Every element of x is a cell. The parameters of a cell are stacked along the first dimension after the
    batch, so that a convolutional decoder fits: x (C, H, W) with two parameters per cell reads (2C, H, W), x
    (D,) reads (2D,). A subclass says how many (`per_cell`), what space the data must be brought to
    (`support`: "unit" [0, 1], "signed" [-1, 1], "real" standardised, "raw" as they are, "count", "levels"
    whole numbers below `levels`, "columns"), and what they mean (`distribution`).
    """

    support: str = "real"
    density: bool = False
    per_cell: int = 1
    fix: str = "bring the data to this range"
    given_total: bool = False
    """Whether log p is that of a row whose total is given: no code length, and not to be set beside one without."""

    def __init__(self, shape: tuple[int, ...] | None = None):
        super().__init__()
        self.shape = None if shape is None else tuple(shape)

    def _known_shape(self) -> tuple[int, ...]:
        if self.shape is None:
            raise ValueError(
                f"{type(self).__name__} does not know the shape of x yet: give it shape=..., or use "
                f"likelihood.settled(shape=...)"
            )
        return self.shape

    @property
    def in_shape(self) -> tuple[int, ...]:
        """What the decoder must give, per row."""
        channels, *rest = self._known_shape()
        return (self.per_cell * channels, *rest)

    @property
    def features_shape(self) -> tuple[int, ...]:
        """What the encoder reads, per row."""
        return self._known_shape()

    def forward(self, parameters: Tensor) -> Distribution:
        """(B, *in_shape) -> p(x | z) over (B, *shape). Raises ValueError on another shape."""
        if tuple(parameters.shape[1:]) != self.in_shape:
            raise ValueError(
                f"{type(self).__name__}({self.shape}) reads {self.in_shape} per row but the decoder gives "
                f"{tuple(parameters.shape[1:])}: build the decoder with out_shape=likelihood.in_shape"
            )
        return self.distribution(parameters)

    def distribution(self, parameters: Tensor) -> Distribution:
        """The same with the shape known to be right."""
        raise NotImplementedError

    def fitted(
        self, px: Distribution, x: Tensor, mask: Tensor | None, scope: ForwardContext
    ) -> tuple[Distribution, dict[str, Tensor]]:
        """p(x | z) for these rows, and new values of buffers: with what in training follows from the rows in closed
        form, and where the distribution itself reads x, what it may read of it this time."""
        return px, {}

    def prepare(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Once before the first step, without gradients: starts from a sample of rows what may."""

    def start(self, x: Tensor, mask: Tensor | None = None, shared: Sequence[int] = ()) -> Tensor | None:
        """Start the parameters of the likelihood at the moments of a sample of training rows.

        Called once, without gradients, before training.

        Parameters
        ----------
        x : Tensor of shape (B, *shape)
            Rows in the space of the likelihood; 0 where they are missing.
        mask : Tensor of shape (B, *shape) or None
            1 where a cell is present.
        shared : sequence of int
            Axes of a row over which the decoder has one bias.

        Returns
        -------
        Tensor of shape in_shape or None
            Decoder output that gives these moments. ``None`` keeps the decoder as it is: zero is close enough.
        """
        return None

    def scale_features(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Centre and scale what the encoder reads, by a sample of training rows; called once, before training."""

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, *features_shape): what the encoder reads of x; zero where the mask is 0."""
        return masked(x, mask)

    @property
    def owners(self) -> tuple[int, ...]:
        """The number of the cell that each feature of a row tells of, both flat; features of a cell are stacked along
        the first dimension."""
        return tuple(i % math.prod(self._known_shape()) for i in range(math.prod(self.features_shape)))

    @property
    def feature_widths(self) -> tuple[int, ...] | None:
        """How many features each part of a row has, part after part; None where rows have no parts."""
        return None

    @property
    def parameter_widths(self) -> tuple[int, ...] | None:
        """How many of the decoder's numbers each part has, part after part; None where rows have no parts."""
        return None

    @property
    def column_features_shape(self) -> tuple[int, ...]:
        return self.features_shape

    @property
    def column_owners(self) -> tuple[int, ...]:
        """`owners` of these."""
        return self.owners

    def column_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, *column_features_shape): the same where x are columns of a table (see `Mixed`)."""
        return self.features(x, mask)

    def observe(self, x: Tensor, scope: ForwardContext) -> Tensor:
        """The x that is explained this time."""
        return x

    def chance_seen(self, x: Tensor) -> Tensor | None:
        """(B, *shape): by what chance each cell is there, given what it holds, where p(x | z) says so: NaN for cells,
        None for likelihoods, that do not."""
        return None

    def floor(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """(B,), nats: what no -log p of the x that is explained can be below in expectation, for any model; None where
        that is not known."""
        return None

    def check(self, x: Any) -> None:
        """Raises ValueError where a sample of the data lies outside the support; NaN is taken for missing."""
        if self.support not in BOUNDS:
            raise TypeError(
                f"{type(self).__name__} has support={self.support!r}: expected one of {', '.join(BOUNDS)}, or a "
                "`check` of its own"
            )
        low, high = BOUNDS[self.support]
        wanted, whole = f"values in [{low:g}, {high:g}]", self.support == "count"
        if self.support in ("real", "raw"):
            wanted = "finite values"
        elif whole:
            wanted = "counts 0, 1, 2, ..."
        self._refuse_outside(x, low, high, wanted, whole)

    def _refuse_outside(self, x: Any, low: float, high: float, wanted: str, whole: bool = False) -> None:
        seen = observed(x)
        if not len(seen):
            return
        least, most = seen.min().item(), seen.max().item()
        fits = low <= least and most <= high and math.isfinite(least) and math.isfinite(most)
        if fits and not (whole and bool((seen != seen.round()).any())):
            return
        got = f"{least:g}..{most:g}" + (", not all whole" if fits else "")
        raise ValueError(f"{type(self).__name__} expects {wanted}, got {got}: {self.fix}")

    def caveat(self, x: Any, integer: bool) -> str | None:
        """Why log p is not a likelihood of these data, in one sentence; None where it is.

        x: a sample in the likelihood's own space. integer: whether the data were whole numbers at first.
        """
        return None

    def extra_repr(self) -> str:
        own = {n: v for n, v in self.arguments().items() if not isinstance(v, torch.nn.Module)}
        return ", ".join(f"{n}={v!r}" for n, v in own.items())


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """x, zero where the mask is 0 (NaN there too)."""
    return x if mask is None else torch.where(mask > 0, x, 0.0)


def observed(x: Any) -> Tensor:
    """The values of an array that are not NaN, flat, in fp64 on the host."""
    values = torch.as_tensor(x).detach().cpu().double().flatten()
    return values[~values.isnan()]


DENSITY_OF_INTEGERS = (
    "{} is a density and these data are whole numbers: its values have no upper bound and are not comparable "
    "with probabilities (dequantise, or use DiscretisedLogisticMixture, Categorical or a count likelihood)"
)
