"""What a trained model is put to work for."""

from .walks import interpolate as interpolate
from .walks import length as length
from .walks import shift as shift
from .walks import traverse as traverse
