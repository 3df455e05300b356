"""Every recipe: trained, saved, loaded, sampled and scored, on every kind of image and batch it can meet."""

import copy
import pickle

import numpy as np
import pytest

import vaekit as vk
from vaekit.data.spec import DataSpec


@pytest.fixture(scope="module")
def digits():
    return vk.datasets.mnist()[0][:130, 6:22, 6:22]  # the last batch of 128 has two rows


def images(shape, dtype, rows=6):
    """Smooth blobs, in 8-bit levels or in [0, 1]."""
    generator = np.random.default_rng(0)
    flat = (generator.random((rows, *shape)) < 0.4) * generator.random((rows, *shape))
    return (255 * flat).astype("uint8") if dtype == "uint8" else flat.astype(dtype)


OF_ITS_KIND = {
    "sentence": lambda: np.random.default_rng(0).integers(0, 9, (130, 12)),
    "table": lambda: np.random.default_rng(0).normal(size=(130, 7)),
}
"""Recipes that are for other rows than images: rows they are for."""
OF_COUNTS = ["topics", "counts", "count-classes"]
FEWER_CODES = {"residual-vq": {"codes": 8}}
"""Fewer codes than vectors: else the first codebook leaves nothing but rounding to the others, which decides theirs."""
OF_IMAGES = [name for name in vk.recipes.RECIPES if name not in OF_ITS_KIND]
FORMS = [((16, 16, 1), "uint8"), ((8, 8), "float32"), ((16, 16, 3), "uint8"), ((3, 16, 16), "float32")]
ALL_FORMS = ("vae", "conv", "residual", "very-deep-conv", "conv-vq", "vae-gan", "recurrent", "mvae", *OF_COUNTS)
"""Recipes of each kind of network: tried on every form; the others on one each."""
TAKEN = [(name, *form) for name in ALL_FORMS for form in FORMS]
TAKEN += [(n, *FORMS[k % len(FORMS)]) for k, n in enumerate(OF_IMAGES) if n not in ALL_FORMS]


def beside(name, rows):
    """What a recipe reads beside the rows."""
    return np.arange(rows) % 3 if vk.recipes.RECIPES[name].needs_context else None


@pytest.mark.slow
def test_what_is_left_out_is_the_recipe_s():
    """Of pictures two latents, 50 epochs of batches of 128; of tables by columns and rows; what is said is taken."""
    regime = vk.recipes.TrainingDefaults
    assert vk.recipes.vae().regime(60_000) == regime(epochs=50, batch_size=128, lr=1e-3, schedule="constant")
    table = vk.recipes.table()
    assert table.regime(500) == regime(60, 128, 2e-3, "cosine", clip=100)
    assert table.regime(2**20) == regime(10, 4096, 2e-3, "cosine", clip=100)
    x = np.random.default_rng(0).normal(size=(200, 3))
    for given, latents, steps in ((dict(recipe="table"), 3, 120), (dict(recipe="vae"), 2, 100)):
        vae = vk.VAE(**given, validation=0, threads=1, compile=False)
        x = np.abs(x) / np.abs(x).max()
        assert vae.fit(x).module_.latent.shape == (latents,) and vae.history_[-1]["step"] == steps
        assert vae.get_params()["epochs"] is None and vae.get_params()["latent_dim"] is None
    said = vk.VAE(2, recipe="table", epochs=1, batch_size=50, lr=0.5, validation=0, threads=1, compile=False).fit(x)
    last = said.history_[-1]
    assert (said.module_.latent.shape, last["epoch"], last["step"]) == ((2,), 1, 4)


def test_a_recipe_says_whether_its_likelihood_follows_a_table_s_columns():
    table = np.array([(0.5 * i, i % 7 / 3) for i in range(40)], dtype=[("a", float), ("b", float)])
    spec = DataSpec.of_table(vk.data.Schema.infer(table))
    for name, entry in vk.recipes.RECIPES.items():
        likelihood = vk.recipes.Recipe(name).build(2, spec).likelihood
        assert entry.of_columns == (likelihood.support == "columns"), name


QUICK = ("vae", "auto", "beta-vae", "iwae", "vamp", "ladder", "vq", "conditional", "m2", "spherical", "aae")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in vk.recipes.RECIPES]
)
def test_a_recipe_trains_saves_loads_samples_and_scores(name, digits, tmp_path):
    x = OF_ITS_KIND.get(name, lambda: digits)()
    context = beside(name, len(x))
    vae = vk.VAE(recipe=name, latent_dim=3, epochs=2, validation=0).fit(x, context=context, run=tmp_path)
    loaded, few = vk.load(tmp_path), beside(name, 3)
    np.testing.assert_array_equal(vae.transform(x[:3], few), loaded.transform(x[:3], few))
    np.testing.assert_array_equal(vae.sample(2), loaded.sample(2))
    assert vae.sample(2).shape == (2, *x.shape[1:])
    scores = vae.score_samples(x[:3], draws=2, context=few)
    assert np.isfinite(scores).all() == (vae.module_.latent.ratio != "none")
    assert loaded.recipe == vk.recipes.Recipe(name) or loaded.recipe == name


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape", "dtype"), TAKEN)
def test_a_recipe_takes_images_of_every_form_and_batches_of_one_row(name, shape, dtype):
    x = images(shape, dtype)
    vae = vk.VAE(recipe=name, latent_dim=2, epochs=1, batch_size=5, validation=0)
    if name in OF_COUNTS and dtype == "float32":
        with pytest.raises(ValueError, match="expected whole numbers from 0"):
            vae.fit(x)
        return
    vae.fit(x, context=beside(name, len(x)))  # batches of 5 rows and of 1
    assert all(np.isfinite(v) for v in vae.history_[-1].values() if isinstance(v, float))
    for out in (vae.reconstruct(x[:1], beside(name, 1)), vae.sample(1)):
        assert (out.shape, out.dtype) == ((1, *shape), x.dtype)
        assert np.isfinite(out.astype(float)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_recipe_is_stacked_or_refused_with_a_reason(name):
    x = images((16, 16), "uint8", rows=12)
    context = beside(name, len(x))
    recipe = vk.recipes.Recipe(name, **FEWER_CODES.get(name, {}))
    settings = dict(recipe=recipe, latent_dim=2, epochs=1, batch_size=4, validation=0)
    first, second = (m.transform(x, context) for m in vk.VAE(**settings, seeds=2).fit(x, context=context).members_)
    assert np.isfinite(first).all() and not np.array_equal(first, second)
    alone = vk.VAE(**settings).fit(x, context=context).transform(x, context)
    np.testing.assert_allclose(first, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", vk.recipes.RECIPES)
def test_a_recipe_is_the_same_after_pickling_and_copying(name):
    """joblib, and scikit-learn with n_jobs, pickle the settings of an estimator."""
    recipe = vk.recipes.Recipe(name)
    for again in (pickle.loads(pickle.dumps(recipe)), copy.deepcopy(recipe), copy.copy(recipe)):
        assert again == recipe and again.settings == recipe.settings


def test_an_estimator_with_a_recipe_of_its_own_settings_is_pickled():
    x = np.random.default_rng(0).random((40, 4)).astype("float32")
    vae = vk.VAE(2, recipe=vk.recipes.beta_vae(beta=2.0), epochs=1, threads=1, compile=False).fit(x)
    again = pickle.loads(pickle.dumps(vae))
    assert again.recipe == vae.recipe and np.array_equal(again.transform(x), vae.transform(x))
    detector = vk.OutlierDetector(vae).fit(x)
    again = pickle.loads(pickle.dumps(detector))
    assert np.array_equal(again.decision_function(x), detector.decision_function(x))
