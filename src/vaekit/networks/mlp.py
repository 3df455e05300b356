"""The dense network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Literal

from torch import Tensor, nn

from ..distributions.hyperbolic import to_tangent
from .network import Activation, Network, activation


class MLP(Network):
    """Dense layers of `hidden` widths with an activation after each, then a dense layer to `out_shape`.

    A row of any shape is flattened on the way in and given its shape on the way out; no hidden width makes it
    a linear map. activation: a name in `ACTIVATIONS`, or "gated": a layer of its own width is multiplied by the sigmoid
    of another one (Dauphin et al. 2017, arXiv:1612.08083, equation 1). reads_mask: whether, as an encoder, it reads
    which cells are there, too, and so tells a gap from a zero.

    >>> MLP((128,), in_shape=(28, 28), out_shape=4)(torch.zeros(5, 28, 28)).shape
    torch.Size([5, 4])
    """

    flattens = True

    def __init__(
        self,
        hidden: int | Sequence[int] = (128,),
        activation: Activation | Literal["gated"] = "relu",
        heads: int = 1,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
        reads_mask: bool = False,
    ):
        super().__init__(in_shape, out_shape)
        self.reads_mask = reads_mask
        self.hidden = (hidden,) if isinstance(hidden, int) else tuple(int(n) for n in hidden)
        self.activation, self.heads = activation, heads
        if self.in_shape is not None and self.out_shape is not None:
            widths = (prod(self.in_shape), *self.hidden, prod(self.out_shape))
            if heads < 1 or widths[-1] % heads:
                raise ValueError(f"MLP(heads={heads}): {widths[-1]} outputs do not part into that many equal heads")
            self.layers = dense(widths, activation)
            self.layers[-1].heads = heads
        else:
            dense((), activation)


class BallMLP(MLP):
    """An `MLP` that reads points of the Poincaré ball `c |z|^2 < 1` by the logarithmic map at the origin, where a
    straight line is a geodesic; c = `curvature`.

    Mathieu et al. 2019, arXiv:1901.06033, section 3.3, whose gyroplane layer it stands in for.
    """

    def __init__(
        self,
        hidden: int | Sequence[int] = (128,),
        activation: Activation | Literal["gated"] = "relu",
        curvature: float = 1.0,
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(hidden, activation, 1, in_shape, out_shape)
        self.curvature = curvature

    def run(self, x: Tensor) -> Tensor:
        return super().run(to_tangent(x, self.curvature))


def dense(widths: Sequence[int], name: str) -> nn.Sequential:
    """Flattened rows through dense layers of these widths, with the activation between them."""
    gated = name == "gated"
    between = nn.GLU() if gated else activation(name)
    layers: list[nn.Module] = [nn.Flatten()]
    for place, (n_in, n_out) in enumerate(pairwise(widths), 2):
        twice = 2 if gated and place < len(widths) else 1
        layers += [nn.Linear(n_in, twice * n_out), between]
        layers[-2].heads = twice
    return nn.Sequential(*layers[: max(1, len(layers) - 1)])
