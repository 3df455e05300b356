"""What a model is worth, in figures with their errors."""

from . import disentanglement as disentanglement
from . import samples as samples
from .annealed import Bracket as Bracket
from .annealed import annealed as annealed
from .annealed import bracket as bracket
from .likelihood import Evaluation as Evaluation
from .likelihood import Figure as Figure
from .likelihood import RowScores as RowScores
from .likelihood import evaluate_rows as evaluate_rows
from .likelihood import score_rows as score_rows
