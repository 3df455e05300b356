"""What a draw of a row costs, and how many draws are taken unasked."""

import numpy as np

import vaekit as vk
from vaekit.evaluation import cost


def small(recipe, shape, **settings):
    vae = vk.VAE(3, recipe=recipe, epochs=0, validation=0, **settings)
    return vae.fit((np.random.default_rng(0).random((6, *shape)) < 0.5).astype(np.uint8))


def test_products_are_those_of_the_decoder_layer_by_layer():
    dense = small(vk.recipes.vae(hidden=(5,)), (4,))
    rows = dense.fitted_.rows(np.zeros((2, 4), np.uint8))
    assert cost.products(dense.module_, rows) == 3 * 5 + 5 * 4
    conv = small(vk.recipes.conv(channels=(2, 4), hidden=7), (8, 8))
    rows = conv.fitted_.rows(np.zeros((2, 8, 8), np.uint8))
    # each number of a 2 x 2 map of 4 channels meets 2 x 4 x 4 weights; of a 4 x 4 map of 2 channels, 1 x 4 x 4
    assert cost.products(conv.module_, rows) == 3 * 7 + 7 * 16 + 16 * 32 + 32 * 16


def test_draws_are_fewer_where_they_cost_more_and_a_note_tells(monkeypatch):
    vae, x = small(vk.recipes.vae(hidden=(5,)), (4,)), np.eye(4, dtype=np.uint8)
    assert vae.evaluate(x, None).draws == 100
    monkeypatch.setattr(cost, "WORK", 35 * 4 * 20)
    few = vae.evaluate(x, None)
    assert few.draws == 20 and any("20 draws a row, not 100" in note for note in few.notes)
    assert few["log_likelihood"] == vae.evaluate(x, 20)["log_likelihood"]
    assert vae.evaluate(x, 100).draws == 100
    monkeypatch.setattr(cost, "WORK", 1)
    assert vae.evaluate(x, None).draws == cost.FEWEST
