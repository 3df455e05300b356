"""What a trained model is put to work for."""

from .imputation import Completed as Completed
from .imputation import complete as complete
from .imputation import impute as impute
from .imputation import sample_given as sample_given
from .walks import interpolate as interpolate
from .walks import length as length
from .walks import shift as shift
from .walks import traverse as traverse
