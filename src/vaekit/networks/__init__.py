"""Networks: rows of one shape in, rows of another out."""

from .conv import ConvDecoder, ConvEncoder, ConvNetwork, ResidualDecoder, ResidualEncoder
from .foreign import Adapter, Foreign, KerasNetwork, as_network, ends_in, evaluating, is_keras
from .initialise import initialise
from .mlp import MLP, BallMLP
from .network import ACTIVATIONS, Network
from .topics import TopicMixture

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Adapter",
    "BallMLP",
    "ConvDecoder",
    "ConvEncoder",
    "ConvNetwork",
    "Foreign",
    "KerasNetwork",
    "Network",
    "ResidualDecoder",
    "ResidualEncoder",
    "TopicMixture",
    "as_network",
    "ends_in",
    "evaluating",
    "initialise",
    "is_keras",
]
