"""scikit-learn's manners, without scikit-learn: parameters to read, set and clone, and a repr that shows them."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Self

from torch import nn

from ..core import public, public_methods
from ..recipes import Recipe, as_recipe
from ..sklearn_compat import Estimator, check_output, derive
from ..suggest import nearest

KEPT_BY_CLONES = ("_sklearn_output_config", "_metadata_request")
"""Attributes that scikit-learn's `clone` copies next to the parameters."""


class available:
    """A method that an estimator has if its model has classes, like those of scikit-learn's `available_if`."""

    def __init__(self, method: Callable[..., Any]):
        self.method = public(method)
        functools.update_wrapper(self, method)

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self.method
        if not owner.has_classes:
            raise AttributeError("this VAE tells no classes: fit a recipe that does, such as m2, vade or mixture")
        return self.method.__get__(owner, kind)


class Parameters(Estimator):
    """What scikit-learn reads and sets: a constructor stores each argument under its own name, and one of them,
    `inner`, may have parameters of its own, which are reached as `inner__name`."""

    inner: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        public_methods(cls)

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return {n: p.default for n, p in inspect.signature(cls.__init__).parameters.items() if n != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments.

        Parameters
        ----------
        deep : bool, default=True
            Also return the parameters of the inner object, as ``recipe__name`` or ``vae__name``.

        Returns
        -------
        dict
            Values by name.
        """
        derive()
        params = {name: getattr(self, name) for name in sorted(self._defaults())}
        if deep and hasattr(within := getattr(self, self.inner), "get_params"):
            params |= {f"{self.inner}__{k}": v for k, v in within.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor.

        Parameters
        ----------
        **params
            New values by name. ``recipe__name`` or ``vae__name`` changes a parameter of the inner object.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is no parameter of that name.
        """
        prefix = f"{self.inner}__"
        settings = {k.removeprefix(prefix): params.pop(k) for k in list(params) if k.startswith(prefix)}
        known = self._defaults()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"unknown parameter {name!r}{nearest(name, known)} of {type(self).__name__}")
            setattr(self, name, value)
        if settings:
            setattr(self, self.inner, self._own_inner().set_params(**settings))
        return self

    def _own_inner(self) -> Any:
        """A copy of the inner one, to be changed. Raises ValueError where there is none."""
        raise NotImplementedError

    def __sklearn_clone__(self) -> Self:
        """Return a new, unfitted estimator with the same parameters and the same scikit-learn settings."""
        twin = type(self)(**{name: self._cloned(value) for name, value in self.get_params(deep=False).items()})
        vars(twin).update({n: copy.deepcopy(vars(self)[n]) for n in KEPT_BY_CLONES if n in vars(self)})
        return twin

    def _cloned(self, value: Any) -> Any:
        """A parameter for a clone: parts are shared, because fit copies them and never changes them."""
        if isinstance(value, Parameters):
            return value.__sklearn_clone__()
        return copy.copy(value) if isinstance(value, Recipe) else value


class Manners(Parameters):
    """An estimator with scikit-learn's manners.

    An argument `recipe` may be a `Recipe`, whose settings are reached as `recipe__name`. `missing` says whether NaN
    is allowed; a fitted estimator has `module_`.
    """

    inner = "recipe"
    recipe: str | Recipe | None
    missing: bool

    def _own_inner(self) -> Recipe:
        if self.recipe is None:
            raise ValueError("recipe__* settings need a recipe: set_params(recipe=...) first")
        return copy.copy(as_recipe(self.recipe))

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container that `transform` and `fit_transform` return.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            ``"default"`` is an ndarray. ``"pandas"`` and ``"polars"`` are data frames with the column names of
            `get_feature_names_out`; a pandas frame has the index of the rows that were passed. ``None`` changes
            nothing. Without a call, scikit-learn's ``set_config(transform_output=...)`` applies.

        Returns
        -------
        self
        """
        check_output(transform)
        if transform is not None:
            self._sklearn_output_config = {**self._output_config, "transform": transform}
        return self

    @property
    def _output_config(self) -> dict[str, str]:
        return vars(self).get("_sklearn_output_config", {})

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float32"]),
            input_tags=InputTags(two_d_array=True, three_d_array=True, sparse=True, allow_nan=self.missing),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __repr__(self) -> str:
        shown = []
        for name, default in self._defaults().items():
            value = getattr(self, name)
            plain = isinstance(value, bool | int | float | str)
            if value is default or (plain and type(value) is type(default) and value == default):
                continue
            if isinstance(value, nn.Module):
                text = type(value).__name__
            else:
                text = f"rows {tuple(value.shape)}" if hasattr(value, "shape") else repr(value)
            shown.append(f"{name}={text}")
        return f"{type(self).__name__}({', '.join(shown)})"
