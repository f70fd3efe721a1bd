"""The table of features: what it says of range and absence holds for any window, small or large."""

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from builders import exchange, exchanges, random_head, values_of, window_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fingerprint import FEATURES, Window, features
from fingerprint.contribution import Contributions, contribute
from fingerprint.exchange import Names, batch_of, parse
from fingerprint.features import compute
from fingerprint.head import Head
from fingerprint.kernels.layout import AT, EPOCH_US, HOUR_ONE, WORDS
from fingerprint.kernels.reduce import clear

HEAD = random_head()
NOON = 1_772_366_400
Record = dict[str, Any]
Facts = tuple[list[Record], Window]
BY_NAME = {feature.name: feature for feature in FEATURES}


def seconds(records: list[Record]) -> list[float]:
    return [float(record["timestamp"]) for record in records]


def gaps(records: list[Record]) -> list[float]:
    return [b - a for a, b in pairwise(seconds(records))]


def pauses(records: list[Record]) -> int:
    return sum(gap <= 1800 for gap in gaps(records))


def known(field: str) -> Callable[[list[Record]], int]:
    outer, _, inner = field.partition(".")

    def count(records: list[Record]) -> int:
        found = [record.get(outer) for record in records]
        return sum(f is not None and (not inner or f.get(inner) is not None) for f in found)

    return count


def both(first: str, second: str) -> Callable[[list[Record]], int]:
    return lambda records: sum(r.get(first) is not None and r.get(second) is not None for r in records)


def close_together(records: list[Record]) -> bool:
    """A standard deviation of the times, as the window knows them (whole hours), below a quarter of an hour."""
    hours = [int(s * 1_000_000 - EPOCH_US) * HOUR_ONE // 3_600_000_000 for s in seconds(records)]
    return len(records) < 2 or float(np.std(hours)) < 0.25 * HOUR_ONE


def small(records: list[Record]) -> int:
    return sum((r.get("account") or {}).get("plan") in ("pro", "free") for r in records)


def word(window: Window, name: str) -> int:
    """What only the text kernel can count."""
    return int(window.state[AT[name]])


RULES: dict[str, Callable[[list[Record], Window], bool]] = {
    "never": lambda r, w: False,
    "fewer than two prompts": lambda r, w: len(r) < 2,
    "fewer than two exchanges": lambda r, w: len(r) < 2,
    "fewer than two prompts with a form": lambda r, w: word(w, "form_n") < 2,
    "fewer than two prompts with content words": lambda r, w: word(w, "content_n") < 2,
    "either similarity is missing": lambda r, w: min(word(w, "form_n"), word(w, "content_n")) < 2,
    "no words": lambda r, w: word(w, "words") < 1,
    "fewer than two words": lambda r, w: word(w, "words") < 2,
    "fewer than eight words": lambda r, w: word(w, "words") < 8,
    "fewer than two exchanges, or times that spread by under a quarter when in whole hours": lambda r, w: (
        close_together(r)
    ),
    "no gap to an earlier exchange is known": lambda r, w: len(r) < 2,
    "fewer than two gaps": lambda r, w: len(r) < 3,
    "no gap inside a session": lambda r, w: pauses(r) < 1,
    "fewer than two gaps inside sessions": lambda r, w: pauses(r) < 2,
    "gap or output tokens unknown": lambda r, w: known("output_tokens")(r[1:]) < 1,
    "span under a day": lambda r, w: seconds(r)[-1] - seconds(r)[0] < 86400,
    "account creation unknown": lambda r, w: known("account.created_at")(r) < 1,
    "max_tokens unknown": lambda r, w: known("max_tokens")(r) < 1,
    "temperature unknown": lambda r, w: known("temperature")(r) < 1,
    "n unknown": lambda r, w: known("n")(r) < 1,
    "logprobs unknown": lambda r, w: known("logprobs")(r) < 1,
    "reasoning unknown": lambda r, w: known("reasoning")(r) < 1,
    "stream unknown": lambda r, w: known("stream")(r) < 1,
    "tools unknown": lambda r, w: known("tools")(r) < 1,
    "stop reason unknown": lambda r, w: known("stop_reason")(r) < 1,
    "fewer than two system prompts": lambda r, w: known("system")(r) < 2,
    "fewer than two model names": lambda r, w: known("model")(r) < 2,
    "conversation depth unknown": lambda r, w: known("n_messages")(r) < 1,
    "fewer than two known depths": lambda r, w: known("n_messages")(r) < 2,
    "output tokens unknown": lambda r, w: known("output_tokens")(r) < 1,
    "fewer than two known outputs": lambda r, w: known("output_tokens")(r) < 2,
    "tokens unknown": lambda r, w: both("input_tokens", "output_tokens")(r) < 1,
    "fewer than two exchanges with tokens": lambda r, w: both("input_tokens", "output_tokens")(r) < 2,
    "no ceiling with an output": lambda r, w: (
        both("max_tokens", "output_tokens")([x for x in r if x.get("max_tokens")]) < 1
    ),
    "output unknown or fewer than two exchanges": lambda r, w: len(r) < 2 or known("output_tokens")(r) < 1,
    "plan unknown": lambda r, w: known("account.plan")(r) < 1,
    "plan unknown, or not a small one, or fewer than two exchanges": lambda r, w: len(r) < 2 or not small(r),
    "no address prefix known": lambda r, w: known("client.ip_prefix")(r) < 1,
    "no user agent known": lambda r, w: known("client.user_agent")(r) < 1,
}
OPTIONAL = [
    *("model", "system", "n_messages", "tools", "max_tokens", "temperature", "n", "logprobs", "reasoning"),
    *("stream", "input_tokens", "output_tokens", "stop_reason", "client", "account"),
]


@st.composite
def traffic(draw: st.DrawFn) -> list[Record]:
    """Up to forty exchanges within nothing, seconds, hours, days or years; whole fields absent or always there."""
    count = draw(st.integers(1, 40))
    records = exchanges(count, draw(st.integers(0, 2**31)))
    span = draw(st.sampled_from([0, 10, 900, 7200, 3 * 86400, 60 * 86400, 20 * 365 * 86400]))
    absent = draw(st.sets(st.sampled_from(OPTIONAL)))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    times = np.sort(rng.integers(0, span + 1, count)) + draw(st.sampled_from([946_684_800, NOON, 3_400_000_000]))
    kept = [{k: v for k, v in record.items() if k not in absent} for record in records]
    return [record | {"timestamp": int(time)} for record, time in zip(kept, times, strict=True)]


def out_of_range(window: Window) -> dict[str, float]:
    """Values outside of what the table says."""
    return {
        name: value
        for name, value in values_of(window).items()
        if not (math.isnan(value) or BY_NAME[name].low - 1e-4 <= value <= BY_NAME[name].high + 1e-4)
    }


def test_names_are_unique_and_everything_is_said() -> None:
    assert len(BY_NAME) == len(FEATURES)
    for feature in FEATURES:
        assert re.fullmatch("[a-z][a-z0-9_]{2,40}", feature.name)
        assert feature.low < feature.high
        assert feature.unit
        assert feature.why.endswith(".")
        assert feature.direction in (0, 1)
        assert feature.family in ("diversity", "capability", "timing", "request", "conversation", "economics", "client")


def test_nothing_is_a_feature_that_must_never_be() -> None:
    forbidden = {"country", "language", "lang", "script", "asn", "ip", "prefix", "name", "payment", "locale"}
    for feature in FEATURES:
        assert not forbidden & set(feature.name.split("_"))


def test_every_rule_of_absence_is_known_to_these_tests() -> None:
    assert {feature.missing for feature in FEATURES} <= set(RULES)


@settings(max_examples=200, deadline=None)
@given(traffic())
@example([exchange(timestamp=NOON)])
@example([exchange(timestamp=NOON, prompt="")])
@example([exchange(timestamp=3_400_004_586), exchange(exchange_id="f", timestamp=3_400_006_125)])  # over the hour
def test_range_and_absence_of_every_feature(records: list[Record]) -> None:
    """Each value is in its range, or it is NaN exactly where the table says so."""
    window = window_of(records, HEAD)
    assert out_of_range(window) == {}
    absent = {name for name, value in values_of(window).items() if math.isnan(value)}
    expected = {feature.name for feature in FEATURES if RULES[feature.missing](records, window)}
    assert absent == expected


@settings(max_examples=30, deadline=None)
@given(traffic(), st.integers(0, 20))
def test_ranges_hold_up_to_tens_of_millions(records: list[Record], doublings: int) -> None:
    """The same exchanges many times over, as merged windows."""
    window = window_of([record | {"timestamp": NOON + i} for i, record in enumerate(records)], HEAD)
    for _ in range(doublings):
        window.merge(window.copy())
    assert len(window) == len(records) << doublings
    assert out_of_range(window) == {}


def test_ranges_hold_for_the_largest_values() -> None:
    most = dict.fromkeys(["n_messages", "max_tokens", "n", "input_tokens", "output_tokens"], 2**31 - 1)
    wild = Head(HEAD.weights, np.full(len(HEAD.scale), 50.0), HEAD.bias)
    records = [
        exchange(exchange_id=str(i), timestamp=time, temperature=1000, prompt=text, **most, account={"created_at": 1e9})
        for i, (time, text) in enumerate([(946_684_800, "x" * 9000), (1e9, "{" * 400), (4_102_444_799, "推理 " * 4000)])
    ]
    assert out_of_range(window_of(records, wild)) == {}


def test_the_empty_window_has_no_feature_at_all() -> None:
    assert np.isnan(features(Window.empty())).all()
    assert features(Window.empty()).shape == (1, len(FEATURES))


def test_one_exchange_has_what_one_exchange_can_tell() -> None:
    found = values_of(window_of([exchange(timestamp=NOON, logprobs=True, output_tokens=9)], HEAD))
    assert found["logprobs_share"] == found["weekend_share"] == 1
    assert found["prompt_distinct_ratio"] == 1
    for name in ("gap_p50", "rate", "span", "head_form_collision", "length_spread", "likeness_trend"):
        assert math.isnan(found[name])


def test_many_windows_at_once_are_the_windows_one_by_one() -> None:
    windows = [window_of(exchanges(n, n), HEAD) for n in range(12)]
    together = features(windows)
    assert together.shape == (12, len(FEATURES))
    assert together.dtype == np.float32
    alone = np.concatenate([features(window) for window in windows])
    assert np.array_equal(together, alone, equal_nan=True)
    assert features([]).shape == (0, len(FEATURES))


def test_features_do_not_change_the_window() -> None:
    window = window_of(exchanges(9, 1), HEAD)
    before = window.copy()
    features(window)
    assert window == before


def test_three_and_three_million() -> None:
    """A window merged with itself twenty times says the same wherever only shares, levels and extremes count."""
    records = [record | {"timestamp": NOON + 40_000 * i} for i, record in enumerate(exchanges(3, 8))]
    window = window_of(records, HEAD)
    few = values_of(window)
    for _ in range(20):
        window.merge(window.copy())
    many = values_of(window)
    assert len(window) == 3 * 2**20
    counts = {"prompt_distinct_ratio", "words_new_per_prompt", "lexical_growth", "networks_per_exchange"}
    counts |= {"rate", "small_plan_rate", "output_per_hour", "capability_breadth", "template_slots"}
    for name, value in few.items():
        pairs = re.search("collision|similarity|form_over|phase|spread|cv|burst|lexical_entropy|trend", name)
        if name not in counts and not pairs and not math.isnan(value):
            assert many[name] == pytest.approx(value, rel=1e-5), name
    assert many["prompt_distinct_ratio"] < 1e-5
    assert many["rate"] == pytest.approx(few["rate"] + math.log2((3 * 2**20 - 1) / 2), abs=1e-3)


@pytest.fixture(scope="module")
def pool() -> Contributions:
    """400 exchanges of a dozen templates, topics, models and parameters at random moments, gaps unknown."""
    rng = np.random.default_rng(5)
    forms = ["Explain {}.", "{}?\n- a\n- b\n", "please tell me of {}", "Rate: {}\n\n1. x\n2. y", "{} {{}} ()", "why {}"]
    topics = ["tides rising slowly", "compound interest", "photosynthesis cells", "binary search trees"]
    records = [
        exchange(
            exchange_id=str(i),
            timestamp=int(NOON + rng.integers(0, 30 * 86400)),
            prompt=str(rng.choice(forms)).format(rng.choice(topics)),
            system=f"system {rng.integers(3)}",
            model=f"model {rng.integers(3)}",
            temperature=float(rng.integers(0, 3) / 2),
            output_tokens=int(rng.integers(1, 4000)),
            input_tokens=50,
            n_messages=int(rng.integers(1, 6)),
        )
        for i in range(400)
    ]
    return contribute(batch_of(map(parse, records), Names(), Names()), HEAD)


def mean_of(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean of each column, NaN where every value is missing."""
    some = ~np.isnan(rows).all(axis=0)
    out = np.full(rows.shape[1], np.nan)
    out[some] = np.nanmean(rows[:, some], axis=0, dtype=float)
    return out


def test_estimates_do_not_grow_with_the_number_of_exchanges(pool: Contributions) -> None:
    """Windows of 4, 40 and 400 exchanges of the same traffic have the same collisions and similarities on average."""
    rng, means = np.random.default_rng(6), []
    for count, windows in ((4, 800), (40, 100), (400, 12)):
        states = np.empty((windows, WORDS), np.int64)
        clear(states)
        for state in states:
            Window(state).update(pool.take(rng.integers(0, 400, count)))
        means.append(dict(zip(BY_NAME, mean_of(compute(states)), strict=True)))
    steady = [n for n in BY_NAME if re.search("collision|similarity|form_over|_share$|capability_.*|length_mean", n)]
    steady = [n for n in steady if n not in ("capability_drift", "capability_breadth")]
    assert len(steady) > 25
    for name in steady:
        values = [mean[name] for mean in means]
        if not math.isnan(values[0]):
            assert np.ptp(values) < 0.06, (name, values)
    for name in ("second_phase", "minute_phase", "day_phase"):
        assert means[0][name] >= means[2][name] - 0.02, name
