"""Callbacks: objects that training calls after each epoch, and that may stop it."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..paths import expanded
from ..printable import printable
from ..settings import Number, SettingError, checked

Record = dict[str, Any]


@runtime_checkable
class Callback(Protocol):
    """What `fit(callbacks=[...])` takes: any object with this method.

    Several processes that train one model call it in the first one only.
    """

    def on_epoch_end(self, record: Record) -> bool | None:
        """Called after each epoch.

        Parameters
        ----------
        record : dict
            A copy of the epoch's line of history: `epoch`, `step`, `elbo` and other metrics of the training rows, those
            of held-out rows as `val_*`, `lr`, `seconds`. With `seeds`, means over the models.

        Returns
        -------
        bool or None
            ``True`` stops training, with ``ended_ == "stopped early"``. Anything else continues.
        """
        ...


class CSVLogger:
    """Writes one line per epoch into a CSV file.

    Parameters
    ----------
    path : str or Path
        The file. Epoch 1 starts it anew; a resumed training appends to it.

    Examples
    --------
    >>> vae.fit(x, callbacks=[vk.training.CSVLogger("losses.csv")])
    """

    def __init__(self, path: str | Path):
        self.path = expanded(path)

    def on_epoch_end(self, record: Record) -> None:
        """Append the record; see `Callback`."""
        columns = self._columns()
        new = record["epoch"] == 1 or columns is None
        with self.path.open("w" if new else "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(record) if new else columns, extrasaction="ignore", restval="")
            if new:
                writer.writeheader()
            writer.writerow(record)

    def _columns(self) -> list[str] | None:
        """The columns of the file; None where there is none."""
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return None
        with self.path.open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), None)


class TensorBoardLogger:
    """Writes the numbers of each epoch for TensorBoard.

    Parameters
    ----------
    folder : str or Path
        The folder of this run: ``tensorboard --logdir`` its parent.

    Raises
    ------
    ImportError
        If tensorboard is not installed.
    """

    def __init__(self, folder: str | Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoardLogger needs tensorboard: pip install tensorboard") from error
        self.writer = SummaryWriter(str(expanded(folder)))

    def on_epoch_end(self, record: Record) -> None:
        """Write the record; see `Callback`."""
        for name, value in record.items():
            if isinstance(value, (int, float)) and name != "epoch":
                group = "held-out" if name.startswith("val_") else "training"
                self.writer.add_scalar(f"{group}/{name.removeprefix('val_')}", value, record["epoch"])
        self.writer.flush()


class TimeBudget:
    """Stops training after the first epoch that ends later than a number of seconds.

    Parameters
    ----------
    seconds : float
        Wall-clock seconds, from when this object is made. `fit(max_seconds=...)` also stops within an epoch.
    """

    def __init__(self, seconds: float):
        rule = Number(0.0, open_low=True, words="a positive number of seconds")
        self.end = time.monotonic() + checked("seconds", seconds, rule)

    def on_epoch_end(self, record: Record) -> bool:
        """Whether the time is over; see `Callback`."""
        return time.monotonic() >= self.end


def check_callbacks(callbacks: object) -> tuple[Callback, ...]:
    """The callbacks as a tuple. Raises SettingError for anything but a list of objects with `on_epoch_end`."""
    if isinstance(callbacks, Sequence) and not isinstance(callbacks, str):
        if all(isinstance(c, Callback) and not isinstance(c, type) for c in callbacks):
            return tuple(callbacks)
    shown = printable(repr(callbacks))
    raise SettingError(
        f"callbacks={shown[:60]}: expected a list of objects with a method on_epoch_end(record), such as "
        '[vk.training.CSVLogger("losses.csv")]'
    )
