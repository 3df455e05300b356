"""Every verb by its name: it takes its arguments and returns what to print."""

from .comparing import compare as compare
from .fitting import fit as fit
from .fitting import fit_prior as fit_prior
from .judging import evaluate as evaluate
from .judging import report as report
from .listing import recipes as recipes
from .making import embed as embed
from .making import impute as impute
from .making import interpolate as interpolate
from .making import reconstruct as reconstruct
from .making import sample as sample
from .making import score as score
from .making import traverse as traverse
from .sweeping import sweep as sweep
