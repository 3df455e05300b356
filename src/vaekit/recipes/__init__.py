"""Named models: each a choice of parts, in one short function with its paper.

A recipe is called with its own settings and gives a `Recipe`; the estimator adds the number of latents and the data:
`vk.VAE(recipe=vk.recipes.beta_vae(beta=6), latent_dim=10)`. Its name alone, "beta-vae", means its defaults.
"""

# isort: skip_file
# In the order in which they are listed to users.
from .recipe import RECIPES as RECIPES
from .recipe import Parts as Parts
from .recipe import Pretraining as Pretraining
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
from .rates import warm_up as warm_up
from .rates import cyclical as cyclical
from .rates import free_bits as free_bits
from .rates import annealed as annealed
from .rates import factor_vae as factor_vae
from .rates import beta_tc as beta_tc
from .rates import dip as dip
from .rates import lagging as lagging
from .bounds import iwae as iwae
from .bounds import dreg as dreg
from .bounds import stl as stl
from .bounds import multiple_iwae as multiple_iwae
from .bounds import piwae as piwae
from .bounds import ciwae as ciwae
from .bounds import miwae as miwae
from .codes import full_covariance as full_covariance
from .codes import low_rank as low_rank
from .codes import laplace as laplace
from .codes import spherical as spherical
from .codes import power_spherical as power_spherical
from .codes import poincare as poincare
from .codes import topics as topics
from .codes import flow as flow
from .codes import planar as planar
from .codes import radial as radial
from .codes import iaf as iaf
from .codes import maf as maf
from .codes import hamiltonian as hamiltonian
from .codes import categorical as categorical
from .codes import mixture as mixture
from .codes import vamp as vamp
from .codes import exemplar as exemplar
from .codes import flow_prior as flow_prior
from .codes import two_stage as two_stage
from .hierarchies import ladder as ladder
from .hierarchies import two_level_vamp as two_level_vamp
from .hierarchies import conv_two_level_vamp as conv_two_level_vamp
from .hierarchies import very_deep as very_deep
from .hierarchies import very_deep_dense as very_deep_dense
from .labels import conditional as conditional
from .labels import conditional_prior as conditional_prior
from .labels import m2 as m2
from .labels import vade as vade
from .labels import gm_vae as gm_vae
from .quantised import vq as vq
from .quantised import vq_rotation as vq_rotation
from .quantised import vq_transformer as vq_transformer
from .quantised import conv_vq as conv_vq
from .quantised import residual_vq as residual_vq
from .quantised import fsq as fsq
from .quantised import lfq as lfq
from .autoencoders import rae as rae
from .autoencoders import rae_gp as rae_gp
from .autoencoders import rae_sn as rae_sn
from .autoencoders import wae as wae
from .autoencoders import aae as aae
from .autoencoders import wae_gan as wae_gan
from .autoencoders import info_vae as info_vae
from .images import ms_ssim as ms_ssim
from .images import perceptual as perceptual
from .images import vae_gan as vae_gan
from .sequences import recurrent as recurrent
from .sequences import temporal_conv as temporal_conv
from .sequences import transformer as transformer
from .sequences import sentence as sentence
