"""Where the histories of accounts are kept while they are served, behind one small protocol.

``MemoryStore`` keeps them in this process, bounded; ``RedisStore`` (``fingerprint[redis]``) shares them between
replicas. Both give the same histories to the bit, because both are made of ``fingerprint.history``. Left out: what the
histories say (``fingerprint.monitor``).
"""

import struct
from collections import Counter
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fingerprint.contribution import Contributions
from fingerprint.errors import FingerprintError, WindowError
from fingerprint.kernels.layout import AT

__all__ = ["NOBODY", "MemoryStore", "RedisStore", "Seen", "Standing", "Store", "StoreError"]


class StoreError(FingerprintError):
    """A store cannot be used, or what it had written cannot be read."""


class Standing(NamedTuple):
    """What an account was told to be: ``level`` 0 (allow), 1 (review) or 2 (act), when its score last reached that, and
    level and time of its last alert (0: never). Times are microseconds UTC of its traffic."""

    level: int
    since_us: int
    alerted: int
    alerted_us: int

    def to_bytes(self) -> bytes:
        return _STANDING.pack(*self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Standing":
        """What begins with what ``to_bytes`` wrote; WindowError for fewer bytes."""
        if len(data) < STANDING_BYTES:
            raise WindowError(f"expected {STANDING_BYTES} bytes of a standing, got {len(data)}")
        return cls(*_STANDING.unpack_from(data))


_STANDING: Final = struct.Struct("<BqBq")
STANDING_BYTES: Final = _STANDING.size
NOBODY: Final = Standing(0, 0, 0, 0)


class Seen(NamedTuple):
    """An account after an exchange: its windows int64[4, WORDS] in the order of ``history.HORIZONS`` (a copy), how it
    stands, and whether the exchange was new (False: its id was known, nothing was added)."""

    windows: NDArray[np.int64]
    standing: Standing
    new: bool

    def distinct(self) -> list[int]:
        """The windows that hold exchanges, each once: horizons are suffixes, so equal counts are equal windows."""
        n = self.windows[:, AT["n"]].tolist()
        return [i for i, count in enumerate(n) if count and (i == 0 or count != n[i - 1])]


class Store(Protocol):
    """What ``Monitor`` needs. All methods may be called from several threads.

    ``counts`` says what happened that an operator should know: evicted, forgotten, errors, ...
    """

    counts: Counter[str]

    def add(self, account: str, identity: int, rows: Contributions) -> Seen:
        """Take in one exchange (its gap is set here), once for each ``identity``."""
        ...

    def get(self, account: str) -> Seen | None:
        """The account as it is, None if nothing is known of it; ``new`` is False."""
        ...

    def stand(self, account: str, standing: Standing) -> None:
        """Keep how the account stands; nothing happens if it is unknown."""
        ...

    def __len__(self) -> int:
        """How many accounts are tracked."""
        ...

    def close(self) -> None:
        """Let go of connections and threads; what must be kept is written before."""
        ...


def __getattr__(name: str) -> Any:
    """The stores themselves, imported when they are asked for: Redis is an extra."""
    if name == "MemoryStore":
        from fingerprint.stores.memory import MemoryStore

        return MemoryStore
    if name == "RedisStore":
        from fingerprint.stores.redis import RedisStore

        return RedisStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
