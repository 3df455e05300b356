"""Importance-weighted bounds and their gradient estimators."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..core import Batch, Hyper, LossOutput, Noise, hyper, weighted_mean
from ..model import VAEModule
from .base import Objective, inference_and_generation, penalty, summary

Gradient = Literal["plain", "stl", "dreg", "partial", "vimco"]


class IWAE(Objective):
    """`E log 1/k sum_i w_i`, `w = p(x, z) / q(z | x)`: a bound that tightens with k.

    Burda et al. 2016, arXiv:1509.00519. With a mask on the batch this is MIWAE's bound (Mattei & Frellsen 2019,
    arXiv:1812.02633).

    gradient, for the encoder: "plain"; "stl", without the score term (sticking the landing, Roeder et al. 2017,
    arXiv:1703.09194: unbiased for k = 1 only); "dreg", doubly reparameterised (Tucker et al. 2019, arXiv:1810.04152:
    unbiased, its signal does not vanish with k): the encoder minimises `-sum_i w~_i^2 log w_i` and the generative part
    `-sum_i w~_i log w_i`, weights w~ held, so that they are two players.

    "vimco" is for hard draws of discrete codes, which have no gradient (Mnih & Rezende 2016, arXiv:1602.06725): to the
    bound's gradient at held draws it adds that of `sum_i (L - L_i) log q(z_i | x)`, the differences held, where L_i is
    the bound with w_i replaced by the geometric mean of the other weights: unbiased, and each draw is credited with
    what it adds.

    Rainforth et al. 2018, arXiv:1802.04537, mix bounds. m: the mean of m bounds of k draws each (their MIWAE(m, k)).
    elbo: its share in `elbo * ELBO + (1 - elbo) * bound` (their CIWAE). gradient="partial": that mean for the encoder
    and one bound of all m * k draws for the generative part, two players (their PIWAE(m, k)).
    """

    def __init__(
        self,
        k: int = 5,
        gradient: Gradient = "plain",
        m: int = 1,
        elbo: float | Hyper | None = None,
    ):
        super().__init__()
        if gradient == "vimco" and k < 2:
            raise ValueError(
                f'IWAE(k={k}, gradient="vimco"): a draw is judged by the others, so expected k of at least 2'
            )
        if elbo is not None and gradient in ("dreg", "partial", "vimco"):
            raise ValueError(f'IWAE(elbo={elbo}, gradient={gradient!r}): a mixed bound takes "plain" or "stl"')
        self.k, self.gradient, self.m = k, gradient, m
        self.elbo = None if elbo is None else hyper(elbo)

    @property
    def uses_score(self) -> bool:
        return self.gradient == "vimco"

    @property
    def draws(self) -> int:
        """Per row."""
        return self.m * self.k

    def param_groups(self, model: VAEModule) -> dict[str, list[str]]:
        if self.gradient not in ("dreg", "partial"):
            return super().param_groups(model)
        return inference_and_generation(model)

    def check(self, model: VAEModule) -> None:
        super().check(model)
        if self.gradient in ("dreg", "partial"):
            kind = "doubly reparameterised" if self.gradient == "dreg" else "partial"
            refuse_shared(model, f"the {kind} gradient")

    def forward(self, model: VAEModule, batch: Batch, step: Tensor, noise: Noise) -> LossOutput:
        out = model(batch, noise, draws=self.draws, path_only=self.gradient in ("stl", "dreg"))
        log_w = out.log_weight.unflatten(0, (self.m, self.k, -1))
        bound = (torch.logsumexp(log_w, 1) - math.log(self.k)).mean(0)
        every_draw = None if batch.weight is None else batch.weight.repeat(self.draws)
        metrics = {"bound": weighted_mean(bound, batch.weight), **summary(out, every_draw)}
        extra = penalty(out, every_draw)
        if self.gradient == "vimco":
            score = (advantages(log_w) * out.draw.log_q.unflatten(0, (self.m, self.k, -1))).sum(1).mean(0)
            extra = extra - held_value(weighted_mean(score, batch.weight))
        return LossOutput(self._losses(log_w, metrics, batch.weight, step, extra), metrics, out.draw.updates)

    def _losses(
        self, log_w: Tensor, metrics: dict[str, Tensor], weight: Tensor | None, step: Tensor, extra: Tensor | float
    ) -> dict[str, Tensor]:
        """Of log-weights (m, k, B)."""
        if self.gradient == "partial":
            joint = torch.logsumexp(log_w.flatten(0, 1), 0) - math.log(self.draws)
            return {"inference": extra - metrics["bound"], "generation": extra - weighted_mean(joint, weight)}
        if self.gradient == "dreg":
            w = log_w.softmax(1).detach()
            return {
                "inference": extra - weighted_mean((w.square() * log_w).sum(1).mean(0), weight),
                "generation": extra - weighted_mean((w * log_w).sum(1).mean(0), weight),
            }
        if self.elbo is None:
            return {"model": extra - metrics["bound"]}
        share = self.elbo(step)
        mean = weighted_mean(log_w.flatten(0, 1).mean(0), weight)
        return {"model": extra - share * mean - (1 - share) * metrics["bound"]}


def refuse_shared(model: VAEModule, what: str) -> None:
    """Raises ValueError where weights serve both q and p."""
    shared = [type(m).__name__ for m in model.modules() if getattr(m, "entangled", False)]
    if shared:
        raise ValueError(
            f"{what} trains q and p as two players, and {shared[0]} has weights that serve both: use "
            'IWAE(gradient="plain") or "stl"'
        )


def advantages(log_w: Tensor) -> Tensor:
    """(m, k, B), held: what each of k draws adds to the bound `log 1/k sum_i w_i` beyond the geometric mean of the
    others in its place (Mnih & Rezende 2016, arXiv:1602.06725)."""
    log_w, k = log_w.detach(), log_w.shape[1]
    others = (log_w.sum(1, keepdim=True) - log_w) / (k - 1)
    own = torch.eye(k, dtype=torch.bool, device=log_w.device).unsqueeze(-1)
    replaced = torch.where(own, others.unsqueeze(2), log_w.unsqueeze(1))
    return torch.logsumexp(log_w, 1, keepdim=True) - torch.logsumexp(replaced, 2)


def held_value(t: Tensor) -> Tensor:
    """0, with the gradient of t."""
    return t - t.detach()
