"""Names of files, columns and levels on the command line: never a command to the terminal, and back as they were."""

import csv
import json
import logging

import numpy as np
import pandas as pd
import pytest
from commands import call

import vaekit as vk
from vaekit.cli.outputs import csv_of
from vaekit.printable import printable
from vaekit.storage import StorageError, inside
from vaekit.training.display import Bar, Lines

EVIL = "\x1b[31mred\x1b[0m\x9b2J\u202ereversed"
COLUMNS = [EVIL, "a,b", 'quo"te', "two\nlines", "[red]markup[/red]", "=1+1", "url(#a)"]


def quiet(text):
    """Whether a text commands no terminal."""
    return not set(text) & set("\x1b\x9b\u202e\u2066\x07\x00\r\x08")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table whose file and columns are called so, and a run of it."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=60).round(3) for name in COLUMNS})
    frame["level"] = [["\x1b[5m", "plain", "[bold]x[/bold]"][i % 3] for i in range(60)]
    frame.to_csv(folder / f"{EVIL}.csv", index=False)
    code, out, err = call("fit", folder / f"{EVIL}.csv", "--epochs", "1", "-o", folder / f"run {EVIL}", "--no-report")
    assert code == 0 and quiet(out) and quiet(err) and printable(EVIL) in out + err
    return folder


def test_every_verb_prints_such_names_escaped(folder):
    run = folder / f"run {EVIL}"
    verbs = [
        ("evaluate", run),
        ("sample", run, "-n", "5"),
        ("embed", run, "-o", folder / f"{EVIL}.npy"),
        ("score", run, "-o", folder / "scores.csv"),
        ("impute", run, "-o", folder / "imputed.csv"),
        ("recipes",),
    ]
    for verb in verbs:
        for more in ([], ["--json"]):
            code, out, err = call(*verb, *more)
            assert quiet(out) and quiet(err), verb
            assert code == 0, err
            if more:
                json.loads(out)


def test_errors_name_such_files_escaped(folder):
    (folder / f"bad{EVIL}.npy").write_bytes(b"nothing")
    for words in (
        ("fit", folder / f"bad{EVIL}.npy"),
        ("fit", folder / f"bad{EVIL}.npy", "--debug"),
        ("fit", folder / f"none{EVIL}.npy"),
        ("fit", f"none{EVIL}"),
        ("evaluate", folder / f"none{EVIL}"),
        ("sample", folder / f"run {EVIL}", "-o", f"x{EVIL}"),
        (EVIL,),
        ("fit", "digits", "--recipe", EVIL),
    ):
        code, out, err = call(*words)
        assert code != 0 and quiet(out) and quiet(err), words
    for wrong in (folder / f"bad{EVIL}.npy", folder / f"none{EVIL}.npy", folder / f"none{EVIL}.h5ad"):
        with pytest.raises((ValueError, FileNotFoundError)) as caught:  # from Python the same
            vk.VAE(epochs=1, verbose=False).fit(wrong)
        assert quiet(str(caught.value)) and printable(EVIL) in str(caught.value)


def test_samples_have_the_names_of_the_data(folder):
    code, _, err = call("sample", folder / f"run {EVIL}", "-n", "5", "-o", folder / "out.csv")
    assert code == 0, err
    with (folder / "out.csv").open(newline="") as file:
        names, *rows = csv.reader(file)
    assert names == [*COLUMNS, "level"] and {len(row) for row in rows} == {8}


def test_a_csv_of_numbers_quotes_its_names():
    numbers = np.array([[1.0, np.nan], [1e-12, -3.0]])
    text = csv_of(['a,"b"\n', "\ud800"], numbers).decode()
    names, *rows = csv.reader(text.splitlines(keepends=True))
    assert names == ['a,"b"\n', "\\ud800"] and rows == [["1", "nan"], ["1e-12", "-3"]]
    wide = csv_of(["z0"], np.array([[1 / 3]])).decode()
    assert wide == "z0\n0.333333333\n"


def test_progress_shows_names_as_text(capsys):
    Lines().tell(f"{EVIL} [red]x[/red]")
    Bar().tell(f"{EVIL} [red]x[/red]")
    err = capsys.readouterr().err
    assert quiet(err) and err.replace("\n", "").count("[red]x[/red]") == 2


def test_schemas_warnings_and_logs_show_names_as_text(folder, recwarn, caplog):
    caplog.set_level(logging.INFO, "vaekit")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({EVIL: rng.normal(size=40), f"id{EVIL}": [f"row {i}" for i in range(40)]})
    with pytest.warns(vk.data.schema.SchemaWarning) as warned:
        schema = vk.data.Schema.infer(frame)
    assert quiet(str(schema)) and all(quiet(str(w.message)) for w in warned)
    with pytest.raises(ValueError) as caught:
        vk.data.Schema.infer(frame, {EVIL: "nothing"})
    assert quiet(str(caught.value)) and quiet(caplog.text)


@pytest.mark.parametrize("name", ["..", ".", "", "/tmp", "a/b", "../x", "a\0b", 3, None])
def test_a_member_of_a_run_is_a_folder_in_it(tmp_path, name):
    with pytest.raises(StorageError, match="as a folder inside it"):
        inside(tmp_path, name)


def test_messages_on_levels_and_columns_from_python_show_them_as_text():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({EVIL: rng.normal(size=60), "level": [["a", f"b{EVIL}"][i % 2] for i in range(60)]})
    vae = vk.VAE(epochs=1, latent_dim=2, verbose=False, seed=0, device="cpu", unknown="error").fit(frame)
    assert quiet(str(vae.spec_.schema)) and quiet(str(vae.spec_))
    wrong = [
        frame.assign(level=f"c{EVIL}"),
        frame.drop(columns=EVIL),
        frame.drop(columns="level"),
        frame.assign(**{EVIL: np.inf}),
        frame.assign(**{EVIL: f"word{EVIL}"}),
    ]
    for rows in wrong:
        with pytest.raises((ValueError, TypeError)) as caught:
            vae.score_samples(rows, draws=2)
        assert quiet(str(caught.value)), rows
    with pytest.raises(ValueError) as caught:
        vk.evaluation.judge_table(frame, frame.rename(columns={EVIL: f"x{EVIL}"}))
    assert quiet(str(caught.value))
    judged = vk.evaluation.judge_table(frame, frame[::-1].reset_index(drop=True))
    assert quiet(str(judged)) and quiet(repr(judged))
