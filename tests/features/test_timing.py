"""Timing regularity on exchanges at known moments."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from builders import exchange, values_of, window_of

NOON = 1_772_366_400  # Sunday 2026-03-01 12:00:00 UTC
MINUTE, HOUR, DAY = 60, 3600, 86400


def timing(seconds: Sequence[float], start: float = NOON, **fields: Any) -> dict[str, float]:
    return values_of(
        window_of(exchange(**{"exchange_id": str(s), "timestamp": start + s} | fields) for s in sorted(seconds))
    )


def test_a_metronome() -> None:
    """A minute between any two: 60,000 ms lie in the bin from 2^15; no spread, burstiness -1, one second of all."""
    found = timing([MINUTE * i for i in range(6)])
    assert [found[f"gap_p{level}"] for level in (10, 50, 90)] == pytest.approx([15.1, 15.5, 15.9])
    assert (found["gap_log_spread"], found["gap_entropy"]) == (0, 0)
    assert found["pause_log_mean"] == pytest.approx(math.log2(60_000), abs=0.09)
    assert (found["pause_log_spread"], found["pause_cv"], found["pause_burstiness"]) == (0, 0, -1)
    assert (found["idle_share"], found["long_idle_share"]) == (0, 0)
    assert found["second_phase"] == pytest.approx(1, abs=0.01)


def test_a_burst() -> None:
    """Gaps of 1, 1, 1 and 97 seconds: mean 25, deviation 48."""
    found = timing([0, 1, 2, 3, 100])
    assert found["pause_cv"] == pytest.approx(48 / 25)
    assert found["pause_burstiness"] == pytest.approx((48 - 25) / (48 + 25))
    assert found["gap_p50"] == pytest.approx(9 + 2 / 3)
    assert found["gap_log_spread"] == pytest.approx(math.log2(97) / 2, abs=0.1)


def test_idle_gaps() -> None:
    """Ten minutes, an hour and six hours: two idle, one of them long."""
    found = timing([0, 600, 600 + HOUR, 600 + 7 * HOUR])
    assert found["idle_share"] == pytest.approx(2 / 3)
    assert found["long_idle_share"] == pytest.approx(1 / 3)
    assert math.isnan(found["pause_cv"]), "one gap inside a session has no variation"
    assert found["pause_log_mean"] == pytest.approx(math.log2(600_000), abs=0.09)


def test_exactly_thirty_minutes_is_no_idle_gap() -> None:
    assert timing([0, 1800])["idle_share"] == 0
    assert timing([0, 1800.000001])["idle_share"] == 1


def test_gaps_of_zero() -> None:
    found = timing([0, 0.0000001, 0.0000002])
    assert (found["pause_log_mean"], found["pause_cv"], found["pause_burstiness"]) == (0, 0, -1)
    assert found["gap_p50"] == 0.5


def test_entropy_of_gaps() -> None:
    """Four gaps in four of the 28 bins."""
    assert timing([0, 1, 11, 111, 1211])["gap_entropy"] == pytest.approx(math.log(4) / math.log(28))


def test_requests_that_overlap() -> None:
    """200 tokens take two seconds at a hundred a second: a gap of one overlaps, one of ten does not."""
    assert timing([0, 1, 11], output_tokens=200)["overlap_share"] == 0.5
    assert timing([0, 10, 20], output_tokens=200)["overlap_share"] == 0


def test_phases() -> None:
    """The quarters of a minute cancel, the same minute of every hour does not."""
    spread = timing([0, 15, 30, 45])
    assert spread["second_phase"] == 0
    hourly = timing([HOUR * i + 7 * i for i in range(6)])
    assert hourly["minute_phase"] == pytest.approx(1, abs=0.01)
    assert hourly["second_phase"] < 0.9


def test_hours_of_the_day() -> None:
    """Six of 24 hours, evenly."""
    found = timing([HOUR * i for i in range(6)])
    assert found["hours_covered"] == 0.25
    assert found["hour_entropy"] == pytest.approx(math.log(6) / math.log(24))
    around = timing([HOUR * i for i in range(24)])
    assert (around["hours_covered"], around["day_phase"]) == (1, 0)
    assert around["hour_entropy"] == pytest.approx(1)
    assert timing([0, 60, 120])["day_phase"] == pytest.approx(1)


def test_quiet_hours_go_round_midnight() -> None:
    """Used at 8 and at 14 on two days: quiet from 15 to 7, seventeen hours."""
    start = NOON - 4 * HOUR
    assert timing([0, 6 * HOUR, DAY, DAY + 6 * HOUR], start)["quiet_hours"] == 17
    assert math.isnan(timing([0, 6 * HOUR, 23 * HOUR], start)["quiet_hours"])
    assert timing([HOUR * i for i in range(25)])["quiet_hours"] == 0


def test_weekends() -> None:
    """The first of March 2026 is a Sunday: Friday to Monday are half a weekend."""
    assert timing([0])["weekend_share"] == 1
    assert timing([-2 * DAY, -DAY, 0, DAY])["weekend_share"] == 0.5


def test_span_and_rate() -> None:
    """Nine exchanges in four hours: four powers of two for the eight gaps, less two for the hours."""
    found = timing([HOUR / 2 * i for i in range(9)])
    assert (found["span"], found["rate"]) == (2, 1)
    assert timing([0, 0.5])["span"] == pytest.approx(math.log2(1 / 3600)), "a second at least"


def test_age_of_the_account() -> None:
    """Eight days old at its first exchange, and a day old for two of four."""
    created = {"account": {"created_at": NOON - 8 * DAY}}
    assert timing([0, DAY], **created)["account_age"] == pytest.approx(math.log2(8 + 1 / 24))
    assert timing([0, DAY], **created)["new_account_share"] == 0
    new = {"account": {"created_at": NOON}}
    assert timing([HOUR, DAY, 3 * DAY, 5 * DAY], **new)["new_account_share"] == 0.5
    assert timing([-DAY], **new)["account_age"] == pytest.approx(math.log2(1 / 24)), "never below nothing"
