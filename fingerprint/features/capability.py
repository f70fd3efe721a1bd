"""Capability targeting: what the prompts want, as the prompt head reads it, and how narrowly.

The mean is blind when a harvest hides among other traffic: the upper quantiles of likeness are not.
"""

import math

import numpy as np

from fingerprint._jit import inner
from fingerprint.features import _statistics as stat
from fingerprint.features._feature import Feature
from fingerprint.kernels.layout import (
    AT,
    CAPABILITIES,
    HOUR_ONE,
    LIKENESS_BINS,
    LOG_ONE,
    SHARE_ONE,
    SKETCH,
    SKETCH_ONE,
)

__all__ = ["FEATURES", "compute"]

_PAIR = "fewer than two exchanges, or times that spread by under a quarter when in whole hours"
FEATURES = (
    *(
        Feature(
            f"capability_{name}", "share", 0, 1, "never", f"Share of the window that wants {name.replace('_', ' ')}."
        )
        for name in CAPABILITIES
    ),
    Feature("capability_concentration", "probability", 0, 1, "never", "A harvest aims at one narrow capability."),
    Feature("capability_entropy", "share of maximum", 0, 1, "never", "The same, sensitive to the small shares."),
    Feature(
        "capability_breadth",
        "probability",
        -1,
        2,
        "fewer than two prompts with content words",
        "One capability asked about many things: coverage within one skill.",
    ),
    Feature("likeness_mean", "logit", -8, 8, "never", "How much the prompts read like known harvesting.", 1),
    Feature("likeness_spread", "logit", 0, 16, "fewer than two exchanges", "A mixture of harvest and cover is wide."),
    Feature("likeness_p50", "logit", -8, 8, "never", "The middle prompt.", 1),
    Feature(
        "likeness_p75", "logit", -8, 8, "never", "The top quarter: seen through cover traffic of three quarters.", 1
    ),
    Feature("likeness_p90", "logit", -8, 8, "never", "The top tenth: seen through cover traffic of nine tenths.", 1),
    Feature("likeness_share", "share", 0, 1, "never", "Share of prompts more like harvesting than not.", 1),
    Feature("likeness_high_share", "share", 0, 1, "never", "Share of prompts that strongly read like harvesting.", 1),
    Feature("likeness_trend", "correlation", -1, 1, _PAIR, "A probe that turns into a harvest rises with time."),
    Feature("capability_drift", "share", 0, 4, _PAIR, "A campaign that changes its aim moves its shares."),
)

_N, _CAP, _CAP_T, _KINDS = AT["n"], AT["capability"], AT["capability_t"], len(CAPABILITIES)
_LIKE, _LIKE_SQ, _LIKE_T, _HIST = AT["likeness"], AT["likeness_sq"], AT["likeness_t"], AT["likeness_hist"]
_HOURS, _HOURS_SQ = AT["hours"], AT["hours_sq"]
_CONTENT, _CONTENT_SQ, _CONTENT_N = AT["content"], AT["content_sq"], AT["content_n"]
_LEVELS = np.array([0.5, 0.75, 0.9])


@inner
def _trends(window, out, at):  # type: ignore[no-untyped-def]
    count = float(window[_N])
    hour = window[_HOURS] / count
    deviation = math.sqrt(max(window[_HOURS_SQ] / count - hour * hour, 0.0))
    likeness = stat.spread(window[_LIKE], window[_LIKE_SQ], window[_N], 1.0)
    out[at] = np.nan
    out[at + 1] = np.nan
    if count < 2 or deviation < 0.25 * HOUR_ONE:
        return
    covariance = window[_LIKE_T] / count - hour * (window[_LIKE] / count)
    out[at] = min(max(covariance / (deviation * likeness), -1.0), 1.0) if likeness > 1 else 0.0
    moved = 0.0
    for j in range(_KINDS):
        moved += abs(window[_CAP_T + j] / count - hour * (window[_CAP + j] / count))
    out[at + 1] = moved / deviation / SHARE_ONE


@inner
def compute(window, out, at):  # type: ignore[no-untyped-def]
    """Write this family's features of one window to ``out[at:]``, in the order of ``FEATURES``."""
    count, total, squares, entropy = window[_N], 0.0, 0.0, 0.0
    for j in range(_KINDS):
        total += window[_CAP + j]
    for j in range(_KINDS):
        part = window[_CAP + j] / total
        out[at + j] = part
        squares += part * part
        entropy -= part * math.log(part) if part > 0 else 0.0
    content = stat.similarity(window, _CONTENT, SKETCH, window[_CONTENT_SQ], window[_CONTENT_N], SKETCH_ONE)
    at += _KINDS
    out[at] = squares
    out[at + 1] = entropy / math.log(_KINDS)
    out[at + 2] = squares * (1 - content)
    out[at + 3] = stat.mean(window[_LIKE], count, LOG_ONE)
    out[at + 4] = stat.spread(window[_LIKE], window[_LIKE_SQ], count, LOG_ONE)
    for j in range(3):
        out[at + 5 + j] = stat.quantile(window, _HIST, LIKENESS_BINS, _LEVELS[j], -LIKENESS_BINS // 2, 1.0)
    over, far = 0, 0
    for j in range(LIKENESS_BINS // 2, LIKENESS_BINS):
        over += window[_HIST + j]
        far += window[_HIST + j] if j >= LIKENESS_BINS // 2 + 2 else 0
    out[at + 8] = stat.share(over, count)
    out[at + 9] = stat.share(far, count)
    _trends(window, out, at + 10)
