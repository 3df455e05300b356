"""Importance-weighted bounds and their gradient estimators."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..core import Batch, Noise, Terms, weighted_mean
from ..model import VAEModule
from .base import Objective, penalty, summary


class IWAE(Objective):
    """`E log 1/k sum_i w_i`, `w = p(x, z) / q(z | x)`: a bound that tightens with k.

    Burda et al. 2016, arXiv:1509.00519. With a mask on the batch this is MIWAE's bound (Mattei & Frellsen 2019,
    arXiv:1812.02633). gradient, for the encoder: "plain"; "stl", without the score term (sticking the landing, Roeder
    et al. 2017, arXiv:1703.09194: unbiased for k = 1 only); "dreg", doubly reparameterised (Tucker et al. 2019,
    arXiv:1810.04152: unbiased, its signal does not vanish with k): the encoder minimises `-sum_i w~_i^2 log w_i` and
    the generative part `-sum_i w~_i log w_i`, weights w~ held, so that they are two players.
    """

    def __init__(self, k: int = 5, gradient: Literal["plain", "stl", "dreg"] = "plain"):
        super().__init__()
        if k < 1:
            raise ValueError(f"IWAE(k={k}): expected at least one draw per row")
        if gradient not in ("plain", "stl", "dreg"):
            raise ValueError(f'IWAE(gradient={gradient!r}): expected "plain", "stl" or "dreg"')
        self.k, self.gradient = k, gradient

    def players(self, model: VAEModule) -> dict[str, list[str]]:
        if self.gradient != "dreg":
            return super().players(model)
        generative = {f"model.{name}" for name in model.generative()}
        names = super().players(model)["model"]
        return {
            "inference": [n for n in names if n not in generative],
            "generation": [n for n in names if n in generative],
        }

    def check(self, model: VAEModule) -> None:
        super().check(model)
        shared = [type(m).__name__ for m in model.modules() if getattr(m, "entangled", False)]
        if self.gradient == "dreg" and shared:
            raise ValueError(
                f"the doubly reparameterised gradient trains q and p as two players, and {shared[0]} has weights that "
                'serve both: use IWAE(gradient="plain") or "stl"'
            )

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> Terms:
        out = model(batch, noise, draws=self.k, path_only=self.gradient != "plain")
        log_w = out.log_weight.unflatten(0, (self.k, -1))
        bound = torch.logsumexp(log_w, 0) - math.log(self.k)
        every_draw = None if batch.weight is None else batch.weight.repeat(self.k)
        metrics = {"bound": weighted_mean(bound, batch.weight), **summary(out, every_draw)}
        extra = penalty(out, every_draw)
        if self.gradient != "dreg":
            return Terms({"model": extra - metrics["bound"]}, metrics, out.draw.updates)
        weights = log_w.softmax(0).detach()
        losses = {
            "inference": extra - weighted_mean((weights.square() * log_w).sum(0), batch.weight),
            "generation": extra - weighted_mean((weights * log_w).sum(0), batch.weight),
        }
        return Terms(losses, metrics, out.draw.updates)
