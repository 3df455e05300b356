"""What a model is trained for."""

from .adversarial import FactorTC as FactorTC
from .aggregate import DIP as DIP
from .aggregate import WAE as WAE
from .aggregate import TotalCorrelation as TotalCorrelation
from .base import Objective as Objective
from .base import penalty as penalty
from .base import summary as summary
from .elbo import ELBO as ELBO
from .importance import IWAE as IWAE
from .modalities import ExpertIWAE as ExpertIWAE
from .modalities import JointELBO as JointELBO
from .modalities import PartsELBO as PartsELBO
from .regularised import RAE as RAE
