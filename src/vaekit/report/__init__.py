"""The report: one self-contained page of pictures and figures about a fitted VAE, and each figure on its own."""

from . import figures as figures
from .build import Report as Report
from .build import make as make
from .comparison import SideBySide as SideBySide
from .comparison import compare as compare
from .figures import aggregate_plane as aggregate_plane
from .figures import agreement as agreement
from .figures import confusion as confusion
from .figures import curves_beside as curves_beside
from .figures import decoded_grid as decoded_grid
from .figures import differences as differences
from .figures import distributions as distributions
from .figures import histograms as histograms
from .figures import image_grid as image_grid
from .figures import latent_plane as latent_plane
from .figures import neighbours as neighbours
from .figures import picture_rows as picture_rows
from .figures import profiles as profiles
from .figures import rate_distortion as rate_distortion
from .figures import reconstructions as reconstructions
from .figures import shares as shares
from .figures import training_curves as training_curves
from .figures import training_path as training_path
from .figures import traversals as traversals
from .figures import unit_kl as unit_kl
