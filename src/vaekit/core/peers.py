"""The processes that share a batch: how a part reaches the rows that are not its own."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Peers(Protocol):
    """The processes of a training, each with an equal share of every batch's rows. No gradient passes between them."""

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over the processes."""
        ...

    def gather(self, rows: Tensor) -> Tensor:
        """(b, ...) of each process -> (B, ...), in the order of the batch."""
        ...

    def share(self, rows: Tensor) -> Tensor:
        """(B, ...) -> the rows (b, ...) that are this process's own."""
        ...


class Alone:
    """One process: its rows are all there are."""

    def total(self, tensor: Tensor) -> Tensor:
        return tensor

    def gather(self, rows: Tensor) -> Tensor:
        return rows

    def share(self, rows: Tensor) -> Tensor:
        return rows


ALONE = Alone()


def peers_of(noise: object) -> Peers:
    """The processes that a noise was drawn among."""
    return getattr(noise, "peers", ALONE)
