"""The unit of inference: one latent variable, how it is inferred and what it costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Self

from torch import Tensor

from .. import distributions as dist
from ..core import Component, ForwardContext, FunctionalModule, LatentSample, prefixed
from ..distributions import kl
from .posteriors import Categorical, Posterior
from .priors import GaussianMixture, Prior

Ratio = Literal["exact", "bound", "none"]
BOUNDED = {"sphere": "UniformSphere", "ball": "StandardWrappedNormal", "simplex": "LaplaceDirichlet"}
"""The spaces of densities that are not all of R^d, each with the prior that is at home in it."""


class AbstractLatent(Component):
    """The contract that `Latent`, `Ladder`, `TopDown`, `Codebook` and `Hamiltonian` keep.

    shape: of z, per row. evidence_shape: what the encoder must give, per row. ratio: what exp(log_lik + log_ratio)
    is in evaluation: "exact", an unbiased estimate of p(x); "bound", no more than a lower bound; "none", nothing.
    own_prior: the name of the part that is the prior of the topmost code, where q does not depend on it, so that it can
    be replaced after training; None where there is none.
    classes: how many the draw tells the probabilities of, None: of none. labelled: whether known labels are read.
    space: where z lives: "real" (R^d), "sphere", "ball", "simplex" or "codes".
    hard: whether no gradient passes through a draw in training, so that only the score of q moves it; None where it
    does through a part of z.
    """

    shape: tuple[int, ...]
    evidence_shape: tuple[int, ...]
    ratio: Ratio = "exact"
    space: str = "real"
    hard: bool | None = False
    own_prior: str | None = None
    classes: int | None = None
    labelled: bool = False

    @property
    def emitted_shape(self) -> tuple[int, ...]:
        """Of what the decoder reads, per row."""
        return self.shape

    def infer(
        self, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None, held: Tensor | None = None
    ) -> LatentSample:
        """One draw from q(z | evidence, above) per row.

        `held` is the evidence with q's parameters held fixed: given, log q is evaluated from it (and from the
        latent's own weights held fixed), so that gradients reach log q through z alone.
        """
        raise NotImplementedError

    def generate(self, rows: int, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        """(rows, *shape): draws from the prior."""
        raise NotImplementedError

    def log_prior(self, z: Tensor, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        """(B,), nats: log p(z | above)."""
        raise NotImplementedError

    def emit(self, z: Tensor, above: Tensor | None = None) -> Tensor:
        """(B, *emitted_shape): what the decoder reads of z: itself, but on a sphere, or where the latent is a path."""
        return z

    def resolve_shapes(
        self, *, inputs_shape: tuple[int, ...] | None = None, above: int | None = None, **sizes: object
    ) -> Self:
        """Settles open sizes: inputs_shape is what the encoder reads, above how many numbers stand above."""
        return self

    def prepare(self, inputs: Tensor, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None) -> None:
        """Sees, once before the first step, rows of what the encoder reads and of what it says of them."""

    def generative(self) -> list[str]:
        """The names of the parameters that belong to p, not to q."""
        return []


class LatentWrapper(AbstractLatent):
    """What changes the draws of another latent, `inner`, and leaves the rest to it."""

    inner: AbstractLatent

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    @property
    def evidence_shape(self) -> tuple[int, ...]:
        return self.inner.evidence_shape

    @property
    def emitted_shape(self) -> tuple[int, ...]:
        return self.inner.emitted_shape

    def resolve_shapes(self, **sizes: object) -> Self:
        inner = self.inner.resolve_shapes(**sizes)
        return self if inner is self.inner else type(self)(**{**self.arguments(), "inner": inner})

    def generate(self, rows: int, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        return self.inner.generate(rows, scope, above)

    def emit(self, z: Tensor, above: Tensor | None = None) -> Tensor:
        return self.inner.emit(z, above)

    def log_prior(self, z: Tensor, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        return self.inner.log_prior(z, scope, above)

    def prepare(self, inputs: Tensor, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None) -> None:
        self.inner.prepare(inputs, evidence, scope, above)

    def generative(self) -> list[str]:
        return list(prefixed("inner", dict.fromkeys(self.inner.generative())))


class Latent(AbstractLatent):
    """The plain one: z ~ q = posterior(evidence), log_ratio = log p(z) - log q(z | x)."""

    own_prior = "prior"

    def __init__(self, posterior: Posterior, prior: Prior):
        super().__init__()
        spaces = {posterior.space, prior.space or posterior.space}
        if len(spaces) > 1 and posterior.has_density and spaces & BOUNDED.keys():
            raise ValueError(
                f"Latent({type(posterior).__name__}, {type(prior).__name__}): the posterior's z lives in the space "
                f"{posterior.space!r}, the prior's in {prior.space!r}, so that their densities cannot be compared: for "
                f"the posterior take {BOUNDED.get(posterior.space, 'StandardNormal')} or VampPrior"
            )
        self.posterior, self.prior = posterior, prior

    @property
    def space(self) -> str:
        return self.posterior.space

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.posterior.size,)

    @property
    def evidence_shape(self) -> tuple[int, ...]:
        return (self.posterior.n_in,)

    @property
    def classes(self) -> int | None:
        """The categories of one categorical variable, or the components of a mixture prior."""
        if isinstance(self.posterior, Categorical):
            return self.posterior.categories if self.posterior.variables == 1 else None
        return self.prior.components if isinstance(self.prior, GaussianMixture) else None

    @property
    def ratio(self) -> Ratio:
        return "exact" if self.posterior.has_density else "none"

    @property
    def hard(self) -> bool:
        return self.posterior.hard

    def resolve_shapes(
        self, *, inputs_shape: tuple[int, ...] | None = None, above: int | None = None, **sizes: object
    ) -> Self:
        if self.prior.over_codes:
            prior, posterior = type(self.prior).__name__, type(self.posterior).__name__
            raise ValueError(
                f"{prior} is a prior over the codes of a codebook, and {posterior} has none: pass FlowPrior() or so"
            )
        prior = self.prior.resolve_shapes(**self.posterior.shared, inputs_shape=inputs_shape, above=above)
        return self if prior is self.prior else type(self)(self.posterior, prior)

    def _prior(self, scope: ForwardContext, above: Tensor | None) -> object:
        return self.prior(replace(scope, posterior=lambda inputs: self.posterior(scope.encode(inputs))), above)

    def infer(
        self, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None, held: Tensor | None = None
    ) -> LatentSample:
        q, p = self.posterior(evidence), self._prior(scope, above)
        if not self.posterior.has_density:
            return LatentSample(q.draw(scope), None, None, q, p)
        if held is None:
            z, log_q = q.draw_with_log_density(scope)
        else:
            z = q.draw(scope)
            log_q = FunctionalModule.of(self.posterior).held()(held).log_density(z)
        updates, classes = prefixed("posterior", self.posterior.updates()), self._log_classes(q, p, z)
        return LatentSample(z, p.log_density(z) - log_q, kl(q, p), q, p, updates=updates, classes=classes, log_q=log_q)

    def _log_classes(self, q: dist.Distribution, p: dist.Distribution, z: Tensor) -> Tensor | None:
        """(B, classes): log q(class | x). Of a mixture it is p(component | z), for which training has no use."""
        if isinstance(self.prior, GaussianMixture):
            return None if self.training else p.log_responsibilities(z)
        return None if self.classes is None else q.logits.squeeze(-2).log_softmax(-1)

    def generate(self, rows: int, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        p = self._prior(scope, above)
        own_per_row = self.prior.reads_above and above is not None
        return p.draw(scope) if own_per_row else p.draw(scope, rows)

    def emit(self, z: Tensor, above: Tensor | None = None) -> Tensor:
        return self.posterior.emit(z)

    def log_prior(self, z: Tensor, scope: ForwardContext, above: Tensor | None = None) -> Tensor:
        return self._prior(scope, above).log_density(z)

    def prepare(self, inputs: Tensor, evidence: Tensor, scope: ForwardContext, above: Tensor | None = None) -> None:
        self.prior.prepare(inputs, scope)
        if self.prior.begins == "fitted":
            self.prior.start(self.posterior(evidence).mean, scope)

    def generative(self) -> list[str]:
        return list(prefixed("prior", dict(self.prior.named_parameters())))
