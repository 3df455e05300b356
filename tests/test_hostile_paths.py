"""Runs whose names hold escape sequences and newlines: every message shows them escaped, on one line."""

import ast
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands import call

import vaekit as vk
from vaekit import storage
from vaekit.cli.arguments import VERBS
from vaekit.locking import locked
from vaekit.printable import printable, printable_line, quoted

EVIL = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202eback\rhidden\nsecond line '$(x)' \\x"
ROOT = Path(vk.__file__).parent
SMALL = {"epochs": 1, "threads": 1, "compile": False, "verbose": False, "validation": 0.2}


def rows():
    return np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)


def shown(text):
    """Whether a text has no character that commands a terminal, and no name in it breaks its line."""
    return printable_line(text.replace("\n", "")) == text.replace("\n", "") and "\nsecond line" not in text


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with rows, a run, and a damaged run of such names."""
    home = tmp_path_factory.mktemp("data") / EVIL
    home.mkdir()
    np.save(home / f"{EVIL}.npy", rows())
    code, out, err = call("fit", home / f"{EVIL}.npy", "--epochs", "1", "-o", home / "run", "--no-report")
    assert code == 0 and shown(out) and shown(err) and printable(home / "run") in out
    shutil.copytree(home / "run", home / "damaged")
    (home / "damaged" / "config.json").write_text("{")
    shutil.copytree(home / "run", home / "without a model")
    (home / "without a model" / "model.safetensors").unlink()
    (home / "empty").mkdir()
    return home


# -- the command line -------------------------------------------------------------------------------------

WORDS = {
    "fit": "fit {rows} --epochs 1 --no-report -o {out}",
    "fit-prior": "fit-prior {run} --prior mixture --epochs 1 --no-report -o {out}",
    "sweep": "sweep {rows} --over lr=0.001,0.002 --epochs 1 -o {out}",
    "evaluate": "evaluate {run} --draws 2",
    "report": "report {run} -o {out}.html",
    "compare": "compare {run} {run}/ --draws 2 -o {out}.html",
    "sample": "sample {run} -n 3 -o {out}.npy",
    "impute": "impute {run} -o {out}.npy",
    "score": "score {run} --draws 2 -o {out}.csv",
    "embed": "embed {run} -o {out}.npy",
    "reconstruct": "reconstruct {run} -o {out}.npy",
    "interpolate": "interpolate {run} 0 1 -o {out}.npy",
    "traverse": "traverse {run} -o {out}.npy",
}
"""A command line of every verb that takes a path."""


def words(verb, home, run="run", data=None, out="out"):
    places = {"{rows}": home / (data or f"{EVIL}.npy"), "{run}": home / run, "{out}": home / f"{verb}-{out}"}
    for word in WORDS[verb].split():
        for place, path in places.items():
            word = word.replace(place, str(path))
        yield word


def test_every_verb_is_here():
    assert {*WORDS, "recipes"} == set(VERBS)


@pytest.mark.slow
@pytest.mark.parametrize("verb", WORDS)
def test_a_verb_shows_paths_escaped(verb, home):
    for more in ([], ["--json"]):
        if more and verb in ("fit", "fit-prior", "sweep"):
            code, out, err = call(*words(verb, home, out="json"), *more)
        else:
            code, out, err = call(*words(verb, home), *more)
        assert shown(out) and shown(err), (verb, out, err)
        assert code == 0, err
        if more:
            assert "\n" not in out.strip() and json.loads(out)


@pytest.mark.parametrize("run", ["none", "damaged", "without a model", "empty"])
@pytest.mark.parametrize("verb", WORDS)
def test_an_error_of_a_verb_shows_paths_escaped(verb, run, home):
    """Of a run, or of rows, that are not there or damaged; also with the traceback of --debug."""
    for more in ([], ["--debug"]):
        code, out, err = call(*words(verb, home, run, data=run, out="never"), *more)
        assert code == 2 and shown(out) and shown(err), (verb, err)
        assert err.splitlines()[-1].startswith("vaekit: error: ")
    assert not list(home.glob(f"{verb}-never*"))


FOLDERS = {
    "a run is there": (["fit", "{rows}", "-o", "{home}/run"], "holds a run already"),
    "a run to go on with is not there": (["fit", "--resume", "{home}/empty"], "is not a run of"),
    "a sweep of a run": (["sweep", "--resume", "{home}/run"], "is no sweep"),
    "settings and a run": (["fit", "--resume", "{home}/run", "--epochs", "3"], "leave out --epochs"),
    "a wrong suffix": (["sample", "{home}/run", "-o", "{home}/x.docx"], "expected a name that ends in"),
    "no such flag": (["sample", "{home}/run", "--{home}"], "--"),
    "labels that are not there": (["fit", "{rows}", "--labels", "{home}/none.csv"], "does not exist"),
    "columns of an array": (["fit", "{rows}", "--labels", "obs:{home}"], "is no .h5ad file"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_an_error_of_a_folder_shows_it_escaped(case, home):
    line, message = FOLDERS[case]
    places = {"{rows}": str(home / f"{EVIL}.npy"), "{home}": str(home)}
    made = [word.replace("{rows}", places["{rows}"]).replace("{home}", places["{home}"]) for word in line]
    code, out, err = call(*made)
    assert code == 2 and shown(out) and shown(err) and message in err, err


@pytest.mark.parametrize("name", ["run", "my run", EVIL.replace("\u202e", ""), "a'b", "a\\b\tc", "-x"])
def test_a_path_is_quoted_as_a_shell_reads_it(name):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not there")
    assert printable_line(quoted(name)) == quoted(name)
    read = subprocess.run([bash, "-c", f"printf %s {quoted(name)}"], capture_output=True, check=True)
    assert read.stdout.decode("utf-8", "surrogateescape").encode("utf-8", "surrogateescape") == name.encode().replace(
        "\x9b".encode(), b"\x9b"
    )


# -- from Python ------------------------------------------------------------------------------------------


def edit(run, change):
    config = json.loads((run / "config.json").read_text())
    change(config)
    storage.write_json(run / "config.json", storage.sealed(config))


def resume(run, **changed):
    vk.VAE(2, **SMALL | changed).fit(rows(), run=run, resume=True)


DAMAGE = {
    "a folder that is not there": lambda r: shutil.rmtree(r),
    "no description": lambda r: (r / "config.json").unlink(),
    "no weights": lambda r: (r / "model.safetensors").unlink(),
    "a damaged description": lambda r: (r / "config.json").write_text("{"),
    "a list": lambda r: (r / "config.json").write_text("[]"),
    "nesting": lambda r: (r / "config.json").write_text("[" * 500),
    "a digest": lambda r: (r / "config.json").write_text((r / "config.json").read_text().replace('"epochs": 1', "")),
    "a later format": lambda r: edit(r, lambda c: c.update(format=99)),
    "no section": lambda r: edit(r, lambda c: c.pop("data")),
    "members": lambda r: edit(r, lambda c: c.update(members=[f"../{EVIL}"])),
    "a part": lambda r: edit(r, lambda c: c["model"]["encoder"].update(type=EVIL)),
    "an argument": lambda r: edit(r, lambda c: c["model"]["encoder"].update({EVIL: 1})),
    "a setting": lambda r: edit(r, lambda c: c["estimator"].update(seed=EVIL)),
    "a width": lambda r: edit(r, lambda c: c["model"]["encoder"].update(hidden=[7])),
    "your own module": lambda r: edit(r, lambda c: c["model"].update(encoder={"external": EVIL, "class": EVIL})),
    "short weights": lambda r: (r / "model.safetensors").write_bytes(b"123"),
    "other weights": lambda r: storage.write_tensors(r / "model.safetensors", {}, {"x": EVIL}),
    "a damaged history": lambda r: (r / "history.jsonl").write_text("[1"),
    "another history": lambda r: (r / "history.jsonl").write_text("{}\n"),
    "no scores": lambda r: (r / "detector.safetensors").unlink(),
    "damaged scores": lambda r: (r / "detector.safetensors").write_bytes(b"123"),
    "a detector": lambda r: edit(r, lambda c: c["detector"].update(settings={EVIL: EVIL})),
}


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector") / "run"
    vk.OutlierDetector(vk.VAE(2, **SMALL), draws=2).fit(rows()).save(folder)
    return folder


@pytest.mark.parametrize("case", DAMAGE)
def test_an_error_of_loading_shows_the_path_escaped(case, detector, tmp_path):
    run = tmp_path / EVIL
    shutil.copytree(detector, run)
    DAMAGE[case](run)
    with pytest.raises((ValueError, TypeError, OSError)) as refused:
        vk.load(run)
    assert printable_line(refused.value) == str(refused.value) and printable_line(run) in str(refused.value)


def test_an_error_of_saving_shows_the_path_escaped(detector, tmp_path):
    vae, run = vk.load(detector), tmp_path / EVIL
    run.mkdir()
    (run / "sweep.json").write_text("{}")
    file = tmp_path / f"file{EVIL}"
    file.write_text("")
    with locked(tmp_path / f"locked{EVIL}"):
        wrong = [lambda: vae.save(run), lambda: vae.save(file), lambda: vae.save(file / "below"), lambda: vk.load(file)]
        for save in wrong:
            with pytest.raises((OSError, ValueError)) as refused:
                save()
            assert printable_line(refused.value) == str(refused.value)


@pytest.mark.parametrize("name", ["state", "best"])
def test_an_error_of_resuming_shows_the_path_escaped(name, tmp_path):
    run = tmp_path / EVIL
    vk.VAE(2, **SMALL).fit(rows(), run=run)
    with pytest.raises(ValueError, match="the checkpoint was taken with") as refused:
        resume(run, lr=0.5)
    assert printable_line(refused.value) == str(refused.value) and printable(run) in str(refused.value)
    path = run / "checkpoint" / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=name) as refused:
        resume(run)
    assert printable_line(refused.value) == str(refused.value) and printable(run) in str(refused.value)


# -- the source -------------------------------------------------------------------------------------------

ESCAPING = {"StorageError", "FileError", "UsageError", "FolderInUseError"}
"""Errors that escape their message."""
PATHS = {"path", "folder", "source", "home", "file", "run", "state", "best", "report", "resume", "filename", "output"}
"""Names of variables that hold a path."""
OF_CODE = {("storage.py", "path"), ("settings.py", "self.home")}
"""Places in the code, not in the file system."""


def leaks(tree):
    """(line, expression) of paths that reach a message, a log or the text of a verb as they are."""
    nodes = list(ast.walk(tree))
    calls = [
        node.exc
        for node in nodes
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _name(node.exc.func) not in ESCAPING
    ]
    named = [node for node in nodes if isinstance(node, ast.Call)]
    logs = [c for c in named if isinstance(c.func, ast.Attribute) and _name(c.func.value) in ("log", "warnings")]
    calls += [*logs, *(c for c in named if _name(c.func) in ("say", "Outcome", "KeyboardInterrupt"))]
    for one in calls:
        shown = [n.value for n in ast.walk(one) if isinstance(n, ast.FormattedValue) and n.conversion == -1]
        for value in [*shown, *(one.args[1:] if one in logs else ())]:
            joined = isinstance(value, ast.BinOp) and isinstance(value.op, ast.Div) and _name(value.left) in PATHS
            if joined or _name(value) in PATHS:
                yield one.lineno, ast.unparse(value)


def _name(node):
    return {ast.Name: "id", ast.Attribute: "attr"}.get(type(node)) and getattr(
        node, {ast.Name: "id", ast.Attribute: "attr"}[type(node)]
    )


def test_no_message_holds_a_path_as_it_is():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {value}"
        for path in ROOT.rglob("*.py")
        for line, value in leaks(ast.parse(path.read_text()))
        if (path.name, value) not in OF_CODE
    ]
    assert not found, "\n".join(found)
    leaky = "raise ValueError(f'{path} is {self.state}')\nlog.warning('%s', folder)\nraise StorageError(f'{path}')"
    assert [value for _, value in leaks(ast.parse(leaky))] == ["path", "self.state", "folder"]
