"""What figures depend on, and whether two evaluations can stand side by side."""

from __future__ import annotations

import hashlib
import textwrap
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor

from ..data.rows import AbstractRows
from ..data.spec import pieces
from ..data.stored import Stored
from ..likelihoods import Likelihood
from .figures import Evaluation, Figure, plain, table


@dataclass(frozen=True)
class Protocol:
    """What an evaluation's figures depend on beside the model.

    data: kind, type and shape of the rows. rows, rows_sha256: how many were scored, and the digest of the values of all
    that were given, in their own units. given: "nothing", or the digest of the context beside them. preprocessing: from
    the data's units to the model's. likelihood: which. measure: what its logarithm is: a probability, a density in the
    data's units, or no likelihood. binarisation: "none", or the digest of the rows as they were drawn or cut. draws: k
    of the importance-weighted bound. seed: of the draws of z.
    """

    data: str
    rows: int
    rows_sha256: str
    given: str
    preprocessing: str
    likelihood: str
    measure: str
    binarisation: str
    draws: int
    seed: int

    @classmethod
    def of(
        cls,
        given: AbstractRows,
        likelihood: Likelihood,
        caveat: str | None,
        *,
        scored: int,
        binarised: str | None,
        draws: int,
        seed: int,
    ) -> Protocol:
        """The protocol of scoring so many of the rows given by this likelihood. binarised: the digest of what x was
        drawn as."""
        spec, context = given.spec, getattr(given, "context", None)
        return cls(
            data=str(spec),
            rows=scored,
            rows_sha256=_digest(given.x),
            given="nothing" if context is None else f"context, {_digest(context)}",
            preprocessing=_affine(spec.offset, spec.scale),
            likelihood=_named(likelihood),
            measure=_measure(likelihood, caveat),
            binarisation="none" if binarised is None else binarised,
            draws=draws,
            seed=seed,
        )

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        shown = {f.name: _short(getattr(self, f.name)) for f in fields(self)}
        words = f"protocol: {'; '.join(f'{name} {value}' for name, value in shown.items())}"
        return "\n".join(textwrap.wrap(words, 96, initial_indent="  ", subsequent_indent="    "))


def _digest(x: Tensor | Stored) -> str:
    """SHA-256 of the values in fp64, whatever type they are held in."""
    sha = hashlib.sha256(str(tuple(x.shape)).encode())
    for part in pieces(x):
        sha.update(part.cpu().double().contiguous().numpy())
    return sha.hexdigest()


def _affine(offset: tuple[float, ...], scale: tuple[float, ...]) -> str:
    if len(offset) > 1 or len(scale) > 1:
        return f"each of {max(len(offset), len(scale))} columns less its mean, by its deviation, as in fit"
    if (offset[0], scale[0]) == (0.0, 1.0):
        return "none"
    return f"(x - {offset[0]:g}) / {scale[0]:g}"


def _named(likelihood: Likelihood) -> str:
    own = {n: v for n, v in likelihood.arguments().items() if n != "shape" and not isinstance(v, torch.nn.Module)}
    return f"{type(likelihood).__name__}({', '.join(f'{n}={v!r}' for n, v in own.items() if v is not None)})"


def _measure(likelihood: Likelihood, caveat: str | None) -> str:
    density = "a density in the data's units"
    if caveat is None:
        given = " given the row's total" if likelihood.given_total else ""
        return density if likelihood.density else f"a probability{given}"
    return f"{density}, of whole numbers" if likelihood.density else f"no likelihood, {_named(likelihood)}"


def _short(value: object) -> str:
    """A digest by its first letters."""
    text = str(value)
    return " ".join(w[:12] if len(w) == 64 and w.isalnum() else w for w in text.split(" "))


ALIKE = {
    "rows": "evaluate both on all of the same rows",
    "rows_sha256": "evaluate both on the same rows, in the same order and units",
    "given": "log p(x) and log p(x given context) differ: give both models the same context, or neither",
    "measure": "a probability, a density and a loss have no common scale: give both models likelihoods of one sort",
    "binarisation": "give both models the same likelihood's binarise=, or rows that are binarised already",
    "draws": "the bound rises with k: evaluate both with the same draws=",
}
"""The fields in which two evaluations must agree to be compared, and what to do where they do not."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """Differences first less second on the same rows, with the standard errors of these differences."""

    figures: dict[str, Figure]
    protocol: Protocol

    def __getitem__(self, name: str) -> float:
        return self.figures[name].value

    def to_dict(self) -> dict[str, object]:
        return {"figures": plain(self.figures), "protocol": self.protocol.to_dict()}

    def __str__(self) -> str:
        said = f"first less second, on the same {self.protocol.rows:,} rows, k = {self.protocol.draws}"
        return "\n".join([said, *table(self.figures)])

    __repr__ = __str__


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """How far two evaluations of the same rows are apart, row by row, with paired standard errors.

    What makes a row hard for both models cancels, so that the error is that of `first - second` over rows, smaller
    than the two errors suggest. Raises ValueError where the protocols differ in a field of `ALIKE`, with both values
    and what to do, or where one has none.
    """
    a, b = first.protocol, second.protocol
    if a is None or b is None or not first.per_row or not second.per_row:
        raise ValueError("compare reads evaluations of rows: pass what vae.evaluate(x) returns")
    apart = [n for n in ALIKE if getattr(a, n) != getattr(b, n)]
    if apart:
        told = (f"{n} ({_short(getattr(a, n))}; {_short(getattr(b, n))}): {ALIKE[n]}" for n in apart)
        raise ValueError(f"these evaluations differ in more than the model: {'. '.join(told)}")
    figures = {
        name: Figure.mean(values - second.per_row[name], first.figures[name].unit, first.figures[name].meaning)
        for name, values in first.per_row.items()
        if name in second.per_row
    }
    return Comparison(figures, a)
