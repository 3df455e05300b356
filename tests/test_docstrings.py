"""Docstrings of the estimators and of what a user calls first: numpydoc finds no fault but those listed."""

import inspect
import warnings

import pytest

import vaekit as vk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Sphinx, which numpydoc imports
    from numpydoc.validate import validate

NOT_HELD = {
    "GL01": "the summary starts on the line of the quotes, as in the rest of the package",
    "GL02": "the same of the end of one-line docstrings",
    "GL03": "double blank lines are the formatter's",
    "SA01": "See Also where there is something to see",
    "SA04": "its names speak for themselves",
    "EX01": "examples where the call is not obvious",
    "ES01": "one sentence is often enough",
    "SS03": "a summary may end with a colon before a list",
    "SS05": "infinitives are not recognised: 'Address' is one",
    "SS06": "a summary may take two lines",
    "RT03": "a return value may have no description beside its type and shape",
    "RT04": "it may begin with a code literal",
    "RT05": "it may end with one",
    "PR08": "a description may begin with a code literal",
    "PR09": "it may end with one",
}
"""Checks of numpydoc that are switched off, and why."""


def methods(cls):
    """Its own public methods, without those that scikit-learn adds for metadata routing."""
    added = ("_request", "_metadata_routing")
    return [n for n, m in inspect.getmembers(cls) if not n.startswith("_") and not n.endswith(added) and callable(m)]


NAMES = [
    *("VAE", "OutlierDetector", "FittedVAE", "FittedVAE.from_module", "load", "sweep", "train"),
    *(f"VAE.{name}" for name in methods(vk.VAE)),
    *(f"OutlierDetector.{name}" for name in methods(vk.OutlierDetector)),
    *(f"training.{name}" for name in ("CSVLogger", "TensorBoardLogger", "TimeBudget", "Callback.on_epoch_end")),
    *(f"inference.{name}" for name in ("encode", "decode", "sample", "impute", "reconstruct", "interpolate")),
]
OF_FUNCTIONS = ("PR01", "PR03")
"""Functions whose first parameter, the fitted model, is documented in the module."""


@pytest.mark.parametrize("name", NAMES)
def test_numpydoc_finds_no_fault(name):
    off = {*NOT_HELD, *(OF_FUNCTIONS if name.startswith("inference.") else ())}
    faults = [f"{code}: {text}" for code, text in validate(f"vaekit.{name}")["errors"] if code not in off]
    assert not faults
