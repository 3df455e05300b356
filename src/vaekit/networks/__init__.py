"""Networks: rows of one shape in, rows of another out."""

from .conv import ConvDecoder, ConvEncoder, ConvNetwork, ResidualDecoder, ResidualEncoder
from .foreign import Adapter, Foreign, KerasNetwork, as_network, ends_in, evaluating, is_keras
from .initialise import initialise
from .mlp import MLP
from .network import ACTIVATIONS, Network
from .parted import PartDecoder, PartEncoder

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Adapter",
    "ConvDecoder",
    "ConvEncoder",
    "ConvNetwork",
    "Foreign",
    "KerasNetwork",
    "Network",
    "PartDecoder",
    "PartEncoder",
    "ResidualDecoder",
    "ResidualEncoder",
    "as_network",
    "ends_in",
    "evaluating",
    "initialise",
    "is_keras",
]
