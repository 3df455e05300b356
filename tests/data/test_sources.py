"""What is trained from a source is what would be trained from the same rows in memory; the source is never held."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import peak_memory
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import vaekit as vk
from vaekit.cli import inputs, main
from vaekit.data import LazyRows, Stream, datasets, parquet_source, rows, spec
from vaekit.data.arrays import as_tensor
from vaekit.data.lazy_rows import as_data, stored
from vaekit.data.rows import Rows, ahead
from vaekit.data.spec import DataSpec
from vaekit.objectives import ELBO
from vaekit.training import Ensemble, Learner, Training
from vaekit.training.train import assemble
from vaekit.training.trainer import Silent

RNG = np.random.default_rng(0)
N = 53
REAL = RNG.normal(3, 2, (N, 6)).astype(np.float32)
DATA = {
    "real": REAL,
    "double, big-endian": REAL.astype(">f8"),
    "unit": RNG.random((N, 4, 3)),
    "counts": RNG.integers(0, 9, (N, 5)).astype(np.uint16),
    "bits": RNG.random((N, 7)) > 0.5,
    "images": RNG.integers(0, 256, (N, 4, 5), dtype=np.uint8),
    "colour": RNG.integers(0, 256, (N, 6, 5, 3), dtype=np.uint8),
    "gaps": np.where(RNG.random((N, 6)) < 0.2, np.nan, REAL),
}


@pytest.fixture(autouse=True)
def no_reader_is_left_behind():
    yield
    assert readers() == []


def readers():
    return [t.name for t in threading.enumerate() if t.name.startswith("vaekit-reader")]


# -- sources of the same rows ----------------------------------------------------------------------


class Given(Dataset):
    """Row i of an array, as it is."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i]


class Passing(IterableDataset):
    def __init__(self, x):
        self.x = x

    def __iter__(self):
        return iter(zip(self.x, range(len(self.x))))


def saved(folder, x):
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def part_of_a_larger_file(folder, x):
    np.save(folder / "x.npy", np.concatenate([x[:3], x, x[:2]]))
    return np.load(folder / "x.npy", mmap_mode="r")[3 : 3 + len(x)]


def written(folder, x):
    """A mapped array that is written to, and not yet flushed."""
    file = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=x.dtype, shape=x.shape)
    file[:] = x
    return file


def images(folder, x):
    for i, image in enumerate(x):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    return folder


def table(folder, x, group=10, files=1, **options):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for number, part in enumerate(np.array_split(x, files)):
        columns = {f"c{i}": pyarrow.array(part[:, i], from_pandas=True) for i in range(x.shape[1])}
        parquet.write_table(pyarrow.table(columns), folder / f"{number}.parquet", row_group_size=group, **options)
    return folder


SOURCES = {
    "path": saved,
    "mapped": lambda folder, x: np.load(saved(folder, x), mmap_mode="r"),
    "part of a mapped file": part_of_a_larger_file,
    "mapped and written": written,
    "Dataset": lambda folder, x: Given(x),
    "Dataset of Datasets": lambda folder, x: Given(x[:9]) + Given(x[9:]),
    "rows": lambda folder, x: Stream(iter(x)),
    "labelled rows": lambda folder, x: Stream(Passing(x)),
    "batches": lambda folder, x: Stream((x[i : i + 7] for i in range(0, len(x), 7)), batches=True),
    "a view of a longer source": lambda folder, x: stored(saved(folder, np.concatenate([x, x])))[: len(x)],
}
TENSORS = {
    "tuples of tensors": lambda folder, x: TensorDataset(torch.from_numpy(x), torch.arange(len(x))),
    "tensors": lambda folder, x: Stream(torch.from_numpy(x)),
}
PAIRS = [
    *((data, source) for data in ("real", "images") for source in (SOURCES | TENSORS)),
    *((data, "path") for data in DATA if data not in ("real", "images")),
    *((data, source) for data in ("images", "colour") for source in ("folder of images",)),
]
EVERY = SOURCES | TENSORS | {"folder of images": images}


def fitted(x, data="real", **settings):
    settings = {"epochs": 2, "batch_size": 8, "validation": 0.2, "seed": 3, "patience": 5, **settings}
    pace = {"device": "cpu", "threads": 1, "compile": False}
    return vk.VAE(recipe="auto", missing=data == "gaps", **pace, **settings).fit(x)


def assert_same(got, want):
    assert got.spec_ == want.spec_
    for name, value in want.module_.state_dict().items():
        assert torch.equal(got.module_.state_dict()[name], value), name
    for line, wanted in zip(got.history_, want.history_, strict=True):
        assert {n: v for n, v in line.items() if "second" not in n} == {
            n: v for n, v in wanted.items() if "second" not in n
        }


@pytest.mark.parametrize(("data", "source"), PAIRS)
def test_training_from_a_source_is_training_from_memory(tmp_path, data, source):
    x = DATA[data]
    given = EVERY[source](tmp_path, x)
    want, got = fitted(x, data), fitted(given, data)
    assert_same(got, want)
    assert np.array_equal(np.asarray(got.held_out(given)), want.held_out(x), equal_nan=True)
    assert np.array_equal(got.transform(given), want.transform(x))
    assert np.array_equal(got.reconstruct(given), want.reconstruct(x))
    assert np.array_equal(got.score_samples(given, draws=3), want.score_samples(x, draws=3))
    assert got.evaluate(got.held_out(given), draws=3) == want.evaluate(want.held_out(x), draws=3)


def test_held_out_rows_may_be_a_source_of_their_own(tmp_path):
    assert_same(fitted(REAL, validation=saved(tmp_path, REAL[:9])), fitted(REAL, validation=REAL[:9]))


def test_the_loop_of_one_s_own_trains_from_a_source(tmp_path):
    def run(x):
        return [float(t.terms.losses["model"]) for t in vk.train(small(), x, epochs=2, batch_size=8)]

    assert run(saved(tmp_path, REAL)) == run(REAL)


def test_a_stream_is_read_once_and_its_file_goes_with_it():
    reads = []

    def rows():
        for row in REAL:
            reads.append(row)
            yield row

    stream = Stream(rows())
    vae = fitted(stream)
    vae.transform(stream)
    assert len(reads) == N
    file = stream.store.file
    del stream, vae
    assert file.closed


def test_a_view_is_like_an_array(tmp_path):
    rng = np.random.default_rng(1)
    source = stored(saved(tmp_path, REAL))
    assert (source.shape, source.dtype, source.nbytes, len(source)) == (REAL.shape, REAL.dtype, REAL.nbytes, N)
    index = np.flatnonzero(rng.random(N) < 0.4)
    for got, want in [
        (source[index], REAL[index]),
        (source[5:20][2:4], REAL[7:9]),
        (source[index][3:], REAL[index][3:]),
        (source[torch.from_numpy(index)], REAL[index]),
    ]:
        assert np.array_equal(np.asarray(got), want)
        assert datasets.digest(got) == datasets.digest(want)
    with pytest.raises(ValueError, match="expected ascending row numbers"):
        source[np.array([2, 1])]
    with pytest.raises(IndexError, match=r"expected row numbers in 0..52, got 1..53"):
        source[np.array([1, 53])]


@pytest.mark.parametrize("data", DATA)
def test_what_is_inferred_is_what_would_be_in_memory(tmp_path, data, monkeypatch):
    def inferred(x):
        x, dtype = as_data(x)
        return DataSpec.infer(x, dtype).for_likelihood("columns", x), DataSpec.infer(x, dtype)._standardisation(x)

    path, whole = saved(tmp_path, DATA[data]), inferred(DATA[data])
    monkeypatch.setattr(spec, "PIECE", 40)
    assert inferred(path) == inferred(DATA[data])
    assert inferred(path)[0] == whole[0]
    assert np.allclose(inferred(path)[1], whole[1], rtol=1e-12)


def test_bytes_are_not_read_through_to_know_their_range(monkeypatch):
    monkeypatch.setattr(spec, "PIECE", 100)
    read, source = [], stored(Given(DATA["images"]))
    monkeypatch.setattr(Given, "__getitem__", lambda self, i: read.append(i) or self.x[i])
    assert DataSpec.infer(source, "uint8").kind == "bytes" and len(read) == 5


def test_the_scale_is_found_in_pieces(monkeypatch):
    x = np.random.default_rng(1).normal(1e4, 1e-2, (4000, 3))
    x[::3, 1] = np.nan
    x[:, 2] = np.nan
    monkeypatch.setattr(spec, "PIECE", 100)
    offset, scale = DataSpec.infer(torch.from_numpy(x), "float64")._standardisation(torch.from_numpy(x))
    assert np.allclose(offset, [*np.nanmean(x[:, :2], 0), 0], rtol=1e-14)
    assert np.allclose(scale, [*np.nanstd(x[:, :2], 0), 0], rtol=1e-7)  # 0: without two values


# -- Parquet ---------------------------------------------------------------------------------------


@pytest.fixture
def narrow(monkeypatch):
    """Two row groups of ten rows of six columns are kept."""
    monkeypatch.setattr(parquet_source, "KEPT", 2 * 10 * 6 * 4)


def decoded(monkeypatch):
    groups, decode = [], parquet_source.Table._decoded

    def noted(self, number):
        groups.append(number)
        return decode(self, number)

    monkeypatch.setattr(parquet_source.Table, "_decoded", noted)
    return groups


def test_an_epoch_of_a_table_visits_each_row_once_and_decodes_each_group_once(tmp_path, narrow, monkeypatch):
    source, groups = stored(table(tmp_path, REAL, files=2)), decoded(monkeypatch)
    assert source.store.width == 2
    held = np.random.default_rng(1).permutation(N)[:11]
    for view in (source, source[np.delete(np.arange(N), held)]):
        again = stored(tmp_path) if view is source else stored(tmp_path)[view.index]
        seen = [view.order(seed, epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0)]]
        for order in seen:
            assert np.array_equal(np.sort(order), np.arange(len(view)))
        assert len({tuple(order.tolist()) for order in seen}) == 3
        assert torch.equal(again.order(0, 1), seen[1])
        groups.clear()
        x = np.concatenate([view.take(index) for index in np.array_split(seen[0].numpy(), 9)])
        assert np.array_equal(x, np.asarray(view)[seen[0]])
        assert sorted(groups[: len(source.store.groups)]) == list(range(len(source.store.groups)))
        assert len(source.store.kept) == 2


def test_a_table_that_fits_is_shuffled_whole(tmp_path):
    order = stored(table(tmp_path, REAL)).order(0, 0).numpy()
    assert set(order[:40] // 10) == set(range(6)), "the first rows come from every group"


class Ordered(Rows):
    """Rows in memory in the order of a stored source."""

    def order(self, seed, epoch):
        return self.source.order(seed, epoch)


def begun(x):
    learner, given = assemble(small(), x, ELBO(), seed=0)
    return Training(learner, given, epochs=3, batch_size=8)


def finished(training):
    for _ in training:
        pass
    return weights(training)


def small(x=REAL, likelihood=None):
    """A model for rows like these, untrained."""
    parts = vk.recipes.Recipe("vae", hidden=(8,)).build(2, DataSpec.infer(*as_tensor(x)))
    return vk.VAEModule(parts.encoder, parts.latent, parts.decoder, likelihood or vk.likelihoods.Gaussian())


def weights(training):
    return torch.cat([p.detach().flatten() for p in training.learner.parameters()])


def test_training_from_a_table_is_training_from_memory_in_its_order(tmp_path, narrow):
    path = table(tmp_path, REAL, files=3)
    learner, given = assemble(small(), path, ELBO(), seed=0)
    in_memory = Ordered(torch.from_numpy(REAL), given.spec)
    object.__setattr__(in_memory, "source", given.x)
    again = Training(learner, in_memory, epochs=3, batch_size=8)
    assert torch.equal(finished(begun(path)), finished(again))


COLUMNS = {
    "floats": (REAL[:, 0], "float32"),
    "whole": (np.arange(N, dtype=np.int32), "int32"),
    "bits": (np.arange(N) % 2 == 0, "bool"),
    "whole with gaps": ([None, *range(1, N)], "float64"),
    "bits with gaps": ([True, None] * 26 + [False], "float64"),
}


@pytest.mark.parametrize("names", [*([n] for n in COLUMNS), ["floats", "whole"], [*COLUMNS]], ids=", ".join)
def test_columns_are_read_as_pandas_reads_them(tmp_path, names):
    pandas = pytest.importorskip("pandas")
    kinds = {"whole with gaps": "Int64", "bits with gaps": "boolean"}
    columns = {n: pandas.array(COLUMNS[n][0], dtype=kinds.get(n, COLUMNS[n][1])) for n in names}
    frame = pandas.DataFrame(columns, index=pandas.Index(np.arange(N) + 5, name="row"))
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=7)
    got = np.asarray(stored(tmp_path / "x.parquet"))
    assert np.array_equal(got.astype(float), frame.to_numpy(dtype=float, na_value=np.nan), equal_nan=True)
    assert got.dtype == np.result_type(*(COLUMNS[n][1] for n in names))


def test_columns_that_do_not_say_whether_they_have_nulls_are_taken_to(tmp_path):
    whole = np.arange(20).reshape(10, 2)
    assert stored(table(tmp_path, whole)).dtype == np.int64
    assert stored(table(tmp_path, whole, write_statistics=False)).dtype == float


# -- interruption ----------------------------------------------------------------------------------

RESUMED = {**SOURCES, "folder of tables": lambda folder, x: table(folder, x, files=2)}


@pytest.mark.parametrize("source", ["path", "Dataset", "batches", "folder of tables"])
@pytest.mark.parametrize("steps", [3, 7, 12])
def test_a_training_goes_on_in_the_middle_of_an_epoch_bit_for_bit(tmp_path, narrow, source, steps):
    given = RESUMED[source](tmp_path, REAL)
    stopped, goes_on = begun(given), begun(given)
    for _ in stopped:
        if stopped.taken == steps:
            break
    goes_on.restore(*kept(stopped))
    assert torch.equal(finished(goes_on), finished(begun(given)))


def kept(training):
    tensors, place = training.state()
    return {n: t.clone() for n, t in tensors.items()}, place


class Interrupting(Silent):
    """Presses Ctrl-C after a step."""

    def __init__(self, step):
        self.at = step

    def step(self, training, rows_per_second):
        if training.taken == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_in_the_middle_of_an_epoch_can_be_gone_on_from(tmp_path):
    source = saved(tmp_path, REAL)
    vae = vk.VAE(recipe="auto", epochs=3, batch_size=8, device="cpu", threads=1, compile=False)
    stopped = vae.fit(source, run=tmp_path / "run", display=Interrupting(9))
    assert stopped.ended_ == "interrupted" and readers() == []
    assert_same(
        vae.fit(source, run=tmp_path / "run", resume=True),
        fitted(source, epochs=3, validation=0.1, seed=0, patience=None),
    )


def test_a_training_that_is_left_leaves_no_reader(tmp_path):
    def steps():
        return vk.train(small(), saved(tmp_path, REAL), epochs=3, batch_size=4)

    for training in steps():
        assert readers()
        if training.taken == 3:
            break
    del training
    assert readers() == []

    def fails():
        for _ in steps():
            raise RuntimeError("of the loop's body")

    with pytest.raises(RuntimeError, match="of the loop's body"):
        fails()
    assert readers() == []
    running = steps()
    next(running)
    running.close()
    assert readers() == []


def test_a_step_that_fails_leaves_no_reader(tmp_path):
    learner, given = assemble(small(), saved(tmp_path, REAL), ELBO(), seed=0)
    training = Training(learner, given, batch_size=4)

    def fail(batch, noise):
        raise RuntimeError("of the step")

    training.step = fail
    with pytest.raises(RuntimeError, match="of the step"):
        list(training)
    assert readers() == []


def test_a_training_that_is_put_back_reads_on_from_there(tmp_path):
    """`restore` in the body of the loop: what was read ahead is not what comes next."""
    for x in (REAL, saved(tmp_path, REAL)):
        learner, given = assemble(small(), x, ELBO(), seed=0)
        training, losses = Training(learner, given, epochs=2, batch_size=8), []
        for _ in training:
            losses.append(float(training.terms.losses["model"]))
            if len(losses) == 3:
                place = kept(training)
            if len(losses) == 5:
                training.restore(*place)
        assert losses[5:7] == losses[3:5]


def test_reading_ahead_is_bounded_and_in_order(monkeypatch):
    read = []

    def noted(index):
        read.append(index)
        return torch.full((256,), index, dtype=torch.float32)  # 1 KiB

    for limit, most in [(1, 2), (2**12, 4), (2**14, 16)]:
        monkeypatch.setattr(rows, "AHEAD", limit)
        read.clear()
        for i, result in enumerate(ahead(noted, range(40))):
            assert len(read) <= i + most
            assert int(result[0]) == i
        assert read == list(range(40))


# -- wrong sources ---------------------------------------------------------------------------------


class Failing(Given):
    def __getitem__(self, i):
        if i == 40:
            raise KeyError("the disk is gone")
        return super().__getitem__(i)


def test_what_a_dataset_raises_comes_through_with_its_place():
    with pytest.raises(KeyError) as caught:
        fitted(Failing(DATA["images"]))
    assert "the disk is gone" in str(caught.value) and caught.value.__notes__ == ["raised by Failing[40]"]


def cut(path):
    os.truncate(path, path.stat().st_size - 100)
    return path


def objects(path):
    np.save(path, np.array([{}, {}]), allow_pickle=True)
    return path


def text(path):
    path.write_text("no rows")
    return path


def columns(folder, *names):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for i, each in enumerate(names):
        parquet.write_table(pyarrow.table({n: ["a"] if n == "word" else [1.0] for n in each}), folder / f"{i}.parquet")
    return folder


def fortran(folder):
    return saved(folder, np.asfortranarray(REAL))


WRONG = {
    "missing": (
        lambda f: f / "x.npy",
        FileNotFoundError,
        "expected a .csv, .npy, .parquet or .h5ad file, or a .* not exist",
    ),
    "another file": (lambda f: text(f / "x.txt"), ValueError, "got .*x.txt: save the array with np.save"),
    "an empty folder": (lambda f: f, FileNotFoundError, "expected images .* in the folder .*, got none"),
    "cut short": (lambda f: cut(saved(f, REAL)), ValueError, "is not a whole .npy array .*: save it again"),
    "no .npy": (lambda f: text(f / "x.npy"), ValueError, "is not a whole .npy array"),
    "objects": (lambda f: objects(f / "x.npy"), ValueError, "got Python objects .* never loaded.*; save x.astype"),
    "words": (lambda f: saved(f, np.array([["a"], ["b"]])), TypeError, "expected numbers, got an array of <U1: encode"),
    "complex": (lambda f: saved(f, REAL + 1j), ValueError, "Complex data not supported"),
    "numbers, not rows": (lambda f: saved(f, REAL[:, 0]), ValueError, r"expected rows of data, \(N, ...\), got shape"),
    "no rows": (lambda f: saved(f, REAL[:0]), ValueError, r"0 sample\(s\) \(shape=\(0, 6\)\)"),
    "Fortran order": (fortran, ValueError, r"one after the other in .*Fortran order.*: save them with np.save"),
    "mapped columns": (
        lambda f: np.load(saved(f, REAL), mmap_mode="r")[:, :3],
        ValueError,
        "one after the other in .*a part of every row.*: save them with np.save",
    ),
    "a changed copy": (lambda f: np.load(saved(f, REAL), mmap_mode="c"), ValueError, 'open it with mmap_mode="r"'),
    "an infinity": (
        lambda f: saved(f, np.where(np.arange(N * 6).reshape(N, 6) == 100, np.inf, REAL)),
        ValueError,
        r"the data hold an infinity, first at \(16, 4\): replace it, or mark it missing",
    ),
    "a gap": (lambda f: saved(f, DATA["gaps"]), ValueError, r"hold a NaN, first at .* \(missing=True\)"),
    "a generator": (lambda f: iter(REAL), TypeError, r"wrap it, vaekit.data.Stream\(x\) if it gives rows"),
    "an IterableDataset": (lambda f: Passing(REAL), TypeError, "got Passing, which can only be gone through"),
    "an empty stream": (lambda f: Stream(iter([])), ValueError, "got an empty stream: an iterator can be used once"),
    "rows that differ": (
        lambda f: Stream([REAL[0], REAL[0, :4]]),
        ValueError,
        r"expected rows of \(6,\) and float32, as the first one is, got \(4,\) and float32 as item 1 of the stream",
    ),
    "batches that differ": (
        lambda f: Stream([REAL[:2], REAL[:2].astype(float)], batches=True),
        ValueError,
        r"got \(6,\) and float64 as item 1 of the stream: give all rows one shape and one type",
    ),
    "a stream of words": (lambda f: Stream(["a"]), TypeError, "got str as item 0 of the stream: give x"),
    "an empty Dataset": (lambda f: Given(REAL[:0]), ValueError, "got an empty Given: a data set to fit needs at least"),
    "a Dataset of dictionaries": (lambda f: Given([{"x": 1}]), TypeError, r"got dict as Given\[0\]: give x"),
    "a Dataset of several shapes": (
        lambda f: Given([*DATA["images"], DATA["images"][0, :2]]),
        ValueError,
        r"expected rows of \(4, 5\) and uint8, as the first one is, got \(2, 5\) and uint8 as Given\[53\]",
    ),
    "words in a table": (
        lambda f: columns(f, ["a", "word"]),
        ValueError,
        "expected columns of numbers in .*, got word",
    ),
    "tables that differ": (lambda f: columns(f, ["a"], ["b"]), ValueError, "expected the columns a in every .*, got b"),
    "no columns": (lambda f: columns(f, []), ValueError, "expected columns of numbers in .*, got none"),
    "a table that is none": (
        lambda f: text(f / "x.parquet"),
        ValueError,
        "cannot be read as .parquet .*: save it again",
    ),
    "a table cut short": (lambda f: cut(table(f, REAL) / "0.parquet"), ValueError, "cannot be read as .parquet"),
    "a damaged image": (
        lambda f: text(images(f, DATA["images"]) / "020.png") and f,
        ValueError,
        "020.png cannot be read as an image .*: replace or remove it",
    ),
    "images that differ": (
        lambda f: Image.fromarray(DATA["colour"][0]).save(images(f, DATA["images"]) / "999.png") or f,
        ValueError,
        "one size and mode: 000.png is 5 x 4 grey, but 999.png is 5 x 6 RGB",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_source_says_what_was_expected(tmp_path, wrong):
    make, error, message = WRONG[wrong]
    with pytest.raises(error, match=message):
        fitted(make(tmp_path), validation=0, patience=None)


def test_a_file_that_is_cut_short_after_it_was_opened(tmp_path):
    path = saved(tmp_path, DATA["images"])
    steps = vk.train(small(DATA["images"], vk.likelihoods.Bernoulli()), path, batch_size=4, epochs=9)
    next(steps)
    os.truncate(path, 200)
    with pytest.raises(ValueError, match=r"x.npy ends before the last of its 53 rows: it was cut short after"):
        list(steps)


class Drifting(Given):
    """A data set that gives other rows when it is read again."""

    def __init__(self, x, then):
        super().__init__(x)
        self.then, self.reads = then, 0

    def __getitem__(self, i):
        self.reads += 1
        return self.then if self.reads > 3 * N else self.x[i]


DRIFTS = {
    "above": (
        "unit",
        2.0,
        r"expected real numbers in \[0, 1\], as in fit, got .* numbers in \[.*2\]: give all",
    ),
    "fraction": ("bits", 0.5, r"expected values 0 and 1, as in fit, got fractional .*the same whenever they are read"),
    "gap": ("unit", np.nan, "cells are missing"),
    "infinity": ("unit", -np.inf, "the data hold an infinity, first at"),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_rows_that_leave_the_range_later_are_refused(drift):
    data, value, message = DRIFTS[drift]
    x = DATA[data].reshape(N, -1).astype(np.float32)
    source = Drifting(x, np.full(x.shape[1], value, np.float32))
    with pytest.raises(ValueError, match=message):
        list(vk.train(small(x, vk.likelihoods.Bernoulli()), source, epochs=9, batch_size=8))


def test_other_rows_than_in_fit_are_refused_as_they_are_in_memory(tmp_path):
    vae = fitted(DATA["unit"])
    for x in (DATA["unit"] + 1, DATA["unit"][:, :2]):
        said = []
        for given in (x, saved(tmp_path, x)):
            with pytest.raises(ValueError) as error:
                vae.transform(given)
            own = str(error.value).removeprefix(f"{tmp_path / 'x.npy'}: ")  # a file is named first
            said.append(re.sub(r"got \S+:", "got:", own))
        assert said[0] == said[1] and str(tmp_path / "x.npy") in str(error.value)


def test_members_with_rows_of_their_own_need_them_in_memory(tmp_path):
    learner, given = assemble(small(), saved(tmp_path, REAL), ELBO(), seed=0)
    ensemble = Ensemble([learner, Learner(small().resolve_shapes((6,)), ELBO())])
    with pytest.raises(ValueError, match=r"expected one order of rows, got 2: .* Ensemble\(..., shared_rows=True\)"):
        list(Training(ensemble, given, seeds=[0, 1]))
    shared = Training(Ensemble([learner], shared_rows=True), given, epochs=1, seeds=[0])
    assert [t.taken for t in shared] == [1]


# -- on the command line ---------------------------------------------------------------------------


def call(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()


def results(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    history = [{n: v for n, v in line.items() if "second" not in n} for line in lines]
    names = ("model.safetensors", "metrics.json", "config.json", "run.json")
    return history, *((folder / name).read_bytes() for name in names)


@pytest.mark.parametrize("kind", ["path", "folder of images"])
def test_a_large_file_is_not_read_whole_and_gives_the_same_run(tmp_path, monkeypatch, kind):
    (tmp_path / "data").mkdir()
    data = EVERY[kind](tmp_path / "data", DATA["images"])
    words = ("fit", data, "--epochs", 2, "--quiet", "--set", "hidden=8", "--recipe", "vae")
    assert call(*words, "--no-report", "-o", tmp_path / "whole")[0] == 0
    monkeypatch.setattr(inputs, "LARGE", 100)
    assert isinstance(inputs.read(str(data)), LazyRows)
    code, _, err = call(*words, "-o", tmp_path / "stored")
    assert code == 0, err
    assert results(tmp_path / "whole") == results(tmp_path / "stored")
    assert (tmp_path / "stored" / "report.html").exists()
    for verb in ("embed", "reconstruct", "evaluate"):
        assert call(verb, tmp_path / "stored", data)[0] == 0
    code, _, err = call(*words, "--binarise", "static", "-o", tmp_path / "drawn")
    assert code == 2 and "pass --binarise dynamic" in err


def test_a_table_is_fitted_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "LARGE", 100)
    words = ("fit", table(tmp_path, REAL, files=2), "--epochs", 1, "--quiet", "--no-report", "-o", tmp_path / "run")
    assert call(*words)[0] == 0
    assert vk.load(tmp_path / "run").spec_.shape == (6,)


# -- memory ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_file_is_trained_from_in_less_memory_than_it_takes_on_disk(tmp_path):
    """1.6 GB in less than 1.0, of which torch alone takes a third. Sparse: pages count where they are kept, but take no
    disk."""
    code = """
        import sys
        import numpy as np
        import peak_memory
        import vaekit as vk

        x = np.lib.format.open_memmap(sys.argv[1], mode="w+", dtype=np.float32, shape=(500_000, 784))
        x[:64] = np.random.default_rng(0).normal(size=(64, 784))
        del x
        mapped = np.load(sys.argv[1], mmap_mode="r")
        vae = vk.VAE(epochs=0, device="cpu").fit(mapped[:1000])
        for training in vk.train(vae.module_, mapped, batch_size=512):
            if training.taken == 50:
                break
        assert vae.transform(mapped[:20_000]).shape == (20_000, 2)
        print(peak_memory.peak())
    """
    words = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "x.npy")]
    out = subprocess.run(words, capture_output=True, text=True, check=True, env=peak_memory.environment())
    assert int(out.stdout) < 1.0e9
