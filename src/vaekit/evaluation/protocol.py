"""What figures depend on, and whether two evaluations can stand side by side."""

from __future__ import annotations

import hashlib
import textwrap
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor

from ..data.lazy_rows import LazyRows
from ..data.rows import AbstractRows
from ..data.spec import pieces
from ..likelihoods import Likelihood


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
        shown = {f.name: short(getattr(self, f.name)) for f in fields(self)}
        words = f"protocol: {'; '.join(f'{name} {value}' for name, value in shown.items())}"
        return "\n".join(textwrap.wrap(words, 96, initial_indent="  ", subsequent_indent="    "))


def _digest(x: Tensor | LazyRows) -> str:
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


def short(value: object) -> str:
    """A digest by its first letters."""
    text = str(value)
    return " ".join(w[:12] if len(w) == 64 and w.isalnum() else w for w in text.split(" "))
