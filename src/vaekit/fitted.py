"""What a fitted model does: codes, rows and walks, over arrays in their own units."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from .core import Batch, Noise, Scope, Source, Still
from .data.arrays import from_array, unmasked
from .data.beside import Beside, sampled, spread
from .data.containers import framed, indexed, is_frame
from .data.frames import as_table, joined
from .data.gaps import filled, partial_cells, partial_row, with_given, with_unknown
from .data.rows import AbstractRows
from .distributions import Distribution, Library
from .manners import available
from .networks import SequenceEncoder
from .networks.sequences import until_last
from .objectives import Objective
from .reading import Reading
from .recipes import as_recipe
from .sklearn_compat import check_input_features, contained, output_of
from .tasks import complete, impute, sample_given, walks
from .tasks.weighing import DRAWS

log = logging.getLogger("vaekit")

CHUNK = 1024
"""Rows per pass when predicting: memory stays bounded for any number of rows."""
GIVEN_DRAWS = 4096
"""Draws of z for the columns that `sample` is given; as many as there are rows, if these are more."""
FEW = 30
"""Effective draws below which `sample(given=...)` says so."""
GAPS = 2**31 + 3
"""Beside the seed, that of the gaps in drawn rows: these are the same with and without."""


class Fitted(Reading):
    """The half of an estimator that uses its model; `fit` is the other half's.

    It reads the setting `seeds`, too, and of what fit leaves `objective_`.
    """

    seeds: int | None
    objective_: Objective

    def _gather(self, rows: AbstractRows, f: Callable[[Batch], Tensor]) -> Tensor:
        with torch.no_grad():
            return torch.cat([f(batch).cpu() for batch in rows.batches(CHUNK)])

    def _codes(self, batch: Batch, noise: Noise) -> Tensor:
        return self.module_.infer(batch, noise).z

    def transform(self, x: object, context: object = None) -> Any:
        """Encode rows: the center of q(z | x), which is the posterior mean if q is normal. Deterministic.

        Parameters
        ----------
        x : array, sparse matrix, table or path
            Rows like those of fit.
        context : array or None, default=None
            Context of the rows, for a model that reads one.

        Returns
        -------
        ndarray of shape (N, latent numbers) or DataFrame
            An array, unless `set_output` or scikit-learn's ``transform_output`` asks for a frame.

        See Also
        --------
        inverse_transform, set_output, get_feature_names_out
        """
        codes = self._encoded(x, context)
        return contained(output_of(self._output_config), codes, self._code_names(), x)

    def _encoded(self, x: object, context: object = None) -> NDArray:
        still = Still(Source.like(self._fitted()))
        return self._gather(self._seen(x, context), lambda b: self._codes(b, still).flatten(1)).numpy()

    def _code_names(self) -> list[str]:
        return [f"{type(self).__name__.lower()}{i}" for i in range(int(np.prod(self._fitted().latent.shape)))]

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> NDArray:
        """Return the names of the columns of `transform`.

        Parameters
        ----------
        input_features : sequence of str or None, default=None
            Only checked against the names and the number of the features of fit.

        Returns
        -------
        ndarray of str objects
            ``"vae0"``, ``"vae1"``, ...
        """
        names = self._code_names()
        check_input_features(input_features, vars(self).get("feature_names_in_"), self.n_features_in_)
        return np.array(names, dtype=object)

    @available
    def predict_proba(self, x: object, context: object = None) -> np.ndarray:
        """Return the class probabilities q(class | x).

        Only for a model that has classes or clusters.

        Parameters
        ----------
        x : array, sparse matrix, table or path
            Rows like those of fit.
        context : array or None, default=None
            Context of the rows, for a model that reads one.

        Returns
        -------
        ndarray of shape (N, classes)
            In the order of `classes_`.
        """
        still = Still(Source.like(self._fitted()))
        return self._gather(self._seen(x, context), lambda b: self.module_.infer(b, still).classes.exp()).numpy()

    @available
    def predict(self, x: object, context: object = None) -> np.ndarray:
        """Return the most probable class, one of `classes_`, or the number of the most probable cluster.

        Parameters
        ----------
        x : array, sparse matrix, table or path
            Rows like those of fit.
        context : array or None, default=None
            Context of the rows, for a model that reads one.

        Returns
        -------
        ndarray of shape (N,)
        """
        return self.classes_[self.predict_proba(x, context).argmax(1)]

    def inverse_transform(self, z: object, context: object = None) -> Any:
        """Decode codes into the mean of p(x | z), in the units, shape and dtype of the data.

        Parameters
        ----------
        z : array or DataFrame of shape (N, latent numbers)
            Codes as `transform` returns them.
        context : array or None, default=None
            Context of each row, or of all rows.

        Returns
        -------
        ndarray of shape (N, ...) or table
            A model of a table returns a table of the container that fit read; it has the most probable level of a
            category. A pandas table keeps the index of the codes, if these are a pandas frame.
        """
        return indexed(self._decoded_codes(z, context), z)

    def _decoded_codes(self, z: object, context: object = None) -> Any:
        return joined([self.spec_.decode(part) for part in self._represented(z, context)])

    def _represented(self, z: object, context: object) -> list[Tensor]:
        """The cells of what codes (N, latent numbers) decode to, some rows at a time, in the likelihood's space."""
        model = self._fitted()
        codes = from_array(unmasked(z)).to(Source.like(model).dtype)
        size = int(np.prod(model.latent.shape))
        if codes.dim() != 2 or codes.shape[1] != size:
            raise ValueError(f"expected codes (N, {size}), got {tuple(codes.shape)}: pass what transform gives")
        if not bool(codes.isfinite().all()):
            row, column = (~codes.isfinite()).nonzero()[0].tolist()
            raise ValueError(
                f"expected finite codes, got {codes[row, column]} in row {row}, dimension {column}: pass what "
                "transform gives"
            )
        given = self._context(spread(context, len(codes), self.spec_), len(codes))
        device = next(model.parameters()).device
        with torch.no_grad():
            return [
                self._single(model.decode(c.to(device).reshape(-1, *model.latent.shape), g))
                for c, g in zip(codes.split(CHUNK), given)
            ]

    def _single(self, px: Distribution) -> Tensor:
        """Point estimate per cell: the mean, or the representative value of the column for tables."""
        return px.mean if self.spec_.schema is None else self.spec_.schema.finite(px.representative)

    def _takes_mean(self, mean: bool | None) -> bool:
        return self.caveat_ is not None if mean is None else mean

    def _context(self, context: object, rows: int) -> Iterator[Tensor | None]:
        """The context of rows to be decoded, as the model reads it, chunk by chunk."""
        read = Beside.of(rows, context=context).encoded(self.spec_)["context"]
        device = next(self._fitted().parameters()).device
        return repeat(None) if read is None else iter(read.to(device).split(CHUNK))

    def reconstruct(self, x: object, context: object = None) -> Any:
        """Encode and decode rows: the mean of p(x | z) at the center of q(z | x). Deterministic.

        A likelihood with a library uses the library of each row. Missing cells are filled, except those of series,
        (N, T) or (N, T, C), after their last step, which are padding. A value of a table that fit did not see stays
        as it is.

        Parameters
        ----------
        x : array, sparse matrix, table or path
            Rows like those of fit.
        context : array or None, default=None
            Context of the rows, for a model that reads one.

        Returns
        -------
        ndarray of shape (N, ...) or table
            Rows in the units, shape and dtype of the data. A table for a table; a pandas frame keeps its index.
        """
        x, context = self._named(x, context)
        return self._like(x, self._reconstructed(x, context))

    def _like(self, x: object, rows: Any, repeats: int = 1) -> Any:
        """Rows of the model, `repeats` for each row of x, in the container of x and with its index."""
        return framed(rows, x) if self.spec_.schema is None and repeats == 1 else indexed(rows, x, repeats)

    def _reconstructed(self, x: object, context: object = None) -> Any:
        if self._fitted() and self.spec_.schema is not None:
            return self._reconstructed_table(x, context)
        if getattr(self._fitted().likelihood, "library", None):
            return self.spec_.decode(self._at_library(x, context, lambda px, own: px.at(own).mean))
        rows, shape = self._decoded_codes(self._encoded(x, context), context), self.spec_.shape
        ends = isinstance(self.module_.encoder, SequenceEncoder) and self.spec_.missing and len(shape) < 3
        if ends and self.spec_.schema is None and rows.dtype.kind == "f":
            seen = self._seen(x, context)
            there = self._gather(seen, lambda b: until_last(b.mask.reshape(len(b.mask), shape[0], -1)))
            rows[there.numpy() == 0] = np.nan
        return rows

    def _reconstructed_table(self, x: object, context: object) -> Any:
        rows, still = self._seen(x, context), Still(Source.like(self.module_))
        codes = self._gather(rows, lambda b: self._codes(b, still).flatten(1)).numpy()
        cells = torch.cat(self._represented(codes, context)).cpu().double().numpy()
        return with_unknown(self.spec_.schema, cells, x, rows.unknown)

    def expected(self, x: object, library: float | None = 1e4, context: object = None, under: object = None) -> Any:
        """Return the counts that rows are expected to have if all had one library. Deterministic.

        This is ``l softmax(decoder(z))`` at the center of q(z | x), scvi-tools' ``get_normalized_expression``. Zeros
        that a zero-inflated likelihood adds to the counts are left out.

        Parameters
        ----------
        x : array, sparse matrix, AnnData, table or path
            Rows like those of fit.
        library : float or None, default=1e4
            Total of the counts, l. ``None`` takes each row's own, ``1`` gives shares of the total.
        context : array or None, default=None
            Context of the rows, for a model that reads one.
        under : array or None, default=None
            Context to decode with instead, such as another batch: one for all rows, or one for each.

        Returns
        -------
        ndarray of shape (N, D) or DataFrame
            Real numbers. A frame for a frame, with its index and columns.

        Raises
        ------
        ValueError
            If the likelihood has no library.
        """
        likelihood = self._fitted().likelihood
        if getattr(likelihood, "library", None) is None:
            raise ValueError(
                f"{type(likelihood).__name__} tells no shares of a library: fit recipe='counts', or give the "
                "likelihood library='observed'"
            )
        if library is not None and not library > 0:
            raise ValueError(f"library={library}: expected a total above 0, or None for the rows' own")

        def means(px: Library, own: Tensor) -> Tensor:
            return px.shares * (own.exp() if library is None else library)

        x, context = self._named(x, context)
        return self._like(x, self._at_library(x, context, means, under).numpy())

    def _at_library(
        self, x: object, context: object, f: Callable[[Library, Tensor], Tensor], under: object = None
    ) -> Tensor:
        """f of p(x | z) at the centre of q(z | x), and the rows' own log libraries."""
        still, seen = Still(Source.like(self._fitted())), self._seen(x, context)
        given = repeat(None) if under is None else self._context(self._beside(x, under, len(seen)), len(seen))

        def of(batch: Batch) -> Tensor:
            own = next(given)
            px = self.module_.decode(self._codes(batch, still), batch.context if own is None else own)
            return f(px, px.own_library(batch.x, batch.mask))

        return self._gather(seen, of)

    def _beside(self, x: object, context: object, rows: int) -> object:
        """Context of rows, of which one stands for all, and a column of obs is named."""
        return spread(self._named(x, context)[1], rows, self.spec_)

    def sample(
        self,
        n: int = 1,
        seed: int | None = None,
        mean: bool | None = None,
        context: object = None,
        given: Mapping[Any, Any] | None = None,
        gaps: bool = False,
    ) -> Any:
        """n new rows, in the data's own units, shape and dtype: z from the prior, then p(x | z). Of a table, a table,
        with its types, levels, bounds and rounding, and, without `gaps`, no cell missing.

        mean: take the mean of p(x | z) instead of a draw; None: only where log p is not a likelihood of the data
        (see `caveat_`), such as grey levels under the cross-entropy, whose draws would be black-and-white noise.
        context: of each row, or one for all; classes that are not given are drawn as often as fit met them.
        given: values of columns, by number or name: rows are drawn from p(the others | these), by importance
        resampling, see `vaekit.tasks.sample_given`; it is told where few draws count.
        gaps: cells are missing as they were in the training rows, by patterns that fit kept (`vaekit.data.patterns`),
        drawn whole, so that gaps go together as they did, and independently of what the cells hold; unless the
        likelihood says by what chance a cell is missing given that, as `SelfMaskedGaussian` does, which is then drawn.
        Given columns are there. Rows and their seen cells are the same with and without. Raises ValueError where the
        rows had gaps and no patterns were kept: with `privacy`, and in files of before.
        """
        model = self._fitted()
        if n < 1:
            raise ValueError(f"sample({n}): expected at least one row")
        seed = self._seed(seed)
        if given is not None:
            return self._sample_given(given, n, seed, mean, context, gaps)
        holes = self._gaps(n, seed) if gaps else None
        noise, given = Source.like(model, seed), self._context(sampled(context, n, seed, self.spec_), n)
        take_mean = self._takes_mean(mean)
        rows = []
        with torch.no_grad():
            for start, known in zip(range(0, n, CHUNK), given):
                px = model.decode(model.generate(min(CHUNK, n - start), noise, known), known)
                x = self._single(px) if take_mean else self._finite(px.draw(Scope.of(noise)))
                own = None if holes is None else holes[start : start + len(x)]
                rows.append(self.spec_.decode(*self._holed(x, own, seed, start)))
        return joined(rows)

    def _gaps(self, n: int, seed: int, seen: NDArray | tuple[int, ...] = ()) -> NDArray | None:
        """(n, cells), bool: patterns of gaps in which the cells `seen` are there; None where fit met no gap."""
        if not self.spec_.gappy:
            return None
        if self.spec_.patterns is not None:
            return self.spec_.patterns.draw(n, [seed, GAPS], seen)
        raise ValueError(
            "gaps=True: expected a model that keeps the patterns of gaps in the rows of fit, got one that was saved "
            "before these were kept, or trained with privacy, where they would tell of single rows: fit again without "
            "privacy, or draw whole rows, gaps=False"
        )

    def _holed(self, x: Tensor, gaps: NDArray | None, seed: int, start: int = 0) -> tuple[Tensor, NDArray | None]:
        """Rows (B, *model_shape) from the `start`-th on with gaps (B, cells), as `decode` reads them: NaN in their
        place, and where the `partial` columns of a table are absent."""
        if gaps is None:
            return x, None
        spec, cells = self.spec_, math.prod(self.spec_.shape)
        gone = spec.laid_out(torch.from_numpy(gaps[:, :cells]).reshape(-1, *spec.shape))
        chance = self.module_.likelihood.chance_seen(x.to(next(self.module_.parameters()).device))
        if chance is not None:
            drawn = torch.from_numpy(np.random.default_rng([seed, GAPS, start]).random(chance.shape))
            gone = torch.where(chance.cpu().isnan(), gone, drawn >= chance.cpu())
        return x.cpu().masked_fill(gone, torch.nan), gaps[:, cells:]

    def _sample_given(
        self, given: Mapping[Any, Any], n: int, seed: int, mean: bool | None, context: object, gaps: bool
    ) -> Any:
        schema, names = self.spec_.schema, self.__dict__.get("feature_names_in_")
        row = partial_row(given, self.spec_.shape, names) if schema is None else partial_cells(given, schema)
        holes = self._gaps(n, seed, np.flatnonzero(~np.isnan(row))) if gaps else None
        take_mean = self._takes_mean(mean)
        settings = {"draws": max(GIVEN_DRAWS, n), "seed": seed, "mean": take_mean}
        rows = self._placed(torch.from_numpy(row), context, self.spec_.with_missing())
        made = sample_given(self._fitted(), rows, n, **settings)
        effective = float(made.effective)
        if effective < FEW:
            log.warning(
                "sample(given=...): of %d draws %.1f count, so that rows are alike: the given values are unlikely "
                "together, or the model does not know how they go together",
                made.draws,
                effective,
            )
        x, absent = self._holed(self._finite(made.x), holes, seed)
        if schema is not None:
            return with_given(schema, x.double().numpy(), given, absent)
        drawn = self.spec_.decode(x) if take_mean else self._in_units(x)
        return np.where(np.isnan(row), drawn, row).astype(drawn.dtype)

    def impute(
        self, x: object, n: int | None = None, *, draws: int = DRAWS, seed: int | None = None, context: object = None
    ) -> Any:
        """Rows x with their missing cells filled; the other cells are as they were, bit for bit.

        By one value each, the mean of numbers and the likeliest of levels given the cells that are there; or, with n,
        n times over by draws from p(missing | seen), for multiple imputation, whose spread is how uncertain a cell is:
        (n, N, ...), or n tables. draws: of z per row. A model that was fitted to whole rows fills gaps, too, but its
        encoder has never seen one: look at the effective sample size that `complete` tells. See
        `vaekit.tasks.impute`.
        """
        rows, settings = self._seen(x, context, gaps=True), {"draws": draws, "seed": self._seed(seed)}
        if n is None:
            return self._with(x, impute(self._fitted(), rows, **settings).x)
        each = [self._with(x, own) for own in complete(self._fitted(), rows, n, **settings).x]
        return each if self.spec_.schema is not None or is_frame(x) else np.stack(each)

    def complete(
        self, x: object, *, draws: int = DRAWS, seed: int | None = None, context: object = None
    ) -> tuple[Any, np.ndarray]:
        """Rows x with their missing cells drawn from p(missing | seen), and (N,) effective sample sizes, of `draws`.

        By importance resampling, see `vaekit.tasks.complete`: where a row has an effective sample size near 1, its
        draw is little better than a guess, and more draws help. The cells that are there stay as they were.
        """
        rows = self._seen(x, context, gaps=True)
        made = complete(self._fitted(), rows, draws=draws, seed=self._seed(seed))
        return self._with(x, made.x[0]), made.effective.numpy()

    def _with(self, x: object, cells: Tensor) -> Any:
        """Rows x, their gaps filled by cells (N, *model_shape)."""
        x = self._named(x, None)[0] if self.spec_.schema is None else as_table(x)
        return filled(x, self._like(x, self._in_units(cells)))

    def _in_units(self, cells: Tensor) -> Any:
        """Cells (N, *model_shape) in the data's own units; of levels 0 and 1 the nearer one."""
        cells = self._finite(cells)
        return self.spec_.decode(cells.round() if self.spec_.kind == "binary" else cells)

    def _finite(self, cells: Tensor) -> Tensor:
        """Cells that the model made; of a table none that is not a number, see `Schema.finite`."""
        return cells if self.spec_.schema is None else self.spec_.schema.finite(cells)

    def _seed(self, seed: int | None) -> int:
        return self.seed if seed is None else seed

    def interpolate(
        self, x_a: object, x_b: object, steps: int = 10, path: str = "linear", context: object = None
    ) -> Any:
        """Interpolate between rows: walk from each row of x_a to that of x_b through their codes.

        Parameters
        ----------
        x_a, x_b : array or table
            Start and end rows, as many of each.
        steps : int, default=10
            Rows per walk, both ends included.
        path : {"linear", "spherical", "geodesic"}, default="linear"
            ``"geodesic"`` is the shortest path by what the decoder makes of it, see `vaekit.tasks.interpolate`.
        context : array or None, default=None
            Context of both rows of a pair, for a model that reads one.

        Returns
        -------
        ndarray of shape (N, steps, ...) or table
            For a table, a table of ``N * steps`` rows; each index label of x_a is repeated.
        """
        a, b = (self._as_codes(self._encoded(x, context)) for x in (x_a, x_b))
        way = partial(walks.interpolate, steps=steps, path=path)
        if path != "geodesic" or len(a) != len(b):
            return self._decoded(way(a, b), context, x_a)
        means = (partial(self._mean, context=own) for own in self._each_context(context, len(a)))
        pairs = zip(a.split(1), b.split(1), means)
        return self._decoded(torch.cat([way(*ends, decode=mean) for *ends, mean in pairs]), context, x_a)

    def traverse(
        self,
        x: object = None,
        dimensions: Sequence[int] | None = None,
        steps: int = 11,
        reach: float = 3.0,
        context: object = None,
    ) -> Any:
        """Decode codes that move along one dimension at a time.

        Parameters
        ----------
        x : array, table or None, default=None
            Rows whose codes are moved. ``None`` starts at the center of the prior.
        dimensions : sequence of int or None, default=None
            Dimensions of z to move. ``None`` takes all.
        steps : int, default=11
            Positions per dimension, from ``-reach`` to ``reach`` in units of z. The other dimensions are kept.
        reach : float, default=3.0
            Largest offset.
        context : array or None, default=None
            Context of the rows, for a model that reads one.

        Returns
        -------
        ndarray of shape (N, dimensions, steps, ...) or table
            For a table, a table with the rows of each walk in order; each index label of x is repeated.
        """
        if steps < 1:
            raise ValueError(f"steps={steps}: expected at least 1")
        centre = self._centre(context) if x is None else self._as_codes(self._encoded(x, context))
        offsets = torch.linspace(-reach, reach, steps, device=centre.device, dtype=centre.dtype)
        return self._decoded(walks.traverse(centre, offsets, dimensions), context, x)

    def shift(self, x: object, present: object, absent: object, amount: float = 1.0, context: object = None) -> Any:
        """Add a feature to rows: move their codes by the difference of two mean codes, and decode them.

        Parameters
        ----------
        x : array or table
            Rows to change.
        present, absent : array or table
            Rows that have the feature, and rows that lack it.
        amount : float, default=1.0
            Factor of the difference.
        context : array or None, default=None
            One context for all rows, for a model that reads one.

        Returns
        -------
        ndarray of shape (N, ...) or table
            A table for a table; a pandas frame keeps the index of x.
        """
        rows = (self._as_codes(self._encoded(r, context)) for r in (x, present, absent))
        return self._decoded(walks.shift(*rows, amount), context, x)

    def _as_codes(self, z: np.ndarray) -> Tensor:
        return torch.from_numpy(z).to(next(self._fitted().parameters()).device)

    def _centre(self, context: object = None) -> Tensor:
        """(1, latent numbers): the prior's centre."""
        model, own = self._fitted(), next(self._each_context(context, 1))
        with torch.no_grad():
            return model.generate(1, Still(Source.like(model)), own).flatten(1)

    def _each_context(self, context: object, rows: int) -> Iterator[Tensor | None]:
        """The context of each row by itself, (1, ...), as the model reads it."""
        for chunk in self._context(spread(context, rows, self.spec_), rows):
            yield from [None] * rows if chunk is None else chunk.split(1)

    def _mean(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Codes (N, latent numbers) -> the mean of p(x | z), in the likelihood's space; context: (1, ...)."""
        given = None if context is None else context.expand(len(z), *context.shape[1:])
        return self.module_.decode(z.reshape(-1, *self.module_.latent.shape), given).mean

    def _decoded(self, codes: Tensor, context: object = None, x: object = None) -> Any:
        """Codes (N, ..., latent numbers) of rows x -> rows (N, ..., *row); of a table, one after the other."""
        flat, given = codes.flatten(0, -2).cpu().numpy(), spread(context, len(codes), self.spec_)
        if given is not None:
            given = np.repeat(np.asarray(given), len(flat) // len(codes), 0)
        rows = self._decoded_codes(flat, given)
        if self.spec_.schema is None:
            rows = rows.reshape(*codes.shape[:-1], *rows.shape[1:])
        return self._like(self._named(x, None)[0], rows, len(flat) // len(codes))

    def posterior(self, x: object, context: object = None) -> torch.distributions.Distribution:
        """q(z | x) as a `torch.distributions` object, for a normal or categorical posterior."""
        model, rows = self._fitted(), self._seen(x, context)
        still = Still(Source.like(model))
        with torch.no_grad():
            chunks = [model.infer(batch, still).q for batch in rows.batches(CHUNK)]
        if not hasattr(chunks[0], "to_torch"):
            raise TypeError(f"the posterior of {type(model.latent).__name__} has no torch.distributions form")
        return pytree.tree_map(lambda *parts: torch.cat(parts), *chunks).to_torch()

    @property
    def has_classes(self) -> bool:
        """Whether the model has classes or clusters: the fitted one, else the one that `fit` will build."""
        if hasattr(self, "module_"):
            return self.module_.latent.classes is not None
        if self.latent is not None:
            return self.latent.classes is not None
        if self.recipe is None:
            return False
        try:
            with torch.random.fork_rng(devices=[]):
                return as_recipe(self.recipe).classes(self.latent_dim) is not None
        except (TypeError, ValueError):  # settings that fit refuses
            return False

    @property
    def classes_(self) -> np.ndarray:
        """The classes that `predict` chooses among: those of y in fit, or the numbers of clusters."""
        count = self._fitted().latent.classes
        if count is None:
            raise AttributeError("this VAE tells no classes: fit a recipe that does, such as m2, vade or mixture")
        return np.arange(count) if self.spec_.labels is None else np.asarray(self.spec_.labels.levels)

    @property
    def caveat_(self) -> str | None:
        """Why log p is not a likelihood of these data; None where it is."""
        level = 0.5 if self.spec_.kind in ("bytes", "unit") else 0.0
        return self._fitted().likelihood.caveat(torch.full((1, *self.spec_.model_shape), level), self.spec_.integer)

    def over_numbers(self) -> Self:
        """The same model over the numbers that stand for a table's cells, as `numbers` gives them."""
        schema = self._fitted() and self.spec_.schema
        if schema is None:
            return self
        own = copy.copy(self)
        own.spec_, own.missing = self.spec_.of_numbers(), True
        own.feature_names_in_ = np.array([str(c.name) for c in schema.cells], dtype=object)
        return own

    def numbers(self, x: object) -> Any:
        """(N, C): a table as numbers, a column for each that is modelled: in its own units, levels by their number,
        dates in seconds since 1970, NaN where missing; an array as it is."""
        return x if self.spec_.schema is None else self.spec_.schema.numbers(x, self.unknown)

    def save(self, path: str | Path, *, fingerprints: bool = True) -> None:
        """Write the model into a folder.

        Writes `config.json`, `model.safetensors` and `history.jsonl`. A model or an outlier detector that was saved
        there before is replaced.

        Parameters
        ----------
        path : str or Path
            The folder. ``~`` is expanded.
        fingerprints : bool, default=True
            Whether to save fingerprints of training rows (32 bits each, at most 16,384), by which `evaluate` and
            `health` recognise rows that the model was trained on. Who has the files can test with them whether a row
            that they know was trained on. A model that was trained with `privacy` has none.

        Raises
        ------
        NotFittedError
            If the model has not been fitted.
        ValueError
            If weights are not finite.
        FileExistsError
            If the folder holds a sweep, or another process writes to it.

        See Also
        --------
        vaekit.load
        """
        from .saving import save

        save(self, path, fingerprints=fingerprints)
