"""What carries numbers from step to step of a series: recurrence, dilated convolution, attention."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Component

Cell = Literal["gru", "lstm"]


class Steps(Component):
    """Series in, series out: (B, T, n_in) -> (B, T, width). n_in is settled by the network that holds it.

    With `there`, (B, T), 1 up to where a row ends and 0 after it, every step may read all that are there, and what is
    not changes nothing, whatever it holds and however long it is. Without it, step t reads the steps up to t only.
    """

    def __init__(self, width: int, layers: int, n_in: int | None = None):
        super().__init__()
        self.width, self.layers, self.n_in = width, layers, n_in

    def forward(self, steps: Tensor, there: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def pooled(self, steps: Tensor, there: Tensor) -> Tensor:
        """(B, width): the mean of the steps that are there; zeros where none is."""
        return (steps * there.unsqueeze(-1)).sum(1) / there.sum(1, keepdim=True).clamp(min=1)


class Recurrent(Steps):
    """Gated recurrent units, `n = tanh(a + r (U h + b))`, `h' = (1 - u) n + u h`, or long short-term memory.

    cell: "gru" (Cho et al. 2014, arXiv:1406.1078) or "lstm" (Hochreiter & Schmidhuber 1997), whose gate that forgets
    starts open (Jozefowicz et al. 2015). The state stays as it is over steps that are not there; its last value is
    what a series is pooled to. All steps of a layer are projected at once; the loop is over what the state is for.
    """

    def __init__(self, width: int = 128, layers: int = 1, cell: Cell = "gru", n_in: int | None = None):
        super().__init__(width, layers, n_in)
        self.cell, gates = cell, 3 if cell == "gru" else 4
        if n_in is not None:
            self.read = nn.ModuleList(nn.Linear(n, gates * width) for n in (n_in, *[width] * (layers - 1)))
            self.carry = nn.ModuleList(nn.Linear(width, gates * width) for _ in range(layers))
            for linear in (*self.read, *self.carry):
                linear.heads = gates

    def forward(self, steps: Tensor, there: Tensor | None = None) -> Tensor:
        for read, carry in zip(self.read, self.carry):
            steps = self._layer(read(steps), carry, there)
        return steps

    def _layer(self, read: Tensor, carry: nn.Module, there: Tensor | None) -> Tensor:
        advance = self._gru if self.cell == "gru" else self._lstm
        state = read.new_zeros(len(read), self.width if self.cell == "gru" else 2 * self.width)
        states = []
        for t, now in enumerate(read.unbind(1)):
            new = advance(now, carry, state)
            state = new if there is None else torch.where(there[:, t, None] > 0, new, state)
            states.append(state[:, : self.width])
        return torch.stack(states, 1)

    def _gru(self, now: Tensor, carry: nn.Module, h: Tensor) -> Tensor:
        reset, keep, new = now.chunk(3, -1)
        reset_by, keep_by, new_by = carry(h).chunk(3, -1)
        keep = torch.sigmoid(keep + keep_by)
        new = torch.tanh(new + torch.sigmoid(reset + reset_by) * new_by)
        return new + keep * (h - new)

    def _lstm(self, now: Tensor, carry: nn.Module, state: Tensor) -> Tensor:
        h, memory = state.chunk(2, -1)
        write, forget, new, give = (now + carry(h)).chunk(4, -1)
        memory = torch.sigmoid(forget + 1) * memory + torch.sigmoid(write) * torch.tanh(new)
        return torch.cat([torch.sigmoid(give) * torch.tanh(memory), memory], -1)

    def pooled(self, steps: Tensor, there: Tensor) -> Tensor:
        return steps[:, -1]


class TemporalConv(Steps):
    """Residual convolutions over time whose dilation doubles from layer to layer: three taps, 1, 2, 4, ... steps apart.

    `layers` of them read 2^(layers + 1) - 1 steps, around a step or up to it. Bai et al. 2018, arXiv:1803.01271.
    """

    def __init__(self, width: int = 64, layers: int = 4, n_in: int | None = None):
        super().__init__(width, layers, n_in)
        if n_in is not None:
            self.read = nn.Linear(n_in, width)
            self.taps = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(layers))
            self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, steps: Tensor, there: Tensor | None = None) -> Tensor:
        h = self.read(steps)
        for layer, (taps, mix) in enumerate(zip(self.taps, self.mix)):
            active = torch.relu(h) if there is None else torch.relu(h) * there.unsqueeze(-1)
            h = h + mix(torch.relu(taps(self._apart(active, 2**layer, there is None))))
        return torch.relu(h)

    def _apart(self, h: Tensor, gap: int, causal: bool) -> Tensor:
        """(B, T, 3 width): each step beside two more, `gap` apart, zero where the series has not begun or has ended."""
        length = h.shape[1]
        before, after = (2 * gap, 0) if causal else (gap, gap)
        padded = F.pad(h, (0, 0, before, after))
        return torch.cat([padded[:, start : start + length] for start in (0, gap, 2 * gap)], -1)


class Transformer(Steps):
    """Self-attention of `heads` heads and a dense layer, by turns, each added to what it reads, normalised before.

    Vaswani et al. 2017, arXiv:1706.03762, with the order of Xiong et al. 2020, arXiv:2002.04745.
    """

    def __init__(self, width: int = 64, layers: int = 2, heads: int = 4, n_in: int | None = None):
        super().__init__(width, layers, n_in)
        if heads < 1 or width % heads:
            raise ValueError(f"Transformer(width={width}, heads={heads}): expected heads that part the width evenly")
        self.heads = heads
        if n_in is not None:
            self.read = nn.Linear(n_in, width)
            shapes = {"ask": (width, 3 * width), "join": (width, width), "up": (width, 4 * width)}
            shapes["down"] = (4 * width, width)
            for name, shape in shapes.items():
                setattr(self, name, nn.ModuleList(nn.Linear(*shape) for _ in range(layers)))
            for linear in self.ask:
                linear.heads = 3

    def forward(self, steps: Tensor, there: Tensor | None = None) -> Tensor:
        h = self.read(steps)
        if there is None:
            place = torch.arange(h.shape[1], device=h.device)
            open_ = place[:, None] >= place
        else:
            open_ = (there > 0)[:, None, None, :]
        for ask, join, up, down in zip(self.ask, self.join, self.up, self.down):
            h = h + join(self._attend(ask(self._level(h)), open_))
            h = h + down(F.gelu(up(self._level(h))))
        return self._level(h)

    def _level(self, h: Tensor) -> Tensor:
        return F.layer_norm(h, (self.width,))

    def _attend(self, asked: Tensor, open_: Tensor) -> Tensor:
        query, key, value = asked.unflatten(-1, (3, self.heads, -1)).movedim(-2, 1).unbind(-2)
        scores = query @ key.mT / math.sqrt(self.width // self.heads)
        weights = torch.where(open_, scores, -1e9).softmax(-1)
        return (weights @ value).movedim(1, -2).flatten(-2)
