"""Sweeps: settings times seeds, trained as stacked programs, and told as a table."""

from .grid import combinations as combinations
from .results import Configuration as Configuration
from .running import sweep as sweep
from .table import Sweep as Sweep
