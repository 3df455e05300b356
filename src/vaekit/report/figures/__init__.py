"""Every figure of the report, as a function on arrays. None touches pyplot, so each may be drawn in any thread."""

from .codes import ACTIVE as ACTIVE
from .codes import aggregate_plane as aggregate_plane
from .codes import as_values as as_values
from .codes import latent_plane as latent_plane
from .codes import unit_kl as unit_kl
from .columns import agreement as agreement
from .columns import histograms as histograms
from .columns import profiles as profiles
from .images import decoded_grid as decoded_grid
from .images import image_grid as image_grid
from .images import neighbours as neighbours
from .images import picture_rows as picture_rows
from .images import reconstructions as reconstructions
from .images import traversals as traversals
from .scores import confusion as confusion
from .scores import differences as differences
from .scores import distributions as distributions
from .scores import rate_distortion as rate_distortion
from .scores import shares as shares
from .training import CURVES as CURVES
from .training import curves_beside as curves_beside
from .training import curves_in as curves_in
from .training import training_curves as training_curves
from .training import training_path as training_path
