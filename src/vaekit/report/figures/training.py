"""Figures of training: what each epoch came to, of one model or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...core import public
from ..paper import ACCENT, SERIES, SOFT, key, key_height, lines_key, name_axes, panels_of, steady

CURVES = {"elbo": "ELBO", "distortion": "Distortion", "rate": "Rate"}
PANEL = {"width": 260.0, "height": 186.0}


@public
def training_curves(history: Sequence[Mapping[str, float]], names: Sequence[str] | None = None) -> Figure:
    """ELBO, distortion and rate over epochs, in nats, a panel each: in training, and held out where there is one.

    history: a record per epoch, as in `VAE.history_`. names: the records to draw; None: those that are there.
    """
    names = curves_in(history) if names is None else list(names)
    if not names:
        raise ValueError("expected a history with elbo, distortion or rate in its records, got none: fit first")
    figure, panels = panels_of([f"{CURVES.get(n, n)}, nats" for n in names], columns=len(names), **PANEL)
    epochs = [r["epoch"] for r in history]
    for axes, name in zip(panels, names):
        kinds = (("training", name, SOFT), ("held-out", f"val_{name}", ACCENT))
        lines = []
        for label, column, color in kinds:
            if any(column in r for r in history):
                values = [r.get(column, np.nan) for r in history]
                lines += axes.plot(
                    epochs, values, color=color, linewidth=1.8, marker=_marker(epochs), markersize=3.2, label=label
                )
        lines_key(axes, lines)
        steady(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        name_axes(axes, "epoch", "")
    return figure


@public
def training_path(history: Sequence[Mapping[str, float]]) -> Figure:
    """Where training stood after each epoch, rate across and distortion upwards, held out where there is that."""
    prefix = "val_" if any("val_rate" in r for r in history) else ""
    path = np.array([[r.get(f"{prefix}rate", np.nan), r.get(f"{prefix}distortion", np.nan)] for r in history])
    figure, (axes,) = panels_of(["Distortion against rate, nats"], columns=1, **PANEL)
    axes.plot(*path.T, color=SOFT, linewidth=1.8, marker=_marker(path), markersize=3.2)
    axes.plot(*path[-1:].T, color=ACCENT, marker="o", markersize=6, linestyle="none")
    steady(axes)
    name_axes(axes, "rate; the last epoch in colour", "")
    return figure


@public
def curves_beside(
    histories: Mapping[str, Sequence[Mapping[str, float]]], name: str = "elbo", keyed: bool = True
) -> Figure:
    """One of ELBO, distortion and rate over epochs, of several models by name: held out where there is that.

    keyed: with the names at the foot. Raises ValueError where none of the histories has it.
    """
    names = list(histories) if keyed else []
    if not any(name in curves_in(history) for history in histories.values()):
        raise ValueError(f"expected histories with {name} in their records, got none: fit first")
    foot = key_height(names, PANEL["width"])
    figure, (axes,) = panels_of([f"{CURVES.get(name, name)}, nats"], columns=1, **PANEL, foot=foot)
    for color, history in zip(SERIES, histories.values()):
        held = f"val_{name}" if any(f"val_{name}" in r for r in history) else name
        epochs, values = [r["epoch"] for r in history], [r.get(held, np.nan) for r in history]
        axes.plot(epochs, values, color=color, linewidth=1.6, marker=_marker(epochs), markersize=3.2)
    steady(axes)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    name_axes(axes, "epoch", "")
    if keyed:
        key(figure, names, left=40)
    return figure


def _marker(epochs: Sequence[object]) -> str:
    """A dot per epoch where there are few."""
    return "o" if len(epochs) < 16 else ""


def curves_in(history: Sequence[Mapping[str, float]]) -> list[str]:
    """Which of ELBO, distortion and rate a history holds."""
    return [n for n in CURVES if any(np.isfinite(r.get(n, np.nan)) for r in history)]
