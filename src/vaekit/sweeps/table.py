"""The result of `vaekit.sweep`."""

from __future__ import annotations

from ..core import public_methods
from ..report.page import Page
from . import page
from .results import SweepResult


@public_methods
class Sweep(SweepResult):
    """The result of `vaekit.sweep`. Prints as a table with a line per configuration.

    rows: a record per model: the swept settings, `seed`, `folder`, how its training `ended` ("diverged" with the step,
    `diverged_at`), and its figures. vaes: the fitted models in the same order; None where one diverged or was not
    begun. on: the rows that the figures were taken on. notes: what to know before figures are compared.
    """

    def report(self) -> Page:
        """A page with the table, the plane of rate and distortion, and training: `.save(path)` writes one file."""
        return page.report(self)
