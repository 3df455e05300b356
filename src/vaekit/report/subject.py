"""What a page is about: a fitted model, the rows that its pictures are made of, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..data import Stored
from ..evaluation import Evaluation, RowScores, score_rows
from ..networks import SequenceEncoder
from .codes import Codes
from .figures import as_values
from .pictures import displayable, shows_pictures

if TYPE_CHECKING:
    from ..estimator import VAE

ROWS = 2000
"""Rows, the first ones, that the pictures are made of."""
SAMPLES = 256
"""Samples that are drawn, of which a page shows the first ones."""


@dataclass(frozen=True)
class Subject:
    """A model and the first held-out rows, x (N, ...), with what is known of them.

    labels: (N,), for colours. factors: (N,) each, by name. columns: names of the cells. train: training rows. others:
    rows of other data, by name. draws: per row, of scores.
    """

    vae: VAE
    evaluation: Evaluation
    x: NDArray
    columns: list[str]
    labels: NDArray | None = None
    factors: Mapping[str, NDArray] = field(default_factory=dict)
    context: NDArray | None = None
    train: NDArray | Stored | None = None
    others: Mapping[str, NDArray] = field(default_factory=dict)
    draws: int = 32

    @property
    def as_pictures(self) -> bool:
        return shows_pictures(self.vae.spec_)

    @property
    def is_series(self) -> bool:
        return isinstance(self.vae.module_.encoder, SequenceEncoder)

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes, few in number, rather than values."""
        return self.labels is not None and as_values(self.labels) is None

    def context_of(self, index: NDArray | slice) -> NDArray | None:
        return None if self.context is None else self.context[index]

    def levels(self, rows: NDArray) -> NDArray:
        """Rows as pictures, uint8 (N, H, W, 1 or 3)."""
        return displayable(rows, self.vae.spec_)

    @cached_property
    def scores(self) -> RowScores:
        """Of the rows, by as many draws as the figures."""
        return self.scores_of(self.x, self.context)

    def scores_of(self, rows: NDArray, context: NDArray | None = None) -> RowScores:
        return score_rows(self.vae.module_, self.vae._seen(rows, context), draws=self.draws, seed=self.vae.seed)

    @cached_property
    def again(self) -> NDArray:
        """The rows' reconstructions."""
        return self.vae.reconstruct(self.x, self.context)

    @cached_property
    def samples(self) -> NDArray:
        """What the model makes: means of p(x | z) where its draws would be noise, see `VAE.sample`."""
        return self.sampled(SAMPLES)

    def sampled(self, rows: int) -> NDArray:
        """Samples, with the context of the rows: from the first again where these are fewer."""
        return self.vae.sample(rows, context=self.context_of(np.arange(rows) % len(self.x)))

    def decoded(self, z: NDArray) -> NDArray:
        """What codes decode to, with the context of the first row."""
        return self.vae.inverse_transform(z, self.context_of(np.zeros(len(z), int)))

    @cached_property
    def codes(self) -> Codes:
        return Codes.of(self.vae, self.x, self.evaluation.kl_per_unit, self.context)
