"""Sections on the rows of a table that a model makes: how alike they are to real ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...evaluation.model_evaluation import judge_table
from ...fitted import FittedVAE
from .. import figures, page
from ..svg import inline

MOST = 20
"""Columns that a picture of pairs shows."""
ROWS = 2000
"""New rows that are judged."""


def synthetic(vae: FittedVAE, train: object, test: object) -> Iterator[page.Section]:
    """New rows beside training and test rows, where the model is one of a table and both are at hand."""
    if vae.spec.schema is None or train is None or vae.spec.context is not None:
        return
    found = judge_table(vae, train, test, n=ROWS)
    keep = np.sort(np.argsort(np.nan_to_num(found.shapes, nan=2.0), kind="stable")[:MOST])
    names = [str(found.names[i]) for i in keep]
    like = np.where(np.eye(len(names), dtype=bool), found.shapes[keep], found.pairs[np.ix_(keep, keep)])
    of = f" The {len(names)} columns that are least alike." if len(names) < len(found.names) else ""
    beside = {name: (figure, found.floor[name]) for name, figure in found.synthetic.items()}
    yield page.Section(
        "Synthetic rows",
        f"{found.rows['synthetic']:,} new rows beside {found.rows['test']:,} held-out ones, and as many training rows "
        "as the floor: what real rows come to in their place. Below the likeness of every column, on the diagonal, and "
        f"of every two, in percent: look for pale cells, which the model does not make.{of}",
        page.beside_table(beside, ("synthetic", "floor"))
        + inline(figures.shares(like, names, names, ("column", "column")), "pairs-of-columns", "Likeness of columns")
        + page.note(found.notes),
    )
