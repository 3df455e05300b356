"""Sweeps: settings times seeds, trained as stacked programs, and told as a table."""

from .grid import combinations as combinations
from .members import fit_seeds as fit_seeds
from .running import sweep as sweep
from .table import Configuration as Configuration
from .table import Sweep as Sweep
