"""From traffic and labels to labelled feature rows: read, sample prompts, contribute, cut windows, compute.

Traffic is read twice: once for times and for the prompts that may train the head, once to make contributions
with the heads. An account of training or calibration is read by a head that was trained without it: without
its family for about a quarter of the families, without its group for the rest (docs/decisions/0004). Text is
kept only in the sample, in memory, until the heads are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from fingerprint.assemble import Ordered, order, reduce_rows, session_keys
from fingerprint.calibrate import LEAST
from fingerprint.contribution import Contributions, contribute
from fingerprint.exchange import Batch, Names
from fingerprint.features import compute
from fingerprint.head import Head
from fingerprint.kernels.layout import WORDS, W
from fingerprint.kernels.reduce import clear
from fingerprint.readers import Rejects, read

__all__ = [
    "Progress", "Sample", "WindowTable", "all_windows", "contributions", "cut_windows", "features_of", "only",
    "prefix_table", "sample_prompts", "window_table",
]  # fmt: skip

Progress = Callable[[str, int, int], None]  # stage, done, of how many
PROMPTS = 24
_CHUNK = 2_048
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Sample:
    """What the first pass over the traffic leaves: prompts of each account and when accounts were active.

    The cut in time is not known yet, so an account keeps its ``PROMPTS`` prompts of the smallest hash of the
    exchange id and its ``PROMPTS`` earliest: ``before`` has enough to choose from, wherever the cut falls.
    """

    account: NDArray[np.int32]
    identity: NDArray[np.uint64]
    time_us: NDArray[np.int64]
    prompt: list[bytes]
    median_us: dict[str, int]
    accounts: Names
    exchanges: int
    rejected: int

    def before(self, cut_us: int) -> NDArray[np.int64]:
        """Rows to train on: of each account at most ``PROMPTS`` sent before the cut, all where it sent no more."""
        early = np.flatnonzero(self.time_us < cut_us)
        return early[_fewest(self.account[early], (self.identity[early],), PROMPTS)]


@dataclass(frozen=True)
class WindowTable:
    """Feature rows ``X`` float32[k, n] and their ``meta`` (one row each, see ``window_table``)."""

    X: NDArray[np.float32]
    meta: pd.DataFrame


def _batches(traffic: Sequence[Path], accounts: Names, sessions: Names, rejects: Rejects) -> Iterator[Batch]:
    for path in traffic:
        yield from read(path, accounts=accounts, sessions=sessions, rejects=rejects)


def only(batch: Batch, rows: NDArray[np.int64]) -> Batch:
    """The given records of a batch."""
    buffers = [None, pa.py_buffer(batch.offsets), pa.py_buffer(batch.data)]
    prompts = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(batch.time_us), buffers).take(pa.array(rows))
    _, offsets, data = prompts.buffers()
    return Batch(
        account=batch.account[rows],
        session=batch.session[rows],
        time_us=batch.time_us[rows],
        identity=batch.identity[rows],
        data=np.frombuffer(data, np.uint8),
        offsets=np.frombuffer(offsets, np.int64)[: len(rows) + 1],
        meta=batch.meta[rows],
    )


def _read(batch: Batch, heads: Sequence[Head], which: NDArray[np.int64]) -> Ordered:
    """Contributions of the records that have a head (its number, else -1), in the order of the batch."""
    of_head = [(head, rows) for k, head in enumerate(heads) if len(rows := np.flatnonzero(which == k))]
    rows = np.concatenate([rows for _, rows in of_head])
    read_by = Contributions.concat([contribute(only(batch, rows), head) for head, rows in of_head])
    return Ordered(batch.account[rows], batch.session[rows], batch.identity[rows], read_by).take(np.argsort(rows))


def _fewest(account: NDArray[np.int32], keys: tuple[NDArray[Any], ...], most: int) -> NDArray[np.int64]:
    """Row numbers of the ``most`` rows of each account that are first by the keys (the last key counts most)."""
    if not len(account):
        return np.empty(0, np.int64)
    by = np.lexsort((*keys, account))
    starts = np.flatnonzero(np.r_[True, np.diff(account[by]) != 0])
    rank = np.arange(len(by)) - np.repeat(starts, np.diff(np.r_[starts, len(by)]))
    return np.sort(by[rank < most])


class _Held(NamedTuple):
    """Prompts kept so far, a row each."""

    account: NDArray[np.int32]
    identity: NDArray[np.uint64]
    time_us: NDArray[np.int64]
    prompt: list[bytes]

    def kept(self) -> NDArray[np.int64]:
        """Of each account the rows of the smallest hash and the earliest ones."""
        by_hash = _fewest(self.account, (self.identity,), PROMPTS)
        return np.union1d(by_hash, _fewest(self.account, (self.identity, self.time_us), PROMPTS))

    def add(self, batch: Batch) -> _Held:
        """With the batch's prompts, as far as they are kept."""
        new = _Held(batch.account, batch.identity, batch.time_us, []).kept()
        texts = [batch.data[batch.offsets[i] : batch.offsets[i + 1]].tobytes() for i in new]
        account = np.r_[self.account, batch.account[new]]
        identity = np.r_[self.identity, batch.identity[new]]
        more = _Held(account, identity, np.r_[self.time_us, batch.time_us[new]], self.prompt + texts)
        kept = more.kept()
        return _Held(account[kept], identity[kept], more.time_us[kept], [more.prompt[i] for i in kept])


def sample_prompts(traffic: Sequence[Path], progress: Progress | None = None) -> Sample:
    """First pass: prompts of every account (see ``Sample``), and each account's median time."""
    accounts, rejects, count = Names(), Rejects(), 0
    held = _Held(np.empty(0, np.int32), np.empty(0, np.uint64), np.empty(0, np.int64), [])
    times: list[NDArray[np.int64]] = []
    owners: list[NDArray[np.int32]] = []
    for batch in _batches(traffic, accounts, Names(), rejects):
        held = held.add(batch)
        times.append(batch.time_us)
        owners.append(batch.account)
        count += len(batch.time_us)
        if progress:
            progress("read", count, 0)
    if not count:
        raise ValueError("no exchange records in the traffic")
    moments = pd.Series(np.concatenate(times)).groupby(np.concatenate(owners)).median()
    median_us = {accounts.items[int(code)]: int(moment) for code, moment in moments.items()}  # type: ignore[call-overload]
    return Sample(*held, median_us, accounts, count, rejects.total)


def contributions(
    traffic: Sequence[Path], heads: Sequence[Head], head_of: dict[str, int], progress: Progress | None = None
) -> tuple[Ordered, Names]:
    """Second pass: contributions of the accounts in ``head_of``, each read by the head given for it.

    Returns exchanges sorted by account and time, without duplicates, gaps filled in.
    """
    accounts, sessions = Names(), Names()
    parts: list[Ordered] = []
    count = 0
    for batch in _batches(traffic, accounts, sessions, Rejects()):
        which = np.array([head_of.get(name, -1) for name in accounts.items], np.int64)[batch.account]
        if (which >= 0).any():
            parts.append(_read(batch, heads, which))
        count += len(batch.time_us)
        if progress:
            progress("contribute", count, 0)
    held = Ordered(
        np.concatenate([part.account for part in parts]),
        np.concatenate([part.session for part in parts]),
        np.concatenate([part.identity for part in parts]),
        Contributions.concat([part.rows for part in parts]),
    )
    first = np.sort(np.unique(held.identity, return_index=True)[1])
    return order(held.take(first)), accounts


def cut_windows(
    time_us: NDArray[np.int64],
    session: NDArray[np.int64],
    sizes: Sequence[int],
    per_account: int,
    rng: np.random.Generator,
) -> list[tuple[str, NDArray[np.int64]]]:
    """Windows of one account's exchanges (sorted by time): ``(scope, row numbers)``.

    The account as a whole; ``per_account`` slices of every size that fits; as many days and sessions.
    """
    count = len(time_us)
    if count < LEAST:
        return []
    windows = [("account", np.arange(count))]
    for size in sizes:
        if size < count:
            starts = rng.choice(count - size + 1, min(per_account, count - size + 1), replace=False)
            windows += [("slice", np.arange(start, start + size)) for start in starts]
    for scope, keys in (("day", time_us // _DAY_US), ("session", session)):
        _, inverse, sizes_of = np.unique(keys, return_inverse=True, return_counts=True)
        fitting = np.flatnonzero((sizes_of >= LEAST) & (sizes_of < count))
        for k in rng.permutation(fitting)[:per_account]:
            windows.append((scope, np.flatnonzero(inverse == k)))
    return windows


def features_of(
    ordered: Ordered, windows: Sequence[NDArray[np.int64]], progress: Progress | None = None
) -> NDArray[np.float32]:
    """Feature rows ``float32[k, n]`` of windows given as row numbers of exchanges."""
    parts = []
    for start in range(0, len(windows), _CHUNK):
        chunk = windows[start : start + _CHUNK]
        states = np.empty((len(chunk), WORDS), np.int64)
        clear(states)
        entity = np.repeat(np.arange(len(chunk)), [len(rows) for rows in chunk])
        reduce_rows(states, entity, ordered.rows.take(np.concatenate(chunk)))
        parts.append(compute(states))
        if progress:
            progress("windows", start + len(chunk), len(windows))
    return np.concatenate(parts)


def window_table(
    ordered: Ordered,
    accounts: Names,
    known: pd.DataFrame,
    sizes: Sequence[int],
    per_account: int,
    seed: int,
    progress: Progress | None = None,
) -> WindowTable:
    """Feature rows of every window that ``all_windows`` cuts."""
    meta, windows = all_windows(ordered, accounts, known, sizes, per_account, seed)
    return WindowTable(features_of(ordered, windows, progress), meta)


def all_windows(
    ordered: Ordered, accounts: Names, known: pd.DataFrame, sizes: Sequence[int], per_account: int, seed: int
) -> tuple[pd.DataFrame, list[NDArray[np.int64]]]:
    """Windows of the accounts in ``known`` (as ``split.split_accounts`` gives it): meta, and row numbers of exchanges.

    Exchanges of training and calibration accounts count only before the cut, of test accounts only after it.
    ``meta`` repeats the account's columns and adds ``scope``, ``n_exchanges`` and ``weight`` (an account's
    windows weigh together what the account does, 1 where its labels have no ``weight``).
    """
    time, sessions = ordered.rows.when[:, W["time_us"]], session_keys(ordered)
    windows, rows = [], []
    for number, start, stop in _counting(ordered, accounts, known):
        rng = np.random.default_rng([seed, number])
        found = cut_windows(time[start:stop], sessions[start:stop], sizes, per_account, rng)
        for scope, members in found:
            windows.append(start + members)
            rows.append((number, scope, len(members), 1 / len(found)))
    return _meta(known, rows), windows


def prefix_table(
    ordered: Ordered, accounts: Names, known: pd.DataFrame, sizes: Sequence[int], progress: Progress | None = None
) -> WindowTable:
    """The first exchanges of each account in ``known`` that count, as many as each of ``sizes``: what is known of it
    by then. ``meta`` as that of ``window_table``, with scope ``prefix`` and ``life``, how many count in all."""
    windows, rows, lives = [], [], []
    for number, start, stop in _counting(ordered, accounts, known):
        fitting = [size for size in sizes if size <= stop - start]
        for size in fitting:
            windows.append(np.arange(start, start + size))
            rows.append((number, "prefix", size, 1 / len(fitting)))
            lives.append(stop - start)
    meta = _meta(known, rows).assign(life=lives)
    return WindowTable(features_of(ordered, windows, progress), meta)


def _counting(ordered: Ordered, accounts: Names, known: pd.DataFrame) -> Iterator[tuple[int, int, int]]:
    """Row of ``known`` and the span of the exchanges that count: of test accounts after the cut, else before it."""
    time = ordered.rows.when[:, W["time_us"]]
    starts = np.searchsorted(ordered.account, np.arange(len(accounts.items) + 1))
    code_of = {name: code for code, name in enumerate(accounts.items)}
    for number, (name, split) in enumerate(zip(known["account_id"], known["split"], strict=True)):
        start, stop = starts[code_of[name]], starts[code_of[name] + 1]
        middle = start + np.searchsorted(time[start:stop], known.attrs["cut_us"])
        yield (number, middle, stop) if split == "test" else (number, start, middle)


def _meta(known: pd.DataFrame, rows: list[tuple[int, str, int, float]]) -> pd.DataFrame:
    """A row a window: its account's columns (a row of ``known``), scope, size and weight."""
    columns = pd.DataFrame(rows, columns=["number", "scope", "n_exchanges", "weight"])
    meta = known.reset_index(drop=True).loc[columns["number"]].reset_index(drop=True)
    if "weight" in meta:
        columns["weight"] *= meta.pop("weight")
    return pd.concat([meta, columns.drop(columns="number")], axis=1)
