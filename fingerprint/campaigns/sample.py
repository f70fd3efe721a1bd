"""A uniform sample of each account's exchanges: those whose identity hashes are smallest, at most ``SIZE`` an account.

The smallest hashes of a union are the smallest of the parts' smallest (bottom-k sampling, Cohen & Kaplan 2007), so
the sample, like a window, is the same in any order, in batch, streamed or merged. It holds integers, never text:
what links accounts (forms, content, what is known of who asks), what is asked (the prompt head's outputs) and when,
184 bytes an exchange. Beside it the hours in which accounts are active are sampled (hours), and what they number
(numbered).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.assemble import Ordered
from fingerprint.campaigns.hours import Clock, Hours
from fingerprint.campaigns.numbered import Numbered, Numbering
from fingerprint.kernels.layout import SKETCH, M, W

__all__ = ["FACTS", "SIZE", "Keeper", "Sample"]

SIZE = 48
FACTS = ("ip", "payment", "created_hour", "model")  # of the metadata row
_NONE = np.uint64(2**64 - 1)
_WAITING = 500_000  # rows that wait before the sample is cut to size


class Sample(NamedTuple):
    """``m`` exchanges: ``account`` int32[m], ``identity`` uint64[m], ``when`` int64[m, 5] and ``text`` int16[m, 24] as
    in ``Contributions``, ``content`` and ``form`` int8[m, 32] (unit vectors times 127), ``facts`` int32[m, 4], the
    ``FACTS`` of ``Contributions.meta``."""

    account: NDArray[np.int32]
    identity: NDArray[np.uint64]
    when: NDArray[np.int64]
    text: NDArray[np.int16]
    content: NDArray[np.int8]
    form: NDArray[np.int8]
    facts: NDArray[np.int32]

    @classmethod
    def of(cls, held: Ordered) -> Sample:
        """All of these exchanges."""
        rows = held.rows
        sketch = rows.sketch
        return cls(
            *(held.account, held.identity, rows.when, rows.text, sketch[:, :SKETCH], sketch[:, SKETCH : 2 * SKETCH]),
            rows.meta[:, [M[name] for name in FACTS]],
        )

    @classmethod
    def concat(cls, parts: list[Sample]) -> Sample:
        """All rows of several, in order."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def take(self, rows: NDArray[np.int64]) -> Sample:
        """The given rows."""
        return Sample(*(part[rows] for part in self))  # type: ignore[arg-type]

    def smallest(self, size: int) -> NDArray[np.int64]:
        """Row numbers of the ``size`` smallest identities of each account, each once, by account and identity."""
        by = np.lexsort((self.identity, self.account))
        account, identity = self.account[by], self.identity[by]
        new = np.r_[True, (np.diff(account) != 0) | (identity[1:] != identity[:-1])] if len(by) else np.zeros(0, bool)
        by, account = by[new], account[new]
        starts = np.flatnonzero(np.r_[True, np.diff(account) != 0]) if len(by) else by
        rank = np.arange(len(by)) - np.repeat(starts, np.diff(np.r_[starts, len(by)]))
        return np.asarray(by[rank < size], np.int64)

    @property
    def time_us(self) -> NDArray[np.int64]:
        """int64[m] microseconds UTC."""
        return self.when[:, W["time_us"]]


class Keeper:
    """Takes exchanges with ``add``, in any order; ``finish`` gives the sample, sorted by account and identity.

    ``clock`` keeps the hours of all of them, ``numbering`` the numbers of those that were noted (``number_keys``).
    """

    def __init__(
        self,
        size: int = SIZE,
        before: Sample | None = None,
        hours: Hours | None = None,
        numbered: Numbered | None = None,
    ) -> None:
        self.size = size
        self.clock, self.numbering = Clock(before=hours), Numbering(before=numbered)
        self._limit = np.empty(0, np.uint64)  # of each account, the largest identity that is still kept
        self._kept: list[Sample] = [before] if before else []
        self._waiting = 0

    def add(self, held: Ordered) -> None:
        """Keep what belongs to the sample."""
        if not len(held.account):
            return
        self.clock.add(held.account, held.rows.when[:, W["time_us"]])
        if held.noted is not None:
            self.numbering.add(held.account, held.noted)
        self._room_for(held.account)
        candidates = held.take(np.flatnonzero(held.identity < self._limit[held.account]))
        rows = Sample.of(candidates)
        self._kept.append(rows.take(rows.smallest(self.size)))
        self._waiting += len(self._kept[-1].account)
        if self._waiting > max(len(self._kept[0].account), _WAITING):
            self._cut()

    def _room_for(self, account: NDArray[np.int32]) -> None:
        known, needed = len(self._limit), int(account.max(initial=-1)) + 1
        if needed > known:
            self._limit = np.r_[self._limit, np.full(max(needed, 2 * known) - known, _NONE)]

    def _cut(self) -> None:
        held = Sample.concat(self._kept)
        self._kept = []
        kept = held.take(held.smallest(self.size))
        last = np.flatnonzero(np.diff(kept.account, append=-1) != 0)
        full = np.diff(np.r_[-1, last]) == self.size
        where = kept.account[last[full]]
        self._room_for(where)
        self._limit[where] = kept.identity[last[full]]
        self._kept, self._waiting = [kept], 0

    def finish(self) -> Sample:
        """The sample; ValueError without any exchange."""
        if not self._kept:
            raise ValueError("no exchange was added")
        self._cut()
        return self._kept[0]
