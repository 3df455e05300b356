"""The words every part speaks: components, records, noise and schedules."""

from .component import COMPONENTS, Component, type_name
from .messages import Batch, Draw, Pass, Scope, Terms, batch_mean, prefixed, weighted_mean
from .noise import Noise, Recorder, Source, Still, Tape
from .peers import ALONE, Alone, Peers, peers_of
from .record import Bound, record, static
from .schedule import Cycle, Hyper, Ramp, hyper

__all__ = [
    "ALONE",
    "COMPONENTS",
    "Alone",
    "Batch",
    "Bound",
    "Component",
    "Cycle",
    "Draw",
    "Hyper",
    "Noise",
    "Pass",
    "Peers",
    "Ramp",
    "Recorder",
    "Scope",
    "Source",
    "Still",
    "Tape",
    "Terms",
    "batch_mean",
    "hyper",
    "peers_of",
    "prefixed",
    "record",
    "static",
    "type_name",
    "weighted_mean",
]
