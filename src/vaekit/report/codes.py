"""Where a model's codes lie, and which of their numbers say most: what the pictures of the latent space start from."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..latents import Categorical, Hamiltonian, Latent, Quantised, StandardNormal

if TYPE_CHECKING:
    from ..estimator import VAE


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
    def of(cls, vae: VAE, x: NDArray, kl_per_unit: list[float], context: NDArray | None = None) -> Codes:
        z, latent = vae.transform(x, context), vae.module_.latent
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
