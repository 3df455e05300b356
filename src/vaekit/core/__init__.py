"""The words every part speaks: components, records, noise and schedules."""

from .component import COMPONENTS, Component, is_trainable, trainable_copy, type_name
from .generators import LocalDraws, OwnGlobals, may_draw
from .isolation import importing, isolated, public, public_methods, without_warnings
from .messages import Batch, ForwardContext, LatentSample, LossOutput, VAEOutput, batch_mean, prefixed, weighted_mean
from .noise import Noise, Recorder, ReplayNoise, Source, ZeroNoise
from .peers import ALONE, Alone, Peers, peers_of
from .record import FunctionalModule, record, static
from .schedule import Cycle, Hyper, Ramp, hyper

__all__ = [
    "ALONE",
    "COMPONENTS",
    "Alone",
    "Batch",
    "FunctionalModule",
    "Component",
    "Cycle",
    "LatentSample",
    "Hyper",
    "LocalDraws",
    "Noise",
    "OwnGlobals",
    "VAEOutput",
    "Peers",
    "Ramp",
    "Recorder",
    "ForwardContext",
    "Source",
    "ZeroNoise",
    "ReplayNoise",
    "LossOutput",
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
