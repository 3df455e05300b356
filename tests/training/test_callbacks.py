"""Callbacks: called after each epoch with a copy of the record, and able to stop training."""

import csv
import sys

import numpy as np
import pytest

import vaekit as vk

SMALL = dict(epochs=4, batch_size=20, threads=1, compile=False)
X = np.random.default_rng(0).normal(size=(60, 3))


class Recording:
    def __init__(self, stop=None):
        self.records, self.stop = [], stop

    def on_epoch_end(self, record):
        self.records.append(record)
        return len(self.records) == self.stop


def test_each_epoch_is_reported_once_and_changing_a_record_changes_nothing():
    seen = Recording()
    vae = vk.VAE(2, **SMALL).fit(X, callbacks=[seen])
    assert seen.records == vae.history_
    seen.records[0]["elbo"] = None
    assert vae.history_[0]["elbo"] is not None


def test_training_with_callbacks_is_the_same_training():
    a, b = (vk.VAE(2, **SMALL).fit(X, callbacks=c).transform(X) for c in ([], [Recording()]))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("settings", [{}, {"seeds": 2}, {"patience": 3}])
def test_a_callback_that_returns_true_stops_training(settings, tmp_path):
    seen = Recording(stop=2)
    vae = vk.VAE(2, **SMALL, **settings).fit(X, callbacks=[seen, Recording()], run=tmp_path)
    assert vae.ended_ == "stopped early" and len(vae.history_) == len(seen.records) == 2
    np.testing.assert_array_equal(vk.load(tmp_path).transform(X), vae.transform(X))


def test_a_stopped_training_resumes_bit_for_bit(tmp_path):
    vk.VAE(2, **SMALL).fit(X, callbacks=[Recording(stop=2)], run=tmp_path)
    resumed = vk.VAE(2, **SMALL).fit(X, run=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.transform(X), vk.VAE(2, **SMALL).fit(X).transform(X))


def test_an_error_in_a_callback_ends_training_and_is_raised():
    class Failing:
        def on_epoch_end(self, record):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        vk.VAE(2, **SMALL).fit(X, callbacks=[Failing()])


def test_a_pretraining_is_not_reported():
    seen = Recording()
    x = vk.datasets.mnist()[0][:60]
    vk.VAE(2, recipe="vade", **SMALL).fit(x, callbacks=[seen])
    assert [r["epoch"] for r in seen.records] == [1, 2, 3, 4]


def test_the_csv_file_has_a_line_per_epoch_and_a_resumed_training_appends(tmp_path):
    path, run = tmp_path / "logs" / "losses.csv", tmp_path / "run"
    vk.VAE(2, **{**SMALL, "epochs": 2}).fit(X, callbacks=[vk.training.CSVLogger(path)], run=run)
    vae = vk.VAE(2, **SMALL).fit(X, callbacks=[vk.training.CSVLogger(path)], run=run, resume=True)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["epoch"]) for r in rows] == [1, 2, 3, 4]
    assert [float(r["val_elbo"]) for r in rows] == [r["val_elbo"] for r in vae.history_]
    vk.VAE(2, **{**SMALL, "epochs": 1}).fit(X, callbacks=[vk.training.CSVLogger(path)])
    assert len(path.read_text().splitlines()) == 2


def test_tensorboard_is_needed_for_its_logger_only(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        vk.training.TensorBoardLogger(tmp_path)


def test_the_tensorboard_logger_writes_numbers_by_group(monkeypatch, tmp_path):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            assert folder == str(tmp_path)

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            pass

    module = type(sys)("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    vae = vk.VAE(2, **SMALL).fit(X, callbacks=[vk.training.TensorBoardLogger(tmp_path)])
    assert ("held-out/elbo", vae.history_[3]["val_elbo"], 4) in written
    assert ("training/elbo", vae.history_[0]["elbo"], 1) in written


def test_a_time_budget_stops_after_the_epoch_in_which_it_ends():
    vae = vk.VAE(2, **SMALL).fit(X, callbacks=[vk.training.TimeBudget(1e-9)])
    assert vae.ended_ == "stopped early" and len(vae.history_) == 1
    assert vk.VAE(2, **SMALL).fit(X, callbacks=[vk.training.TimeBudget(1e9)]).ended_ == "finished"


@pytest.mark.parametrize("wrong", [None, "csv", Recording, Recording(), [print], [Recording], 3])
def test_other_callbacks_are_refused_before_training(wrong):
    with pytest.raises(vk.settings.SettingError, match=r"expected a list of objects with a method on_epoch_end"):
        vk.VAE(2, **SMALL).fit(X, callbacks=wrong)


def test_a_time_budget_is_positive():
    with pytest.raises(vk.settings.SettingError, match="seconds=0: expected a positive number of seconds"):
        vk.training.TimeBudget(0)
