"""Users' torch modules as networks."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from vaekit.networks import MLP, Foreign, KerasNetwork, as_network, ends_in


class Heads(nn.Module):
    """A usual encoder: mu, log sigma^2 and a draw."""

    def __init__(self, give: str):
        super().__init__()
        self.give = give
        self.mu, self.log_var = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor):
        mu, log_var = self.mu(x.flatten(1)), self.log_var(x.flatten(1))
        return {
            "pair": (mu, log_var),
            "list": [mu, log_var, mu + log_var.exp()],
            "one": [torch.cat([mu, log_var], 1)],
            "tensor": torch.cat([mu, log_var], 1),
            "maps": (mu[..., None, None], log_var[..., None, None]),
            "dict": {"mu": mu, "log_var": log_var},
            "other order": {"z": mu, "log_var": log_var, "mu": mu},
            "unnamed": {"a": mu, "b": log_var},
        }[self.give]


@pytest.mark.parametrize("give", ["pair", "list", "one", "tensor", "maps", "dict", "other order", "unnamed"])
def test_mu_and_log_var_are_joined_however_they_are_given(give: str) -> None:
    module, x = Heads(give), torch.randn(5, 2, 3)
    expected = torch.cat([module.mu(x.flatten(1)), module.log_var(x.flatten(1))], 1)
    torch.testing.assert_close(Foreign(module, (2, 3), 4)(x), expected)


def test_a_decoder_s_rows_are_given_the_data_s_shape() -> None:
    module, z = nn.Sequential(nn.Linear(2, 12), nn.Sigmoid()), torch.randn(5, 2)
    torch.testing.assert_close(Foreign(module, 2, (1, 3, 4))(z), module(z).reshape(5, 1, 3, 4))
    last = nn.Sequential(nn.Linear(2, 24), nn.Unflatten(1, (3, 4, 2)))
    torch.testing.assert_close(Foreign(last, 2, (2, 3, 4))(z), last(z).movedim(-1, 1))


def test_an_adapter_is_a_network() -> None:
    members = [Foreign(Heads("pair")).resolve_shapes(in_shape=(2, 3), out_shape=4) for _ in range(3)]
    x = torch.randn(5, 2, 3)
    together = vmap(lambda p: functional_call(members[0], p, (x,)))(stack_module_state(members)[0])
    torch.testing.assert_close(together, torch.stack([member(x) for member in members]))
    assert members[0].stackable and members[0].arguments()["module"] is members[0].module
    again = Foreign(**{**members[0].arguments(), "module": Heads("pair")})
    again.load_state_dict(members[0].state_dict())
    torch.testing.assert_close(again(x), members[0](x))
    apart = copy.deepcopy(members[0])
    with torch.no_grad():
        apart.module.mu.weight.add_(1)
    assert not torch.equal(apart(x), members[0](x))


def test_the_trial_leaves_modes_and_statistics_alone_and_fills_lazy_layers() -> None:
    frozen = nn.BatchNorm1d(6).eval()
    module = nn.Sequential(nn.Flatten(), frozen, nn.LazyLinear(4))
    network = Foreign(module, (2, 3), 4)
    assert module.training and not frozen.training and frozen.num_batches_tracked == 0
    assert module[-1].weight.shape == (4, 6) and not network.stackable


def test_anything_becomes_a_network() -> None:
    ours = MLP()
    assert as_network(ours) is ours and as_network(ours, 3, 2).in_shape == (3,)
    assert isinstance(as_network(nn.Linear(3, 2), 3, 2), Foreign)


@pytest.mark.parametrize(
    ("module", "ending"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()), "sigmoid"),
        (nn.Sequential(nn.Linear(2, 4), nn.Sequential(nn.Tanh(), nn.Unflatten(1, (2, 2)))), "tanh"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softplus(), nn.Identity()), "softplus"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(1)), "softmax"),
        (nn.Sequential(nn.Sigmoid(), nn.Linear(2, 2)), None),
        (nn.Sequential(nn.Flatten()), None),
        (Heads("pair"), None),
        (Foreign(nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()), 2, 2), "sigmoid"),
    ],
)
def test_the_last_activation_is_told(module: nn.Module, ending: str | None) -> None:
    assert ends_in(module) == ending


ElsewhereKeras = type("Functional", (), {"__module__": "keras.src.models.functional"})

WRONG = [
    (
        lambda: Foreign(Heads("pair"), (2, 3), 10),
        ValueError,
        r"Heads gives \(2, 4\) .* is needed, that is 10 numbers",
    ),
    (
        lambda: Foreign(nn.Linear(784, 4), (28, 28), 4),
        ValueError,
        r"Linear cannot read rows .*: .*nn.Flatten",
    ),
    (lambda: Foreign(nn.Conv2d(1, 4, 28), (28, 28), 4), ValueError, r"Conv2d (gives|cannot read)"),
    (lambda: Foreign(nn.LSTM(4, 2), (3, 4), 6), TypeError, "got a tuple of Tensor, tuple: return tensors"),
    (lambda: Foreign(nn.Linear(3, 2))(torch.zeros(1, 3)), ValueError, "Foreign is open"),
    (lambda: Foreign(torch.relu), TypeError, "expected a network, .* a torch.nn.Module of your own"),
    (lambda: as_network("mlp"), TypeError, "expected a network"),
    (lambda: as_network(ElsewhereKeras()), TypeError, "set KERAS_BACKEND=torch before importing keras"),
    (lambda: KerasNetwork(nn.Linear(2, 2)), TypeError, "got a Linear: use Foreign"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_what_does_not_fit_is_said_at_construction(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
