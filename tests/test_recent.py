"""The last day of traffic: what is in it, what is forgotten, and what is no such thing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprint.kernels.layout import MISSING
from fingerprint.recent import RECENT_US, Recent

HOUR = RECENT_US // 24


def recent(*rows: tuple[int, int, int]) -> Recent:
    """Of identity, account and hour."""
    identity, account, hour = zip(*rows, strict=True) if rows else ((), (), ())
    times = np.array(hour, np.int64) * HOUR
    return Recent(np.array(identity, np.uint64), np.array(account, np.int32), times)


def rows_of(found: Recent) -> list[tuple[int, int, int]]:
    hours = found.time_us // HOUR
    return list(zip(found.identity.tolist(), found.account.tolist(), hours.tolist(), strict=True))


def test_of_nothing_there_is_no_horizon() -> None:
    found = Recent()
    found.add(Recent())
    assert (found.newest_us, found.horizon_us, rows_of(found.in_order())) == (MISSING, MISSING, [])
    assert found.fits(0)


def test_what_is_older_than_a_day_before_the_newest_is_forgotten() -> None:
    """Exactly a day is still known."""
    found = recent((1, 0, 0), (2, 0, 1), (3, 1, 2))
    found.add(recent((4, 1, 25)))
    assert rows_of(found) == [(2, 0, 1), (3, 1, 2), (4, 1, 25)]
    assert (found.newest_us, found.horizon_us) == (25 * HOUR, HOUR)
    found.add(recent((9, 0, 0), (8, 0, 20)))
    assert rows_of(found)[-1] == (8, 0, 20), "old ones that are added are forgotten as well"
    assert len(found.identity) == 4


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 100)), max_size=30), st.integers(1, 30), st.randoms())
def test_the_order_and_the_parts_change_nothing(some: list[tuple[int, int]], size: int, random: Any) -> None:
    rows = [(identity, account, hour) for identity, (account, hour) in enumerate(some)]
    whole = Recent()
    whole.add(recent(*rows))
    random.shuffle(rows)
    parts = Recent()
    for at in range(0, len(rows), size):
        parts.add(recent(*rows[at : at + size]))
    assert rows_of(parts.in_order()) == rows_of(whole.in_order())
    assert whole.in_order().fits(5)


@pytest.mark.parametrize(
    "wrong",
    [
        recent((2, 0, 0), (1, 0, 0)),
        recent((1, 0, 0), (1, 0, 0)),
        recent((1, -1, 0)),
        recent((1, 3, 0)),
        recent((1, 0, 0), (2, 0, 25)),
        recent((1, 0, -1)),
        Recent(np.zeros(1, np.int64), np.zeros(1, np.int32), np.zeros(1, np.int64)),  # type: ignore[arg-type]
        Recent(np.zeros(2, np.uint64), np.zeros(1, np.int32), np.zeros(1, np.int64)),
        Recent(np.zeros(1, np.uint64), np.zeros(1, np.int32), np.zeros((), np.int64)),
    ],
)
def test_parts_that_do_not_fit(wrong: Recent) -> None:
    assert recent((1, 2, 0), (2, 0, 24)).fits(3)
    assert not wrong.fits(3)
