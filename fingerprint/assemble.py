"""From batches of records to windows: drop duplicates, put exchanges in order, cut sessions, reduce.

Input need not be sorted. What needs order is worked out over contributions (about 300 bytes an exchange),
never over text. With ``by="account"`` and roughly sorted input, exchanges older than a moving horizon are
reduced into their windows while reading, so that memory is windows plus ``hold`` exchanges (and 12 bytes an
exchange to know duplicates and whose the first was); an exchange older than the horizon raises
``OutOfOrderError`` and the caller reads again with ``hold=None``. With ``by="session"`` contributions are held,
which is less than windows.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.contribution import Contributions, contribute
from fingerprint.errors import OutOfOrderError
from fingerprint.exchange import Batch, Names
from fingerprint.head import Head
from fingerprint.kernels.layout import AT, MISSING, SESSION_GAP_US, WORDS, W
from fingerprint.kernels.reduce import add_rows, clear
from fingerprint.recent import Recent

__all__ = ["HOLD", "Assembler", "Entities", "Ordered", "order", "reduce_rows", "session_keys"]

HOLD = 1_000_000  # exchanges held for ordering before the oldest are reduced
_CHUNK = 8_192  # windows yielded at once
_THREADS = 2


class Entities(NamedTuple):
    """Windows of accounts or sessions: names, then ``int64[k]`` facts and ``int64[k, WORDS]`` states."""

    entity_id: list[str]
    account_id: list[str]
    n: NDArray[np.int64]
    first_us: NDArray[np.int64]
    last_us: NDArray[np.int64]
    windows: NDArray[np.int64]


class Ordered(NamedTuple):
    """Exchanges as columns; after ``order``: without duplicates, by account, then time, gaps filled in.

    ``noted`` int64[m] is what the ``note`` of an ``Assembler`` gives for each, None without one.
    """

    account: NDArray[np.int32]
    session: NDArray[np.int32]
    identity: NDArray[np.uint64]
    rows: Contributions
    noted: NDArray[np.int64] | None = None

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> "Ordered":
        """The given exchanges."""
        noted = None if self.noted is None else self.noted[rows]
        return Ordered(self.account[rows], self.session[rows], self.identity[rows], self.rows.take(rows), noted)


def fill_gaps(held: Ordered, last_us: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Write each exchange's gap to its account's previous one into ``held``; returns the order found.

    The order is by account and time; equal times are ordered by identity, so that the result does not depend
    on the order of the input. ``last_us`` gives each account's time before these exchanges (or MISSING).
    """
    time = held.rows.when[:, W["time_us"]]
    by = np.lexsort((held.identity, time, held.account))
    account, moments = held.account[by], time[by]
    first = np.ones(len(by), bool)
    first[1:] = account[1:] != account[:-1]
    gaps = np.diff(moments, prepend=0)
    before = np.full(first.sum(), MISSING) if last_us is None else last_us[account[first]]
    gaps[first] = np.where(before == MISSING, MISSING, np.maximum(moments[first] - before, 0))
    held.rows.when[by, W["gap_us"]] = gaps
    return by


def order(held: Ordered) -> Ordered:
    """The exchanges sorted by account and time, gaps filled in."""
    return held.take(fill_gaps(held))


def session_keys(ordered: Ordered) -> NDArray[np.int64]:
    """A number for each exchange's session: the record's own session, or a run without idle gap over 30 min."""
    own = ordered.session >= 0
    keys = np.empty(len(own), np.int64)
    runs = np.flatnonzero(~own)
    account, time = ordered.account[runs], ordered.rows.when[runs, W["time_us"]]
    starts = np.ones(len(runs), bool)
    starts[1:] = (account[1:] != account[:-1]) | (np.diff(time) > SESSION_GAP_US)
    keys[runs] = np.cumsum(starts) - 1
    pairs = ordered.account[own].astype(np.int64) << 32 | ordered.session[own]
    keys[own] = np.unique(pairs, return_inverse=True)[1] + starts.sum()
    return keys


def reduce_rows(windows: NDArray[np.int64], entity: NDArray[np.int64], rows: Contributions) -> None:
    """Add each contribution to ``windows[entity]``, in threads that never share a window."""
    by = np.argsort(entity, kind="stable")
    edges = np.linspace(0, len(by), 4 * _THREADS + 1).astype(np.int64)
    cuts = np.unique(np.searchsorted(entity[by], entity[by[np.minimum(edges, len(by) - 1)]])) if len(by) else edges[:1]
    cuts = np.r_[cuts, len(by)]

    def add(start: int, stop: int) -> None:
        add_rows(windows, entity, by, *rows, start, stop)

    if len(by) < 4096:
        add(0, len(by))
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(add, cuts[:-1], cuts[1:]))


def _empty_windows(count: int) -> NDArray[np.int64]:
    windows = np.empty((count, WORDS), np.int64)
    clear(windows)
    return windows


class Assembler:
    """Takes batches with ``add`` and gives windows with ``finish``; ``duplicates`` counts what was dropped.

    ``foreign`` counts those of them whose account is not that of the first with their id.

    ``accounts`` and ``sessions`` are the names that the reader filled. ``hold`` bounds the exchanges kept
    for ordering (None: all of them). ``keep`` is given the exchanges, each once, on their way into account windows,
    and ``windows`` are those of the first ``accounts``, of traffic that was read before.

    ``recent`` is what is known of the last day of that traffic: what is among it is a duplicate, what is older than
    its horizon is not taken and counted in ``late``, and what is read is added to it. Exchanges that are older than
    what was read before of their account are counted in ``belated``: their gaps are as in order, but the gap of the
    next exchange, which is in the window already, stays as it was.

    ``note`` reads one number more of each exchange while its text is there, for ``keep`` (``Ordered.noted``).
    """

    def __init__(
        self,
        by: Literal["session", "account"],
        head: Head,
        accounts: Names,
        sessions: Names,
        hold: int | None = HOLD,
        keep: Callable[[Ordered], None] = lambda held: None,
        windows: NDArray[np.int64] | None = None,
        recent: Recent | None = None,
        note: Callable[[Batch], NDArray[np.int64]] | None = None,
    ) -> None:
        self.by, self.head, self.accounts, self.sessions = by, head, accounts, sessions
        self.duplicates = self.foreign = self.exchanges = self.late = self.belated = 0
        self._hold = hold if by == "account" else None
        self._keep, self._note = keep, note
        self._held: list[Ordered] = []
        self._reading: list[Future[Ordered]] = []  # batches whose text is being read while the next is decoded
        self._reader = ThreadPoolExecutor(1)
        self._count = 0
        self.recent = recent
        known = Recent() if recent is None else recent.in_order()
        self._seen, self._seen_by = known.identity, known.account  # sorted ids, their accounts
        self._oldest = known.horizon_us  # that is taken
        self._horizon: int = MISSING
        self._windows = _empty_windows(0) if windows is None else windows.copy()

    def add(self, batch: Batch) -> None:
        """Read one batch; raises ``OutOfOrderError`` when it is older than what was already reduced."""
        taken = batch.time_us >= self._oldest
        count = int(taken.sum())
        if count and int(batch.time_us[taken].min()) < self._horizon:
            raise OutOfOrderError("exchanges are out of order by more than is held")
        self.late += len(taken) - count
        self._reading.append(self._reader.submit(self._read, batch, taken if count < len(taken) else None))
        if len(self._reading) > 2:
            self._held.append(self._reading.pop(0).result())
        self._count += count
        if self._hold is not None and self._count > self._hold:
            self._reduce_old()

    def _read(self, batch: Batch, taken: NDArray[np.bool_] | None) -> Ordered:
        noted = self._note(batch) if self._note else None
        rows = Ordered(batch.account, batch.session, batch.identity, contribute(batch, self.head), noted)
        return rows if taken is None else rows.take(taken)

    def _take_held(self) -> Ordered:
        """All held exchanges without duplicates; the first in the order of the input stays."""
        parts = self._held + [batch.result() for batch in self._reading]
        self._held, self._reading, self._count = [], [], 0
        held = Ordered(
            np.concatenate([part.account for part in parts]),
            np.concatenate([part.session for part in parts]),
            np.concatenate([part.identity for part in parts]),
            Contributions.concat([part.rows for part in parts]),
            np.concatenate([part.noted for part in parts if part.noted is not None]) if self._note else None,
        )
        return self._without_duplicates(held)

    def _without_duplicates(self, held: Ordered) -> Ordered:
        by = np.argsort(held.identity, kind="stable")
        identity = held.identity[by]
        new = np.ones(len(by), bool)
        new[1:] = identity[1:] != identity[:-1]
        first = by[new]
        owner, fresh = held.account[first], np.ones(len(first), bool)
        if len(self._seen):
            at = np.minimum(np.searchsorted(self._seen, identity[new]), len(self._seen) - 1)
            fresh = self._seen[at] != identity[new]
            owner = np.where(fresh, owner, self._seen_by[at])
        kept = first[fresh]
        if len(kept) == len(by):
            return held
        self.duplicates += len(by) - len(kept)
        self.foreign += int((held.account[by] != owner[np.cumsum(new) - 1]).sum())
        return held.take(np.sort(kept))

    def _remember(self, held: Ordered) -> None:
        """Put ids that are not there yet among those seen."""
        by = np.argsort(held.identity)
        at = np.searchsorted(self._seen, held.identity[by])
        self._seen = np.insert(self._seen, at, held.identity[by])
        self._seen_by = np.insert(self._seen_by, at, held.account[by])

    def _reduce_old(self) -> None:
        """Reduce the older three quarters of what is held into account windows."""
        held = self._take_held()
        time = held.rows.when[:, W["time_us"]]
        if len(time):
            horizon = int(np.quantile(time, 0.75, method="lower"))
            self._held, newer = [held.take(time >= horizon)], held.take(time < horizon)
            self._count = len(self._held[0].account)
            self._horizon = horizon
            self._into_accounts(newer)

    def _into_accounts(self, held: Ordered) -> None:
        known = len(self._windows)
        if len(self.accounts.items) > known:
            grown = _empty_windows(max(len(self.accounts.items), 2 * known))
            grown[:known] = self._windows
            self._windows = grown
        fill_gaps(held, self._windows[:, AT["last_us"]])
        if self.recent is not None:
            self._mend_gaps(held, self.recent)
            self.recent.add(Recent(held.identity, held.account, held.rows.when[:, W["time_us"]]))
        reduce_rows(self._windows, held.account.astype(np.int64), held.rows)
        self._keep(held)
        self.exchanges += len(held.account)
        self._remember(held)

    def _mend_gaps(self, held: Ordered, recent: Recent) -> None:
        """Where an account has later exchanges in its window already, gaps go to those that were before them."""
        time = held.rows.when[:, W["time_us"]]
        belated = time < self._windows[held.account, AT["last_us"]]
        if not belated.any():
            return
        self.belated += int(belated.sum())
        whose = np.unique(held.account[belated])
        rows, known = np.flatnonzero(np.isin(held.account, whose)), recent.take(np.isin(recent.account, whose))
        account = np.concatenate([known.account, held.account[rows]])
        moments = np.concatenate([known.time_us, time[rows]])
        by = np.lexsort((np.concatenate([known.identity, held.identity[rows]]), moments, account))
        gaps = np.empty(len(by), np.int64)
        gaps[by] = np.where(np.diff(account[by], prepend=-1) == 0, np.diff(moments[by], prepend=0), MISSING)
        held.rows.when[rows, W["gap_us"]] = gaps[len(known.account) :]

    def account_windows(self) -> NDArray[np.int64]:
        """Windows of all ``accounts``, in their order: ``int64[k, WORDS]``. Nothing can be added afterwards."""
        if self._held or self._reading:
            self._into_accounts(self._take_held())
        self._reader.shutdown()
        return self._windows[: len(self.accounts.items)]

    def finish(self) -> Iterator[Entities]:
        """The windows of all entities, in chunks."""
        if not self._held and not self._reading:
            return
        if self.by == "account":
            names, known = self.accounts.items, self.account_windows()
            for start in range(0, len(names), _CHUNK):
                windows = known[start : start + _CHUNK]
                seen = windows[:, AT["n"]] > 0  # every record of an account may have been a duplicate
                chosen = [name for name, kept in zip(names[start:], seen, strict=False) if kept]
                yield _entities(chosen, chosen, windows[seen])
        else:
            held = self._take_held()
            self._reader.shutdown()
            self.exchanges += len(held.account)
            yield from self._finish_sessions(order(held))

    def _finish_sessions(self, ordered: Ordered) -> Iterator[Entities]:
        keys = session_keys(ordered)
        by = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(keys[by]) > 0]) if len(by) else by
        for at in range(0, len(starts), _CHUNK):
            begin, end = starts[at], starts[at + _CHUNK] if at + _CHUNK < len(starts) else len(by)
            part = ordered.take(by[begin:end])
            entity = keys[by[begin:end]] - at
            windows = _empty_windows(int(entity[-1]) + 1)
            reduce_rows(windows, entity, part.rows)
            first = by[starts[at : at + _CHUNK]]
            accounts = [self.accounts.items[code] for code in ordered.account[first]]
            named = zip(accounts, ordered.session[first], ordered.rows.when[first, W["time_us"]], strict=True)
            names = [self._session_name(account, session, time) for account, session, time in named]
            yield _entities(names, accounts, windows)

    def _session_name(self, account: str, session: int, first_us: int) -> str:
        """The record's own session id, or the account and the start of the run."""
        if session >= 0:
            return self.sessions.items[session]
        return f"{account}@{np.datetime64(int(first_us), 'us')}Z"


def _entities(names: list[str], accounts: list[str], windows: NDArray[np.int64]) -> Entities:
    return Entities(
        names, accounts, windows[:, AT["n"]], windows[:, AT["first_us"]], windows[:, AT["last_us"]], windows
    )
