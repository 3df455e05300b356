"""Settings and arguments: what they may be, and what is said of anything else."""

# ruff: noqa: E501  (messages are on one line, as users read them)

import inspect
import json

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.settings import Choice, Number, SettingError, Whole, checked, devices

X = np.random.default_rng(0).normal(size=(40, 3))
HOSTILE = [
    "3",
    "",
    True,
    -1,
    3.0,
    3.5,
    np.nan,
    np.inf,
    -np.inf,
    "cuda:99",
    "gpu",
    [1],
    {},
    dict,
    print,
    object(),
    2**70,
]
HOSTILE += [np.int64(-3), np.float32(-0.5), np.bool_(True), b"3", 1j, torch.zeros(2), np.zeros(2), (1, 2), set()]
SETTINGS = list(inspect.signature(vk.VAE).parameters)


@pytest.mark.parametrize("name", SETTINGS)
def test_any_value_of_a_setting_is_taken_or_refused_by_its_name(name):
    """Also what no list of wrong calls names: never an error of torch's or NumPy's."""
    for value in [None, *HOSTILE]:
        vae = vk.VAE(**{name: value})  # building refuses nothing, as in scikit-learn
        try:
            vae.holds_out(10)
        except ValueError as error:
            message = str(error)
            own = message.startswith(f"{name}=") and ": expected " in message and "\n" not in message
            known = {"validation": "holds rows of its own", "recipe": "unknown recipe"}
            if not own and known.get(name, "?") not in message:
                pytest.fail(message)


WRONG_SETTINGS = {
    "a seed of None": ({"seed": None}, "seed=None: expected a whole number from 0"),
    "a negative seed": ({"seed": -1}, "seed=-1: expected a whole number from 0"),
    "a fractional seed": ({"seed": 1.5}, "seed=1.5: expected a whole number from 0"),
    "a seed in quotes": ({"seed": "3"}, "seed='3': expected a whole number from 0: pass 3"),
    "a seed that is a flag": ({"seed": True}, "seed=True: expected a whole number from 0"),
    "a seed beyond 64 bits": ({"seed": 2**70}, f"seed={2**70}: expected a whole number from 0: it is too large"),
    "epochs below 0": ({"epochs": -1}, "epochs=-1: expected a whole number from 0, or None"),
    "epochs as a float": ({"epochs": 3.0}, "epochs=3.0: expected a whole number from 0, or None: pass 3"),
    "epochs in quotes": ({"epochs": "3"}, "epochs='3': expected a whole number from 0, or None: pass 3"),
    "epochs without end": ({"epochs": np.inf}, "epochs=inf: expected a whole number from 0, or None"),
    "epochs that are a flag": ({"epochs": True}, "epochs=True: expected a whole number from 0, or None"),
    "no rows in a batch": ({"batch_size": 0}, "batch_size=0: expected a whole number from 1, or None"),
    "half a batch": ({"batch_size": 0.5}, "batch_size=0.5: expected a whole number from 1, or None"),
    "a rate in quotes": (
        {"lr": "1e-3"},
        "lr='1e-3': expected a positive learning rate, such as 1e-3, or None: pass 0.001",
    ),
    "a rate of 0": ({"lr": 0}, "lr=0: expected a positive learning rate, such as 1e-3, or None"),
    "a rate that is no number": ({"lr": np.nan}, "lr=nan: expected a positive learning rate, such as 1e-3, or None"),
    "a negative rate": ({"lr": -1e-3}, "lr=-0.001: expected a positive learning rate, such as 1e-3, or None"),
    "no latents": ({"latent_dim": 0}, "latent_dim=0: expected a whole number from 1, or None"),
    "latents as a shape": ({"latent_dim": (2, 3)}, "latent_dim=(2, 3): expected a whole number from 1, or None"),
    "a device by another name": (
        {"device": "gpu"},
        f'device=\'gpu\': expected "auto" or a device of this machine ({", ".join(devices())}): pass "cuda" for a GPU',
    ),
    "a device that is not there": (
        {"device": "cuda:99"},
        f"device='cuda:99': expected \"auto\" or a device of this machine ({', '.join(devices())})",
    ),
    "a device without values": (
        {"device": "meta"},
        f"device='meta': expected \"auto\" or a device of this machine ({', '.join(devices())})",
    ),
    "no device": (
        {"device": None},
        f'device=None: expected "auto" or a device of this machine ({", ".join(devices())})',
    ),
    "a negative warm-up": ({"warmup": -1}, "warmup=-1: expected a number of steps, from 0"),
    "a warm-up that is a share": ({"warmup": 0.1}, "warmup=0.1: expected a number of steps, from 0"),
    "a norm of 0": ({"clip": 0}, "clip=0: expected a positive norm, or None"),
    "a norm in quotes": ({"skip": "400"}, "skip='400': expected a positive norm, or None: pass 400"),
    "a decay of 1": ({"average": 1.0}, "average=1.0: expected a decay in [0, 1) such as 0.999, or None"),
    "a negative decay": ({"weight_decay": -1e-4}, "weight_decay=-0.0001: expected a number from 0"),
    "no decay": ({"weight_decay": None}, "weight_decay=None: expected a number from 0"),
    "all rows held out": (
        {"validation": 1},
        "validation=1: expected a share of the rows in [0, 1), or rows to hold out",
    ),
    "a share in quotes": (
        {"validation": "0.1"},
        "validation='0.1': expected a share of the rows in [0, 1), or rows to hold out: pass 0.1",
    ),
    "no patience": ({"patience": 0}, "patience=0: expected a whole number from 1, or None"),
    "no seeds": ({"seeds": 0}, "seeds=0: expected a number of seeds, at least 1, or None"),
    "a list of seeds": ({"seeds": [1, 2]}, "seeds=[1, 2]: expected a number of seeds, at least 1, or None"),
    "no threads": ({"threads": 0}, 'threads=0: expected a number of threads, at least 1, or "auto"'),
    "threads by another word": (
        {"threads": "all"},
        "threads='all': expected a number of threads, at least 1, or \"auto\"",
    ),
    "half precision": ({"precision": "fp16"}, 'precision=\'fp16\': expected "fp32" or "bf16": did you mean "bf16"?'),
    "a type of torch's": ({"precision": torch.bfloat16}, 'precision=torch.bfloat16: expected "fp32" or "bf16"'),
    "compile, a word": ({"compile": "yes"}, "compile='yes': expected True, False or \"auto\""),
    "compile, a number": ({"compile": 1}, 'compile=1: expected True, False or "auto"'),
    "an initialiser": ({"initialiser": "xavier"}, 'initialiser=\'xavier\': expected "glorot", "he" or "torch"'),
    "a schedule": (
        {"schedule": "cosin"},
        'schedule=\'cosin\': expected "constant", "cosine", "linear" or None: did you mean "cosine"?',
    ),
    "columns": (
        {"columns": ["a"]},
        'columns=[\'a\']: expected kinds of columns by name, such as {"age": "count"}, or None',
    ),
    "a flag that is a number": ({"missing": 1}, "missing=1: expected True or False"),
    "a flag that is a word": ({"verbose": "yes"}, "verbose='yes': expected True or False"),
    "a budget that is a number": (
        {"privacy": 3.0},
        "privacy=3.0: expected a budget, such as vk.training.Privacy(epsilon=3.0), or None",
    ),
    "a recipe that is not called": (
        {"recipe": vk.recipes.beta_vae},
        'recipe=<function beta_vae>: expected the name of a recipe, such as "vae", or a recipe with settings, such as vk.recipes.beta_vae(beta=6), or None: call it, vk.recipes.beta_vae()',
    ),
    "a likelihood's name": (
        {"likelihood": "bernoulli"},
        "likelihood='bernoulli': expected a likelihood, such as vk.likelihoods.Bernoulli(), or None: pass vk.likelihoods.Bernoulli()",
    ),
    "a likelihood's class": (
        {"likelihood": vk.likelihoods.Gaussian},
        "likelihood=<class 'vaekit.likelihoods.real.Gaussian'>: expected a likelihood, such as vk.likelihoods.Bernoulli(), or None: it is a class, call it, Gaussian(...)",
    ),
    "an objective's name": (
        {"objective": "elbo"},
        "objective='elbo': expected an objective, such as vk.objectives.ELBO(), or None: pass vk.objectives.ELBO()",
    ),
    "an encoder's width": (
        {"encoder": 256},
        "encoder=256: expected a network, such as vk.networks.MLP((256, 128)) or a torch.nn.Module of your own, or None",
    ),
    "a posterior alone": (
        {"latent": vk.latents.Normal(2)},
        "latent=Normal(): expected a latent, such as vk.latents.Latent(vk.latents.Normal(2), vk.latents.StandardNormal()), or None",
    ),
}


@pytest.mark.parametrize(("settings", "message"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_a_wrong_setting_is_refused_in_one_sentence_before_work_starts(settings, message):
    with pytest.raises(SettingError) as error:
        vk.VAE(**settings).fit("rows.npy")  # settings come first: nobody looks for the file
    assert str(error.value) == message
    with pytest.raises(SettingError) as error:
        vk.OutlierDetector(vk.VAE(**settings)).fit(X)
    assert str(error.value) == message
    if "seed" not in settings and "seeds" not in settings:
        with pytest.raises(SettingError) as error:
            vk.sweep(vk.VAE(**settings), X)
        assert str(error.value) == message


def test_every_setting_has_a_rule():
    from vaekit.training.config import OF_VAE

    assert set(OF_VAE) == set(SETTINGS)


WRONG_CALLS = {
    "rows": (lambda v: v.sample(0), "n=0: expected a whole number from 1"),
    "rows, a float": (lambda v: v.sample(2.0), "n=2.0: expected a whole number from 1: pass 2"),
    "rows in quotes": (lambda v: v.sample(n="2"), "n='2': expected a whole number from 1: pass 2"),
    "rows of None": (lambda v: v.sample(None), "n=None: expected a whole number from 1"),
    "a seed": (lambda v: v.sample(2, seed=-1), "seed=-1: expected a whole number from 0, or None"),
    "a seed in quotes": (lambda v: v.sample(2, "1"), "seed='1': expected a whole number from 0, or None: pass 1"),
    "a flag": (lambda v: v.sample(2, mean=1), "mean=1: expected True, False or None"),
    "draws": (lambda v: v.score_samples(X, 0), "draws=0: expected a whole number from 1"),
    "draws of an evaluation": (lambda v: v.evaluate(X, 0.5), "draws=0.5: expected a whole number from 1, or None"),
    "rows to anneal": (lambda v: v.evaluate(X, ais=-1), "ais=-1: expected a whole number from 0"),
    "chains": (lambda v: v.annealed(X, chains=True), "chains=True: expected a whole number from 1"),
    "steps": (lambda v: v.interpolate(X, X, "3"), "steps='3': expected a whole number from 1: pass 3"),
    "a reach": (lambda v: v.traverse(reach=np.nan), "reach=nan: expected a finite number"),
    "an amount": (lambda v: v.shift(X, X, X, "1"), "amount='1': expected a finite number: pass 1"),
    "completions": (lambda v: v.impute(X, 0), "n=0: expected a whole number from 1, or None"),
    "epochs of a prior": (
        lambda v: v.fit_prior(X, vk.latents.GaussianMixture(2), epochs=-1),
        "epochs=-1: expected a whole number from 0, or None",
    ),
    "resume": (lambda v: v.fit(X, resume="yes"), "resume='yes': expected True or False"),
    "a library": (lambda v: v.expected(X, "1e4"), "library='1e4': expected a finite number, or None: pass 10000"),
    "clusters": (lambda v: vk.evaluation.clusters.kmeans(X, 2.5), "clusters=2.5: expected a whole number from 1"),
    "seeds of a sweep": (
        lambda v: vk.sweep(vk.VAE(), X, seeds=True),
        "seeds=True: expected a number of seeds, at least 1, or a list of them",
    ),
    "one of its seeds": (lambda v: vk.sweep(vk.VAE(), X, seeds=[0, -1]), "seeds[1]=-1: expected a whole number from 0"),
    "a swept value": (
        lambda v: vk.sweep(vk.VAE(), X, over={"epochs": [1, "2"]}),
        "epochs='2': expected a whole number from 0, or None: pass 2",
    ),
    "the batches of a loop": (
        lambda v: vk.train(v.module_, X, batch_size=0),
        "batch_size=0: expected a whole number from 1",
    ),
    "the device of a loop": (
        lambda v: vk.train(v.module_, X, device="gpu"),
        f"device='gpu': expected a device of this machine ({', '.join(devices())}): pass \"cuda\" for a GPU",
    ),
    "the device of a model": (
        lambda v: vk.load("nowhere", device="cuda:99"),
        f"device='cuda:99': expected \"auto\" or a device of this machine ({', '.join(devices())})",
    ),
    "contamination": (
        lambda v: vk.OutlierDetector(contamination="0.1").fit(X),
        "contamination='0.1': expected a share of the rows in (0, 0.5]: pass 0.1",
    ),
    "draws of a detector": (lambda v: vk.OutlierDetector(draws=0).fit(X), "draws=0: expected a whole number from 1"),
    "a detector's model": (
        lambda v: vk.OutlierDetector("vae").fit(X),
        "vae='vae': expected an estimator, such as VAE(recipe=\"table\"), or None",
    ),
    "Adam's rate": (
        lambda v: vk.Adam(lr="1e-3"),
        "lr='1e-3': expected a positive learning rate, such as 1e-3: pass 0.001",
    ),
}


@pytest.fixture(scope="module")
def fitted():
    return vk.VAE(2, epochs=1, validation=0, threads=1, compile=False).fit(X)


@pytest.mark.parametrize(("call", "message"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_a_wrong_argument_is_refused_in_one_sentence(call, message, fitted):
    with pytest.raises(SettingError) as error:
        call(fitted)
    assert str(error.value) == message


def checked_arguments():
    """(method, argument) of the estimators whose annotation is a number or a flag."""
    for cls in (vk.VAE, vk.OutlierDetector):
        for name, method in inspect.getmembers(cls, callable):
            if name.startswith("_") or not inspect.isfunction(method):
                continue
            for p in inspect.signature(method).parameters.values():
                if str(p.annotation).removesuffix(" | None") in ("int", "float", "bool") and "params" not in name:
                    yield cls, name, p.name


@pytest.mark.parametrize(("cls", "method", "argument"), list(checked_arguments()))
def test_every_number_and_flag_of_every_method_is_checked(cls, method, argument):
    parameters = list(inspect.signature(getattr(cls, method)).parameters.values())[1:]
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = {p.name: 1.0 if p.annotation == "float" else X for p in needed}
    for value in ("many", [1], object(), 1j):
        with pytest.raises(SettingError, match=f"^{argument}="):
            getattr(cls(), method)(**{**required, argument: value})


NUMPY = {
    "latent_dim": np.int64(2),
    "epochs": np.int32(1),
    "batch_size": np.uint8(20),
    "lr": np.float32(0.5**10),
    "warmup": np.int64(1),
    "clip": np.float64(1.0),
    "average": np.float32(0.5),
    "weight_decay": np.float32(0.0),
    "validation": np.float64(0.25),
    "patience": np.int16(1),
    "threads": np.array(1),
    "compile": np.bool_(False),
    "missing": np.bool_(False),
    "seed": np.uint64(3),
}


def test_numpy_s_numbers_are_as_good_as_python_s(tmp_path):
    """The same model, and the same files."""
    plain = vk.VAE(**{name: value.item() for name, value in NUMPY.items()}).fit(X, run=tmp_path / "plain")
    numpy = vk.VAE(**NUMPY).fit(X, run=tmp_path / "numpy")
    np.testing.assert_array_equal(plain.transform(X), numpy.transform(X))
    np.testing.assert_array_equal(plain.sample(np.int64(2), seed=np.int32(1)), numpy.sample(2, seed=1))
    first, second = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("plain", "numpy"))
    assert first["estimator"] == second["estimator"] and first["weights_sha256"] == second["weights_sha256"]
    assert vk.load(tmp_path / "numpy").get_params() == plain.get_params() | {"device": "auto"}


def test_a_device_of_torch_s_is_taken(tmp_path):
    vae = vk.VAE(2, epochs=1, device=torch.device("cpu"), threads=1, compile=False).fit(X, run=tmp_path)
    assert vae.device == "cpu" and vk.load(tmp_path, device="cpu").sample(1).shape == (1, 3)


def test_values_of_a_rule_come_back_as_they_are():
    for rule, values in {
        Whole(1): [1, 5, 2**62],
        Number(0.0, 1.0): [0, 0.5, 1.0],
        Choice(("a", "b")): ["a", "b"],
    }.items():
        for value in values:
            assert checked("x", value, rule) is value
