"""Likelihoods of counts; the encoder reads `log(1 + x)`, centred and scaled where counts are large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from .. import distributions
from ..core import ForwardContext
from .base import Likelihood, masked
from .moments import SMALLEST, moments, stacked

Library = Literal["observed", "latent"]
Dispersion = Literal["shared", "per_dimension", "per_output"]
WIDEST = 1e6
"""Largest inverse dispersion that a column starts from, and the inverse of the least."""
SMALLER = (0.0, 1.0, 2.0, 3.0, 4.0)
"""By how much less than at the moments log theta is tried."""
TRIED = 512
"""Rows on which it is tried."""
LARGE = 10.0
"""Mean count from which the encoder reads `log(1 + x)` centred and scaled; below it, `log(1 + x)` is small as it is."""


class Counts(Likelihood):
    """What the likelihoods of counts share."""

    support = "count"
    fix = "pass raw counts, neither scaled nor log-transformed, or use Gaussian"

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return masked(x, mask).log1p()


class OfLibrary(Counts):
    """Counts whose rows may be read at different depths, such as cells, of which more or fewer molecules are caught.

    library: None, and the decoder gives log means; or the means are `l softmax(decoder + b)`, l the row's library:

    - "observed": l is the row's total, which is given: log p is that of a row of this total, and rows that are drawn
      take theirs from a log-normal;
    - "latent": the decoder gives l first, before all other numbers, in standard deviations from its mean, as
      `LibraryDecoder` does: `log l = m + s t`, log-normal where t is normal.

    b is learned and starts at the columns' shares of all counts; m and s are the mean and the standard deviation of log
    totals, as the rows tell that the model is first shown. Lopez et al. 2018, Nature Methods 15,
    1053, who fit m and s to every batch.
    """

    def __init__(self, library: Library | None = None, shape: tuple[int, ...] | None = None):
        super().__init__(shape)
        self.library = library
        if library is not None and self.shape is not None:
            if library == "latent" and len(self.shape) != 1:
                raise ValueError(
                    f"{type(self).__name__}(library={library!r}): expected flat rows, before whose numbers the decoder "
                    f'puts the library, got rows of {self.shape}: flatten them, or take library="observed"'
                )
            self.log_share = nn.Parameter(torch.zeros(self.shape))
            self.register_buffer("log_library", torch.tensor([0.0, 1.0]))
        if self.shape is not None:
            self.register_buffer("centre", torch.zeros(self.shape))
            self.register_buffer("spread", torch.ones(self.shape))

    def features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return masked((masked(x, mask).log1p() - self.centre) / self.spread, mask)

    def scale_features(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Centre `log(1 + x)` at its mean, in units of its standard deviation, or of a Poisson's if that is larger."""
        mean, variance, _ = moments(x.log1p(), mask)
        size = moments(x, mask)[0]
        spread = torch.maximum(variance.sqrt(), (1 + size).rsqrt())
        self.centre.copy_(torch.where(size > LARGE, mean, 0.0))
        self.spread.copy_(torch.where(size > LARGE, spread, 1.0))

    @property
    def given_total(self) -> bool:
        return self.library == "observed"

    @property
    def in_shape(self) -> tuple[int, ...]:
        first, *rest = super().in_shape
        return (first + (self.library == "latent"), *rest)

    family: Callable[..., distributions.Distribution]
    """Makes p(x) of log means and what else it has, per cell."""

    def others(self, given: tuple[Tensor, ...], like: Tensor) -> tuple[Tensor, ...]:
        """What `family` reads beside log means, each like these: what the decoder gives of it, and what is learned."""
        return given

    def distribution(self, parameters: Tensor) -> distributions.Distribution:
        depth = None
        if self.library == "latent":
            depth, parameters = parameters[:, :1], parameters[:, 1:]
        first, *given = parameters.chunk(self.per_cell, 1)
        others = self.others(tuple(given), first)
        if self.library is None:
            return self.family(first, *others)
        centre, spread = (t.expand(len(first), 1) for t in self.log_library)
        if depth is not None:
            centre, spread = centre + spread * depth, torch.zeros_like(depth)
        return distributions.Library(first + self.log_share, others, centre, spread, self.family, self.given_total)

    def fitted(
        self, px: distributions.Distribution, x: Tensor, mask: Tensor | None, scope: ForwardContext
    ) -> tuple[distributions.Distribution, dict[str, Tensor]]:
        return px.for_rows(x, mask) if self.given_total else px, {}

    def prepare(self, x: Tensor, mask: Tensor | None = None) -> None:
        if self.library is None:
            return
        seen, x = torch.ones_like(x) if mask is None else mask, masked(x, mask)
        total = x.flatten(1).sum(1)
        logs = total[total > 0].log()
        if len(logs):
            self.log_library.copy_(torch.stack([logs.mean(), logs.std(unbiased=False).clamp(min=1e-3)]))
        self.log_share.copy_(((x.sum(0) + 0.5) / seen.sum(0).clamp(min=1)).log())
        self._start(x, seen, total)

    def _start(self, x: Tensor, seen: Tensor, total: Tensor) -> None:
        """Starts what is learned beside the shares, from rows (B, *D) of these totals (B,)."""

    def start(self, x: Tensor, mask: Tensor | None = None, shared: Sequence[int] = ()) -> Tensor | None:
        """Without a library, start at the mean and the variance of each cell."""
        if self.library is not None:
            return None
        mean, variance, count = moments(x, mask, shared)
        mean = torch.maximum(mean, SMALLEST / (1 + count))
        return stacked(mean.log(), *self._dispersed(x, mask, shared, mean, variance - mean))

    def _dispersed(
        self, x: Tensor, mask: Tensor | None, shared: Sequence[int], mean: Tensor, excess: Tensor
    ) -> tuple[Tensor, ...]:
        """Start what a cell has besides its mean; what the decoder gives of it. excess: variance less the mean."""
        return ()


class Poisson(OfLibrary):
    """Counts whose variance is their mean; the decoder gives log rates, or see `OfLibrary`."""

    family = distributions.Poisson


class Multinomial(Counts):
    """The words of a document, given how many they are; the decoder gives the words' logits.

    The document is one cell: a masked word's count is unknown, and the others are scored given their own sum. total:
    the words of a document that is drawn, or whose mean is told.
    """

    given_total = True

    def __init__(self, total: int = 100, shape: tuple[int, ...] | None = None):
        super().__init__(shape)
        self.total = total

    def distribution(self, parameters: Tensor) -> distributions.Multinomial:
        return distributions.Multinomial(parameters, self.total)


class NegativeBinomial(OfLibrary):
    """Counts of variance `mu + mu^2 / theta`; the decoder gives log mu.

    dispersion: log theta is "shared" (one learned number), "per_dimension" (a learned one per cell of x) or
    "per_output" (given by the decoder, after the log means, and may depend on the code and on context). All start at
    the moments of the training rows. library: see `OfLibrary`.
    """

    family = distributions.NegativeBinomial
    tries = True
    """Whether theta may start below the moments: many zeros and a few large counts call for it."""

    def __init__(
        self,
        dispersion: Dispersion = "per_dimension",
        library: Library | None = None,
        shape: tuple[int, ...] | None = None,
    ):
        super().__init__(library, shape)
        self.dispersion = dispersion
        if dispersion == "shared":
            self.log_theta = nn.Parameter(torch.zeros(()))
        elif dispersion == "per_dimension" and self.shape is not None:
            self.log_theta = nn.Parameter(torch.zeros(self.shape))

    @property
    def per_cell(self) -> int:
        return 2 if self.dispersion == "per_output" else 1

    def others(self, given: tuple[Tensor, ...], like: Tensor) -> tuple[Tensor, ...]:
        return given if self.dispersion == "per_output" else (self.log_theta.expand_as(like), *given)

    def _start(self, x: Tensor, seen: Tensor, total: Tensor) -> None:
        if self.dispersion == "per_output":
            return
        shares = self.log_share.flatten().softmax(0).reshape(self.log_share.shape)
        mean = total.reshape(-1, *[1] * shares.dim()) * shares * seen
        excess = ((x - mean).square() * seen - mean).sum(0)  # of the variance over the Poisson's, sum mean^2 / theta
        squares = mean.square().sum(0)
        if self.dispersion == "shared":
            excess, squares = excess.sum(), squares.sum()
        theta = squares / excess.clamp(min=0).add(1e-30)
        self.log_theta.copy_(theta.clamp(min=1 / WIDEST, max=WIDEST).log())

    def _dispersed(
        self, x: Tensor, mask: Tensor | None, shared: Sequence[int], mean: Tensor, excess: Tensor
    ) -> tuple[Tensor, ...]:
        """Start `theta = mean^2 / excess`, or a smaller one where the sample is more probable under it."""
        squares, axes = mean.square(), tuple(shared)
        if self.dispersion == "shared":
            squares, excess, axes = squares.sum(), excess.clamp(min=0).sum(), tuple(range(mean.dim()))
        log_theta = (squares / excess.clamp(min=1e-30)).clamp(min=1 / WIDEST, max=WIDEST).log().expand_as(mean)
        if self.tries:
            log_theta = log_theta - self._smaller(x, mask, mean, log_theta, axes)
        if self.dispersion == "per_output":
            return (log_theta,)
        self.log_theta.copy_(log_theta if self.dispersion == "per_dimension" else log_theta.flatten()[0])
        return ()

    @staticmethod
    def _smaller(x: Tensor, mask: Tensor | None, mean: Tensor, log_theta: Tensor, shared: tuple[int, ...]) -> Tensor:
        """By how much less the log theta of each cell makes a sample most probable, of the steps in `SMALLER`."""
        x, mask, scores = x[:TRIED].double(), None if mask is None else mask[:TRIED], []
        for step in SMALLER:
            log_p = masked(distributions.NegativeBinomial(mean.log(), log_theta - step).log_prob(x), mask).sum(0)
            scores.append(log_p.sum(shared, keepdim=True).expand_as(mean) if shared else log_p)
        return mean.new_tensor(SMALLER)[torch.stack(scores).argmax(0)]


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """The same with more zeros: a count is 0 with probability `pi`, or else of the negative binomial.

    The decoder gives logit pi, last. See `vaekit.distributions.ZeroInflated`; Lopez et al. 2018, Nature Methods 15,
    1053.
    """

    family = staticmethod(distributions.zero_inflated_negative_binomial)
    tries = False  # zeros have a probability of their own

    @property
    def per_cell(self) -> int:
        return super().per_cell + 1

    def start(self, x: Tensor, mask: Tensor | None = None, shared: Sequence[int] = ()) -> Tensor | None:
        """Start at the mean, the variance and the share of zeros of each cell."""
        if self.library is not None:
            return None
        mean, variance, count = moments(x, mask, shared)
        mean = torch.maximum(mean, SMALLEST / (1 + count))
        zeros = moments((x == 0).to(x.dtype), mask, shared)[0]
        pi = (zeros - (-mean / (1 - zeros).clamp(min=SMALLEST / (1 + count))).exp()).clamp(0.01, 0.99)
        inner = mean / (1 - pi)
        excess = (variance + mean.square()) / (1 - pi) - inner - inner.square()  # inner^2 / theta
        return stacked(inner.log(), *self._dispersed(x, mask, shared, inner, excess), pi.logit())
