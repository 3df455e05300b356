"""Rows of several parts: experts against products and mixtures written out, missing parts, the objectives, journeys."""

import itertools
import math

import numpy as np
import pytest
import torch
from compositions import EXPERTS, batch, build

import vaekit as vk
from vaekit import latents as lt
from vaekit import likelihoods as lk
from vaekit import objectives as ob
from vaekit.core import Batch, Recorder, ReplayNoise, Source
from vaekit.model import VAEModule
from vaekit.networks import MLP, PartDecoder, PartEncoder
from vaekit.testing import every_binary_row
from vaekit.training import Learner

POSTERIORS = {
    "product": lt.ProductOfExperts,
    "joint": lt.JointExpert,
    "mixture": lt.MixtureOfExperts,
    "mixture of products": lambda *sizes: lt.MixtureOfExperts(*sizes, products=True),
}
PRIOR = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)


def numbers(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def evidence(part, seen, rows=4):
    """Evidence of some rows of which the parts `seen` are there, and the experts in it, by part."""
    own = numbers(rows, part.n_in - part.experts)
    each = own.unflatten(1, (-1, 2, part.size))
    experts = [torch.distributions.Normal(e[:, 0], (e[:, 1] / 2).exp()) for e in each.unbind(1)]
    flags = torch.tensor([[float(m in seen) for m in range(part.experts)]], dtype=torch.float64).expand(rows, -1)
    return torch.cat([own, flags], 1), experts


def log_normal(factors, z):
    """log of the product of some factors, normalised dimension by dimension on a fine grid, at z."""
    line = torch.linspace(-40, 40, 40_001, dtype=torch.float64).reshape(-1, 1, 1)
    total = sum(f.log_prob(line).expand(-1, *z.shape) for f in factors)
    return (sum(f.log_prob(z) for f in factors) - total.logsumexp(0) - math.log(80 / 40_000)).sum(1)


# -- posteriors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [(0, 1, 2), (0, 2), (1,), ()])
def test_a_product_of_experts_is_the_normalised_product_with_the_prior(seen):
    part, z = lt.ProductOfExperts(2, 3), numbers(4, 2, seed=1)
    given, experts = evidence(part, seen)
    want = log_normal([PRIOR, *(experts[m] for m in seen)], z)
    torch.testing.assert_close(part(given).log_density(z), want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("seen", [(0, 1, 2), (0, 2), (1,)])
def test_a_joint_expert_speaks_where_all_parts_are_there_and_the_others_together_where_not(seen):
    part, z = lt.JointExpert(2, 3), numbers(4, 2, seed=1)
    given, (joint, *experts) = evidence(part, seen)
    want = log_normal([joint] if len(seen) == 3 else [experts[m] for m in seen], z)
    torch.testing.assert_close(part(given).log_density(z), want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("seen", [(0, 1, 2), (0, 2), (1,)])
@pytest.mark.parametrize("products", [False, True])
def test_a_mixture_of_experts_is_the_mean_over_parts_or_sets_of_parts(products, seen):
    part, z = lt.MixtureOfExperts(2, 3, products).double(), numbers(4, 2, seed=1)
    given, experts = evidence(part, seen)
    sizes = range(1, len(seen) + 1) if products else [1]
    sets = [s for n in sizes for s in itertools.combinations(seen, n)]
    want = torch.stack([log_normal([experts[m] for m in s], z) for s in sets]).logsumexp(0) - math.log(len(sets))
    q = part(given)
    torch.testing.assert_close(q.log_density(z), want, rtol=1e-8, atol=1e-8)
    many = q.map(lambda t: t[:1].expand(100_000, *t.shape[1:]))
    drawn = many.draw(vk.core.ForwardContext.of(Source(0, dtype=torch.float64)))
    assert ((drawn.mean(0) - q.mean[0]).abs() < 4.5 * drawn.std(0) / 100_000**0.5).all()


@pytest.mark.parametrize("name", POSTERIORS)
def test_what_is_said_of_no_part_is_the_prior(name):
    part = POSTERIORS[name](2, 3).double()
    given, z = evidence(part, ())[0].requires_grad_(), numbers(4, 2, seed=1)
    log_q = part(given).log_density(z)
    torch.testing.assert_close(log_q, PRIOR.log_prob(z).sum(1))
    (gradient,) = torch.autograd.grad(log_q.sum(), given)
    assert gradient.count_nonzero() == 0


# -- networks and likelihood -----------------------------------------------------------------------


def test_each_expert_reads_its_own_part_and_the_joint_one_all():
    networks = [MLP((4,), "tanh") for _ in range(3)]  # a ReLU may be shut, and reads nothing then
    encoder = PartEncoder(networks[:2], networks[2]).resolve_shapes(in_shape=7, out_shape=8, widths=(2, 3)).double()
    jacobian = torch.autograd.functional.jacobian(encoder, numbers(1, 7))[0, :, 0]
    reads = jacobian.abs().unflatten(0, (4, 2)).sum(1) > 0  # joint, first, second, flags
    parts = torch.stack([reads[:, :2].any(1), reads[:, 2:5].any(1)], 1)
    assert parts.tolist() == [[True, True], [True, False], [False, True], [False, False]]
    assert torch.equal(jacobian[6:, 5:], torch.eye(2, dtype=torch.float64))


def test_a_part_of_x_reads_its_own_decoder_whatever_the_numbers_of_a_cell():
    likelihood = lk.Modalities(lk.Gaussian("per_output"), widths=(4, 2)).resolve_shapes(shape=(2, 3))
    assert likelihood.parameter_widths == (8, 4)
    parameters = numbers(1, 12).requires_grad_()
    px = likelihood(parameters)
    (gradient,) = torch.autograd.grad((px.log_prob(numbers(1, 2, 3)) * likelihood.parts[1]).sum(), parameters)
    assert (gradient[0] != 0).tolist() == [False] * 8 + [True] * 4
    torch.testing.assert_close(px.loc.flatten(), parameters[0, [0, 1, 2, 3, 8, 9]])


def test_the_encoder_is_told_which_parts_are_there():
    likelihood = lk.Modalities(lk.Bernoulli(), widths=(2, 3)).resolve_shapes(shape=(5,))
    x, mask = torch.ones(3, 5), torch.tensor([[1.0, 1, 0, 1, 0], [0, 0, 1, 1, 1], [0, 1, 0, 0, 0]])
    assert (
        likelihood.features(x, mask).tolist() == torch.cat([mask, torch.tensor([[1.0, 1], [0, 1], [1, 0]])], 1).tolist()
    )


@pytest.mark.parametrize("latent", EXPERTS)
def test_what_a_missing_part_holds_changes_nothing(latent):
    model = build(latent).eval()
    full = batch(model)
    mask = model.likelihood.parts[0].expand(6, -1)
    recorder = Recorder(Source.like(model))
    want = model(Batch(full.x, mask), recorder).log_weight
    for other in (torch.nan, 1 - full.x):
        filled = torch.where(mask > 0, full.x, other)
        assert torch.equal(model(Batch(filled, mask), ReplayNoise(recorder.tape)).log_weight, want)


@pytest.mark.parametrize("latent", EXPERTS)
def test_the_estimate_of_p_with_a_part_missing_is_its_marginal(latent):
    """For each value of the first part, against the sum over the second, within 4.5 standard errors."""
    model, draws = build(latent, cells=4).eval(), 20_000
    x = every_binary_row(4)
    with torch.no_grad():
        both = model(Batch(x), Source.like(model, 1), draws=draws).log_weight.exp().unflatten(0, (draws, 16))
        mask = model.likelihood.parts[0].expand(4, -1)
        one = model(Batch(x[:4], mask), Source.like(model, 2), draws=draws).log_weight.exp().unflatten(0, (draws, 4))
    both = both.unflatten(1, (4, 4)).sum(1)  # rows count in binary, the first cell fastest
    error = (both.var(0) / draws + one.var(0) / draws).sqrt()
    assert float(error.max()) < 0.01
    assert ((both.mean(0) - one.mean(0)).abs() < 4.5 * error).all()


# -- objectives ------------------------------------------------------------------------------------


def test_the_sub_sampled_bound_is_the_sum_of_bounds_of_models_with_parts_missing():
    model = build("product of experts").train()
    rows, recorder = batch(model, masked=True), Recorder(Source.like(model))
    objective = ob.PartsELBO(subsets=2)
    loss = Learner(model, objective)(rows, recorder).losses["model"]
    chance, noise = recorder.tape
    chosen = (chance < 0.5).double()
    parts = model.likelihood.parts
    sets = [torch.ones(2, 6, dtype=torch.float64), *torch.eye(2).double().unsqueeze(2).expand(-1, -1, 6), *chosen]
    want = 0.0
    for members, own in zip(sets, noise.split(6)):
        mask = (members.T @ parts) * rows.mask
        want = want + Learner(model, ob.ELBO())(Batch(rows.x, mask), ReplayNoise([own])).losses["model"]
    torch.testing.assert_close(loss, want)


def test_the_joint_bound_adds_the_kls_to_the_experts_of_parts_that_are_there():
    model = build("joint expert").train()
    x = batch(model).x
    mask = torch.ones_like(x)
    mask[0, :3] = 0  # of the first row, the second part alone
    learner, recorder = Learner(model, ob.JointELBO(0.7)), Recorder(Source.like(model))
    terms = learner(Batch(x, mask), recorder)
    q = model.infer(Batch(x, mask), Source.like(model)).q.to_torch().base_dist
    apart = torch.zeros(6, dtype=torch.float64)
    for part in model.likelihood.parts:
        alone = model.infer(Batch(x, mask * part), Source.like(model)).q.to_torch().base_dist
        apart = apart + torch.distributions.kl_divergence(q, alone).sum(1) * (mask * part).amax(1)
    assert float(apart[0].detach()) == pytest.approx(0, abs=1e-12)
    elbo = Learner(model, ob.ELBO())(Batch(x, mask), ReplayNoise(recorder.tape[:1])).losses["model"]
    torch.testing.assert_close(terms.losses["model"], elbo + 0.7 * apart.mean())


def drawn_from_each_expert(model, rows, k, seed):
    """The bound of `ExpertIWAE` written out, with plain gradients: (log w (k, parts, B))."""
    x = model.likelihood.features
    q = model.latent.posterior(model.encoder(x(rows.x)))
    log_w = []
    for m, part in enumerate(model.likelihood.parts):
        alone = model.latent.posterior(model.encoder(x(rows.x, part.expand_as(rows.x))))
        for draw in range(k):
            z = alone.draw(vk.core.ForwardContext.of(Source(1000 * seed + 10 * m + draw, dtype=torch.float64)))
            log_p = PRIOR.log_prob(z).sum(1) + model.decode(z).log_prob(rows.x).sum(1)
            log_w.append(log_p - q.log_density(z))
    return torch.stack(log_w).unflatten(0, (2, k)).transpose(0, 1)


def test_the_gradients_of_drawing_from_each_expert_are_those_of_its_bound():
    """Doubly reparameterised against plain, every parameter's z score; 12 batches of 4000 draws each."""
    model, k = build("mixture of experts").train(), 3
    rows = Batch(batch(model).x[:1].expand(4000, -1))
    learner = Learner(model, ob.ExpertIWAE(k))
    named, found = dict(learner.named_parameters()), {"plain": [], "ours": []}
    bounds = {"plain": [], "ours": []}
    for seed in range(12):
        bound = (drawn_from_each_expert(model, rows, k, seed).logsumexp(0) - math.log(k)).mean()
        found["plain"].append(torch.cat([-g.flatten() for g in torch.autograd.grad(bound, list(named.values()))]))
        terms = learner(rows, Source.like(model, seed))
        own = {}
        for who, names in learner.param_groups().items():
            parts = torch.autograd.grad(terms.losses[who], [named[n] for n in names], retain_graph=True)
            own |= dict(zip(names, parts))
        found["ours"].append(torch.cat([own[n].flatten() for n in named]))
        bounds["plain"].append(bound.detach())
        bounds["ours"].append(terms.metrics["bound"].detach())
    for seen, most in ((found, 6.0), (bounds, 5.0)):
        means, variances = zip(*((torch.stack(v).mean(0), torch.stack(v).var(0) / 12) for v in seen.values()))
        off = (means[0] - means[1]).abs() / (sum(variances).sqrt() + 1e-9)
        assert (off > most).double().mean() < 0.005


def test_weights_count_the_parts_in_the_loss_and_leave_what_is_logged():
    def terms(objective, latent):
        model = build(latent).train()
        rows, learner = batch(model), Learner(model, objective)
        return model(rows, Source.like(model)), learner(rows, Source.like(model))

    heavy = ob.PartsELBO(alone=False, weights=(1.0, 4.0))
    out, weighed = terms(heavy, "product of experts")
    second = (out.px.log_prob(batch(build("product of experts")).x) * torch.tensor([0, 0, 0, 1, 1])).sum(1).mean()
    torch.testing.assert_close(weighed.losses["model"], -weighed.metrics["elbo"] - 3 * second)
    for make, latent in (
        (ob.PartsELBO, "joint expert"),
        (ob.JointELBO, "joint expert"),
        (ob.ExpertIWAE, "mixture of experts"),
    ):
        (_, even), (_, plain) = terms(make(weights=(1, 1)), latent), terms(make(), latent)
        (_, heavy) = terms(make(weights=(1, 4)), latent)
        for who, loss in plain.losses.items():
            torch.testing.assert_close(even.losses[who], loss)
            assert heavy.losses[who] > loss
        assert all(torch.equal(heavy.metrics[n], plain.metrics[n]) for n in ("elbo", "distortion", "rate"))


def of_products():
    latent = lt.Latent(lt.MixtureOfExperts(2, products=True), lt.StandardNormal())
    networks = [MLP(())] * 2
    return VAEModule(
        PartEncoder(networks), latent, PartDecoder(networks), lk.Modalities(lk.Bernoulli())
    ).resolve_shapes((4,))


WRONG = {
    "no parts": (
        lambda: Learner(build("normal"), ob.PartsELBO()),
        "needs rows that have parts, likelihood=Modalities(...), and a posterior that joins their experts, "
        "Latent(Experts(d), ...); this model has Bernoulli and Normal",
    ),
    "no mixture": (
        lambda: Learner(build("product of experts"), ob.ExpertIWAE()),
        "has Modalities and ProductOfExperts",
    ),
    "a mixture": (lambda: Learner(build("mixture of experts"), ob.JointELBO()), "which mixtures have not"),
    "products": (
        lambda: Learner(of_products(), ob.ExpertIWAE()),
        "not from products",
    ),
    "weights": (lambda: Learner(build("joint expert"), ob.JointELBO(weights=(1,))), "a number for each of 2 parts"),
    "negative weights": (lambda: ob.PartsELBO(weights=(1, -1)), "a list or tuple of numbers from 0"),
    "shared weights": (
        lambda: Learner(build("mixture of products, and vamp"), ob.ExpertIWAE()),
        "ExpertIWAE trains q and p as two players, and VampPrior",
    ),
    "subsets": (lambda: ob.PartsELBO(subsets=-1), "PartsELBO(subsets=-1): expected a whole number from 0"),
    "draws": (lambda: ob.ExpertIWAE(0), "ExpertIWAE(k=0): expected a whole number from 1"),
    "experts": (lambda: lt.ProductOfExperts(2, 0), "ProductOfExperts(experts=0): expected a whole number from 1"),
    "widths of another row": (
        lambda: lk.Modalities(lk.Bernoulli(), (2, 2)).resolve_shapes(shape=(5,)),
        "widths (2, 2) over rows of (5,)",
    ),
    "widths beside a table": (
        lambda: lk.Modalities(lk.Mixed([lk.Poisson(shape=(2,)), lk.Poisson(shape=(1,))]), (1, 2)),
        "none beside a Mixed",
    ),
    "one cell": (lambda: lk.Modalities(lk.Bernoulli()).resolve_shapes(shape=(1,)), "widths (1, 0)"),
    "a network too many": (lambda: PartDecoder([MLP(())] * 3, widths=(1, 1)), "3 networks for parts of widths (1, 1)"),
    "a likelihood without parts": (
        lambda: VAEModule(
            PartEncoder([MLP(())] * 2), lt.Latent(lt.ProductOfExperts(2), lt.StandardNormal()), MLP(()), lk.Bernoulli()
        ).resolve_shapes((4,)),
        "use a likelihood that has some, Modalities(...)",
    ),
    "a kind": (
        lambda: vk.recipes.mvae(widths=(3, 1), kinds=("bernouli", "categorical-3")).build(2, None),
        'did you mean "bernoulli"',
    ),
    "widths without kinds": (lambda: vk.recipes.mvae(widths=(3, 1)).build(2, None), "give both or none"),
    "given without path": (
        lambda: build("normal")(batch(build("normal")), Source(0), given=torch.ones(6, 5)),
        "need path_only=True",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parts_are_told_when_they_are_put_together(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=".*") as error:
        call()
    assert message in str(error.value)


# -- journeys --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs():
    """Small digits beside their labels, as one table."""
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return np.column_stack([x / 16, y]).astype("float32")


@pytest.mark.parametrize("name", ["jmvae", "mvae", "mmvae", "mopoe"])
def test_an_image_and_its_label_are_learned_together_and_each_filled_in_from_the_other(name, pairs, tmp_path):
    rows = pairs[:300].copy()
    rows[:100, 64] = np.nan
    rows[100:150, :64] = np.nan
    recipe = vk.recipes.Recipe(name, widths=(64, 1), kinds=("bernoulli", "categorical-10"))
    vae = vk.VAE(4, recipe=recipe, missing=True, epochs=2, validation=0, compile=False).fit(rows, run=tmp_path)
    again = vk.load(tmp_path)
    np.testing.assert_array_equal(again.reconstruct(rows[:9]), vae.reconstruct(rows[:9]))
    assert np.isfinite(vae.reconstruct(rows)).all() and np.isfinite(vae.score_samples(rows, draws=3)).all()
    assert set(vae.sample(50)[:, 64]) <= set(range(10))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "epochs"),
    [
        ("jmvae", {"hidden": (64, 64)}, 25),
        ("mvae", {"hidden": (128, 128), "warm_up": 1000}, 60),
        ("mmvae", {"hidden": (64, 64), "k": 3}, 25),
        ("mopoe", {"hidden": (64, 64)}, 25),
    ],
)
def test_labels_are_told_from_images_and_images_from_labels(name, settings, epochs, pairs):
    """Of held-out small digits, of which a linear reader tells 92 in 100; drawn images are read by it as asked for."""
    from sklearn.linear_model import LogisticRegression

    train, test = pairs[:1500], pairs[1500:].copy()
    parts = {"widths": (64, 1), "kinds": ("bernoulli", "categorical-10"), "weights": (1, 10)}
    recipe = vk.recipes.Recipe(name, **parts, **settings)
    lr = 2e-3 if epochs == 60 else 4e-3
    vae = vk.VAE(8, recipe=recipe, missing=True, epochs=epochs, lr=lr, validation=0, batch_size=64).fit(train)
    labels, model = test[:, 64].copy(), vae.module_
    test[:, 64] = np.nan
    with torch.no_grad():
        told = model.decode(torch.tensor(vae.transform(test))).mode[:, 64].numpy()
        asked = Batch(torch.tensor(pairs[1500:]), torch.tensor(np.arange(65) == 64).float().expand(len(test), -1))
        drawn = model.decode(model.infer(asked, Source(0)).z).mean[:, :64].numpy()
    reader = LogisticRegression(max_iter=300).fit(train[:, :64], train[:, 64])
    assert (told == labels).mean() > 0.8
    assert (reader.predict(drawn) == labels).mean() > 0.6
