"""A window: what is known of any set of exchanges that is judged together, in at most 4 KiB.

Three integer vectors, reduced column by column: sums by +, minima by min, maxima by max. That is exactly
associative and commutative, so that streaming, batch, merging and splitting give the same bits, as long as the
contributions are the same: each must have been made with the true time of its account's previous exchange.
"""

import struct
import zlib
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fingerprint.contribution import Contributions
from fingerprint.errors import FingerprintError, WindowError
from fingerprint.kernels.layout import (
    AT,
    HEADER_BYTES,
    LAYOUT_ID,
    MISSING,
    N_MINIMA,
    N_SUMS,
    WINDOW_BYTES,
    WORDS,
)
from fingerprint.kernels.reduce import add_rows, clear, merge_rows

__all__ = ["Window"]

_MAGIC = b"FPW1"
_ZERO = np.zeros(1, np.int64)


class Window:
    """A mergeable summary of exchanges. ``state`` is ``int64[WORDS]``: sums, then minima, then maxima."""

    __slots__ = ("state",)

    def __init__(self, state: NDArray[np.int64]) -> None:
        self.state = state

    @classmethod
    def empty(cls) -> Self:
        """The window of no exchange: the neutral element of ``merge``. It is no evidence, so do not score it."""
        state = np.empty((1, WORDS), np.int64)
        clear(state)
        return cls(state[0])

    @property
    def sums(self) -> NDArray[np.int64]:
        """int64[N_SUMS], a view."""
        return self.state[:N_SUMS]

    @property
    def minima(self) -> NDArray[np.int64]:
        """int64[N_MINIMA], a view."""
        return self.state[N_SUMS : N_SUMS + N_MINIMA]

    @property
    def maxima(self) -> NDArray[np.int64]:
        """int64[N_MAXIMA], a view."""
        return self.state[N_SUMS + N_MINIMA :]

    def __len__(self) -> int:
        """Number of exchanges."""
        return int(self.state[AT["n"]])

    @property
    def last_us(self) -> int:
        """When the newest exchange arrived (microseconds UTC), MISSING (-1) for the empty window."""
        return int(self.state[AT["last_us"]]) if len(self) else MISSING

    def update(self, rows: Contributions) -> Self:
        """Add contributions; returns the window itself."""
        if not isinstance(rows, Contributions):
            raise FingerprintError(f"expected what Scorer.read returns, got {type(rows).__name__}")
        count = len(rows.when)
        if count == 1:
            add_rows(self.state.reshape(1, WORDS), _ZERO, _ZERO, *rows, 0, 1)
        else:
            add_rows(self.state.reshape(1, WORDS), np.zeros(count, np.int64), np.arange(count), *rows, 0, count)
        return self

    def merge(self, other: "Window") -> Self:
        """Add what another window has seen (no exchange may be in both); returns the window itself.

        The same bits as one window of all exchanges, if each was read with the true time of its account's previous
        one, whichever part that went to: see ``after`` of ``Scorer.read``.
        """
        if not isinstance(other, Window):
            raise FingerprintError(f"expected a Window, got {type(other).__name__}")
        merge_rows(self.state, other.state)
        return self

    def copy(self) -> "Window":
        """An independent window with the same content."""
        return Window(self.state.copy())

    def to_bytes(self) -> bytes:
        """``WINDOW_BYTES`` bytes: magic, check sum, layout, then the state as little-endian int64."""
        body = self.state.astype("<i8").tobytes()
        return _MAGIC + struct.pack("<II", len(body), zlib.crc32(body)) + b"\0\0\0\0" + LAYOUT_ID + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The window that ``to_bytes`` wrote; raises ``WindowError`` for anything else."""
        if len(data) != WINDOW_BYTES or data[:4] != _MAGIC:
            raise WindowError(f"expected a window of {WINDOW_BYTES} bytes, got {len(data)} bytes of something else")
        if data[16:HEADER_BYTES] != LAYOUT_ID:
            raise WindowError(
                f"expected window layout {LAYOUT_ID.hex()}, got {data[16:HEADER_BYTES].hex()}: "
                "it was written by another version of fingerprint; rebuild it from the traffic"
            )
        body = data[HEADER_BYTES:]
        if struct.unpack("<II", data[4:12]) != (len(body), zlib.crc32(body)):
            raise WindowError("the window's check sum does not match: its bytes are damaged")
        return cls(np.frombuffer(body, "<i8").astype(np.int64))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Window) and bool(np.array_equal(self.state, other.state))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Window(exchanges={len(self)})"
