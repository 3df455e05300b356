"""Series: the steps are torch's, padding is nothing, and no step reads a later one where it must not."""

import pytest
import torch
import torch.nn.functional as F
from compositions import STEPS
from torch import nn

from vaekit.networks import Recurrent, SequenceDecoder, SequenceEncoder, TemporalConv, Transformer

each = pytest.mark.parametrize("steps", STEPS)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def ends(length: int, *lasts: int) -> torch.Tensor:
    """(B, T): 1 up to where each row ends."""
    return (torch.arange(length) < torch.tensor(lasts)[:, None]).double()


# -- values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_recurrent_steps_are_torch_s(cell: str, x: torch.Tensor) -> None:
    ours = Recurrent(6, 2, cell, n_in=5).double()
    theirs = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](5, 6, 2, batch_first=True).double()
    weights = {}
    for k, (read, carry) in enumerate(zip(ours.read, ours.carry)):
        weights |= {f"weight_ih_l{k}": read.weight, f"weight_hh_l{k}": carry.weight}
        open_gate = torch.zeros_like(read.bias)
        open_gate[6:12] = cell == "lstm"
        weights |= {f"bias_ih_l{k}": read.bias + open_gate, f"bias_hh_l{k}": carry.bias}
    theirs.load_state_dict(weights)
    torch.testing.assert_close(ours(x), theirs(x)[0])


def test_a_layer_of_attention_is_torch_s(x: torch.Tensor) -> None:
    ours = Transformer(8, 1, 2, n_in=5).double()
    theirs = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True).double()
    attention = {"in_proj_weight": ours.ask[0].weight, "in_proj_bias": ours.ask[0].bias}
    theirs.self_attn.load_state_dict(attention | {f"out_proj.{n}": t for n, t in ours.join[0].state_dict().items()})
    theirs.linear1.load_state_dict(ours.up[0].state_dict())
    theirs.linear2.load_state_dict(ours.down[0].state_dict())
    later, there = torch.ones(9, 9).triu(1).bool(), ends(9, 9, 7, 3, 1)
    torch.testing.assert_close(ours(x), F.layer_norm(theirs(ours.read(x), src_mask=later), (8,)))
    seen = F.layer_norm(theirs(ours.read(x), src_key_padding_mask=there == 0), (8,))
    torch.testing.assert_close(ours(x, there)[there > 0], seen[there > 0])


@pytest.mark.parametrize("causal", [True, False])
def test_temporal_convolutions_are_torch_s(causal: bool, x: torch.Tensor) -> None:
    ours = TemporalConv(6, 3, n_in=5).double()
    h = ours.read(x).mT
    for gap, taps, mix in zip((1, 2, 4), ours.taps, ours.mix):
        kernel = taps.weight.unflatten(1, (3, 6)).mT  # (out, in, tap)
        padded = F.pad(h.relu(), (2 * gap, 0) if causal else (gap, gap))
        convolved = F.conv1d(padded, kernel, taps.bias, dilation=gap).relu()
        h = h + F.conv1d(convolved, mix.weight[:, :, None], mix.bias)
    torch.testing.assert_close(ours(x, None if causal else torch.ones(4, 9).double()), h.relu().mT)


# -- laws --------------------------------------------------------------------------------------------


@each
def test_no_step_reads_a_later_one(steps: str) -> None:
    decoder = SequenceDecoder(STEPS[steps](), (2, 7, 3), 4, (2, 7, 3)).double()
    before = torch.randn(1, 2, 7, 3, dtype=torch.float64)
    z = torch.randn(1, 4, dtype=torch.float64)
    reads = torch.autograd.functional.jacobian(lambda b: decoder(z, b).sum((0, 1, 3)), before)[:, 0].abs().sum((1, 3))
    assert (reads.triu(1) == 0).all()
    assert (reads.diagonal() > 0).all()
    assert (reads[1:].diagonal() > 0).all()


@each
def test_the_first_steps_are_the_same_however_many_follow(steps: str) -> None:
    decoder = SequenceDecoder(STEPS[steps](), in_shape=4, out_shape=(2, 9, 3)).double()
    shorter = SequenceDecoder(decoder.steps, in_shape=4, out_shape=(2, 5, 3)).double()
    shorter.load_state_dict(decoder.state_dict())
    z = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(decoder(z)[:, :, :5], shorter(z))


@each
def test_neither_what_padding_holds_nor_how_long_it_is_changes_anything(steps: str) -> None:
    encoder = SequenceEncoder(STEPS[steps](), (2, 9, 3), 4).double()
    longer = SequenceEncoder(encoder.steps, (2, 12, 3), 4).double()
    longer.load_state_dict(encoder.state_dict())
    values, there = torch.randn(4, 9, 3, dtype=torch.float64), ends(9, 9, 6, 1, 0)[:, :, None].expand(-1, -1, 3)
    plain = encoder(torch.stack([there, values], 1))
    other = torch.where(there > 0, values, 100 * torch.randn_like(values))
    torch.testing.assert_close(encoder(torch.stack([there, other], 1)), plain, rtol=0, atol=0)
    further = F.pad(torch.stack([there, values], 1), (0, 0, 0, 3))
    torch.testing.assert_close(longer(further), plain)


@each
def test_a_gap_before_the_end_is_a_step(steps: str) -> None:
    encoder = SequenceEncoder(STEPS[steps](), (2, 9, 3), 4).double()
    x = torch.stack([torch.ones(1, 9, 3), torch.randn(1, 9, 3)], 1).double()
    gap = x.clone()
    gap[:, :, 4] = 0
    assert not torch.allclose(encoder(x), encoder(gap))
    closed = torch.cat([gap[:, :, :4], gap[:, :, 5:], torch.zeros(1, 2, 1, 3).double()], 2)
    assert not torch.allclose(encoder(gap), encoder(closed))


# -- what is refused ---------------------------------------------------------------------------------

WRONG = {
    "flat rows": (
        lambda: SequenceEncoder(Recurrent(4), in_shape=(10,)),
        r"expected series of \(T, C\).*got flat rows: give rows of one number a step as x\[..., None\]",
    ),
    "flat rows out": (lambda: SequenceDecoder(Recurrent(4), out_shape=(10,)), r"got flat rows.*\(N, T, 1\)"),
    "films": (lambda: SequenceEncoder(Recurrent(4), in_shape=(1, 2, 3, 4)), r"got rows of \(1, 2, 3, 4\)"),
    "a cell": (lambda: Recurrent(4, cell="rnn"), 'expected "gru" or "lstm"'),
    "no width": (lambda: TemporalConv(0), r"TemporalConv\(width=0\): expected a whole number from 1"),
    "heads": (lambda: Transformer(6, heads=4), "expected heads that part the width evenly"),
    "another size": (lambda: SequenceEncoder(Recurrent(4, n_in=3), (2, 7, 3), 4), "built with n_in=3 but .* n_in=4"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls_say_what_to_do(name: str) -> None:
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call()
