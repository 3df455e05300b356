"""An objective may keep state of its own: buffers whose new values it returns as updates."""

import copy

import pytest
import torch
from compositions import batch, build

import vaekit as vk
from vaekit.core import LossOutput, Source
from vaekit.objectives import ELBO
from vaekit.training import Adam, Ensemble, Learner, Step


class Tracking(ELBO):
    """An ELBO that keeps a moving average of its loss, by which it scales nothing."""

    def __init__(self):
        super().__init__()
        self.register_buffer("ema", torch.zeros(()))

    def forward(self, model, batch, step, noise):
        terms = super().forward(model, batch, step, noise)
        ema = 0.9 * self.ema + 0.1 * terms.losses["model"].detach()
        return LossOutput(terms.losses, terms.metrics | {"ema": ema}, {**terms.updates, "ema": ema})


class Misnamed(ELBO):
    def forward(self, model, batch, step, noise):
        terms = super().forward(model, batch, step, noise)
        return LossOutput(terms.losses, terms.metrics, {"emma": terms.losses["model"].detach()})


def stepped(step, rows, steps=3):
    """The losses of some steps, and their moving average by hand."""
    noise, ema, losses = step.learner.noise(), 0.0, []
    for _ in range(steps):
        losses.append(step(rows, noise).losses["model"])
        ema = 0.9 * ema + 0.1 * losses[-1]
    return ema


@pytest.mark.parametrize("compiled", [False, True])
def test_its_average_follows_its_losses(compiled):
    model = build()
    step = Step(Learner(model, Tracking()), Adam(1e-2), compiled=compiled)
    step.program.backend = lambda graph, example: graph
    torch.testing.assert_close(step.learner.objective.ema, stepped(step, batch(model)), check_dtype=False)


@pytest.mark.parametrize("compiled", [False, True])
def test_each_member_of_an_ensemble_has_its_own(compiled):
    model = build()
    learners = [Learner(copy.deepcopy(model), Tracking()) for _ in range(2)]
    step = Step(Ensemble(learners, shared_rows=True), Adam((1e-2, 1e-1)), compiled=compiled)
    step.program.backend = lambda graph, example: graph
    ema = stepped(step, batch(model))
    own = torch.stack([learner.objective.ema for learner in step.learner.members()])
    torch.testing.assert_close(own, ema, check_dtype=False)
    assert own[0] != own[1]


def test_it_is_saved_averaged_around_and_resumed_bit_for_bit(tmp_path):
    digits = vk.datasets.mnist()[0][:90]
    make = lambda epochs: vk.VAE(epochs=epochs, objective=Tracking(), average=0.9, seed=2)  # noqa: E731
    whole = make(4).fit(digits)
    make(2).fit(digits, run=tmp_path)
    resumed = make(4).fit(digits, run=tmp_path, resume=True)
    assert float(whole.objective_.ema) == float(resumed.objective_.ema) == float(vk.load(tmp_path).objective_.ema) > 0
    assert [r["ema"] for r in whole.history_] == [r["ema"] for r in resumed.history_]


def test_an_update_of_no_buffer_is_refused_by_name():
    model = build()
    with pytest.raises(ValueError, match="Misnamed returns an update of 'emma', which is no buffer of the model"):
        Learner(model, Misnamed())(batch(model), Source(0))


def test_buffers_of_the_model_keep_their_short_names():
    """A codebook's running means are updated as before, and a full name works as well."""
    learner = Learner(build(), Tracking())
    placed = learner._placed({"objective.ema": torch.ones(())})
    assert list(placed) == ["objective.ema"] == list(learner._placed({"ema": torch.ones(())}))
