"""What the user gives, as rows: those that a model is fitted to, those held out from them, those that it is used on."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.random import default_rng  # at the beginning: a Ctrl-C while numpy.random is imported is lost
from numpy.typing import NDArray
from torch import Tensor, nn

from .constraints import OF_VAE
from .core import LocalDraws
from .data.affine import UNSEEN
from .data.annotated import annotated, beside_of
from .data.beside import NOTHING, Beside, spread
from .data.containers import collected
from .data.frames import as_table, container_of, in_order, take
from .data.inference import Columns
from .data.labels import Classes
from .data.patterns import Patterns
from .data.rows import AbstractRows, as_rows
from .data.schema import Schema
from .data.spec import DataSpec, has_gaps, pieces
from .data.stored import Stored, as_data
from .data.unknown import Unknown
from .latents import AbstractLatent
from .likelihoods import Likelihood
from .manners import Manners
from .model import VAEModule
from .networks import SequenceEncoder
from .paths import names_file
from .recipes import RECIPES, Recipe, as_recipe
from .settings import SettingError, check_settings
from .sklearn_compat import not_fitted
from .training.privacy import Privacy


class Reading(Manners):
    """The part of an estimator that reads data.

    It reads the settings that say what the data are, which rows are held out, and what model is asked for; and of what
    fit leaves `module_` and `spec_`.
    """

    latent_dim: int | None
    encoder: nn.Module | None
    decoder: nn.Module | None
    latent: AbstractLatent | None
    likelihood: Likelihood | None
    columns: Columns | None
    unknown: Unknown
    privacy: Privacy | None
    validation: float | object
    warm_start: bool
    device: str
    seed: int
    module_: VAEModule
    spec_: DataSpec

    # -- rows to fit to ------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        """Raises SettingError for a setting with a value that it cannot have."""
        check_settings(self, OF_VAE)

    def held_out(self, x: object) -> Any:
        """The rows that `fit(x)` holds out to watch itself; None where `validation` is 0."""
        self._check_settings()
        data = self._opened(x)
        if container_of(data) is not None:
            if not isinstance(self.validation, (int, float)):
                return self.validation
            out = self._out(len(data)).numpy()
            return take(data, out) if out.any() else None
        held = self._split(x)[1]
        return held if held is None else held.x.cpu().numpy() if isinstance(held.x, Tensor) else held.x

    def holds_out(self, rows: int) -> Tensor:
        """(rows,): which of so many rows `fit` holds out, where `validation` is a share."""
        self._check_settings()
        if not isinstance(self.validation, (int, float, type(None))):
            raise SettingError("validation holds rows of its own: holds_out needs a share, such as validation=0.1")
        out = torch.zeros(rows, dtype=torch.bool)
        out[default_rng([self.seed, 2**31 + 1]).permutation(rows)[: round(rows * (self.validation or 0))]] = True
        return out

    def _out(self, rows: int) -> Tensor:
        """The same; none where rows of their own are held out, or a share of them comes to none or to all."""
        out = torch.zeros(rows, dtype=torch.bool)
        if isinstance(self.validation, (int, float)):
            out = self.holds_out(rows)
        return out & ~out.all()

    @names_file
    def _split(
        self,
        data: object,
        y: object = None,
        context: object = None,
        spec: DataSpec | None = None,
        schema: Schema | None = None,
    ) -> tuple[AbstractRows, AbstractRows | None]:
        """Training rows and held-out rows; what is inferred from the data, without a spec, is so from the former.

        schema: of a table, where it is known; None: inferred.
        """
        self._check_settings()
        data, given = self._opened(data), self.validation
        known = self.spec_ if spec is None and self._goes_on() else spec
        schema = self._schema(data, schema) if known is None else known.schema
        x, dtype = self._rows(data, schema)
        out, held = self._out(len(x)), None
        if out.any():
            held, x = x[out], x[~out]
        elif given is not None and not isinstance(given, (int, float)):
            if context is not None:
                raise ValueError("validation rows have no context of their own: hold out a share, validation=0.1")
            held = self._rows(given if schema is None else self._opened(given), schema)[0]
        if known is None:
            spec, labelled = self._inferred(x, dtype, schema)
        else:
            self._expect(tuple(x.shape[1:]))
            spec, labelled = known, self.module_.latent.labelled
        beside = Beside.of(len(out), y if labelled else None, context)
        spec = spec if known is not None else beside.inferred(spec, ~out)
        if held is not None and tuple(held.shape[1:]) != spec.shape:
            raise ValueError(f"validation rows have shape {tuple(held.shape[1:])}, the training rows {spec.shape}")
        if spec.schema is not None and any(rows is not None and has_gaps(rows) for rows in (x, held)):
            spec = spec.with_missing()
        if known is None and spec.gappy and self.privacy is None:
            spec = replace(spec, patterns=self._patterns(x, data, schema, ~out))
        device = self._device()
        rows = as_rows(x, spec, device, beside[~out])
        if known is not None:
            rows = rows.checked(self.module_.likelihood.check)
        return rows, None if held is None else as_rows(held, spec, device, beside[out] if out.any() else NOTHING)

    def _goes_on(self) -> bool:
        return self.warm_start and hasattr(self, "module_")

    def _opened(self, data: object) -> object:
        """The data, read into memory where they are the file of a table."""
        table = as_table(data) if self._reads_tables else None
        return data if table is None else table

    @property
    def _reads_tables(self) -> bool:
        """Whether the likelihood is left to follow the columns; one that is named reads a data frame as an array."""
        return self.likelihood is None and RECIPES[as_recipe(self.recipe or "table").name].of_columns

    def _schema(self, data: object, given: Schema | None = None) -> Schema | None:
        """The schema of a table, its scales those of the rows that are trained on, or the one given; None for an
        array."""
        if container_of(data) is not None and self._reads_tables:
            return given or Schema.infer(data, self.columns, ~self._out(len(data)).numpy())
        if given is not None:
            raise ValueError("schema=... is of tables, got an array: pass a data frame, and no likelihood")
        if self.columns is not None:
            raise ValueError(
                "columns=... is of tables, got an array: pass a data frame, pandas.DataFrame(x, columns=[...]), "
                "and no likelihood"
            )
        return None

    def schema_of(self, table: object, learned: NDArray | None = None) -> Schema | None:
        """The schema that `fit` infers from a table, with `columns`; None where it reads a table as an array.

        learned: (N,), the rows that scales are taken from; None: all.
        """
        return Schema.infer(table, self.columns, learned) if self._reads_tables else None

    def _inferred(self, x: Tensor | Stored, dtype: str, schema: Schema | None) -> tuple[DataSpec, bool]:
        """What rows are, and whether the model that is asked for reads labels."""
        spec = DataSpec.infer(x, dtype) if schema is None else DataSpec.of_table(schema)
        if self.missing:
            spec = spec.with_missing()
        with LocalDraws(0):
            parts = self._recipe(spec).build(self.latent_dim, spec)
            series = isinstance(self.encoder or parts.encoder, SequenceEncoder)
            if series and spec.without_images() != spec:
                spec = spec.without_images()
                parts = self._recipe(spec).build(self.latent_dim, spec)
        spec = spec.for_likelihood((self.likelihood or parts.likelihood).support, x, series=series)
        return spec, (self.latent or parts.latent).labelled

    def _patterns(self, x: Tensor | Stored, data: object, schema: Schema | None, trained: Tensor) -> Patterns:
        """The patterns of gaps of training rows x, which are these of the data."""
        if schema is not None and schema.partial:
            absent = torch.from_numpy(schema.absent(data))[trained]
            x = torch.cat([x, torch.zeros(absent.shape).masked_fill(absent, torch.nan)], 1)
        return Patterns.of(x)

    def _recipe(self, spec: DataSpec) -> Recipe:
        default = "vae" if spec.is_image and spec.kind in ("bytes", "unit", "binary") else "auto"
        return as_recipe(self.recipe or ("table" if spec.schema is not None else default))

    @property
    def recipe_(self) -> Recipe:
        """The recipe in use: the one asked for, or the data's default."""
        return self._recipe(self.spec_)

    def _rows(self, x: object, schema: Schema | None = None, gaps: bool = False) -> tuple[Tensor | Stored, str]:
        """Checked rows, and the name of their type: of a table with this schema its cells."""
        if schema is not None:
            return schema.rows_of(x, self.unknown), "float32"
        return as_data(x, allow_missing=gaps or self.missing)

    def _device(self) -> torch.device:
        if self.device != "auto":
            return torch.device(self.device)
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")

    # -- rows to use the model on -----------------------------------------------------------------------

    def _fitted(self) -> VAEModule:
        if not hasattr(self, "module_"):
            raise not_fitted("this VAE is not fitted yet: call fit(x) first, or vaekit.load(run)")
        return self.module_

    @names_file
    def _seen(self, x: object, context: object = None, gaps: bool = False) -> AbstractRows:
        """Rows like those the model was fitted to, with their context. gaps: cells may be missing that never were."""
        self._fitted()
        x, context = self._named(x, context)
        schema, unknown = self.spec_.schema, None
        if schema is None:
            data, _ = self._rows(x, None, gaps)
        else:
            read = schema.read(x, self.unknown)
            data, unknown = read.rows, read.unknown if read.unknown.any() else None
        self._expect(tuple(data.shape[1:]))
        gaps = gaps or (schema is not None and has_gaps(data))
        rows = self._placed(data, context, self.spec_.with_missing() if gaps else self.spec_)
        return rows if unknown is None else replace(rows, unknown=unknown)

    def _expect(self, got: tuple[int, ...]) -> None:
        """Raise ValueError for rows of another shape than those of fit."""
        want = self.spec_.shape
        if len(want) == len(got) == 1 and want != got:
            raise ValueError(
                f"X has {got[0]} features, but VAE is expecting {want[0]} features as input: pass the columns that it "
                "was fitted to"
            )
        if want != got:
            raise ValueError(f"expected rows of {want}, as in fit, got rows of {got}: reshape them")

    def _placed(self, data: Tensor | Stored, context: object, spec: DataSpec) -> AbstractRows:
        """Checked rows where the model is."""
        self._warn_unseen(data, spec)
        model, beside = self._fitted(), Beside.of(len(data), context=spread(context, len(data), self.spec_))
        return as_rows(data, spec, next(model.parameters()).device, beside).checked(model.likelihood.check)

    def _warn_unseen(self, data: Tensor | Stored, spec: DataSpec) -> None:
        """Warn of values that differ from the only one that a column had in fit."""
        counts: Counter[int] = Counter()
        for part in pieces(data) if spec.constant else ():
            counts.update(spec.unseen(part))
        if not counts:
            return
        column, rows = counts.most_common(1)[0]
        names = self.__dict__.get("feature_names_in_")
        name = f"column {column if names is None else repr(names[column])}" if len(spec.scale) > 1 else "every cell"
        others = f"; so have {len(counts) - 1:,} more columns" if len(counts) > 1 else ""
        had, have = f"one value in fit ({spec.offset[column]:g})", "another"
        back = "hold the value of fit"
        if spec.without_values(column):
            had, have, back = "no value in fit", "one", "have none there"
        warnings.warn(
            f"{name} had {had}, and {rows:,} of the rows have {have}{others}: "
            f"such a cell scores as {UNSEEN:g} standard deviations, and reconstructions {back}",
            UserWarning,
            stacklevel=4,
        )

    def _named(self, x: object, context: object) -> tuple[object, object]:
        """Rows and their context: of annotated data, and of a data frame that is read as an array, the columns that the
        model reads, in its order; of the former the column of obs that is named, unless it is a class."""
        data, names = annotated(x), getattr(self, "feature_names_in_", None)
        if data is None:
            x = collected(x)
            as_array = names is not None and self.spec_.schema is None and container_of(x) is not None
            return in_order(x, names) if as_array else x, context
        context = beside_of(data, context, lambda word: self._knows(word))
        return data if names is None or np.array_equal(names, data.names) else data.picked(names), context

    def _knows(self, word: str) -> bool:
        """Whether this is a class of the context."""
        return isinstance(self.spec_.context, Classes) and word in self.spec_.context.levels
