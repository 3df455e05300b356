"""Training in a loop of one's own: `train` yields after each step."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..core import LocalDraws, is_trainable, public, trainable_copy
from ..data.lazy_rows import as_data
from ..data.rows import AbstractRows, as_rows
from ..data.spec import DataSpec
from ..model import VAEModule
from ..networks import Network
from ..objectives import ELBO, Objective
from .adam import Adam
from .build import build_learner
from .distributed import join
from .learner import Learner
from .loop import Training
from .recovery import guarded
from .start import prepare, sample_of, start


@public
def train(
    model: VAEModule,
    x: object,
    objective: Objective | None = None,
    *,
    epochs: int = 50,
    batch_size: int = 128,
    adam: Adam | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Iterator[Training]:
    """Train a model in a loop of your own: the generator yields after each step.

    Sizes left open in the model are filled in; the model that is trained is `training.learner.model`. Its averaged
    weights, where `adam` asks for them, are put into it by ``training.step.settle()``.

    Parameters
    ----------
    model : VAEModule
        The model; its sizes may be open.
    x : array, tensor or path
        Rows (N, ...), or a source larger than memory, see `vaekit.data.lazy_rows`. What they are is inferred.
    objective : Objective or None, default=None
        What the model is trained for. ``None`` is the ELBO.
    epochs : int, default=50
        Passes over the rows.
    batch_size : int, default=128
        Rows per step.
    adam : Adam or None, default=None
        The optimizer. ``None`` is Adam with a learning rate of 1e-3.
    seed : int, default=0
        Random seed.
    device : str or torch.device, default="cpu"
        Device of the training.

    Yields
    ------
    Training
        The same object after each step, with `epoch`, `taken`, `epoch_ended` and `metrics()`.

    Raises
    ------
    ValueError
        If the model's likelihood does not explain the data.
    Diverged
        If training diverges after it went back once to its last good state with a tenth of the learning rate.

    Examples
    --------
    >>> for training in vk.train(model, x, vk.objectives.ELBO(), epochs=3):
    ...     if training.epoch_ended:
    ...         print(training.epoch, training.metrics())
    """
    join()  # which gives this process its device
    learner, rows = assemble(model, x, objective or ELBO(), seed=seed, device=device)
    yield from guarded(Training(learner, rows, epochs, batch_size, adam, seed))


def assemble(
    model: VAEModule, x: object, objective: Objective, *, seed: int, device: str | torch.device = "cpu"
) -> tuple[Learner, AbstractRows]:
    """A learner whose open sizes fit the data and which has seen a sample of them, and the rows it reads."""
    data, dtype = as_data(x)
    spec = DataSpec.infer(data, dtype).for_likelihood(model.likelihood.support, data)
    rows = as_rows(data, spec, device)
    with LocalDraws(seed):
        model = model if is_trainable(model) else trainable_copy(model)
        kept = [m for m in model.modules() if isinstance(m, Network) and any(True for _ in m.parameters())]
        learner = build_learner(model.resolve_shapes(spec.model_shape), objective, rows)
    sample = sample_of(rows, seed)
    start(learner.model, sample, seed, kept)
    prepare(learner.model, sample, seed)
    return learner, rows
