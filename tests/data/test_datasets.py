"""The built-in data sets hold what they say, bit for bit."""

import hashlib
import lzma
import sys
from functools import cache
from importlib import resources

import numpy as np
import pytest

from vaekit.data import datasets
from vaekit.data.datasets import SHAPES_FACTORS, binarise, digest, digits, mnist, shapes, shapes_index

# SHA-256 of the official files after gunzip.
OFFICIAL = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SHIPPED = resources.files("vaekit.data") / "mnist"


# -- MNIST -----------------------------------------------------------------------------------------


@cache
def content_of(name):
    return lzma.decompress((SHIPPED / f"{name}.xz").read_bytes())


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_shipped_mnist_is_the_official_one(name):
    assert hashlib.sha256(content_of(name)).hexdigest() == OFFICIAL[name]


def test_mnist_ships_in_at_most_9_5_megabytes_with_its_licence():
    sizes = [len(path.read_bytes()) for path in SHIPPED.iterdir()]
    assert sum(sizes) <= 9_500_000
    licence = (SHIPPED / "LICENSE.md").read_text()
    assert all(f"`{name}`" in licence and value in licence for name, value in OFFICIAL.items())


def test_mnist_arrays_are_the_files_content_in_its_order():
    (x, y), (x_test, y_test) = mnist(labels=True)
    assert (x.shape, x_test.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert x.dtype == x_test.dtype == np.uint8
    for array, name in [(x, "train-images-idx3"), (x_test, "t10k-images-idx3")]:
        content = content_of(f"{name}-ubyte")
        assert content[:16] == np.array([0x803, *array.shape], dtype=">u4").tobytes()
        assert content[16:] == array.tobytes()
    assert y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The number of each digit as published with the database.
    assert np.bincount(y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_mnist_without_labels_is_the_same_images():
    (x, _), (x_test, _) = mnist(labels=True)
    alone, alone_test = mnist()
    assert np.array_equal(alone, x) and np.array_equal(alone_test, x_test)


def test_writing_into_mnist_changes_no_later_call():
    for array in mnist():
        array[:] = 7
    assert {array.min() for array in mnist()} == {0}


# -- digits ----------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_in_order_as_sixteenths():
    from sklearn.datasets import load_digits

    (x, y), (x_test, y_test) = digits(labels=True)
    assert (x.shape, x_test.shape, x.dtype) == ((1437, 8, 8), (360, 8, 8), np.float32)
    assert np.array_equal(np.concatenate([x, x_test]) * 16, load_digits().images)
    assert np.array_equal(np.concatenate([y, y_test]), load_digits().target)
    assert np.array_equal(digits()[0], x) and np.array_equal(digits()[1], x_test)


def test_digits_say_what_brings_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "vaekit\[sklearn\]"'):
        digits()


# -- shapes ----------------------------------------------------------------------------------------

SQUARE, ELLIPSE, HEART = range(3)


def test_the_factors_count_737280_images():
    assert SHAPES_FACTORS == {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
    assert np.prod(list(SHAPES_FACTORS.values())) == 737_280


def test_index_and_factors_are_inverse_and_row_major():
    index = np.arange(0, 737_280, 101)
    _, factors = shapes(index)
    assert factors.dtype == np.int64
    assert np.array_equal(shapes_index(factors), index)
    assert shapes([0, 1, 32, 1024, 40_960, 245_760, 737_279])[1].tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [2, 5, 39, 31, 31],
    ]


def test_an_image_depends_on_its_index_alone():
    index = np.random.default_rng(0).integers(0, 737_280, 3000)  # more than one block of the renderer
    x, factors = shapes(index)
    assert x.shape == (3000, 64, 64) and x.dtype == np.uint8 and set(np.unique(x)) == {0, 1}
    order = np.random.default_rng(1).permutation(3000)
    again, factors_again = shapes(index[order])
    assert np.array_equal(again, x[order]) and np.array_equal(factors_again, factors[order])
    assert np.array_equal(shapes(index[7:8])[0], x[7:8])


def test_no_index_gives_no_image():
    x, factors = shapes(np.array([], dtype=int))
    assert x.shape == (0, 64, 64) and factors.shape == (0, 5)


def test_position_moves_the_shape_by_whole_pixels_and_never_cuts_it():
    every = [[s, k, o, 0, 0] for s in range(3) for k in range(6) for o in range(40)]
    near = shapes(shapes_index(every))[0]
    for x, y in [(31, 0), (0, 31), (31, 31), (13, 6)]:
        far = shapes(shapes_index([[*row[:3], x, y] for row in every]))[0]
        assert np.array_equal(far, np.roll(near, (y, x), axis=(1, 2)))
        frame = np.concatenate([far[:, 0], far[:, -1], far[:, :, 0], far[:, :, -1]], axis=1)
        assert not frame.any()


@pytest.mark.parametrize(
    ("shape", "area"),
    # Of the heart: the integral of its polar radius squared, halved (3.661973), times 12.7 squared.
    [(SQUARE, 22.6**2), (ELLIPSE, np.pi * 15.6 * 7.8), (HEART, 3.661973 * 12.7**2)],
)
def test_areas_are_those_of_the_documented_shapes(shape, area):
    factors = np.array([[shape, scale, o, 0, 0] for scale in range(6) for o in range(40)])
    pixels = shapes(shapes_index(factors))[0].sum((1, 2)).reshape(6, 40).mean(1)
    # Pixel centres count an area up to half a pixel along the edge: 4% for the smallest square.
    assert pixels == pytest.approx(area * np.arange(0.5, 1.05, 0.1) ** 2, rel=0.04)


def test_orientation_turns_anticlockwise():
    quarter = shapes(shapes_index([[HEART, 5, o, 16, 16] for o in (0, 10, 20, 30)]))[0]
    centred = quarter[:, 16:49, 16:49]
    for turns in range(4):
        assert np.array_equal(centred[turns], np.rot90(centred[0], turns))


@pytest.mark.parametrize(("shape", "period"), [(SQUARE, 10), (ELLIPSE, 20)])
def test_symmetric_orientations_are_the_same_image(shape, period):
    rows = np.array([[shape, k, o, 3, 29] for k in range(6) for o in range(40 - period)])
    turned = rows + [0, 0, period, 0, 0]
    assert np.array_equal(shapes(shapes_index(rows))[0], shapes(shapes_index(turned))[0])


def test_all_other_images_are_distinct():
    """Cropped to their pixels, the sprites are distinct; as position moves them freely, so are the images."""
    crops = set()
    for image in shapes(np.arange(720) * 1024)[0]:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        crop = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        crops.add((crop.shape, crop.tobytes()))
    assert len(crops) == 6 * (10 + 20 + 40)


def test_shapes_are_these_bits_on_every_machine():
    x, _ = shapes(np.arange(720) * 1024)
    assert digest(x) == "9c7b69afb533c6a7a908d9de95150dc2f52c321bfe4e08d84256eb753cc57604"


def test_shapes_without_an_index_are_all_of_them(monkeypatch):
    monkeypatch.setattr(datasets, "_COUNT", 2048)
    assert np.array_equal(shapes()[1], shapes(np.arange(2048))[1])


# -- binarising and naming -------------------------------------------------------------------------


def test_binarising_draws_one_with_probability_of_the_grey_level():
    levels = np.repeat(np.arange(256, dtype=np.uint8), 40_000).reshape(256, 40_000)
    p = np.arange(256) / 255
    error = np.sqrt(p * (1 - p) / 40_000)
    for x in (levels, levels / 255):
        rate = binarise(x, seed=3).mean(1)
        assert (np.abs(rate - p) <= 4.5 * error).all()  # 256 levels; exact at 0 and 255
        z = (rate - p)[1:-1] / error[1:-1]
        assert abs(z.mean()) * np.sqrt(z.size) < 4 and abs(z.std() - 1) < 4 / np.sqrt(2 * z.size)


def test_binarised_test_images_have_these_names():
    _, x_test = mnist()
    assert digest(x_test) == "2ce3b191789627bd4f17ba99a603a3b084705ebf19597838a17aa5f3b3a27eef"
    assert digest(binarise(x_test)) == "0f5eeb0c33264d908c0843413744c659f604240c1fc2fba5c7efed8b9f9d4151"


def test_binarising_is_fixed_by_the_seed_and_reads_rows_in_order():
    x = np.random.default_rng(0).integers(0, 256, (1500, 28, 28), dtype=np.uint8)  # more than one block of noise
    drawn = binarise(x, seed=1)
    assert drawn.dtype == np.uint8 and drawn.shape == x.shape
    assert np.array_equal(drawn, binarise(x, seed=1))
    assert not np.array_equal(drawn, binarise(x, seed=2))
    assert np.array_equal(drawn[:900], binarise(x[:900], seed=1))


def test_binary_data_stay_as_they_are():
    x = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert np.array_equal(binarise(x), x)
    assert np.array_equal(binarise(x.astype(bool)), x)


def test_digest_is_the_sha256_of_dtype_shape_and_bytes():
    x = np.arange(6, dtype="<i4").reshape(2, 3)
    assert digest(x) == hashlib.sha256(b"<i4 (2, 3)" + x.tobytes()).hexdigest()
    assert digest(np.float64(2)) == hashlib.sha256(b"<f8 ()" + np.float64(2).tobytes()).hexdigest()


def test_digest_sees_values_type_and_shape_but_not_layout():
    x = np.arange(6, dtype=np.int32).reshape(2, 3)
    same = [np.asfortranarray(x), x.astype(">i4"), np.repeat(x, 2, axis=1)[:, ::2]]
    assert {digest(array) for array in same} == {digest(x)}
    other = [x + 1, x.astype(np.int64), x.astype(np.uint32), x.reshape(3, 2), x[:0], x[:, :0]]
    assert len({digest(array) for array in [x, *other]}) == 7


WRONG = [
    (lambda: shapes([0, 737_280]), "shapes has indices 0..737279, got 737280: choose from range"),
    (lambda: shapes([5, -3]), "got -3"),
    (lambda: shapes([0.5]), r"index must be integers of shape \(N,\), got float64 of shape \(1,\)"),
    (lambda: shapes(7), r"got int64 of shape \(\)"),
    (lambda: shapes([[1, 2]]), r"got int64 of shape \(1, 2\)"),
    (lambda: shapes([True]), "got bool"),
    (lambda: shapes_index([[0, 6, 0, 0, 0]]), r"the factor 'scale' takes 0..5, got 6: see SHAPES_FACTORS"),
    (lambda: shapes_index([[0, 0, -1, 0, 0]]), "the factor 'orientation' takes 0..39, got -1"),
    (
        lambda: shapes_index([[0, 0, 0, 0]]),
        r"factors must be integers of shape \(N, 5\), got int64 of shape \(1, 4\)",
    ),
    (lambda: binarise(np.array([1, 2])), "binarise reads uint8, floats in .* got int64: convert x first"),
    (lambda: binarise([0.5, 1.5]), r"must lie in \[0, 1\], got 0.5 to 1.5"),
    (lambda: binarise([0.5, np.nan]), "got nan to nan: rescale, or impute NaN"),
    (lambda: digest(np.array([None])), "got dtype object"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_wrong_calls_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
