"""What a model is trained for."""

from .adversarial import FactorTC as FactorTC
from .base import Objective as Objective
from .elbo import ELBO as ELBO
from .importance import IWAE as IWAE
