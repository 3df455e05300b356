"""Named models: each a choice of parts, in one short function with its paper.

A recipe is called with its own settings and gives a `Recipe`; the estimator adds the number of latents and the data:
`vk.VAE(recipe=vk.recipes.beta_vae(beta=6), latent_dim=10)`. Its name alone, "beta-vae", means its defaults.
"""

# isort: skip_file
# In the order in which they are listed to users.
from .recipe import RECIPES as RECIPES
from .recipe import Parts as Parts
from .recipe import Recipe as Recipe
from .recipe import as_recipe as as_recipe
from .recipe import likelihood_for as likelihood_for
from .classic import vae as vae
from .classic import vae_tanh as vae_tanh
from .classic import auto as auto
from .classic import binarised as binarised
from .classic import conv as conv
from .classic import residual as residual
from .rates import beta_vae as beta_vae
from .rates import sigma as sigma
from .rates import warm_up as warm_up
from .rates import cyclical as cyclical
from .rates import free_bits as free_bits
from .rates import delta as delta
from .rates import annealed as annealed
from .rates import factor_vae as factor_vae
from .rates import beta_tc as beta_tc
from .rates import dip as dip
from .bounds import iwae as iwae
from .bounds import dreg as dreg
from .bounds import stl as stl
from .bounds import multiple_iwae as multiple_iwae
from .bounds import piwae as piwae
from .bounds import ciwae as ciwae
from .bounds import miwae as miwae
from .bounds import vimco as vimco
from .codes import full_covariance as full_covariance
from .codes import flow as flow
from .codes import planar as planar
from .codes import radial as radial
from .codes import iaf as iaf
from .codes import maf as maf
from .codes import hamiltonian as hamiltonian
from .codes import categorical as categorical
from .codes import straight_through as straight_through
from .codes import binary as binary
from .codes import mixture as mixture
from .codes import vamp as vamp
from .codes import exemplar as exemplar
from .codes import flow_prior as flow_prior
from .hierarchies import ladder as ladder
from .hierarchies import two_level_vamp as two_level_vamp
from .hierarchies import conv_two_level_vamp as conv_two_level_vamp
from .quantised import vq as vq
from .autoencoders import rae as rae
from .autoencoders import wae as wae
from .autoencoders import info_vae as info_vae
from .modalities import jmvae as jmvae
from .modalities import mvae as mvae
from .modalities import mmvae as mmvae
from .modalities import mopoe as mopoe
