"""What is kept of one account while it is being served: windows over several horizons, in which old traffic ages out.

An exchange stands in a cell of time, the older the coarser: quarters of an hour for the last hour, quarters of a day
for the last day, quarters of 30 days for the last 30 days; what is older is forgotten. Cells are windows, so that a
horizon is a merge of cells. Which cell an exchange stands in follows from its time and from the newest time of the
account alone, and the exchanges of the last ``HOLD_US`` are kept as rows, so that one that comes late takes its place:
a history depends on which exchanges it has seen, not on their order, as long as none is later than that. Left out:
whose history it is and where it is kept (``stores``), what it says (``monitor``).
"""

import struct
import zlib
from bisect import bisect_right, insort
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fingerprint.contribution import Contributions
from fingerprint.errors import WindowError
from fingerprint.kernels.layout import AT, LAYOUT_ID, MISSING, SESSION_GAP_US, SIZES, WORD_BINS, WORDS, M, W
from fingerprint.kernels.pack import PACKED_BYTES, pack, unpack
from fingerprint.kernels.reduce import add_to_each, clear, merge_rows, merge_suffixes
from fingerprint.kernels.text import SKETCH_COLUMNS, TEXT_COLUMNS, T

__all__ = ["HISTORY_LAYOUT", "HORIZONS", "ROW_BYTES", "History", "pack_row", "unpack_row"]

HORIZONS = ("session", "hour", "day", "month")  # the rows of ``History.windows``
HOLD_US = 30_000_000  # exchanges this much older than the newest no longer change the gaps of others
MOST_ROWS = 512  # the most that are kept as rows
SOME_ROWS = 64  # of more than these, the ones that are old enough go into cells at once
CELLS = 4  # of each length
_MINUTE = 60_000_000
_LENGTHS = (15 * _MINUTE, 360 * _MINUTE, 10_800 * _MINUTE)  # each divides the next
_HOUR = HORIZONS.index("hour")
_GAP, _TIME, _N = W["gap_us"], W["time_us"], AT["n"]
_BOUNDED = np.array([T[name] for name in ("head_form", "tail_form", "skeleton")])  # what a window is indexed with
_BOUNDS = np.array([SIZES[name] for name in ("head_form", "tail_form", "skeleton")])
_STOP, _STOPS = M["stop"], SIZES["stop_hist"]
_SHAPES: tuple[tuple[np.dtype[Any], int], ...] = (
    (np.dtype("<i8"), len(W)),
    (np.dtype("<i2"), TEXT_COLUMNS),
    (np.dtype("<i1"), SKETCH_COLUMNS),
    (np.dtype("<u2"), WORD_BINS),
    (np.dtype("<i4"), len(M)),
)
_SIZES = tuple(kind.itemsize * columns for kind, columns in _SHAPES)
ROW_BYTES = 8 + sum(_SIZES)
_VERSION = zlib.crc32(LAYOUT_ID + repr((_SHAPES, _LENGTHS, CELLS, HOLD_US, 2)).encode())
HISTORY_LAYOUT = struct.pack("<I", _VERSION)  # what every packed history begins with
_HEAD = struct.Struct("<IIHHqqqQ")  # layout, check sum of what follows, cells, rows, ...
_SUMMED = 8  # bytes of the head before what is summed
_CELL = struct.Struct("<Bi")
_SUM = struct.Struct("<I")
_IDENTITY = struct.Struct("<Q")

Row = tuple[int, int, Contributions]  # time, identity, one contribution


def pack_row(identity: int, rows: Contributions) -> bytes:
    """One exchange as ``ROW_BYTES`` bytes, its identity first."""
    return b"".join([_IDENTITY.pack(identity), *(part.tobytes() for part in rows)])


def unpack_row(data: bytes, at: int = 0) -> Row:
    """Time, identity and contribution of what ``pack_row`` wrote at ``data[at:]``; WindowError for fewer bytes."""
    if len(data) - at < ROW_BYTES:
        raise WindowError(f"expected {ROW_BYTES} bytes of an exchange, got {len(data) - at}")
    (identity,), at, parts = _IDENTITY.unpack_from(data, at), at + 8, []
    for (kind, columns), size in zip(_SHAPES, _SIZES, strict=True):
        parts.append(np.frombuffer(data, kind, columns, at).reshape(1, columns).copy())
        at += size
    when, text, _, _, meta = parts
    if (text[0, _BOUNDED] < 0).any() or (text[0, _BOUNDED] >= _BOUNDS).any() or not MISSING <= meta[0, _STOP] < _STOPS:
        raise WindowError("the bytes of an exchange are damaged")
    return int(when[0, _TIME]), identity, Contributions(*parts)


def _empty(count: int) -> NDArray[np.int64]:
    windows = np.empty((count, WORDS), np.int64)
    clear(windows)
    return windows


class History:
    """The exchanges of one account. ``add`` takes them; ``windows`` are what to judge.

    ``last_us``: when the newest arrived, MISSING (-1) before the first; ``forgotten``: how many were older than what is
    kept. Not thread-safe.
    """

    __slots__ = ("_cells", "_folded", "_free", "_ids", "_live", "_rows", "_table", "forgotten", "last_us")

    def __init__(self) -> None:
        self.last_us = MISSING
        self.forgotten = 0
        self._folded = (MISSING, 0)  # time and identity of the newest row that went into cells
        self._rows: list[Row] = []
        self._ids: set[int] = set()  # of the rows
        self._table = _empty(2)  # the session of the rows that went into cells, then cells
        self._cells: dict[tuple[int, int], int] = {}  # length and number to row of the table
        self._free: list[int] = []  # rows of the table below the last that is used
        self._live: NDArray[np.int64] | None = None

    def add(self, identity: int, rows: Contributions) -> bool:
        """Take in one exchange; its gap is set here. False, and nothing is changed, if it is one of the newest rows."""
        if identity in self._ids:
            return False
        time = int(rows.when[0, _TIME])
        if (time, identity) > (self._rows[-1][:2] if self._rows else self._folded):
            self._append(time, identity, rows)
        elif time <= self.last_us - HOLD_US or (time, identity) < self._folded:
            rows.when[0, _GAP] = MISSING
            self._into_cell(time, rows)
            self._live = None
        else:
            insort(self._rows, (time, identity, rows), key=lambda row: row[:2])
            self._ids.add(identity)
            self._set_gaps()
            self._live = None
        if len(self._rows) > MOST_ROWS:
            self._fold(len(self._rows) - MOST_ROWS)
        elif len(self._rows) > SOME_ROWS and not len(self._rows) % (SOME_ROWS // 2):
            self._fold(self._old())
        return True

    def _append(self, time: int, identity: int, rows: Contributions) -> None:
        last, self.last_us = self.last_us, time
        rows.when[0, _GAP] = MISSING if last == MISSING else time - last
        self._rows.append((time, identity, rows))
        self._ids.add(identity)
        if last != MISSING and time // _LENGTHS[0] != last // _LENGTHS[0]:
            self._age()
        elif self._live is not None:
            _follow(self._live, rows)

    @property
    def windows(self) -> NDArray[np.int64]:
        """int64[4, WORDS], in the order of ``HORIZONS``; not to be written to, and changed by the next ``add``."""
        if self._live is None:
            self._live = self._merged()
        return self._live

    def _set_gaps(self) -> None:
        before = self._folded[0]
        for time, _, rows in self._rows:
            rows.when[0, _GAP] = MISSING if before == MISSING else time - before
            before = time

    def _place(self, time: int) -> tuple[int, int] | None:
        """The cell of an exchange of this time: length and number; None where it is too old."""
        for size, length in enumerate(_LENGTHS):
            number = time // length
            if number > self.last_us // length - CELLS:
                return size, number
        return None

    def _into_cell(self, time: int, rows: Contributions) -> None:
        place = self._place(time)
        if place is None:
            self.forgotten += 1
            return
        at = self._cell(place)
        add_to_each(self._table[at : at + 1], *rows)

    def _cell(self, place: tuple[int, int]) -> int:
        """The row of the table that is this cell; an empty one is made."""
        at = self._cells.get(place)
        if at is None:
            at = self._cells[place] = self._free.pop() if self._free else len(self._cells) + 1
            if at >= len(self._table):
                self._table = np.concatenate([self._table, _empty(len(self._table))])
        return at

    def _fold(self, count: int) -> None:
        """The oldest rows into cells."""
        for time, identity, rows in self._rows[:count]:
            self._into_cell(time, rows)
            self._ids.discard(identity)
            _follow(self._table[:1], rows)
            self._folded = (time, identity)
        del self._rows[:count]

    def _old(self) -> int:
        """How many rows no late exchange can change any more."""
        return bisect_right(self._rows, self.last_us - HOLD_US, key=lambda row: row[0])

    def _age(self) -> None:
        """After time went on: old rows into cells, cells that are too old for their length into longer ones."""
        self._fold(self._old())
        longer = [place for place in self._cells if place[1] <= self.last_us // _LENGTHS[place[0]] - CELLS]
        for size, number in longer:
            self._move(self._cells.pop((size, number)), self._place(number * _LENGTHS[size]))
        self._live = None

    def _move(self, at: int, place: tuple[int, int] | None) -> None:
        """A row of the table to its cell, which it becomes where there is none yet."""
        if place is not None and place not in self._cells:
            self._cells[place] = at
            return
        if place is None:
            self.forgotten += int(self._table[at, _N])
        else:
            merge_rows(self._table[self._cells[place]], self._table[at])
        clear(self._table[at : at + 1])
        self._free.append(at)

    def _merged(self) -> NDArray[np.int64]:
        live = np.empty((len(HORIZONS), WORDS), np.int64)
        cells = np.array([(at, _HOUR + size) for (size, _), at in self._cells.items()], np.int64).reshape(-1, 2)
        merge_suffixes(live, self._table, cells)
        for _, _, rows in self._rows:
            _follow(live, rows)
        return live

    def to_bytes(self) -> bytes:
        """The history in a few hundred bytes to a few thousand: the same content has the same bytes."""
        self._fold(self._old())
        out = np.empty(PACKED_BYTES, np.uint8)
        counts = len(self._cells), len(self._rows)
        parts = [_HEAD.pack(_VERSION, 0, *counts, self.last_us, self.forgotten, *self._folded)]
        parts.append(out[: pack(self._table[0], out)].tobytes())
        for place in sorted(self._cells):
            parts += [_CELL.pack(*place), out[: pack(self._table[self._cells[place]], out)].tobytes()]
        parts += [pack_row(identity, rows) for _, identity, rows in self._rows]
        data = bytearray().join(parts)
        _SUM.pack_into(data, 4, zlib.crc32(data[_SUMMED:]))
        return bytes(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What ``to_bytes`` wrote; WindowError for anything else."""
        history = cls()
        if len(data) < _HEAD.size:
            raise WindowError(f"expected a history, got {len(data)} bytes")
        version, check, cells, rows, history.last_us, history.forgotten, *folded = _HEAD.unpack_from(data)
        history._folded = (folded[0], folded[1])
        if version != _VERSION:
            raise WindowError("expected a history of this version of fingerprint, got another: start without it")
        if check != zlib.crc32(data[_SUMMED:]):
            raise WindowError("the history's check sum does not match: its bytes are damaged")
        body, at = np.frombuffer(data, np.uint8), _HEAD.size
        if not (cells <= CELLS * len(_LENGTHS) and rows <= MOST_ROWS):
            raise WindowError(f"expected a history of at most {CELLS * len(_LENGTHS)} cells, got {cells}")
        history._table = _empty(max(cells + 1, 2))
        at = _unpacked(body, at, history._table[0])
        for _ in range(cells):
            if len(data) - at < _CELL.size:
                raise WindowError("the history ends too early")
            place = _CELL.unpack_from(data, at)
            if place[0] >= len(_LENGTHS) or place in history._cells:
                raise WindowError("the history is damaged")
            at = _unpacked(body, at + _CELL.size, history._table[history._cell(place)])
        for _ in range(rows):
            history._rows.append(unpack_row(data, at))
            at += ROW_BYTES
        if at != len(data):
            raise WindowError(f"expected a history of {at} bytes, got {len(data)}")
        history._ids = {identity for _, identity, _ in history._rows}
        return history

    def beyond(self, other: "History") -> list[Row]:
        """The rows of the last ``HOLD_US`` that ``other`` does not hold and cannot have in a cell."""
        since = max(self.last_us, other.last_us) - HOLD_US
        return [row for row in self._rows if row[0] > since and row[:2] > other._folded and row[1] not in other._ids]

    def summary(self) -> "History":
        """The same exchanges in one cell: what is kept of an account that is evicted."""
        other = History()
        other.last_us, other.forgotten = self.last_us, self.forgotten
        other._folded = self._rows[-1][:2] if self._rows else self._folded
        if self.last_us != MISSING:
            other._table[other._cell((len(_LENGTHS) - 1, self.last_us // _LENGTHS[-1]))] = self.windows[-1]
        return other


def _unpacked(body: NDArray[np.uint8], at: int, window: NDArray[np.int64]) -> int:
    """Read a window at a place; the place behind it."""
    at = unpack(body, at, window)
    if at < 0:
        raise WindowError("the history is damaged")
    return at


def _follow(live: NDArray[np.int64], rows: Contributions) -> None:
    """Add the newest row to all windows, the first of them being the session, which a gap of over 30 minutes ends."""
    gap = rows.when[0, _GAP]
    if gap > SESSION_GAP_US or gap == MISSING:
        clear(live[:1])
    add_to_each(live, *rows)
