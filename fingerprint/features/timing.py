"""Timing regularity: gaps, rhythm, rate, idleness. A low CV is not a bot signature: real API clients are at
1 and above, people chatting below. Rate, duration, idleness and hours covered say more than regularity.
"""

import math

import numpy as np

from fingerprint._jit import inner
from fingerprint.features import _statistics as stat
from fingerprint.features._feature import Feature
from fingerprint.kernels.layout import AT, EMPTY_MIN, GAP_BINS, GAP_ONE, LOG_ONE, SHARE_ONE

__all__ = ["FEATURES", "compute"]

_GAP = "no gap to an earlier exchange is known"
_GAPS = "fewer than two gaps"
_PAUSES = "fewer than two gaps inside sessions"
_MOMENTS = "fewer than two exchanges"
FEATURES = (
    Feature("gap_p10", "log2 milliseconds", 0, 28, _GAP, "Bursts and parallel workers have very short gaps."),
    Feature("gap_p50", "log2 milliseconds", 0, 28, _GAP, "The usual pace."),
    Feature("gap_p90", "log2 milliseconds", 0, 28, _GAP, "People pause for hours; pacing below a limit does not."),
    Feature("gap_log_spread", "log2 milliseconds", 0, 20, _GAPS, "Width of the distribution of gaps."),
    Feature("gap_entropy", "share of maximum", 0, 1, _GAPS, "Evenness of the gaps over all scales."),
    Feature("pause_log_mean", "log2 milliseconds", 0, 28, "no gap inside a session", "Pace inside sessions."),
    Feature("pause_log_spread", "log2 milliseconds", 0, 20, _PAUSES, "Regularity inside sessions, robust to outliers."),
    Feature("pause_cv", "ratio", 0, 100, _PAUSES, "Coefficient of variation of the gaps inside sessions."),
    Feature("pause_burstiness", "index", -1, 1, _PAUSES, "Goh and Barabasi (2008): -1 metronome, 0 Poisson, 1 bursts."),
    Feature("idle_share", "share of gaps", 0, 1, _GAP, "Gaps over 30 minutes: sessions begin."),
    Feature("long_idle_share", "share of gaps", 0, 1, _GAP, "Gaps over 4.7 hours: nights and days off."),
    Feature(
        "overlap_share",
        "share of gaps",
        0,
        1,
        "gap or output tokens unknown",
        "Requests closer together than an answer of this length takes: concurrency.",
    ),
    Feature("second_phase", "resultant", 0, 1, _MOMENTS, "Requests on the same second of the minute: schedulers."),
    Feature("minute_phase", "resultant", 0, 1, _MOMENTS, "Requests on the same minute of the hour: schedulers."),
    Feature("hours_covered", "share of 24", 0, 1, "never", "Use around the clock."),
    Feature("hour_entropy", "share of maximum", 0, 1, _MOMENTS, "Evenness over the hours of the day."),
    Feature("day_phase", "resultant", 0, 1, _MOMENTS, "How strongly a daily rhythm shows."),
    Feature(
        "quiet_hours", "hours", 0, 24, "span under a day", "The longest run of hours of the day without any use: sleep."
    ),
    Feature("weekend_share", "share", 0, 1, "never", "Work days against all days (2/7 is even)."),
    Feature("span", "log2 hours", -12, 20, _MOMENTS, "How long the window lasts."),
    Feature("rate", "log2 exchanges per hour", -20, 40, _MOMENTS, "Exchanges an hour over the span."),
    Feature(
        "account_age", "log2 days", -6, 16, "account creation unknown", "Age of the account at its first exchange here."
    ),
    Feature(
        "new_account_share",
        "share",
        0,
        1,
        "account creation unknown",
        "Share of use in the account's first three days: no ramp.",
    ),
)

_N, _GAP_N, _GAP_LOG, _GAP_LOG_SQ = AT["n"], AT["gap_n"], AT["gap_log"], AT["gap_log_sq"]
_HIST, _PAUSE_N, _PAUSE_LOG, _PAUSE_LOG_SQ = AT["gap_hist"], AT["pause_n"], AT["pause_log"], AT["pause_log_sq"]
_PAUSE, _PAUSE_SQ, _MINUTE, _IN_HOUR = AT["pause"], AT["pause_sq"], AT["phase_minute"], AT["phase_hour"]
_HOUR, _WEEKEND, _OVERLAP, _OVERLAP_N = AT["hour"], AT["weekend"], AT["overlap"], AT["overlap_n"]
_AGE, _CREATED, _FIRST, _LAST = AT["age_hist"], AT["created_us"], AT["first_us"], AT["last_us"]
_LEVELS = np.array([0.1, 0.5, 0.9])
_LONG_IDLE_BIN = 24  # 2^24 ms, 4.7 hours
_DAY_US = 86_400_000_000.0


@inner
def _gaps(window, out, at):  # type: ignore[no-untyped-def]
    count, pauses, long_idle = window[_GAP_N], window[_PAUSE_N], 0
    for j in range(3):
        out[at + j] = stat.quantile(window, _HIST, GAP_BINS, _LEVELS[j], 0.0, 1.0)
    for j in range(_LONG_IDLE_BIN, GAP_BINS):
        long_idle += window[_HIST + j]
    out[at + 3] = stat.spread(window[_GAP_LOG], window[_GAP_LOG_SQ], count, LOG_ONE)
    out[at + 4] = stat.entropy(window, _HIST, GAP_BINS)
    out[at + 5] = stat.mean(window[_PAUSE_LOG], pauses, LOG_ONE)
    out[at + 6] = stat.spread(window[_PAUSE_LOG], window[_PAUSE_LOG_SQ], pauses, LOG_ONE)
    deviation = stat.spread(window[_PAUSE], window[_PAUSE_SQ], pauses, GAP_ONE)
    usual = max(stat.mean(window[_PAUSE], pauses, GAP_ONE), 1 / GAP_ONE)
    out[at + 7] = min(deviation / usual, 100.0)
    out[at + 8] = (deviation - usual) / (deviation + usual)
    out[at + 9] = stat.share(count - pauses, count)
    out[at + 10] = stat.share(long_idle, count)
    out[at + 11] = stat.share(window[_OVERLAP], window[_OVERLAP_N])


@inner
def _day(window, out, at, span):  # type: ignore[no-untyped-def]
    """Hours covered, evenness, daily rhythm, longest quiet run (the clock is a circle)."""
    covered, cosine, sine, run, longest = 0, 0.0, 0.0, 0, 0
    for j in range(48):
        used = window[_HOUR + j % 24]
        run = 0 if used > 0 else run + 1
        longest = max(longest, run)
        if j < 24:
            covered += used > 0
            cosine += used * math.cos(j * math.tau / 24)
            sine += used * math.sin(j * math.tau / 24)
    count = float(window[_N])
    out[at] = covered / 24
    out[at + 1] = stat.entropy(window, _HOUR, 24)
    squared = (cosine * cosine + sine * sine - count) / (count * (count - 1)) if count > 1 else np.nan
    out[at + 2] = math.sqrt(min(max(squared, 0.0), 1.0)) if count > 1 else np.nan
    out[at + 3] = min(longest, 24) if span >= _DAY_US else np.nan


@inner
def compute(window, out, at):  # type: ignore[no-untyped-def]
    """Write this family's features of one window to ``out[at:]``, in the order of ``FEATURES``."""
    count, span = window[_N], float(window[_LAST] - window[_FIRST])
    _gaps(window, out, at)
    out[at + 12] = stat.resultant(window, _MINUTE, count, SHARE_ONE)
    out[at + 13] = stat.resultant(window, _IN_HOUR, count, SHARE_ONE)
    _day(window, out, at + 14, span)
    out[at + 18] = stat.share(window[_WEEKEND], count)
    hours = max(span / 3.6e9, 1 / 3600)
    out[at + 19] = math.log2(hours) if count > 1 else np.nan
    out[at + 20] = math.log2((count - 1) / hours) if count > 1 else np.nan
    ages = 0
    for j in range(6):
        ages += window[_AGE + j]
    known = window[_CREATED] != EMPTY_MIN
    age = max(float(window[_FIRST] - window[_CREATED]), 0.0) / _DAY_US
    out[at + 21] = math.log2(age + 1 / 24) if known else np.nan
    out[at + 22] = stat.share(window[_AGE] + window[_AGE + 1], ages)
