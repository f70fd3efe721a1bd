"""Conversation shape: how deep exchanges lie in conversations, how many stand alone."""

import math

import numpy as np

from fingerprint._jit import inner
from fingerprint.features import _statistics as stat
from fingerprint.features._feature import Feature
from fingerprint.kernels.layout import AT

__all__ = ["FEATURES", "compute"]

_DEPTH_UNKNOWN = "conversation depth unknown"
FEATURES = (
    Feature("single_turn_share", "share", 0, 1, _DEPTH_UNKNOWN, "Harvests and batch work ask once; people follow up."),
    Feature("follow_up_share", "share", 0, 1, _DEPTH_UNKNOWN, "Exchanges that are the third message or later."),
    Feature("deep_share", "share", 0, 1, _DEPTH_UNKNOWN, "Exchanges beyond the eighth message: agents and long talks."),
    Feature(
        "depth_entropy",
        "share of maximum",
        0,
        1,
        "fewer than two known depths",
        "A fixed number of turns against conversations that end anywhere.",
    ),
    Feature("depth_max", "log2 messages", 0, 31, _DEPTH_UNKNOWN, "The deepest conversation."),
)

_DEPTH, _MAX = AT["depth_hist"], AT["depth_max"]


@inner
def compute(window, out, at):  # type: ignore[no-untyped-def]
    """Write this family's features of one window to ``out[at:]``, in the order of ``FEATURES``."""
    known = 0
    for j in range(7):
        known += window[_DEPTH + j]
    out[at] = stat.share(window[_DEPTH], known)
    out[at + 1] = stat.share(known - window[_DEPTH] - window[_DEPTH + 1], known)
    out[at + 2] = stat.share(window[_DEPTH + 4] + window[_DEPTH + 5] + window[_DEPTH + 6], known)
    out[at + 3] = stat.entropy(window, _DEPTH, 7)
    out[at + 4] = math.log2(float(window[_MAX])) if known > 0 else np.nan
