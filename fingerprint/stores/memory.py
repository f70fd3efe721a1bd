"""Histories in this process: bounded by count and bytes, the least recently seen ones evicted and counted.

An account is hot (a ``History``, ready for the next exchange), packed (a few hundred bytes to a few thousand), or, once
evicted, a summary: one window of all that was known of it. Exchange ids are remembered in a table of fixed size that
forgets the oldest, never takes one id for another, and needs no cleaning. With ``snapshot`` all of it outlives the
process. Left out: the file (``snapshot``), sharing between processes (``redis``).
"""

import sys
import threading
import zlib
from collections import Counter, OrderedDict
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from fingerprint.contribution import Contributions
from fingerprint.errors import WindowError
from fingerprint.history import History
from fingerprint.stores import NOBODY, STANDING_BYTES, Seen, Standing, StoreError
from fingerprint.stores import snapshot as snapshots

__all__ = ["Ids", "MemoryStore"]

HOT_BYTES: Final = 48_000  # of a hot account, about
ACCOUNT_BYTES: Final = 200  # of a packed account beside its name and its bytes: a place in a table
SUMMARIES: Final = 0.2  # of ``max_bytes``
SUMMARY_BYTES: Final = 1 << 16  # the most that one unpacks to
Packed = bytes  # of an account
PIECE, PIECE_S, PIECE_IDS = 500, 0.0005, 1 << 13  # accounts, seconds, and rows of ids, for which a snapshot locks


class Ids:
    """Exchange ids seen lately. Each belongs to one row of the table, newest first: the next takes the oldest's place.

    Of the last quarter of ``size`` (a power of two) all but one in 1,000 are remembered, of the last half 19 in 20.
    """

    WAYS: Final = 8

    def __init__(self, size: int = 1 << 21) -> None:
        self.table = np.zeros((size // self.WAYS, self.WAYS), np.uint64)  # 0: no id
        self._mask = len(self.table) - 1

    def seen(self, identity: int) -> bool:
        """Whether it was seen; from now on it was."""
        row, identity = self.table[identity & self._mask], identity or 1
        if identity in row.tolist():
            return True
        row[1:] = row[:-1]
        row[0] = identity
        return False

    def rows(self, start: int) -> NDArray[np.uint64]:
        """``PIECE_IDS`` rows of the table, a copy."""
        return self.table[start : start + PIECE_IDS].copy()

    def put(self, data: bytes) -> None:
        """Take back what ``_ids_to_bytes`` wrote of a table of the same size."""
        rows = self.table[int.from_bytes(data[:8], "little") :][:PIECE_IDS]
        bits = np.frombuffer(data, np.uint8, rows.size // 8, 8)
        rows[np.unpackbits(bits).reshape(rows.shape) == 1] = np.frombuffer(data, np.uint64, -1, 8 + len(bits))


def _ids_to_bytes(start: int, rows: NDArray[np.uint64], without: list[int]) -> bytes:
    """Rows of the table: the first one's number, where there are ids, and which."""
    if without:
        rows[np.isin(rows, np.array(without, np.uint64))] = 0
    taken = rows != 0
    return b"".join([start.to_bytes(8, "little"), np.packbits(taken).tobytes(), rows[taken].tobytes()])


class _Hot:
    __slots__ = ("history", "standing")

    def __init__(self, history: History, standing: Standing) -> None:
        self.history, self.standing = history, standing

    def seen(self, new: bool) -> Seen:
        return Seen(self.history.windows.copy(), self.standing, new)

    def to_bytes(self) -> bytes:
        return self.standing.to_bytes() + self.history.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "_Hot":
        return cls(History.from_bytes(data[STANDING_BYTES:]), Standing.from_bytes(data))


def _size(account: str, data: bytes) -> int:
    return len(data) + sys.getsizeof(account) + ACCOUNT_BYTES


def _hot_size(account: str) -> int:
    return HOT_BYTES + sys.getsizeof(account)


class MemoryStore:
    """A ``Store`` in memory.

    ``max_accounts`` and ``max_bytes`` bound it, ``hot`` is how many accounts are kept unpacked. ``snapshot`` is a file:
    what it holds is taken in at the start, and it is written anew every ``every_s`` seconds and by ``close``, beside
    requests; what cannot be written is counted in ``counts["snapshot_errors"]``. One process keeps one file, from
    before its threads begin (after ``fork``). Exchanges of the traffic that are sent again after a restart are counted
    once, as far back as ids are remembered.
    """

    def __init__(
        self,
        max_accounts: int = 1_000_000,
        max_bytes: int = 2_000_000_000,
        hot: int = 2048,
        snapshot: str | Path | None = None,
        every_s: float = 60.0,
    ) -> None:
        self.max_accounts, self.max_bytes = max_accounts, max_bytes
        self.hot = max(min(hot, max_accounts, max_bytes // HOT_BYTES), 1)
        self.counts: Counter[str] = Counter()
        self.ids = Ids()
        self._hot: OrderedDict[str, _Hot] = OrderedDict()
        self._packed: OrderedDict[str, bytes] = OrderedDict()  # least recently seen first
        self._summaries: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = self._summary_bytes = 0
        self._lock, self._saving = threading.Lock(), threading.Lock()
        self._saved: set[str] | None = None  # accounts that the snapshot in work holds or will not hold
        self._later: list[int] = []  # ids of theirs that came after that
        self._keeper: snapshots.Keeper | None = None
        if snapshot is not None:
            path = Path(snapshot).absolute()
            self._keeper = snapshots.Keeper(path, every_s, lambda: self.save(path), self._failed)
            self._take(snapshots.read(path))
            self._keeper.start()

    @classmethod
    def load(
        cls, path: str | Path, max_accounts: int = 1_000_000, max_bytes: int = 2_000_000_000, hot: int = 2048
    ) -> Self:
        """The store that was saved there, within other bounds if need be; an empty one, and a warning in the log, where
        no snapshot can be used."""
        store = cls(max_accounts, max_bytes, hot)
        store._take(snapshots.read(Path(path)))
        return store

    def __len__(self) -> int:
        return len(self._hot) + len(self._packed)

    @property
    def bytes(self) -> int:
        """Bytes that are counted against ``max_bytes``."""
        return self._bytes + self._summary_bytes

    def add(self, account: str, identity: int, rows: Contributions) -> Seen:
        with self._lock:
            known = self._of(account)
            if self.ids.seen(identity):
                self.counts["duplicates"] += 1
                return (known or _Hot(History(), NOBODY)).seen(False)
            known = known or self._begin(account)
            if self._saved is not None and account in self._saved:
                self._later.append(identity or 1)
            return known.seen(known.history.add(identity, rows))

    def get(self, account: str) -> Seen | None:
        with self._lock:
            known = self._of(account)
            return known.seen(False) if known else None

    def stand(self, account: str, standing: Standing) -> None:
        with self._lock:
            if known := self._of(account):
                known.standing = standing

    def save(self, path: str | Path) -> None:
        """Write a snapshot, while requests go on: each account as it is at one moment. StoreError if it cannot be."""
        with self._saving, closing(self._blocks()) as blocks:
            try:
                snapshots.write(Path(path), blocks)
            except OSError as error:
                raise StoreError(f"snapshot {path}: {error.strerror or type(error).__name__}") from None

    def close(self) -> None:
        """Write the last snapshot, if snapshots are kept."""
        if self._keeper:
            self._keeper.close()

    def _failed(self) -> None:
        with self._lock:
            self.counts["snapshot_errors"] += 1

    def _of(self, account: str) -> _Hot | None:
        """The account, now hot and the most recently seen one; None if it is unknown."""
        if known := self._hot.get(account):
            self._hot.move_to_end(account)
            return known
        packed, summary = self._packed.pop(account, None), None
        if packed is not None:
            self._bytes -= _size(account, packed)
        elif (summary := self._summaries.pop(account, None)) is not None:
            self._summary_bytes -= _size(account, summary)
        else:
            return None
        try:
            known = _Hot.from_bytes(_brief(summary) if packed is None else packed)
        except WindowError:
            self.counts["damaged"] += 1
            return None
        self._heat(account, known)
        return known

    def _begin(self, account: str) -> _Hot:
        known = _Hot(History(), NOBODY)
        if self._saved is not None:
            self._saved.add(account)
        self._heat(account, known)
        return known

    def _heat(self, account: str, known: _Hot) -> None:
        self._hot[account] = known
        self._bytes += _hot_size(account)
        if len(self._hot) > self.hot:
            cold, other = self._hot.popitem(last=False)
            self._bytes -= _hot_size(cold)
            self._pack(cold, other.to_bytes())
        self._shrink()

    def _pack(self, account: str, packed: Packed) -> None:
        self._packed[account] = packed
        self._bytes += _size(account, packed)

    def _shrink(self) -> None:
        """The least recently seen packed accounts become summaries, of too many summaries the oldest are forgotten."""
        while (len(self) > self.max_accounts or self.bytes > self.max_bytes) and self._packed:
            account, packed = self._packed.popitem(last=False)
            self._bytes -= _size(account, packed)
            self.counts["evicted"] += 1
            try:
                brief = History.from_bytes(packed[STANDING_BYTES:]).summary()
            except WindowError:
                self.counts["damaged"] += 1
                continue
            self._summarise(account, zlib.compress(packed[:STANDING_BYTES] + brief.to_bytes()))

    def _summarise(self, account: str, summary: Packed) -> None:
        self._summaries[account] = summary
        self._summary_bytes += _size(account, summary)
        while self._summary_bytes > SUMMARIES * self.max_bytes or len(self._summaries) > self.max_accounts:
            oldest, forgotten = self._summaries.popitem(last=False)
            self._summary_bytes -= _size(oldest, forgotten)
            self.counts["forgotten"] += 1

    def _take(self, state: snapshots.State) -> None:
        """What a snapshot holds, in place of nothing."""
        self.counts.update(state.counts)
        for piece in state.ids:
            self.ids.put(piece)
        for account, summary in state.summaries.items():
            self._summarise(account, summary)
        for account, packed in state.accounts.items():
            self._pack(account, packed)
        self._shrink()

    def _blocks(self) -> Generator[snapshots.Block, None, None]:
        """All there is, piece by piece; the lock is held for one at a time.

        What comes in meanwhile counts for an account that was not written yet, and its id with it; for one that was
        written neither counts.
        """
        with self._lock:
            names = [*dict.keys(self._summaries), *dict.keys(self._packed), *self._hot]  # nothing else is as fast
            self._saved, self._later = set(), []
        names.reverse()
        try:
            while names:
                with self._lock:
                    pieces = self._piece(names)
                yield from pieces
            for start in range(0, len(self.ids.table), PIECE_IDS):
                with self._lock:
                    rows, later = self.ids.rows(start), self._later.copy()
                yield snapshots.IDS, [("", _ids_to_bytes(start, rows, later))]
            with self._lock:
                counts = dict(self.counts)
            yield snapshots.COUNTS, [(name, snapshots.NUMBER.pack(count)) for name, count in counts.items()]
        finally:
            with self._lock:
                self._saved, self._later = None, []

    def _piece(self, names: list[str]) -> list[snapshots.Block]:
        """What is known of some accounts, taken off the end of their names."""
        assert self._saved is not None
        accounts, summaries = [], []
        until, left = perf_counter() + PIECE_S, max(len(names) - PIECE, 0)
        while len(names) > left and perf_counter() < until:
            account = names.pop()
            if account in self._saved:
                continue
            self._saved.add(account)
            if known := self._hot.get(account):
                accounts.append((account, known.to_bytes()))
            elif (packed := self._packed.get(account)) is not None:
                accounts.append((account, packed))
            elif (summary := self._summaries.get(account)) is not None:
                summaries.append((account, summary))
        return [(snapshots.ACCOUNTS, accounts), (snapshots.SUMMARIES, summaries)]


def _brief(summary: bytes | None) -> bytes:
    """A summary unpacked; WindowError if it is none."""
    try:
        return zlib.decompressobj().decompress(summary or b"", SUMMARY_BYTES)
    except zlib.error:
        raise WindowError("the summary is damaged") from None
