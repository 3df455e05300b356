"""vaekit: the variational-autoencoder kit.

One small set of parts from which every VAE is composed, trained fast, judged honestly and put to work.
`import vaekit as vk; vae = vk.VAE(latent_dim=2).fit(x)`.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import data as data
    from . import distributions as distributions
    from . import evaluation as evaluation
    from . import inference as inference
    from . import io as io
    from . import latents as latents
    from . import likelihoods as likelihoods
    from . import networks as networks
    from . import objectives as objectives
    from . import recipes as recipes
    from . import report as report
    from . import testing as testing
    from . import training as training
    from .core import Cycle as Cycle
    from .core import Ramp as Ramp
    from .data import datasets as datasets
    from .estimators import VAE as VAE
    from .estimators import OutlierDetector as OutlierDetector
    from .estimators import load as load
    from .fitted import FittedVAE as FittedVAE
    from .model import VAEModule as VAEModule
    from .sweeps import Sweep as Sweep
    from .sweeps import sweep as sweep
    from .training import Adam as Adam
    from .training import train as train

_HOMES = {
    "VAE": "estimators",
    "OutlierDetector": "estimators",
    "load": "estimators",
    "FittedVAE": "fitted",
    "sweep": "sweeps",
    "Sweep": "sweeps",
    "VAEModule": "model",
    "Adam": "training",
    "train": "training",
    "Ramp": "core",
    "Cycle": "core",
    "datasets": "data",
}
"""The public names and where they live."""
_ROOMS = (
    "data",
    "distributions",
    "evaluation",
    "inference",
    "io",
    "latents",
    "likelihoods",
    "networks",
    "objectives",
    "recipes",
    "report",
    "testing",
    "training",
)
__all__ = [*_HOMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    """Parts are imported at first use: `vaekit --help` need not wait for torch."""
    if name in _ROOMS:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
