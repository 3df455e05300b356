"""Everything that an evaluation returns shows itself, and is JSON, whatever optional input was left out."""

import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest

import vaekit as vk
from vaekit.evaluation import Metric, compare, diagnose, judge_table
from vaekit.evaluation.annealed import bracket
from vaekit.evaluation.samples import judge

SMALL = {"epochs": 1, "threads": 1, "compile": False}


def rows(n=120, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3)).astype("float32")


def frame(n=80, seed=0, gaps=0.0):
    g = np.random.default_rng(seed)
    made = pd.DataFrame({"a": g.normal(size=n), "b": g.normal(size=n), "word": g.choice(["x", "y"], n)})
    return made.mask(g.random(made.shape) < gaps)


@pytest.fixture(scope="module")
def vae():
    return vk.VAE(2, **SMALL).fit(rows())


@pytest.fixture(scope="module")
def other():
    return vk.VAE(2, seed=1, **SMALL).fit(rows())


RESULTS = {
    "evaluation": lambda v, o: v.evaluate(rows(seed=1), draws=2),
    "evaluation of few rows": lambda v, o: v.evaluate(rows(10, seed=1), draws=2),
    "evaluation of one row": lambda v, o: v.evaluate(rows(1, seed=1), draws=2),
    "evaluation of training rows": lambda v, o: v.evaluate(rows(), draws=2),
    "evaluation with baselines": lambda v, o: v.evaluate(rows(seed=1), draws=2, against=rows()),
    "evaluation with annealing": lambda v, o: v.evaluate(rows(seed=1), draws=2, ais=2, betas=5),
    "health": lambda v, o: v.health(rows(seed=1)),
    "figure": lambda v, o: Metric(math.nan, None, "", "nothing"),
    "verdict": lambda v, o: diagnose({})[0],
    "comparison": lambda v, o: compare(*(m.evaluate(rows(seed=1), draws=2) for m in (v, o))),
    "protocol": lambda v, o: v.evaluate(rows(10, seed=1), draws=2).protocol,
    "baselines": lambda v, o: vk.evaluation.baselines(rows(), rows(seed=1)),
    "baselines, errors alone": lambda v, o: vk.evaluation.baselines(rows(), rows(seed=1), measure=None),
    "judgement": lambda v, o: judge(rows(60, 1), rows(60, 2), rows()),
    "judgement of a model's samples": lambda v, o: v.judge_samples(rows(60, 2), rows(), n=60),
    "bracket": lambda v, o: bracket(v.module_, 2, chains=2, betas=5, steps=1),
    "table": lambda v, o: judge_table(frame(), frame(seed=1), test=frame(seed=2)),
    "table without test rows": lambda v, o: judge_table(frame(), frame(seed=1)),
    "table with a target": lambda v, o: judge_table(frame(), frame(seed=1), target="word"),
    "table of one column": lambda v, o: judge_table(frame()[["a"]], frame(seed=1)[["a"]]),
    "table with gaps in the synthetic rows alone": lambda v, o: judge_table(frame(), frame(seed=1, gaps=0.1)),
    "table with gaps in the real rows alone": lambda v, o: judge_table(frame(gaps=0.1), frame(seed=1)),
    "table with gaps in the test rows alone": lambda v, o: judge_table(
        frame(), frame(seed=1), test=frame(seed=2, gaps=0.1)
    ),
    "table with one gap": lambda v, o: judge_table(frame(), frame(seed=1).mask(np.eye(80, 3, dtype=bool))),
    "table with an empty column": lambda v, o: judge_table(frame().assign(b=np.nan), frame(seed=1).assign(b=np.nan)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_shows_itself_and_is_json_whatever_was_left_out(vae, other, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = RESULTS[name](vae, other)
        shown = [str(found), repr(found)]
        if hasattr(found, "to_dict"):
            shown.append(json.dumps(found.to_dict(), allow_nan=False))
        if hasattr(found, "_repr_html_"):
            shown.append(found._repr_html_())
    assert all(shown)


def test_synthetic_and_real_rows_of_a_table_have_the_same_figures():
    for gaps in ((0, 0), (0.1, 0), (0, 0.1)):
        found = judge_table(frame(gaps=gaps[0]), frame(seed=1, gaps=gaps[1]))
        assert set(found.synthetic) == set(found.floor)
        assert ("missing_cells" in found.synthetic) == any(gaps)
