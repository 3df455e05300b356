"""Files: what comes back, and what is refused without running anything."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import peak_memory
import pytest
import torch
from compositions import LATENTS, LIKELIHOODS, OBJECTIVES

import vaekit as vk
from vaekit import storage
from vaekit.core import COMPONENTS, Component, Ramp


@pytest.fixture
def run(tmp_path):
    x = vk.datasets.mnist()[0][:64]
    vae = vk.VAE(recipe=vk.recipes.beta_vae(beta=0.1), epochs=1, validation=0).fit(x)
    vae.save(tmp_path)
    return tmp_path


def edit(run, change):
    """Changes `config.json` as somebody would who knows the digest."""
    path = run / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(storage.sealed(config)))


def test_a_model_loads_in_a_fresh_process(run):
    code = f"import vaekit as vk; print(vk.load({str(run)!r}).sample(3, seed=1).sum())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) == int(vk.load(run).sample(3, seed=1).sum())


def test_the_file_says_what_the_model_is(run):
    config = json.loads((run / "config.json").read_text())
    assert config["format"] == storage.FORMAT
    assert config["model"]["type"] == "vaekit.model.VAEModule"
    assert config["model"]["latent"]["posterior"] == {"type": "vaekit.latents.Normal", "size": 2}
    assert config["objective"]["beta"] == {"type": "vaekit.core.Hyper", "value": 0.1}
    assert config["estimator"]["recipe"] == {"recipe": {"name": "beta-vae", "beta": 0.1, "hidden": [128]}}


def truncate(path, keep=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def rename_tensor(run):
    tensors, metadata = storage.read_tensors(run / "model.safetensors")
    tensors["model.encoder.extra"] = tensors.pop("model.encoder.layers.1.bias")
    storage.write_tensors(run / "model.safetensors", tensors, metadata)


def reshape_tensor(run):
    tensors, metadata = storage.read_tensors(run / "model.safetensors")
    tensors["model.encoder.layers.1.bias"] = tensors["model.encoder.layers.1.bias"][:5]
    storage.write_tensors(run / "model.safetensors", tensors, metadata)


def change_a_weight(run):
    tensors, metadata = storage.read_tensors(run / "model.safetensors")
    tensors["model.encoder.layers.1.bias"][0] += 1e-3
    storage.write_tensors(run / "model.safetensors", tensors, metadata)


def unsealed(run, change):
    """Changes `config.json` and leaves its digest."""
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))


def nan_in_a_weight(run):
    tensors, metadata = storage.read_tensors(run / "model.safetensors")
    tensors["model.encoder.layers.1.bias"][0] = torch.nan
    storage.write_tensors(run / "model.safetensors", tensors, metadata)


def link_out(run):
    other = run.parent / f"{run.name} elsewhere"
    other.mkdir()
    (run / "seed-1").symlink_to(other)
    edit(run, lambda c: c.update(members=["seed-1"]))


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def long_header(run):
    (run / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")


def set_type(run, name):
    edit(run, lambda c: c["model"]["latent"]["posterior"].update(type=name))


DAMAGE = {
    "truncated weights": (lambda r: truncate(r / "model.safetensors"), "not a whole safetensors file"),
    "truncated description": (lambda r: truncate(r / "config.json"), "not readable as JSON"),
    "weights of another format": (lambda r: (r / "model.safetensors").write_bytes(b"PK\3\4" * 50), "not a whole"),
    "a header that is too long": (long_header, "not a whole safetensors file"),
    "a list for a description": (lambda r: (r / "config.json").write_text("[1]"), "expected an object"),
    "somebody else's description": (lambda r: (r / "config.json").write_text("{}"), "states no format version"),
    "a later format": (lambda r: edit(r, lambda c: c.update(format=99)), "install a newer vaekit"),
    "a missing section": (lambda r: edit(r, lambda c: c.pop("data")), "has no 'data' section"),
    "another tensor": (rename_tensor, "layers.1.bias is missing; model.encoder.extra is not part of the model"),
    "a tensor of another shape": (reshape_tensor, r"is float32 \(5,\), expected float32 \(128,\)"),
    "a weight that was changed": (change_a_weight, "was changed or replaced"),
    "an unknown part": (lambda r: set_type(r, "vaekit.latents.Normall"), r'did you mean "vaekit.latents.Normal"'),
    "a type of the standard library": (lambda r: set_type(r, "os.system"), "not defined here"),
    "a type that is no component": (lambda r: set_type(r, "torch.nn.modules.linear.Linear"), "not defined here"),
    "an argument that a part does not take": (
        lambda r: edit(r, lambda c: c["model"]["latent"]["posterior"].update(evil=1)),
        "does not fit this version",
    ),
    "a model that is no part": (lambda r: edit(r, lambda c: c.update(model={"type": 3})), "not defined here"),
    "a later sealed digit": (
        lambda r: unsealed(r, lambda c: c["data"].update(high=254.0)),
        "changed or damaged; bring",
    ),
    "a history of another run": (
        lambda r: (r / "history.jsonl").write_text('{"epoch": 1}\n'),
        "history.jsonl is not the file that config.json was saved with",
    ),
    "NaN in the weights": (nan_in_a_weight, r"model.safetensors holds NaN or infinity in model.encoder.layers.1.bias"),
    "a text for a number": (lambda r: edit(r, lambda c: c["estimator"].update(epochs="3")), r"VAE\(epochs='3'\)"),
    "a number for a text": (
        lambda r: edit(r, lambda c: c["model"]["encoder"].update(activation=3)),
        "activation=3.: expected",
    ),
    "a scale of zero": (lambda r: edit(r, lambda c: c["data"].update(scale=[0.0])), "data.scale = 0.0: expected"),
    "rows of another shape": (lambda r: edit(r, lambda c: c["data"].update(shape=[784])), "the data have rows of"),
    "a name that leads out": (lambda r: edit(r, lambda c: c.update(members=[".."])), "as a folder inside it"),
    "an absolute name": (lambda r: edit(r, lambda c: c.update(members=["/etc"])), "as a folder inside it"),
    "a name with NUL": (lambda r: edit(r, lambda c: c.update(members=["a\0b"])), "as a folder inside it"),
    "a link that leads out": (link_out, "is a link that leads out of its folder"),
    "a named pipe for weights": (lambda r: pipe(r / "model.safetensors"), "model.safetensors .*named pipe"),
    "a named pipe for a description": (lambda r: pipe(r / "config.json"), "config.json .*named pipe"),
    "a huge description": (
        lambda r: os.truncate(r / "config.json", 2**36),
        "has 68,719,476,736 bytes, expected at most",
    ),
    "nesting without end": (lambda r: (r / "config.json").write_text("[" * 100_000), "nested deeper than 200 levels"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_and_foreign_files_give_one_clear_error(run, case):
    damage, message = DAMAGE[case]
    damage(run)
    with pytest.raises(storage.StorageError, match=message) as refused:
        vk.load(run)
    assert str(run) in str(refused.value), "a message names the file"


HUGE = {
    "width": lambda m: m["encoder"].update(hidden=[10**9]),
    "depth": lambda m: m["encoder"].update(hidden=[1] * 10**6),
    "rows of a file": lambda m: m["likelihood"].update(shape=[1, 10**5, 10**5]),
    "latents": lambda m: m["latent"]["posterior"].update(size=10**9),
    "a flow of many layers": lambda m: m["latent"].update(
        posterior={"type": "vaekit.latents.Coupling", "size": 2, "layers": 8 * 10**6, "hidden": 2, "context": 1}
    ),
}


@pytest.mark.parametrize("case", HUGE)
def test_a_description_takes_no_memory_that_its_weights_do_not_show(run, case):
    edit(run, lambda c: HUGE[case](c["model"]))
    peak_memory.forget()
    before = peak_memory.peak()
    with pytest.raises(storage.StorageError, match=str(run)):
        vk.load(run)
    assert peak_memory.peak() - before < 500_000 * 1024


def test_a_description_that_was_edited_by_hand_loads_on_request(run):
    unsealed(run, lambda c: c["estimator"].update(epochs=7))
    with pytest.raises(storage.StorageError, match="pass verify=False"):
        vk.load(run)
    assert vk.load(run, verify=False).epochs == 7


def test_a_run_without_its_history_loads(run):
    (run / "history.jsonl").unlink()
    assert vk.load(run).history_ == []


def test_a_file_of_a_run_is_no_run(run):
    for name in ("config.json", "model.safetensors"):
        with pytest.raises(storage.StorageError, match=f"{name} is a file: pass the folder of the run, {run}"):
            vk.load(run / name)


def test_home_is_expanded(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.parent))
    vk.load(f"~/{run.name}").save("~/again")
    assert vk.load("~/again").transform(vk.datasets.mnist()[0][:2]).shape == (2, 2)
    assert (run.parent / "again" / "config.json").exists()


def test_saving_follows_no_link(run, tmp_path):
    vae, target = vk.load(run), tmp_path / "target"
    target.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("config.json", ".config.json.partial", ".model.safetensors.partial"):
        (folder / name).symlink_to(target)
    vae.save(folder)
    assert target.read_text() == "mine" and not (folder / "config.json").is_symlink()


def test_a_model_whose_weights_are_nan_is_not_saved(run, tmp_path):
    vae = vk.load(run)
    with torch.no_grad():
        next(vae.module_.encoder.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="holds NaN: the training diverged"):
        vae.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


class Masked(torch.nn.Module):
    """A module with infinities that are constants."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(784, 4)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))

    def forward(self, x):
        return self.layer(x.flatten(1))


def test_infinities_that_a_module_begins_with_are_no_damage(tmp_path):
    x = vk.datasets.mnist()[0][:64]
    vk.VAE(encoder=Masked(), epochs=1, validation=0).fit(x).save(tmp_path)
    assert torch.equal(vk.load(tmp_path, encoder=Masked()).module_.encoder.module.mask, Masked().mask)


@pytest.mark.parametrize("make", [*LATENTS.values(), *LIKELIHOODS.values(), *OBJECTIVES.values()])
def test_a_part_built_without_memory_has_the_same_tensors(make):
    description = json.loads(json.dumps(storage.describe(make(), "part")))
    real = storage.rebuild(description)
    with torch.device("meta"):
        shapes = storage.rebuild(description)
    want, got = real.state_dict(), shapes.state_dict()
    assert [(n, t.shape, t.dtype) for n, t in got.items()] == [(n, t.shape, t.dtype) for n, t in want.items()]


def test_an_empty_folder_holds_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no fitted model \(config.json is not there\)"):
        vk.load(tmp_path)


def test_a_named_module_is_not_imported(run, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')\nclass Part: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    set_type(run, "trap.Part")
    with pytest.raises(storage.StorageError, match="import or define it first"):
        vk.load(run)
    assert "trap" not in sys.modules


class Doubling(Component):
    """A part of the user's own."""

    def __init__(self, factor: float = 2.0, sizes: tuple[int, ...] = ()):
        super().__init__()
        self.factor, self.sizes = factor, sizes


class Forgetful(Component):
    """Does not store its argument."""

    def __init__(self, factor: float = 2.0):
        super().__init__()


def test_parts_describe_themselves_by_their_arguments():
    described = storage.describe(Doubling(3.0, (1, 2)))
    assert described == {"type": f"{__name__}.Doubling", "factor": 3.0, "sizes": [1, 2]}
    assert storage.rebuild(described).factor == 3.0
    with pytest.raises(TypeError, match=r"takes factor but does not store it: set self.factor"):
        storage.describe(Forgetful())
    with pytest.raises(TypeError, match="cannot describe factor = "):
        storage.describe(Doubling(object()))


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-9, 784.0])
def test_scalars_come_back_as_they_were_given(value):
    for dtype in (torch.float32, torch.float64):
        again = storage.rebuild(json.loads(json.dumps(storage.describe(Ramp(value, 10).to(dtype)))))
        assert float(again.value) == float(np.float32(value))


def test_every_component_has_one_name():
    assert all(storage.type_name(cls) == name for name, cls in COMPONENTS.items())
    assert "vaekit.latents.Normal" in COMPONENTS
