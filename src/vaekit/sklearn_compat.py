"""scikit-learn's protocols without importing scikit-learn: base class, errors, output containers, feature names."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

OUTPUTS = ("default", "pandas", "polars")
"""Containers that `set_output` knows."""


# -- base class --------------------------------------------------------------------------------------


class _Plain:
    """Python can replace the bases of a class only if its first base is a class like this one, not `object`."""


class Estimator(_Plain):
    """Base of the estimators, and a subclass of scikit-learn's `BaseEstimator` once scikit-learn is imported.

    Importing scikit-learn takes as long as importing torch, so this package leaves that to the user. The base is added
    when the first estimator is built, or when scikit-learn asks an estimator for its parameters or tags.
    """

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        derive()

    def __new__(cls, *_: Any, **__: Any) -> Self:
        derive()
        return super().__new__(cls)


def derive() -> None:
    """Adds scikit-learn's `BaseEstimator` to the bases of `Estimator`, if scikit-learn has been imported."""
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    if base is None or issubclass(Estimator, base):
        return
    Estimator.__bases__ = (_Plain, base)
    for cls in _descendants(Estimator):
        super(Estimator, cls).__init_subclass__()  # adds the methods of metadata routing: set_fit_request, ...


def _descendants(cls: type) -> Iterator[type]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)


# -- errors ------------------------------------------------------------------------------------------


class NotFittedError(ValueError, AttributeError):
    """Used before `fit`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return not_fitted, self.args


def not_fitted(text: str) -> NotFittedError:
    """A `NotFittedError` that is also scikit-learn's, if scikit-learn has been imported."""
    theirs = getattr(sys.modules.get("sklearn.exceptions"), "NotFittedError", None)
    return (NotFittedError if theirs is None else _joint(theirs))(text)


@lru_cache(maxsize=1)
def _joint(theirs: type) -> type:
    return type("NotFittedError", (NotFittedError, theirs), {})


# -- output containers and feature names -------------------------------------------------------------


def check_output(transform: str | None) -> None:
    """Raise ValueError for a container that `set_output` does not know."""
    if transform is not None and transform not in OUTPUTS:
        raise ValueError(f"set_output(transform={transform!r}): expected one of {', '.join(map(repr, OUTPUTS))}")


def output_of(config: dict[str, str]) -> str:
    """Container for the output of `transform`: the estimator's own setting, else scikit-learn's `transform_output`."""
    if "transform" in config:
        return config["transform"]
    settings = getattr(sys.modules.get("sklearn"), "get_config", dict)()
    return settings.get("transform_output", "default")


def contained(output: str, values: NDArray, names: Sequence[str], x: object) -> Any:
    """Values (N, D) as a data frame with these column names, and with the index of x if x is a pandas object."""
    if output == "pandas":
        import pandas as pd

        index = x.index if isinstance(x, pd.DataFrame | pd.Series) else None
        return pd.DataFrame(values, index=index, columns=list(names))
    if output == "polars":
        import polars as pl

        return pl.DataFrame(values, schema=list(names), orient="row")
    check_output(output)
    return values


def check_input_features(given: Sequence[str] | None, known: NDArray | None, count: int) -> None:
    """Raise ValueError for feature names that are not those of fit, or not as many as there were features."""
    if given is None:
        return
    if known is not None and not np.array_equal(np.asarray(given, dtype=object), known):
        raise ValueError("input_features is not equal to feature_names_in_: pass the names of fit, or None")
    if len(given) != count:
        raise ValueError(f"input_features should have length equal to number of features ({count}), got {len(given)}")
