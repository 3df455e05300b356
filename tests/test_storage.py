"""Files: what comes back, and what is refused without running anything."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

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
    path = run / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


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
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_and_foreign_files_give_one_clear_error(run, case):
    damage, message = DAMAGE[case]
    damage(run)
    with pytest.raises(storage.StorageError, match=message):
        vk.load(run)


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
