"""Laws that every part must keep, to hold parts of your own to: each raises AssertionError where it is broken."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from .core import Batch, Component, ForwardContext, Recorder, ReplayNoise, Source
from .distributions import Distribution
from .likelihoods import Likelihood
from .model import VAEModule
from .objectives import ELBO, Objective
from .storage import describe, load_weights, rebuild
from .training import Learner, Step

SYNCING = (
    "_local_scalar_dense",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "multinomial",
    "nonzero",
    "repeat_interleave.Tensor",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "linalg_cholesky",
    "linalg_inv",
)
"""Operations that make the host wait for the device, or whose result's size depends on values."""


class HostSync(AssertionError):
    """An operation made the host wait for the device."""


class NoHostSync(TorchDispatchMode):
    """Within it, an operation that reads a tensor on the host raises HostSync: a stand-in for a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        overload = f"{name}.{func._overloadname}"
        if name in SYNCING or overload in SYNCING:
            raise HostSync(f"{overload} waits for the device: a training step must not")
        if name in ("index", "index_put", "index_put_") and any(
            t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]
        ):
            raise HostSync(f"{name} by a mask has a size that depends on values: use where")
        return func(*args, **(kwargs or {}))


def assert_no_sync(model: VAEModule, batch: Batch, objective: Objective | None = None) -> None:
    """One whole step (forward, every player's backward, optimisers, updates) never waits for the device, and its
    forward and backward run on the `meta` device, where a tensor made elsewhere is found out."""
    learner = copy.deepcopy(learner_of(model, objective))
    step, noise = Step(learner), Source.like(model)
    step(batch, noise)
    with NoHostSync():
        step(batch, noise)
    learner.to("meta")
    onto_meta = pytree.tree_map_only(Tensor, lambda t: t.to("meta"), batch)
    terms = learner(onto_meta, Blank("meta", noise.dtype))
    sum(terms.losses.values()).backward()


def learner_of(model: VAEModule, objective: Objective | None) -> Learner:
    """A learner on the model's device and in its type."""
    like = Source.like(model)
    return Learner(model, objective or ELBO()).to(like.device, like.dtype)


class Blank:
    """Noise without values, for shapes on any device."""

    def __init__(self, device: str, dtype: torch.dtype):
        self.device, self.dtype = device, dtype

    def randn(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(tuple(shape), device=self.device, dtype=self.dtype)

    rand = randn


def assert_config_round_trip(part: Component, run: Callable[[Any], Tensor]) -> None:
    """Described, rebuilt and given its weights, a part computes the same: `run(part)` is equal to the bit."""
    own = externals(part)
    like = Source.like(part)
    again = rebuild(describe(part), own).to(like.device, like.dtype)
    load_weights(again, part.state_dict(), "the part's own weights")
    again.train(part.training)
    for name, value in describe(part).items():
        assert describe(again)[name] == value, f"{name} came back as {describe(again)[name]!r}, not {value!r}"
    assert torch.equal(run(part), run(again)), f"{type(part).__name__} computes something else after a round trip"


def externals(part: Component, path: str = "") -> dict[str, nn.Module]:
    """The user's own modules inside a part, by the path its description gives them."""
    found: dict[str, nn.Module] = {}
    for name, value in part.arguments().items():
        here = f"{path}.{name}".lstrip(".")
        for key, item in enumerate(value) if isinstance(value, nn.ModuleList) else [(None, value)]:
            where = here if key is None else f"{here}.{key}"
            if isinstance(item, Component):
                found |= externals(item, where)
            elif isinstance(item, nn.Module):
                found[where] = item
    return found


def every_binary_row(size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """(2^size, size): all of them."""
    return torch.tensor([[i >> j & 1 for j in range(size)] for i in range(2**size)], dtype=dtype)


@torch.no_grad()
def assert_unbiased(model: VAEModule, draws: int = 2000, seed: int = 0, errors: float = 4.0) -> float:
    """`sum_x E exp(log_lik + log_ratio) = 1` over all 2^D binary rows, within `errors` standard errors.

    For a model of binary rows of at most 10 cells in evaluation mode whose `latent.ratio` is "exact"; a "bound" must
    not sum to more than 1. Returns the sum. An importance weight needs a posterior that is wider than the true one.
    """
    shape = model.likelihood.shape
    x = every_binary_row(math.prod(shape), Source.like(model).dtype).reshape(-1, *shape)
    out = model.eval()(Batch(x), Source.like(model, seed), draws=draws)
    sums = out.log_weight.unflatten(0, (draws, -1)).exp().sum(1)
    mean, error = float(sums.mean()), float(sums.std() / math.sqrt(draws))
    assert error < 0.05, f"the weights vary too much to tell (standard error {error:.3f}): take more draws"
    slack = errors * error + 1e-9
    if model.latent.ratio == "exact":
        assert abs(mean - 1) <= slack, f"estimates of p(x) sum to {mean:.4f} ± {error:.4f} over all x, expected 1"
    else:
        assert mean <= 1 + slack, f"estimates of p(x) sum to {mean:.4f} ± {error:.4f} over all x, more than 1"
    return mean


def assert_rows_independent(model: VAEModule, batch: Batch) -> None:
    """A row's log-weight is its own: the same in another order and in another batch, at equal noise."""
    model = model.eval()
    recorder = Recorder(Source.like(model))
    with torch.no_grad():
        whole = model(batch, recorder).log_weight
        order = torch.arange(len(batch.x)).flip(0)[: max(1, len(batch.x) - 1)]
        rows = pytree.tree_map_only(Tensor, lambda t: t[order], batch)
        tape = [t[order] if len(t) == len(batch.x) else t for t in recorder.tape]
        part = model(rows, ReplayNoise(tape)).log_weight
    torch.testing.assert_close(part, whole[order], rtol=1e-9 if whole.dtype == torch.float64 else 1e-4, atol=1e-6)


def assert_padding_is_nothing(model: VAEModule, batch: Batch, objective: Objective | None = None) -> None:
    """A row of weight 0 changes no loss, no gradient and no update, whatever it holds."""
    weight = torch.ones(len(batch.x), dtype=batch.x.dtype)
    weight[-1] = 0
    other = batch.x.clone()
    other[-1] = batch.x[0]
    learner = learner_of(model, objective).train()
    recorder = Recorder(Source.like(model))
    outcomes = []
    for x in (batch.x, other):
        noise = recorder if not recorder.tape else ReplayNoise(recorder.tape)
        terms = learner(replace(batch, x=x, weight=weight), noise)
        gradients = _gradients(learner, terms.losses)
        outcomes.append({**terms.losses, **gradients, **terms.updates})
    for name, value in outcomes[0].items():
        torch.testing.assert_close(value, outcomes[1][name], rtol=1e-9, atol=1e-12, msg=f"padding changes {name}")


def _gradients(learner: Learner, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named, found = dict(learner.named_parameters()), {}
    for who, names in learner.param_groups().items():
        gradients = torch.autograd.grad(losses[who], [named[n] for n in names], retain_graph=True, allow_unused=True)
        found |= {f"{who}:{n}": g for n, g in zip(names, gradients) if g is not None}
    return found


def assert_players_own_gradients(model: VAEModule, batch: Batch, objective: Objective) -> None:
    """In a step each player moves along the gradient of its own loss, and no parameter has two players."""
    learner = learner_of(model, objective)
    players = learner.param_groups()
    names = [n for own in players.values() for n in own]
    assert len(names) == len(set(names)), "a parameter belongs to two players"
    recorder = Recorder(Source.like(model))
    expected = _gradients(learner, learner(batch, recorder).losses)
    _, gradients = Step(learner).turn(players).program.eager(batch, ReplayNoise(recorder.tape))
    for who, own in players.items():
        for name, got in zip(own, gradients[who]):
            want = expected.get(f"{who}:{name}")
            assert (want is None) == (got is None), f"{name}: a gradient where none is due, or none where one is"
            if want is not None:
                torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12, msg=f"{name} got another gradient")


@torch.no_grad()
def assert_likelihood(likelihood: Likelihood, x: Tensor, draws_within: bool = True) -> None:
    """A likelihood's contract on rows x of its support: shapes, finite values, draws within the support (draws_within;
    a Gaussian around a bounded mean leaves it), and a description that comes back."""
    parameters = torch.zeros(len(x), *likelihood.in_shape, dtype=x.dtype)
    px = likelihood(parameters)
    cells = px.log_prob(x)
    assert cells.shape[0] == len(x), f"log_prob gives {tuple(cells.shape)} for {len(x)} rows"
    assert bool(cells.isfinite().all()), "log_prob is not finite within the support"
    scope = ForwardContext.of(Source(0, x.device, x.dtype))
    drawn = px.draw(scope)
    assert drawn.shape == x.shape, f"draw gives {tuple(drawn.shape)}, expected {tuple(x.shape)}"
    if draws_within:
        likelihood.check(drawn)
    features = likelihood.features(x)
    assert tuple(features.shape[1:]) == likelihood.features_shape, "features_shape is not what features gives"
    assert px.mean.shape == x.shape, f"mean gives {tuple(px.mean.shape)}, expected {tuple(x.shape)}"
    assert_config_round_trip(likelihood, lambda part: part(parameters).log_prob(x))


@torch.no_grad()
def assert_distribution(family: Distribution, grid: Tensor, draws: int = 20_000, seed: int = 0) -> None:
    """A family's laws on one cell: it sums or integrates to 1 over the grid, its draws follow that mass, and `detach`
    and `map` keep it.

    family: parameters of shape (1, 1), one row of one cell. grid: (G,), all values of a mass; or evenly spaced points
    that cover a density, whose spacing is its width.
    """
    spacing = grid.diff()
    even = len(grid) > 2 and bool(torch.allclose(spacing, spacing[0].expand_as(spacing)))
    whole = bool((grid == grid.round()).all())
    width = 1.0 if whole or not even else float(spacing[0])
    mass = family.log_prob(grid.reshape(-1, 1)).reshape(-1).exp() * width
    assert mass.shape == grid.shape, "log_prob must give one number per row and cell: do not sum over rows"
    assert abs(float(mass.sum()) - 1) < 1e-3, f"the family sums to {float(mass.sum()):.5f} over the grid, expected 1"
    many = family.map(lambda t: t.expand(draws, *t.shape[1:]) if t.dim() else t)
    drawn = many.draw(ForwardContext.of(Source(seed, grid.device, grid.dtype))).reshape(-1)
    assert drawn.shape == (draws,), f"draw gives {tuple(drawn.shape)} for {draws} rows of one cell"
    expected = mass.cumsum(0)
    seen = (drawn.sort().values[:, None] <= grid[None, :] + (0 if whole else 0.5 * width)).double().mean(0)
    gap = float((seen - expected).abs().max())
    assert gap < 4 / math.sqrt(draws) + 2e-3, (
        f"draws and log_prob disagree: their distribution functions differ by {gap:.4f}"
    )
    for same in (family.detach(), family.map(lambda t: t)):
        assert torch.equal(same.log_prob(grid.reshape(-1, 1)), family.log_prob(grid.reshape(-1, 1)))


@torch.no_grad()
def assert_bounded_draws(family: Distribution, most: float | Tensor, rows: int | None = None, seed: int = 0) -> None:
    """Draws of a family of real numbers are finite, within [-most, most], and have a finite density.

    Where the family is a chain of `transforms`, the inverse of each leads back to where a draw came from.

    Parameters
    ----------
    family : Distribution
        With one row per draw, or parameters without a batch dimension and `rows`.
    most : float or Tensor
        The bound, or one per number of a draw.
    rows : int or None, default=None
        Draws of a family without a batch dimension.
    seed : int, default=0
        Random seed of the draws.

    Raises
    ------
    AssertionError
        If a draw or its density is not finite, a draw is beyond the bound, or an inverse leads elsewhere.
    """
    first = next(t for t in pytree.tree_leaves(family) if isinstance(t, Tensor))
    z = family.draw(ForwardContext.of(Source(seed, first.device, first.dtype)), rows)
    assert bool(z.isfinite().all()), "a draw is not finite"
    beyond = (z.abs() / most).max()
    assert float(beyond) <= 1, f"a draw is {float(beyond):.3g} times as large as its bound"
    assert bool(family.log_density(z).isfinite().all()), "the log-density of a draw is not finite"
    tolerance = 1e-6 if z.dtype == torch.float64 else 1e-2
    for transform in reversed(getattr(family, "transforms", ())):
        before, log_det = transform.inverse(z)
        again, forward = transform.forward(before)
        torch.testing.assert_close(again, z, rtol=tolerance, atol=tolerance, msg=f"{type(transform).__name__}: inverse")
        if z.dtype == torch.float64:  # log |det| of a steep map differs by more than the rounding of z in fp32
            torch.testing.assert_close(forward, log_det, rtol=tolerance, atol=tolerance)
        z = before


@torch.no_grad()
def assert_finite_at_large_weights(
    model: VAEModule, batch: Batch, factors: Sequence[float] = (1, 3, 10, 30), seed: int = 0
) -> None:
    """With all parameters multiplied by a factor, draws of the prior and of the posterior are finite, and so are their
    densities.

    Parameters
    ----------
    model : VAEModule
        Of any composition. It is left as it is.
    batch : Batch
        Rows to infer codes of.
    factors : sequence of float, default=(1, 3, 10, 30)
        Of all parameters.
    seed : int, default=0
        Random seed of the draws.

    Raises
    ------
    AssertionError
        If a number is not finite.
    """
    for factor in factors:
        large = copy.deepcopy(model).eval()
        for parameter in large.parameters():
            parameter.mul_(factor)
        z = large.generate(256, Source.like(large, seed), batch.context)
        draw = large(batch, Source.like(large, seed), draws=8).draw
        numbers = {
            "a draw of the prior": z,
            "a draw of the posterior": draw.z,
            "log p(z) - log q(z | x)": draw.log_ratio,
        }
        for name, value in numbers.items():
            finite = value is None or bool(value.isfinite().all())
            assert finite, f"{name} is not finite with parameters {factor} times as large"
