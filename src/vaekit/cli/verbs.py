"""Every verb by its name: it takes its arguments and returns what to print."""

from .comparing import compare as compare
from .fitting import fit as fit
from .fitting import fit_prior as fit_prior
from .generate import embed as embed
from .generate import impute as impute
from .generate import interpolate as interpolate
from .generate import reconstruct as reconstruct
from .generate import sample as sample
from .generate import score as score
from .generate import traverse as traverse
from .judging import evaluate as evaluate
from .judging import report as report
from .listing import recipes as recipes
from .sweeping import sweep as sweep
