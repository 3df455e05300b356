"""What a model is worth, in figures with their errors."""

from . import clusters as clusters
from . import detection as detection
from . import disentanglement as disentanglement
from . import representation as representation
from . import samples as samples
from .annealed import Bracket as Bracket
from .annealed import annealed as annealed
from .annealed import bracket as bracket
from .baselines import Baselines as Baselines
from .baselines import baselines as baselines
from .detection import Detector as Detector
from .detection import roc_auc as roc_auc
from .digit_features import DIGITS as DIGITS
from .likelihood import Evaluation as Evaluation
from .likelihood import Figure as Figure
from .likelihood import RowScores as RowScores
from .likelihood import evaluate_rows as evaluate_rows
from .likelihood import score_rows as score_rows
