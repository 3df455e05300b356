"""Quantisers: the codes they give, the gradient they pass on, what they cost, and how the use of codes is told."""

import itertools
import math

import pytest
import torch
from torch.special import entr

import vaekit as vk
from vaekit import latents as lt
from vaekit.core import ForwardContext, Source
from vaekit.latents.quantised import carried
from vaekit.objectives.base import code_use


def scope(seed=0):
    return ForwardContext.of(Source(seed, dtype=torch.float64))


def vectors(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# -- gradients --------------------------------------------------------------------------------------


def test_the_rotation_turns_the_gradient_as_it_turns_the_vector():
    """The matrix written out: R e is q's direction, the gradient |q|/|e| R^T g; the value stays the code."""
    e, q, g = (vectors(4, 3, seed=s) for s in range(3))
    leaf = e.clone().requires_grad_()
    out = carried(leaf, q, "rotation")
    torch.testing.assert_close(out, q, rtol=0, atol=1e-14)
    (out * g).sum().backward()
    eye = torch.eye(3, dtype=torch.float64)
    for k in range(4):
        a, b = e[k] / e[k].norm(), q[k] / q[k].norm()
        r = (a + b) / (a + b).norm()
        turn = eye - 2 * torch.outer(r, r) + 2 * torch.outer(b, a)
        torch.testing.assert_close(turn @ a, b)
        torch.testing.assert_close(turn @ turn.T, eye, rtol=0, atol=1e-12)
        torch.testing.assert_close(leaf.grad[k], q[k].norm() / e[k].norm() * turn.T @ g[k])


def test_a_rotation_onto_itself_is_straight():
    e = vectors(5, 3).requires_grad_()
    carried(e, e.detach(), "rotation").square().sum().backward()
    torch.testing.assert_close(e.grad, 2 * e.detach())


def test_a_vector_of_zeros_turns_into_numbers():
    e = torch.zeros(1, 3, requires_grad=True)
    carried(e, torch.ones(1, 3), "rotation").sum().backward()
    assert e.grad.isfinite().all()


# -- finite scalar ----------------------------------------------------------------------------------


def test_finite_scalars_lie_on_their_grid_and_reach_all_of_it():
    book = lt.FiniteScalar((8, 5, 2), positions=1).double()
    out = book.quantise(vectors(20_000, 1, 3, scale=3.0))
    for levels, values in zip(book.levels, out.codes.flatten(0, 1).T):
        half = levels // 2
        assert torch.equal(values.unique(), torch.arange(-half, levels - half, dtype=torch.float64) / half)
    assert torch.equal(out.indices.unique(), torch.arange(8 * 5 * 2))
    assert torch.equal(book.lookup(out.indices), out.codes)


@pytest.mark.parametrize("far", [1.0, 1e6])
def test_finite_scalars_stay_on_their_grid_far_away(far):
    book = lt.FiniteScalar((8, 5), positions=1)
    indices = book.quantise(far * torch.tensor([[[-50.0, -50.0]], [[50.0, 50.0]]])).indices
    assert indices.flatten().tolist() == [0, 39]


def test_the_gradient_of_finite_scalars_is_that_of_the_bound():
    book, step = lt.FiniteScalar((8, 5), positions=1).double(), 1e-6
    leaf = vectors(6, 1, 2).requires_grad_()
    book.quantise(leaf).codes.sum().backward()
    slope = (book.bound(leaf + step) - book.bound(leaf - step)) / (2 * step) / book.width
    torch.testing.assert_close(leaf.grad, slope.detach(), rtol=1e-7, atol=1e-9)
    assert torch.equal(book.bound(torch.zeros(2, dtype=torch.float64)).round(), torch.zeros(2, dtype=torch.float64))


# -- lookup-free ------------------------------------------------------------------------------------


def test_a_lookup_free_code_is_the_sign():
    book, e = lt.LookupFree(4, positions=3).double(), vectors(50, 3, 4)
    out = book.quantise(e)
    assert torch.equal(out.codes, torch.where(e > 0, 1.0, -1.0).double())
    assert torch.equal(out.indices, ((e > 0) * 2 ** torch.arange(4)).sum(-1, keepdim=True))
    assert torch.equal(book.lookup(out.indices), out.codes)


def test_the_entropy_of_a_row_s_codes_is_that_over_all_codes_written_out():
    book, e = lt.LookupFree(3, positions=2, temperature=0.7).double(), vectors(5, 2, 3, scale=0.3)
    codes = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    each = (-(e.unsqueeze(-2) - codes).square().sum(-1) / 0.7).softmax(-1)
    unsure = entr(each).sum((1, 2))
    bits = (each.mean((0, 1)).unsqueeze(-1) * (codes > 0)).sum(0)
    together = (entr(bits) + entr(1 - bits)).sum()
    torch.testing.assert_close(book.unevenness(e, scope()), unsure - 2 * together)


def test_the_entropy_penalty_is_least_where_rows_are_sure_and_use_all_codes():
    book = lt.LookupFree(2, positions=1).double()
    corners = 20 * torch.tensor(list(itertools.product((-1.0, 1.0), repeat=2)), dtype=torch.float64).unsqueeze(1)
    best = book.unevenness(corners, scope())
    torch.testing.assert_close(best, torch.full((4,), -2 * math.log(2), dtype=torch.float64))
    for worse in (torch.zeros_like(corners), corners[:1].expand(4, 1, 2)):
        assert (book.unevenness(worse, scope()) > best + 1).all()


# -- residual ---------------------------------------------------------------------------------------


def test_a_residual_codebook_of_one_level_is_a_codebook():
    torch.manual_seed(0)
    one, plain = lt.ResidualCodebook(1, 4, 2, positions=3).double().train(), lt.Codebook(4, 2, 3).double().train()
    plain.load_state_dict(one.books[0].state_dict())
    evidence = vectors(9, 6)
    got, want = one.infer(evidence, scope(1)), plain.infer(evidence, scope(1))
    for name in ("z", "log_ratio", "kl", "penalty"):
        torch.testing.assert_close(getattr(got, name), getattr(want, name))
    assert {n.removeprefix("books.0."): u.tolist() for n, u in got.updates.items()} == {
        n: u.tolist() for n, u in want.updates.items()
    }


def test_the_error_of_residual_codes_falls_with_every_level():
    evidence, errors = vectors(500, 8), []
    for depth in (1, 2, 3, 4):
        book = lt.ResidualCodebook(depth, 8, 2, positions=4).double().eval()
        book.prepare(evidence, evidence, scope())
        draw = book.infer(evidence, scope())
        errors.append(float((draw.z - evidence).square().mean()))
        assert float(draw.rate[0]) == pytest.approx(4 * depth * math.log(8))
    assert all(after < 0.6 * before for before, after in itertools.pairwise(errors))


def test_log_p_of_a_sum_of_codes_is_refused_where_the_codes_differ_in_it():
    book = lt.ResidualCodebook(2, 4, 2, positions=2, prior=lt.TransformerPrior(4, 1, 2)).resolve_shapes()
    with pytest.raises(ValueError, match="not told from z"):
        book.log_prior(torch.zeros(1, 4), scope())


# -- what codes cost, and how they are used -----------------------------------------------------------


@pytest.mark.parametrize(
    "latent",
    [
        lambda p: lt.Codebook(3, 2, (2, 2), prior=p),
        lambda p: lt.FiniteScalar((3, 2), (2, 2), prior=p),
        lambda p: lt.ResidualCodebook(2, 3, 2, (1, 2), prior=p),
    ],
)
def test_the_rate_is_minus_log_p_of_the_codes_and_samples_have_those_codes(latent):
    book = latent(lt.PixelPrior(4, 2)).resolve_shapes().double().eval()
    draw = book.infer(vectors(6, *book.shape), scope())
    indices = book.indices(vectors(6, *book.shape)).reshape(-1, *book.grid)
    torch.testing.assert_close(draw.rate, -book.prior(scope()).log_density(indices))
    torch.testing.assert_close(draw.kl.sum(1), draw.rate)
    drawn = book.prior(scope(3)).draw(scope(3), 5)
    z = book.generate(5, scope(3))
    codes = book.lookup(drawn.reshape(5, -1, book.depth))
    torch.testing.assert_close(z, codes.mT.reshape(5, *book.shape))


def test_the_codes_stay_where_a_prior_is_settled():
    book = lt.Codebook(4, 2, prior=lt.PixelPrior(4, 2))
    settled = book.resolve_shapes(map_size=(3, 3))
    assert settled.shape == (2, 3, 3) and settled.prior.grid == (3, 3) and settled.prior.codes == 4
    assert torch.equal(settled.book, book.book)
    assert settled.resolve_shapes(map_size=(3, 3)) is settled


@pytest.mark.parametrize("codes", [2, 7, 256])
def test_codes_used_alike_have_the_perplexity_of_their_number(codes):
    even = code_use([torch.full((codes,), 1 / codes, dtype=torch.float64)])
    assert float(even["perplexity"]) == pytest.approx(codes, rel=1e-12) and float(even["unused_codes"]) == 0
    one = code_use([torch.eye(codes, dtype=torch.float64)[0]])
    assert float(one["perplexity"]) == 1 and float(one["unused_codes"]) == pytest.approx(1 - 1 / codes)


def test_the_use_of_codes_counts_positions_of_rows_by_their_weight():
    book = lt.Codebook(3, 1, positions=2).double().eval()
    book.book.copy_(torch.tensor([[-1.0], [0.0], [1.0]]))
    evidence = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    weight = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    source = Source(dtype=torch.float64)
    usage = book.infer(evidence, ForwardContext(source.randn, source.rand, weight=weight)).usage
    assert [share.tolist() for share in usage] == [[0.75, 0.0, 0.25]]


def test_the_use_of_codes_is_logged_and_evaluated():
    x = vk.datasets.mnist()[0][:300]
    vae = vk.VAE(recipe=vk.recipes.residual_vq(depth=2, codes=16), epochs=2, validation=0.2).fit(x)
    for name in ("perplexity", "val_perplexity"):
        assert all(1 <= record[name] <= 16 for record in vae.history_)
    assert all(0 <= record["unused_codes"] < 1 for record in vae.history_)
    evaluation = vae.evaluate(x, draws=1)
    parts = vae.evaluate(x[:200], draws=1), vae.evaluate(x[200:], draws=1)
    assert 1 <= evaluation["perplexity"] <= 16
    assert evaluation["unused_codes"] <= min(p["unused_codes"] for p in parts), "more rows use no fewer codes"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lt.Codebook(4, 2, gradient="rotate"), 'expected "straight" or "rotation"'),
        (lambda: lt.ResidualCodebook(0), "ResidualCodebook(depth=0): expected a whole number from 1"),
        (lambda: lt.FiniteScalar((8, 1)), "whole numbers from 2: 1 is not allowed"),
        (lambda: lt.FiniteScalar((16,) * 5), "at most 65,536"),
        (lambda: lt.LookupFree(17), "1 to 16 bits a position"),
    ],
)
def test_a_wrong_quantiser_is_told(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
