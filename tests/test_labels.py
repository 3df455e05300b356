"""Classes and context: bounds with the class summed out, clusters, conditional models, and what users hold of them."""

import copy
import io
import math
import signal

import numpy as np
import pytest
import torch
from commands import call
from compositions import batch, build

import vaekit as vk
from vaekit import latents as lt
from vaekit import testing
from vaekit.core import Batch, ForwardContext, Recorder, ReplayNoise, Source
from vaekit.data.labels import Classes, as_labels
from vaekit.latents.clustering import fit_mixture
from vaekit.networks import MLP, ConvEncoder
from vaekit.objectives import ELBO, ClassELBO
from vaekit.training import Ensemble, Learner, Sources
from vaekit.training.display import Lines
from vaekit.training.trainer import Silent, TrainingResult

CLASSES = 3
"""Of the labelled composition."""


def one_hot(*labels):
    """Rows of zeros where a label is None."""
    return torch.stack([torch.eye(CLASSES)[k] if k is not None else torch.zeros(CLASSES) for k in labels]).double()


@torch.no_grad()
def written_out(model, x, label, tape):
    """The bound of one row, and log q(y | x): a pass for each class, weighed by hand."""
    outs = []
    for k in range(CLASSES):
        out = model(Batch(x, label=one_hot(k)), ReplayNoise([t[k : k + 1] for t in tape]))
        outs.append((out.draw.classes[0], float(out.log_lik - out.draw.rate)))
    log_q = outs[0][0]
    if label is not None:
        return outs[label][1], log_q
    return sum(float(log_q[k].exp()) * (bound - float(log_q[k])) for k, (_, bound) in enumerate(outs)), log_q


# -- the class summed out --------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("label", [None, 0, 2])
def test_the_bound_is_the_sum_over_classes_written_out(label):
    model = build("labelled").eval()
    x = batch(model, 1).x
    recorder = Recorder(Source.like(model))
    given = None if label is None else one_hot(label)
    terms = ClassELBO(alpha=2.0, share=1.0)(model, Batch(x, label=given), torch.zeros(()), recorder)
    bound, log_q = written_out(model, x, label, recorder.tape)
    assert float(terms.metrics["elbo"]) == pytest.approx(bound, rel=1e-12)
    classified = 0.0 if label is None else -2.0 * float(log_q[label])
    assert float(terms.losses["model"]) == pytest.approx(classified - bound, rel=1e-12)


def test_a_batch_s_loss_is_the_mean_over_rows_and_over_labelled_rows():
    model = build("labelled")
    rows, labels = batch(model, 4), [None, 1, None, 0]
    recorder, objective = Recorder(Source.like(model)), ClassELBO(alpha=0.7, share=0.5)
    whole = objective(model, Batch(rows.x, label=one_hot(*labels)), torch.zeros(()), recorder)
    bounds, told = [], []
    for i, label in enumerate(labels):
        tape = [t.unflatten(0, (CLASSES, 4))[:, i] for t in recorder.tape]
        bound, log_q = written_out(model, rows.x[i : i + 1], label, tape)
        bounds.append(bound)
        told += [] if label is None else [float(log_q[label])]
    loss = -np.mean(bounds) - 0.7 * np.mean(told)
    assert float(whole.losses["model"].detach()) == pytest.approx(loss, rel=1e-12)


@torch.no_grad()
def test_weights_of_labelled_rows_estimate_the_joint_density():
    """sum_x p(x, y) = p(y) = 1/3 for each class y."""
    model, draws = build("labelled", cells=4).eval(), 4000
    x = testing.every_binary_row(4)
    label = one_hot(1).expand(len(x), -1)
    sums = (
        model(Batch(x, label=label), Source.like(model), draws=draws).log_weight.unflatten(0, (draws, -1)).exp().sum(1)
    )
    error = float(sums.std()) / math.sqrt(draws)
    assert abs(float(sums.mean()) - 1 / CLASSES) < 4 * error < 0.02


def test_no_step_with_labels_waits_and_padding_changes_nothing():
    model = build("labelled")
    rows = Batch(batch(model).x, label=one_hot(0, None, 2, None, None, 1))
    for objective in (ClassELBO(alpha=2.0, share=0.5), ELBO()):
        testing.assert_no_sync(model, rows, objective)
        testing.assert_padding_is_nothing(model, rows, objective)
        testing.assert_players_own_gradients(model, rows, objective)
    testing.assert_rows_independent(model, rows)


def test_an_ensemble_with_labels_and_context_equals_its_members():
    learners = [Learner(build("labelled", seed=s, context=2), ClassELBO(2.0, share=0.5)).double() for s in range(2)]
    x = batch(learners[0].model).x
    rows = Batch(x, context=torch.randn(6, 2).double(), label=one_hot(0, None, 2, None, None, 1))
    alone = [float(m(rows, Source.like(m, k)).losses["model"].detach()) for k, m in enumerate(learners)]
    noise = Sources([Source.like(learners[0], k) for k in range(2)])
    together = Ensemble(learners, shared_rows=True)(rows, noise).losses["model"]
    assert together.tolist() == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("latent", ["normal", "labelled", "vamp", "ladder of vamps", "mixture prior", "hamiltonian"])
def test_estimates_of_p_given_context_sum_to_one(latent):
    model = build(latent, cells=4, context=2).eval()
    with torch.no_grad():
        x, draws = testing.every_binary_row(4), 2000
        given = Batch(x, context=torch.tensor([[0.3, -1.0]]).double().expand(len(x), -1))
        sums = model(given, Source.like(model), draws=draws).log_weight.unflatten(0, (draws, -1)).exp().sum(1)
    error = float(sums.std()) / math.sqrt(draws)
    assert abs(float(sums.mean()) - 1) < 4 * error < 0.2


# -- clusters --------------------------------------------------------------------------------------


def three_heaps(rows=3000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    place = torch.randint(0, 3, (rows,), generator=generator)
    centres = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]], dtype=torch.float64)
    noise = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    return centres[place] + noise * torch.tensor([0.5, 1.0]), place, centres


def test_a_mixture_is_fitted_to_the_heaps_that_are_there():
    codes, place, centres = three_heaps()
    mixture = fit_mixture(codes, 3, ForwardContext.of(Source(0)))
    nearest = torch.cdist(centres, mixture.components.loc).argmin(1)
    assert sorted(nearest.tolist()) == [0, 1, 2]
    for k, j in enumerate(nearest.tolist()):  # four standard errors of a mean of 1000 numbers
        assert (mixture.components.loc[j] - centres[k]).abs().max() < 4 / math.sqrt(900)
        assert (mixture.components.scale[j] - torch.tensor([0.5, 1.0])).abs().max() < 0.1
        assert abs(float(mixture.log_weights[j].exp()) - float((place == k).double().mean())) < 0.01
    told = mixture.log_responsibilities(codes).argmax(1)
    assert (told == nearest[place]).double().mean() > 0.99


def test_responsibilities_are_bayes_rule():
    codes = three_heaps(50)[0]
    mixture = fit_mixture(codes, 3, ForwardContext.of(Source(0)), rounds=3)
    each = mixture.components.log_prob(codes.unsqueeze(1)).sum(-1).exp() * mixture.log_weights.exp()
    torch.testing.assert_close(mixture.log_responsibilities(codes).exp(), each / each.sum(1, keepdim=True))


def test_the_elbo_under_a_mixture_is_vade_s_with_its_best_responsibilities():
    """`E_q(c|x) [log p(z, c) - log q(c | x)]` with `q(c | x) = p(c | z)` is log p(z) (arXiv:1611.05148, equation 8)."""
    model = build("mixture prior").eval()
    out = model(batch(model), Source.like(model))
    log_q, mixture = out.draw.classes, out.draw.p
    joint = mixture.components.log_prob(out.draw.z.unsqueeze(1)).sum(-1) + mixture.log_weights
    summed = (log_q.exp() * (joint - log_q)).sum(1)
    torch.testing.assert_close(summed - out.draw.q.log_density(out.draw.z), out.draw.log_ratio)


@pytest.mark.slow
def test_vade_parts_three_kinds_of_rows():
    generator = np.random.default_rng(0)
    kind = generator.integers(0, 3, 600)
    x = (generator.random((600, 12)) < np.eye(3)[kind].repeat(4, 1) * 0.8 + 0.1).astype(np.uint8)
    vae = vk.VAE(2, recipe=vk.recipes.vade(clusters=3, pretraining=20, hidden=(32,)), epochs=20, batch_size=32).fit(x)
    told = vae.predict(x)
    agree = [np.bincount(kind[told == c], minlength=3).max() for c in range(3) if (told == c).any()]
    assert sum(agree) / len(x) > 0.9


def test_pre_training_shows_its_epochs_and_ends_at_ctrl_c(monkeypatch):
    x = (np.random.default_rng(0).random((64, 6)) < 0.5).astype(np.uint8)
    recipe = vk.recipes.vade(clusters=2, pretraining=3, hidden=(4,))
    settings = {"epochs": 3, "batch_size": 32, "threads": 1, "compile": False}
    shown, begun = io.StringIO(), []
    vk.VAE(2, recipe=recipe, **settings).fit(x, display=Lines(shown))
    told = [line.partition("  ")[0] for line in shown.getvalue().splitlines()]
    epochs = ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert told[:8] == ["pre-training: 3 epochs", *epochs, "training", *epochs]

    def interrupted(training, *args, **known):
        begun.append(type(training.learner.model.latent.prior).__name__)
        return [TrainingResult(ended="interrupted")]

    monkeypatch.setattr("vaekit.training.build.fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vk.VAE(2, recipe=recipe, **settings).fit(x)
    assert begun == ["StandardNormal"]


class Stopping(Silent):
    """Ctrl-C after so many epochs. seen: all that ended."""

    def __init__(self, after):
        self.after, self.seen = after, 0

    def epoch(self, training, record):
        self.seen += 1
        if self.seen == self.after:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("seeds", [None, 2])
def test_pre_training_goes_on_where_it_was_interrupted(tmp_path, seeds):
    x = (np.random.default_rng(0).random((64, 6)) < 0.5).astype(np.uint8)
    recipe = vk.recipes.vade(clusters=2, pretraining=5, hidden=(4,))
    vae = vk.VAE(2, recipe=recipe, epochs=6, batch_size=32, threads=1, compile=False, seeds=seeds)
    whole = copy.copy(vae).fit(x)
    with pytest.raises(KeyboardInterrupt):
        vae.fit(x, run=tmp_path, display=Stopping(2))
    rest = Stopping(None)
    vae.fit(x, run=tmp_path, resume=True, display=rest)
    assert rest.seen == (3 + 6 if seeds is None else 3 + 5 + 6)
    for name, tensor in vae.module_.state_dict().items():
        assert torch.equal(tensor, whole.module_.state_dict()[name]), name


# -- labels as they are given ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        ([3, -1, 5], [True, False, True]),
        ([3.0, math.nan, 5.0], [True, False, True]),
        (np.array(["a", None, "b"], dtype=object), [True, False, True]),
        ([None, 2, None], [False, True, False]),
        ([True, False], [True, True]),
    ],
)
def test_a_class_is_unknown_where_it_is_minus_one_none_or_nan(labels, known):
    assert as_labels(labels)[1].tolist() == known
    classes = Classes.infer(labels)
    encoded = classes.encode(labels, partly=True)
    assert encoded.sum(1).bool().tolist() == known
    told = classes.names(encoded.argmax(1).numpy())[np.array(known)]
    assert told.tolist() == [v for v, k in zip(labels, known) if k]


def test_classes_that_are_not_given_are_drawn_as_often_as_they_were_met():
    classes = Classes.infer(["a"] * 30 + ["b"] * 70)
    drawn = classes.draw(4000, seed=0)
    assert abs((drawn == "a").mean() - 0.3) < 4 * math.sqrt(0.21 / 4000)


# -- the estimator ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.digits(labels=True)


@pytest.fixture(scope="module")
def by_class(digits):
    (x, y), _ = digits
    return vk.VAE(recipe="conditional", epochs=30, lr=3e-3).fit(x, context=y)


def nearest_class(x, y, samples):
    """The class of the nearest training row: right for 98% of real digits."""
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(1).fit(x.reshape(len(x), -1), y).predict(samples.reshape(len(samples), -1))


@pytest.mark.slow
def test_a_class_that_is_asked_for_is_drawn(digits, by_class):
    (x, y), _ = digits
    asked = np.repeat(np.arange(10), 20)
    told = nearest_class(x, y, by_class.sample(200, context=asked))
    assert (told == asked).mean() > 0.9
    assert (nearest_class(x, y, by_class.sample(20, context=7)) == 7).mean() > 0.8


@pytest.mark.slow
def test_context_saves_nats(digits, by_class):
    (x, _), (test, y) = digits
    plain = vk.VAE(recipe="vae", epochs=30, lr=3e-3).fit(x)
    assert by_class.evaluate(test, context=y)["elbo"] > plain.evaluate(test)["elbo"] + 0.5


def test_what_was_fitted_with_context_is_used_with_it_saved_and_loaded(digits, by_class, tmp_path):
    _, (x, y) = digits
    by_class.save(tmp_path)
    loaded = vk.load(tmp_path)
    for use in ("transform", "reconstruct", "score_samples"):
        got, want = (getattr(vae, use)(x[:9], context=y[:9]) for vae in (loaded, by_class))
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(loaded.sample(5, seed=1), by_class.sample(5, seed=1))
    assert loaded.spec_ == by_class.spec_
    order = np.arange(9)[::-1]
    np.testing.assert_allclose(
        by_class.transform(x[order], context=y[order]), by_class.transform(x[:9], context=y[:9])[order], atol=1e-6
    )


@pytest.mark.parametrize("kind", ["classes", "numbers", "images"])
@pytest.mark.parametrize("recipe", ["conditional", "conditional-prior"])
def test_every_kind_of_context_trains_saves_loads_and_samples(recipe, kind, digits, tmp_path):
    (x, y), _ = digits
    x, y = x[:60], y[:60]
    context = {"classes": np.array([f"no. {k}" for k in y]), "numbers": np.c_[y, y**2], "images": x[:, :4]}[kind]
    vae = vk.VAE(recipe=recipe, epochs=2).fit(x, context=context, run=tmp_path)
    loaded = vk.load(tmp_path)
    one = context[0]
    assert loaded.sample(3, context=one).shape == (3, 8, 8)
    np.testing.assert_array_equal(loaded.sample(4, context=context[:4]), vae.sample(4, context=context[:4]))
    np.testing.assert_array_equal(loaded.reconstruct(x, context), vae.reconstruct(x, context))


def test_context_of_images_is_read_by_the_network_that_is_given(digits):
    (x, _), _ = digits
    network = ConvEncoder((4, 8), 16, out_shape=5)
    vae = vk.VAE(recipe="conditional", context=network, epochs=1).fit(x[:40], context=x[:40])
    assert vae.module_.context.out_shape == (5,) and vae.module_.decoder.in_shape == (7,)


def test_a_run_with_context_and_labels_goes_on_bit_for_bit(digits, tmp_path):
    (x, y), _ = digits
    x, y, told = x[:100], y[:100], np.where(np.arange(100) % 3 == 0, y[:100] % 3, -1)

    def vae(epochs):
        return vk.VAE(recipe=vk.recipes.m2(classes=3, hidden=(16,)), epochs=epochs, threads=1, compile=False)

    whole = vae(4).fit(x, told, context=y)
    vae(2).fit(x, told, context=y, run=tmp_path)
    again = vae(4).fit(x, told, context=y, run=tmp_path, resume=True)
    for name, tensor in again.module_.state_dict().items():
        assert torch.equal(tensor, whole.module_.state_dict()[name]), name


def test_several_seeds_share_context_and_labels(digits):
    (x, y), _ = digits
    vae = vk.VAE(recipe=vk.recipes.m2(hidden=(16,)), epochs=1, seeds=2).fit(x[:200], y[:200], context=y[:200] > 4)
    assert len(vae.members_) == 2
    for member in vae.members_:
        assert member.predict(x[:5], context=y[:5] > 4).shape == (5,)


@pytest.mark.slow
def test_m2_learns_from_rows_whose_class_is_not_known(digits):
    (x, y), (test, truth) = digits
    few = np.concatenate([np.flatnonzero(y == k)[:5] for k in range(10)])
    told = np.full(len(y), -1)
    told[few] = y[few]
    vae = vk.VAE(10, recipe=vk.recipes.m2(alpha=10.0, hidden=(128,)), epochs=40, validation=0, seed=0)
    half = (vae.fit(x, told).predict(test) == truth).mean()
    supervised = (vae.fit(x[few], y[few]).predict(test) == truth).mean()
    assert half > supervised + 0.02


def test_classes_come_back_as_they_were_given(digits, tmp_path):
    (x, y), _ = digits
    words = np.array([("even", "odd")[k % 2] for k in y[:300]], dtype=object)
    words[::2] = None
    vae = vk.VAE(4, recipe=vk.recipes.m2(classes=2, alpha=10.0, hidden=(64,)), epochs=20).fit(x[:300], words)
    vae.save(tmp_path)
    told = vk.load(tmp_path).predict(x[:300])
    assert vae.classes_.tolist() == ["even", "odd"]
    assert (told == vae.predict(x[:300])).all() and set(told) <= {"even", "odd"}
    known = words != None  # noqa: E711
    assert (told[known] == words[known]).mean() > 0.8
    np.testing.assert_allclose(vae.predict_proba(x[:9]).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("recipe", ["mixture", "vade", "gm-vae"])
def test_clusters_are_numbered(recipe, digits):
    (x, _), _ = digits
    vae = vk.VAE(3, recipe=recipe, epochs=1).fit(x[:100])
    assert vae.classes_.tolist() == list(range(10))
    assert vae.predict(x[:7]).shape == (7,) and vae.predict_proba(x[:7]).shape == (7, 10)


def test_only_models_that_tell_classes_predict(digits):
    assert not hasattr(vk.VAE(), "predict")
    assert not hasattr(vk.VAE(epochs=0).fit(digits[0][0][:20]), "predict_proba")


def test_codes_of_one_estimator_are_the_rows_of_the_next(digits):
    from sklearn.pipeline import make_pipeline

    (x, y), _ = digits
    second = vk.VAE(4, recipe="m2", likelihood=vk.likelihoods.Gaussian("per_dimension"), epochs=1)
    assert make_pipeline(vk.VAE(8, epochs=1), second).fit(x[:200], y[:200]).predict(x[:5]).shape == (5,)


# -- wrong calls -----------------------------------------------------------------------------------

ROWS, NAMES = np.zeros((6, 4), np.float32) + np.arange(6)[:, None] / 6, np.array(list("aabbcc"))


def conditional():
    return vk.VAE(recipe="conditional", epochs=0, validation=0).fit(ROWS, context=NAMES)


WRONG = {
    "no context in fit": (lambda: vk.VAE(recipe="conditional").fit(ROWS), "reads context: pass fit"),
    "no context in use": (lambda: conditional().transform(ROWS), "pass context=..., one of a, b, c for each row"),
    "an unseen class": (lambda: conditional().sample(2, context="d"), "unknown class d: fit met a, b, c"),
    "too few": (lambda: conditional().transform(ROWS, context=NAMES[:2]), "for each of the 6 rows, got 2"),
    "context of none": (lambda: vk.VAE(epochs=0).fit(ROWS).transform(ROWS, context=NAMES), "fitted without context"),
    "numbers for classes": (lambda: conditional().transform(ROWS, context=ROWS), "expected classes as context"),
    "classes for numbers": (
        lambda: vk.VAE(epochs=0).fit(ROWS, context=ROWS[:, :2]).transform(ROWS, context=NAMES),
        "expected numbers as context",
    ),
    "samples without numbers": (
        lambda: vk.VAE(epochs=0).fit(ROWS, context=ROWS[:, :2]).sample(2),
        r"pass sample\(2, context=...\)",
    ),
    "held-out rows without context": (
        lambda: vk.VAE(validation=ROWS).fit(ROWS, context=NAMES),
        "hold out a share",
    ),
    "a class that is missing": (
        lambda: vk.VAE(epochs=0).fit(ROWS, context=np.array(["a", None, "b", "a", "b", "a"], dtype=object)),
        "class of row 1 is not known",
    ),
    "another number of classes": (
        lambda: vk.VAE(recipe="m2").fit(ROWS, NAMES),
        r"tells 10 classes and y holds 3, a, b, c: build it for as many, as vk.recipes.m2\(classes=3\)",
    ),
    "no class to sum over": (
        lambda: vk.VAE(objective=ClassELBO()).fit(ROWS),
        "ClassELBO sums over classes and Latent has none",
    ),
    "a network that serves q and p": (
        lambda: vk.VAE(objective=vk.objectives.IWAE(2, gradient="dreg")).fit(ROWS, context=np.zeros((6, 2, 2))),
        "two players, and VAEModule has weights that serve both",
    ),
    "two labels": (
        lambda: lt.Ladder(
            [lt.LadderLevel(lt.Labelled(choice()), MLP((6,))), lt.LadderLevel(lt.Labelled(choice()), MLP((6,)))]
        ),
        "one Labelled rung",
    ),
    "no choice to label": (lambda: lt.Labelled(lt.Latent(lt.Normal(2), lt.StandardNormal())), "one class per row"),
    "a label that moves": (lambda: lt.Hamiltonian(lt.Labelled(choice())), "a label is a choice"),
    "fractions as labels": (lambda: Classes.infer([0.5, 1.0]), "got fractions"),
}


def choice():
    return lt.Latent(lt.Categorical(1, 3), lt.UniformCategorical())


@pytest.mark.parametrize("call", WRONG)
def test_wrong_calls_say_what_is_expected(call):
    wrong, message = WRONG[call]
    with pytest.raises((ValueError, TypeError), match=message):
        wrong()


# -- the command line ------------------------------------------------------------------------------


def test_context_is_given_and_asked_for_on_the_command_line(digits, tmp_path):
    (x, y), _ = digits
    np.save(tmp_path / "x.npy", x[:80])
    (tmp_path / "c.csv").write_text("word\n" + "\n".join("ab"[k % 2] for k in y[:80]))
    rest = ("--epochs", "1", "--quiet", "--no-report", "-o")
    words = ("fit", tmp_path / "x.npy", "--recipe", "conditional", "--context", tmp_path / "c.csv")
    assert call(*words, *rest, tmp_path / "run")[0] == 0
    for verb in (("sample", "--context", "b", "-n", "3"), ("evaluate", "--draws", "2"), ("embed",), ("reconstruct",)):
        code, _, err = call(verb[0], tmp_path / "run", *verb[1:])
        assert code == 0, err
    code, _, err = call("sample", tmp_path / "run", "--context", "q")
    assert code == 2 and "expected a class, one of a, b, or a file" in err
    code, _, err = call("fit", tmp_path / "x.npy", "--context", "own", *rest, tmp_path / "never")
    assert code == 2 and "x.npy has no labels of its own" in err


def test_labels_are_given_on_the_command_line(digits, tmp_path):
    (x, y), _ = digits
    np.savez(tmp_path / "x.npz", x=x[:80])
    np.save(tmp_path / "y.npy", np.where(np.arange(80) % 2, -1, y[:80] % 3))
    words = ("fit", tmp_path / "x.npz", "--recipe", "m2", "--set", "classes=3", "--set", "hidden=16")
    code, _, err = call(*words, "--labels", tmp_path / "y.npy", "--epochs", "1", "--no-report", "-o", tmp_path / "run")
    assert code == 0, err
    assert vk.load(tmp_path / "run").classes_.tolist() == [0, 1, 2]
    code, _, err = call(*words, "--labels", tmp_path / "x.npz", "-o", tmp_path / "never")
    assert code == 2
