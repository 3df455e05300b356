"""Which rows are not of the kind that a model was fitted to: scores of rows, higher is odder, and how one is chosen.

No score is the best on all data, log p(x) least of all: simple rows may be likelier than those trained on (Nalisnick et
al. 2019, arXiv:1810.09136). Without odd rows at hand the choice among them is made by chimeras, rows that are put
together from two normal ones and fit nowhere; labels are needed only to tell how well it went, by `roc_auc`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..core import Batch, Source, ZeroNoise, public, public_methods
from ..data.arrays import unmasked
from ..data.rows import AbstractRows
from ..data.spec import DataSpec
from ..distributions import sum_cells
from ..model import VAEModule
from ..networks import evaluating
from .disentanglement import ranks
from .likelihood import score_rows
from .metric import Metric

SMOOTHING = 1.5
"""Pixels, the standard deviation of the kernel by which an image's error is smoothed."""
CHUNK = 1024


# -- on plain arrays -------------------------------------------------------------------------------


@public
def roc_auc(scores: ArrayLike, odd: ArrayLike) -> Metric:
    """The chance that an odd row has a higher score than a normal one, a tie counting half, and its standard error.

    scores: (N,). odd: (N,), true for odd rows. The area under the ROC curve is that chance over all pairs, exactly; its
    error is that of DeLong et al. 1988, `var(V_odd) / m + var(V_normal) / n`, V the share of the other kind that a row
    is on the right side of. Raises ValueError without at least two rows of each kind.
    """
    values, positive = np.asarray(scores, dtype=np.float64), np.asarray(odd)
    if values.ndim != 1 or positive.shape != values.shape or not np.isin(positive, (0, 1)).all():
        raise ValueError(f"expected scores (N,) and, for each, whether it is odd, got {values.shape}, {positive.shape}")
    if np.isnan(values).any():
        raise ValueError("scores are NaN: choose a score that this model has")
    positive = positive.astype(bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise ValueError(f"{m} odd rows and {n} normal ones: expected at least two of each")
    overall = ranks(values)
    above = (overall[positive] - ranks(values[positive])) / n
    below = 1 - (overall[~positive] - ranks(values[~positive])) / m
    error = math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    return Metric(float(above.mean()), error, "", "area under the ROC curve, odd rows against normal ones")


@public
def mahalanobis(codes: ArrayLike, normal: ArrayLike) -> NDArray:
    """(N,): `(z - m) S^-1 (z - m)`, m and S the mean and covariance of the codes of normal rows (M, D).

    Directions in which these do not vary (less than 1e-6 of the largest variance) are left out.
    """
    z, own = (np.asarray(t, dtype=np.float64) for t in (codes, normal))
    if z.ndim != 2 or own.ndim != 2 or z.shape[1] != own.shape[1] or len(own) < 2:
        raise ValueError(
            f"expected codes (N, D) and those of two or more normal rows (M, D), got {z.shape}, {own.shape}"
        )
    values, axes = np.linalg.eigh(np.cov(own.T).reshape(own.shape[1], -1))
    kept = values > 1e-6 * max(values.max(), 1e-300)
    return (np.square((z - own.mean(0)) @ axes[:, kept]) / values[kept]).sum(1)


@public
def chimeras(x: ArrayLike, seed: int = 0) -> NDArray:
    """Rows (N, ...) that are each put together from two of x: of images a part on one side of a line across, from a
    third to two thirds of the way, of other rows a random half of the cells, is another row's.

    Every cell is as in a normal row, and few rows are. Raises ValueError for fewer than two rows.
    """
    rows, generator = unmasked(x), np.random.default_rng(seed)
    if rows.ndim < 2 or len(rows) < 2:
        raise ValueError(f"expected at least two rows (N, ...), got {rows.shape}: chimeras are made of pairs")
    n, shape = len(rows), rows.shape[1:]
    other = rows[(np.arange(n) + generator.integers(1, n, size=n)) % n]
    taken = generator.random((n, *shape)) < 0.5
    if len(shape) >= 2:
        channels_first = len(shape) == 3 and shape[0] in (1, 3, 4)
        sides = (len(shape) - 2, len(shape) - 1) if channels_first or len(shape) == 2 else (0, 1)
        for i in range(n):
            axis = sides[generator.integers(2)]
            line = np.arange(shape[axis]) < shape[axis] * generator.uniform(1 / 3, 2 / 3)
            taken[i] = np.expand_dims(line, [a for a in range(len(shape)) if a != axis])
    return np.where(taken, other, rows)


@public
def told_apart(normal: Mapping[str, ArrayLike], odd: Mapping[str, ArrayLike]) -> dict[str, Metric]:
    """By score, how well it tells normal rows from odd ones, such as chimeras; the best first."""
    labels = {name: np.repeat([0, 1], [len(normal[name]), len(odd[name])]) for name in normal}
    found = {name: roc_auc(np.concatenate([normal[name], odd[name]]), labels[name]) for name in normal}
    return dict(sorted(found.items(), key=lambda item: -item[1].value))


# -- by a model ------------------------------------------------------------------------------------


@public_methods
@dataclass(frozen=True)
class Detector:
    """Scores rows by a fitted model, against rows that are known to be normal.

    `scores(x)` gives all of them by name, `detector(x)` the chosen one, (N,), higher is odder:

    - "elbo", "bound": minus the evidence lower bound and the importance-weighted bound of log p(x), nats;
    - "distortion", "rate": -E log p(x | z) and KL(q(z | x) || p(z)), nats;
    - "typicality": |-log p(x) - H|, H the mean of -log p over normal rows (Nalisnick et al. 2019, arXiv:1906.02994);
    - "mahalanobis": of the code, from those of normal rows;
    - "error": |x - x'|^2, x' the mean of p(x | z) at the code, in the model's space;
    - "relative_error": |x - x'|^2 / |x - o|^2, o the data's zero, the mean of real numbers: simple rows have less to
      be wrong about, and score low by all the above;
    - "smooth_error": of images, |G(x - x')|^2 / |x - o|^2, G a Gaussian kernel of 1.5 pixels: strokes that are a little
      off cost less than strokes that are not there.

    chosen: the name of the score that tells normal rows from chimeras of them best; no odd row and no label is seen.
    on_chimeras: how well each does so, the best first. Without a rate there is no elbo, bound, rate and typicality.
    """

    model: VAEModule
    read: Callable[[object], AbstractRows]
    draws: int
    seed: int
    entropy: float
    codes: NDArray
    on_chimeras: dict[str, Metric]

    @classmethod
    def of(
        cls,
        model: VAEModule,
        read: Callable[[object], AbstractRows],
        normal: ArrayLike,
        *,
        draws: int = 20,
        seed: int = 0,
    ) -> Self:
        """From a model, what reads rows for it, and normal rows (M, ...), at best such as it was not fitted to."""
        begun = cls(model, read, draws, seed, math.nan, np.zeros((0, 0)), {})
        rows = unmasked(normal)
        found, codes = begun._scored(read(rows))
        ready = replace(begun, entropy=float(found["bound"].mean()), codes=codes)
        return replace(ready, on_chimeras=told_apart(ready.scores(rows), ready.scores(chimeras(rows, seed))))

    @property
    def chosen(self) -> str:
        return next(iter(self.on_chimeras))

    def __call__(self, x: ArrayLike) -> NDArray:
        """(N,): the chosen score."""
        return self.scores(x)[self.chosen]

    def scores(self, x: ArrayLike) -> dict[str, NDArray]:
        """Every score of rows (N, ...), (N,) each."""
        found, codes = self._scored(self.read(x))
        found["typicality"] = np.abs(found["bound"] - self.entropy)
        found["mahalanobis"] = mahalanobis(codes, self.codes)
        return {name: values for name, values in found.items() if not np.isnan(values).all()}

    @torch.no_grad()
    def _scored(self, rows: AbstractRows) -> tuple[dict[str, NDArray], NDArray]:
        """The scores that need no normal rows, and codes (N, D)."""
        s = score_rows(self.model, rows, draws=self.draws, seed=self.seed)
        own = {"elbo": -s.elbo, "bound": -s.bound, "distortion": s.distortion, "rate": s.rate}
        still = ZeroNoise(Source.like(self.model))
        with evaluating(self.model):
            parts = [self._errors(batch, still, rows.spec) for batch in rows.batches(CHUNK)]
        codes, *errors = (torch.cat(t).double().cpu().numpy() for t in zip(*parts))
        named = dict(zip(("error", "relative_error", "smooth_error"), errors))
        return {n: t.double().numpy() for n, t in own.items()} | named, codes

    def _errors(self, batch: Batch, still: ZeroNoise, spec: DataSpec) -> list[Tensor]:
        z = self.model.infer(batch, still).z
        error = batch.x - self.model.decode(z, batch.context).mean
        error = error if batch.mask is None else error * batch.mask
        zero = 0.0 if spec.kind == "real" else -spec.offset[0] / spec.scale[0]
        apart = batch.x - zero if batch.mask is None else (batch.x - zero) * batch.mask
        square, size = sum_cells(error.square()), sum_cells(apart.square()).clamp(min=1e-12)
        found = [z.flatten(1), square, square / size]
        pictures = spec.is_image and spec.model_shape[0] in (1, 3, 4)
        return [*found, sum_cells(smoothed(error).square()) / size] if pictures else found


def smoothed(images: Tensor, deviation: float = SMOOTHING) -> Tensor:
    """(B, C, H, W) after a Gaussian kernel of so many pixels, zero beyond the edges."""
    reach = math.ceil(3 * deviation)
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = (-0.5 * (offsets / deviation).square()).exp()
    kernel = kernel / kernel.sum()
    flat = images.reshape(-1, 1, *images.shape[-2:])
    across = torch.nn.functional.conv2d(flat, kernel.reshape(1, 1, 1, -1), padding=(0, reach))
    return torch.nn.functional.conv2d(across, kernel.reshape(1, 1, -1, 1), padding=(reach, 0)).reshape(images.shape)
