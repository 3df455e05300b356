"""The command line: whole journeys from data to files, its help, and wrong calls with their message and exit code."""

import csv
import errno
import inspect
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from commands import assert_refused, call
from PIL import Image

import vaekit as vk
from vaekit.cli import settings
from vaekit.cli.arguments import PRIORS, SETTINGS, VERBS
from vaekit.cli.inputs import train_and_test
from vaekit.data.datasets import binarise

RUN_FILES = {"run.json", "config.json", "model.safetensors", "history.jsonl", "metrics.json", "checkpoint"}
QUICK = ("--epochs", "2", "--no-report", "--quiet")


def answer(*words):
    """The one JSON object that a successful command prints with `--json`."""
    code, out, err = call(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def picture(path):
    """The pixels of an image file, (H, W, 4)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """600 MNIST images to train on, 100 others, and files that are wrong in one way each."""
    folder = tmp_path_factory.mktemp("data")
    train, test = vk.datasets.mnist()
    np.save(folder / "train.npy", train[:600])
    np.save(folder / "test.npy", test[:100])
    np.save(folder / "flat.npy", np.random.default_rng(0).normal(size=(50, 5)))
    (folder / "truncated.npy").write_bytes((folder / "train.npy").read_bytes()[:5000])
    gaps = np.random.default_rng(0).normal(size=(50, 5))
    gaps[3, 2] = np.nan
    np.save(folder / "gaps.npy", gaps)
    (folder / "infinite.csv").write_text("a,b\n1,red\n2,blue\ninf,blue\n")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def run(data):
    """A finished run over `train.npy`, judged on `test.npy`."""
    record = answer("fit", data / "train.npy", "--test", data / "test.npy", "-o", data / "run", *QUICK)
    assert record["run"] == str(data / "run") and record["on"] == "test.npy" and record["rows"] == 100
    return data / "run"


# -- journeys --------------------------------------------------------------------------------------


def test_a_run_folder_holds_everything_and_loads(run, data):
    assert {path.name for path in run.iterdir()} == RUN_FILES
    assert len((run / "history.jsonl").read_text().splitlines()) == 2
    metrics = json.loads((run / "metrics.json").read_text())
    test = np.load(data / "test.npy")
    assert metrics["figures"]["elbo"]["value"] == vk.load(run).evaluate(test)["elbo"]
    assert metrics["ended"] == "finished" and metrics["epochs"] == 2


def test_evaluate_repeats_the_figures_of_the_fit(run, data):
    metrics = json.loads((run / "metrics.json").read_text())
    record = answer("evaluate", run)
    assert record["figures"] == metrics["figures"] and record["on"] == "test.npy"
    assert answer("evaluate", run, data / "test.npy")["figures"] == metrics["figures"]
    assert answer("evaluate", run, "--draws", "7", "--seed", "1")["draws"] == 7
    code, out, _ = call("evaluate", run, "--draws", "2")
    assert code == 0 and "elbo" in out and "evaluated on: test.npy" in out


def test_evaluate_sets_baselines_and_samples_beside_the_model(run):
    record = answer("evaluate", run, "--draws", "2", "--samples", "30")
    assert record["samples"]["rows"] == {"made": 30, "test": 100}
    assert record["samples"]["compared_by"] == "the rows as they are" and "baselines" not in record
    beside = answer("evaluate", run, "--draws", "2", "--baselines")
    assert beside["baselines"]["rows"] == 540  # without those that fit held out
    assert beside["baselines"]["figures"]["this model"]["log_likelihood"] == beside["figures"]["log_likelihood"]
    code, out, _ = call("evaluate", run, "--draws", "2", "--baselines")
    assert code == 0 and "each column alone" in out


def test_digits_are_compared_by_features_of_digits(tmp_path, monkeypatch):
    (x, y), (x_test, y_test) = vk.datasets.mnist(labels=True)
    few = (x[:300], y[:300]), (x_test[:100], y_test[:100])
    monkeypatch.setattr(vk.datasets, "mnist", lambda labels: few)
    answer("fit", "mnist", "-o", tmp_path / "run", "--epochs", "1", "--no-report", "--quiet")
    record = answer("evaluate", tmp_path / "run", "--draws", "2", "--samples", "50", "--probes")
    assert record["samples"]["compared_by"] == vk.evaluation.DIGITS.name
    kept = ~vk.load(tmp_path / "run").holds_out(300).numpy()
    worth = vk.load(tmp_path / "run").probe(x[:300][kept], y[:300][kept], x_test[:100], y_test[:100])
    assert record["probes"]["linear_probe"]["value"] == worth["linear_probe"].value
    assert record["probes"]["cluster_rand"]["value"] == worth["cluster_rand"].value
    assert record["probes"]["trustworthiness"]["value"] == worth["trustworthiness"].value > 0.5


def test_sample_writes_a_sheet_or_an_array(run, tmp_path):
    code, out, _ = call("sample", run, "-n", "10", "-o", tmp_path / "s.png")
    assert code == 0 and str(tmp_path / "s.png") in out
    height, width, _ = picture(tmp_path / "s.png").shape  # 4 images across, 3 down, gaps of 2 pixels between
    side = (width + 2) // 4 - 2
    assert side % 28 == 0 and (width, height) == (4 * side + 6, 3 * side + 4)
    answer("sample", run, "-n", "5", "--seed", "3", "-o", tmp_path / "s.npy")
    vae = vk.load(run)
    assert np.array_equal(np.load(tmp_path / "s.npy"), vae.sample(5, seed=3))
    answer("sample", run, "-n", "5", "--seed", "3", "--draws", "-o", tmp_path / "s.npz")
    assert np.array_equal(np.load(tmp_path / "s.npz")["x"], vae.sample(5, seed=3, mean=False))


def test_embed_writes_the_codes(run, data, tmp_path):
    codes = vk.load(run).transform(np.load(data / "test.npy"))
    for kind in ("npy", "csv", "parquet"):
        assert answer("embed", run, "-o", tmp_path / f"z.{kind}")["rows"] == 100
    assert np.array_equal(np.load(tmp_path / "z.npy"), codes)
    names, *rows = csv.reader((tmp_path / "z.csv").read_text().splitlines())
    assert names == ["z0", "z1"] and np.array_equal(np.array(rows, dtype=np.float32), codes)
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(tmp_path / "z.parquet")
    assert list(frame.columns) == names and np.array_equal(frame.to_numpy(), codes)


def test_reconstruct_shows_rows_above_their_reconstructions(run, data, tmp_path):
    x = np.load(data / "train.npy")[:3]
    answer("reconstruct", run, data / "train.npy", "-n", "3", "-o", tmp_path / "r.npy")
    assert np.array_equal(np.load(tmp_path / "r.npy"), vk.load(run).reconstruct(x))
    answer("reconstruct", run, data / "train.npy", "-n", "3", "-o", tmp_path / "r.png")
    sheet = picture(tmp_path / "r.png")[..., 0]
    times = ((sheet.shape[0] + 2) // 2 - 2) // 28
    assert np.array_equal(sheet[: 28 * times : times, : 28 * times : times], x[0])
    answer("reconstruct", run, data / "train.npy", "-n", "30", "-o", tmp_path / "many.png")


def test_another_prior_makes_another_run_of_the_same_networks(run, tmp_path):
    words = ("fit-prior", run, "--prior", "mixture", "--set", "components=5", "--no-report", "--quiet")
    record = answer(*words, "--epochs", "2", "-o", tmp_path / "again")
    assert record["run"] == str(tmp_path / "again") and record["on"] == "test.npy" and record["epochs"] == 4
    assert {path.name for path in (tmp_path / "again").iterdir()} == RUN_FILES
    before, after = vk.load(run), vk.load(tmp_path / "again")
    assert after.module_.latent.prior.components == 5
    assert all((a == b).all() for a, b in zip(before.module_.decoder.parameters(), after.module_.decoder.parameters()))
    assert answer("evaluate", tmp_path / "again")["figures"] == record["figures"]
    assert answer(*words, "--epochs", "2", "-o", tmp_path / "again", "--resume")["figures"] == record["figures"]


def test_every_prior_of_the_command_line_has_its_part():
    assert tuple(settings.PRIORS) == PRIORS
    assert settings.prior("two-stage", ["hidden=32,16"]).hidden == (32, 16)
    assert settings.prior("vamp", []).components == 500


def test_interpolate_goes_from_row_to_row(run, data, tmp_path):
    x, vae = np.load(data / "test.npy"), vk.load(run)
    words = ("interpolate", run, "3", "8", "--steps", "5", "--path", "spherical", "-o")
    assert answer(*words, tmp_path / "walk.npy")["rows"] == 5
    expected = vae.interpolate(x[3:4], x[8:9], steps=5, path="spherical")[0]
    assert np.array_equal(np.load(tmp_path / "walk.npy"), expected)
    answer(*words, tmp_path / "walk.png")
    height, width = picture(tmp_path / "walk.png").shape[:2]
    assert width > 4.5 * height  # five pictures in one line


def test_traverse_moves_a_dimension_in_each_line(run, data, tmp_path):
    vae = vk.load(run)
    answer("traverse", run, "--steps", "3", "--reach", "2", "-o", tmp_path / "t.npy")
    assert np.array_equal(np.load(tmp_path / "t.npy"), vae.traverse(steps=3, reach=2.0)[0].reshape(-1, 28, 28))
    words = ("traverse", run, data / "test.npy", "--row", "4", "--dimensions", "1", "-o")
    answer(*words, tmp_path / "around.npy")
    around = vae.traverse(np.load(data / "test.npy")[4:5], [1])[0, 0]
    assert np.array_equal(np.load(tmp_path / "around.npy"), around)
    assert answer("traverse", run)["output"] == str(run / "traversal.png")


def test_the_report_gets_the_test_set_and_its_labels(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    seen = {}

    class Page:
        def save(self, path):
            path.write_text("<html></html>")

    monkeypatch.setattr(vk.VAE, "report", lambda self, x, y, **known: seen.update(x=x, labels=y, **known) or Page())
    record = answer("fit", "digits", "--epochs", "1", "-o", tmp_path / "run")
    (x, _), (x_test, y_test) = vk.datasets.digits(labels=True)
    held = vk.VAE(seed=0).held_out(x)
    assert len(seen["train"]) == len(x) - len(held)
    assert np.array_equal(seen["x"], x_test) and np.array_equal(seen["labels"], y_test)
    assert record["report"] == str(tmp_path / "run" / "report.html") and record["on"] == "the test set of digits"
    assert answer("report", tmp_path / "run", "-o", tmp_path / "page.html")["rows"] == 360
    assert (tmp_path / "page.html").read_text() == (tmp_path / "run" / "report.html").read_text() == "<html></html>"


def test_the_report_is_one_html_file(run, tmp_path):
    pytest.importorskip("vaekit.report.page", reason="the report is not there yet")
    assert call("report", run, "-o", tmp_path / "page.html")[0] == 0
    assert "<html" in (tmp_path / "page.html").read_text()


def test_settings_reach_the_model(data, tmp_path):
    words = ("--recipe", "beta-vae", "--set", "beta=6", "--set", "hidden=32,16", "--latent-dim", "3", "--lr", "5e-4")
    more = ("--schedule", "cosine", "--warmup", "2", "--clip", "1", "--initialiser", "he", "--seed", "4")
    answer("fit", data / "train.npy", *words, *more, "-o", tmp_path / "run", *QUICK)
    vae = vk.load(tmp_path / "run")
    got = vae.get_params()
    assert got["recipe__beta"] == 6 and tuple(got["recipe__hidden"]) == (32, 16) and got["latent_dim"] == 3
    assert (got["lr"], got["schedule"], got["warmup"], got["clip"], got["seed"]) == (5e-4, "cosine", 2, 1.0, 4)
    x, alone = np.load(data / "train.npy"), vk.VAE(**vae.get_params(deep=False))
    assert np.array_equal(alone.fit(x).transform(x), vae.transform(x))


def test_the_held_out_rows_are_those_the_fit_held_out(data, tmp_path):
    record = answer("fit", data / "train.npy", "--patience", "5", "-o", tmp_path / "run", *QUICK)
    vae, x = vk.load(tmp_path / "run"), np.load(data / "train.npy")
    assert record["rows"] == 60 and record["on"] == "held-out rows of train.npy, which also chose when to stop"
    rate = vae.evaluate(vae.held_out(x), draws=record["draws"])["rate"]
    assert record["figures"]["rate"]["value"] == pytest.approx(rate, rel=1e-5)
    assert rate == pytest.approx(vae.history_[-1]["val_rate"], rel=0.01)  # of the formula, and the same rows
    answer("fit", data / "train.npy", "--validation", data / "test.npy", "-o", tmp_path / "file", *QUICK)
    assert json.loads((tmp_path / "file" / "metrics.json").read_text())["rows"] == 100
    record = answer("fit", data / "train.npy", "--validation", "0", "-o", tmp_path / "none", *QUICK)
    assert record["rows"] == 600 and record["on"].startswith("the training rows")


def test_a_folder_of_images_and_a_table(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 10, 12, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{i:02}.png")
    assert answer("fit", tmp_path / "pictures", "-o", tmp_path / "a", *QUICK)["rows"] == 3
    answer("sample", tmp_path / "a", "-n", "4")
    assert picture(tmp_path / "a" / "samples.png").shape == (2 * 500 + 2, 2 * 600 + 2, 4)  # 10 x 12, 50 times

    pytest.importorskip("pandas")
    monkeypatch.setattr("vaekit.recipes.factors.FITTING", 10)  # how well it fits does not matter here
    table = np.random.default_rng(0).normal(size=(40, 3))
    np.savetxt(tmp_path / "named.csv", table, delimiter=",", header="a,b,c", comments="")
    np.savetxt(tmp_path / "bare.csv", table, delimiter=",")
    named, bare = (answer("fit", tmp_path / f"{n}.csv", "-o", tmp_path / n, *QUICK) for n in ("named", "bare"))
    assert named["figures"] == bare["figures"]
    answer("sample", tmp_path / "named", "-n", "4")
    names, *rows = csv.reader((tmp_path / "named" / "samples.csv").read_text().splitlines())
    assert names == ["a", "b", "c"] and np.array(rows, float).shape == (4, 3)


def test_shapes_are_as_many_as_asked_for_chosen_by_the_seed_and_2000_others():
    train, test = train_and_test("shapes:300", seed=2)
    assert train.x.shape == (300, 64, 64) and test.x.shape == (2000, 64, 64) and test.labels.shape == (2000,)
    again, other = train_and_test("shapes:300", seed=2)[0], train_and_test("shapes:300", seed=3)[0]
    assert np.array_equal(train.x, again.x) and not np.array_equal(train.x, other.x)
    assert set(test.labels.tolist()) == {0, 1, 2}


def test_missing_cells_are_allowed_when_asked_for(data, tmp_path):
    record = answer("fit", data / "gaps.npy", "--recipe", "miwae", "--missing", "-o", tmp_path / "run", *QUICK)
    assert np.isfinite(record["figures"]["log_likelihood"]["value"])


def test_binarising_once_at_each_pass_or_by_threshold(data, tmp_path):
    words = ("fit", data / "train.npy", "--test", data / "test.npy", *QUICK, "--binarise")
    record = answer(*words, "static", "-o", tmp_path / "static")
    vae, test = vk.load(tmp_path / "static"), np.load(data / "test.npy")
    assert vae.spec_.kind == "binary" and record["notes"] == []
    assert record["figures"]["elbo"]["value"] == vae.evaluate(binarise(test, seed=1))["elbo"]
    assert answer("evaluate", tmp_path / "static", data / "test.npy")["figures"] == record["figures"]
    for kind in ("dynamic", "threshold"):
        assert answer(*words, kind, "-o", tmp_path / kind)["notes"] == []
        assert vk.load(tmp_path / kind).module_.likelihood.binarise == kind


def test_a_run_is_never_overwritten_unasked(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("fit", data / "flat.npy", "--epochs", "1", "--no-report", "--quiet")
    assert [answer(*words)["run"] for _ in range(3)] == ["runs/flat", "runs/flat-2", "runs/flat-3"]
    assert answer(*words, "--recipe", "auto")["run"] == "runs/flat-auto"
    before = (tmp_path / "runs" / "flat" / "model.safetensors").read_bytes()
    code, _, err = call(*words, "-o", "runs/flat")
    assert code == 2 and "holds a run already" in err and "--overwrite" in err
    assert (tmp_path / "runs" / "flat" / "model.safetensors").read_bytes() == before
    assert answer(*words, "-o", "runs/flat", "--overwrite", "--seed", "1")["run"] == "runs/flat"
    assert (tmp_path / "runs" / "flat" / "model.safetensors").read_bytes() != before


def test_progress_goes_to_stderr_once_and_quiet_drops_it(data, tmp_path):
    words = ("fit", data / "flat.npy", "--epochs", "2", "--no-report")
    code, out, err = call(*words, "--json", "-o", tmp_path / "a")
    assert code == 0 and len(json.loads(out)) > 5 and err.count("epoch 1/2") == err.count("epoch 2/2") == 1
    code, out, err = call(*words, "--quiet", "-o", tmp_path / "b")
    assert code == 0 and err == "" and "elbo" in out and str(tmp_path / "b") in out


def test_recipes_lists_every_recipe_and_shows_one():
    code, out, _ = call("recipes")
    assert code == 0 and all(name in out for name in vk.recipes.RECIPES)
    assert [r["name"] for r in answer("recipes")["recipes"]] == list(vk.recipes.RECIPES)
    code, out, _ = call("recipes", "vamp")
    assert code == 0 and "arXiv:1705.07120" in out and "components" in out and "300,300" in out
    assert answer("recipes", "vamp")["settings"]["hidden"] == [300, 300]


@pytest.mark.parametrize("name", vk.recipes.RECIPES)
def test_the_defaults_shown_are_read_back_as_themselves(name):
    from vaekit.cli.listing import _shown
    from vaekit.cli.settings import recipe

    shown = [f"{n}={_shown(v)}" for n, v in vk.recipes.RECIPES[name].defaults.items()]
    assert recipe(name, shown) == vk.recipes.Recipe(name)


# -- help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_defaults_and_an_example(verb):
    code, out, _ = call(verb, "--help")
    assert code == 0 and "default" in out and f"example:\n  vaekit {verb}" in out


def test_the_help_names_every_verb_and_exit_code():
    code, out, _ = call("--help")
    assert code == 0 and all(word in out for word in (*VERBS, "0 ", "1 ", "2 ", "130 ", "interrupted"))
    assert call("--version") == (0, f"vaekit {vk.__version__}\n", "")


def test_the_defaults_are_those_of_the_estimator():
    parameters = inspect.signature(vk.VAE).parameters
    shared = [name for name in SETTINGS if name in parameters and name != "columns"]  # a list, of words
    assert {n: SETTINGS[n].default for n in shared} == {n: parameters[n].default for n in shared}
    assert set(SETTINGS) - set(shared) == {"set", "binarise", "columns", "epsilon", "delta"}


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_does_not_import_torch(word):
    program = (
        f"import sys, vaekit.cli\ntry: vaekit.cli.main([{word!r}])\nexcept SystemExit: sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


def test_the_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "vaekit", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"vaekit {vk.__version__}\n"


# -- wrong calls -----------------------------------------------------------------------------------

WRONG = {
    "no verb": ("", "expected a verb: fit,"),
    "unknown verb": ("fitt x.npy", "unknown verb 'fitt' (did you mean \"fit\"?)"),
    "unknown argument": ("fit {d}/train.npy --epoch 3", "unknown argument '--epoch' (did you mean \"--epochs\"?)"),
    "one argument too many": ("fit {d}/train.npy more", "unexpected 'more'"),
    "no data": ("fit", "expected DATA to fit, or --resume RUN"),
    "negative epochs": ("fit {d}/train.npy --epochs -3", "argument --epochs: expected a whole number from 0, got '-3'"),
    "half an epoch": ("fit {d}/train.npy --epochs 0.5", "expected a whole number from 0, got '0.5'"),
    "no rows per step": ("fit {d}/train.npy --batch-size 0", "expected a whole number from 1, got '0'"),
    "no learning rate": ("fit {d}/train.npy --lr nan", "expected a number above 0, got 'nan'"),
    "share above 1": ("fit {d}/train.npy --validation 1.5", "expected a share of the rows in [0, 1) or a file"),
    "unknown schedule": ("fit {d}/train.npy --schedule cosin", "unknown 'cosin' (did you mean \"cosine\"?)"),
    "unknown recipe": ("fit {d}/train.npy --recipe beta-va", "unknown recipe 'beta-va' (did you mean \"beta-vae\"?)"),
    "unknown prior": ("fit-prior {run} --prior flw -o {d}/never", "unknown 'flw' (did you mean \"flow\"?)"),
    "unknown setting of a prior": (
        "fit-prior {run} --prior flow --set layer=2 -o {d}/never",
        "prior 'flow' takes no 'layer' (did you mean \"layers\"?)",
    ),
    "a prior over codes where there are none": (
        "fit-prior {run} --prior pixels --quiet -o {d}/never",
        "PixelPrior is a prior over the codes of a codebook, and Normal has none",
    ),
    "no run to go on with": ("fit-prior {run} --prior flow --resume", "name it with --output"),
    "unknown recipe shown": ("recipes vampp", "unknown recipe 'vampp' (did you mean \"vamp\"?)"),
    "unknown setting": ("fit {d}/train.npy --recipe vamp --set component=3", '(did you mean "components"?)'),
    "setting of no recipe": ("fit {d}/train.npy --set beta=3", "name it with --recipe"),
    "setting without a value": ("fit {d}/train.npy --set beta", "expected name=value, got 'beta'"),
    "setting of another kind": ("fit {d}/train.npy --recipe beta-vae --set beta=much", "expected a number, got 'much'"),
    "unknown data": ("fit mnits", 'nor a file or folder (did you mean "mnist"?)'),
    "missing file": ("fit {d}/none.npy", "does not exist"),
    "truncated file": ("fit {d}/truncated.npy", "is not a whole .npy array"),
    "empty folder": ("fit {d}/empty", "expected images"),
    "an infinity in a table": ("fit {d}/infinite.csv", "column 'a' holds an infinity, first in row 2"),
    "too many shapes": ("fit shapes:999999999", "expected shapes:N"),
    "NaN": ("fit {d}/gaps.npy -o {d}/never", "the data hold a NaN, first at (3, 2)"),
    "no such device": ("fit {d}/train.npy --device gpu", "--device gpu: expected auto, cpu, cuda"),
    "patience without held-out rows": ("fit {d}/train.npy --patience 2 --validation 0 -o {d}/never", "set validation"),
    "test rows of another shape": ("fit {d}/train.npy --test {d}/flat.npy", "expected test rows of (28, 28), as in"),
    "output below a file": ("fit {d}/train.npy -o {d}/train.npy/run", "cannot write"),
    "resume and a setting": ("fit --resume {run} --epochs 3", "leave out --epochs"),
    "resume what is no run": ("fit --resume {d}/empty", "is not a run of `vaekit fit`"),
    "no run": ("evaluate {d}/empty", "holds no fitted model"),
    "no such run": ("sample {d}/nowhere", "holds no fitted model"),
    "rows of another shape": ("embed {run} {d}/flat.npy", "expected rows of (28, 28), as in fit, got rows of (5,)"),
    "unknown kind of output": ("embed {run} -o codes.txt", "expected a name that ends in .npy, .npz, .csv, .parquet"),
    "no draws": ("evaluate {run} --draws 0", "expected a whole number from 1, got '0'"),
    "probes without labels": ("evaluate {run} --probes", "--probes needs labels, and train.npy has none of its own"),
    "few samples": ("evaluate {run} --samples 3", "expected a whole number from 10, got '3'"),
    "no such row": ("interpolate {run} 3 100", "there is no row 100 in test.npy: expected 0 to 99"),
    "unknown path": ("interpolate {run} 3 4 --path geodetic", "unknown 'geodetic' (did you mean \"geodesic\"?)"),
    "no such dimension": ("traverse {run} --dimensions 0,7", "expected numbers from 0 to 1, got 7"),
    "rows for no walk": ("traverse {run} {d}/test.npy", "traverse takes DATA for --row N only"),
    "mean and draws": ("sample {run} --mean --draws", "not allowed with argument"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_gets_one_line_and_exit_code_2(case, data, run):
    assert_refused(*WRONG[case], "fitting ", d=data, run=run)


def test_debug_shows_the_traceback(data):
    code, _, err = call("fit", data / "none.npy", "--debug")
    assert code == 2 and "Traceback" in err and err.splitlines()[-1].startswith("vaekit: error: ")


def test_a_folder_that_the_library_saved_needs_the_data_named(data, tmp_path):
    x = np.load(data / "flat.npy")
    vk.VAE(epochs=1).fit(x).save(tmp_path)
    assert answer("evaluate", tmp_path, data / "flat.npy")["rows"] == 50
    code, _, err = call("evaluate", tmp_path)
    assert code == 2 and "it has no run.json): name the DATA" in err


def test_training_that_diverges_is_exit_code_1(data, tmp_path):
    code, _, err = call("fit", data / "flat.npy", "--lr", "1e30", "-o", tmp_path / "run", *QUICK)
    assert code == 1 and "the loss is not finite" in err and err.count("\n") == 1


def test_a_full_disk_is_exit_code_1(data, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = call("fit", data / "flat.npy", "-o", tmp_path / "run", *QUICK)
    assert code == 1 and "cannot write" in err and "No space left on device" in err and err.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_exit_code_2(data, tmp_path):
    tmp_path.chmod(0o500)
    code, _, err = call("fit", data / "flat.npy", "-o", tmp_path / "run", *QUICK)
    assert code == 2 and "Permission denied" in err
