"""Signs beside text that accounts belong together: payment, network, registration, hours, lists, and their course.

Each kind makes weighted links of its own kind, all of them can be left out, and none costs all pairs: accounts are
looked up by the value that they show, a value of too many accounts (a reseller, the address of a company) links
nobody, and inside a value an account is linked to a few others of the list only.

    payment, network  the same values, by the share of their exchanges that both send with them
    registered        created within one hour in which far more accounts were than around it
    times             active in the same five minutes far more often than hours that both are active in explain
    list              continue one list: each its own numbers of it
    course            take over from each other, start and stop together, take up a new model together; said only of
                      accounts that text links, because strangers do so by chance all the time

Left out: what a link weighs (groups), the hours themselves (hours), which lists there are (lists), and what a case
tells of a group's course (course).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import pdtrc

from fingerprint.campaigns.course import Course
from fingerprint.campaigns.hours import SLOTS, Hours, mixed
from fingerprint.campaigns.links import COURSE, KINDS, SIGNS, TEXT_KINDS, Links
from fingerprint.campaigns.lists import Lists
from fingerprint.campaigns.sample import FACTS, Sample
from fingerprint.kernels.layout import MISSING

__all__ = ["MOST", "STEPS", "find_signs"]

MOST = {"payment": 100, "network": 50, "registered": 100}  # accounts of a value that links
MOST_SHARE = 0.25  # of all accounts: in little traffic a value that so many have tells nobody apart
STEPS = (1, 2, 4, 8, 16, 32, 64)  # along the list of a value, around its end: never falls apart, links stay few
LEAST_SHARED = 0.2  # share of the exchanges of both that the values in common have
CHANCE = 0.01  # links by ``registered``, and by ``times``, that are expected in all traffic where nobody is coordinated
BURST = 2.0  # registrations of an hour that are nothing, in units of those around it
LEAST_TOGETHER = 3  # accounts of a burst
NEAR, AROUND = 6, 84  # hours before and after
LEAST_HOURS = 8  # hours in common that tell anything
BANDS, ROWS = 12, 3  # MinHashes by which co-timed accounts are looked up: of 12 threes, one in common
TELLING = 0.5  # of an hour in which chance explains more, nothing is told
REGULAR = 0.75  # of an account's slots that keep time with a period, from which it is a job that keeps time by itself
_PAIR = np.int64(2**32)
_CHUNK = 20_000

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def find_signs(
    sample: Sample,
    hours: Hours,
    lists: Lists,
    course: Course,
    text: Links,
    accounts: int,
    kinds: Collection[str] = SIGNS,
) -> Links:
    """Links of these kinds between so many accounts; ``text`` are their links by text."""
    parts = [Links.none()]
    for kind, fact in (("payment", "payment"), ("network", "ip")):
        if kind in kinds:
            parts.append(_by_value(sample, fact, kind, accounts))
    if "registered" in kinds:
        parts.append(_registered(sample, accounts))
    if "times" in kinds:
        parts.append(_times(hours, accounts))
    if "list" in kinds:
        parts.append(_listed(lists, accounts))
    if COURSE in kinds:
        by_text = text.kind < len(TEXT_KINDS)
        pairs = np.unique(text.a[by_text] * _PAIR + text.b[by_text])
        share = course.common(pairs // _PAIR, pairs % _PAIR)
        pairs, share = pairs[share > 0], share[share > 0]
        parts.append(_links(COURSE, pairs, share, np.zeros(len(pairs))))
    return Links.concat(parts)


def _links(kind: str, pairs: Ints, alike: Floats, rarity: Floats) -> Links:
    return Links(
        (pairs // _PAIR).astype(np.int32),
        (pairs % _PAIR).astype(np.int32),
        np.full(len(pairs), KINDS.index(kind), np.int8),
        np.zeros(len(pairs), np.int64),
        (1 - alike).astype(np.float32),
        rarity.astype(np.float32),
    )


def _neighbours(value: Ints, least: int, most: int, steps: Collection[int] = STEPS) -> tuple[Ints, Ints]:
    """Pairs of rows of one value, rows sorted by value, of those that ``least`` to ``most`` rows have: each row with
    those some steps further in the list."""
    starts = np.flatnonzero(np.diff(value, prepend=value[:1] - 1))
    sizes = np.diff(np.r_[starts, len(value)])
    kept = (sizes >= least) & (sizes <= most)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    rows = np.flatnonzero(np.repeat(kept, sizes))
    found = [np.empty(0, np.int64)]
    for step in steps:
        one = rows[size[rows] > step]
        other = start[one] + (one - start[one] + step) % size[one]
        found.append(np.minimum(one, other) * _PAIR + np.maximum(one, other))
    pairs = np.unique(np.concatenate(found))
    return pairs // _PAIR, pairs % _PAIR


def _most(kind: str, accounts: int) -> int:
    """The most accounts of a value that links."""
    return min(MOST[kind], int(MOST_SHARE * accounts))


def _by_value(sample: Sample, fact: str, kind: str, accounts: int) -> Links:
    """Accounts that share values of a fact; what both send with them is summed over the values."""
    value = sample.facts[:, FACTS.index(fact)].astype(np.int64)
    told = np.flatnonzero(value != MISSING)
    key, count = np.unique(value[told] * _PAIR + sample.account[told], return_counts=True)
    value, account = key // _PAIR, key % _PAIR
    share = count / np.bincount(account, count, accounts)[account]
    one, other = _neighbours(value, 2, _most(kind, accounts))
    having = np.unique(value, return_inverse=True, return_counts=True)
    rarity = np.log(accounts / having[2][having[1]])
    both = np.minimum(share[one], share[other])
    pairs, place = np.unique(account[one] * _PAIR + account[other], return_inverse=True)
    alike = np.bincount(place, both, len(pairs))
    rare = np.bincount(place, both * rarity[one], len(pairs)) / alike
    kept = alike >= LEAST_SHARED
    return _links(kind, pairs[kept], np.minimum(alike[kept], 1.0), rare[kept])


def _registered(sample: Sample, accounts: int) -> Links:
    """Accounts of one burst of registrations: more in an hour than twice the rate around it makes by chance."""
    created = sample.facts[:, FACTS.index("created_hour")].astype(np.int64)
    told = created != MISSING
    first = np.full(accounts, np.iinfo(np.int64).max)
    np.minimum.at(first, sample.account[told], created[told])
    account = np.flatnonzero(first < np.iinfo(np.int64).max)
    account = account[np.argsort(first[account], kind="stable")]
    hour, place, count = np.unique(first[account], return_inverse=True, return_counts=True)
    chance = pdtrc(count - 1, BURST * _rate(hour, count)) * len(hour)
    burst = (chance <= CHANCE) & (count >= LEAST_TOGETHER)
    rows = np.flatnonzero(burst[place])
    one, other = _neighbours(first[account[rows]], 2, _most("registered", accounts))
    low, high = (account[rows[side]] for side in (one, other))
    sure = (1 - _rate(hour, count) / count)[place[rows[one]]]
    rarity = np.log(accounts / count)[place[rows[one]]]
    return _links("registered", np.minimum(low, high) * _PAIR + np.maximum(low, high), np.maximum(sure, 0.0), rarity)


def _rate(hour: Ints, count: Ints) -> Floats:
    """Registrations an hour that are usual around each of these hours (rising), at the busiest guess: of the hours
    before and after, near and far, or of this hour of other days."""
    total, rates = np.r_[0, np.cumsum(count)], []
    for reach in (NEAR, AROUND):
        some = total[np.searchsorted(hour, hour + reach, "right")] - total[np.searchsorted(hour, hour - reach)]
        rates.append((some - count + (reach == AROUND)) / (2 * reach))
    days = np.zeros(len(hour))
    for day in range(1, AROUND // 24 + 1):
        for other in (hour - 24 * day, hour + 24 * day):
            at = np.minimum(np.searchsorted(hour, other), len(hour) - 1)
            days += np.where(hour[at] == other, count[at], 0) if len(hour) else 0
    rates.append(days / (2 * (AROUND // 24)))
    return np.asarray(np.max(rates, 0), np.float64)


def _listed(lists: Lists, accounts: int) -> Links:
    """Accounts that continue one list, near each other in it, by the share of their numbers that nobody else sent."""
    one, other = _neighbours(lists.of, 2, len(lists.of))
    rarity = np.log(accounts / np.bincount(lists.of)[lists.of[one]]) if len(one) else np.empty(0)
    ends = np.sort([lists.account[one], lists.account[other]], 0)
    pairs, first = np.unique(ends[0] * _PAIR + ends[1], return_index=True)  # two may continue several
    alike = 1 - np.maximum(lists.twice[one], lists.twice[other])
    return _links("list", pairs, alike[first], rarity[first])


class _Active(NamedTuple):
    """Active hours of the accounts that have enough of them, by account and hour, with what they are compared by."""

    hours: Hours
    bits: NDArray[np.bool_]  # [m, SLOTS]
    start: Ints  # of each account in the rows; of accounts without any, where they would be
    habit: NDArray[np.float32]  # [accounts, SLOTS], hours in which an account is active in each slot
    hour: Ints  # [m], place in ``busy``
    busy: NDArray[np.float32]  # [hours, SLOTS], accounts that are active, of all that were sampled


def _times(hours: Hours, accounts: int) -> Links:
    """Accounts that are active in the same five minutes (SynchroTrap, Cao et al., CCS 2014), beyond what chance makes
    of the hours in which both are: the bound of Hoeffding (1963), over all pairs of accounts."""
    enough = np.bincount(hours.account, minlength=accounts) >= LEAST_HOURS
    if not enough.any():
        return Links.none()
    active = _active(hours, enough)
    pairs, limit = _co_timed(active), 2 * np.log(accounts) - np.log(2 * CHANCE)
    parts = [_coinciding(active, pairs[at : at + _CHUNK], limit) for at in range(0, len(pairs), _CHUNK)]
    return Links.concat([Links.none(), *parts])


def _active(hours: Hours, enough: NDArray[np.bool_]) -> _Active:
    known, place = np.unique(hours.hour, return_inverse=True)
    bits = np.asarray(hours.slots[:, None] >> np.arange(SLOTS, dtype=np.int16) & 1, np.bool_)
    busy = np.stack([np.bincount(place, bits[:, slot], len(known)) for slot in range(SLOTS)], 1)
    kept = enough[hours.account]
    mine, bits = hours.take(kept), bits[kept]
    habit = [np.bincount(mine.account, bits[:, slot], len(enough)) for slot in range(SLOTS)]
    start = np.searchsorted(mine.account, np.arange(len(enough) + 1))
    return _Active(mine, bits, start, np.stack(habit, 1).astype(np.float32), place[kept], busy.astype(np.float32))


def _co_timed(active: _Active) -> Ints:
    """Pairs of accounts whose sets of slots are likely alike: a band of MinHashes in common (Broder 1997)."""
    row, slot = np.nonzero(active.bits)
    account = active.hours.account[row].astype(np.int64)
    element = (mixed(active.hours.hour[row] * np.int64(SLOTS) + slot) >> np.uint64(32)).astype(np.uint32)
    starts = np.flatnonzero(np.diff(account, prepend=-1))
    odd = np.random.default_rng(0).integers(0, 2**31, (BANDS, ROWS)).astype(np.uint32) * np.uint32(2) + np.uint32(1)
    found = [np.empty(0, np.int64)]
    for factors in odd:
        band = np.zeros(len(starts), np.int64)
        for times in factors:
            band = mixed(band ^ np.minimum.reduceat(element * times, starts)).view(np.int64)
        by = np.argsort(band, kind="stable")
        left, right = (account[starts[by[side]]] for side in _neighbours(band[by], 2, len(by), STEPS[:3]))
        found.append(np.minimum(left, right) * _PAIR + np.maximum(left, right))
    return np.unique(np.concatenate(found))


def _coinciding(active: _Active, pairs: Ints, limit: float) -> Links:
    """Links of those pairs that coincide beyond chance."""
    pair, one, other = _in_common(active, pairs)
    seen, chance, most = _expected(active, one, other)
    telling = chance[0] <= TELLING * most
    pair, one, other = pair[telling], one[telling], other[telling]
    seen, most = seen[telling], most[telling]
    n = np.bincount(pair, minlength=len(pairs))
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.bincount(pair, seen / most, len(pairs)) / n
        e = np.max([np.bincount(pair, part[telling] / most, len(pairs)) / n for part in chance], 0).clip(1e-6, 1)
        bound = n * (x * np.log(x / e) + np.where(x < 1, (1 - x) * np.log((1 - x) / (1 - e)), 0))
        kept = np.flatnonzero((n >= LEAST_HOURS) & (x > e) & (bound >= limit))
    kept = kept[~_regular(active, pairs[kept] // _PAIR) & ~_regular(active, pairs[kept] % _PAIR)]
    both = active.bits[one] & active.bits[other]
    having = np.bincount(pair, (both * active.busy[active.hour[one]]).sum(1), len(pairs)) / np.maximum(
        np.bincount(pair, seen, len(pairs)), 1
    )
    alike = (x[kept] - e[kept]) / (1 - e[kept])
    return _links("times", pairs[kept], alike, np.log(len(active.habit) / np.maximum(having[kept], 2)))


def _in_common(active: _Active, pairs: Ints) -> tuple[Ints, Ints, Ints]:
    """Rows of the two accounts of each pair that are of one hour, of pairs with enough of them: the number of the pair,
    and both rows."""
    left, right, start = pairs // _PAIR, pairs % _PAIR, active.start
    size = start[left + 1] - start[left]
    pair = np.repeat(np.arange(len(pairs)), size)
    one = np.arange(len(pair)) - np.repeat(np.cumsum(size) - size, size) + start[left][pair]
    key = active.hours.account * _PAIR + active.hours.hour
    wanted = right[pair] * _PAIR + active.hours.hour[one]
    other = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    same = key[other] == wanted
    same &= (np.bincount(pair[same], minlength=len(pairs)) >= LEAST_HOURS)[pair]
    return pair[same], one[same], other[same]


def _expected(active: _Active, one: Ints, other: Ints) -> tuple[Floats, list[Floats], Floats]:
    """Of two rows of one hour: slots in common, how many chance makes by three guesses, and how many there could be.

    The guesses: both follow the rhythm of the traffic of this hour; each follows its own habit (a job at half past each
    hour); each does what it does in the hours beside this one in its sample (a job that drifts).
    """
    a, b = active.bits[one].astype(np.float32), active.bits[other].astype(np.float32)
    count_a, count_b = a.sum(1, keepdims=True), b.sum(1, keepdims=True)
    rest = active.busy[active.hour[one]] - a - b + 1
    rest /= rest.sum(1, keepdims=True)
    rhythm = (np.minimum(count_a * rest, 1) * np.minimum(count_b * rest, 1)).sum(1)
    habit = (_habit(active, one, a) * _habit(active, other, b)).sum(1)
    drift = ((a * _beside(active, other)).sum(1) + (b * _beside(active, one)).sum(1)) / 2
    both, most = (a * b).sum(1), np.minimum(count_a, count_b)[:, 0]
    return both.astype(float), [rhythm.astype(float), habit.astype(float), drift.astype(float)], most.astype(float)


def _regular(active: _Active, accounts: Ints) -> NDArray[np.bool_]:
    """Whether accounts keep time with a period of their own: two jobs that run every 61 minutes and met once meet for
    ever. Of the spectrum of their slots, what is slower than two hours is the rhythm of days."""
    named, place = np.unique(accounts, return_inverse=True)
    share = np.zeros(len(named))
    for number, account in enumerate(named):
        rows = slice(active.start[account], active.start[account + 1])
        hour, bits = active.hours.hour[rows], active.bits[rows]
        series = np.zeros((int(hour[-1] - hour[0]) + 1, SLOTS))
        series[hour - hour[0]] = bits
        spectrum = np.abs(np.fft.rfft(series.ravel(), 2 * series.size))
        share[number] = spectrum[len(series) :].max() / bits.sum()
    return np.asarray((share >= REGULAR)[place], np.bool_)


def _habit(active: _Active, rows: Ints, bits: NDArray[np.float32]) -> NDArray[np.float32]:
    """How often an account is active in each slot in its other hours, at the pace of this one; float32[rows, SLOTS]."""
    account = active.hours.account[rows]
    others = active.habit[account] - bits
    others += others.sum(1, keepdims=True) / SLOTS / np.diff(active.start)[account, None].astype(np.float32)
    pace = bits.sum(1, keepdims=True) / others.sum(1, keepdims=True)
    return np.asarray(np.minimum(others * pace, 1), np.float32)


def _beside(active: _Active, rows: Ints) -> NDArray[np.float32]:
    """The slots of the hours before and after in the account's sample, on average."""
    account = active.hours.account[rows]
    before, after = rows > active.start[account], rows + 1 < active.start[account + 1]
    total = active.bits[rows - before] * before[:, None] + active.bits[rows + after] * after[:, None]
    return np.asarray(total / np.maximum(before + 0 + after, 1)[:, None], np.float32)
