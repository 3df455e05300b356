"""Networks: rows of one shape in, rows of another out."""

from .cells import FactorEncoder, SetEncoder, SkipMLP
from .conv import ConvDecoder, ConvEncoder, ConvNetwork, ResidualDecoder, ResidualEncoder, as_map
from .foreign import (
    Adapter,
    Foreign,
    KerasNetwork,
    as_network,
    ends_in,
    evaluating,
    gives_probabilities,
    is_keras,
)
from .initialise import initialise
from .library import LibraryDecoder
from .mlp import MLP, BallMLP
from .network import ACTIVATIONS, Network
from .parted import PartDecoder, PartEncoder
from .sequences import SequenceDecoder, SequenceEncoder
from .spectral import Spectral
from .steps import Recurrent, Steps, TemporalConv, Transformer
from .topics import TopicMixture

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Adapter",
    "BallMLP",
    "ConvDecoder",
    "ConvEncoder",
    "ConvNetwork",
    "FactorEncoder",
    "Foreign",
    "KerasNetwork",
    "LibraryDecoder",
    "Network",
    "Recurrent",
    "PartDecoder",
    "PartEncoder",
    "ResidualDecoder",
    "ResidualEncoder",
    "Spectral",
    "as_map",
    "SequenceDecoder",
    "SetEncoder",
    "SkipMLP",
    "SequenceEncoder",
    "Steps",
    "TemporalConv",
    "Transformer",
    "TopicMixture",
    "as_network",
    "ends_in",
    "evaluating",
    "gives_probabilities",
    "initialise",
    "is_keras",
]
