"""The policy: from the score of an account's windows to its level over time, and to the alerts that people read.

A level rises at its threshold and falls only when the score is clearly below it and has been for a while, so that an
account on the edge does not flicker; an account that was alerted about is not again for some time; no hour has more
alerts than people can read. Left out: scores (``scorer``), and what is done about a level (integrations).
"""

import math
from collections import Counter
from dataclasses import dataclass

from fingerprint.errors import FingerprintError
from fingerprint.stores import Standing

__all__ = ["LEAST", "LEVELS", "Alerts", "Policy"]

LEVELS = ("allow", "review", "act")
LEAST = 10  # exchanges of a window that counts
_HOUR_US = 3_600_000_000
_EDGE = 1e-7


@dataclass(frozen=True)
class Policy:
    """When an account is told to be what.

    ``review`` and ``act`` are scores (None: the bundle's thresholds); ``least`` is how many exchanges a window needs to
    count; a level is kept until the log odds are ``hysteresis`` below its threshold and ``hold_s`` seconds of traffic
    have passed since it was reached; an account is alerted about once in ``cooldown_s`` seconds at the same level, and
    all accounts together ``alerts_an_hour`` times an hour (None: without limit). FingerprintError for what cannot be.
    """

    review: float | None = None
    act: float | None = None
    least: int = LEAST
    hysteresis: float = 0.5
    hold_s: float = 3600.0
    cooldown_s: float = 86_400.0
    alerts_an_hour: int | None = 100

    def __post_init__(self) -> None:
        for name in ("review", "act"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise FingerprintError(f"policy: expected {name} above 0 and at most 1, got {value:g}")
        if self.review is not None and self.act is not None and self.review > self.act:
            raise FingerprintError(f"policy: expected review at most act, got {self.review:g} and {self.act:g}")
        for name, least in (("least", 1), ("hysteresis", 0), ("hold_s", 0), ("cooldown_s", 0), ("alerts_an_hour", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise FingerprintError(f"policy: expected {name} of at least {least}, got {value:g}")

    def thresholds(self, review: float, act: float) -> tuple[float, float]:
        """The two scores from which a level is reached, those of the bundle where the policy names none."""
        low = review if self.review is None else self.review
        high = act if self.act is None else self.act
        return low, max(low, high)

    def level(self, score: float, before: Standing, thresholds: tuple[float, float], time_us: int) -> int:
        """The level of a score for an account that stood so before."""
        reached = sum(score >= cut for cut in thresholds)
        held = before.level
        while held > reached and not self._kept(score, thresholds[held - 1], time_us - before.since_us):
            held -= 1
        return max(reached, held)

    def _kept(self, score: float, cut: float, past_us: int) -> bool:
        return past_us < self.hold_s * 1e6 or _odds(score) >= _odds(cut) - self.hysteresis

    def after(self, score: float, before: Standing, thresholds: tuple[float, float], time_us: int) -> Standing:
        """How the account stands now. ``since_us`` is when the score last reached the level that is told."""
        level = self.level(score, before, thresholds, time_us)
        reached = level > 0 and score >= thresholds[level - 1]
        since = max(time_us, before.since_us) if reached or level != before.level else before.since_us
        told = 0 if level == 0 and self._cool(before, time_us) else before.alerted
        return Standing(level, since, told, before.alerted_us)

    def due(self, now: Standing, before: Standing, time_us: int) -> bool:
        """Whether people should hear of it: the level is one that they were not told of (when it rose, or since), or it
        rose again and they were told a good while ago."""
        if now.level > before.alerted:
            return True
        return now.level > before.level and self._cool(before, time_us)

    def _cool(self, before: Standing, time_us: int) -> bool:
        return time_us - before.alerted_us >= self.cooldown_s * 1e6


def _odds(score: float) -> float:
    p = min(max(score, _EDGE), 1 - _EDGE)
    return math.log(p / (1 - p))


class Alerts:
    """The budget: so many alerts in an hour of traffic, whatever the order in which hours come."""

    def __init__(self, an_hour: int | None) -> None:
        self._an_hour = an_hour
        self._spent: Counter[int] = Counter()

    def left(self, time_us: int) -> bool:
        """Whether there is one left in the hour of this time."""
        return self._an_hour is None or self._spent[time_us // _HOUR_US] < self._an_hour

    def take(self, time_us: int) -> bool:
        """Whether there is one left in the hour of this time; it is used up."""
        if not self.left(time_us):
            return False
        self._spent[time_us // _HOUR_US] += 1
        if len(self._spent) > 100:
            del self._spent[min(self._spent)]
        return True
