"""Histories in this process: bounded by count and bytes, the least recently seen ones evicted and counted.

An account is hot (a ``History``, ready for the next exchange), packed (a few hundred bytes to a few thousand), or, once
evicted, a summary: one window of all that was known of it. Exchange ids are remembered in a table of fixed size that
forgets the oldest, never takes one id for another, and needs no cleaning.
"""

import threading
import zlib
from collections import Counter, OrderedDict
from typing import Final

import numpy as np

from fingerprint.contribution import Contributions
from fingerprint.history import History
from fingerprint.stores import NOBODY, STANDING_BYTES, Seen, Standing

__all__ = ["Ids", "MemoryStore"]

HOT_BYTES: Final = 48_000  # of a hot account, about
ACCOUNT_BYTES: Final = 240  # of a packed account beside its bytes: two Python objects and a place in a table
SUMMARIES: Final = 0.2  # of ``max_bytes``


class Ids:
    """Exchange ids seen lately: each has one place in the table, the next id of that place replaces it."""

    def __init__(self, size: int = 1 << 21) -> None:
        self.table = np.arange(size, dtype=np.uint64) ^ np.uint64(1)  # no number is at its own place
        self._mask = size - 1

    def seen(self, identity: int) -> bool:
        """Whether it was seen; from now on it was."""
        place = identity & self._mask
        if self.table[place] == identity:
            return True
        self.table[place] = identity
        return False


class _Hot:
    __slots__ = ("history", "standing")

    def __init__(self, history: History, standing: Standing) -> None:
        self.history, self.standing = history, standing


class MemoryStore:
    """A ``Store`` in memory.

    ``max_accounts`` and ``max_bytes`` bound it, ``hot`` is how many accounts are kept unpacked.
    """

    def __init__(self, max_accounts: int = 1_000_000, max_bytes: int = 2_000_000_000, hot: int = 2048) -> None:
        self.max_accounts, self.max_bytes, self.hot = max_accounts, max_bytes, max(hot, 1)
        self.counts: Counter[str] = Counter()
        self.ids = Ids()
        self._hot: OrderedDict[str, _Hot] = OrderedDict()
        self._packed: OrderedDict[str, bytes] = OrderedDict()  # least recently seen first
        self._summaries: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = self._summary_bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._hot) + len(self._packed)

    @property
    def bytes(self) -> int:
        """Bytes that are counted against ``max_bytes``."""
        return self._bytes + self._summary_bytes + HOT_BYTES * len(self._hot)

    def add(self, account: str, identity: int, rows: Contributions) -> Seen:
        with self._lock:
            known = self._of(account) or self._begin(account)
            if self.ids.seen(identity):
                self.counts["duplicates"] += 1
                return Seen(known.history.windows.copy(), known.standing, False)
            new = known.history.add(identity, rows)
            return Seen(known.history.windows.copy(), known.standing, new)

    def get(self, account: str) -> Seen | None:
        with self._lock:
            known = self._of(account)
            return known and Seen(known.history.windows.copy(), known.standing, False)

    def stand(self, account: str, standing: Standing) -> None:
        with self._lock:
            if known := self._of(account):
                known.standing = standing

    def close(self) -> None:
        """Nothing to let go of."""

    def _of(self, account: str) -> _Hot | None:
        """The account, now hot and the most recently seen one; None if it is unknown."""
        if known := self._hot.get(account):
            self._hot.move_to_end(account)
            return known
        if (packed := self._packed.pop(account, None)) is not None:
            self._bytes -= len(packed) + ACCOUNT_BYTES
        elif (summary := self._summaries.pop(account, None)) is not None:
            self._summary_bytes -= len(summary) + ACCOUNT_BYTES
            packed = zlib.decompress(summary)
        else:
            return None
        known = _Hot(History.from_bytes(packed[STANDING_BYTES:]), Standing.from_bytes(packed))
        self._heat(account, known)
        return known

    def _begin(self, account: str) -> _Hot:
        known = _Hot(History(), NOBODY)
        self._heat(account, known)
        return known

    def _heat(self, account: str, known: _Hot) -> None:
        self._hot[account] = known
        if len(self._hot) > self.hot:
            cold, other = self._hot.popitem(last=False)
            self._packed[cold] = packed = other.standing.to_bytes() + other.history.to_bytes()
            self._bytes += len(packed) + ACCOUNT_BYTES
        while (len(self) > self.max_accounts or self.bytes > self.max_bytes) and self._packed:
            self._evict()

    def _evict(self) -> None:
        """The least recently seen packed account becomes a summary; of too many summaries the oldest are forgotten."""
        account, packed = self._packed.popitem(last=False)
        self._bytes -= len(packed) + ACCOUNT_BYTES
        brief = History.from_bytes(packed[STANDING_BYTES:]).summary()
        self._summaries[account] = summary = zlib.compress(packed[:STANDING_BYTES] + brief.to_bytes())
        self._summary_bytes += len(summary) + ACCOUNT_BYTES
        self.counts["evicted"] += 1
        while self._summary_bytes > SUMMARIES * self.max_bytes or len(self._summaries) > self.max_accounts:
            _, oldest = self._summaries.popitem(last=False)
            self._summary_bytes -= len(oldest) + ACCOUNT_BYTES
            self.counts["forgotten"] += 1
