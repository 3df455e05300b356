"""The metrics of a model on held-out rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from ..core import public
from ..data.rows import AbstractRows
from ..model import VAEModule
from ..objectives.base import code_use
from .likelihood import CODE_USE, LOW, RowScores, score_rows
from .metric import Metric
from .progress import ProgressMonitor
from .protocol import Protocol
from .result import Evaluation
from .verdicts import ACTIVE


@public
def evaluate_rows(
    model: VAEModule,
    rows: AbstractRows,
    *,
    draws: int = 100,
    seed: int = 0,
    notes: Sequence[str] = (),
    watch: ProgressMonitor | None = None,
) -> Evaluation:
    """A model's figures on held-out rows: ELBO and its parts, the importance-weighted bound, bits per dimension.

    notes: what is to be said beside its own. watch: as for `score_rows`.
    """
    scores = score_rows(model, rows, draws=draws, seed=seed, watch=watch)
    caveat, done = model.likelihood.caveat(rows.batch(slice(0, 256)).x, rows.spec.integer), len(scores.bound)
    each = _columns(model, rows, scores, caveat)
    figures = {name: Metric.mean(*column) for name, column in each.items()}
    per_row = {name: column[0].double() for name, column in each.items() if name in PAIRED}
    notes = [*notes, *_notes(model, scores, caveat, figures)]
    if done < len(rows):
        notes.insert(0, f"interrupted: {done:,} of {len(rows):,} rows were scored, in their order")
    units = [] if scores.kl is None else scores.kl.double().mean(0).tolist()
    if units:
        active = float(sum(kl > ACTIVE for kl in units))
        figures["active_units"] = Metric(active, None, f"of {len(units)}", f"units with a mean KL above {ACTIVE} nats")
    for name, value in code_use(scores.usage).items():
        figures[name] = Metric(float(value), None, *CODE_USE[name])
    made = {"scored": done, "binarised": scores.observed, "draws": draws, "seed": seed}
    protocol = Protocol.of(rows, model.likelihood, caveat, **made)
    return Evaluation(
        figures, done, draws, units, notes, protocol=protocol, interrupted=done < len(rows), per_row=per_row
    )


PAIRED = ("elbo", "distortion", "rate", "log_likelihood", "bits_per_dim")
"""Figures of which two models are compared row by row."""


def _columns(
    model: VAEModule, rows: AbstractRows, scores: RowScores, caveat: str | None
) -> dict[str, tuple[Tensor, str, str]]:
    """Each figure that is a mean over rows: its values, its unit and its meaning."""
    distortion = (scores.distortion, "nats", "-E log p(x | z), the cost of reconstruction")
    floor = {}
    if scores.floor is not None and bool((scores.floor > 0).any()):
        floor = {"entropy_floor": (scores.floor, "nats", "entropy of the pixels: no -log p can be less, by any model")}
    if model.latent.ratio == "none":
        return {"distortion": distortion, **floor}
    columns = {
        "elbo": (scores.elbo, "nats", "evidence lower bound, -distortion - rate"),
        "distortion": distortion,
        "rate": (scores.rate, "nats", "KL(q(z | x) || p(z)), the cost of the code"),
        "log_likelihood": (scores.bound, "nats", f"importance-weighted bound, k = {scores.k}"),
        "ess": (scores.ess, "draws", f"effective sample size, of {scores.k}"),
    }
    if caveat is None and not rows.spec.missing and not model.likelihood.given_total:
        kind = ", of a density" if model.likelihood.density else ", a code length"
        bits = -scores.bound / (math.prod(rows.spec.shape) * math.log(2))
        columns["bits_per_dim"] = (bits, "bits", "the bound per dimension" + kind)
    return {**columns, **floor}


def _notes(model: VAEModule, scores: RowScores, caveat: str | None, figures: dict[str, Metric]) -> Iterator[str]:
    """What has to be said with the figures."""
    if model.latent.ratio == "none":
        yield "the posterior is a point mass: there is no rate and no bound of log p(x)"
    if caveat:
        yield caveat
    if model.likelihood.given_total:
        yield "log p is that of a row whose total is given: no code length, nor beside figures without a total"
    if model.latent.ratio == "bound":
        yield "the codes are deterministic: the bound charges -log p(codes) by the prior and is loose"
    if "log_likelihood" in figures and figures["ess"].value < LOW * scores.k:
        yield (
            f"of {scores.k} draws a row {figures['ess'].value:.1f} count: the bound is loose, and more draws raise it; "
            "annealed importance sampling (ais=) does not depend on the encoder"
        )
