"""The policy: levels rise at once and fall late, people hear of an account once, and no hour has too many alerts."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fingerprint.errors import FingerprintError
from fingerprint.policy import Alerts, Policy
from fingerprint.stores import NOBODY, Standing

CUTS = (0.4, 0.9)
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
NOW = 1_772_366_400_000_000
SCORES = st.floats(0, 1)


def odds(score: float) -> float:
    return math.log(score / (1 - score))


def probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: value} for name in ("review", "act") for value in (0, -0.1, 1.1, math.nan, math.inf)),
        {"review": 0.9, "act": 0.4},
        *({"least": value} for value in (0, -1)),
        *({name: -1} for name in ("hysteresis", "hold_s", "cooldown_s", "alerts_an_hour")),
        *({name: math.nan} for name in ("hysteresis", "hold_s", "cooldown_s")),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(FingerprintError, match=f"policy: expected ({'|'.join(wrong)}) "):
        Policy(**wrong)


def test_the_ends_of_what_can_be_are_taken() -> None:
    Policy(review=1, act=1, least=1, hysteresis=0, hold_s=0, cooldown_s=0, alerts_an_hour=0)
    Policy(alerts_an_hour=None, hold_s=math.inf)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), (0.3, 0.8)),
        (Policy(review=0.5), (0.5, 0.8)),
        (Policy(act=0.6), (0.3, 0.6)),
        (Policy(review=0.9), (0.9, 0.9)),
        (Policy(act=0.2), (0.3, 0.3)),
        (Policy(review=0.1, act=0.2), (0.1, 0.2)),
    ],
)
def test_thresholds_are_the_bundles_where_the_policy_names_none(policy: Policy, expected: tuple[float, float]) -> None:
    """And act is never easier to reach than review."""
    assert policy.thresholds(0.3, 0.8) == expected


@pytest.mark.parametrize(("score", "level"), [(0, 0), (0.39, 0), (0.4, 1), (0.89, 1), (0.9, 2), (1, 2)])
def test_a_level_rises_exactly_at_its_threshold(score: float, level: int) -> None:
    assert Policy().level(score, NOBODY, CUTS, NOW) == level
    assert Policy().after(score, NOBODY, CUTS, NOW) == Standing(level, NOW if level else 0, 0, 0)


def test_a_level_falls_when_the_score_is_clearly_lower_and_has_been_for_a_while() -> None:
    policy, acted = Policy(hysteresis=0.5, hold_s=3600), Standing(2, NOW, 0, 0)
    barely, clearly = probability(odds(0.9) - 0.49), probability(odds(0.9) - 0.51)
    for score, past, level in [
        (0.0, HOUR - 1, 2),
        (barely, HOUR - 1, 2),
        (barely, 100 * DAY, 2),
        (clearly, HOUR, 1),
        (probability(odds(0.4) - 0.49), HOUR, 1),
        (probability(odds(0.4) - 0.51), HOUR, 0),
        (0.0, HOUR, 0),
    ]:
        assert policy.level(score, acted, CUTS, NOW + past) == level, (score, past)


def test_times_before_the_level_was_reached_keep_it() -> None:
    assert Policy().level(0.0, Standing(1, NOW, 0, 0), CUTS, NOW - 10 * DAY) == 1


def test_without_hysteresis_and_hold_the_level_is_that_of_the_score() -> None:
    policy = Policy(hysteresis=0, hold_s=0)
    for score, level in [(0.399, 0), (0.4, 1), (0.899, 1), (0.9, 2)]:
        assert policy.level(score, Standing(2, NOW, 0, 0), CUTS, NOW) == level


def test_the_hold_begins_anew_each_time_the_score_reaches_the_level() -> None:
    policy, standing = Policy(), NOBODY
    for past in (0, HOUR // 2, HOUR):
        standing = policy.after(0.5, standing, CUTS, NOW + past)
        assert standing == Standing(1, NOW + past, 0, 0)
    assert policy.after(0.0, standing, CUTS, NOW + 2 * HOUR - 1) == standing
    fallen = policy.after(0.0, standing, CUTS, NOW + 2 * HOUR)
    assert fallen == Standing(0, NOW + 2 * HOUR, 0, 0)


def test_an_exchange_that_comes_late_does_not_set_the_time_back() -> None:
    assert Policy().after(0.5, Standing(1, NOW, 0, 0), CUTS, NOW - HOUR).since_us == NOW


@given(st.lists(st.tuples(SCORES, st.integers(0, 2 * DAY)), max_size=30))
def test_no_level_is_below_that_of_the_score_nor_above_what_was_reached(steps: list[tuple[float, int]]) -> None:
    policy, standing, time, highest = Policy(), NOBODY, NOW, 0
    for score, pause in steps:
        time += pause
        before, standing = standing, policy.after(score, standing, CUTS, time)
        reached = sum(score >= cut for cut in CUTS)
        highest = max(highest, reached)
        assert reached <= standing.level <= max(reached, before.level) <= highest
        assert before.since_us <= standing.since_us <= time


@given(st.floats(0.35, 0.45), st.lists(st.floats(-0.02, 0.02), min_size=2, max_size=40))
def test_an_account_on_the_edge_does_not_flicker(score: float, noise: list[float]) -> None:
    standing, told = NOBODY, []
    for i, change in enumerate(noise):
        standing = Policy().after(score + change, standing, CUTS, NOW + i * DAY)
        told.append(standing.level)
    assert sum(a != b for a, b in pairwise(told)) <= 1


def test_people_hear_of_an_account_when_its_level_rises() -> None:
    policy = Policy(cooldown_s=86_400)
    rises = policy.due(Standing(1, NOW, 0, 0), NOBODY, NOW)
    stays = policy.due(Standing(1, NOW, 1, NOW), Standing(1, NOW, 1, NOW), NOW + 10 * DAY)
    falls = policy.due(Standing(1, NOW, 2, NOW), Standing(2, NOW, 2, NOW), NOW + 10 * DAY)
    assert (rises, stays, falls) == (True, False, False)


def test_people_do_not_hear_the_same_again_before_the_cooldown_ends() -> None:
    policy, fallen = Policy(cooldown_s=86_400), Standing(0, NOW, 1, NOW)
    assert not policy.due(Standing(1, NOW, 1, NOW), fallen, NOW + DAY - 1)
    assert policy.due(Standing(1, NOW, 1, NOW), fallen, NOW + DAY)
    assert policy.due(Standing(2, NOW, 1, NOW), fallen, NOW + 1), "a higher level is news"


@pytest.mark.parametrize(("budget", "expected"), [(0, 0), (1, 1), (7, 7), (None, 20)])
def test_no_hour_has_more_alerts_than_its_budget(budget: int | None, expected: int) -> None:
    alerts = Alerts(budget)
    for hour in (NOW, NOW + HOUR, NOW - 5 * HOUR):
        assert sum(alerts.take(hour + i * SECOND) for i in range(20)) == expected


def test_hours_come_in_any_order_and_few_are_remembered() -> None:
    alerts = Alerts(1)
    assert [alerts.take(NOW + hour * HOUR) for hour in (0, 1, 0, 1)] == [True, True, False, False]
    for hour in range(1000):
        alerts.take(NOW + hour * HOUR)
    assert len(alerts._spent) <= 100
    assert not alerts.take(NOW + 999 * HOUR)


@given(st.integers(0, 2), st.integers(0, 2**62), st.integers(0, 2), st.integers(0, 2**62))
def test_a_standing_round_trips(level: int, since: int, alerted: int, alerted_us: int) -> None:
    standing = Standing(level, since, alerted, alerted_us)
    assert Standing.from_bytes(standing.to_bytes() + b"more") == standing
    with pytest.raises(ValueError, match="bytes of a standing"):
        Standing.from_bytes(standing.to_bytes()[:-1])
