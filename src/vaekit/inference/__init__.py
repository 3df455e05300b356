"""What a fitted model is used for: functions that take a `FittedVAE`."""

from .codes import encode as encode
from .codes import posterior as posterior
from .codes import predict as predict
from .codes import predict_proba as predict_proba
from .decoding import decode as decode
from .decoding import expected as expected
from .decoding import reconstruct as reconstruct
from .missing import complete as complete
from .missing import impute as impute
from .sampling import sample as sample
from .walking import interpolate as interpolate
from .walking import shift as shift
from .walking import traverse as traverse
