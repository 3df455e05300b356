"""Players that do not move in every step: what stays as it is, and what a turn of one step is."""

import copy

import pytest
import torch
from compositions import batch, build

from vaekit import objectives as ob
from vaekit.training import Adam, Learner, Step


def copies(*objectives):
    """A step for each objective, of learners with the same weights."""
    model = build("mixture prior").train()
    return [Step(Learner(copy.deepcopy(model), objective).double(), Adam(1e-2)) for objective in objectives]


def moments(step, who):
    return {n: t.clone() for n, t in step.state().items() if n.startswith(f"{who}/")}


def test_with_turns_of_one_step_it_is_the_objective_itself_to_the_bit():
    plain, lagging = copies(ob.ELBO(beta=0.7), ob.Lagging(ob.ELBO(beta=0.7), turns=1))
    noises = [step.learner.noise() for step in (plain, lagging)]
    for t in range(5):
        rows = batch(plain.learner.model, seed=t)
        want, got = plain(rows, noises[0]), lagging(rows, noises[1])
        assert torch.equal(want.losses["model"], got.losses["generation"])
    for name, want in plain.learner.model.state_dict().items():
        assert torch.equal(lagging.learner.model.state_dict()[name], want), name


@pytest.mark.parametrize("compiled", [False, True])
def test_generation_and_its_moments_move_in_the_last_step_of_a_turn_alone(compiled):
    (step,) = copies(ob.Lagging(ob.ELBO(), turns=3, until=6))
    step.compiled, noise, model = compiled, step.learner.noise(), step.learner.model
    for who in (["inference"], ["inference", "generation"]):
        step.turn(who).program.backend = lambda graph, example: graph
    generative, moved = model.generative(), []
    for t in range(8):
        weights, own = {n: p.clone() for n, p in model.named_parameters()}, moments(step, "generation")
        step(batch(model, seed=t), noise)
        changed = {n for n, p in model.named_parameters() if not torch.equal(p, weights[n])}
        assert changed >= set(weights) - set(generative)
        moved.append(bool(changed & set(generative)))
        assert any(not torch.equal(t, own[n]) for n, t in moments(step, "generation").items()) == moved[-1]
    assert moved == [False, False, True, False, False, True, True, True]
    assert step.state()["generation/count"] == 4
    assert step.state()["inference/count"] == 8
    assert compiled == all(bool(turn.program._programs) for turn in step.turns.values())


def test_a_step_goes_on_in_the_middle_of_a_turn():
    step, again = copies(*(ob.Lagging(ob.ELBO(), turns=3) for _ in range(2)))
    noise, rows = step.learner.noise(), batch(step.learner.model)
    step(rows, noise)
    again.learner.load_state_dict(step.learner.state_dict())
    again.restore(step.state(), step.taken)
    later = again.learner.noise()
    later.state = noise.state
    for _ in range(3):
        step(rows, noise), again(rows, later)
    for name, want in step.learner.state_dict().items():
        assert torch.equal(again.learner.state_dict()[name], want), name


def test_any_objective_of_one_player_may_lag():
    for objective in (ob.IWAE(3), ob.TotalCorrelation(2.0), ob.WAE(rate=1.0)):
        lagging = ob.Lagging(objective)
        assert (lagging.needs_density, lagging.couples_rows) == (objective.needs_density, objective.couples_rows)
        step = Step(Learner(build("normal"), lagging).double())
        assert step(batch(step.learner.model), step.learner.noise()).losses["inference"].isfinite()


WRONG = {
    "turns": (lambda: ob.Lagging(ob.ELBO(), turns=0), "Lagging(turns=0): expected a whole number from 1"),
    "until": (lambda: ob.Lagging(ob.ELBO(), until=-1), "Lagging(until=-1): expected a whole number from 0, or None"),
    "players": (
        lambda: Learner(build(), ob.Lagging(ob.IWAE(2, gradient="dreg"))),
        "has players of its own (inference, generation)",
    ),
    "density": (lambda: Learner(build("point mass"), ob.Lagging(ob.ELBO())), "the posterior PointMass has no density"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_turn_is_told_when_it_is_made(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=".*") as error:
        call()
    assert message in str(error.value)
