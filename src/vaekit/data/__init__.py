"""Data: what a model is fitted to, where it may lie, and what can be told from it."""

from . import datasets as datasets
from .annotated import Annotated as Annotated
from .column import Column as Column
from .column import SchemaWarning as SchemaWarning
from .column import UnknownValueWarning as UnknownValueWarning
from .lazy_rows import LazyRows as LazyRows
from .lazy_rows import Stream as Stream
from .schema import Schema as Schema
from .series import padded as padded
from .series import unpadded as unpadded
