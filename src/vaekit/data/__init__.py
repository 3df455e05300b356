"""Data: what a model is fitted to, and what can be told from it."""

from . import datasets as datasets
