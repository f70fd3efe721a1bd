"""`fingerprint campaigns` as an operator runs it, day after day over a state, for the evaluation of groups.

The same calls as the command's; left out: judging what is found (grouping) and the page (grouping_page).
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from fingerprint.campaigns.find import Found, State, find
from fingerprint.exchange import Batch, Names, NoNames
from fingerprint.readers import Rejects, read
from fingerprint.scorer import Scorer
from training.dataset import Progress, only

__all__ = ["Day", "by_day", "rows_of"]

_DAY_US = 86_400_000_000


class Day(NamedTuple):
    """What is found after a day: its end (microseconds UTC), rows account_id, campaign_id and score, exchanges and
    accounts so far, seconds to read the day and to group, and the process's peak memory in bytes."""

    end_us: int
    found: pd.DataFrame
    exchanges: int
    accounts: int
    reading: float
    grouping: float
    peak: int


def rows_of(found: Found, state: State) -> pd.DataFrame:
    """Rows as the command writes them."""
    parts = [
        pd.DataFrame(
            {"account_id": [state.accounts[m] for m in c.members], "campaign_id": c.campaign_id, "score": c.score}
        )
        for c in found.campaigns
    ]
    return (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["account_id", "campaign_id", "score"])
    )


def by_day(
    traffic: Sequence[Path], scorer: Scorer, days: Sequence[int], progress: Progress = lambda stage, done, total: None
) -> list[Day]:
    """Read traffic that is in order of time, and group after each of the ``days`` (rising) and at its end."""
    state, count = State(scorer.bundle_id), 0
    out: list[Day] = []
    batches: list[Batch] = []
    first: int | None = None
    began = perf_counter()

    def close(end_us: int) -> None:
        nonlocal state, began
        reader, names, keeper = state.assembler(scorer, NoNames())
        for batch in batches:
            reader.add(_renamed(batch, names, accounts))
        state = state.after(names, reader.account_windows(), keeper)
        batches.clear()
        reading, begun = perf_counter() - began, perf_counter()
        found = find(state, scorer)
        spent = perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        out.append(Day(end_us, rows_of(found, state), count, len(state.accounts), reading, spent, peak))
        progress("group", len(out), len(days) + 1)
        began = perf_counter()

    accounts, ends = Names(), [0]
    for path in traffic:
        for batch in read(path, accounts=accounts, sessions=NoNames(), rejects=Rejects()):
            if first is None:
                first = int(batch.time_us.min()) // _DAY_US * _DAY_US
                ends = [first + day * _DAY_US for day in days]
            rest = np.arange(len(batch.time_us))
            while ends and int(batch.time_us.max()) >= ends[0]:
                early = batch.time_us[rest] < ends[0]
                batches.append(only(batch, rest[early]))
                count += int(early.sum())
                rest = rest[~early]
                close(ends.pop(0))
            batches.append(only(batch, rest))
            count += len(rest)
            progress("read", count, 0)
    close(2**62)
    return out


def _renamed(batch: Batch, names: Names, accounts: Names) -> Batch:
    """The batch with codes of ``names`` in place of those of ``accounts``; sessions are not needed here."""
    codes, place = np.unique(batch.account, return_inverse=True)
    new = np.array([names.code(accounts.items[code]) for code in codes], np.int32)
    return batch._replace(
        account=new[place] if len(new) else batch.account, session=np.full(len(batch.account), -1, np.int32)
    )
