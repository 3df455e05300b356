"""From rows to codes, classes and posteriors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils import _pytree as pytree

from ..core import Noise, Source, ZeroNoise, public
from ..fitted import CHUNK, FittedVAE


@public
def encode(fitted: FittedVAE, x: object, context: object = None) -> NDArray:
    """Encode rows: the center of q(z | x), which is the posterior mean if q is normal. Deterministic.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Rows like those of fit.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N, latent numbers)
    """
    return encoded(fitted, x, context, ZeroNoise(Source.like(fitted.module)))


def encoded(fitted: FittedVAE, x: object, context: object, noise: Noise) -> NDArray:
    """The same by a draw of q(z | x) from this noise."""
    rows = fitted.rows(x, context)
    return fitted.gather(rows, lambda batch: fitted.module.infer(batch, noise).z.flatten(1)).numpy()


@public
def predict_proba(fitted: FittedVAE, x: object, context: object = None) -> NDArray:
    """Return the class probabilities q(class | x).

    Only for a model that has classes or clusters.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Rows like those of fit.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N, classes)
        In the order of `classes_`.
    """
    still = ZeroNoise(Source.like(fitted.module))
    rows = fitted.rows(x, context)
    return fitted.gather(rows, lambda batch: fitted.module.infer(batch, still).classes.exp()).numpy()


@public
def predict(fitted: FittedVAE, x: object, context: object = None) -> NDArray:
    """Return the most probable class, one of `classes_`, or the number of the most probable cluster.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Rows like those of fit.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    ndarray of shape (N,)
    """
    return fitted.classes[predict_proba(fitted, x, context).argmax(1)]


@public
def posterior(fitted: FittedVAE, x: object, context: object = None) -> torch.distributions.Distribution:
    """Return q(z | x) as a `torch.distributions` object.

    Parameters
    ----------
    x : array, sparse matrix, table or path
        Rows like those of fit.
    context : array or None, default=None
        Context of the rows, for a model that reads one.

    Returns
    -------
    torch.distributions.Distribution
        With batch shape (N,) or (N, ...).

    Raises
    ------
    TypeError
        If the posterior is neither normal nor categorical.
    """
    model, rows = fitted.module, fitted.rows(x, context)
    still = ZeroNoise(Source.like(model))
    with torch.no_grad():
        chunks = [model.infer(batch, still).q for batch in rows.batches(CHUNK)]
    if not hasattr(chunks[0], "to_torch"):
        raise TypeError(f"the posterior of {type(model.latent).__name__} has no torch.distributions form")
    return pytree.tree_map(lambda *parts: torch.cat(parts), *chunks).to_torch()


def as_codes(fitted: FittedVAE, z: NDArray) -> torch.Tensor:
    """Codes as a tensor on the model's device."""
    return torch.from_numpy(np.asarray(z)).to(fitted.device)
