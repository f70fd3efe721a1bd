"""What happens to everybody."""

import numpy as np
import pytest

from training.world.clocks import DAY
from training.world.events import Calendar, calendar, live_through
from training.world.settings import load
from training.world.traces import IDLE

CALM = Calendar(30, 12.0, (), (), None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def times(seed: int = 1, n: int = 400) -> np.ndarray:
    return np.sort(rng(seed).uniform(0, 29 * DAY, n))


def test_the_calendar_is_the_worlds_own() -> None:
    one, two, other = (calendar(load(None, None, {"seed": seed})) for seed in (3, 3, 4))
    assert one == two != other
    assert one.release == 0.4 * 30
    assert len(one.outages) == 2
    assert len(one.holidays) == 2


def test_events_can_be_switched_off() -> None:
    quiet = {"events.releases": [], "events.outages": 0, "events.holidays": 0, "events.price_change": False}
    assert calendar(load(None, None, quiet)) == Calendar(30, 30.0, (), (), None)


def test_nothing_moves_where_nothing_happens() -> None:
    moved, again = live_through(rng(), times(), CALM, True)
    assert np.array_equal(moved, times())
    assert not again.any()


def test_outages_push_requests_behind_them_and_some_are_sent_again() -> None:
    out = Calendar(30, 12.0, ((5 * DAY, 6 * DAY),), (), None)
    moved, again = live_through(rng(), times(n=4000), out, False)
    assert not ((moved >= 5 * DAY) & (moved < 6 * DAY)).any()
    assert len(moved) == 4000
    assert (np.diff(moved) >= 0).all()
    assert 10 < again.sum() < 80


def test_only_what_met_an_outage_is_sent_again_even_where_sittings_moved() -> None:
    end = 6 * DAY
    together = Calendar(30, 12.0, ((5 * DAY, end),), tuple(range(2, 28, 2)), 15 * DAY)
    for seed in range(5):
        moved, again = live_through(rng(seed), times(n=4000), together, True)
        assert (np.diff(moved) >= 0).all()
        assert again.sum() > 10
        assert ((moved[again] >= end) & (moved[again] < end + 601)).all(), "tried again at most 10 minutes later"


def test_people_leave_holidays_and_programs_do_not() -> None:
    free = Calendar(30, 12.0, (), (10,), None)
    on_the_day = [
        int(((live_through(rng(2), times(), free, person)[0] // DAY) == 10).sum()) for person in (True, False)
    ]
    assert on_the_day[0] < 0.6 * on_the_day[1]


def test_sittings_move_whole() -> None:
    free = Calendar(30, 12.0, (), tuple(range(3, 25)), None)
    start = times(3, 60)
    sitting = np.sort(np.concatenate([start + k * 60 for k in range(5)]))
    before = np.diff(sitting)
    after = np.diff(live_through(rng(4), sitting, free, True)[0])
    assert (before < IDLE).sum() == pytest.approx((after < IDLE).sum(), rel=0.1)


def test_some_come_earlier_before_a_price_rise() -> None:
    dear = Calendar(30, 12.0, (), (), 15 * DAY)
    moved, _ = live_through(rng(5), times(6, 4000), dear, False)
    assert ((moved > 14 * DAY) & (moved < 15 * DAY)).sum() > 1.15 * ((times(6, 4000) // DAY) == 14).sum()
