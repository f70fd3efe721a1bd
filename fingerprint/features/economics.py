"""Economics: what is taken for what is given, and on which plan."""

import math

import numpy as np

from fingerprint._jit import inner
from fingerprint.features import _statistics as stat
from fingerprint.features._feature import Feature
from fingerprint.kernels.layout import AT, LOG_ONE, OUTPUT_BINS

__all__ = ["FEATURES", "compute"]

_OUT = "output tokens unknown"
FEATURES = (
    Feature("output_mean", "log2 tokens", 0, 31, _OUT, "Long answers are what is harvested; labels are short."),
    Feature(
        "output_spread",
        "log2 tokens",
        0,
        16,
        "fewer than two known outputs",
        "Uniform answers come from uniform demands.",
    ),
    Feature(
        "output_entropy", "share of maximum", 0, 1, "fewer than two known outputs", "The same, robust to outliers."
    ),
    Feature(
        "output_per_input",
        "log2 ratio",
        -31,
        31,
        "tokens unknown",
        "Tokens out for each token in: short questions, long answers.",
    ),
    Feature(
        "output_per_input_spread",
        "log2 ratio",
        0,
        31,
        "fewer than two exchanges with tokens",
        "How even that yield is.",
    ),
    Feature("ceiling_hit_share", "share", 0, 1, "no ceiling with an output", "Answers that use their whole ceiling."),
    Feature(
        "output_per_hour",
        "log2 tokens per hour",
        -16,
        64,
        "output unknown or fewer than two exchanges",
        "Tokens taken per hour of the span.",
    ),
    Feature("small_plan_share", "share", 0, 1, "plan unknown", "Use on a free or personal plan."),
    Feature(
        "small_plan_rate",
        "log2 exchanges per hour",
        -20,
        40,
        "plan unknown, or not a small one, or fewer than two exchanges",
        "Enterprise throughput on a small plan.",
    ),
)

_N, _OUT_N, _OUTPUT, _LOG, _LOG_SQ = AT["n"], AT["output_n"], AT["output"], AT["output_log"], AT["output_log_sq"]
_HIST, _RATIO_N, _RATIO, _RATIO_SQ = AT["output_hist"], AT["ratio_n"], AT["ratio_log"], AT["ratio_log_sq"]
_HIT, _CEILING_N, _SMALL, _PLAN_N = AT["ceiling_hit"], AT["ceiling_n"], AT["small_plan"], AT["plan_n"]
_FIRST, _LAST = AT["first_us"], AT["last_us"]


@inner
def compute(window, out, at):  # type: ignore[no-untyped-def]
    """Write this family's features of one window to ``out[at:]``, in the order of ``FEATURES``."""
    count, known = window[_N], window[_OUT_N]
    hours = max(float(window[_LAST] - window[_FIRST]) / 3.6e9, 1 / 3600)
    out[at] = stat.mean(window[_LOG], known, LOG_ONE)
    out[at + 1] = stat.spread(window[_LOG], window[_LOG_SQ], known, LOG_ONE)
    out[at + 2] = stat.entropy(window, _HIST, OUTPUT_BINS)
    out[at + 3] = stat.mean(window[_RATIO], window[_RATIO_N], LOG_ONE)
    out[at + 4] = stat.spread(window[_RATIO], window[_RATIO_SQ], window[_RATIO_N], LOG_ONE)
    out[at + 5] = stat.share(window[_HIT], window[_CEILING_N])
    paced = known > 0 and count > 1
    out[at + 6] = math.log2(max(window[_OUTPUT] / hours, 2.0**-16)) if paced else np.nan
    out[at + 7] = stat.share(window[_SMALL], window[_PLAN_N])
    small = window[_SMALL] > 0 and count > 1
    out[at + 8] = math.log2((count - 1) / hours) if small else np.nan
