"""`vaekit sample`, `impute`, `score`, `embed`, `reconstruct` and the walks: rows, codes and scores of a run."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.frames import container_of, take
from ..data.labels import Classes
from ..estimators import VAE
from ..paths import expanded
from . import outputs
from .arg_types import UsageError
from .inputs import Part, beside
from .outputs import CommandResult
from .run_context import loaded, opened


def sample(args: Namespace) -> CommandResult:
    vae = loaded(args)
    path = _path(args, vae, "samples")
    known = {"mean": args.mean, "context": _asked(vae, args), "given": _given(vae, args.given), "gaps": args.gaps}
    rows = vae.sample(args.rows, seed=args.seed, **known)
    _write(path, vae, rows)
    return outputs.written(args, path, len(rows), f"{len(rows)} samples")


def _given(vae: VAE, words: list[str]) -> dict[Any, Any] | None:
    """Columns and their values, as the data have them: levels by their names, dates, numbers."""
    if not words:
        return None
    given: dict[Any, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        columns = {str(c.name): c for c in vae.spec_.schema.cells} if vae.spec_.schema is not None else {}
        column = columns.get(name)
        if column is not None and column.levels:
            levels = {str(level): level for level in column.levels}
            given[column.name] = levels.get(text, text)
        elif column is not None and column.kind == "datetime":
            given[column.name] = np.datetime64(text)
        else:
            key = name if column is None and not name.isdecimal() else int(name) if column is None else column.name
            given[key] = _number(name, text)
    return given


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--given {name}={text}: expected a number") from None


def impute(args: Namespace) -> CommandResult:
    vae, part = opened(args)
    table = vae.spec_.schema is not None
    path = outputs.chosen(args.output, Path(args.run, f"imputed.{'csv' if table else 'npy'}"), *outputs.TABLES)
    made = vae.impute(part.x, args.n, draws=args.draws, seed=args.seed, context=part.context)
    outputs.rows(path, made, several=args.n is not None)
    what = "filled" if args.n is None else f"filled {args.n} times"
    return outputs.written(args, path, len(part.x), f"{len(part.x):,} rows {what}, from {part.name}")


def score(args: Namespace) -> CommandResult:
    vae, part = opened(args)
    path = outputs.chosen(args.output, Path(args.run, "scores.csv"), *outputs.TABLES)
    settings = {"draws": args.draws, "seed": args.seed, "context": part.context}
    columns = {"score": vae.anomaly_score(part.x, args.by, **settings)}
    if args.explain:
        shares = vae.explain(part.x, args.by, **settings)
        flat = shares.reshape(len(shares), -1) if isinstance(shares, np.ndarray) and not shares.dtype.names else None
        columns |= dict(shares.items()) if flat is None else {f"cell{i}": column for i, column in enumerate(flat.T)}
    outputs.columns(path, columns)
    return outputs.written(args, path, len(part.x), f"{len(part.x):,} scores, from {part.name}")


def _path(args: Namespace, vae: VAE, name: str) -> Path:
    """Where rows of these data go, as one of the kinds of files that they can be written as."""
    kinds = (".png", ".npy", ".npz") if vae.spec_.schema is None else (".csv", ".parquet")
    return outputs.chosen(args.output, Path(args.run, name).with_suffix(outputs.suffix(vae.spec_)), *kinds)


def _write(path: Path, vae: VAE, rows: Any, across: int | None = None) -> None:
    """Rows as a table, a sheet of images, `across` in a line, or an array."""
    if vae.spec_.schema is not None:
        outputs.frame(path, rows)
    elif path.suffix.lower() == ".png":
        outputs.sheet(path, rows, vae.spec_, across=across)
    else:
        outputs.array(path, x=rows)


def embed(args: Namespace) -> CommandResult:
    path = outputs.chosen(args.output, Path(args.run) / "codes.npy", ".npy", ".npz", ".csv", ".parquet")
    vae, part = opened(args)
    codes = vae.transform(part.x, part.context)
    if path.suffix.lower() in (".csv", ".parquet"):
        outputs.table(path, codes)
    else:
        outputs.array(path, z=codes)
    return outputs.written(
        args, path, len(codes), f"{len(codes):,} codes of {codes.shape[1]} numbers, from {part.name}"
    )


def reconstruct(args: Namespace) -> CommandResult:
    vae, part = opened(args)
    path = _path(args, vae, "reconstructions")
    x = part.first(args.rows).x
    again = vae.reconstruct(x, None if part.context is None else part.context[: args.rows])
    if vae.spec_.schema is not None:
        outputs.frame(path, again)
    elif path.suffix.lower() == ".png":
        outputs.sheet(path, x, vae.spec_, below=again)
    else:
        outputs.array(path, x=x, reconstruction=again)
    return outputs.written(args, path, len(x), f"{len(x)} rows and their reconstructions, from {part.name}")


def _asked(vae: VAE, args: Namespace) -> object:
    """The context that samples are asked for: a class by its name, or what a file holds."""
    text, want = args.context, vae.spec_.context
    if text is None:
        return None
    if isinstance(want, Classes):
        named = {str(level): level for level in want.levels}
        if text in named:
            return named[text]
        if not expanded(text).exists():
            raise ValueError(f"--context {text}: expected a class, one of {want}, or a file of one for each row")
    rows = Part(range(args.rows), None, f"the sample of {args.rows} rows")
    return beside(text, rows, "context")


def interpolate(args: Namespace) -> CommandResult:
    vae, part = opened(args)
    a, b = (_row(part, number) for number in (args.a, args.b))
    known = None if part.context is None else part.context[args.a : args.a + 1]
    rows = vae.interpolate(a, b, steps=args.steps, path=args.path, context=known)
    rows = rows if vae.spec_.schema is not None else rows[0]
    return _walked(args, vae, "interpolation", rows, f"{args.path} from row {args.a} to row {args.b} of {part.name}")


def traverse(args: Namespace) -> CommandResult:
    if args.row is None and args.data is not None:
        raise UsageError("traverse takes DATA for --row N only; see `vaekit traverse --help`")
    vae, part = (loaded(args), None) if args.row is None else opened(args)
    x, where = (None, "the prior's centre") if part is None else (_row(part, args.row), f"row {args.row}")
    known = _asked(vae, args) if part is None else None if part.context is None else part.context[args.row][None]
    rows = vae.traverse(x, args.dimensions, args.steps, args.reach, context=known)
    if vae.spec_.schema is None:
        rows = rows[0].reshape(-1, *rows.shape[3:])
    moved = len(rows) // args.steps
    count = "1 dimension" if moved == 1 else f"{moved} dimensions"
    return _walked(args, vae, "traversal", rows, f"{count} moved around {where}")


def _row(part: Part, number: int) -> Any:
    """One row, as rows. Raises ValueError where there is none of that number."""
    if number >= len(part.x):
        raise ValueError(f"there is no row {number} in {part.name}: expected 0 to {len(part.x) - 1}")
    return take(part.x, np.array([number])) if container_of(part.x) else part.x[number : number + 1]


def _walked(args: Namespace, vae: VAE, name: str, rows: NDArray, what: str) -> CommandResult:
    path = _path(args, vae, name)
    _write(path, vae, rows, across=args.steps)
    return outputs.written(args, path, len(rows), what)
