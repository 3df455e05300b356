"""The state of the process: the library reads none of it and changes none of it."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from process_state import STATES, unchanged
from torch import nn

import vaekit as vk

TINY = dict(latent_dim=2, epochs=1, batch_size=20, validation=0, threads=1, compile=False)
OF_ITS_KIND = {
    "sentence": lambda: np.random.default_rng(0).integers(0, 9, (40, 12)),
    "table": lambda: np.random.default_rng(0).normal(size=(40, 7)),
}
QUICK = ("vae", "vq", "flow", "table", "m2", "factor-vae", "lagging", "conditional")


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:40]


@pytest.fixture(scope="module")
def pictures(digits):
    """The middles of the digits: a third of the pixels, for tests of every recipe."""
    return digits[:, 6:22, 6:22]


def outcome(name, x, folder=None):
    """What a model of this recipe gives, from fit to its use."""
    context = np.arange(len(x)) % 3 if vk.recipes.RECIPES[name].needs_context else None
    few = None if context is None else context[:3]
    vae = vk.VAE(recipe=name, **TINY).fit(x, context=context, run=folder)
    vae = vae if folder is None else vk.load(folder)
    return {
        "codes": vae.transform(x[:3], few),
        "rows": vae.sample(2),
        "scores": vae.score_samples(x[:3], draws=2, context=few),
        "history": [{n: v for n, v in line.items() if "second" not in n} for line in vae.history_],
    }


def assert_same(a, b, state=""):
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=f"{name} {state}")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in vk.recipes.RECIPES]
)
def test_every_recipe_gives_the_same_numbers_in_all_states_at_once(name, pictures, tmp_path):
    x = OF_ITS_KIND.get(name, lambda: pictures)()
    expected = outcome(name, x)
    with STATES["everything"](), unchanged():
        found = outcome(name, x, tmp_path)
    assert_same(expected, found)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*QUICK, "hamiltonian", "sentence", "very-deep"])
def test_recipes_of_every_structure_give_the_same_numbers_in_each_state(name, pictures, tmp_path):
    x = OF_ITS_KIND.get(name, lambda: pictures)()
    expected = outcome(name, x)
    for state in [s for s in STATES if s != "everything"]:
        with STATES[state](), unchanged():
            found = outcome(name, x, tmp_path / state)
        assert_same(expected, found, state)


@pytest.mark.parametrize("state", STATES)
def test_rows_made_in_any_state_are_fitted(state, digits):
    expected = outcome("vae", digits)
    with STATES[state]():
        tensor = torch.as_tensor(digits, device="cpu")
        assert_same(expected, outcome("vae", tensor))


@pytest.mark.parametrize("state", STATES)
def test_low_precision_training_is_the_same_in_any_state(state, digits):
    def codes():
        return vk.VAE(**TINY, precision="bf16").fit(digits).transform(digits[:3])

    expected = codes()
    with STATES[state]():
        np.testing.assert_array_equal(codes(), expected)


@pytest.mark.parametrize("state", STATES)
def test_a_network_of_one_s_own_is_trained_the_same_in_any_state(state, digits):
    def networks():
        return {
            "encoder": nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4)),
            "decoder": nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 784)),
        }

    torch.manual_seed(0)
    weights = networks()
    expected = vk.VAE(**TINY, **weights).fit(digits).transform(digits[:3])
    with STATES[state](), unchanged():
        np.testing.assert_array_equal(vk.VAE(**TINY, **weights).fit(digits).transform(digits[:3]), expected)


@pytest.mark.parametrize("state", STATES)
def test_the_body_of_a_training_loop_runs_in_the_program_s_own_state(state, digits):
    def train():
        from vaekit import latents, likelihoods, networks

        torch.manual_seed(0)
        model = vk.VAEModule(
            networks.MLP((8,)),
            latents.Latent(latents.Normal(2), latents.StandardNormal()),
            networks.MLP((8,)),
            likelihoods.Bernoulli(),
        )
        seen, last = [], None
        for last in vk.train(model, digits, epochs=1, batch_size=20):
            seen.append((torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()))
        return last.metrics(), seen

    expected, _ = train()
    with STATES[state]():
        own = (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device())
        found, seen = train()
    assert found == expected and set(seen) == {own}


DROPOUT = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Dropout(0.5), nn.Linear(16, 4))


@pytest.mark.parametrize("settings", [dict(recipe="vq"), dict(recipe="flow"), dict(encoder=DROPOUT)], ids=str)
def test_fits_in_eight_threads_give_what_they_give_one_after_the_other(settings, digits):
    def fitted(seed):
        vae = vk.VAE(**{**TINY, "epochs": 3}, **settings, seed=seed).fit(digits)
        return vae.transform(digits[:5]).tobytes() + vae.sample(2).tobytes()

    expected = [fitted(seed) for seed in range(8)]
    assert len(set(expected)) == 8
    with ThreadPoolExecutor(8) as pool, unchanged():
        assert list(pool.map(fitted, range(8))) == expected


@pytest.mark.parametrize("state", [s for s in STATES if "device" not in s and s != "everything"])
def test_networks_and_models_built_in_any_state_are_trained(state, digits):
    with STATES[state]():
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
        latent = vk.latents.Latent(vk.latents.Normal(2), vk.latents.GaussianMixture(3))
        vae = vk.VAE(**TINY, encoder=encoder, latent=latent).fit(digits)
        model = vk.VAEModule(encoder, latent, vk.networks.MLP((8,)), vk.likelihoods.Bernoulli())
        steps = sum(1 for _ in vk.train(model, digits, epochs=1, batch_size=20))
    assert vae.sample(2).shape == (2, 28, 28) and steps == 2
    assert all(p.dtype == torch.float32 and not p.is_inference() for p in vae.module_.parameters())


# -- what calls leave behind -----------------------------------------------------------------------


def table():
    g = np.random.default_rng(0)
    columns = [("a", float), ("b", float), ("c", "U4")]
    return np.array([(a, b, "even" if i % 2 else "odd") for i, (a, b) in enumerate(g.normal(size=(60, 2)))], columns)


@pytest.fixture(scope="module")
def fitted(digits):
    """An estimator for each method: of images, of images with classes, of counts, of a table; and a detector."""
    x, y = digits, np.arange(40) % 2
    counts = np.random.default_rng(0).poisson(3, (40, 6))
    return {
        "vae": vk.VAE(**TINY).fit(x),
        "classes": vk.VAE(**TINY, recipe=vk.recipes.m2(classes=2)).fit(x, y),
        "counts": vk.VAE(**TINY, recipe="counts").fit(counts),
        "table": vk.VAE(epochs=1, threads=1, compile=False).fit(table()),
        "detector": vk.OutlierDetector(vk.VAE(**TINY), draws=2).fit(x.reshape(40, -1)[:, 300:320].astype(float)),
        "prior": vk.latents.FlowPrior(layers=2, hidden=8),
        "x": x,
        "y": y,
        "flat": x.reshape(40, -1)[:, 300:320].astype(float),
        "count rows": counts,
    }


VAE_CALLS = {
    "anomaly_score": lambda f: f["vae"].anomaly_score(f["x"], draws=2),
    "annealed": lambda f: f["vae"].annealed(f["x"][:2], chains=2, betas=3),
    "complete": lambda f: f["table"].complete(table()[:5], draws=4),
    "detector": lambda f: f["vae"].detector(f["x"], draws=2)(f["x"][:3]),
    "disentanglement": lambda f: f["vae"].disentanglement(f["x"], np.stack([f["y"], f["y"][::-1]], 1)),
    "evaluate": lambda f: f["vae"].evaluate(f["x"], draws=2, ais=2, bracket=2, betas=3, against=f["x"]),
    "expected": lambda f: f["counts"].expected(f["count rows"]),
    "explain": lambda f: f["table"].explain(table()[:3], draws=2),
    "fit": lambda f: vk.VAE(**{**TINY, "threads": 2}, seeds=2).fit(f["x"]),
    "fit_prior": lambda f: vk.VAE(**TINY).fit(f["x"]).fit_prior(f["x"], f["prior"]),
    "fit_transform": lambda f: vk.VAE(**TINY, recipe="vq").fit_transform(f["x"]),
    "health": lambda f: f["vae"].health(f["x"].repeat(2, 0)),
    "held_out": lambda f: vk.VAE().held_out(f["x"]),
    "holds_out": lambda f: vk.VAE().holds_out(40),
    "impute": lambda f: f["table"].impute(table()[:5], 2, draws=4),
    "interpolate": lambda f: f["vae"].interpolate(f["x"][:1], f["x"][1:2], 3, "geodesic"),
    "inverse_transform": lambda f: f["vae"].inverse_transform(np.zeros((2, 2))),
    "judge_samples": lambda f: f["vae"].judge_samples(f["x"][:12], f["x"][12:24], 12),
    "judge_table": lambda f: f["table"].judge_table(table(), n=20),
    "outlier_probability": lambda f: f["vae"].outlier_probability(f["x"], f["x"], draws=2),
    "of": lambda f: vk.VAE.of(f["table"].fitted_).sample(3),
    "config": lambda f: vk.VAE().config(),
    "partial_fit": lambda f: vk.VAE(**TINY).partial_fit(f["flat"]),
    "posterior": lambda f: f["vae"].posterior(f["x"]).sample,
    "predict": lambda f: f["classes"].predict(f["x"]),
    "predict_proba": lambda f: f["classes"].predict_proba(f["x"]),
    "probe": lambda f: f["vae"].probe(f["x"], f["y"], f["x"], f["y"]),
    "reconstruct": lambda f: f["vae"].reconstruct(f["x"]),
    "report": lambda f: f["vae"].report(f["x"], draws=2).save(f["folder"] / "page.html"),
    "sample": lambda f: [f["table"].sample(3, seed=1), f["table"].sample(3, given={"a": 0.5})],
    "save": lambda f: f["vae"].save(f["folder"]),
    "score": lambda f: f["vae"].score(f["x"]),
    "score_samples": lambda f: f["vae"].score_samples(f["x"], draws=2),
    "shift": lambda f: f["vae"].shift(f["x"][:2], f["x"], f["x"][::-1]),
    "transform": lambda f: f["vae"].transform(f["x"]),
    "traverse": lambda f: f["vae"].traverse(steps=3),
}
DETECTOR_CALLS = {
    name: lambda f, name=name: getattr(f["detector"], name)(f["flat"])
    for name in ("anomaly_score", "decision_function", "explain", "outlier_probability", "p_values", "predict")
} | {
    "score_samples": lambda f: f["detector"].score_samples(f["flat"]),
    "fit": lambda f: vk.OutlierDetector(vk.VAE(**TINY), draws=2).fit(f["flat"]),
    "check": lambda f: f["detector"].check(),
    "save": lambda f: (f["detector"].save(f["folder"]), vk.load(f["folder"])),
    "fit_predict": lambda f: vk.OutlierDetector(draws=2, vae=vk.VAE(**TINY)).fit_predict(f["flat"]),
}


def swept(f, **settings):
    return vk.sweep(vk.VAE(**TINY), f["x"], over={"lr": [1e-3, 2e-3]}, **settings)


OTHER_CALLS = {
    "load": lambda f: vk.load(saved(f)),
    "train": lambda f: [step.metrics() for step in vk.train(f["vae"].module_, f["x"], epochs=1, batch_size=20)],
    "sweep": lambda f: swept(f, run=f["folder"] / "sweep"),
    "Sweep.evaluate": lambda f: swept(f).evaluate(f["x"], draws=2).report(),
    "evaluation.judge_table": lambda f: vk.evaluation.judge_table(table()[:40], table()[20:]),
    "evaluation.samples.judge": lambda f: vk.evaluation.samples.judge(
        f["flat"][:12], f["flat"][12:24], f["flat"][24:36]
    ),
    "evaluation.clusters.kmeans": lambda f: vk.evaluation.clusters.kmeans(f["flat"], 2),
    "report.compare": lambda f: vk.report.compare({"one": f["vae"], "two": f["vae"]}, f["x"], draws=2),
    "datasets.binarise": lambda f: vk.datasets.binarise(f["x"] / 255),
    "datasets.digits": lambda f: vk.datasets.digits(),
    "datasets.shapes": lambda f: vk.datasets.shapes(np.arange(3)),
}


def saved(f):
    f["vae"].save(f["folder"] / "saved")
    return f["folder"] / "saved"


ELSEWHERE = {"get_params", "set_params", "get_metadata_routing", "set_output", "get_feature_names_out", "restore"}
"""Methods that run no model."""


def methods(cls):
    """The public methods of a class, without those that scikit-learn adds for metadata routing."""
    found = {n for n in dir(cls) if not n.startswith("_") and callable(getattr(cls, n))} - ELSEWHERE
    return {n for n in found if not (n.startswith("set_") and n.endswith("_request"))}


@pytest.mark.parametrize("kind", ["VAE", "OutlierDetector"])
def test_every_public_method_is_tried(kind):
    calls = VAE_CALLS if kind == "VAE" else DETECTOR_CALLS
    assert methods(getattr(vk, kind)) == set(calls)


CALLS = {
    **{f"VAE.{name}": call for name, call in VAE_CALLS.items()},
    **{f"OutlierDetector.{name}": call for name, call in DETECTOR_CALLS.items()},
    **OTHER_CALLS,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_works_in_any_state_and_leaves_it_as_it_was(name, fitted, tmp_path):
    with STATES["everything"](), unchanged():
        CALLS[name]({**fitted, "folder": tmp_path})


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_a_fresh_process_as_it_was(name, fitted, tmp_path):
    with unchanged():
        CALLS[name]({**fitted, "folder": tmp_path})


FIRST_USE = """
import sys
import time
import numpy as np
from process_state import unchanged
import vaekit as vk
x = np.random.default_rng(0).normal(size=(60, 3))
table = np.array([tuple(row) for row in x], [(n, float) for n in "abc"])
with unchanged():
    vae = vk.VAE(epochs=1, threads=1, compile=False, verbose=True).fit(table)
    vae.judge_table(table, n=20)
    vae.report(table, draws=2)
    from vaekit.training.display import Bar
    Bar()
"""


@pytest.mark.slow
def test_libraries_that_are_imported_on_first_use_leave_the_process_as_it_was():
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(vk.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", FIRST_USE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(methods(vk.VAE) - {"save", "holds_out", "config"}))
def test_a_call_that_raises_leaves_the_process_as_it_was(name, fitted):
    arguments = {"interpolate": (1, 2), "shift": (1, 2, 3), "probe": (1, 2, 3, 4), "sample": (-1,), "fit_prior": (1, 2)}
    arguments |= {"disentanglement": (1, 2), "judge_samples": (1, 2), "outlier_probability": (1, 2)}
    with unchanged(), pytest.raises((TypeError, ValueError, AttributeError)):
        getattr(fitted["vae"], name)(*arguments.get(name, (object(),)))


class Failing(nn.Module):
    def forward(self, x):
        np.random.rand()  # noqa: NPY002
        torch.set_num_threads(torch.get_num_threads())
        if self.training:
            raise RuntimeError("no more")
        return torch.zeros(len(x), 4) + torch.rand(len(x), 1)


def test_a_training_that_fails_leaves_the_process_as_it_was(digits):
    with unchanged(), pytest.raises(RuntimeError, match="no more"):
        vk.VAE(**{**TINY, "threads": 2}, encoder=Failing()).fit(digits)


class Noisy(torch.utils.data.Dataset):
    """Rows that every reading changes by the global generators."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index] + torch.rand(3).numpy() + np.random.rand()  # noqa: NPY002


def test_code_of_one_s_own_draws_from_generators_of_its_own():
    """A data set and a network that draw at every call: the seed decides what they draw, and nothing else is moved."""
    rows = Noisy(np.random.default_rng(0).normal(size=(40, 3)).astype("float32"))
    encoder = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 4))
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(results))
        with unchanged():
            vae = vk.VAE(**TINY, encoder=encoder, seed=seed).fit(rows)
            results.append(vae.transform(rows))
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


class Slow(Noisy):
    """The same rows from a store that answers late now and then, as a busy disk does."""

    def __init__(self, rows, seed):
        super().__init__(rows)
        self.delays = np.random.default_rng(seed)

    def __getitem__(self, index):
        time.sleep(self.delays.choice([0.0, 0.0, 0.004]))
        return super().__getitem__(index)


@pytest.mark.parametrize("delays", range(3))
def test_the_time_that_reading_takes_does_not_change_what_is_drawn(delays):
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    encoder = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 4))
    settings = {**TINY, "batch_size": 8, "encoder": encoder}
    steady, late = (vk.VAE(**settings).fit(r).transform(r) for r in (Noisy(rows), Slow(rows, delays)))
    np.testing.assert_array_equal(late, steady)


def test_a_fit_does_not_import_torch_s_compiler():
    """Which takes seconds and changes the warning filters."""
    code = "import sys, numpy as np, vaekit as vk; x = np.random.default_rng(0).normal(size=(40, 3)); "
    code += "vk.VAE(epochs=1, compile=False).fit(x).sample(2); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
