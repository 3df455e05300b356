"""Constructors and recipes: every argument of every part is checked when it is given, by one mechanism."""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import vaekit as vk
from vaekit import latents as lt
from vaekit import likelihoods as lk
from vaekit import networks as nw
from vaekit import objectives as ob
from vaekit.constructors import checked_constructor, rule_of, rules_of
from vaekit.core import LocalDraws
from vaekit.core.component import COMPONENTS
from vaekit.recipes import RECIPES, Recipe
from vaekit.settings import Number, SettingError

PARTS = {name: cls for name, cls in COMPONENTS.items() if name.startswith("vaekit.") and "testing" not in name}


def normal() -> lt.Latent:
    return lt.Latent(lt.Normal(3), lt.StandardNormal())


REQUIRED = {
    "activation": "relu",
    "categories": 3,
    "channels": (4,),
    "components": 3,
    "critic": nw.MLP((4,)),
    "decoder": nw.MLP((4,)),
    "encoder": nw.MLP((4,)),
    "epsilon": 3.0,
    "family": lt.Normal(3),
    "features": nw.ConvEncoder(),
    "head": nw.MLP(()),
    "hidden": 8,
    "in_shape": None,
    "inner": normal(),
    "knots": [[0.0, 1.0, 2.0]],
    "latent": normal(),
    "layers": 1,
    "levels": 4,
    "likelihood": lk.Bernoulli(),
    "log_scales": [0.0],
    "means": [1.0],
    "metric": lt.RiemannianMetric(nw.MLP((4,))),
    "module": nn.Linear(3, 2),
    "network": nw.MLP((4,)),
    "networks": [nw.MLP((4,)), nw.MLP((4,))],
    "objective": ob.ELBO(),
    "out_shape": None,
    "parts": [lk.Bernoulli(shape=(2,))],
    "period": 5,
    "posterior": lt.Normal(3),
    "prior": lt.StandardNormal(),
    "reads": "logits",
    "rungs": [lt.LadderLevel(normal(), nw.MLP((4,)))] * 2,
    "scores": [[-1.0, 0.0, 1.0]],
    "shape": None,
    "size": 3,
    "steps": 4,
    "value": 1.0,
    "variables": 2,
    "variances": [2.0],
    "weight": 1.0,
    "width": 8,
}
"""Values of arguments without a default, by name."""
OF_ONE = {
    "Autoregressive": {"inner": lk.Categorical(4), "network": nw.SequenceDecoder(nw.Recurrent())},
    "Labelled": {"inner": lt.Latent(lt.Categorical(1, 3), lt.UniformCategorical())},
    "Ordinal": {"levels": [3]},
    "SequenceDecoder": {"steps": nw.Recurrent(8)},
    "SequenceEncoder": {"steps": nw.Recurrent(8)},
    "Warped": {"steps": [0.1]},
}
"""Values for one class, where another means something else by a name."""


def required(cls: type) -> dict[str, Any]:
    own = OF_ONE.get(cls.__name__, {})
    names = [p.name for p in parameters(cls.__init__) if p.default is p.empty]
    return {n: own.get(n, REQUIRED.get(n)) for n in names}


def parameters(function: Any) -> list[inspect.Parameter]:
    found = list(inspect.signature(function).parameters.values())
    return [p for p in found if p.name != "self" and p.kind is p.POSITIONAL_OR_KEYWORD]


ARGUMENTS = [(name, p.name) for name, cls in PARTS.items() for p in parameters(cls.__init__)]
SETTINGS = [(name, setting) for name, entry in RECIPES.items() for setting in entry.defaults]
WRONG = {
    "a word": "many",
    "an empty string": "",
    "bytes": b"3",
    "an object": object(),
    "a complex number": 1j,
    "a mapping": {"a": 1},
    "a set": {1},
    "a date": np.datetime64("2020-01-01"),
    "a function": len,
    "not a number": math.nan,
    "a list of None": [None],
    "a list of words": ["many"],
    "an array of three dimensions": np.zeros((2, 2, 2)),
}
"""What no number, flag, word, sequence or part is. A word may be one of those that are expected."""
TRIED = {
    **WRONG,
    "zero": 0,
    "a negative number": -1,
    "one": 1,
    "a fraction": 0.5,
    "infinity": math.inf,
    "a huge number": 10**30,
    "a flag": True,
    "a number in quotes": "3",
    "None": None,
    "an empty list": [],
    "a list": [1, 2],
    "a list of zeros": [0],
    "a list of fractions": [1.5],
    "pairs": ((1, 2), (2, 1)),
    "NumPy's integer": np.int64(2),
    "NumPy's float": np.float32(2),
    "NumPy's flag": np.bool_(True),
    "an array": np.array([1, 2]),
    "an array without dimensions": np.array(2),
    "a tensor": torch.tensor([1, 2]),
    "a tensor without dimensions": torch.tensor(2),
    "a class": lt.Normal,
    "another part": lt.Normal(2),
    "a generator": (k for k in range(2)),
}
"""Whatever a user may pass: it is taken, or refused by name."""


def outcome(name: str, call: Any) -> str | None:
    """What is wrong with a call: None where it works, or is refused in one sentence that names the argument."""
    try:
        call()
    except (ValueError, TypeError) as error:
        said = str(error)
        raw = "unexpected keyword" in said or "\n" in said or len(said) > 500
        return f"{type(error).__name__}: {said}" if raw or (name not in said and "expected " not in said) else None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def test_every_argument_of_every_part_and_recipe_has_a_rule():
    unchecked = [
        f"{cls.__name__}.{p.name}"
        for cls in PARTS.values()
        for p in parameters(cls.__init__)
        if p.name not in rules_of(inspect.unwrap(cls.__init__), cls.__name__)
    ]
    assert unchecked == ["KerasNetwork.module"]  # keras need not be installed
    for entry in RECIPES.values():
        assert set(entry.defaults) <= set(rules_of(entry.builder, entry.builder.__name__))


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_a_value_is_refused_at_construction(kind):
    for name, argument in ARGUMENTS:
        cls = PARTS[name]
        if f"{cls.__name__}.{argument}" != "KerasNetwork.module" and "__init__" in vars(cls):
            with pytest.raises(SettingError, match=rf"^{cls.__name__}\({argument}=") as error:
                cls(**{argument: WRONG[kind]})
            assert ": expected " in str(error.value) and "\n" not in str(error.value)
    for name, setting in SETTINGS:
        if setting == "kinds" and isinstance(WRONG[kind], list) and kind == "a list of words":
            continue  # names of likelihoods, which are looked up later
        own = RECIPES[name].builder.__name__
        with pytest.raises(SettingError, match=rf"^recipes\.{own}\({setting}="):
            Recipe(name, **{setting: WRONG[kind]})


def test_a_part_takes_a_value_or_refuses_it_by_name():
    wrong = []
    for name, argument in ARGUMENTS:
        cls, others = PARTS[name], required(PARTS[name])
        if cls is nw.KerasNetwork:
            continue
        for kind, value in TRIED.items():
            said = outcome(argument, lambda: cls(**{**others, argument: value}))  # noqa: B023
            wrong += [f"{cls.__name__}({argument}={kind}): {said}"] if said else []
    assert not wrong


def test_a_recipe_takes_a_value_or_refuses_it_by_name():
    wrong = []
    for name, setting in SETTINGS:
        for kind, value in TRIED.items():
            with LocalDraws(0):
                said = outcome(setting, lambda: RECIPES[name].builder(6, **Recipe(name, **{setting: value}).settings))  # noqa: B023
            wrong += [f"{name}({setting}={kind}): {said}"] if said else []
    assert not wrong


def test_every_part_takes_its_own_arguments_again():
    """Parts are rebuilt from them when sizes are filled in and when files are loaded."""
    for cls in PARTS.values():
        if cls is not nw.KerasNetwork:
            part = cls(**required(cls))
            type(part)(**part.arguments())


def test_a_recipe_s_settings_are_checked_wherever_they_are_set():
    with pytest.raises(SettingError, match=r"recipes.beta_vae\(beta='4'\): expected a number from 0: pass 4"):
        vk.recipes.beta_vae(beta="4")
    with pytest.raises(SettingError, match="beta"):
        vk.VAE(recipe=vk.recipes.beta_vae()).set_params(recipe__beta=-1)
    with pytest.raises(SettingError, match="beta"):
        vk.sweep(vk.VAE(recipe="beta-vae"), np.zeros((9, 2)), over={"recipe__beta": [1.0, "2"]})
    with pytest.raises(SettingError, match=r'kernel=.* expected "imq" or "rbf": did you mean "rbf"'):
        vk.recipes.wae(kernel="RBF")


def test_numpy_s_numbers_become_python_s():
    recipe = vk.recipes.beta_vae(beta=np.float32(0.5), hidden=np.array([8, 4]))
    assert recipe.settings == {"beta": 0.5, "hidden": (8, 4)} and type(recipe.settings["hidden"][0]) is int
    assert type(recipe.settings["beta"]) is float
    assert type(lt.Normal(np.int64(3)).size) is int and lt.Normal(torch.tensor(3)).size == 3
    assert nw.ConvEncoder(np.int32(4)).channels == (4,)  # a lone number is a tuple of one


def test_arguments_in_range_are_kept_as_they_are():
    hidden = (8, 4)
    assert vk.recipes.vae(hidden=hidden).settings["hidden"] is hidden
    knots = [[0.0, 1.0, 2.0]]
    assert rules_of(inspect.unwrap(lk.Warped.__init__), "Warped")["knots"].read(knots) is knots


def test_constructors_of_training_are_checked():
    learner = vk.training.Learner(
        vk.VAEModule(nw.MLP((4,)), normal(), nw.MLP((4,)), lk.Bernoulli()).resolve_shapes((3,)), ob.ELBO()
    )
    for call, name in {
        lambda: vk.training.Learner("model", ob.ELBO()): "model",
        lambda: vk.training.Learner(learner.model, "elbo"): "objective",
        lambda: vk.training.Ensemble(learner): "learners",
        lambda: vk.training.Ensemble([learner, "b"]): "learners",
        lambda: vk.training.Step(learner, total_steps=0.5): "total_steps",
        lambda: vk.training.Step(learner, adam=1e-3): "adam",
        lambda: vk.training.Training(learner, np.zeros((4, 3))): "rows",
        lambda: vk.training.Processes(rank="0"): "rank",
        lambda: vk.Adam(betas=(0.9, 1.0)): "betas",
        lambda: vk.Adam(betas=0.9): "betas",
        lambda: vk.Adam(lr=(1e-3, "2")): "lr",
        lambda: vk.data.Stream(5): "items",
        lambda: vk.data.Stream([], batches="yes"): "batches",
        lambda: vk.recipes.Parts("latent", nw.MLP(()), nw.MLP(())): "latent",
        lambda: vk.recipes.TrainingDefaults(epochs=1.5): "epochs",
        lambda: vk.Ramp(1.0, 0): "steps",
        lambda: vk.Cycle(1.0, 5, ramp=0.0): "ramp",
    }.items():
        with pytest.raises(SettingError, match=rf"{name}.*: expected "):
            call()


def test_a_part_of_the_user_s_own_is_left_to_its_author():
    class Own(lt.Normal):
        def __init__(self, size: int, label: int):
            super().__init__(size)
            self.label = label

    assert Own(2, "a label").label == "a label"
    with pytest.raises(SettingError, match=r"^Own\(size='2'\): expected a whole number from 1: pass 2"):
        Own("2", 1)


def test_annotations_that_are_not_understood_accept_everything():
    @checked_constructor
    class Thing:
        def __init__(self, a: Any, b: "Unknown" = 3, c: Sequence["int"] = (), d: int = None):  # noqa: F821, RUF013
            self.a, self.b, self.c, self.d = a, b, c, d

    assert Thing(object(), object(), (1,), None).d is None  # a default is always accepted
    with pytest.raises(SettingError, match=r"Thing\(d='x'\)"):
        Thing(1, d="x")
    assert rule_of(dict[str, int], "Thing", "x") is None


def test_a_million_numbers_are_checked_without_a_call_for_each(monkeypatch):
    rule, asked, read = rules_of(inspect.unwrap(lk.CountColumns.__init__), "CountColumns")["variances"], [], Number.read
    monkeypatch.setattr(Number, "read", lambda self, value: asked.append(value) or read(self, value))
    values = [1.0] * 10**6
    assert rule.read(values) is values and len(asked) <= 2


def test_functions_refuse_what_is_no_model_rows_history_or_dict():
    model = vk.VAEModule(nw.MLP((4,)), normal(), nw.MLP((4,)), lk.Bernoulli()).resolve_shapes((3,))
    for call, message in {
        lambda: vk.evaluation.score_rows("model", None): r"score_rows\(model='model'\): expected a VAEModule",
        lambda: vk.evaluation.score_rows(
            model, np.zeros((60, 3))
        ): r"score_rows\(rows=.*: expected rows of vaekit.data",
        lambda: vk.evaluation.health(model, None): r"health\(rows=None\): expected rows of vaekit.data",
        lambda: next(vk.train(model, np.zeros((60, 3)), "elbo")): r"train\(objective='elbo'\): expected an objective",
        lambda: next(vk.train(model, np.zeros((60, 3)), adam=1e-3)): r"train\(adam=0.001\): expected an Adam",
        lambda: vk.VAE().fit_prior(np.zeros((60, 3)), "mixture"): r"fit_prior\(prior='mixture'\): expected a prior",
    }.items():
        with pytest.raises(SettingError, match=message):
            call()
