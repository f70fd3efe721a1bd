"""Lists that accounts continue: of one lead ("question 17:"), each its own numbers, together the whole list.

Accounts of one lead whose numbers are mostly others' as well (a class, a benchmark, years) are put aside first. Of an
account, the shortest range that holds three quarters of its numbers counts, and only where it and the others have at
least half of the numbers in there: order ids and prices are sparse. What is left is tested in two ways, since there
are two ways to divide a list:

    mixed   every k-th number, or at random: others fill a share ``c`` of the account's range, so that a share ``c`` of
            its numbers would be others' by chance, and a share ``x`` is. The bound of Hoeffding (1963) on ``x`` over
            all accounts of the lead, for as many draws as the owner changes along the numbers, each overlap counted
            once.
    ranges  one range after the other: where an account's numbers end, the next one's begin. By chance a range begins
            anywhere, so that the gaps (or overlaps) are exponential; their p-values are combined (Fisher 1932, with the
            bound of Chernoff (1952) on the sum).

Of an account a sample is known (numbered); the numbers behind it are estimated from the rank of the last that is kept.
Left out: reading the numbers (numbered), the links between accounts (signs), and any judgement of who divides a list.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.campaigns.hours import mixed
from fingerprint.campaigns.numbered import BITS, KEPT, Numbered

__all__ = ["Continued", "Lists", "find_lists"]

LEAST = 8  # sampled numbers of an account under one lead
LEAST_ACCOUNTS = 3
LEAST_NUMBERS = 30  # sampled numbers of a list
HELD = 0.75  # of an account's numbers lie in the range that counts
FILLED = 0.5  # of the numbers in that range, the accounts of the lead have
MOST_TWICE = 0.5  # of an account's numbers, others have
RATHER_MIXED = 0.2  # of an account's range others fill, from which it is one of a mixed list
FEWER = 0.5  # numbers sent twice, in units of what chance makes, up to which a list is divided
CHANCE = 0.01  # lists that are expected in all traffic where nobody divides one
FAR = 12.0  # median steps between an account's numbers that end its range
APART = 2.0  # lengths between two ranges that are not of one list
_LEAD = np.int64(1) << BITS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Continued(NamedTuple):
    """How many members continue one list, from which number to which, and the share of numbers sent twice."""

    members: int
    low: int
    high: int
    twice: float


class Lists(NamedTuple):
    """Accounts of lists, by list and place in it: ``of`` int64[e] number of the list, ``account`` int64[e], ``low`` and
    ``high`` int64[e] of its numbers, and ``twice`` float64[e], the share of them that others of the lead sent."""

    of: Ints
    account: Ints
    low: Ints
    high: Ints
    twice: Floats

    @classmethod
    def none(cls) -> Lists:
        """No list."""
        none = np.empty(0, np.int64)
        return cls(none, none, none, none, np.empty(0))

    def told(self, members: Ints) -> list[Continued]:
        """The lists that ``LEAST_ACCOUNTS`` members (account numbers) or more continue, those of most members first."""
        mine = np.flatnonzero(np.isin(self.account, members))
        count = np.bincount(self.of[mine]) if len(mine) else np.empty(0, np.int64)
        found = []
        for number in np.argsort(-count, kind="stable")[: int((count >= LEAST_ACCOUNTS).sum())]:
            rows = mine[self.of[mine] == number]
            low, high = int(self.low[rows].min()), int(self.high[rows].max())
            found.append(Continued(len(rows), low, high, float(self.twice[rows].mean())))
        return found


class _Entries(NamedTuple):
    """Accounts under a lead, and their sampled numbers, by lead, account and number."""

    lead: Ints  # of each entry, from 0
    account: Ints
    seen: Floats  # share of its numbers that is sampled
    level: Floats  # of its lead: what is compared across accounts is the sample up to this rank
    entry: Ints  # of each row
    number: Ints
    rank: Floats  # 0 to 1, the same for the same lead and number


def find_lists(numbered: Numbered) -> Lists:
    """The lists that accounts divide."""
    entries = _entries(numbered)
    if not len(entries.lead):
        return Lists.none()
    entries = _of(entries, _twice(entries) <= MOST_TWICE)
    low, high = _ranges(entries)
    own, others, n, hits, turns = _shares(entries, low, high)
    limit = float(np.log(2 * len(np.unique(entries.lead)) / CHANCE)) if len(entries.lead) else 0.0
    filled = own + others >= FILLED
    is_mixed = others >= RATHER_MIXED
    found = _mixed(entries, filled & is_mixed, others, n, hits, turns, limit)
    first, last = _ends(entries)
    of = np.where(is_mixed, found, _in_ranges(entries, (own >= FILLED) & ~is_mixed, first, last, limit))
    rows = np.flatnonzero(of >= 0)
    rows = rows[np.lexsort((entries.account[rows], first[rows], of[rows]))]
    place = np.unique(of[rows], return_inverse=True)[1]
    share = hits[rows] / np.maximum(n[rows], 1)
    return Lists(place, entries.account[rows], first[rows], last[rows], share)


def _entries(numbered: Numbered) -> _Entries:
    """Entries of at least ``LEAST`` numbers, of leads that at least ``LEAST_ACCOUNTS`` have."""
    account, rank = numbered.account.astype(np.int64), mixed(numbered.key) / 2.0**64
    full = np.bincount(account, minlength=1) >= KEPT
    seen = np.ones(len(full))
    np.maximum.at(last := np.zeros(len(full)), account, rank)
    seen[full] = last[full]
    by = np.lexsort((numbered.key, account, numbered.key >> BITS))
    account, rank, key = account[by], rank[by], numbered.key[by]
    lead, number = key >> BITS, key % _LEAD
    new = (np.diff(lead, prepend=-1) != 0) | (np.diff(account, prepend=-1) != 0)
    entry, start = np.cumsum(new) - 1, np.flatnonzero(new)
    kept = np.bincount(entry, minlength=len(start)) >= LEAST
    names, place = np.unique(lead[start], return_inverse=True)
    kept &= (np.bincount(place, kept, len(names)) >= LEAST_ACCOUNTS)[place]
    level = np.ones(len(start))
    found = _Entries(place, account[start], seen[account[start]], level, entry, number, rank)
    found = _of(found, kept)
    return found._replace(level=_medians(found.seen, found.lead)[found.lead]) if kept.any() else found


def _of(entries: _Entries, kept: NDArray[np.bool_]) -> _Entries:
    """The given entries with their rows, entries and leads numbered anew."""
    rows, number = kept[entries.entry], np.cumsum(kept) - 1
    lead = np.unique(entries.lead[kept], return_inverse=True)[1]
    account, seen, level = entries.account[kept], entries.seen[kept], entries.level[kept]
    return _Entries(lead, account, seen, level, number[entries.entry[rows]], entries.number[rows], entries.rank[rows])


def _medians(values: Floats, of: Ints) -> Floats:
    """The lower median of the values of each group 0, 1, ...; groups are not empty."""
    by = np.lexsort((values, of))
    size = np.bincount(of)
    return np.asarray(values[by][np.cumsum(size) - size + (size - 1) // 2], np.float64)


def _shared(entries: _Entries) -> tuple[Ints, NDArray[np.bool_]]:
    """Rows up to the level of their lead by lead and number, and whether another account has the number as well."""
    rows = np.flatnonzero(entries.rank <= entries.level[entries.entry])
    place = entries.lead[entries.entry[rows]] * _LEAD + entries.number[rows]
    by = np.argsort(place, kind="stable")
    same = np.diff(place[by]) == 0
    return rows[by], np.r_[False, same] | np.r_[same, False] if len(rows) else np.empty(0, np.bool_)


def _twice(entries: _Entries) -> Floats:
    """Of each entry the share of its numbers that others have."""
    rows, shared = _shared(entries)
    of, k = entries.entry[rows], len(entries.lead)
    return np.asarray(np.bincount(of, shared, k) / np.maximum(np.bincount(of, minlength=k), 1), np.float64)


def _starts(entries: _Entries) -> tuple[Ints, Ints]:
    """Where the rows of each entry begin, and how many there are."""
    size = np.bincount(entries.entry, minlength=len(entries.lead))
    return np.cumsum(size) - size, size


def _ranges(entries: _Entries) -> tuple[Ints, Ints]:
    """The shortest range of each entry that holds ``HELD`` of its numbers: lowest and highest."""
    start, size = _starts(entries)
    more = np.ceil(HELD * size).astype(np.int64) - 1
    at = np.arange(len(entries.entry))
    begins = np.flatnonzero(at - start[entries.entry] < (size - more)[entries.entry])
    of = entries.entry[begins]
    length = entries.number[begins + more[of]] - entries.number[begins]
    best = begins[np.lexsort((length, of))][np.searchsorted(of, np.arange(len(start)))]
    return entries.number[best], entries.number[best + more]


def _ends(entries: _Entries) -> tuple[Ints, Ints]:
    """Lowest and highest number of each entry without stragglers: of the most numbers that no far step divides."""
    start, _ = _starts(entries)
    step = np.diff(entries.number, prepend=0)
    inner = np.arange(len(step)) != start[entries.entry]
    usual = _medians(step[inner].astype(np.float64), entries.entry[inner])
    piece = np.cumsum(~inner | (step > FAR * usual[entries.entry])) - 1
    begin = np.flatnonzero(np.diff(piece, prepend=-1))
    count = np.diff(np.r_[begin, len(piece)])
    of = entries.entry[begin]
    best = np.lexsort((-count, of))[np.searchsorted(of, np.arange(len(start)))]
    return entries.number[begin[best]], entries.number[begin[best] + count[best] - 1]


def _shares(entries: _Entries, low: Ints, high: Ints) -> tuple[Floats, Floats, Ints, Floats, Floats]:
    """Of each entry's range, the share that it has and that others have; and of its numbers in there, up to the level
    of its lead, how many there are, how many others have, and how often it takes turns with others."""
    k, span = len(entries.lead), (high - low + 1).astype(np.float64)
    inside = (entries.number >= low[entries.entry]) & (entries.number <= high[entries.entry])
    own = np.bincount(entries.entry, inside, k) / entries.seen / span
    rows, shared = _shared(entries)
    of, inside = entries.entry[rows], inside[rows]
    place = entries.lead[of] * _LEAD + entries.number[rows]
    base = entries.lead * _LEAD
    every = np.searchsorted(place, base + high, "right") - np.searchsorted(place, base + low)
    n = np.bincount(of, inside, k)
    others = (every - n) / entries.level / span
    turn = np.diff(of, prepend=-1) != 0
    hits, turns = (np.bincount(of, inside & part, k).astype(np.float64) for part in (shared, turn))
    return own, others, n.astype(np.int64), hits, turns


def _mixed(
    entries: _Entries, some: NDArray[np.bool_], others: Floats, n: Ints, hits: Floats, turns: Floats, limit: float
) -> Ints:
    """The lead of each entry where its accounts mix the numbers of one list, -1 elsewhere."""
    lead, k = entries.lead, int(entries.lead.max(initial=-1)) + 1
    numbers = np.bincount(lead, some * n, k)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.bincount(lead, some * hits, k) / numbers
        c = (np.bincount(lead, some * n * others, k) / numbers).clip(1e-6, 0.99)
        far = np.where(x > 0, x * np.log(x / c), 0) + np.where(x < 1, (1 - x) * np.log((1 - x) / (1 - c)), 0)
    sure = np.bincount(lead, some * turns, k) / 2 * far >= limit
    enough = (np.bincount(lead, some, k) >= LEAST_ACCOUNTS) & (numbers >= LEAST_NUMBERS)
    return np.where(some & (sure & enough & (x <= FEWER * c))[lead], lead, -1)


def _in_ranges(entries: _Entries, some: NDArray[np.bool_], first: Ints, last: Ints, limit: float) -> Ints:
    """A number for each list of ranges, of the entries whose ranges follow each other in it, -1 elsewhere."""
    out, length = np.full(len(first), -1), last - first + 1
    by = np.flatnonzero(some)
    by = by[np.lexsort((last[by], first[by], entries.lead[by]))]
    if len(by) < LEAST_ACCOUNTS:
        return out
    step = length / np.maximum(np.bincount(entries.entry, minlength=len(first)), 1)  # between sampled numbers
    gap = (first[by[1:]] - last[by[:-1]] - 1).astype(np.float64)
    cut = (np.diff(entries.lead[by]) != 0) | (gap > APART * np.maximum(length[by[1:]], length[by[:-1]]))
    run = np.r_[0, np.cumsum(cut)]
    begin, k = np.flatnonzero(np.diff(run, prepend=-1)), np.bincount(run)
    whole = np.maximum.reduceat(last[by], begin) - first[by[begin]] + 1
    gap = np.maximum(np.abs(gap - (step[by[1:]] + step[by[:-1]] - 2).clip(0)), 1)
    p = -np.expm1(-gap * (k / whole)[run[1:]])
    total, m = np.bincount(run[1:][~cut], -np.log(p[~cut]), len(k)), np.maximum(k - 1, 1)
    bound = np.where(total > m, total - m - m * np.log(np.maximum(total, m) / m), 0)
    numbers = np.bincount(run, np.bincount(entries.entry, minlength=len(first))[by], len(k))
    sure = (bound >= limit) & (k >= LEAST_ACCOUNTS) & (numbers >= LEAST_NUMBERS)
    out[by] = np.where(sure[run], run + len(first), -1)  # beside the numbers of leads
    return out
