"""Estimators with the interface of scikit-learn."""

from .loading import load as load
from .outliers import OutlierDetector as OutlierDetector
from .vae import VAE as VAE
