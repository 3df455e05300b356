"""The documents hold: their links lead somewhere, their code runs, their tables say what the source says."""

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import test_architecture
import test_estimator
import torch

import vaekit as vk
from vaekit import latents, likelihoods, networks, objectives, storage, testing
from vaekit.cli.arguments import parse
from vaekit.data.spec import DataSpec
from vaekit.training.learner import Learner, unstackable

ROOT = Path(__file__).parent.parent
README, DOCS = ROOT / "README.md", ROOT / "docs"
DESIGN, LOSS, FRENCH = DOCS / "design.md", DOCS / "loss.md", DOCS / "architecture.fr.md"
SWEEPS, MODELS = DOCS / "sweeps.md", DOCS / "models.md"
REPRESENTATION, DETECTION, BASELINES = (DOCS / f"{n}.md" for n in ("representation", "detection", "baselines"))
COUNTS = DOCS / "counts.md"
SERIES, LABELS, WALKS = DOCS / "sequences.md", DOCS / "labels.md", DOCS / "walks.md"
EVALUATION, REPORT = DOCS / "evaluation.md", DOCS / "report.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


def name(path):
    return path.relative_to(ROOT).as_posix()


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def prose(path):
    return re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def table(path, heading):
    """The cells of the table whose first heading is this one, row by row."""
    lines = iter(path.read_text("utf-8").splitlines())
    assert any(line.startswith(f"| {heading} |") for line in lines), f"{name(path)} has no table of {heading}"
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def code(cell):
    """The first `code` of a cell."""
    return re.search(r"`([^`]+)`", cell)[1]


# -- links -----------------------------------------------------------------------------------------


def anchors(path):
    titles = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_to_a_file_leads_to_one(page):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in link]
    for link in links:
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name(page)} links to {link}, which is not there"
        assert not anchor or anchor in anchors(file), f"{name(page)} links to {link}: no such heading"


def test_the_pictures_are_small():
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size <= 300 * 1024


# -- code ------------------------------------------------------------------------------------------


@pytest.fixture
def few_digits(monkeypatch, tmp_path):
    """An empty folder to work in, and a hundredth of MNIST for all of it, so that the code runs in seconds."""
    (x, y), (x_test, y_test) = vk.datasets.mnist(labels=True)

    def few(labels=False):
        rows = x[:600].copy(), x_test[:100].copy()
        return tuple(zip(rows, (y[:600].copy(), y_test[:100].copy()))) if labels else rows

    monkeypatch.setattr(vk.datasets, "mnist", few)
    monkeypatch.chdir(tmp_path)


SLOW_PAGES = [pytest.param(page, marks=pytest.mark.slow) for page in (SWEEPS, WALKS, REPORT)]


@pytest.mark.parametrize("page", [README, LOSS, FRENCH, *SLOW_PAGES, EVALUATION], ids=name)
def test_code_runs_as_it_is_written(page, few_digits):
    torch.manual_seed(0)
    names = {}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{name(page)}, block {number}", "exec"), names)
    made = names["vae"]
    assert made.transform(np.zeros((3, 28, 28), "uint8")).shape == (3, 2)


@pytest.mark.slow
def test_code_for_series_runs_as_it_is_written():
    names = {}
    for number, block in enumerate(blocks(SERIES, "python")):
        exec(compile(block, f"docs/sequences.md, block {number}", "exec"), names)
    assert names["filled"].shape == names["x"].shape
    assert all(set(text) <= set(names["letters"]) for text in names["texts"])


@pytest.mark.slow
def test_the_code_on_labels_runs_as_it_is_written():
    names = {}
    for block in blocks(LABELS, "python"):
        exec(compile(block, name(LABELS), "exec"), names)
    assert names["vade"].predict(names["x_test"]).shape == names["y_test"].shape


def test_the_page_on_evaluation_has_every_verdict_with_its_threshold():
    text = EVALUATION.read_text("utf-8")
    told = {name for row in table(EVALUATION, "verdict") for name in row[0].split(", ")}
    source = (ROOT / "src/vaekit/evaluation/verdicts.py").read_text()
    assert told == set(re.findall(r'Verdict\(\s*"([^"]+)"', source))
    v = importlib.import_module("vaekit.evaluation.verdicts")
    for said in (f"less than {v.SILENT}", f"above {v.HOLES}", f"above {v.SLOPE:g}", f"`lost` above {v.LOST}"):
        assert said in text
    assert f"`rising` above {v.RISING}" in text and f"fewer than {v.EPOCHS} epochs" in text
    for line in (line for block in blocks(EVALUATION, "sh") for line in block.splitlines()):
        parse(line.partition("#")[0].split()[1:])


def run(page):
    """The names that the code of a page leaves."""
    names = {}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{name(page)}, block {number}", "exec"), names)
    return names


def test_the_page_of_callbacks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vae = run(DOCS / "callbacks.md")["vae"]
    assert vae.ended_ == "stopped early" and len(vae.history_) < 20
    assert len((tmp_path / "runs/losses.csv").read_text().splitlines()) == len(vae.history_) + 1


@pytest.mark.slow
def test_the_code_on_codes_runs_as_it_is_written():
    names = run(REPRESENTATION)
    assert names["figures"]["linear_probe"].value > 0.5
    told = {cell[0].strip("`") for cell in table(REPRESENTATION, "figure")}
    assert told == {n for n in told if hasattr(names["rep"], n) or hasattr(names["clusters"], n)}
    assert names["scores"].keys() == {cell[0].strip("`") for cell in table(REPRESENTATION, "score")}


def test_the_code_on_counts_runs_as_it_is_written():
    names = run(COUNTS)
    assert names["z"].shape == (100, 5) and names["told"].predict(names["x"]).shape == (600,)


def test_the_code_on_odd_rows_runs_as_it_is_written():
    names = run(DETECTION)
    assert names["area"].value > 0.8
    told = {n.strip("` ") for row in table(DETECTION, "score") for n in row[0].split(",")}
    assert told == set(names["every"])


def test_the_code_on_gaps_runs_as_it_is_written():
    names = run(DOCS / "imputation.md")
    gone = np.isnan(names["holed"])
    assert names["many"].shape == (20, 400, 6) and not np.isnan(names["whole"]).any()
    assert np.square(names["whole"] - names["x"])[gone].mean() < 0.7 * names["x"].var()
    for line in (line for block in blocks(DOCS / "imputation.md", "text") for line in block.splitlines()):
        parse(line.partition("#")[0].split()[1:])


@pytest.mark.slow
def test_the_code_on_baselines_runs_as_it_is_written(few_digits):
    names = run(BASELINES)
    assert set(names["found"].figures) == {"factorised", "ppca", "mixture", "xz"}
    assert names["judged"].by == vk.evaluation.DIGITS.name


def test_the_ten_lines_are_ten():
    assert len(blocks(README, "python")[0].splitlines()) <= 12


def test_every_command_in_the_readme_can_be_given():
    lines = [line.partition("#")[0].split() for block in blocks(README, "sh") for line in block.splitlines()]
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    said = {words[0] for words in lines}
    assert said == {"make", "pip", "vaekit"}
    for words in lines:
        if words[0] == "vaekit":
            parse(words[1:])
        elif words[0] == "make":
            assert words[1] in targets


def test_the_extras_in_the_readme_are_those_of_the_package():
    tomllib = pytest.importorskip("tomllib")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    told = re.search(r"Extras:(.*?)as in", README.read_text("utf-8"), re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)`", told)) == set(extras) - {"test"}


# -- tables ----------------------------------------------------------------------------------------

RECIPES = table(MODELS, "recipe")
COMPOSITIONS = table(README, "recipe") + [[row[0], *row[2:5]] for row in RECIPES]
NAMES = {"Ramp": vk.Ramp, "Cycle": vk.Cycle, **vars(networks), **vars(likelihoods), **vars(objectives), **vars(latents)}


@pytest.mark.parametrize("row", COMPOSITIONS, ids=lambda row: row[0])
def test_a_line_of_the_composition_table_is_what_its_recipe_makes(row):
    latent, likelihood, objective = [code(cell) for cell in row[1:]]
    own = [eval(text, dict(NAMES)) for text in (latent, objective)]
    if "`" not in row[0]:
        assert isinstance(eval(likelihood, dict(NAMES)), vk.likelihoods.Likelihood)
        return
    x = torch.zeros(2, 8, 8, dtype=torch.uint8) + torch.tensor([0, 7], dtype=torch.uint8).reshape(2, 1, 1)
    spec = DataSpec.infer(x, "uint8")
    parts = vk.recipes.Recipe(code(row[0])).build(2, spec)
    assert [storage.describe(p) for p in own] == [storage.describe(p) for p in (parts.latent, parts.objective)]
    own_names = {**NAMES, **vars(likelihoods)}  # a latent and a likelihood may have the same name
    follows = vk.recipes.likelihood_for(spec) if likelihood == "auto" else eval(likelihood, own_names)
    assert storage.describe(parts.likelihood) == storage.describe(follows)


def test_the_table_of_models_has_every_recipe_in_its_order_with_its_paper():
    told = [(code(row[0]), row[1]) for row in RECIPES]
    assert told == [(name, entry.paper) for name, entry in vk.recipes.RECIPES.items()]


@pytest.mark.parametrize("row", RECIPES, ids=lambda row: row[0])
def test_every_model_is_checked_by_a_test_that_exists(row):
    file, _, test = code(row[6]).partition("::")
    assert f"\ndef {test}(" in (ROOT / "tests" / file).read_text("utf-8")


def test_every_recipe_can_be_stacked_but_those_told():
    assert "Every recipe above can be stacked" in MODELS.read_text("utf-8")
    spec = DataSpec.infer(torch.zeros(2, 8, 8, dtype=torch.uint8) + torch.tensor([[[0]], [[7]]]).byte(), "uint8")
    for name in vk.recipes.RECIPES:
        parts = vk.recipes.Recipe(name).build(2, spec)
        context = 3 if vk.recipes.RECIPES[name].needs_context else 0
        model = vk.VAEModule(parts.encoder, parts.latent, parts.decoder, parts.likelihood).resolve_shapes(
            (1, 8, 8), context
        )
        assert unstackable(Learner(model, parts.objective)) is None, name


def test_every_count_of_the_recipes_is_their_number():
    counted = []
    for page in (README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))):
        counted += [(page.name, int(n)) for n in re.findall(r"\b(\d+)\s+recipes\b", page.read_text("utf-8"))]
    assert {name for name, _ in counted} >= {"README.md", "CHANGELOG.md"}
    assert {n for _, n in counted} == {len(vk.recipes.RECIPES)}, counted


def test_what_the_table_for_pythae_has_is_not_said_to_be_missing():
    text = MODELS.read_text("utf-8")
    _, _, pythae = text.partition("## For those who come from Pythae")
    here = {name for row in table(MODELS, "Pythae") for name in re.findall(r"\w+", row[0])}
    absent = [set(re.findall(r"`(\w+)`", part.split(".")[0])) for part in pythae.split("Not here: ")[1:]]
    assert len(absent) == 1 and absent[0] and not absent[0] & here


def test_the_floors_are_those_that_the_imports_are_held_to():
    told = {int(row[0]): set(re.findall(r"`([^`]+)`", row[1])) for row in table(DESIGN, "floor")}
    assert told == dict(enumerate(test_architecture.ROOMS))


def test_the_exceptions_from_scikit_learn_s_checks_are_told():
    told = set(re.findall(r"^- `(check_\w+)`", DESIGN.read_text("utf-8"), re.MULTILINE))
    assert told == set(test_estimator.EXCEPTIONS)


def test_the_laws_in_the_design_are_those_of_the_package():
    told = set(re.findall(r"`(assert_\w+)`", DESIGN.read_text("utf-8")))
    assert told == {n for n in vars(testing) if n.startswith("assert_")}


def test_the_figures_of_the_report_are_those_of_the_package():
    told = REPORT.read_text("utf-8").rpartition("## Each figure by itself")[2].rpartition("```")[2]
    drawn = {
        n
        for n, f in vars(vk.report.figures).items()
        if inspect.isfunction(f) and inspect.signature(f).return_annotation == "Figure"
    }
    assert set(re.findall(r"`(\w+)`", told)) == drawn


# -- names -----------------------------------------------------------------------------------------


def resolve(dotted):
    """The thing that a dotted name stands for: a module, or an attribute of one."""
    parts = dotted.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:split]))
        except ImportError:
            continue
        for part in parts[split:]:
            found = getattr(found, part)
        return found
    raise ImportError(dotted)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_name_of_vaekit_s_exists(page):
    for dotted in set(re.findall(r"`(vaekit(?:\.\w+)+)`", page.read_text("utf-8"))):
        resolve(dotted)


def test_the_french_page_names_each_class_beside_the_file_that_holds_it():
    pairs = re.findall(r"\[`(vaekit\.[\w.]+)`\]\(\.\./([^)]+)\)", FRENCH.read_text("utf-8"))
    assert len(pairs) >= 10
    for dotted, file in pairs:
        module = resolve(dotted).__module__.replace(".", "/")
        assert file in (f"src/{module}.py", f"src/{module}/__init__.py"), f"{dotted} is in {module}, not in {file}"


def test_the_french_page_counts_the_parameters():
    model = vk.VAE(epochs=0, validation=0).fit(np.arange(2 * 784, dtype="uint8").reshape(2, 28, 28)).module_
    told = [int(re.sub(r"\D", "", row[3])) for row in table(FRENCH, "partie")[:3]]
    assert told == [sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.latent, model.decoder)]


def test_files_named_in_backticks_exist():
    for page in PAGES:
        for file in re.findall(r"`((?:tests|src|docs|examples)/[\w./-]+)`", page.read_text("utf-8")):
            assert (ROOT / file).exists(), f"{name(page)} names {file}, which is not there"
