"""The words every part speaks: components, records, noise and schedules."""

from .component import COMPONENTS, Component, is_trainable, trainable_copy, type_name
from .generators import LocalDraws, OwnGlobals, may_draw
from .isolation import importing, isolated, public, public_methods, without_warnings
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
    "LocalDraws",
    "Noise",
    "OwnGlobals",
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
    "importing",
    "is_trainable",
    "isolated",
    "may_draw",
    "peers_of",
    "prefixed",
    "public",
    "public_methods",
    "record",
    "static",
    "trainable_copy",
    "type_name",
    "weighted_mean",
    "without_warnings",
]
