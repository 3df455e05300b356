"""The one way by which a learner is made: parts, sizes, first weights, and a first look at the rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import nn

from ..core import Batch, Component, LocalDraws, trainable_copy
from ..data.covariates import context_shape
from ..data.rows import AbstractRows
from ..data.spec import DataSpec
from ..latents import Prior, StandardNormal
from ..likelihoods import Likelihood
from ..likelihoods.unit import reading
from ..model import VAEModule
from ..networks import MLP, Adapter, Network, as_network, ends_in, gives_probabilities, initialise
from ..objectives import Objective, PriorFit, PriorOnly
from ..recipes import RECIPES, Parts, Pretraining
from .config import VAEConfig
from .distributed import Processes, join
from .jobs import Job
from .learner import Learner
from .loop import Training
from .prior import start_prior, with_prior
from .splitting import Draft, drafted
from .start import prepare, sample_of, start
from .trainer import Display, Silent, fit

PARTS = ("encoder", "decoder", "latent", "likelihood", "objective", "context")
"""Settings that replace a part of the recipe."""
CODES = 10_000
"""Rows whose codes a prior starts from after a pre-training."""


def build_learner(
    model: VAEModule,
    objective: Objective,
    rows: AbstractRows,
    *,
    seed: int = 0,
    initialiser: str | None = None,
    kept: Collection[nn.Module] = (),
) -> Learner:
    """A learner of a settled model for rows, on their device: that of `fit`, sweeps, `fit_prior` and `train`.

    Parameters
    ----------
    model : VAEModule
        The model, its sizes known.
    objective : Objective
        What it is trained for. Takes the number of rows and of labels from the rows.
    rows : AbstractRows
        Training rows.
    seed : int
        Seed of the first weights.
    initialiser : {"glorot", "he", "torch"} or None
        How the networks of model and objective are initialised. ``None`` leaves their weights.
    kept : collection of Module
        Networks that keep their weights.

    Raises
    ------
    ValueError
        If the rows have labels of another number of classes than the model.
    """
    learner = Learner(model, objective.resolve_shapes(**_counts(rows, model)))
    if initialiser is not None:
        new = nn.ModuleList(m for m in networks_in(learner) if m not in kept)
        initialise(new, initialiser, torch.Generator().manual_seed(seed))
    return learner.to(rows.device)


def learner_for(config: VAEConfig, rows: AbstractRows, job: Job | None = None, draft: Draft | None = None) -> Learner:
    """A new learner by the settings of a VAE, ready to be trained on rows.

    Everything random comes from `config.seed`. Networks without weights are initialised, the likelihood and the latent
    start from a sample of the rows, and a recipe that trains for another objective first does so.

    Parameters
    ----------
    config : VAEConfig
        The settings.
    rows : AbstractRows
        Training rows.
    job : Job
        Of the training to come. A pre-training has a folder of its own in there.
    draft : Draft or None
        What `splitting.split` has built for these rows. ``None`` builds it.
    """
    job = job or Job()
    draft = draft or drafted(config, rows.spec)
    with draft.draws:
        parts = _replaced(config, draft.parts, rows.spec)
        kept = {m for part in vars(parts).values() for m in networks_in(part) if any(True for _ in m.parameters())}
        model = _model(config, parts, rows.spec, job.display)
        settings = {"seed": config.seed, "initialiser": config.initialiser}
        learner = build_learner(model, parts.objective, rows, **settings, kept=kept)
    sample = sample_of(rows, config.seed)
    if config.privacy is not None:
        _prepare_privately(learner, parts, sample, config.seed)
    else:
        start(learner.model, sample, config.seed, kept)
        if parts.pretraining is not None:
            learner = _pretrained(learner, parts.pretraining, config, rows, job)
        else:
            prepare(learner.model, sample, config.seed)
            if parts.start is not None:
                parts.start(learner.model, sample, config.seed)
    learner.model.low_precision = config.low_precision
    return learner


def resumed_learner(module: VAEModule, objective: Objective, config: VAEConfig, rows: AbstractRows) -> Learner:
    """A learner that trains a fitted model further."""
    learner = Learner(module, objective).to(rows.device)
    learner.model.low_precision = config.low_precision
    return learner


def prior_learner(
    module: VAEModule, prior: Prior, objective: Objective | None, config: VAEConfig, rows: AbstractRows
) -> Learner:
    """A learner for a copy of a prior, in place of that of a trained model, started from the codes of rows."""
    with LocalDraws(config.seed):
        model = with_prior(module, prior, rows).to(rows.device)
        own = PriorFit() if objective is None else PriorOnly(trainable_copy(objective))
        new = networks_in(model.latent.get_submodule(model.latent.own_prior))
        kept = set(networks_in(model)) - set(new)
        settings = {"seed": config.seed, "initialiser": config.initialiser}
        learner = build_learner(model, own, rows, **settings, kept=kept)
    start_prior(model, rows, config.seed)
    return learner


def _replaced(config: VAEConfig, parts: Parts, spec: DataSpec) -> Parts:
    """The recipe's parts, replaced by copies of the given ones: fit never changes what it was given."""
    recipe = config.recipe_for(spec)
    if RECIPES[recipe.name].needs_context and spec.context is None:
        raise ValueError(
            f"recipe {recipe.name!r} reads context: pass fit(x, context=...), on the command line --context, or "
            "use recipe='vae'"
        )
    given = {n: getattr(config, n) for n in PARTS}
    for name in ("encoder", "decoder"):
        if given[name] is not None and not isinstance(given[name], Component):
            given[name] = as_network(given[name])  # before the copy: Keras cannot copy every model of its own
    own = vars(recipe.with_likelihood(parts, spec))
    own = {**own, **{n: trainable_copy(v) for n, v in given.items() if v is not None}}
    if config.decoder is not None and not isinstance(config.decoder, Component):
        own["likelihood"] = reading(own["likelihood"], ends_in(config.decoder), fixed=config.likelihood is not None)
    if own["context"] is None and len(context_shape(spec)) > 1:
        own["context"] = MLP((128,))
    return Parts(**own)


def _model(config: VAEConfig, parts: Parts, spec: DataSpec, display: Display) -> VAEModule:
    """A new model of these parts. If a user's decoder gives probabilities, its likelihood reads them."""

    def of(likelihood: Likelihood) -> VAEModule:
        model = VAEModule(parts.encoder, parts.latent, parts.decoder, likelihood, parts.context)
        return model.resolve_shapes(spec.model_shape, context_shape(spec) or 0)

    model = of(parts.likelihood)
    reads_logits = getattr(model.likelihood, "reads", None) == "logits"
    if not (reads_logits and isinstance(model.decoder, Adapter) and gives_probabilities(model.decoder)):
        return model
    display.tell("all outputs of the decoder lie in [0, 1], as after a sigmoid: they are read as probabilities")
    return of(reading(parts.likelihood, "sigmoid", fixed=config.likelihood is not None))


def _prepare_privately(learner: Learner, parts: Parts, sample: Batch, seed: int) -> None:
    """Show a sample to the model. Raises ValueError if its weights would start from training rows."""
    before = {n: t.clone() for n, t in learner.state_dict().items()}
    if parts.pretraining is not None:
        raise ValueError("this model cannot be trained privately: its recipe pre-trains it without noise")
    prepare(learner.model, sample, seed)
    begun = [n for n, t in before.items() if not torch.equal(t, learner.state_dict()[n])]
    if begun:
        raise ValueError(f"this model cannot be trained privately: {begun[0]} starts from training rows")


def _pretrained(learner: Learner, pretraining: Pretraining, config: VAEConfig, rows: AbstractRows, job: Job) -> Learner:
    """The learner of a model that was trained for another objective, with N(0, I) as its prior.

    Its own prior then starts from the codes.
    """
    model = learner.model
    first = Learner(with_prior(model, StandardNormal(), rows), pretraining.objective).to(rows.device)
    first.model.low_precision = config.low_precision
    regime = config.regime(rows.spec, len(rows))
    epochs, adam = min(pretraining.epochs, regime.epochs), config.adam(regime)
    training = Training(first, rows, epochs, regime.batch_size, adam, config.seed, processes=Processes())
    if join().rank == 0:  # every process trains all of it; the first one shows and writes
        job = replace(job.inside("pretraining"), callbacks=())
    else:
        job = replace(job, folder=None, display=Silent(), callbacks=())
    job.display.tell(f"pre-training: {epochs} epochs")
    ended = fit(training, **job.arguments(), **{**config.pace(), "patience": None})[0].ended
    if ended == "interrupted":
        raise KeyboardInterrupt
    if ended == "time limit":
        raise TimeoutError("max_seconds ended within the pre-training: no model was fitted; give it more time")
    job.display.tell("training")
    own = model.latent.get_submodule(model.latent.own_prior)
    model = with_prior(first.model, own, rows).to(rows.device)
    prepare(model, sample_of(rows, config.seed, CODES), config.seed)
    return Learner(model, learner.objective)


def _counts(rows: AbstractRows, model: VAEModule) -> dict[str, int]:
    """What an objective may ask of the rows. Raises ValueError for labels of another number of classes."""
    if rows.spec.labels is None:
        return {"rows": len(rows)}
    if model.latent.classes != len(rows.spec.labels):
        raise ValueError(
            f"the model tells {model.latent.classes} classes and y holds {len(rows.spec.labels)}, {rows.spec.labels}: "
            f"build it for as many, as vk.recipes.m2(classes={len(rows.spec.labels)}) does"
        )
    return {"rows": len(rows), "labelled": int(rows.label.sum())}


def networks_in(part: object) -> list[Network]:
    return [m for m in part.modules() if isinstance(m, Network)] if isinstance(part, nn.Module) else []
