"""Find distillation campaigns in the API traffic of large language models.

>>> import fingerprint
>>> scorer = fingerprint.Scorer.load()
>>> window = fingerprint.Window.empty()
>>> for exchange in exchanges:
...     window.update(scorer.read(exchange, after=window))
>>> scorer.score(fingerprint.features(window))
"""

from fingerprint.errors import BundleError, ExchangeError, FingerprintError
from fingerprint.features import FEATURES, features
from fingerprint.monitor import Monitor
from fingerprint.scorer import Scorer
from fingerprint.window import Window

__all__ = [
    "FEATURES",
    "BundleError",
    "ExchangeError",
    "FingerprintError",
    "Monitor",
    "Scorer",
    "Window",
    "features",
]
__version__ = "0.1.0"
