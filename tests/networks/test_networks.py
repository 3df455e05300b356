"""Every network of ours keeps the laws of a network, on every shape it reads."""

import json
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from vaekit.networks import (
    ACTIVATIONS,
    MLP,
    ConvDecoder,
    ConvEncoder,
    Foreign,
    Network,
    Recurrent,
    ResidualDecoder,
    ResidualEncoder,
    SequenceDecoder,
    SequenceEncoder,
    TemporalConv,
    Transformer,
    initialise,
)
from vaekit.storage import describe, rebuild

IMAGES = [(1, 8, 8), (3, 9, 13), (1, 28, 28), (28, 31), (3, 64, 64)]
NARROW = {"channels": (8, 6, 4), "hidden": 16}


def table() -> dict[str, Network]:
    cases: dict[str, Network] = {
        "MLP flat": MLP((12, 7), "tanh", in_shape=5, out_shape=3),
        "MLP linear": MLP((), in_shape=5, out_shape=(2, 3)),
    }
    for shape in IMAGES:
        cases |= {
            f"MLP {shape}": MLP((8,), in_shape=shape, out_shape=4),
            f"MLP to {shape}": MLP((8,), in_shape=4, out_shape=shape),
        }
        for encoder, decoder in [(ConvEncoder, ConvDecoder), (ResidualEncoder, ResidualDecoder)]:
            for few in [NARROW, {"channels": (5,), "hidden": None}]:
                n = len(few["channels"])
                size = tuple(side >> n for side in shape[-2:])
                cases |= {
                    f"{encoder.__name__} {n} {shape}": encoder(**few, in_shape=shape, out_shape=4),
                    f"{encoder.__name__} {n} {shape} to map": encoder(**few, in_shape=shape, out_shape=(3, *size)),
                    f"{decoder.__name__} {n} to {shape}": decoder(**few, in_shape=4, out_shape=shape),
                    f"{decoder.__name__} {n} map to {shape}": decoder(**few, in_shape=(3, *size), out_shape=shape),
                }
    for steps in (Recurrent(5), Recurrent(5, 2, "lstm"), TemporalConv(5, 2), Transformer(6, 2, 2)):
        name = f"{type(steps).__name__}, {steps.layers}"
        cases |= {
            f"series by {name}": SequenceEncoder(steps, in_shape=(2, 7, 3), out_shape=4),
            f"series by {name} from (7, 3)": SequenceEncoder(steps, in_shape=(7, 3), out_shape=(2, 2)),
            f"{name} to (2, 7, 3)": SequenceDecoder(steps, in_shape=4, out_shape=(2, 7, 3)),
            f"{name} to (7, 3)": SequenceDecoder(steps, in_shape=(2, 2), out_shape=(7, 3)),
        }
    cases["ResidualEncoder of 2 blocks"] = ResidualEncoder((16,), 2, None, "gelu", in_shape=(1, 8, 9), out_shape=2)
    return cases


CASES = table()


@pytest.fixture(params=CASES)
def network(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(0)
    return rebuilt(CASES[request.param])


def rebuilt(network: Network) -> Network:
    """A network with weights of its own, from what would be written of the given one."""
    return rebuild(json.loads(json.dumps(describe(network)))).double()


def rows(network: Network, n: int = 3) -> torch.Tensor:
    assert network.in_shape is not None
    return torch.randn(n, *network.in_shape, dtype=next(network.parameters()).dtype)


def test_rows_of_the_shape_read_become_rows_of_the_shape_given(network: Network) -> None:
    for n in (1, 3):
        assert network(rows(network, n)).shape == (n, *network.out_shape)


def test_a_row_does_not_depend_on_its_batch(network: Network) -> None:
    x = rows(network)
    other = torch.cat([x[:1], 100 * torch.randn_like(x)])
    torch.testing.assert_close(network(other)[:1], network(x[:1]))
    torch.testing.assert_close(network(x.flip(0)).flip(0), network(x))
    network.eval()
    torch.testing.assert_close(network(x)[:1], network.train()(x[:1]))


def test_a_gradient_reaches_every_parameter(network: Network) -> None:
    y = network(rows(network, 8))
    (y * torch.randn_like(y)).sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_vmap_over_stacked_parameters_is_a_loop(network: Network) -> None:
    members = [network, *(rebuilt(network) for _ in range(2))]
    x, stacked = rows(network), stack_module_state(members)
    assert network.stackable
    together = vmap(lambda parameters: functional_call(network, parameters, (x,)))(stacked[0])
    torch.testing.assert_close(together, torch.stack([member(x) for member in members]))


def test_a_network_is_rebuilt_from_its_arguments(network: Network) -> None:
    again = rebuilt(network)
    assert describe(again) == describe(network)
    assert {n: p.shape for n, p in again.state_dict().items()} == {n: p.shape for n, p in network.state_dict().items()}
    again.load_state_dict(network.state_dict())
    x = rows(network)
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)


def test_a_network_runs_on_the_meta_device_and_in_float32(network: Network) -> None:
    x = rows(network)
    expected = network(x)
    torch.testing.assert_close(network.float()(x.float()).double(), expected, rtol=1e-3, atol=1e-4)
    y = network.to("meta")(x.float().to("meta"))
    y.sum().backward()
    assert y.device.type == "meta" and y.shape == (3, *network.out_shape)


@pytest.mark.parametrize("kind", [MLP, ConvEncoder, ConvDecoder, ResidualEncoder, ResidualDecoder])
def test_an_open_network_is_settled_by_its_neighbours(kind: type[Network]) -> None:
    shapes = {"in_shape": (1, 8, 8), "out_shape": (4,)}
    if "Decoder" in kind.__name__:
        shapes = {"in_shape": (4,), "out_shape": (1, 8, 8)}
    network = kind()
    assert network.open and not list(network.parameters())
    with pytest.raises(ValueError, match=f"{kind.__name__} is open: in_shape=None, out_shape=None; pass"):
        network(torch.zeros(2, *shapes["in_shape"]))
    half = network.resolve_shapes(in_shape=shapes["in_shape"])
    assert half.open and half.in_shape == shapes["in_shape"]
    whole = half.resolve_shapes(out_shape=list(shapes["out_shape"]))
    assert not whole.open and whole(torch.zeros(2, *shapes["in_shape"])).shape[1:] == shapes["out_shape"]
    assert whole.resolve_shapes(**shapes) is whole
    with pytest.raises(ValueError, match=r"but the parts around it need in_shape=\(5,\)"):
        whole.resolve_shapes(in_shape=5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_makes_a_network(name: str) -> None:
    x = torch.randn(4, 5)
    first, act, last = MLP((6,), name, in_shape=5, out_shape=2).layers[1:]
    torch.testing.assert_close(last(act(first(x))), nn.Sequential(first, ACTIVATIONS[name](), last)(x))
    assert isinstance(act, ACTIVATIONS[name])


@pytest.mark.parametrize("shape", IMAGES)
def test_an_encoder_s_map_is_the_size_it_foretells(shape: tuple[int, ...]) -> None:
    encoder = ConvEncoder((4, 4), None)
    size = encoder.map_size(shape)
    assert size == (shape[-2] // 4, shape[-1] // 4)
    maps = encoder.resolve_shapes(in_shape=shape, out_shape=(7, *size))(torch.zeros(2, *shape))
    assert maps.shape == (2, 7, *size)
    assert ConvDecoder((4, 4)).map_size(shape) == size


def test_every_pixel_is_read_and_written() -> None:
    x = torch.randn(1, 1, 9, 13, dtype=torch.double, requires_grad=True)
    ConvEncoder((8, 8, 8), None, "silu", (1, 9, 13), 4).double()(x).sum().backward()
    assert (x.grad != 0).all()
    z = torch.randn(1, 4, dtype=torch.double)
    decoder = ConvDecoder((8, 8, 8), None, "silu", 4, (1, 9, 13)).double()
    assert ((decoder(z) - decoder(z + 1)).abs() > 0).all()


# -- starting weights --------------------------------------------------------------------------------

WEIGHTED = {
    "dense": (MLP((), in_shape=300, out_shape=200), 300 + 200),
    "convolution": (ConvEncoder((64,), None, in_shape=(32, 8, 8), out_shape=(16, 4, 4)), 16 * (32 + 64)),
    "transposed": (ConvDecoder((64,), None, in_shape=(64, 4, 4), out_shape=(32, 8, 8)), 16 * (64 + 32)),
}


def weight_of(name: str) -> nn.Parameter:
    layer = {"dense": nn.Linear, "convolution": nn.Conv2d, "transposed": nn.ConvTranspose2d}[name]
    return next(m for m in WEIGHTED[name][0].modules() if isinstance(m, layer)).weight


@pytest.mark.parametrize("name", WEIGHTED)
def test_glorot_weights_fill_their_bounds_and_biases_are_zero(name: str) -> None:
    network, fans = WEIGHTED[name]
    initialise(network, "glorot", torch.Generator().manual_seed(0))
    weight, bound = weight_of(name).detach(), math.sqrt(6 / fans)
    assert 0.999 * bound < weight.abs().max() <= bound
    # the mean square of a uniform is bound^2 / 3, with standard error bound^2 sqrt(4 / 45 / n)
    assert abs(weight.square().mean() - bound**2 / 3) < 4 * bound**2 * math.sqrt(4 / 45 / weight.numel())
    assert all((p == 0).all() for n, p in network.named_parameters() if n.endswith("bias"))


def test_glorot_bounds_are_those_of_each_head() -> None:
    network = MLP((), heads=2, in_shape=300, out_shape=200)
    initialise(network, "glorot", torch.Generator().manual_seed(0))
    for head in network.layers[-1].weight.detach().chunk(2):
        assert 0.999 * math.sqrt(6 / (300 + 100)) < head.abs().max() <= math.sqrt(6 / (300 + 100))


def test_a_gated_layer_is_one_layer_times_the_sigmoid_of_another():
    torch.manual_seed(0)
    network, x = MLP((4,), activation="gated", in_shape=3, out_shape=2), torch.randn(5, 3)
    first, last = network.layers[1], network.layers[3]
    hidden = (x @ first.weight[:4].T + first.bias[:4]) * torch.sigmoid(x @ first.weight[4:].T + first.bias[4:])
    torch.testing.assert_close(network(x), hidden @ last.weight.T + last.bias)
    wide = MLP((200,), activation="gated", in_shape=300, out_shape=2)
    initialise(wide, "glorot")
    assert float(wide.layers[1].weight.detach().abs().max()) == pytest.approx((6 / 500) ** 0.5, rel=1e-3)


@pytest.mark.parametrize(("name", "fan_in"), [("dense", 300), ("convolution", 16 * 32), ("transposed", 4 * 64)])
def test_he_weights_have_twice_the_variance_of_one_over_the_fan(name: str, fan_in: int) -> None:
    network = initialise(WEIGHTED[name][0], "he", torch.Generator().manual_seed(0))
    weight = weight_of(name).detach()
    assert abs(weight.square().mean() / (2 / fan_in) - 1) < 4 * math.sqrt(2 / weight.numel())
    assert all((p == 0).all() for n, p in network.named_parameters() if n.endswith("bias"))


@pytest.mark.parametrize("name", WEIGHTED)
def test_torch_s_scheme_is_reset_parameters(name: str) -> None:
    network = initialise(WEIGHTED[name][0], "torch", torch.Generator().manual_seed(3))
    ours = [p.clone() for p in network.parameters()]
    torch.manual_seed(3)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    for p, q in zip(ours, network.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)


@pytest.mark.parametrize("scheme", ["glorot", "he", "torch"])
def test_starting_weights_follow_their_generator(scheme: str) -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        network = ResidualEncoder(**NARROW, in_shape=(1, 8, 8), out_shape=4)
        torch.randn(seed)  # the global generator plays no part
        initialise(network, scheme, torch.Generator().manual_seed(seed))
        return [p.detach().clone() for p in network.parameters() if p.dim() > 1]

    assert all(torch.equal(p, q) for p, q in zip(drawn(1), drawn(1), strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(drawn(1), drawn(2), strict=True))


def test_users_modules_and_layers_outside_networks_keep_their_weights() -> None:
    model = nn.ModuleDict(
        {
            "ours": MLP((4,), in_shape=3, out_shape=2),
            "theirs": Foreign(nn.Linear(3, 2), 3, 2),
            "head": nn.Linear(3, 2),
        }
    )
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    initialise(model, "glorot", torch.Generator().manual_seed(0))
    changed = {n.split(".")[0] for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {"ours"}


# -- wrong calls -------------------------------------------------------------------------------------

WRONG = [
    (lambda: MLP(activation="rellu"), 'expected "relu", .* or "gated": did you mean "relu"'),
    (lambda: ConvEncoder(activation="Leaky"), 'did you mean "leaky_relu"'),
    (lambda: MLP(hidden=(0,)), "a list or tuple of whole numbers from 1: 0 is not allowed"),
    (lambda: MLP(heads=2, in_shape=3, out_shape=5), r"5 outputs do not part into that many"),
    (
        lambda: MLP(in_shape=(3, 0)),
        r"MLP\(in_shape=\(3, 0\)\): expected a row's shape of positive sizes, without the batch",
    ),
    (lambda: MLP((), in_shape=4, out_shape=2)(torch.zeros(3, 5)), r"reads rows of \(4,\) but got \(5,\)"),
    (lambda: ConvEncoder(channels=()), "expected a non-empty list or tuple of whole numbers from 1"),
    (lambda: ResidualEncoder(blocks=0), r"ResidualEncoder\(blocks=0\): expected a whole number from 1"),
    (lambda: ConvEncoder(in_shape=(1, 7, 9), out_shape=2), "at least 8 x 8 pixels, got 7 x 9: give fewer"),
    (
        lambda: ConvEncoder(in_shape=784, out_shape=2),
        r"expected images .* got rows of \(784,\): use",
    ),
    (
        lambda: ResidualEncoder(in_shape=(1, 28, 28), out_shape=(64, 7, 7)),
        r"to maps of 3 x 3, not 7 x 7: use out_shape=\(64, 3, 3\)",
    ),
    (
        lambda: ConvDecoder(in_shape=(64, 4, 4), out_shape=(1, 28, 28)),
        r"to maps of 3 x 3, not 4 x 4: use in_shape=\(64, 3, 3\)",
    ),
    (lambda: initialise(MLP(), "xavier"), "expected one of glorot, he, torch"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_wrong_calls_say_what_was_expected(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_no_network_normalises_over_the_batch() -> None:
    layers = [m for network in CASES.values() for m in network.modules()]
    assert any(isinstance(m, nn.GroupNorm) for m in layers)
    assert not any(isinstance(m, nn.modules.batchnorm._NormBase) for m in layers)
