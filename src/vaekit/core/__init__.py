"""The words every part speaks: components, records, noise and schedules."""

from .component import COMPONENTS, Component, type_name
from .messages import Batch, Draw, Pass, Scope, Terms, prefixed, weighted_mean
from .noise import Noise, Recorder, Source, Tape
from .record import Bound, record, static
from .schedule import Cycle, Hyper, Ramp, hyper

__all__ = [
    "COMPONENTS",
    "Batch",
    "Bound",
    "Component",
    "Cycle",
    "Draw",
    "Hyper",
    "Noise",
    "Pass",
    "Ramp",
    "Recorder",
    "Scope",
    "Source",
    "Tape",
    "Terms",
    "hyper",
    "prefixed",
    "record",
    "static",
    "type_name",
    "weighted_mean",
]
