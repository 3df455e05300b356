"""Differentially private training: gradients clipped row by row, with noise, over batches drawn row by row."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from ..core import Batch, Component, LossOutput, Noise, Recorder, ReplayNoise, Source, importing, without_warnings
from ..core.peers import Alone
from ..data.rows import AbstractRows
from .learner import Learner, unstackable
from .loop import Training

AT_ONCE = 2**25
"""Numbers in the gradients of rows that are held at a time."""
FEW = 4
"""Rows by which a loss is tried for being a sum over rows."""


class Privacy(Component):
    """(epsilon, delta)-differential privacy of the weights, by DP-SGD (Abadi et al. 2016, arXiv:1607.00133).

    Each row of the training data is in a batch with probability `q = batch_size / N`, independently. Its gradient is
    scaled to a norm of at most `clip`, and the step moves by `(sum_i clipped_i + N(0, (sigma clip)^2)) / batch_size`,
    sigma so that all steps together spend epsilon. delta: should be far below one over the number of rows. accountant:
    Opacus', "rdp" or the tighter, slower "prv". seed: of the noise and the batches; None: the operating system's
    entropy. Whoever knows the seed can take the noise away, so a number is for tests. The generator is torch's, which
    is not a cryptographic one.

    What is private is the weights, added or removed any one row of those trained on. What is read off the rows
    otherwise is not: levels, bounds, scales and spreads of columns, held-out rows, and the figures of the history.
    """

    def __init__(
        self,
        epsilon: float,
        delta: float = 1e-5,
        clip: float = 1.0,
        accountant: Literal["rdp", "prv"] = "rdp",
        seed: int | None = None,
    ):
        super().__init__()
        self.epsilon, self.delta, self.clip, self.accountant, self.seed = epsilon, delta, clip, accountant, seed

    def noise_multiplier(self, rate: float, steps: int) -> float:
        """sigma, with which so many steps on a share `rate` of the rows each spend at most epsilon."""
        from_opacus = _opacus()
        return from_opacus.utils.get_noise_multiplier(
            target_epsilon=self.epsilon,
            target_delta=self.delta,
            sample_rate=rate,
            steps=steps,
            accountant=self.accountant,
        )

    def spent(self, multiplier: float, rate: float, steps: int) -> float:
        """The epsilon that so many steps have spent."""
        if steps == 0:
            return 0.0
        accountant = _opacus().create_accountant(self.accountant)
        accountant.history = [(multiplier, rate, steps)]
        with without_warnings():  # of orders that could be tighter: the bound holds
            return float(accountant.get_epsilon(delta=self.delta))


def _opacus() -> Any:
    """Opacus' accountants. Raises ImportError where they are not installed."""
    try:
        with without_warnings(), importing():
            from opacus import accountants
    except ImportError as error:
        raise ImportError('private training needs opacus: pip install "vaekit[private]"') from error
    return accountants


class PrivateGradients:
    """`(batch, noise)` -> the terms of a batch and the player's private gradient, as a `Step` moves by it.

    multiplier: sigma. expected: rows in a batch on average. source: of the noise. With multiplier 0, an endless clip
    and a batch of `expected` rows it is the ordinary gradient.
    """

    def __init__(self, learner: Learner, clip: float, multiplier: float, expected: float, source: Source):
        self.learner, self.clip, self.multiplier = learner, clip, multiplier
        self.expected, self.source = expected, source
        ((self.player, self.names),) = learner.param_groups().items()

    def __call__(self, batch: Batch, noise: Noise) -> tuple[LossOutput, dict[str, list[Tensor]]]:
        state = {**dict(self.learner.named_parameters()), **dict(self.learner.named_buffers())}
        state = {n: t.detach() for n, t in state.items()}
        own = {n: state[n] for n in self.names}
        empty = len(batch.x) == 0
        rows = {f.name: t for f in fields(batch) if (t := getattr(batch, f.name)) is not None}
        if empty:  # no row was drawn: the step is noise alone
            rows = {n: t.new_zeros(1, *t.shape[1:]) for n, t in rows.items()}
        count = len(rows["x"])
        numbers = tape(self.learner, rows, noise, count)
        size = max(1, AT_ONCE // sum(t.numel() for t in own.values()))
        sums, told = {n: torch.zeros_like(t) for n, t in own.items()}, []
        each = vmap(grad(self._of_row, has_aux=True), in_dims=(None, None, 0, 0), randomness="different")
        for start in range(0, count, size):
            part = {n: t[start : start + size] for n, t in rows.items()}
            found, figures = each(own, state, part, [t[start : start + size] for t in numbers])
            for name, clipped in self.clipped(found).items():
                sums[name] += 0.0 if empty else clipped.sum(0)
            told.append(figures)
        spread = self.multiplier * self.clip if self.multiplier else 0.0
        gradient = [(sums[n] + spread * self.source.randn(sums[n].shape)) / self.expected for n in self.names]
        losses, metrics = (
            {n: (0.0 if empty else 1.0) * torch.cat([t[k][n] for t in told]).mean() for n in told[0][k]} for k in (0, 1)
        )
        return LossOutput(losses, metrics, self.learner.counted(losses, metrics)), {self.player: gradient}

    def clipped(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gradients of rows, (B, ...) each, scaled to a norm over all of them of at most `clip`; one that is not finite
        becomes 0."""
        norm = sum(g.reshape(len(g), -1).square().sum(1) for g in gradients.values()).sqrt()
        factor = (self.clip / norm.clamp(min=1e-12)).clamp(max=1.0)  # an endless clip scales nothing
        finite = norm.isfinite()
        return {
            n: torch.where(_over(finite, g), g * _over(torch.where(finite, factor, 0.0), g), 0.0)
            for n, g in gradients.items()
        }

    def _of_row(
        self, own: dict[str, Tensor], state: dict[str, Tensor], row: dict[str, Tensor], numbers: list[Tensor]
    ) -> tuple[Tensor, tuple[dict[str, Tensor], dict[str, Tensor]]]:
        terms = _terms(
            self.learner, {**state, **own}, {n: t.unsqueeze(0) for n, t in row.items()}, ReplayNoise(numbers)
        )
        return terms.losses[self.player], (terms.losses, terms.metrics)


def _over(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.dim() - 1))


class _Loss(nn.Module):
    """A learner's objective alone, without its counts."""

    def __init__(self, learner: Learner):
        super().__init__()
        self.learner = learner

    def forward(self, batch: Batch, noise: Noise) -> LossOutput:
        return self.learner.objective(self.learner.model, batch, self.learner.step, noise)


def _terms(learner: Learner, state: dict[str, Tensor], rows: dict[str, Tensor], noise: Noise) -> LossOutput:
    state = {f"learner.{n}": t for n, t in state.items()}
    return functional_call(_Loss(learner), state, (Batch(**rows), noise))


class _Asked(Alone):
    """A batch that is whole, and remembers whether a part asked for the rows of others."""

    def __init__(self) -> None:
        self.asked = False

    def total(self, tensor: Tensor) -> Tensor:
        self.asked = True
        return tensor

    gather = share = total


def tape(learner: Learner, rows: dict[str, Tensor], noise: Noise, count: int) -> list[Tensor]:
    """(count, ...) of each number that a pass of a single row asks for."""
    recorder = Recorder(Source.like(learner))
    with torch.no_grad():
        _Loss(learner)(Batch(**{n: t[:1] for n, t in rows.items()}), recorder)
    return [getattr(noise, kind)((count, *shape)) for kind, shape in recorder.requests]


class PrivateTraining(Training):
    """A `Training` whose steps are private: its batches are drawn row by row, so that their sizes vary.

    multiplier: the noise's, sigma. Raises ValueError for what has no private gradient: see `check`.
    """

    def __init__(self, learner: Learner, rows: AbstractRows, *settings: Any, privacy: Privacy, **named: Any):
        super().__init__(learner, rows, *settings, **named)
        check_private(learner, rows)
        if not privacy.delta < 1 / len(rows):
            raise ValueError(
                f"Privacy(delta={privacy.delta}) with {len(rows)} rows: expected delta below one over their number, "
                f"such as {0.1 / len(rows):.0e}: above it whole rows may be told"
            )
        self.privacy, self.rate_of_rows = privacy, self.batch_size / len(rows)
        self.multiplier = privacy.noise_multiplier(self.rate_of_rows, max(1, self.epochs * self.batches))
        secret = secrets.randbits(63) if privacy.seed is None else privacy.seed
        self.secret = torch.Generator().manual_seed(secret)
        source = Source.like(learner, secret ^ 1)
        self.step.private = PrivateGradients(learner, privacy.clip, self.multiplier, self.batch_size, source)

    def _indices(self) -> Iterator[Tensor]:
        for _ in range(self.batch, self.batches):
            drawn = torch.rand(len(self.rows), generator=self.secret) < self.rate_of_rows
            yield drawn.nonzero().squeeze(1).to(self.rows.device)

    def _expected(self, batch: Batch) -> int:
        return len(batch.x)

    @property
    def spent(self) -> float:
        """The epsilon spent by the steps taken."""
        return self.privacy.spent(self.multiplier, self.rate_of_rows, self.taken)


def check_private(learner: Learner, rows: AbstractRows) -> None:
    """Raises ValueError for a learner that has no gradient per row: several players, state that rows leave behind, a
    loss that is no mean over rows."""
    why, players = unstackable(learner), [who for who, names in learner.param_groups().items() if names]
    norms = [n for n, m in learner.named_modules() if isinstance(m, _BatchNorm)]
    if len(players) != 1:
        why = f"{type(learner.objective).__name__} trains {' and '.join(players)}, each by the other's weights"
    elif norms:
        why = f"{norms[0]} normalises by the other rows of a batch"
    elif learner.objective.couples_rows:
        why = f"{type(learner.objective).__name__} is no mean over rows"
    if why is None:
        why = _coupling(learner, rows)
    if why is not None:
        raise ValueError(
            f"this model cannot be trained privately: {why}. The loss has to be a mean over rows, of one player, as "
            "that of ELBO() and IWAE() is"
        )


def _coupling(learner: Learner, rows: AbstractRows) -> str | None:
    """What makes a few rows together something else than each by itself, at the same noise; None where nothing does."""
    batch = rows.batch(torch.arange(min(FEW, len(rows)), device=rows.device))
    given = {f.name: t for f in fields(batch) if (t := getattr(batch, f.name)) is not None}
    mode, count = learner.training, len(batch.x)
    learner.train()
    try:
        numbers = tape(learner, given, Source.like(learner), count)
        state = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
        with torch.no_grad():
            noise = ReplayNoise([t.movedim(0, 1).flatten(0, 1) for t in numbers])
            noise.peers = peers = _Asked()
            together = _terms(learner, state, given, noise)
            alone = [
                _terms(
                    learner, state, {n: t[i : i + 1] for n, t in given.items()}, ReplayNoise([t[i] for t in numbers])
                )
                for i in range(count)
            ]
    except ValueError as error:
        return f"a row by itself asks for other noise than among others ({error})"
    finally:
        learner.train(mode)
    left = [*together.updates, *learner.network_updates()]
    if left:
        return f"{left[0]} keeps what rows leave behind"
    if peers.asked:
        return f"{type(learner.objective).__name__} asks for a mean over the rows of a batch"
    for name, loss in together.losses.items():
        mean = torch.stack([t.losses[name] for t in alone]).mean()
        if not torch.allclose(mean, loss, rtol=1e-3, atol=1e-4):
            return f"the loss of {type(learner.objective).__name__} on rows is not the mean of their own"
    return None
