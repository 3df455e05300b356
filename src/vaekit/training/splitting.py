"""From what the user passes to `fit` to training rows, held-out rows and what was inferred from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core import LocalDraws
from ..data.covariates import NOTHING, Covariates
from ..data.frames import as_table, container_of, take
from ..data.lazy_rows import LazyRows, as_data
from ..data.missing_patterns import Patterns
from ..data.preprocessing import Preprocessor
from ..data.rows import AbstractRows, as_rows
from ..data.schema import Schema
from ..data.spec import DataSpec, has_gaps
from ..data.splits import held_out_mask
from ..model import VAEModule
from ..networks import SequenceEncoder
from ..paths import names_file
from ..recipes import Parts
from ..settings import SettingError
from .config import VAEConfig


@dataclass(frozen=True)
class Known:
    """What a fitted model says of rows: how it reads them, and itself."""

    preprocessor: Preprocessor
    module: VAEModule


@dataclass(frozen=True)
class Draft:
    """The parts that a recipe built for some data, and the generator that their building has drawn from so far."""

    parts: Parts
    draws: LocalDraws


@dataclass(frozen=True)
class Split:
    """Training rows and held-out rows. draft: what the recipe built, None where the model is there already."""

    rows: AbstractRows
    held: AbstractRows | None
    draft: Draft | None = None


def mask_of(config: VAEConfig, rows: int) -> Tensor:
    """(rows,), bool: which rows `fit` holds out.

    Raises
    ------
    SettingError
        If `validation` holds rows of its own.
    """
    if not config.share_held_out:
        raise SettingError("validation holds rows of its own: holds_out needs a share, such as validation=0.1")
    return held_out_mask(rows, config.validation, config.seed)


def _out(config: VAEConfig, rows: int) -> Tensor:
    """The same; none where other rows are held out, or a share of them comes to none or to all."""
    out = torch.zeros(rows, dtype=torch.bool)
    if isinstance(config.validation, (int, float)):
        out = mask_of(config, rows)
    return out & ~out.all()


def held_out(config: VAEConfig, x: object, known: Known | None = None) -> Any:
    """The rows of x that `fit(x)` holds out; None where it holds out none."""
    data = opened(config, x)
    if container_of(data) is not None:
        if not config.share_held_out:
            return config.validation
        out = _out(config, len(data)).numpy()
        return take(data, out) if out.any() else None
    held = split(config, x, known=known).held
    return held if held is None else held.x.cpu().numpy() if isinstance(held.x, Tensor) else held.x


@names_file
def split(
    config: VAEConfig,
    data: object,
    y: object = None,
    context: object = None,
    *,
    known: Known | None = None,
    schema: Schema | None = None,
) -> Split:
    """Training rows and held-out rows of data.

    Parameters
    ----------
    config : VAEConfig
        The settings.
    data : array, table or path
        Rows.
    y, context : array or None
        Classes, and context, of the rows.
    known : Known or None
        A fitted model, whose data these rows have to be like. ``None`` infers what they are from the training rows.
    schema : Schema or None
        Of a table, where it is known.
    """
    data, given = opened(config, data), config.validation
    schema = _schema(config, data, schema) if known is None else known.preprocessor.spec.schema
    x, dtype = cells(config, data, schema)
    out, held = _out(config, len(x)), None
    if out.any():
        held, x = x[out], x[~out]
    elif not config.share_held_out:
        if context is not None:
            raise ValueError("validation rows have no context of their own: hold out a share, validation=0.1")
        held = cells(config, given if schema is None else opened(config, given), schema)[0]
    draft = None
    if known is None:
        spec, labelled, draft = infer(config, x, dtype, schema)
    else:
        known.preprocessor.check_shape(tuple(x.shape[1:]))
        spec, labelled = known.preprocessor.spec, known.module.latent.labelled
    beside = Covariates.of(len(out), y if labelled else None, context)
    spec = spec if known is not None else beside.inferred(spec, ~out)
    if held is not None and tuple(held.shape[1:]) != spec.shape:
        raise ValueError(f"validation rows have shape {tuple(held.shape[1:])}, the training rows {spec.shape}")
    if spec.schema is not None and any(rows is not None and has_gaps(rows) for rows in (x, held)):
        spec = spec.with_missing()
    if known is None and spec.gappy and config.privacy is None:
        spec = replace(spec, patterns=_patterns(x, data, schema, ~out))
    device = config.torch_device()
    rows = as_rows(x, spec, device, beside[~out])
    if known is not None:
        rows = rows.checked(known.module.likelihood.check)
    held_rows = None if held is None else as_rows(held, spec, device, beside[out] if out.any() else NOTHING)
    return Split(rows, held_rows, draft)


def opened(config: VAEConfig, data: object) -> object:
    """The data, read into memory where they are the file of a table."""
    table = as_table(data) if config.reads_tables else None
    return data if table is None else table


def cells(config: VAEConfig, x: object, schema: Schema | None = None) -> tuple[Tensor | LazyRows, str]:
    """Checked rows in the data's units, of a table with this schema its cells, and the name of their type."""
    if schema is not None:
        return schema.rows_of(x, config.unknown), "float32"
    return as_data(x, allow_missing=config.missing)


def schema_of(config: VAEConfig, table: object, learned: NDArray | None = None) -> Schema | None:
    """The schema that `fit` infers from a table; None where it reads a table as an array.

    learned: (N,), bool, the rows that scales are taken from; None: all.
    """
    return Schema.infer(table, config.columns, learned) if config.reads_tables else None


def _schema(config: VAEConfig, data: object, given: Schema | None) -> Schema | None:
    """The schema of a table, its scales those of the training rows, or the one given; None for an array."""
    if container_of(data) is not None and config.reads_tables:
        return given or Schema.infer(data, config.columns, ~_out(config, len(data)).numpy())
    if given is not None:
        raise ValueError("schema=... is of tables, got an array: pass a data frame, and no likelihood")
    if config.columns is not None:
        raise ValueError(
            "columns=... is of tables, got an array: pass a data frame, pandas.DataFrame(x, columns=[...]), "
            "and no likelihood"
        )
    return None


def infer(config: VAEConfig, x: Tensor | LazyRows, dtype: str, schema: Schema | None) -> tuple[DataSpec, bool, Draft]:
    """What rows are, whether the model that is asked for reads labels, and what its recipe built."""
    spec = DataSpec.infer(x, dtype) if schema is None else DataSpec.of_table(schema)
    spec = spec.with_missing() if config.missing else spec
    draft = drafted(config, spec)
    series = isinstance(config.encoder or draft.parts.encoder, SequenceEncoder)
    if series and spec.without_images() != spec:
        spec = spec.without_images()
        draft = drafted(config, spec)
    with LocalDraws(0):
        likelihood = config.likelihood or config.recipe_for(spec).with_likelihood(draft.parts, spec).likelihood
    spec = spec.for_likelihood(likelihood.support, x, series=series)
    return spec, (config.latent or draft.parts.latent).labelled, draft


def drafted(config: VAEConfig, spec: DataSpec) -> Draft:
    """What the recipe builds for such data, from the config's seed."""
    draws = LocalDraws(config.seed)
    with draws:
        return Draft(config.recipe_for(spec).parts(config.latent_dim, spec), draws)


def _patterns(x: Tensor | LazyRows, data: object, schema: Schema | None, trained: Tensor) -> Patterns:
    """The patterns of missing cells of training rows x, which are those of the data."""
    if schema is not None and schema.partial:
        absent = torch.from_numpy(schema.absent(data))[trained]
        x = torch.cat([x, torch.zeros(absent.shape).masked_fill(absent, torch.nan)], 1)
    return Patterns.of(x)
