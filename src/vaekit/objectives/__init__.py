"""What a model is trained for."""

from .adversarial import AAE as AAE
from .adversarial import VAEGAN as VAEGAN
from .adversarial import FactorTC as FactorTC
from .adversarial import mistaken as mistaken
from .aggregate import DIP as DIP
from .aggregate import WAE as WAE
from .aggregate import TotalCorrelation as TotalCorrelation
from .base import Objective as Objective
from .base import penalty as penalty
from .base import summary as summary
from .elbo import ELBO as ELBO
from .importance import IWAE as IWAE
from .regularised import RAE as RAE
from .turns import Lagging as Lagging
from .second_stage import PriorFit as PriorFit
from .second_stage import TwoStage as TwoStage
