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
            anywhere, so that the gaps (or overlaps) are exponential; their p-values are combined (Fisher 1932).

Of an account a sample is known (numbered); the numbers behind it are estimated from the rank of the last that is kept.
Left out: reading the numbers (numbered), the links between accounts (signs), and any judgement of who divides a list.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

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
PLAIN = 3.0  # log likelihood that a change of density must be worth
APART = 2.0  # lengths between two ranges that are not of one list
_LEAD = np.int64(1) << BITS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Continued(NamedTuple):
    """How many members continue one list, from which number to which, and the share of numbers sent twice, all as far
    as numbers are sampled."""

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
    entry: Ints  # of each row
    number: Ints
    rank: Floats  # 0 to 1, the same for the same lead and number


class _Shares(NamedTuple):
    """Of the range of each entry the share that it has, that others have, and that others have as far as is seen among
    the numbers that are compared; of these how many there are, how many others have, and how often owners change."""

    own: Floats
    others: Floats
    visible: Floats
    n: Floats
    hits: Floats
    turns: Floats


def find_lists(numbered: Numbered) -> Lists:
    """The lists that accounts divide."""
    entries = _entries(numbered)
    entries = _of(entries, _twice(entries) <= MOST_TWICE)
    if not len(entries.lead):
        return Lists.none()
    low, high = _ranges(entries)
    share = _shares(entries, low, high)
    mixed_list, (first, last) = _mixed(entries, share), _ends(entries, low, high)
    by_ranges = _in_ranges(entries, (share.own >= FILLED) & (mixed_list < 0), first, last)
    of = np.where(mixed_list >= 0, mixed_list, by_ranges)
    rows = np.flatnonzero(of >= 0)
    rows = rows[np.lexsort((entries.account[rows], first[rows], of[rows]))]
    place = np.unique(of[rows], return_inverse=True)[1]
    twice = share.hits[rows] / np.maximum(share.n[rows], 1)
    return Lists(place, entries.account[rows], first[rows], last[rows], twice)


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
    return _of(_Entries(place, account[start], seen[account[start]], entry, number, rank), kept)


def _of(entries: _Entries, kept: NDArray[np.bool_]) -> _Entries:
    """The given entries with their rows, entries and leads numbered anew."""
    rows, number = kept[entries.entry], np.cumsum(kept) - 1
    lead = np.unique(entries.lead[kept], return_inverse=True)[1]
    account, seen = entries.account[kept], entries.seen[kept]
    return _Entries(lead, account, seen, number[entries.entry[rows]], entries.number[rows], entries.rank[rows])


def _shared(entries: _Entries) -> tuple[Ints, NDArray[np.bool_]]:
    """Rows by lead and number, and whether another account is seen to have the number as well."""
    place = entries.lead[entries.entry] * _LEAD + entries.number
    by = np.argsort(place, kind="stable")
    same = np.diff(place[by], prepend=-1, append=-1) == 0
    return by, same[:-1] | same[1:]


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


def _ends(entries: _Entries, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Lowest and highest number of each entry without stragglers."""
    start, size = _starts(entries)
    of, number = entries.entry, entries.number
    below, above = (
        np.bincount(of, part, len(start)).astype(np.int64) for part in (number < low[of], number > high[of])
    )
    upper = _end(entries, start + below, start + size - 1 - above, start + size - 1)
    lower = _end(entries, upper, start + below, start)
    return number[lower], number[upper]


def _end(entries: _Entries, base: Ints, least: Ints, most: Ints) -> Ints:
    """The row between ``least`` and ``most`` at which the numbers seen from ``base`` become as sparse as those behind
    it: the likeliest place of a change of density, or ``most`` where a change explains little more."""
    number, of = entries.number, entries.entry
    at = np.arange(len(of))
    rows = np.flatnonzero((at >= np.minimum(least, most)[of]) & (at <= np.maximum(least, most)[of]))
    of, far = of[rows], base[of[rows]]
    inside, span = np.abs(rows - far) + 1, np.abs(number[rows] - number[far]) + 1
    outside = np.abs(most[of] - rows)
    room = np.maximum(np.abs(number[most[of]] - number[rows]), 1)
    likely = inside * np.log(inside / span) + outside * np.log(np.maximum(outside, 1) / room)
    by = np.lexsort((-inside, PLAIN * (outside > 0) - likely, of))
    return np.asarray(rows[by][np.searchsorted(of[by], np.arange(len(base)))], np.int64)


def _filled(entries: _Entries, low: Ints, high: Ints, rows: Ints, level: Floats) -> Floats:
    """Numbers of all accounts of the lead in the range of each entry, over its length, as far as they are seen among
    those whose rank is up to ``level`` (0: all of them); ``rows`` by lead and number."""
    place, base = entries.lead[entries.entry[rows]] * _LEAD + entries.number[rows], entries.lead * _LEAD
    begin, end = np.searchsorted(place, base + low), np.searchsorted(place, base + high, "right")
    seen, out = entries.seen[entries.entry[rows]], np.empty(len(level))
    for value in np.unique(level):
        total, mine = np.r_[0, np.cumsum(1 / np.maximum(value, seen))], level == value
        out[mine] = total[end[mine]] - total[begin[mine]]
    return np.asarray(out / (high - low + 1), np.float64)


def _shares(entries: _Entries, low: Ints, high: Ints) -> _Shares:
    """What each entry and others have of its range. Its numbers are compared up to a rank that it has all of, one of
    few (half octaves), so that they are counted a few times and not once an account."""
    k, (rows, shared) = len(entries.lead), _shared(entries)
    level = np.exp2(np.floor(2 * np.log2(entries.seen)) / 2)
    inside = (entries.number >= low[entries.entry]) & (entries.number <= high[entries.entry])
    own = np.bincount(entries.entry, inside, k) / entries.seen / (high - low + 1)
    of = entries.entry[rows]
    compared, turn = inside[rows] & (entries.rank[rows] <= level[of]), np.diff(of, prepend=-1) != 0
    others = _filled(entries, low, high, rows, np.zeros(k)) - own
    visible = _filled(entries, low, high, rows, level) - own
    n, hits, turns = (np.bincount(of, compared & part, k).astype(np.float64) for part in (True, shared, turn))
    return _Shares(own, others, visible, n, hits, turns)


def _mixed(entries: _Entries, share: _Shares) -> Ints:
    """The lead of each entry where its accounts mix the numbers of one list, -1 elsewhere."""
    lead, k = entries.lead, int(entries.lead.max(initial=-1)) + 1
    some = (share.own + share.others >= FILLED) & (share.others >= RATHER_MIXED)
    numbers = np.bincount(lead, some * share.n, k)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.bincount(lead, some * share.hits, k) / numbers
        c = (np.bincount(lead, some * share.n * share.visible, k) / numbers).clip(1e-6, 0.99)
        far = np.where(x > 0, x * np.log(x / c), 0) + np.where(x < 1, (1 - x) * np.log((1 - x) / (1 - c)), 0)
    bound = np.bincount(lead, some * share.turns, k) / 2 * far
    sure = (bound >= np.log(2 * k / CHANCE)) & (x <= FEWER * c)
    sure &= (np.bincount(lead, some, k) >= LEAST_ACCOUNTS) & (numbers >= LEAST_NUMBERS)
    return np.where(some & sure[lead], lead, -1)


def _in_ranges(entries: _Entries, some: NDArray[np.bool_], first: Ints, last: Ints) -> Ints:
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
    chance = gammaincc(np.maximum(k - 1, 1), np.bincount(run[1:][~cut], -np.log(p[~cut]), len(k)))
    numbers = np.bincount(run, np.bincount(entries.entry, minlength=len(first))[by], len(k))
    asked = (k >= LEAST_ACCOUNTS) & (numbers >= LEAST_NUMBERS)
    sure = asked & (2 * chance * asked.sum() <= CHANCE)
    out[by] = np.where(sure[run], run + len(first), -1)  # beside the numbers of leads
    return out
