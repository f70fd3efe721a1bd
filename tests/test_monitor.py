"""The monitor: what a verdict holds, what it may never do, and levels, alerts and campaigns through it."""

import asyncio
import json
import pickle
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import exchange, exchanges, window_of
from fuzz import mutated
from toy_bundle import toy_bundle, write_manifest
from toy_run import CANARY, disguises, everything_said

from fingerprint import Scorer, Window, features
from fingerprint.errors import BundleError, FingerprintError
from fingerprint.exchange import parse
from fingerprint.history import HORIZONS
from fingerprint.monitor import Monitor, Verdict
from fingerprint.policy import Policy
from fingerprint.stores import Seen
from fingerprint.stores.memory import MemoryStore

NOON = 1_772_366_400  # 2026-03-01T12:00:00Z
HOUR, DAY = 3600, 86_400
RECORD = [
    *("entity_id", "account_id", "n_exchanges", "first_seen", "last_seen", "score", "level", "reasons", "bundle_id"),
    *("window", "alert", "campaign_id"),
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("monitor") / "toy")


@pytest.fixture(scope="module")
def scorer(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """With all kernels compiled: numba logs that at level DEBUG, and tests listen to everything that is said."""
    found, path, store = Scorer.load(bundle), tmp_path_factory.mktemp("warm") / "state.fp", MemoryStore(hot=1)
    monitor = Monitor(found, store, Policy(least=1))
    for number in range(6):
        monitor.observe(sent(number, account_id=f"account {number % 2}", timestamp=NOON + number * DAY))
    store.save(path)
    assert MemoryStore.load(path).get("account 1")
    return found


def monitor_of(scorer: Scorer, **settings: Any) -> Monitor:
    return Monitor(scorer, policy=Policy(**settings))


def sent(i: int, logprobs: bool | None = True, **fields: Any) -> dict[str, Any]:
    """One exchange a second; the toy bundle scores the share of those with logprobs: 0.02, a half 0.5, 1 0.98."""
    return exchange(**{"exchange_id": f"e{i}", "timestamp": NOON + i, "logprobs": logprobs, **fields})


def levels(monitor: Monitor, records: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> list[str]:
    return [monitor.observe(record).level for record in records]


def test_a_verdict_has_the_fields_of_the_record(scorer: Scorer) -> None:
    monitor = monitor_of(scorer, least=2)
    verdict = [monitor.observe(sent(i)) for i in range(3)][-1]
    told = verdict.as_dict()
    assert list(told) == RECORD
    assert told | {"reasons": []} == {
        "entity_id": "a",
        "account_id": "a",
        "n_exchanges": 3,
        "first_seen": "2026-03-01T12:00:00.000000Z",
        "last_seen": "2026-03-01T12:00:02.000000Z",
        "score": pytest.approx(1 / (1 + np.exp(-4)), abs=1e-6),
        "level": "act",
        "reasons": [],
        "bundle_id": scorer.bundle_id,
        "window": "session",
        "alert": False,
        "campaign_id": None,
    }
    assert verdict.first_seen == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert verdict.last_seen == datetime(2026, 3, 1, 12, 0, 2, tzinfo=UTC)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert type(verdict.score) is float
    assert type(verdict.n_exchanges) is int


def test_review_and_act_have_reasons_and_allow_has_none(scorer: Scorer) -> None:
    monitor = monitor_of(scorer, least=1)
    kinds = {"family": str, "feature": str, "value": float, "typical": float, "without": float, "sentence": str}
    for account, flags, level in [("x", [True], "act"), ("y", [True, False], "review"), ("z", [False], "allow")]:
        for i, flag in enumerate(flags):
            verdict = monitor.observe(sent(i, flag, exchange_id=f"{account}{i}", account_id=account))
        found = verdict.as_dict()["reasons"]
        assert level in (verdict.level, "review")
        if level == "allow":
            assert found == []
            continue
        assert found == verdict.reasons == scorer.reasons(verdict._features[None])[0]  # type: ignore[index]
        assert found[0]["feature"] == "logprobs_share"
        for reason in found:
            assert {name: type(reason[name]) for name in kinds} == kinds
            assert reason["without"] < verdict.score


def test_reasons_can_be_asked_for_at_any_level(scorer: Scorer) -> None:
    verdict = monitor_of(scorer).observe(sent(0))
    assert verdict.level == "allow", "one exchange is not enough"
    assert verdict.reasons[0]["feature"] == "logprobs_share"


def test_a_window_counts_from_some_exchanges_on(scorer: Scorer) -> None:
    told = levels(monitor_of(scorer, least=10), [sent(i) for i in range(12)])
    assert told == ["allow"] * 9 + ["act"] * 3


def test_the_verdict_rests_on_the_horizon_with_the_highest_score(scorer: Scorer) -> None:
    """Ten quiet days do not hide one loud hour."""
    monitor = monitor_of(scorer, least=10)
    for i in range(200):
        verdict = monitor.observe(sent(i, False, timestamp=NOON + i * HOUR))
    assert (verdict.level, verdict.score) == ("allow", pytest.approx(0.018, abs=1e-3))
    start = NOON + 200 * HOUR
    for i in range(10):
        verdict = monitor.observe(sent(1000 + i, True, timestamp=start + i))
    assert (verdict.level, verdict.window, verdict.n_exchanges) == ("act", "session", 10)
    assert list(verdict.scores) == ["session", "hour", "day", "month"] or verdict.scores["month"] < 0.1
    assert max(verdict.scores.values()) == verdict.score


def streamed(scorer: Scorer) -> Iterator[tuple[float, float]]:
    """The score of the month after each exchange, and that of a window of the same exchanges; the states are equal."""
    monitor, window = Monitor(scorer), Window.empty()
    records = [record for record in exchanges(200, 5) if record["timestamp"] < 1_772_000_000 + 20 * DAY]
    for record in records:
        verdict = monitor.observe(record)
        window.update(scorer.read(record, after=window))
        yield list(verdict.scores.values())[-1], float(scorer.score(features(window))[0])
    assert "month" in verdict.scores
    seen = monitor.store.get("a0")
    assert seen is not None
    assert np.array_equal(seen.windows[HORIZONS.index("month")], window.state)
    assert window == window_of(records, scorer.head)


def test_the_month_scores_as_a_window_of_the_same_exchanges_to_the_bit(scorer: Scorer) -> None:
    for month, alone in streamed(scorer):
        assert month == alone


def test_the_month_scores_as_a_window_with_the_shipped_bundle() -> None:
    """onnxruntime adds up trees in another order for one to three rows than for more: the last bit may differ."""
    for month, alone in streamed(Scorer.load()):
        assert month == pytest.approx(alone, abs=1e-7)


def test_an_exchange_that_was_parsed_is_taken_as_its_record(scorer: Scorer) -> None:
    a, b = monitor_of(scorer), monitor_of(scorer)
    for record in exchanges(30, 2, accounts=3):
        left, right = a.observe(record), b.observe(parse(record))
        assert left.as_dict() == right.as_dict()
    assert a.counts == b.counts


def test_an_id_that_is_repeated_is_never_scored_twice(scorer: Scorer) -> None:
    monitor = monitor_of(scorer)
    first = monitor.observe(sent(0))
    again = monitor.observe(sent(0, False, timestamp=NOON + 500))
    assert (again.n_exchanges, again.score) == (1, first.score)
    assert monitor.counts["duplicates"] == 1
    foreign = monitor.observe(sent(0, account_id="b"))
    assert (foreign.level, foreign.score, foreign.n_exchanges, foreign.as_dict()["first_seen"]) == (
        "allow",
        None,
        0,
        None,
    )
    assert monitor.verdict("b") is None


def test_a_verdict_without_an_exchange(scorer: Scorer) -> None:
    monitor = monitor_of(scorer, least=3)
    assert monitor.verdict("a") is None
    verdict = [monitor.observe(sent(i)) for i in range(5)][-1]
    again = monitor.verdict("a")
    assert again is not None
    assert again.as_dict() == verdict.as_dict()
    assert monitor.counts == {"verdict:allow": 2, "verdict:act": 3, "alerts": 1}


def test_asking_for_a_verdict_uses_no_alert(scorer: Scorer) -> None:
    """Who looks an account up is not who is alerted."""
    monitor = monitor_of(scorer, least=3)
    monitor.observe(sent(0, False))
    monitor.convict([("a", "c1", "review")])
    looked = monitor.verdict("a")
    assert looked is not None
    assert (looked.level, looked.alert, looked.campaign_id) == ("review", False, "c1")
    assert monitor.observe(sent(1, False)).alert
    assert monitor.counts["alerts"] == 1


def test_levels_hold_and_fall_late(scorer: Scorer) -> None:
    """Loud for a minute, then quiet: act for the hour that it is held, and no flicker on the edge."""
    monitor = monitor_of(scorer, least=1, hold_s=3600)
    told = levels(monitor, [sent(i) for i in range(10)])
    quiet = [sent(100 + i, False, timestamp=NOON + 60 + i * 120) for i in range(900)]
    after = dict(zip([record["timestamp"] for record in quiet], levels(monitor, quiet), strict=True))
    assert told == ["act"] * 10
    assert {level for time, level in after.items() if time < NOON + HOUR} == {"act"}
    assert after[quiet[-1]["timestamp"]] == "allow"
    changes = [a != b for a, b in pairwise(after.values())]
    assert sum(changes) <= 2


def test_people_are_alerted_once_and_again_after_the_cooldown(scorer: Scorer) -> None:
    monitor = monitor_of(scorer, least=1, hold_s=0, hysteresis=0, cooldown_s=5 * DAY)
    alerts = []
    for day in range(12):
        for i, flag in enumerate([False] * 6 + [True] * 6):
            time = NOON + day * DAY + i * HOUR * 2
            alerts += [day] * monitor.observe(sent(day * 100 + i, flag, timestamp=time)).alert
    assert alerts[0] == 0
    assert all(b - a >= 5 for a, b in pairwise(alerts))
    assert 2 <= len(alerts) <= 3
    assert monitor.counts["alerts"] == len(alerts)


def test_no_hour_has_more_alerts_than_its_budget(scorer: Scorer) -> None:
    monitor = monitor_of(scorer, least=1, alerts_an_hour=3)
    verdicts = [monitor.observe(sent(i, account_id=f"a{i}")) for i in range(10)]
    assert [verdict.level for verdict in verdicts] == ["act"] * 10
    assert sum(verdict.alert for verdict in verdicts) == monitor.counts["alerts"] == 3
    assert monitor.counts["alerts_over_budget"] == 7
    assert monitor.observe(sent(100, account_id="later", timestamp=NOON + HOUR)).alert


def test_the_policys_thresholds_go_before_the_bundles(scorer: Scorer) -> None:
    assert monitor_of(scorer, least=1, review=0.01, act=0.99).observe(sent(0, False)).level == "review"


def test_a_campaign_raises_its_members(scorer: Scorer) -> None:
    monitor = monitor_of(scorer)
    assert monitor.observe(sent(0, False)).level == "allow"
    monitor.convict([("a", "c1", "review"), ("b", "c2", "act"), ("n", "c3", "allow")])
    first = monitor.observe(sent(1, False))
    assert (first.level, first.campaign_id, first.alert, first.as_dict()["campaign_id"]) == ("review", "c1", True, "c1")
    other = monitor.observe(sent(2, False, account_id="b"))
    assert (other.level, other.campaign_id, other.alert) == ("act", "c2", True)
    named = monitor.observe(sent(3, False, account_id="n"))
    assert (named.level, named.campaign_id, named.alert) == ("allow", "c3", False)
    assert not monitor.observe(sent(4, False)).alert
    monitor.convict([])
    later = monitor.observe(sent(5, False, timestamp=NOON + 2 * HOUR))
    assert (later.level, later.campaign_id) == ("allow", "")


def test_a_campaign_never_lowers(scorer: Scorer) -> None:
    monitor = monitor_of(scorer, least=1)
    monitor.convict([("a", "c1", "review")])
    assert monitor.observe(sent(0)).level == "act"


def test_what_is_no_level_is_refused(scorer: Scorer) -> None:
    monitor = monitor_of(scorer)
    monitor.convict([("a", "c1", "act")])
    with pytest.raises(FingerprintError, match="expected a level of allow, review, act, got 'block'"):
        monitor.convict([("b", "c1", "block")])
    assert monitor.observe(sent(0)).level == "act", "what was known stays"


def test_aobserve(scorer: Scorer) -> None:
    class Far(MemoryStore):
        """A store that is not known to be near."""

    async def observe(monitor: Monitor) -> list[dict[str, Any]]:
        return [(await monitor.aobserve(record)).as_dict() for record in exchanges(20, 1)]

    expected = [verdict.as_dict() for verdict in map(monitor_of(scorer).observe, exchanges(20, 1))]
    assert asyncio.run(observe(monitor_of(scorer))) == expected
    far = monitor_of(scorer)
    far.store = Relay(MemoryStore())
    threads = set[int]()
    far.listener = lambda verdict, seconds: threads.add(threading.get_ident())
    assert asyncio.run(observe(far)) == expected
    assert threading.get_ident() not in threads


class Relay:
    """A store that hands on to another, failing where it is told to."""

    def __init__(self, store: MemoryStore, failing: str = "") -> None:
        self.store, self.failing, self.counts = store, failing, store.counts

    def _call(self, name: str, *arguments: Any) -> Any:
        if name == self.failing:
            raise ConnectionError(f"no store for {CANARY}")
        return getattr(self.store, name)(*arguments)

    def add(self, *arguments: Any) -> Seen:
        return self._call("add", *arguments)  # type: ignore[no-any-return]

    def get(self, *arguments: Any) -> Seen | None:
        return self._call("get", *arguments)  # type: ignore[no-any-return]

    def stand(self, *arguments: Any) -> None:
        self._call("stand", *arguments)

    def __len__(self) -> int:
        return len(self.store)

    def close(self) -> None:
        self._call("close")


class Odd(Mapping[str, Any]):
    """A mapping that cannot be read."""

    def __getitem__(self, name: str) -> Any:
        raise RuntimeError(CANARY)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError(CANARY)

    def __len__(self) -> int:
        raise RuntimeError(CANARY)


MALFORMED: list[tuple[Any, str]] = [
    *((value, "not_an_object") for value in (None, 7, "text", [], b"{}", object(), [exchange()])),
    *((exchange(**{name: None}), f"missing:{name}") for name in ("exchange_id", "account_id", "timestamp", "prompt")),
    *((exchange(**{name: ""}), f"missing:{name}") for name in ("exchange_id", "account_id")),
    (exchange(messages=[], prompt=None), "missing:prompt"),
    *(
        (exchange(**{name: {CANARY: 1}}), f"wrong_type:{name}")
        for name in (
            *("exchange_id", "account_id", "timestamp", "session_id", "model", "system", "prompt", "messages"),
            *("n_messages", "tools", "max_tokens", "temperature", "n", "logprobs", "reasoning", "stream"),
            *("input_tokens", "output_tokens", "stop_reason"),
        )
    ),
    (exchange(client=CANARY), "wrong_type:client"),
    (exchange(account=CANARY), "wrong_type:account"),
    (exchange(client={"asn": [CANARY]}), "wrong_type:asn"),
    (exchange(account={"created_at": [1]}), "wrong_type:created_at"),
    (exchange(prompt=f"{CANARY}\0"), "nul_byte:prompt"),
    (exchange(account_id="a\0"), "nul_byte:account_id"),
    (exchange(system=f"{CANARY}\ud800"), "invalid_utf8:system"),
    (exchange(timestamp=CANARY), "unreadable_time:timestamp"),
    (exchange(timestamp=float("nan")), "unreadable_time:timestamp"),
    (exchange(timestamp=float("inf")), "unreadable_time:timestamp"),
    (exchange(timestamp=1e300), "absurd_time:timestamp"),
    (exchange(timestamp=-1), "absurd_time:timestamp"),
    (exchange(n=0), "out_of_range:n"),
    (exchange(max_tokens=2**31), "out_of_range:max_tokens"),
    (exchange(temperature=-1), "out_of_range:temperature"),
]


@pytest.mark.parametrize(("record", "reason"), MALFORMED, ids=[f"{i} {r}" for i, (_, r) in enumerate(MALFORMED)])
def test_a_malformed_record_is_unknown_and_counted(scorer: Scorer, record: Any, reason: str) -> None:
    monitor = monitor_of(scorer)
    with everything_said() as said:
        verdict = monitor.observe(record)
    assert (verdict.level, verdict.reason, verdict.score, verdict.reasons) == ("unknown", reason, None, [])
    assert monitor.counts == {f"rejected:{reason}": 1, "verdict:unknown": 1}
    assert len(monitor.store) == 0
    assert said == [""]
    told = verdict.as_dict()
    assert list(told) == RECORD
    assert (told["n_exchanges"], told["first_seen"], told["last_seen"], told["alert"]) == (0, None, None, False)
    assert CANARY not in json.dumps(told) + repr(verdict) + repr(monitor.counts)


@pytest.mark.parametrize("failing", ["add", "stand", "get"])
def test_a_store_that_fails(scorer: Scorer, failing: str) -> None:
    monitor = monitor_of(scorer, least=1)
    monitor.store = Relay(MemoryStore(), failing)
    with everything_said() as said:
        verdict = monitor.observe(sent(0, prompt=CANARY))
    assert (verdict.level, verdict.reason, verdict.account_id, verdict.score) == ("unknown", "error", "a", None)
    assert monitor.counts["error:ConnectionError"] == monitor.counts["verdict:unknown"] == 1
    assert said[0].strip() == "no verdict: ConnectionError while observing an exchange"


def test_a_scorer_that_fails(bundle: Path) -> None:
    class Failing(Scorer):
        def score(self, features: Any) -> Any:
            raise MemoryError(CANARY)

    monitor = Monitor(Failing.load(bundle))
    with everything_said() as said:
        verdicts = [monitor.observe(sent(i, prompt=CANARY)) for i in range(3)]
    assert {verdict.level for verdict in verdicts} == {"unknown"}
    assert monitor.counts == {"error:MemoryError": 3, "verdict:unknown": 3}
    assert CANARY not in said[0]
    assert said[0].count("MemoryError") == 3
    assert len(monitor.store) == 1, "what came in was counted in"


@pytest.mark.parametrize("record", [sent(0), None], ids=["good", "malformed"])
def test_a_listener_that_fails(scorer: Scorer, record: Any) -> None:
    heard = []

    def listener(verdict: Verdict, seconds: float) -> None:
        heard.append((verdict, seconds))
        raise KeyError(CANARY)

    monitor = Monitor(scorer, listener=listener)
    with everything_said() as said:
        verdict = monitor.observe(record)
    assert verdict.level == ("allow" if record else "unknown")
    assert heard[0][0] is verdict
    assert 0 < heard[0][1] < 60
    assert monitor.counts["error:listener:KeyError"] == 1
    assert CANARY not in said[0]


def test_mappings_that_cannot_be_read(scorer: Scorer) -> None:
    monitor = monitor_of(scorer)
    with everything_said() as said:
        verdict = monitor.observe(Odd())
    assert (verdict.level, verdict.account_id) == ("unknown", "")
    assert monitor.counts["error:RuntimeError"] == 1
    assert CANARY not in said[0]


@pytest.mark.parametrize(
    "changed", [{"exchange_id": "text"}, {"meta": [2**40] * 18}, {"time_us": 2**80}, {"prompt": "text"}]
)
def test_an_exchange_that_was_made_wrongly(scorer: Scorer, changed: dict[str, Any]) -> None:
    monitor = monitor_of(scorer)
    verdict = monitor.observe(parse(exchange())._replace(**changed))
    assert (verdict.level, verdict.account_id) == ("unknown", "a")
    assert monitor.counts["verdict:unknown"] == 1


def test_text_is_nowhere(scorer: Scorer, tmp_path: Path) -> None:
    """Not in logs, names of counts, what is printed of verdicts and monitors, state, or a snapshot."""
    chat = [{"role": "system", "content": CANARY}, {"role": "user", "content": f"{CANARY} please"}]
    records = [
        {"prompt": CANARY},
        {"system": CANARY},
        {"prompt": None, "messages": chat},
        {"tools": [CANARY], "model": CANARY, "stop_reason": CANARY, "session_id": CANARY},
        {"client": {"user_agent": CANARY, "ip_prefix": CANARY}, "account": {"plan": CANARY, "payment_hash": CANARY}},
        {"prompt": f"{CANARY}\0"},
        {"timestamp": CANARY},
        {"n": CANARY},
        {"messages": [CANARY]},
    ]
    store = MemoryStore(hot=1)
    with everything_said() as said:
        monitor = Monitor(scorer, store, Policy(least=1))
        verdicts = [
            monitor.observe(sent(i * 10 + k, account_id=f"account {k % 3}", **record))
            for k, record in enumerate(records)
            for i in range(4)
        ]
        store.save(tmp_path / "state.fp")
        again = MemoryStore.load(tmp_path / "state.fp")
    assert said == [""]
    assert {verdict.level for verdict in verdicts} == {"act", "unknown"}
    told = [json.dumps(verdict.as_dict()) + repr(verdict) + str(verdict.scores) for verdict in verdicts]
    state = [*told, repr(monitor), repr(monitor.counts), repr(store), repr(store.counts), repr(again.counts)]
    held = [(tmp_path / "state.fp").read_bytes(), *store._packed.values(), *again._packed.values()]
    held += [pickle.dumps(seen) for name in ("account 0", "account 1", "account 2") if (seen := store.get(name))]
    for mark in disguises(CANARY):
        for data in (*(text.encode() for text in state), *held):
            assert mark not in data
    assert b"account 1" in held[0], "the search finds what is there"


def test_four_threads_lose_no_count(scorer: Scorer) -> None:
    records = [
        sent(i, account_id=f"a{i % 25}", timestamp=NOON + i // 4, prompt="x\0" if i % 7 == 0 else "x")
        for i in range(2000)
    ]
    heard: list[str] = []
    monitor = Monitor(scorer, MemoryStore(hot=4), Policy(least=1), lambda verdict, seconds: heard.append(verdict.level))
    barrier = threading.Barrier(4)

    def work(part: int) -> None:
        barrier.wait()
        for record in records[part::4] + records[part::8]:
            monitor.observe(record)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    bad = sum("\0" in record["prompt"] for record in records)
    twice = [record for part in range(4) for record in records[part::8]]
    bad_twice = sum("\0" in record["prompt"] for record in twice)
    assert monitor.counts["rejected:nul_byte:prompt"] == monitor.counts["verdict:unknown"] == bad + bad_twice
    assert monitor.counts["duplicates"] == len(twice) - bad_twice
    assert sum(count for name, count in monitor.counts.items() if name.startswith("verdict:")) == 3000 == len(heard)
    assert monitor.counts["alerts"] == 25
    seen = [monitor.store.get(f"a{i}") for i in range(25)]
    assert sum(int(one.windows[-1, 0]) for one in seen if one) == 2000 - bad


def test_one_account_in_four_threads_is_alerted_about_once(scorer: Scorer) -> None:
    for trial in range(20):
        monitor = monitor_of(scorer, least=1)
        barrier = threading.Barrier(4)

        def observe(i: int, monitor: Monitor = monitor, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return monitor.observe(sent(i)).alert

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(observe, range(4))) == monitor.counts["alerts"] == 1, trial


def test_load_takes_a_bundle_a_store_and_a_policy(bundle: Path, tmp_path: Path) -> None:
    store, policy = MemoryStore(snapshot=tmp_path / "state.fp"), Policy(least=1)
    monitor = Monitor.load(bundle, store=store, policy=policy)
    assert monitor.observe(sent(0)).level == "act"
    monitor.close()
    again = Monitor.load(bundle, store=MemoryStore(snapshot=tmp_path / "state.fp"), policy=policy)
    told = again.observe(sent(0))
    assert (told.level, told.n_exchanges, told.alert) == ("act", 1, False), "it is known, and people have heard of it"
    assert again.counts["duplicates"] == 1
    again.close()
    with pytest.raises(BundleError):
        Monitor.load(tmp_path)


def test_the_shipped_bundle_is_the_default() -> None:
    monitor = Monitor.load()
    assert monitor.scorer.bundle_id == Scorer.load().bundle_id
    assert monitor.observe(sent(0)).level == "allow"
    monitor.close()


def test_a_verdict_is_printed_short(scorer: Scorer) -> None:
    monitor = monitor_of(scorer)
    assert repr(monitor.observe(sent(0))) == "Verdict(allow, score 0.982, 1 exchanges)"
    assert repr(monitor.observe(None)) == "Verdict(unknown, score none, 0 exchanges)"  # type: ignore[arg-type]


def growth(monitor: Monitor) -> tuple[int, int]:
    return len(monitor.store), len(monitor.counts)


def test_mutated_records_raise_nothing_and_are_counted(scorer: Scorer) -> None:
    """20,000 of them; each is a verdict or a rejection that is counted, and names of counts are few."""
    monitor = Monitor(scorer, MemoryStore(max_accounts=50, hot=10))
    with everything_said() as said:
        for record in mutated(20_000, seed=1):
            monitor.observe(record)
    rejected = sum(count for name, count in monitor.counts.items() if name.startswith("rejected:"))
    assert sum(count for name, count in monitor.counts.items() if name.startswith("verdict:")) == 20_000
    assert rejected == monitor.counts["verdict:unknown"] > 2000
    assert not [name for name in monitor.counts if name.startswith("error:")]
    assert growth(monitor) <= (50, 80)
    assert said == [""]


def stricter(folder: Path, **change: Any) -> Path:
    """The toy bundle with thresholds that a share of a half does not reach, or with another change."""
    path = toy_bundle(folder)
    manifest = json.loads((path / "manifest.json").read_text())
    write_manifest(path, manifest | {"thresholds": {"review": 0.6, "act": 0.9}} | change)
    return path


def test_another_bundle_is_taken_over_with_all_that_is_known(bundle: Path, tmp_path: Path) -> None:
    place = tmp_path / "bundle"
    shutil.copytree(bundle, place)
    monitor = Monitor(Scorer.load(place), policy=Policy(hold_s=0, hysteresis=0))
    assert levels(monitor, [sent(i, i % 2 == 0) for i in range(20)])[-1] == "review"
    first = monitor.scorer
    assert not monitor.reload()
    assert monitor.scorer is first
    shutil.rmtree(place)
    new = stricter(place)
    assert monitor.reload()
    verdict = monitor.observe(sent(20, False))
    assert (verdict.level, verdict.previous, verdict.n_exchanges) == ("allow", "review", 21)
    assert verdict.bundle_id == Scorer.load(new).bundle_id != first.bundle_id
    assert not monitor.reload()
    assert monitor.counts["reloads"] == 1
    assert monitor.reload(bundle), "from another directory"
    assert monitor.scorer.bundle_id == first.bundle_id
    assert not monitor.reload(), "which is looked at from then on"


def test_a_verdict_keeps_to_the_bundle_that_made_it(bundle: Path, tmp_path: Path) -> None:
    monitor = Monitor(Scorer.load(bundle))
    verdict = [monitor.observe(sent(i)) for i in range(10)][-1]
    other = toy_bundle(tmp_path / "b", typical={"logprobs_share": [0.0, 0.25, 1.0]})
    assert monitor.reload(other)
    assert verdict.reasons[0]["typical"] == 0.0
    later = monitor.verdict(verdict.account_id)
    assert later is not None
    assert later.reasons[0]["typical"] == 0.25


def test_the_policys_thresholds_stay(bundle: Path, tmp_path: Path) -> None:
    monitor = Monitor(Scorer.load(bundle), policy=Policy(review=0.3))
    assert monitor.reload(stricter(tmp_path / "b"))
    assert levels(monitor, [sent(i, i % 2 == 0) for i in range(20)])[-1] == "review"


def test_what_cannot_be_taken_over_leaves_all_as_it_was(bundle: Path, tmp_path: Path) -> None:
    monitor = Monitor(Scorer.load(bundle))
    scorer = monitor.scorer
    refused = [
        (tmp_path / "none", "expected a bundle directory"),
        (stricter(tmp_path / "other", feature_set="0123456789ab"), "expected feature set"),
        (stricter(tmp_path / "odd", thresholds={"review": 2.0, "act": 3.0}), "expected thresholds"),
    ]
    for path, why in refused:
        with pytest.raises(BundleError, match=why):
            monitor.reload(path)
    assert monitor.scorer is scorer
    assert monitor.observe(sent(0)).bundle_id == scorer.bundle_id
    assert monitor.counts["reloads"] == 0


def test_a_model_that_does_not_run_is_not_taken_over(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = Monitor(Scorer.load(bundle))
    other, before = stricter(tmp_path / "b"), monitor.scorer

    def broken(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "score", broken)
        with pytest.raises(BundleError, match=r"model\.onnx does not run \(RuntimeError\)"):
            monitor.reload(other)
    assert monitor.scorer is before


@pytest.mark.parametrize("many", [False, True])
def test_each_exchange_is_judged_by_one_bundle_while_bundles_change(bundle: Path, tmp_path: Path, many: bool) -> None:
    """At a score of a half the level says whose thresholds were taken; it must be those of the bundle named."""
    other = stricter(tmp_path / "b")
    expected = {Scorer.load(bundle).bundle_id: "review", Scorer.load(other).bundle_id: "allow"}
    monitor = Monitor(Scorer.load(bundle), policy=Policy(hold_s=0, hysteresis=0, least=1))
    found: list[Verdict] = []
    done = threading.Event()

    def serve(worker: int) -> list[Verdict]:
        seen, i = [], 0
        while not done.is_set():
            records = [
                sent(i + k, k % 2 == 0, account_id=f"w{worker}-{i}", exchange_id=f"{worker}-{i + k}") for k in (0, 1)
            ]
            verdicts = monitor.observe_many(records) if many else [monitor.observe(record) for record in records]
            seen.append(verdicts[1])
            i += 2
        return seen

    with ThreadPoolExecutor(3) as pool:
        serving = [pool.submit(serve, worker) for worker in range(3)]
        try:
            for i in range(40):
                assert monitor.reload(bundle if i % 2 else other)
        finally:
            done.set()
        for one in serving:
            found += one.result()
    assert {verdict.bundle_id for verdict in found} == set(expected)
    assert all(verdict.level == expected[verdict.bundle_id] for verdict in found)
    assert monitor.counts["reloads"] == 40
