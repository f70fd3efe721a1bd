"""What a later run must know of the exchanges that were read: which they were, whose, and when, for their last day.

An exchange that is among them was read already. What is older than all of them could have been read and forgotten, so
that it is not taken at all. It holds 20 bytes an exchange of the last day of traffic, however long the traffic is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fingerprint.kernels.layout import MISSING

__all__ = ["RECENT_US", "Recent"]

RECENT_US: Final = 24 * 3_600_000_000  # before the newest exchange; what is older is forgotten


@dataclass(eq=False)
class Recent:
    """Exchanges of the last day, each once: ``identity`` uint64[m], ``account`` int32[m], ``time_us`` int64[m]."""

    identity: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    account: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    time_us: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def newest_us(self) -> int:
        """Time of the newest exchange, MISSING without any."""
        return int(self.time_us.max(initial=MISSING))

    @property
    def horizon_us(self) -> int:
        """The earliest time whose exchanges are all known, MISSING where nothing was read."""
        return self.newest_us - RECENT_US if len(self.time_us) else MISSING

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Recent:
        """The given exchanges."""
        return Recent(self.identity[rows], self.account[rows], self.time_us[rows])

    def add(self, more: Recent) -> None:
        """Put in more exchanges, which must be others, and forget what is too old now."""
        since = max(self.newest_us, more.newest_us) - RECENT_US
        old, new = self.take(self.time_us >= since), more.take(more.time_us >= since)
        self.identity = np.concatenate([old.identity, new.identity])
        self.account = np.concatenate([old.account, new.account])
        self.time_us = np.concatenate([old.time_us, new.time_us])

    def in_order(self) -> Recent:
        """The same by identity, so that it does not depend on the order of reading."""
        return self.take(np.argsort(self.identity, kind="stable"))

    def fits(self, accounts: int) -> bool:
        """Whether the parts are of the types, lengths and order that go together, in a state of so many accounts."""
        m = self.time_us.size
        kinds = [(part.dtype, part.shape) for part in (self.identity, self.account, self.time_us)]
        if kinds != [(np.dtype(kind), (m,)) for kind in (np.uint64, np.int32, np.int64)]:
            return False
        return bool(
            (self.identity[1:] > self.identity[:-1]).all()
            and ((self.account >= 0) & (self.account < accounts)).all()
            and (self.time_us >= max(self.horizon_us, 0)).all()
        )
