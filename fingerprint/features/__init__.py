"""Features: a pure function of windows, ``int64[k, WORDS] -> float32[k, n]``; one family a file.

A window of three exchanges and one of three million go through the same function. Everything there is to
say of each feature is in ``FEATURES``; ``docs/features.md`` is generated from it.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fingerprint._jit import kernel
from fingerprint.errors import FingerprintError
from fingerprint.features import capability, client, conversation, diversity, economics, request, timing
from fingerprint.features._feature import Feature
from fingerprint.kernels.layout import AT, LAYOUT_ID, WORDS
from fingerprint.window import Window

__all__ = ["FEATURES", "FEATURE_SET", "Feature", "compute", "features"]

_FAMILIES = (diversity, capability, timing, request, conversation, economics, client)
FEATURES: tuple[Feature, ...] = tuple(
    feature._replace(family=family.__name__.rsplit(".", 1)[-1]) for family in _FAMILIES for feature in family.FEATURES
)
FEATURE_SET: str = hashlib.sha256(LAYOUT_ID + ",".join(feature.name for feature in FEATURES).encode()).hexdigest()[:12]

_N = AT["n"]
_STARTS = np.cumsum([0] + [len(family.FEATURES) for family in _FAMILIES])
_DIVERSITY, _CAPABILITY, _TIMING, _REQUEST, _CONVERSATION, _ECONOMICS, _CLIENT = (int(s) for s in _STARTS[:-1])


@kernel
def _compute(windows, out):  # type: ignore[no-untyped-def]
    for i in range(len(windows)):
        window, row = windows[i], out[i]
        if window[_N] == 0:
            row[:] = np.nan
            continue
        diversity.compute(window, row, _DIVERSITY)
        capability.compute(window, row, _CAPABILITY)
        timing.compute(window, row, _TIMING)
        request.compute(window, row, _REQUEST)
        conversation.compute(window, row, _CONVERSATION)
        economics.compute(window, row, _ECONOMICS)
        client.compute(window, row, _CLIENT)


def compute(windows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Features of window states: ``int64[k, WORDS] -> float32[k, len(FEATURES)]``, NaN where missing."""
    out = np.empty((len(windows), len(FEATURES)), np.float32)
    _compute(windows.reshape(-1, WORDS), out)
    return out


def features(windows: Window | Sequence[Window]) -> NDArray[np.float32]:
    """Features of one window or of several: ``float32[k, len(FEATURES)]``, NaN where evidence is missing.

    The empty window has no evidence: all its features are NaN.
    """
    if isinstance(windows, Window):
        return compute(windows.state.reshape(1, WORDS))
    several = list(windows) if isinstance(windows, Iterable) else [windows]
    odd = [window for window in several if not isinstance(window, Window)]
    if odd:
        raise FingerprintError(f"expected a Window or a sequence of them, got {type(odd[0]).__name__}")
    return compute(np.stack([window.state for window in several]) if several else np.empty((0, WORDS), np.int64))
