"""Which modules count as code that may draw from the global generators."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from vaekit.core import may_draw


class Noisy(nn.Module):
    """A parametrization that draws numbers."""

    def forward(self, weight):
        return weight + torch.randn_like(weight)


class Own(nn.Linear):
    """A layer of the user's."""


LAYERS = {
    "linear": (lambda: nn.Linear(3, 3), False),
    "convolution": (lambda: nn.Conv2d(3, 3, 3), False),
    "recurrent": (lambda: nn.GRU(3, 3), False),
    "recurrent with dropout": (lambda: nn.LSTM(3, 3, 2, dropout=0.5), True),
    "user's": (lambda: Own(3, 3), True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_parametrization_that_draws_nothing_changes_nothing(name):
    make, draws = LAYERS[name]
    plain = make()
    parametrized = copy.deepcopy(plain)
    weight = next(name for name, _ in plain.named_parameters())
    parametrize.register_parametrization(parametrized, weight, nn.Identity())
    assert type(parametrized) is not type(plain)
    assert may_draw(plain) is may_draw(parametrized) is draws


def test_a_parametrization_of_the_users_may_draw():
    layer = nn.Linear(3, 3)
    parametrize.register_parametrization(layer, "weight", Noisy())
    assert may_draw(layer)
