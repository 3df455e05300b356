"""Where a model's codes lie, which of their numbers say most, and of what: what pictures of the latent space show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..core import Source
from ..data.covariates import sampled
from ..evaluation.disentanglement import entropy, mutual_information
from ..fitted import CHUNK, FittedVAE
from ..inference import encode
from ..inference.codes import encoded
from ..inference.decoding import contexts
from ..latents import Categorical, Hamiltonian, Latent, Quantised, StandardNormal


@dataclass(frozen=True)
class Codes:
    """Codes z (N, D) of some rows.

    order: the dimensions, the most active first, by `measure`. centre, spread: (D,), of the prior where it is the
    standard normal, of the codes otherwise. continuous: whether a step along a dimension means something.
    """

    z: NDArray
    order: list[int]
    measure: str
    standard: bool
    continuous: bool

    @classmethod
    def of(cls, vae: FittedVAE, x: NDArray, kl_per_unit: list[float], context: NDArray | None = None) -> Codes:
        z, latent = np.asarray(encode(vae, x, context)), vae.module.latent
        by_kl = len(kl_per_unit) == z.shape[1]
        activity = np.asarray(kl_per_unit) if by_kl else z.var(0)
        inner = latent.inner if isinstance(latent, Hamiltonian) else latent
        return cls(
            z,
            order=[int(i) for i in np.argsort(-activity, kind="stable")],
            measure="mean KL" if by_kl else "variance of the codes",
            standard=isinstance(inner, Latent) and isinstance(inner.prior, StandardNormal),
            continuous=not any(isinstance(m, (Quantised, Categorical)) for m in latent.modules()),
        )

    @property
    def size(self) -> int:
        return self.z.shape[1]

    @property
    def centre(self) -> NDArray:
        return np.zeros(self.size) if self.standard else self.z.mean(0)

    @property
    def spread(self) -> NDArray:
        return np.ones(self.size) if self.standard else self.z.std(0)

    def plane(self) -> tuple[NDArray, tuple[str, str], str]:
        """(N, 2) or (N, 1) to draw, the names of its axes, and how they were chosen, in words."""
        if not self.continuous:
            return self._principal(), ("first principal component", "second"), "the first two principal components"
        first = self.order[:2] if self.size > 2 else list(range(self.size))
        names = tuple(f"z[{i}]" for i in first)
        chosen = f"the two most active of {self.size} dimensions by {self.measure}, " if self.size > 2 else ""
        return self.z[:, first], (*names, "")[:2], chosen + " and ".join(names)

    def _principal(self) -> NDArray:
        centred = self.z - self.z.mean(0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        return centred @ axes[:2].T

    def lattice(self, n: int = 20) -> tuple[NDArray, NDArray]:
        """Codes (n * n, 2) over a plane, row by row from the top, and the ticks (2, n): normal quantiles."""
        levels = np.array([NormalDist().inv_cdf(q) for q in np.linspace(0.05, 0.95, n)])
        ticks = self.centre[:, None] + self.spread[:, None] * levels
        across, up = np.meshgrid(ticks[0], ticks[1][::-1])
        return np.column_stack([across.ravel(), up.ravel()]).astype(np.float32), ticks

    def walks(self, most: int = 10, steps: int = 11, reach: float = 3.0) -> tuple[NDArray, list[int], NDArray]:
        """Codes that move one dimension each, from -reach to reach spreads about the centre.

        Returns the codes (rows * steps, D), the dimension of each row, and the ticks (steps,).
        """
        ticks, moved = np.linspace(-reach, reach, steps), self.order[:most]
        z = np.tile(self.centre, (len(moved), steps, 1))
        for row, unit in enumerate(moved):
            z[row, :, unit] += ticks * self.spread[unit]
        return z.reshape(-1, self.size).astype(np.float32), moved, ticks


def drawn_codes(vae: FittedVAE, x: NDArray, context: NDArray | None = None) -> NDArray:
    """(N, D): one draw of q(z | x) for each row; together they are draws of the aggregate posterior."""
    return encoded(vae, x, context, Source.like(vae.module, vae.config.seed))


def prior_codes(vae: FittedVAE, rows: int, context: NDArray | None = None) -> NDArray:
    """(rows, D): draws of the prior, of rows with this context where the model reads one."""
    model, noise = vae.module, Source.like(vae.module, vae.config.seed + 1)
    given = contexts(vae, sampled(context, rows, vae.config.seed, vae.spec), rows)
    with torch.no_grad():
        parts = [
            model.generate(min(CHUNK, rows - start), noise, own).flatten(1).cpu()
            for start, own in zip(range(0, rows, CHUNK), given)
        ]
    return torch.cat(parts).numpy()


TELLING = 0.1
"""Share of a factor's entropy that a code has to tell before it is said to follow it."""


def told_shares(z: NDArray, factors: Mapping[str, ArrayLike], seed: int = 0) -> NDArray:
    """(D, F) in [0, 1]: the share of each factor's entropy that each code tells, `(I - I_0) / (H(v_k) - I_0)` with
    `I = I(z_j; v_k)`.

    I_0 is the same of factors whose rows were shuffled, which with few rows is not nothing (adjusted mutual
    information, Vinh et al. 2010, JMLR 11). factors: whole numbers or names, (N,) each. Raises ValueError for another
    number of rows.
    """
    for name, values in factors.items():
        if np.shape(values) != (len(z),):
            raise ValueError(f"expected factor {name!r} of each of the {len(z)} rows, got shape {np.shape(values)}")
    v = np.stack([np.unique(_as_written(values), return_inverse=True)[1] for values in factors.values()], 1)
    shuffled = v[np.random.default_rng(seed).permutation(len(v))]
    by_chance = mutual_information(z, shuffled)
    room = np.array([entropy(column) for column in v.T]) - by_chance
    gain = mutual_information(z, v) - by_chance
    return np.where(room > 1e-9, gain / np.maximum(room, 1e-9), 0.0).clip(0, 1)


def _as_written(values: ArrayLike) -> NDArray:
    """Factors as they can be ordered: mixed names as text."""
    values = np.asarray(values)
    return values.astype(str) if values.dtype.kind == "O" else values


def followed(shares: NDArray, names: list[str]) -> list[str]:
    """The factor that each code tells most of, with that share: `x 82%`; `–` where it tells of none."""
    best = shares.argmax(1)
    return [
        f"{names[k]} {100 * row[k]:.0f}%" if row[k] >= TELLING else "–" for row, k in zip(shares, best, strict=True)
    ]
