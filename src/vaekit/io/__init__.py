"""Fitted models into their folders and out of them."""

from .save_load import load_fitted as load_fitted
from .save_load import save as save
