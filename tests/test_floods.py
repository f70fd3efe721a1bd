"""Floods: what hostile or broken traffic costs is bounded, and it does not push out those who are there."""

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from builders import exchange
from serving import DAY, SECOND, START, rows_of, traffic
from toy_bundle import toy_bundle

from fingerprint import Scorer
from fingerprint.history import MOST_ROWS
from fingerprint.monitor import Monitor
from fingerprint.stores.memory import HOT_BYTES, MemoryStore

NOON = 1_772_366_400


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(toy_bundle(tmp_path_factory.mktemp("floods") / "toy"))


class Taken:
    """Bytes of memory, taken since ``measured`` began: what is left, and the most there was."""

    left = most = 0


@contextmanager
def measured() -> Iterator[Taken]:
    taken = Taken()
    gc.collect()
    tracemalloc.start()
    try:
        yield taken
        gc.collect()
        taken.left, taken.most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


def test_many_accounts_of_one_exchange_take_what_is_counted() -> None:
    """Some 800 bytes each with its name; the bound on bytes is one on memory."""
    store = MemoryStore(hot=1)
    rows_of(0, START)
    with measured() as taken:
        for i in range(3000):
            store.add(f"account {i:09d}", i + 1, rows_of(i, START + i * SECOND))
    assert store.bytes / 3000 < 900
    assert 0.75 * store.bytes < taken.left < 1.1 * store.bytes


@pytest.mark.parametrize("hot", [1, 100])
@pytest.mark.parametrize(("count", "pauses"), [(1, (60,)), (5, (60, 40_000)), (40, (5, 1500, 40_000))])
def test_what_is_counted_is_about_what_is_taken(count: int, pauses: tuple[int, ...], hot: int) -> None:
    taken, counted = taken_by(50, count, pauses, hot)
    assert taken < 1.3 * counted


def test_what_is_counted_of_busy_accounts_is_about_what_is_taken() -> None:
    taken, counted = taken_by(10, 400, (1,), 100)
    assert taken < 4 * counted


def taken_by(accounts: int, count: int, pauses: tuple[int, ...], hot: int) -> tuple[int, int]:
    """Bytes that a store takes, and those that it counts, of accounts with so many exchanges each."""
    store = MemoryStore(hot=hot)
    arrivals = [traffic(count, seed, pauses) for seed in range(accounts)]
    with measured() as taken:
        for k in range(count):
            for account in range(accounts):
                store.add(f"account {account:09d}", account * 1000 + k + 1, rows_of(*arrivals[account][k]))
    return taken.left, store.bytes


def test_one_account_with_many_exchanges_does_not_grow() -> None:
    store = MemoryStore()
    for i in range(3000):
        store.add("a", i + 1, rows_of(i, START + i * SECOND // 5))
    with measured() as taken:
        for i in range(3000, 8000):
            store.add("a", i + 1, rows_of(i, START + i * SECOND // 5))
    history = store._hot["a"].history
    assert len(history._rows) <= MOST_ROWS
    assert len(history._table) <= 16
    assert taken.left < 1_000_000
    assert int(history.windows[-1, 0]) == 8000
    assert len(history.to_bytes()) < 100_000


def test_a_flood_of_accounts_does_not_push_out_who_is_there() -> None:
    """Who is seen now and then stays; of who is pushed out the month and the standing are known for a while."""
    store = MemoryStore(max_accounts=500, hot=16)
    for i in range(3000):
        store.add(f"new {i}", i + 1, rows_of(i, START + i * SECOND))
        if i % 200 == 0:
            seen = store.add("regular", 10**6 + i, rows_of(i, START + i * SECOND))
    assert int(seen.windows[-1, 0]) == 15
    assert len(store) == 500
    assert len(store._summaries) <= 500
    assert store.counts["evicted"] == 3001 - 500
    assert store.counts["forgotten"] == 3001 - 1000
    assert store.get("new 2100") is not None
    assert store.get("new 1000") is None


def test_long_prompts_take_no_more_than_themselves(scorer: Scorer) -> None:
    monitor, prompt = Monitor(scorer), "lorem ipsum 12 " * 70_000
    monitor.observe(exchange())
    with measured() as taken:
        for i in range(20):
            verdict = monitor.observe(exchange(exchange_id=f"{i}", prompt=prompt, timestamp=NOON + i))
    assert verdict.level == "allow"
    assert taken.most < 4 * len(prompt)
    assert taken.left < 200_000


def test_clocks_that_are_a_day_off(scorer: Scorer) -> None:
    """Each record by up to a day: all count for the month, no cell is made more than there can be."""
    monitor, rng = Monitor(scorer), np.random.default_rng(1)
    for i in range(4000):
        time = NOON + i + float(rng.uniform(-DAY, DAY)) / SECOND
        verdict = monitor.observe(exchange(exchange_id=f"{i}", account_id=f"a{i % 5}", timestamp=time))
        assert verdict.level == "allow"
        assert verdict.first_seen is not None
        assert verdict.last_seen is not None
        assert verdict.first_seen <= verdict.last_seen
    for account in range(5):
        seen = monitor.store.get(f"a{account}")
        assert seen is not None
        assert int(seen.windows[-1, 0]) == 800
    assert monitor.counts == {"verdict:allow": 4000}


def test_the_same_records_again_and_again(scorer: Scorer) -> None:
    monitor = Monitor(scorer)
    records = [exchange(exchange_id=f"{i}", account_id=f"a{i % 20}", timestamp=NOON + i) for i in range(200)]
    first = [monitor.observe(record) for record in records][-1]
    for _ in range(20):
        again = [monitor.observe(record) for record in records][-1]
    assert again.as_dict() == first.as_dict()
    assert monitor.counts == {"verdict:allow": 21 * 200, "duplicates": 20 * 200}
    renamed = [monitor.observe(record | {"account_id": f"new {i}"}) for i, record in enumerate(records)]
    assert {verdict.score for verdict in renamed} == {None}
    assert len(monitor.store) == 20, "old ids make no accounts"


def test_a_snapshot_of_a_flood_is_as_large_as_what_it_holds(tmp_path: Path) -> None:
    store = MemoryStore(max_bytes=40 * HOT_BYTES, hot=8)
    for i in range(5000):
        store.add(f"new {i}", i + 1, rows_of(i, START + i * SECOND))
    with measured() as taken:
        store.save(tmp_path / "state.fp")
    assert (tmp_path / "state.fp").stat().st_size < 40 * HOT_BYTES + 400_000
    assert taken.most < 6_000_000, "it is written piece by piece"
    assert len(MemoryStore.load(tmp_path / "state.fp")) >= len(store) - 8
