"""The report: one self-contained page of pictures and figures about a fitted VAE, and each figure on its own."""

from .figures import agreement as agreement
from .figures import decoded_grid as decoded_grid
from .figures import histograms as histograms
from .figures import image_grid as image_grid
from .figures import latent_plane as latent_plane
from .figures import rate_distortion as rate_distortion
from .figures import reconstructions as reconstructions
from .figures import training_curves as training_curves
from .figures import traversals as traversals
from .figures import unit_kl as unit_kl
from .making import Report as Report
from .making import make as make
