"""When accounts are active: of each the hours whose hash is smallest, at most ``HOURS``, with their five-minute slots.

The hash is that of the hour, so that two accounts that are active in the same hours keep the same ones (coordinated
bottom-k sampling, Cohen & Kaplan 2007): few rows tell how alike two accounts of any size are. Whole hours are kept, not
single slots, because coincidence is told from daily rhythm inside an hour: who shares hours need not share their slots.
Like the sample of exchanges it is the same in any order, streamed, merged or day by day. Left out: any text, and who is
linked by it (signs).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["HOURS", "HOUR_US", "SLOTS", "Clock", "Hours", "mixed"]

HOURS = 48
SLOTS = 12  # five-minute slots of an hour
HOUR_US = 3_600_000_000
_WAITING = 500_000  # rows that wait before they are cut to size
_ACCOUNT = np.int64(2**32)


class Hours(NamedTuple):
    """``m`` active hours, by account and hour: ``account`` int32[m], ``hour`` int32[m] since 1970, and ``slots``
    int16[m], bit ``s`` set where anything was sent in its slot ``s``."""

    account: NDArray[np.int32]
    hour: NDArray[np.int32]
    slots: NDArray[np.int16]

    @classmethod
    def none(cls) -> Hours:
        """No active hour."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int16))

    @classmethod
    def of(cls, account: NDArray[np.int32], time_us: NDArray[np.int64]) -> Hours:
        """All active hours of these exchanges."""
        hour = time_us // HOUR_US
        slot = (time_us - hour * HOUR_US) * SLOTS // HOUR_US
        return cls(account, hour.astype(np.int32), (1 << slot).astype(np.int16))._once()

    @classmethod
    def merged(cls, parts: list[Hours], size: int = HOURS) -> Hours:
        """The sample of several together."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))._once()._smallest(size)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Hours:
        """The given rows."""
        return Hours(self.account[rows], self.hour[rows], self.slots[rows])

    def _once(self) -> Hours:
        key = self.account * _ACCOUNT + self.hour
        by = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[by], prepend=-1))
        first = by[starts]
        slots = np.bitwise_or.reduceat(self.slots[by], starts) if len(by) else self.slots
        return Hours(self.account[first], self.hour[first], slots)

    def _smallest(self, size: int) -> Hours:
        by = np.lexsort((mixed(self.hour), self.account))
        starts = np.flatnonzero(np.diff(self.account[by], prepend=-1))
        rank = np.arange(len(by)) - np.repeat(starts, np.diff(np.r_[starts, len(by)]))
        return self.take(np.sort(by[rank < size]))


class Clock:
    """Takes exchanges with ``add``, in any order; ``finish`` gives the sample, by account and hour."""

    def __init__(self, size: int = HOURS, before: Hours | None = None) -> None:
        self.size = size
        self._kept = [Hours.none() if before is None else before]
        self._waiting = 0

    def add(self, account: NDArray[np.int32], time_us: NDArray[np.int64]) -> None:
        """Keep what belongs to the sample."""
        self._kept.append(Hours.of(account, time_us))
        self._waiting += len(self._kept[-1].account)
        if self._waiting > max(len(self._kept[0].account), _WAITING):
            self._kept, self._waiting = [self.finish()], 0

    def finish(self) -> Hours:
        """The sample so far."""
        return Hours.merged(self._kept, self.size)


def mixed(values: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """A hash of each whole number, different for different ones (the finaliser of SplitMix64, Steele et al. 2014)."""
    out = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    out = (out ^ (out >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    out = (out ^ (out >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(out ^ (out >> np.uint64(31)))
