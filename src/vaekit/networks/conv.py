"""Convolutional networks over images (C, H, W), plain and residual.

An encoder halves the image once per entry of `channels`, a decoder doubles it back through the same sizes, so
that any height and width fit, odd ones too. Plain and residual networks differ only in what stands between
the strided convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from .mlp import dense
from .network import Activation, Network, Shape, activation


def image_shape(shape: Shape) -> Shape:
    """(C, H, W); an image (H, W) has one channel."""
    if len(shape) not in (2, 3):
        raise ValueError(f"expected images of (C, H, W) or (H, W), got rows of {shape}: use an MLP, or reshape them")
    return shape if len(shape) == 3 else (1, *shape)


def groups(channels: int) -> int:
    """At most 8 groups of at least 4 channels: a group of one number would be normalised to nothing."""
    return next((n for n in (8, 4, 2) if channels % n == 0 and channels >= 4 * n), 1)


class ResidualBlock(nn.Module):
    """Pre-activation residual block, x + f(x) with f = (GroupNorm, activation, 3x3 convolution) twice.

    He et al. 2016, arXiv:1603.05027, with the normalisation of Wu & He 2018, arXiv:1803.08494, which looks at
    one row only.
    """

    def __init__(self, channels: int, name: str):
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            norm = nn.GroupNorm(groups(channels), channels)
            layers += [norm, activation(name), nn.Conv2d(channels, channels, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def stage(channels: int, name: str, blocks: int) -> list[nn.Module]:
    """What stands at one resolution: an activation, or residual blocks and the norm that closes their sum."""
    if not blocks:
        return [activation(name)]
    stack = [ResidualBlock(channels, name) for _ in range(blocks)]
    return [*stack, nn.GroupNorm(groups(channels), channels), activation(name)]


class ConvNetwork(Network):
    """What convolutional networks share: layers by `channels` and `hidden`, and the sizes of maps."""

    def __init__(
        self,
        channels: Sequence[int],
        hidden: int | None,
        activation: Activation,
        in_shape: int | Sequence[int] | None,
        out_shape: int | Sequence[int] | None,
    ):
        super().__init__(in_shape, out_shape)
        self.channels, self.hidden, self.activation = tuple(int(n) for n in channels), hidden, activation
        if not self.channels:
            raise ValueError(f"{type(self).__name__}(channels=()): expected a number of channels per halving")
        stage(4, activation, 0)

    def map_size(self, shape: Sequence[int]) -> tuple[int, int]:
        """(h, w) of the smallest map for images (C, H, W) or (H, W), halved once per entry of `channels`.

        Raises ValueError where the image is too small for that many halvings.
        """
        height, width = image_shape(tuple(shape))[1:]
        halvings = len(self.channels)
        if min(height, width) >> halvings < 1:
            raise ValueError(
                f"{type(self).__name__} halves the image {halvings} times and so needs at least "
                f"{2**halvings} x {2**halvings} pixels, got {height} x {width}: give fewer "
                f"channels than {self.channels}"
            )
        return height >> halvings, width >> halvings

    def check_map(self, name: str, got: Shape, image: Shape) -> None:
        """Raises ValueError unless the map (C, h, w) has the size that images of that shape are halved to."""
        if got[1:] != self.map_size(image):
            height, width = self.map_size(image)
            raise ValueError(
                f"{type(self).__name__}({name}={got}): {len(self.channels)} halvings take images of {image} "
                f"to maps of {height} x {width}, not {got[1]} x {got[2]}: use {name}=({got[0]}, {height}, "
                f"{width}), or another number of channels than {self.channels}"
            )

    @staticmethod
    def _is_map(shape: Shape, size: tuple[int, int]) -> bool:
        """Whether a row's shape is a map, and not numbers: a single pixel, of a larger smallest map, is numbers."""
        return len(shape) == 3 and (shape[1:] != (1, 1) or size == (1, 1))

    def encoder(self, blocks: int) -> nn.Sequential:
        """The layers of an encoder from the image `in_shape` to `out_shape`, flat or a map (C, h, w)."""
        assert self.in_shape is not None and self.out_shape is not None
        image, size = image_shape(self.in_shape), self.map_size(self.in_shape)
        layers: list[nn.Module] = [] if len(self.in_shape) == 3 else [nn.Unflatten(1, (1, image[1]))]
        for n_in, n_out in zip((image[0], *self.channels), self.channels):
            # kernel 4 at stride 2 and padding 1 gives floor(size / 2) and reads each pixel equally often
            layers += [nn.Conv2d(n_in, n_out, 4, stride=2, padding=1), *stage(n_out, self.activation, blocks)]
        if self._is_map(self.out_shape, size):
            self.check_map("out_shape", self.out_shape, self.in_shape)
            return nn.Sequential(*layers, nn.Conv2d(self.channels[-1], self.out_shape[0], 1))
        widths = (self.channels[-1] * prod(size), *self.widths, prod(self.out_shape))
        return nn.Sequential(*layers, *dense(widths, self.activation))

    def decoder(self, blocks: int) -> nn.Sequential:
        """The layers of a decoder from `in_shape`, flat or a map (C, h, w), to the image `out_shape`."""
        assert self.in_shape is not None and self.out_shape is not None
        image, size = image_shape(self.out_shape), self.map_size(self.out_shape)
        if self._is_map(self.in_shape, size):
            self.check_map("in_shape", self.in_shape, self.out_shape)
            layers: list[nn.Module] = [nn.Conv2d(self.in_shape[0], self.channels[0], 3, padding=1)]
        else:
            widths = (prod(self.in_shape), *self.widths, self.channels[0] * prod(size))
            flat = [nn.Flatten()] if len(self.in_shape) == 3 else []
            layers = [*flat, *dense(widths, self.activation), nn.Unflatten(1, (self.channels[0], *size))]
        left = len(self.channels)
        for n_in, n_out in zip(self.channels, (*self.channels[1:], image[0])):
            left -= 1
            # A transposed convolution whose kernel is a multiple of its stride overlaps evenly, which avoids
            # the chequered artefacts of other sizes (Odena et al. 2016), at 4 products a pixel where a 3x3
            # convolution after nearest-neighbour upsampling takes 9. Its output padding is what an odd size
            # has lost.
            odd = ((image[1] >> left) % 2, (image[2] >> left) % 2)
            up = nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1, output_padding=odd)
            layers += [*stage(n_in, self.activation, blocks), up]
        return nn.Sequential(*layers)

    @property
    def widths(self) -> Shape:
        return () if self.hidden is None else (self.hidden,)


def as_map(network: nn.Module, shape: Shape) -> nn.Module:
    """A network settled for rows of this shape; a convolutional one whose `out_shape` is open gives its last map.

    A user's own module is taken as it is.
    """
    if not isinstance(network, Network):
        return network
    open_map = isinstance(network, ConvNetwork) and network.out_shape is None
    own = (network.channels[-1], *network.map_size(shape)) if open_map else None
    return network.resolve_shapes(in_shape=shape, out_shape=own)


class ConvEncoder(ConvNetwork):
    """Images (C, H, W) of at least 2^len(channels) pixels a side -> `out_shape`, by convolutions of stride 2.

    A flat `out_shape`, or one of a single pixel, is reached through a dense layer of width `hidden` (None: straight);
    a map (C', h, w), as a codebook reads, by a 1x1 convolution, where (h, w) must be `map_size(in_shape)`: ValueError
    names it otherwise.

    >>> ConvEncoder(in_shape=(3, 33, 64), out_shape=20)(torch.zeros(5, 3, 33, 64)).shape
    torch.Size([5, 20])
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128),
        hidden: int | None = 256,
        activation: Activation = "relu",
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(channels, hidden, activation, in_shape, out_shape)
        if not self.open:
            self.layers = self.encoder(blocks=0)


class ConvDecoder(ConvNetwork):
    """Flat rows or maps (C', h, w) -> images `out_shape` (C, H, W), by transposed convolutions of stride 2.

    The mirror of ConvEncoder: the maps pass through the sizes that H and W are halved to, so that any size of
    at least 2^len(channels) comes out exactly. A map must have (h, w) = `map_size(out_shape)`.

    >>> ConvDecoder(in_shape=10, out_shape=(3, 33, 64))(torch.zeros(5, 10)).shape
    torch.Size([5, 3, 33, 64])
    """

    def __init__(
        self,
        channels: Sequence[int] = (128, 64, 32),
        hidden: int | None = 256,
        activation: Activation = "relu",
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(channels, hidden, activation, in_shape, out_shape)
        if not self.open:
            self.layers = self.decoder(blocks=0)


class ResidualEncoder(ConvNetwork):
    """ConvEncoder with `blocks` pre-activation residual blocks at each resolution."""

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128),
        blocks: int = 1,
        hidden: int | None = 256,
        activation: Activation = "silu",
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(channels, hidden, activation, in_shape, out_shape)
        self.blocks = blocks
        if not self.open:
            self.layers = self.encoder(blocks)


class ResidualDecoder(ConvNetwork):
    """ConvDecoder with `blocks` pre-activation residual blocks at each resolution below the full one."""

    def __init__(
        self,
        channels: Sequence[int] = (128, 64, 32),
        blocks: int = 1,
        hidden: int | None = 256,
        activation: Activation = "silu",
        in_shape: int | Sequence[int] | None = None,
        out_shape: int | Sequence[int] | None = None,
    ):
        super().__init__(channels, hidden, activation, in_shape, out_shape)
        self.blocks = blocks
        if not self.open:
            self.layers = self.decoder(blocks)
