"""Methods and attributes of an estimator that are functions and fields of its `FittedVAE`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..fitted import FittedVAE
from ..training.config import VAEConfig

P, T = ParamSpec("P"), TypeVar("T")


def method(function: Callable[Concatenate[FittedVAE, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A function of a fitted model as a method of an estimator that has one as `fitted_`.

    The method has the signature and the docstring of the function, without its first parameter.
    """

    @functools.wraps(function)
    def call(self: Any, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(self.fitted_, *args, **kwargs)

    _documented(call, function, given=1, returns=inspect.signature(function).return_annotation)
    return call


def training_method(function: Callable[Concatenate[VAEConfig, FittedVAE | None, P], FittedVAE]) -> Callable[..., Any]:
    """A function that fits a model by settings as a method of an estimator, which keeps the model and returns itself.

    The estimator has `config()` for its settings and `_fitted` for its model.
    """

    @functools.wraps(function)
    def call(self: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        self._fitted = function(self.config(), self._fitted, *args, **kwargs)
        return self

    _documented(call, function, given=2, returns="Self")
    return call


def _documented(call: Any, function: Callable[..., Any], given: int, returns: object) -> None:
    """Gives a method the signature of a function without its first parameters."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = signature.replace(parameters=[own, *parameters[given:]], return_annotation=returns)
    lost = [p.name for p in parameters[:given]]
    call.__annotations__ = {n: a for n, a in function.__annotations__.items() if n not in lost} | {"return": returns}


def attribute(name: str, doc: str) -> property:
    """A field or property of a fitted model as an attribute of an estimator that has one as `fitted_`."""
    return property(lambda self: getattr(self.fitted_, name), doc=doc)
