"""Topic models of real documents: the docstrings of the standard library."""

import importlib
import inspect
import re
import warnings
from collections import Counter

import numpy as np
import pytest
from scipy import stats

import vaekit as vk

MODULES = """
argparse ast asyncio calendar collections configparser csv ctypes datetime decimal difflib email.message fractions
ftplib functools gzip http.client imaplib inspect itertools json logging math mailbox multiprocessing os pathlib pickle
random re shutil smtplib socket sqlite3 ssl statistics string subprocess tarfile tempfile threading time typing
unittest unittest.mock urllib.request uuid xml.dom.minidom xml.etree.ElementTree zipfile
"""
STOP = """
a all an and any are as at be by can do does each for from has have if in into is it its may must no not of on one only
or other same see so such than that the then there they this to two use used was when which will with
"""


def documents() -> tuple[np.ndarray, list[str]]:
    """Counts of words (documents, vocabulary), of the docstrings that have at least 15 of them."""
    texts: dict[str, None] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are but looked at
        for name in MODULES.split():
            module = importlib.import_module(name)
            for _, thing in inspect.getmembers(module):
                inside = [m for _, m in inspect.getmembers(thing)] if inspect.isclass(thing) else []
                for part in (thing, *inside):
                    text = getattr(part, "__doc__", None)
                    if isinstance(text, str):
                        texts[text] = None
    stop = STOP.split()
    words = [[w for w in re.findall(r"[a-z]{3,}", text.lower()) if w not in stop] for text in texts]
    frequent = Counter(w for document in words for w in set(document))
    vocabulary = sorted(w for w, n in frequent.items() if n >= 12)
    place = {w: i for i, w in enumerate(vocabulary)}
    counts = np.zeros((len(words), len(vocabulary)), np.int64)
    for row, document in enumerate(words):
        for w in document:
            if w in place:
                counts[row, place[w]] += 1
    return counts[counts.sum(1) >= 15], vocabulary


def top_words(vae: vk.VAE, vocabulary: list[str], count: int = 8) -> list[list[str]]:
    """Of each topic, the words that it favours most over the mean of all topics."""
    topics = vae.inverse_transform(np.eye(vae.latent_dim, dtype=np.float32)).astype(float) + 1e-6
    lift = topics * np.log(topics / topics.mean(0))
    return [[vocabulary[i] for i in row.argsort()[::-1][:count]] for row in lift]


def unigram(x: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Log-likelihoods of the model that has no latent: every document draws from the words of all."""
    p = (x.sum(0) + 0.5) / (x.sum(0) + 0.5).sum()
    return np.array([stats.multinomial(row.sum(), p).logpmf(row) for row in x_test])


@pytest.mark.slow
@pytest.mark.parametrize(("mixture", "lr"), [(True, 1e-2), (False, 3e-3)])
def test_topics_of_docstrings_beat_the_unigram_model(mixture, lr):
    counts, vocabulary = documents()
    order = np.random.default_rng(0).permutation(len(counts))
    x, x_test = counts[order[200:]], counts[order[:200]]
    recipe = vk.recipes.topics(mixture=mixture, warm_up=600)
    vae = vk.VAE(recipe=recipe, latent_dim=12, epochs=60, batch_size=32, lr=lr, validation=0, seed=0).fit(x)
    ahead = vae.score_samples(x_test, draws=50) - unigram(x, x_test)
    assert ahead.mean() > 3 and ahead.mean() > 4 * ahead.std() / np.sqrt(len(ahead))
    np.testing.assert_allclose(vae.transform(x_test).sum(1), 1, atol=1e-5)
    topics = top_words(vae, vocabulary)
    assert any(len({"file", "path", "directory", "dir", "open", "mode", "name"} & set(words)) >= 2 for words in topics)
    assert len({words[0] for words in topics}) >= 8, topics
