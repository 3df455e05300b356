"""Training: one step function, one loop, and what surrounds them."""

from .adam import Adam as Adam
from .callbacks import Callback as Callback
from .callbacks import CSVLogger as CSVLogger
from .callbacks import TensorBoardLogger as TensorBoardLogger
from .callbacks import TimeBudget as TimeBudget
from .distributed import Processes as Processes
from .distributed import join as join
from .learner import Ensemble as Ensemble
from .learner import Learner as Learner
from .learner import Sources as Sources
from .loop import Diverged as Diverged
from .loop import Training as Training
from .privacy import Privacy as Privacy
from .step import Step as Step
from .train import train as train
from .trainer import fit as fit
