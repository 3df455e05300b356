"""Every figure draws what it was given: dots, bars and lines where they belong, in order, with their names."""

import re
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.path import Path

import vaekit as vk
from vaekit.report import figures, paper, pictures, svg

RNG = np.random.default_rng(0)
DIGITS = (RNG.random((40, 8, 8)) * np.linspace(0, 1, 8)).astype(np.float32)
LABELS = np.arange(40) % 5

# -- all of them ---------------------------------------------------------------------------------------

HISTORY = [{"epoch": e, "elbo": -9 / e, "distortion": 6 / e, "rate": 3 / e, "val_elbo": -8 / e} for e in (1, 2, 3)]
DRAWN = {
    "image_grid": (figures.image_grid(DIGITS[:10], 4), 1),
    "reconstructions": (figures.reconstructions(DIGITS[:6], DIGITS[6:12]), 1),
    "decoded_grid": (figures.decoded_grid(DIGITS[:9], [-1, 0, 1]), 1),
    "traversals": (figures.traversals(DIGITS[:6], ["a", "b"]), 1),
    "latent_plane": (figures.latent_plane(RNG.normal(size=(50, 2)), np.arange(50) % 5), 1),
    "training_curves": (figures.training_curves(HISTORY), 3),
    "unit_kl": (figures.unit_kl([1.0, 0.001, 3.0]), 1),
    "picture_rows": (figures.picture_rows("abc", [DIGITS[:4], DIGITS[4:8], DIGITS[8:12]]), 1),
    "neighbours": (figures.neighbours(DIGITS[:4], DIGITS[4:8], [1, 2, 3, 4]), 1),
    "aggregate_plane": (figures.aggregate_plane(RNG.normal(size=(50, 2)), RNG.normal(size=(500, 2))), 1),
    "training_path": (figures.training_path(HISTORY), 1),
    "curves_beside": (figures.curves_beside({"a": HISTORY, "b": HISTORY}), 1),
    "profiles": (figures.profiles(DIGITS[:3, 0], DIGITS[:3, 1], ["1 nat", "2 nats", "3 nats"]), 3),
    "distributions": (figures.distributions({"a": RNG.normal(size=90), "b": RNG.normal(size=80)}, "nats"), 1),
    "rate_distortion": (figures.rate_distortion([1.0, 2.0], [9.0, 7.0], ["a", "b"]), 1),
    "differences": (figures.differences([1.0, -2.0], [0.5, 0.1], ["a", "b"], "nats"), 1),
    "confusion": (figures.confusion(LABELS, LABELS), 1),
    "shares": (figures.shares(np.eye(2), ["a", "b"], ["c", "d"], ("factor", "dimension")), 1),
    "histograms": (figures.histograms(DIGITS[:, 0], DIGITS[:, 1], list("abcdefgh")), 8),
    "agreement": (figures.agreement(DIGITS[:, 0], DIGITS[:, 1], list("abcdefgh")), 8),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_a_figure_with_its_axes_and_draws_anywhere(name):
    figure, axes = DRAWN[name]
    assert isinstance(figure, Figure) and len(figure.axes) == axes
    figure.savefig(BytesIO(), format="png")
    drawn = svg.inline(figure, name, "a figure")
    assert drawn.startswith('<svg viewBox="0 0 ') and drawn.rstrip().endswith("</svg>")
    assert not set(re.findall("#[0-9a-f]{6}", drawn)) & set(svg.VARIABLES)


def test_a_column_without_values_has_an_empty_panel():
    x = np.column_stack([np.arange(5.0), np.full(5, np.nan)])
    line, empty = (axes.lines for axes in figures.agreement(x, x, ["a", "b"]).axes)
    assert len(line) == 1 and not len(empty)


def test_the_plane_has_a_dot_per_code_where_it_lies():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(50, 2))
    dots = figures.latent_plane(z, np.arange(50) % 5).axes[0].collections[0]
    np.testing.assert_array_equal(dots.get_offsets(), z)
    assert len(np.unique(dots.get_facecolors(), axis=0)) == 5


def test_rare_groups_share_a_colour_and_many_numbers_a_scale():
    z = np.zeros((300, 2))
    names = np.array([f"g{min(i % 20, i % 7)}" for i in range(300)])
    many = np.array([f"g{i % 30}" for i in range(300)])
    assert not any(t.get_text() == "others" for t in figures.latent_plane(z, names).texts)
    keys = [t.get_text() for t in figures.latent_plane(z, many).texts]
    assert len(keys) == 10 and keys[-1] == "others"
    scaled = figures.latent_plane(z, np.arange(300) / 7).axes[0].collections[0]
    np.testing.assert_array_equal(scaled.get_array(), np.arange(300) / 7)


def test_bars_are_sorted_and_inactive_ones_set_apart():
    axes = figures.unit_kl([0.5, 0.001, 2.0]).axes[0]
    bars = axes.patches
    assert [t.get_text() for t in axes.get_yticklabels()] == ["z[2]", "z[0]", "z[1]"]
    assert [b.get_x() + b.get_width() for b in bars[:2]] == pytest.approx([2.0, 0.5])
    assert bars[0].get_facecolor() == bars[1].get_facecolor() != bars[2].get_facecolor()


def test_curves_hold_the_history():
    elbo = figures.training_curves(HISTORY).axes[0]
    training, held = (line.get_ydata() for line in elbo.lines)
    np.testing.assert_array_equal(training, [-9, -4.5, -3])
    np.testing.assert_array_equal(held, [-8, -4, -8 / 3])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: figures.image_grid(np.zeros((2, 3))), "expected pictures (N, H, W) or (N, H, W, 3), got shape (2, 3)"),
        (lambda: figures.reconstructions(DIGITS[:2], DIGITS[:3]), "as many reconstructions as originals"),
        (lambda: figures.decoded_grid(DIGITS[:5], [0, 1]), "expected 2 x 2 = 4 pictures for 2 ticks, got 5"),
        (lambda: figures.traversals(DIGITS[:5], ["a", "b"]), "as many pictures for each of the 2 names, got 5"),
        (lambda: figures.latent_plane(np.zeros((2, 3))), "expected codes (N, 2) or (N, 1), got (2, 3)"),
        (lambda: figures.latent_plane(np.zeros((2, 2)), [1]), "got 1 labels for 2 codes"),
        (lambda: figures.unit_kl([]), "expected the mean KL of each unit, (units,)"),
        (lambda: figures.training_curves([]), "fit first"),
        (lambda: figures.histograms(DIGITS[:, 0], DIGITS[:, 0], ["a"]), "expected rows of 1 columns, a name each"),
        (
            lambda: figures.picture_rows("ab", [DIGITS[:2], DIGITS[:3]]),
            "pictures of one size for 2 names, got (2, 8, 8)",
        ),
        (lambda: figures.picture_rows("a", [DIGITS[:2]], ["x"]), "a text below each of the 2 columns, got 1"),
        (lambda: figures.traversals(DIGITS[:4], ["a", "b"], None, ["x"]), "a word beside each of the 2 rows, got 1"),
        (lambda: figures.aggregate_plane(np.zeros((9, 3)), np.zeros((9, 2))), "expected codes (N, 2) and draws"),
        (lambda: figures.curves_beside({"a": []}), "expected histories with elbo in their records"),
        (
            lambda: figures.profiles(DIGITS[:2, 0], DIGITS[:2, 0], ["a"]),
            "expected rows (N, D), reconstructions like them",
        ),
        (lambda: figures.distributions({}, "nats"), "expected one to 5 sets of scores, got 0"),
        (
            lambda: figures.distributions({"a": [np.nan]}, "nats"),
            "expected scores of a, got 1, none of which is finite",
        ),
        (lambda: figures.rate_distortion([1, np.nan], [1, 2]), "expected a finite rate and distortion of each model"),
        (lambda: figures.rate_distortion([1], [1], ["a", "b"]), "expected a group for each of the 1 models, got 2"),
        (lambda: figures.differences([1], [1, 2], ["a"], "x"), "expected a value, an error, a name each, got 1, 2, 1"),
        (lambda: figures.confusion([1, 2], [1]), "expected what was told for each of the 2 labels, got 1"),
        (lambda: figures.shares(np.eye(2), ["a"], ["b", "c"], ("x", "y")), "expected shares (1, 2), a name each"),
    ],
)
def test_wrong_calls_say_what_was_expected(draw, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        draw()


# -- pictures in rows --------------------------------------------------------------------------------


def written(figure):
    """All texts of a figure, its axes' ticks and names among them."""
    found = [t.get_text() for t in figure.texts]
    for axes in figure.axes:
        found += [t.get_text() for t in (*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels())]
        found += [axes.get_xlabel(), axes.get_ylabel()]
    return [text for text in found if text]


def test_a_row_of_pictures_per_name_and_a_text_below_each_column():
    figure = figures.picture_rows(["original", "first"], [DIGITS[:3], DIGITS[3:6]], ["a", "b", "c"])
    axes = figure.axes[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 3), (2, 0))
    assert written(figure) == ["original", "first", "a", "b", "c"]
    heights = [t.xy[1] for t in axes.texts[:2]]
    assert heights == [0.75, 0.25], "the first name stands at the middle of the upper row"


def test_reconstructions_have_their_scores_and_neighbours_their_distances():
    assert "−12" in written(figures.reconstructions(DIGITS[:2], DIGITS[2:4], [-12.2, 30]))
    assert written(figures.neighbours(DIGITS[:2], DIGITS[2:4], [0.1234, 5]))[2:] == ["0.123", "5"]


def test_a_word_stands_beside_each_traversal():
    figure = figures.traversals(DIGITS[:6], ["z[0]", "z[1]"], [-1, 0, 1], ["x 80%", "–"])
    assert written(figure)[:4] == ["z[0]", "z[1]", "x 80%", "–"]
    beside = [t for t in figure.axes[0].texts if t.xy[0] == 1]
    assert [t.get_text() for t in beside] == ["x 80%", "–"]


# -- codes -------------------------------------------------------------------------------------------


def test_the_prior_s_lines_hold_the_shares_they_say():
    prior = np.random.default_rng(1).normal(size=(20_000, 2)) * [2.0, 0.5] + [1.0, 0.0]
    axes = figures.aggregate_plane(prior[:100], prior).axes[0]
    contour = axes.collections[-1]
    held = [sum(Path(p).contains_points(prior) for p in _closed(path)).mean() for path in contour.get_paths()]
    assert held == pytest.approx([0.99, 0.9, 0.5], abs=0.04)


def _closed(path):
    return [polygon for polygon in path.to_polygons() if len(polygon) > 2]


def test_the_aggregate_plane_has_a_dot_per_code():
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(30, 2))
    dots = figures.aggregate_plane(codes, rng.normal(size=(300, 2))).axes[0].collections[0]
    np.testing.assert_array_equal(dots.get_offsets(), codes)


# -- training ----------------------------------------------------------------------------------------


def test_the_path_of_training_ends_in_colour():
    path, last = figures.training_path(HISTORY).axes[0].lines
    np.testing.assert_array_equal(path.get_xydata(), [[3, 6], [1.5, 3], [1, 2]])
    np.testing.assert_array_equal(last.get_xydata(), [[1, 2]])
    assert last.get_color() == paper.ACCENT


def test_several_models_have_a_curve_each_held_out_where_there_is_that():
    trained = [{"epoch": e, "elbo": -float(e)} for e in (1, 2)]
    figure = figures.curves_beside({"held": HISTORY, "not held": trained}, "elbo")
    first, second = figure.axes[0].lines
    np.testing.assert_array_equal(first.get_ydata(), [-8, -4, -8 / 3])
    np.testing.assert_array_equal(second.get_ydata(), [-1, -2])
    assert [first.get_color(), second.get_color()] == list(paper.SERIES[:2])
    assert written(figure)[1:3] == ["held", "not held"]
    assert "held" not in written(figures.curves_beside({"held": HISTORY}, keyed=False))


# -- rows of numbers ---------------------------------------------------------------------------------


def test_several_models_samples_have_a_line_each_beside_the_data():
    rng = np.random.default_rng(1)
    data = rng.normal(size=(100, 2))
    figure = figures.histograms(data, {"a": data + 1, "b": data - 1}, ["x", "y"])
    assert len(figure.axes) == 2 and {"a", "b"} <= set(written(figure))
    outlines = [p for p in figure.axes[0].patches if not isinstance(p, Rectangle)]
    assert [to_hex(p.get_edgecolor()) for p in outlines] == list(paper.SERIES[:2])
    bars = [p.get_height() for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    assert sum(bars) == pytest.approx(1, abs=0.03), "shares of the data, but for the outermost"


def test_profiles_draw_rows_and_their_reconstructions_with_gaps():
    x = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]])
    figure = figures.profiles(x, x + 1, ["best", "worst"], axis="step")
    assert [t for t in written(figure) if t in ("best", "worst")] == ["best", "worst"]
    row, model = figure.axes[0].lines
    np.testing.assert_array_equal(row.get_ydata(), x[0])
    np.testing.assert_array_equal(model.get_ydata(), x[0] + 1)
    several = figures.profiles(x, {"a": x, "b": x + 1}, ["best", "worst"])
    assert [line.get_color() for line in several.axes[0].lines[1:]] == list(paper.SERIES[:2])


# -- scores ------------------------------------------------------------------------------------------


def test_sets_of_scores_have_equal_areas_and_what_lies_beyond_is_kept():
    rng = np.random.default_rng(1)
    far = np.r_[np.zeros(999), -1e6]
    figure = figures.distributions({"held-out rows": rng.normal(size=500), "others": far}, "log p(x), nats")
    filled = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    assert sum(p.get_height() for p in filled) == pytest.approx(1)
    assert {to_hex(p.get_facecolor()) for p in filled} == {paper.SOFT}
    (outline,) = [p for p in figure.axes[0].patches if not isinstance(p, Rectangle)]
    assert outline.get_xy()[:, 0].min() > -10, "one row far out does not make the rest unreadable"
    assert written(figure)[:2] == ["held-out rows", "others"] and "log p(x), nats" in written(figure)


def test_models_lie_on_the_plane_and_lines_join_equal_elbos():
    rate, distortion = np.array([1.0, 1.5, 4.0]), np.array([90.0, 92.0, 80.0])
    axes = figures.rate_distortion(rate, distortion, ["beta 10", "beta 10", "beta 2"]).axes[0]
    first, ring, second = axes.collections
    np.testing.assert_array_equal(first.get_offsets(), [[1, 90], [1.5, 92]])
    np.testing.assert_array_equal(ring.get_offsets(), [[1.25, 91]])
    np.testing.assert_array_equal(second.get_offsets(), [[4, 80]])
    assert to_hex(second.get_facecolor()[0]) == paper.SERIES[1]
    sums = [set(np.round(line.get_xydata().sum(1), 9)) for line in axes.lines]
    assert all(len(s) == 1 for s in sums) and len(sums) >= 3
    named = {-float(t.get_text().removeprefix("ELBO ").replace("−", "-")) for t in axes.texts}
    assert named == {s.pop() for s in sums}, "every line has its name"


def test_one_model_has_room_around_it():
    axes = figures.rate_distortion([3.0], [80.0]).axes[0]
    assert axes.get_xlim()[0] < 3 < axes.get_xlim()[1] and axes.get_ylim()[0] < 80 < axes.get_ylim()[1]


def test_groups_stand_in_the_order_in_which_they_come():
    figure = figures.rate_distortion([1, 2, 3], [1, 2, 3], ["beta 10", "beta 2", "beta 1"])
    assert [t.get_text() for t in figure.texts] == ["beta 10", "beta 2", "beta 1"]


def test_differences_have_bars_of_one_and_two_errors():
    axes = figures.differences([1.0, -2.0], [0.5, 0.1], ["iwae", "vamp"], "ELBO, nats").axes[0]
    two, one = (np.array([s[:, 0] for s in c.get_segments()]) for c in axes.collections)
    np.testing.assert_allclose(two, [[0, 2], [-2.2, -1.8]])
    np.testing.assert_allclose(one, [[0.5, 1.5], [-2.1, -1.9]])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["iwae", "vamp"]
    assert axes.lines[0].get_xdata() == [0, 0]


def cells(axes):
    """(rows, columns) of the shares that a table is coloured by."""
    alphas = {(int(p.get_y()), int(p.get_x())): p.get_alpha() for p in axes.patches}
    rows, columns = (max(k[i] for k in alphas) + 1 for i in (0, 1))
    return np.array([[alphas[i, j] for j in range(columns)] for i in range(rows)])


def test_confusion_shows_shares_of_each_label():
    axes = figures.confusion(["10", "10", "9", "9", "9", "9"], [10, 9, 9, 9, 9, 10]).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["9", "10"], "numbers by their value"
    np.testing.assert_allclose(cells(axes), [[0.75, 0.25], [0.5, 0.5]])
    assert [t.get_text() for t in axes.texts] == ["75", "25", "50", "50"]


def test_clusters_stand_beside_the_labels_that_most_of_theirs_have():
    labels, told = ["ant"] * 4 + ["bee"] * 4, [7, 7, 7, 2, 5, 5, 2, 2]
    axes = figures.confusion(labels, told).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["7", "2", "5"]
    np.testing.assert_allclose(cells(axes), [[0.75, 0.25, 0], [0, 0.5, 0.5]])


# -- pixels and numbers ------------------------------------------------------------------------------


def test_tiles_are_exact_and_gaps_transparent():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 2, 2)).astype(np.uint8)
    pixels = pictures.tiled(images, 2, gap=1, width=8)
    assert pixels.shape == (9, 9, 4)
    np.testing.assert_array_equal(pixels[:4:2, :4:2, 0], images[0])
    np.testing.assert_array_equal(pixels[:4:2, 5::2, 2], images[1])
    np.testing.assert_array_equal(pixels[5::2, :4:2, 1], images[2])
    assert pixels[4].sum() == pixels[:, 4].sum() == pixels[5:, 5:].sum() == 0


def test_pictures_too_large_are_averaged():
    images = np.stack([np.full((8, 8), 10), np.full((8, 8), 30)]).astype(np.uint8)
    pixels = pictures.tiled(images, 2, gap=0, width=8)
    assert pixels.shape == (4, 8, 4)
    assert pixels[0, :, 0].tolist() == [10] * 4 + [30] * 4


@pytest.mark.parametrize(
    ("x", "least", "greatest"),
    [
        (np.array([0, 255], np.uint8), 0, 255),
        (np.array([0.0, 1.0]), 0, 1),
        (np.array([0.25, 0.75]), 64, 191),
        (np.array([-2.0, 6.0]), 0, 255),
    ],
)
def test_levels_follow_the_kind_of_data(x, least, greatest):
    rows = np.resize(x, (2, 4, 4))
    spec = vk.data.spec.DataSpec.infer(torch.from_numpy(rows), rows.dtype.name)
    levels = pictures.displayable(rows, spec)
    want = (0, 255) if spec.kind == "binary" else (least, greatest)
    assert levels.shape == (2, 4, 4, 1) and (levels.min(), levels.max()) == want
