"""What a page is about: a fitted model, the rows that its pictures are made of, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..data.arrays import unmasked
from ..data.lazy_rows import LazyRows, stored
from ..evaluation import RowScores, score_rows
from ..fitted import FittedVAE
from ..inference import decode, reconstruct, sample
from ..networks import SequenceEncoder
from .codes import Codes
from .figures import as_values
from .pictures import displayable, shows_pictures

ROWS = 2000
"""Rows, the first ones, that the pictures are made of."""
SAMPLES = 256
"""Samples that are drawn, of which a page shows the first ones."""


@dataclass(frozen=True)
class Subject:
    """A model and the first held-out rows, x (N, ...), with what is known of them.

    columns: names of the cells. kl_per_unit: of all held-out rows, empty where there is none. labels: (N,), for
    colours. factors: (N,) each, by name. train: training rows. others: rows of other data, by name. draws: per row, of
    scores.
    """

    vae: FittedVAE
    x: NDArray
    columns: list[str]
    kl_per_unit: list[float] = field(default_factory=list)
    labels: NDArray | None = None
    factors: Mapping[str, NDArray] = field(default_factory=dict)
    context: NDArray | None = None
    train: NDArray | LazyRows | None = None
    others: Mapping[str, NDArray] = field(default_factory=dict)
    draws: int = 32

    @property
    def as_pictures(self) -> bool:
        return shows_pictures(self.vae.spec)

    @property
    def is_series(self) -> bool:
        return isinstance(self.vae.module.encoder, SequenceEncoder)

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes, few in number, rather than values."""
        return self.labels is not None and as_values(self.labels) is None

    def telling(self, most: int) -> NDArray:
        """Rows to look at: the first of each class where there are a few classes, the first ones otherwise."""
        if self.has_classes:
            names, first = np.unique([str(v) for v in self.labels], return_index=True)
            if 2 <= len(names) <= most:
                rest = np.setdiff1d(np.arange(len(self.x)), first)[: most - len(first)]
                return np.concatenate([first, rest])
        return np.arange(min(most, len(self.x)))

    def as_lines(self, rows: NDArray) -> NDArray:
        """Rows as lines (N, D), see `across`: a series over its steps, a table over its columns."""
        if self.is_series:
            return rows.reshape(len(rows), self.vae.spec.shape[0], -1)[..., 0]
        there = np.ma.masked_invalid(self.x.reshape(len(self.x), -1))
        mean, spread = there.mean(0).filled(0), np.maximum(there.std(0).filled(1), 1e-12)
        return (rows.reshape(len(rows), -1) - mean) / spread

    @property
    def across(self) -> tuple[str, str]:
        """What `as_lines` has across, and how it is drawn, in words."""
        if not self.is_series:
            return "column", "over their columns, in standard deviations from each column's mean"
        several = len(self.vae.spec.shape) > 1 and self.vae.spec.shape[-1] > 1
        return "step", "over their steps" + " (the first number of each)" * several

    def context_of(self, index: NDArray | slice) -> NDArray | None:
        return None if self.context is None else self.context[index]

    def levels(self, rows: NDArray) -> NDArray:
        """Rows as pictures, uint8 (N, H, W, 1 or 3)."""
        return displayable(rows, self.vae.spec)

    @cached_property
    def scores(self) -> RowScores:
        """Of the rows, by as many draws as the figures."""
        return self.scores_of(self.x, self.context)

    def scores_of(self, rows: NDArray, context: NDArray | None = None) -> RowScores:
        return score_rows(self.vae.module, self.vae.rows(rows, context), draws=self.draws, seed=self.vae.config.seed)

    @cached_property
    def again(self) -> NDArray:
        """The rows' reconstructions."""
        return reconstruct(self.vae, self.x, self.context)

    def reconstructed(self, index: NDArray) -> NDArray:
        """The reconstructions of some of the rows."""
        return reconstruct(self.vae, self.x[index], self.context_of(index))

    @cached_property
    def samples(self) -> NDArray:
        """What the model makes: means of p(x | z) where its draws would be noise, see `VAE.sample`."""
        return self.sampled(SAMPLES)

    def sampled(self, rows: int) -> NDArray:
        """Samples, with the context of the rows: from the first again where these are fewer."""
        return sample(self.vae, rows, context=self.context_of(np.arange(rows) % len(self.x)))

    def decoded(self, z: NDArray) -> NDArray:
        """What codes decode to, with the context of the first row."""
        return decode(self.vae, z, self.context_of(np.zeros(len(z), int)))

    @cached_property
    def codes(self) -> Codes:
        return Codes.of(self.vae, self.x, self.kl_per_unit, self.context)


def rows_of(x: ArrayLike) -> NDArray | LazyRows:
    """Rows as an array, or where they are stored."""
    if isinstance(x, Tensor):
        return x.detach().cpu().numpy()
    source = stored(x)
    return unmasked(x) if source is None else source


def column_names(vae: FittedVAE, columns: object) -> list[str]:
    """The names of the cells of a row: those of a table's columns, or `x[0]`, `x[1]`, ..."""
    cells = int(np.prod(vae.spec.shape))
    names = columns if vae.feature_names is None else vae.feature_names
    return [f"x[{i}]" for i in range(cells)] if names is None or len(names) != cells else [str(n) for n in names]
