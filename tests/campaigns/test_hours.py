"""The hours of an account are those of smallest hash, whatever the order, the cuts and the days."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprint.campaigns import hours as module
from fingerprint.campaigns.hours import HOUR_US, HOURS, SLOTS, Clock, Hours, mixed

SLOT_US = HOUR_US // SLOTS
BEGIN = 490_000 * HOUR_US


def direct(account: list[int], slot: list[int], size: int) -> dict[int, dict[int, int]]:
    """The same with Python's dicts: of each account, the slots of its hours as bits."""
    mine: dict[int, dict[int, int]] = {}
    for a, s in zip(account, slot, strict=True):
        hours = mine.setdefault(a, {})
        hours[s // SLOTS] = hours.get(s // SLOTS, 0) | 1 << s % SLOTS
    order = {h: int(mixed(np.array([h]))[0]) for hours in mine.values() for h in hours}
    return {a: dict(sorted(sorted(hours.items(), key=lambda p: order[p[0]])[:size])) for a, hours in mine.items()}


def as_dicts(hours: Hours) -> dict[int, dict[int, int]]:
    out: dict[int, dict[int, int]] = {}
    for a, h, s in zip(*(part.tolist() for part in hours), strict=True):
        out.setdefault(a, {})[h] = s
    return out


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), min_size=1, max_size=150),
    st.lists(st.integers(0, 150), max_size=6),
    st.sets(st.integers(0, 7)),
    st.integers(1, 9),
    st.integers(0, 20),
    st.randoms(use_true_random=False),
)
def test_the_hours_of_smallest_hash_are_kept_with_all_their_slots(
    rows: list[tuple[int, int]], cuts: list[int], days: set[int], size: int, waiting: int, random: object
) -> None:
    """In any order, any batches, over any number of days, and however often what waits is cut to size."""
    expected = direct([a for a, _ in rows], [s for _, s in rows], size)
    random.shuffle(rows)  # type: ignore[attr-defined]
    account, slot = np.array([a for a, _ in rows], np.int32), np.array([s for _, s in rows])
    clock, edges = Clock(size), sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WAITING", waiting)
        for number, (start, stop) in enumerate(itertools.pairwise(edges)):
            clock.add(account[start:stop], slot[start:stop] * SLOT_US + 17)
            if number in days:
                clock = Clock(size, before=clock.finish())
        found = clock.finish()
    assert as_dicts(found) == expected
    assert [part.dtype for part in found] == [np.int32, np.int32, np.int16]
    key = found.account * 1000 + found.hour
    assert (np.diff(key) > 0).all(), "by account and hour, each once"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 300)), max_size=60), min_size=1, max_size=4))
def test_merging_samples_is_sampling_all(parts: list[list[tuple[int, int]]]) -> None:
    def of(rows: list[tuple[int, int]]) -> Hours:
        pairs = np.array(rows, np.int64).reshape(-1, 2)
        return Hours.merged([Hours.of(pairs[:, 0].astype(np.int32), pairs[:, 1] * SLOT_US)], 5)

    whole = of([row for part in parts for row in part])
    for order in (parts, parts[::-1]):
        merged = Hours.merged([of(part) for part in order], 5)
        for one, other in zip(merged, whole, strict=True):
            np.testing.assert_array_equal(one, other)


def test_accounts_that_are_active_in_the_same_hours_keep_the_same() -> None:
    rng = np.random.default_rng(0)
    hours = rng.choice(2000, 400, replace=False)
    clock = Clock()
    for account in (0, 1):
        clock.add(np.full(400, account, np.int32), BEGIN + rng.permutation(hours) * HOUR_US + rng.integers(HOUR_US))
    found = clock.finish()
    np.testing.assert_array_equal(found.hour[found.account == 0], found.hour[found.account == 1])
    assert len(found.hour) == 2 * HOURS


def test_hours_are_kept_evenly_over_time() -> None:
    hour = np.arange(100_000)
    clock = Clock(1000)
    clock.add(np.zeros(len(hour), np.int32), hour * HOUR_US)
    counts = np.histogram(clock.finish().hour, 10, (0, len(hour)))[0]
    assert np.abs(counts - 100).max() < 5 * 100**0.5


def test_what_waits_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING", 500)
    rng, clock, most = np.random.default_rng(1), Clock(), 0
    for _ in range(200):
        clock.add(rng.integers(0, 5, 300).astype(np.int32), BEGIN + rng.integers(0, 5000, 300) * HOUR_US)
        most = max(most, sum(len(part.account) for part in clock._kept))
    assert most <= 500 + 5 * HOURS + 300
    assert len(clock.finish().account) == 5 * HOURS


def test_nothing_is_no_hour() -> None:
    clock = Clock()
    clock.add(np.empty(0, np.int32), np.empty(0, np.int64))
    assert [len(part) for part in clock.finish()] == [0, 0, 0]
