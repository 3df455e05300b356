"""From figures of a model's health to verdicts: what is wrong, in a sentence, and the one or two things to try."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

ACTIVE = 0.01
"""Nats of mean KL above which a unit is active. What a code of less could save in distortion is less, too; units are
either far below or far above (the same bimodality that Burda et al. 2016 found for the variances of means)."""
SILENT = 0.1
"""Nats about x, a seventh of a bit, below which a code says nothing, and nats of distortion below which it makes no
difference whose code the decoder reads. Chosen small beside the rate of any model that works."""
PARTIAL = 0.5
"""The share of active units below which a collapse is told as a partial one. Unused units cost nothing (Dai et al.
2018, arXiv:1706.05148), so that a few of them are no ailment."""
HOLES = 0.2
"""The share of the prior's draws with no code near, or of codes with no draw near, that is told as holes; it is .01
where q(z) is the prior. Above it more than a fifth of the samples come from z that the decoder never met (Rosca et al.
2018, arXiv:1802.06847)."""
GAP = 0.2
"""The share of the rate that is KL(q(z) || p(z)) for certain, above which it is told as holes: so much of what the code
costs says nothing about x (Hoffman & Johnson 2016)."""
SLOPE = 2.0
"""Nats of distortion that one more nat of rate would save, above which a model is over-regularised. It is 1 at the
optimum of the ELBO and beta at that of a beta-VAE (Alemi et al. 2018, arXiv:1711.00464, the slope of the
rate-distortion curve)."""
RISING = 0.01
"""The share of all that was gained since the first epoch that is still gained in each of the last ones, above which
training ended too early: a hundred such epochs would double it."""
EPOCHS = 3
"""Fewer epochs than these show no trend."""
LOST = 0.1
"""The share of what training has gained since the first epoch that held-out rows do not have, above which a model is
over-fitted."""
CLAMPED = 0.01
"""The share of log-variances, or of scales, at the bound of what they can be that is told: at a bound there is no
gradient, so that they stay there."""
HUGE = 1e6
"""Nats per cell above which a figure is that of a model that diverged: data reach a model standardised or bounded."""
FALLEN = 1.0
"""Loss of ELBO since the first epoch, as a share of its size then or of a nat per cell, above which training
diverged."""
SKIPPED = 0.5
"""Share of the steps that were left out above which training did not take place."""
ERRORS = 3.0
"""Standard errors by which a model must be behind one without a latent for the verdict."""
STALLED, FEWEST_EPOCHS = 0.5, 10
"""The share of epochs, of so many at least, in which a model was no better than one without a latent, above which its
training stalled."""
SPREAD = 4.0
"""The factor between the standard deviations of codes and of the prior's draws above which the prior does not sample
the codes: at a quarter, 62 % of the draws in one dimension are more than two deviations of the codes away from them."""
UNUSED = 0.5
"""The share of a codebook's codes that no row takes, above which it has collapsed in part."""


@dataclass(frozen=True)
class Verdict:
    """name: what is wrong, or "healthy". said: a sentence with the figures behind it. remedies: what to try."""

    name: str
    said: str
    remedies: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}: {self.said}" + (f"; try {', or '.join(self.remedies)}" if self.remedies else "")

    @property
    def brief(self) -> str:
        """Its name and the first thing to try."""
        return f"{self.name}: try {self.remedies[0]}" if self.remedies else str(self)


Values = Mapping[str, float]


def diagnose(figures: Values) -> tuple[Verdict, ...]:
    """The verdicts on these figures, the gravest first; a rule whose figures are not there says nothing.

    figures: values by the names of `Health.figures`. One verdict, "healthy", where no rule finds anything.
    """
    found = tuple(verdict for rule in RULES for verdict in rule(figures))
    return found or (Verdict("healthy", "none of the ailments that are looked for was found"),)


def _carried(f: Values) -> float | None:
    """Nats that the code tells about x, at most; None where nothing bounds it."""
    bounds = [f[n] for n in ("rate", "information_at_most") if n in f]
    return min(bounds, default=None)


def _silent(f: Values) -> bool:
    """Whether the code tells nothing about x: then what it costs is not what is wrong with it."""
    carried = _carried(f)
    return carried is not None and carried < SILENT


def _untrained(f: Values) -> Iterator[Verdict]:
    if f.get("epochs") == 0:
        yield Verdict("untrained", "training ended before its first epoch was complete", ("fit again, to the end",))
    elif f.get("skipped", 0.0) >= 1.0:
        yield Verdict(
            "untrained",
            "every step was left out: no gradient was as small as skip= allows",
            ("a higher skip=", "a lower lr"),
        )


def _diverged(f: Values) -> Iterator[Verdict]:
    wrong = [name for name, value in f.items() if not math.isfinite(value)]
    nats = {n: abs(f[n]) for n in ("distortion", "rate") if n in f}
    huge = [name for name, value in nats.items() if value > HUGE * max(1.0, f.get("cells", 1.0))]
    said = []
    if wrong:
        said.append(f"{', '.join(wrong)} of these rows are not finite")
    elif huge:
        said.append(f"{' and '.join(f'{name} {f[name]:.3g} nats' for name in huge)}, more than any data take")
    if f.get("ended_diverged"):
        said.append("training ended as its loss was no longer finite, or far above its start")
    if f.get("fallen", 0.0) > FALLEN:
        said.append(f"since the first epoch the ELBO fell by {f['fallen']:.3g} times its size then")
    if f.get("skipped_lately", 0.0) > SKIPPED and f.get("skipped", 0.0) < 1.0:
        said.append(f"of the last steps {f['skipped_lately']:.0%} were left out for their large gradients (skip=)")
    if said:
        yield Verdict("diverged", "; ".join(said), ("a lower lr", "clip= or skip="))


def _behind(f: Values) -> Iterator[Verdict]:
    behind = f.get("behind", 0.0)
    if math.isfinite(behind) and behind > SILENT + ERRORS * f.get("behind_error", 0.0):
        yield Verdict(
            "worse than no latent",
            f"a model of independent cells, without a latent, has {behind:.3g} nats more for each row",
            ("more epochs, or another lr", "a likelihood that suits the data, recipe='auto'"),
        )


def _stalled(f: Values) -> Iterator[Verdict]:
    share, epochs = f.get("stalled", 0.0), f.get("epochs", 0.0)
    ahead = -f.get("behind", 0.0) > SILENT + ERRORS * f.get("behind_error", 0.0)
    if share > STALLED and epochs >= FEWEST_EPOCHS and ahead:
        yield Verdict(
            "stalled",
            f"for {share * epochs:.0f} of {epochs:.0f} epochs the model was no better than one without a "
            "latent: most of the training taught it nothing",
            ("another seed or lr", "more epochs from here, fit with warm_start=True"),
        )


def _scale(f: Values) -> Iterator[Verdict]:
    spread = f.get("spread", 1.0)
    if not 1 / SPREAD <= spread <= SPREAD:
        yield Verdict(
            "codes off the prior's scale",
            f"the standard deviation of the codes is {spread:.2g} times that of the prior, so that samples from the "
            "prior are not like codes",
            ("a higher weight of the match to the prior", "another prior for these codes, by fit_prior"),
        )


def _collapse(f: Values) -> Iterator[Verdict]:
    if _silent(f):
        yield Verdict(
            "posterior collapse",
            f"the code tells at most {_carried(f):.2g} nats about x: every row has the same q(z | x)",
            ("a warm-up, ELBO(beta=Ramp(1, steps)), or free bits, ELBO(free_bits=0.1)", "a weaker decoder"),
        )
    elif f.get("unused_codes", 0) > UNUSED:
        yield Verdict(
            "partial collapse",
            f"{f['unused_codes']:.0%} of the codes are taken by no row",
            ("a smaller codebook", "a higher revive="),
        )
    elif f.get("active_units", math.inf) < PARTIAL * f.get("units", 0):
        yield Verdict(
            "partial collapse",
            f"{f['active_units']:.0f} of {f['units']:.0f} units are active: the others say nothing about x, which does "
            "no harm, but they are not used",
            ("a smaller latent_dim", "free bits, ELBO(free_bits=0.1)"),
        )


def _ignored(f: Values) -> Iterator[Verdict]:
    if f.get("read", SILENT) < SILENT and not _silent(f):
        carried = _carried(f)
        told = "codes that differ" if carried is None else f"a code of {carried:.2g} nats"
        yield Verdict(
            "decoder ignores z",
            f"with the code of another row the distortion changes by {f['read']:.2g} nats: {told} is not read",
            ("a weaker decoder: smaller, or with dropout of what it reads of x", "training for longer"),
        )


def _holes(f: Values) -> Iterator[Verdict]:
    gap, rate = f.get("gap_at_least", 0.0), f.get("rate", math.inf)
    far = [f.get(n, 0.0) for n in ("holes", "strays")]
    if max(far) <= HOLES and (gap <= GAP * rate or gap <= SILENT or _silent(f)):
        return
    said = []
    if far[0] > HOLES:
        said.append(f"{far[0]:.0%} of the prior's draws have no code near, so that samples come from z never met")
    if far[1] > HOLES:
        said.append(
            f"{far[1]:.0%} of the codes lie where the prior does not draw, so that what they mean is not sampled"
        )
    if not said:
        said.append(f"{gap:.3g} of the {rate:.3g} nats of rate are KL(q(z) || p(z)), which says nothing about x")
    yield Verdict(
        "holes",
        " and ".join(said),
        ("another prior for these codes, by fit_prior", "a prior that learns with the codes, as recipe 'vamp' has it"),
    )


def _regularised(f: Values) -> Iterator[Verdict]:
    if f.get("slope", 1.0) > SLOPE and not _silent(f):
        yield Verdict(
            "over-regularised",
            f"one nat of rate more would save {f['slope']:.2g} nats of distortion, where the ELBO's optimum has 1",
            ("a lower beta (1 is the ELBO), unless few independent factors are the aim",),
        )


def _rises(f: Values) -> bool:
    return f.get("rising", 0.0) > RISING


def _trained(f: Values) -> Iterator[Verdict]:
    epochs = f.get("epochs")
    if epochs is not None and 0 < epochs < EPOCHS:
        said = f"{epochs:.0f} epoch{'s' if epochs != 1 else ''} of training show no trend yet"
        yield Verdict("under-trained", said, ("more epochs",))
    elif epochs != 0 and _rises(f):
        yield Verdict(
            "under-trained",
            f"each of the last epochs still brought {f['rising']:.1%} of all that was gained since the first",
            ("more epochs", "a higher learning rate"),
        )
    if "rolled_back" in f:
        yield Verdict(
            "recovered",
            f"training diverged once, went back to step {f['rolled_back']:.0f} and resumed at a lower rate",
            ("a lower lr from the start", "clip="),
        )
    if f.get("warm_up_left", 0.0) > 0:
        yield Verdict(
            "warm-up unfinished",
            f"{f['warm_up_left']:.0%} of the warm-up was still to come when training ended, so the objective was never "
            "the one that was asked for",
            ("more epochs", "a shorter warm-up, Ramp(1, steps) with fewer steps"),
        )


def _fitted(f: Values) -> Iterator[Verdict]:
    """Where held-out rows still gain, more of a training is called for, not less: then the gap is no verdict."""
    gap = f.get("lost", 0.0) > LOST and f.get("overfit_gap", 0.0) > SILENT
    if gap and f.get("epochs", EPOCHS) >= EPOCHS and not _rises(f):
        yield Verdict(
            "over-fitted",
            f"held-out rows have {f['overfit_gap']:.3g} nats less than those in training, {f['lost']:.0%} of what "
            "training gained",
            ("patience=, to stop at the best epoch", "a smaller network or weight_decay="),
        )


def _clamped(f: Values) -> Iterator[Verdict]:
    if f.get("log_variance_clamped", 0.0) > CLAMPED:
        yield Verdict(
            "log-variance at its clamp",
            f"{f['log_variance_clamped']:.1%} of the posterior's log-variances are at the bound of what they can be, "
            "where they have no gradient",
            ("a lower lr, or clip=", "data without constant or duplicated columns"),
        )
    if f.get("decoder_scale_clamped", 0.0) > CLAMPED:
        yield Verdict(
            "decoder scale at its floor",
            f"{f['decoder_scale_clamped']:.1%} of the scales of p(x | z) are at their minimum: some cells are "
            "explained perfectly, and the density there is what the floor makes of it",
            ("leave out constant columns, or dequantise whole numbers", "a higher minimum_scale="),
        )


RULES: tuple[Callable[[Values], Iterator[Verdict]], ...] = (
    _untrained,
    _diverged,
    _behind,
    _stalled,
    _collapse,
    _ignored,
    _scale,
    _holes,
    _regularised,
    _fitted,
    _trained,
    _clamped,
)
