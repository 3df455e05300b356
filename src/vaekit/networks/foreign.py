"""Users' own networks: any torch module, and Keras 3 models on the torch backend."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from .network import Network, Shape

MEANS = ("mu", "mean", "z_mean", "loc")
LOG_VARIANCES = ("log_var", "logvar", "z_log_var", "log_variance")


def pick(output: Any) -> Tensor:
    """One tensor of rows out of what a user's module returns.

    A tensor is taken as it is, a sequence of one is unwrapped; of two or more (mu, log_var, ...) the first
    two are flattened and joined, and the rest, such as a sampled z, is left out. A mapping is read by its
    usual names for mu and log_var, else in its order.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        means, logs = [n for n in MEANS if n in output], [n for n in LOG_VARIANCES if n in output]
        named = [output[means[0]], output[logs[0]]] if means and logs else output.values()
        return pick(tuple(named))
    if isinstance(output, tuple | list) and output and all(isinstance(t, Tensor) for t in output[:2]):
        return output[0] if len(output) == 1 else torch.cat([t.flatten(1) for t in output[:2]], 1)
    held = f" of {', '.join(type(t).__name__ for t in output)}" if isinstance(output, tuple | list) else ""
    raise TypeError(
        f"expected a tensor from a network, or (mu, log_var, ...) as a tuple, list or dict, got a "
        f"{type(output).__name__}{held}: return tensors"
    )


def arranged(x: Tensor, shape: Shape) -> Tensor:
    """Rows in another shape of as many numbers; between (H, W, C) and (C, H, W) the channels are moved."""
    got = tuple(x.shape[1:])
    if len(got) == len(shape) == 3 and got != shape:
        if got == (*shape[1:], shape[0]):
            return x.movedim(-1, 1)
        if got == (shape[2], *shape[:2]):
            return x.movedim(1, -1)
    return x.reshape(x.shape[0], *shape)


class Adapter(Network):
    """What adapters of users' modules share: how outputs are read, and a trial that finds misfits at once."""

    module: Any

    @property
    def called(self) -> str:
        """What messages call the user's module."""
        return type(self.module).__name__

    @property
    def output_layer(self) -> None:
        """None: a user's module keeps its weights."""
        return None

    def call(self, x: Tensor) -> Any:
        """What the user's module returns for (B, *in_shape)."""
        raise NotImplementedError

    def run(self, x: Tensor) -> Tensor:
        assert self.out_shape is not None
        y = pick(self.call(x))
        if y.dim() < 1 or y.shape[0] != x.shape[0] or prod(y.shape[1:]) != prod(self.out_shape):
            rows = tuple(y.shape)
            raise ValueError(
                f"{self.called} gives {rows} for {x.shape[0]} rows of {self.in_shape} where "
                f"{(x.shape[0], *self.out_shape)} is needed, that is {prod(self.out_shape)} numbers per "
                f"row: make its last layer give that many"
            )
        return arranged(y, self.out_shape)

    def trial(self) -> None:
        """Two rows of zeros through the module in evaluation mode, so that what does not fit is said now."""
        assert self.in_shape is not None
        like = next((p for p in self.parameters() if p.is_floating_point()), torch.empty(0))
        if isinstance(like, nn.parameter.UninitializedTensorMixin):
            like = torch.empty(0, device=like.device, dtype=like.dtype)
        with evaluating(self), torch.no_grad(), torch.device(like.device):
            self(torch.zeros(2, *self.in_shape, device=like.device, dtype=like.dtype))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, then each submodule's own mode again."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


class Foreign(Adapter):
    """Any torch module as a network; it may return a tensor or (mu, log_var, ...), see `pick`.

    The module reads (B, *in_shape); what it returns is reshaped to (B, *out_shape), images with their
    channels last are moved to channels first. It is held, not copied. ValueError says at construction, once
    both shapes are known, where the module cannot read or give them. `stackable` unless it keeps running
    statistics.
    """

    def __init__(
        self,
        module: nn.Module,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(in_shape, out_shape)
        check_module(module)
        if is_keras(module):
            raise TypeError("Foreign reads torch modules but got a Keras model: use KerasNetwork, or as_network")
        self.module = module
        if not self.open:
            self.trial()

    @property
    def stackable(self) -> bool:  # type: ignore[override]
        return not any(isinstance(m, _NormBase) and m.track_running_stats for m in self.module.modules())

    def call(self, x: Tensor) -> Any:
        return self.module(x)

    def trial(self) -> None:
        try:
            super().trial()
        except (RuntimeError, IndexError, AssertionError) as error:
            raise ValueError(
                f"{type(self.module).__name__} cannot read rows of {self.in_shape}: {error}; begin it with "
                f"a layer that does, such as nn.Flatten() before a nn.Linear, or nn.Unflatten(1, (1, "
                f"height)) before a nn.Conv2d where the images have no channels"
            ) from error


class KerasNetwork(Adapter):
    """A Keras 3 model on the torch backend as a network.

    The model is used as a function of its variables: the adapter holds copies of them, `weights` (trainable)
    and buffers `state_0`, ... (running statistics, seeds of dropout), and calls it in a
    `keras.StatelessScope`. So the given model is never changed (`write_back` puts the trained weights into
    it), adapters can be copied, moved, saved by position whatever numbers Keras puts into names, and called
    by `functional_call`, which on the model itself silently uses the old weights. Dropout is active in
    training only and draws from Keras' seeds; losses added inside the model (regularisers) do not count. Rows
    are brought into the model's own input shape, channels last. `stackable` where the model holds no state.
    """

    runs_user_code = True

    def __init__(
        self,
        module: Any,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(in_shape, out_shape)
        check_module(module)
        if not is_keras(module):
            raise TypeError(
                f"KerasNetwork reads Keras models, got a {type(module).__name__}: use Foreign, or as_network"
            )
        # neither is registered as a submodule: its parameters are the copies held here
        object.__setattr__(self, "module", module)
        object.__setattr__(self, "function", first_two(module))
        self.weights = nn.ParameterList()
        if not self.open:
            self.adopt()
            self.trial()

    @property
    def called(self) -> str:
        return repr(self.module.name)

    def adopt(self) -> None:
        """Builds the model where it is not, and copies its variables."""
        assert self.in_shape is not None
        if any(type(layer).__name__ == "TorchModuleWrapper" for layer in keras_layers(self.module)):
            raise ValueError(
                "the Keras model holds a torch module, which no StatelessScope reaches: give a torch module"
            )
        device = variable_device(self.module)
        with torch.no_grad(), torch.device(device), keras().device(device):
            try:
                self.function(self.arrange(torch.zeros(2, *self.in_shape)), training=False)
            except (ValueError, RuntimeError) as error:
                raise ValueError(f"{self.module.name!r} cannot read rows of {self.in_shape}: {error}") from error
        object.__setattr__(self, "trained", list(self.function.trainable_variables))
        object.__setattr__(self, "kept", list(self.function.non_trainable_variables))
        self.weights = nn.ParameterList(nn.Parameter(v.value.detach().clone()) for v in self.trained)
        for i, variable in enumerate(self.kept):
            self.register_buffer(f"state_{i}", variable.value.detach().clone())

    @property
    def state(self) -> list[Tensor]:
        """The variables which are not trained, as held here."""
        return [getattr(self, f"state_{i}") for i in range(len(self.kept))]

    @property
    def stackable(self) -> bool:  # type: ignore[override]
        return not self.open and not self.kept

    def held(self) -> list[tuple[Any, Tensor]]:
        """Keras' variables, each with its value here."""
        return [*zip(self.trained, self.weights), *zip(self.kept, self.state)]

    def arrange(self, x: Tensor) -> Tensor:
        expected = getattr(self.function, "input_shape", None)
        if (inputs := len(getattr(self.function, "inputs", None) or [0])) > 1:
            raise ValueError(f"{self.module.name!r} has {inputs} inputs: a network reads one")
        if expected is not None and None not in expected[1:] and prod(expected[1:]) == prod(x.shape[1:]):
            return arranged(x, tuple(expected[1:]))
        image = x.dim() == 4 and x.shape[1] in (1, 3, 4) and keras().config.image_data_format() == "channels_last"
        return x.movedim(1, -1) if image else x

    def run(self, x: Tensor) -> Tensor:
        # Keras computes in the types its layers were made in, and multiplies matrices in float32 at most
        return super().run(x).to(x.dtype)

    def call(self, x: Tensor) -> Any:
        with keras().device(str(x.device)), keras().StatelessScope(self.held()) as scope:
            output = self.function(self.arrange(x), training=self.training)
        if self.training and self.kept:
            with torch.no_grad():
                for variable, old in zip(self.kept, self.state):
                    old.copy_(scope.get_current_value(variable))
        return output

    def write_back(self) -> Any:
        """The given Keras model, with the weights held here written into it."""
        for variable, value in self.held():
            variable.assign(value.detach().to(variable.value))
        return self.module

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # the model is only a function here, and Keras cannot deep-copy every model: copies share it
        held = ("module", "function", "trained", "kept")
        shared = {n: v for n, v in self.__dict__.items() if n in held}
        own = {n: v for n, v in self.__dict__.items() if n not in held}
        memo[id(self)] = new = type(self).__new__(type(self))
        new.__dict__.update(copy.deepcopy(own, memo) | shared)
        return new


def as_network(
    module: Any, in_shape: int | Sequence[int] | None = None, out_shape: int | Sequence[int] | None = None
) -> Network:
    """A network from what a user gives: a network as it is, a Keras model or torch module in its adapter."""
    if isinstance(module, Network):
        return module.resolve_shapes(in_shape=in_shape, out_shape=out_shape)
    return (KerasNetwork if is_keras(module) else Foreign)(module, in_shape, out_shape)


# -- Keras, without importing it ------------------------------------------------------------------


def keras() -> Any:
    """The Keras that is already imported, as the user holds one of its models."""
    return sys.modules["keras"]


def is_keras(module: Any) -> bool:
    """Whether this is a Keras model or layer, told without importing Keras."""
    return any(c.__module__.partition(".")[0] in ("keras", "tf_keras") for c in type(module).__mro__)


def check_module(module: Any) -> None:
    """Raises TypeError unless this is a torch module, as a Keras model is on the torch backend."""
    if isinstance(module, nn.Module):
        return
    if is_keras(module):
        raise TypeError(
            f"expected a Keras 3 model on the torch backend, got a {type(module).__name__} on another one: "
            f"set KERAS_BACKEND=torch before importing keras"
        )
    raise TypeError(f"expected a network: a torch nn.Module or a Keras model, got a {type(module).__name__}")


def is_graph(module: Any) -> bool:
    """Whether a Keras model knows its layers' order: Sequential or functional."""
    return any(c.__name__ in ("Functional", "Sequential") for c in type(module).__mro__)


def first_two(module: Any) -> Any:
    """The model without the outputs after the second: what samples z in (mu, log_var, z) need not run."""
    outputs = getattr(module, "outputs", None) if is_graph(module) else None
    if not isinstance(getattr(module, "output", None) if outputs else None, list | tuple) or len(outputs) < 3:
        return module
    return keras().Model(module.inputs, module.outputs[:2], name=module.name)


def keras_layers(module: Any) -> list[Any]:
    """A Keras model and all layers in it, at any depth."""
    return [module, *(inner for layer in getattr(module, "layers", []) for inner in keras_layers(layer))]


def variable_device(module: Any) -> str:
    return next((str(v.value.device) for v in module.variables), "cpu")


# -- the range of a network's last layer ----------------------------------------------------------

PROBED = 16
"""Codes that a decoder is tried on."""
Ending = Literal["sigmoid", "tanh", "softplus", "softmax"]
ENDINGS: dict[str, Ending] = {n: n for n in ("sigmoid", "tanh", "softplus", "softmax")}  # type: ignore[misc]
SHAPING = ("Flatten", "Unflatten", "Identity", "Reshape", "Permute")


def ends_in(module: Any) -> Ending | None:
    """The activation a module ends in, where it bounds the output, passing over layers that only reshape.

    Read off torch's `nn.Sequential` and Keras' Sequential and functional models with one output; other
    modules do not tell their last step, and give None.
    """
    if isinstance(module, Adapter):
        module = module.module
    if is_keras(module):
        return keras_ending(module)
    while isinstance(module, nn.Sequential):
        steps = [m for m in module if type(m).__name__ not in SHAPING]
        if not steps:
            return None
        module = steps[-1]
    return ENDINGS.get(type(module).__name__.lower())


@torch.no_grad()
def gives_probabilities(network: Adapter) -> bool:
    """Whether a user's decoder squashes its output into (0, 1) by a sigmoid that its module does not show.

    It is run on codes up to 1,000 times as large as those of a normal prior: all outputs lie in [0, 1], nearly all
    inside it for codes of usual size, depend on the code, and do not sum to 1 as those of a softmax do. A ReLU gives
    exact zeros or leaves [0, 1], and a linear layer leaves it.
    """
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    codes = torch.randn(PROBED, *network.in_shape, generator=torch.Generator().manual_seed(0)).to(like)
    with evaluating(network):
        usual, *others = (network(codes * size).flatten(1) for size in (1.0, 30.0, 1000.0))
    inside = float(((usual > 0) & (usual < 1)).double().mean()) > 0.9 and bool((usual.std(0) > 0).any())
    bounded = all(bool(((y >= 0) & (y <= 1)).all()) for y in (usual, *others))
    shares = any(
        torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
        for sums in (usual.sum(1), usual.reshape(PROBED, network.out_shape[0], -1).sum(1))
        if usual.shape[1] > 1
    )
    return inside and bounded and not shares


def keras_ending(layer: Any) -> Ending | None:
    if hasattr(layer, "layers"):
        if not is_graph(layer) or len(getattr(layer, "outputs", None) or [0]) > 1:
            return None
        steps = [s for s in layer.layers if type(s).__name__ not in SHAPING]
        return keras_ending(steps[-1]) if steps else None
    name = getattr(getattr(layer, "activation", None), "__name__", type(layer).__name__)
    return ENDINGS.get(name.lower())
