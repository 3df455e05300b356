"""Patterns of gaps: which are kept, and what is drawn from them."""

import numpy as np
import pytest
import torch

from vaekit.data import missing_patterns
from vaekit.data.lazy_rows import stored
from vaekit.data.missing_patterns import Patterns


def holed(rows, seed=0):
    """Ten cells: the first two missing together, the third where they are there, the last never."""
    rng = np.random.default_rng(seed)
    gaps = rng.random((rows, 10)) < 0.3
    gaps[:, 1], gaps[:, 2], gaps[:, 9] = gaps[:, 0], ~gaps[:, 0], False
    return gaps, np.where(gaps, np.nan, rng.normal(size=(rows, 10)))


def test_patterns_are_those_of_the_rows_with_their_numbers():
    gaps, x = holed(400)
    own = Patterns.of(torch.from_numpy(x).reshape(400, 5, 2))
    met, counts = np.unique(gaps, axis=0, return_counts=True)
    want = {tuple(row): n for row, n in zip(met.tolist(), counts.tolist())}
    assert {tuple(row): n for row, n in zip(own.gaps.tolist(), own.counts)} == want and own
    assert Patterns.from_dict(own.to_dict()) == own
    assert not Patterns.of(torch.zeros(5, 3)) and not Patterns.of(torch.zeros(5, 3, dtype=torch.uint8))


def test_drawn_patterns_have_the_shares_of_cells_and_of_pairs_of_cells():
    gaps, x = holed(400)
    drawn = Patterns.of(torch.from_numpy(x)).draw(20_000, 1)
    for k in (0, 3):  # a pair of cells: k columns apart
        both, want = (t & np.roll(t, k, 1) for t in (drawn, gaps))
        error = np.sqrt(want.mean(0) * (1 - want.mean(0)) / len(drawn))
        assert (np.abs(both.mean(0) - want.mean(0)) <= 4.5 * error).all()
    assert (drawn[:, 0] == drawn[:, 1]).all() and (drawn[:, 0] != drawn[:, 2]).all()


def test_cells_that_are_to_be_there_leave_the_patterns_that_have_them():
    gaps, x = holed(400)
    own, like = Patterns.of(torch.from_numpy(x)), gaps[~gaps[:, [0, 4]].any(1)]
    drawn = own.draw(20_000, 1, seen=[0, 4])
    assert not drawn[:, [0, 1, 4]].any() and drawn[:, 2].all()
    error = np.sqrt(like.mean(0) * (1 - like.mean(0)) / len(drawn))
    assert (np.abs(drawn.mean(0) - like.mean(0)) <= 4.5 * error).all()
    with pytest.raises(ValueError, match="there together in some row.*give fewer"):
        own.draw(3, 1, seen=[0, 2])


def test_stored_rows_have_the_same_patterns(tmp_path):
    x = holed(60)[1]
    np.save(tmp_path / "x.npy", x)
    assert Patterns.of(stored(tmp_path / "x.npy")) == Patterns.of(torch.from_numpy(x))


def test_what_is_kept_is_bounded(monkeypatch):
    gaps = np.random.default_rng(0).random((5000, 40)) < 0.5
    x = torch.from_numpy(np.where(gaps, np.nan, 0.0))
    assert sum(Patterns.of(x).counts) == missing_patterns.KEPT
    monkeypatch.setattr(missing_patterns, "LOOKED_AT", 40 * 300)
    assert sum(Patterns.of(x).counts) == 300
