"""The store in memory: its bounds hold, the least recently seen go first, and nothing is counted twice."""

import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import DAY, HOUR, SECOND, START, history_of, rows_of, traffic

from fingerprint.history import HORIZONS
from fingerprint.kernels.layout import AT
from fingerprint.stores import NOBODY, Seen, Standing
from fingerprint.stores import MemoryStore as Exported
from fingerprint.stores.memory import HOT_BYTES, Ids, MemoryStore

MONTH, N = HORIZONS.index("month"), AT["n"]


def put(store: MemoryStore, account: str, identity: int, time_us: int = START) -> Seen:
    return store.add(account, identity, rows_of(identity, time_us))


def total(store: MemoryStore) -> int:
    """What ``bytes`` says, counted anew."""
    cold = [*store._packed.items(), *store._summaries.items()]
    names = sum(sys.getsizeof(name) for name in [*store._hot, *(name for name, _ in cold)])
    return names + sum(len(data) + 200 for _, data in cold) + HOT_BYTES * len(store._hot)


def test_the_store_is_found_where_stores_are() -> None:
    assert Exported is MemoryStore


def test_an_unknown_account_is_nobody() -> None:
    store = MemoryStore()
    assert store.get("a") is None
    store.stand("a", Standing(1, 2, 1, 2))
    assert store.get("a") is None
    assert (len(store), store.bytes) == (0, 0)


def test_exchanges_add_up_to_the_history_of_the_account() -> None:
    store, arrivals = MemoryStore(), traffic(80, 1)
    for identity, time in arrivals:
        seen = put(store, "a", identity, time)
        assert seen.new
    assert np.array_equal(seen.windows, history_of(arrivals).windows)
    assert seen.standing == NOBODY
    again = store.get("a")
    assert again is not None
    assert np.array_equal(again.windows, seen.windows)
    assert not again.new


def test_what_is_handed_out_is_a_copy() -> None:
    store = MemoryStore()
    first = put(store, "a", 1)
    kept = first.windows.copy()
    second = put(store, "a", 2)
    assert np.array_equal(first.windows, kept)
    second.windows[:] = 7
    again = store.get("a")
    assert again is not None
    assert again.windows[MONTH, N] == 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(3, 30))
def test_how_many_are_hot_makes_no_difference(seed: int, hot: int, accounts: int) -> None:
    rng = np.random.default_rng(seed)
    arrivals = [(str(rng.integers(accounts)), identity, time) for identity, time in traffic(100, seed)]
    warm, cold = MemoryStore(), MemoryStore(hot=hot)
    for account, identity, time in arrivals:
        a, b = put(warm, account, identity, time), put(cold, account, identity, time)
        assert np.array_equal(a.windows, b.windows)
        assert len(cold._hot) <= hot
        assert len(cold) == len(warm)
        assert cold.bytes == total(cold)
    assert not cold.counts


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 20))
def test_the_bound_by_count_holds_and_the_least_recently_seen_go_first(seed: int, most: int, hot: int) -> None:
    rng = np.random.default_rng(seed)
    store, order = MemoryStore(max_accounts=most, hot=hot), list[str]()
    evictions = 0
    for i in range(150):
        account = str(rng.integers(20))
        put(store, account, i, START + i * SECOND)
        order = [*(name for name in order if name != account), account]
        evictions += max(len(order) - most, 0)
        order = order[-most:]
        assert [*store._packed, *store._hot] == order
        assert len(store) == len(order) <= most
        assert len(store._summaries) <= most
        assert store.bytes == total(store)
    assert store.counts["evicted"] == evictions


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(2 * HOT_BYTES, 9 * HOT_BYTES))
def test_the_bound_by_bytes_holds(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    store = MemoryStore(max_bytes=most, hot=3)
    for i in range(200):
        put(store, f"{rng.integers(150)}" * int(rng.integers(1, 9)), i, START + i * SECOND)
        assert store.bytes == total(store) <= most or not store._packed
        assert store._summary_bytes <= 0.2 * most
    assert len(store) > 1


@pytest.mark.parametrize("bounds", [{"max_accounts": 1}, {"max_bytes": 1}, {"hot": 0}, {"max_accounts": 1, "hot": 1}])
def test_bounds_that_leave_room_for_little_keep_the_newest(bounds: dict[str, int]) -> None:
    store = MemoryStore(**bounds)
    for i in range(20):
        assert put(store, str(i), i).windows[MONTH, N] == 1
        assert len(store._hot) == 1
    assert "19" in store._hot


def test_names_count_too() -> None:
    store = MemoryStore(max_bytes=2_000_000, hot=2)
    for i in range(50):
        put(store, f"{i}" * 100_000, i)
    assert store.bytes <= 2_000_000
    assert store.counts["evicted"] > 20


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60))
def test_an_evicted_account_comes_back_with_its_month_and_its_standing(seed: int, count: int) -> None:
    arrivals = traffic(count, seed)
    store, standing = MemoryStore(max_accounts=3, hot=1), Standing(2, START, 2, START + 1)
    for identity, time in arrivals:
        before = put(store, "a", identity, time)
    store.stand("a", standing)
    for i in range(3):
        put(store, f"other {i}", 10**6 + i)
    assert "a" in store._summaries
    after = store.get("a")
    assert after is not None
    assert np.array_equal(after.windows[MONTH], before.windows[MONTH])
    assert after.standing == standing
    more = put(store, "a", 10**7, arrivals[-1][1] + SECOND)
    assert more.windows[MONTH, N] >= 1
    assert store.counts["evicted"] >= 1


def test_a_standing_is_kept_hot_packed_and_as_a_summary() -> None:
    store, standing = MemoryStore(max_accounts=10, hot=2), Standing(1, START, 1, START)
    put(store, "a", 1)
    store.stand("a", standing)
    for i in range(2, 40):
        put(store, str(i), i)
        if i in (2, 5, 18):
            seen = store.get("a")
            assert seen is not None
            assert seen.standing == standing


def test_of_too_many_summaries_the_oldest_are_forgotten_and_counted() -> None:
    store = MemoryStore(max_accounts=5, hot=1)
    for i in range(30):
        put(store, str(i), i)
    assert (store.counts["evicted"], store.counts["forgotten"]) == (25, 20)
    assert list(store._summaries) == [str(i) for i in range(20, 25)]
    assert store.get("3") is None
    assert put(store, "3", 99).windows[MONTH, N] == 1


def test_an_exchange_that_was_seen_is_counted_and_dropped() -> None:
    store = MemoryStore(hot=1)
    first = put(store, "a", 5)
    for account in ("b", "c"):
        put(store, account, hash(account) & 0xFFFF | 1 << 20)
    again = put(store, "a", 5, START + HOUR)
    assert not again.new
    assert np.array_equal(again.windows, first.windows)
    assert store.counts["duplicates"] == 1


def test_an_id_of_another_account_makes_no_account() -> None:
    """Whoever sends old ids under new names gets no room for them."""
    store = MemoryStore()
    put(store, "a", 5)
    seen = put(store, "b", 5)
    assert (seen.new, int(seen.windows[MONTH, N]), seen.standing) == (False, 0, NOBODY)
    assert len(store) == 1


def test_what_cannot_be_read_begins_anew_and_is_counted() -> None:
    """It cannot happen but by a damaged memory; requests go on."""
    store = MemoryStore(max_accounts=2, hot=1)
    for name in ("a", "b", "c"):
        put(store, name, ord(name))
    store._summaries["a"] = zlib.compress(b"rubbish")
    store._packed["b"] = store._packed["b"][:-1]
    store._bytes -= 1
    store._summary_bytes = sum(len(data) + 200 + sys.getsizeof(name) for name, data in store._summaries.items())
    assert [put(store, name, 1000 + ord(name)).windows[MONTH, N] for name in "ab"] == [1, 1]
    assert store.counts["damaged"] == 2
    assert store.bytes == total(store)
    store._packed["c"], data = b"short", store._packed.get("c", b"")
    store._bytes += 5 - len(data)
    for i in range(5):
        put(store, f"d{i}", i)
    assert store.counts["damaged"] == 3


@pytest.mark.parametrize("size", [64, 1 << 12])
def test_ids_never_take_one_for_another(size: int) -> None:
    rng = np.random.default_rng(1)
    ids, seen = Ids(size), set[int]()
    numbers = [0, 1, size, 2**64 - 1, *rng.integers(0, 2**64, 8 * size, np.uint64).tolist()]
    for number in numbers:
        assert ids.seen(number) <= (number in seen or number in (0, 1))
        assert ids.seen(number)
        seen.add(number)


def test_ids_forget_the_oldest() -> None:
    size = 1 << 14
    rng = np.random.default_rng(2)
    ids, numbers = Ids(size), rng.integers(0, 2**64, 3 * size, np.uint64).tolist()
    assert not any(ids.seen(number) for number in numbers)
    lately = [number in ids.table[number & ids._mask].tolist() for number in reversed(numbers)]
    assert all(lately[: size // 8])
    assert np.mean(lately[: size // 4]) > 0.995
    assert np.mean(lately[: size // 2]) > 0.97
    assert np.mean(lately[2 * size :]) < 0.05


def test_a_store_begins_small() -> None:
    """The table of ids takes memory where ids are."""
    assert Ids().table.nbytes == 16 << 20
    assert MemoryStore().bytes == 0


def test_threads_lose_nothing_and_count_nothing_twice() -> None:
    """Four threads, each exchange sent by two of them, few hot accounts and a bound that evicts."""
    arrivals = [(f"a{i % 60}", i, START + i * SECOND) for i in range(2400)]
    store = MemoryStore(hot=8)
    barrier = threading.Barrier(4)

    def work(part: int) -> int:
        barrier.wait()
        return sum(put(store, *arrival).new for arrival in arrivals[part % 2 :: 2])

    with ThreadPoolExecutor(4) as pool:
        new = sum(pool.map(work, range(4)))
    assert new == 2400
    assert store.counts["duplicates"] == 2400
    counts = [store.get(f"a{i}") for i in range(60)]
    assert sum(int(seen.windows[MONTH, N]) for seen in counts if seen) == 2400
    assert store.bytes == total(store)


def test_threads_within_bounds() -> None:
    store = MemoryStore(max_accounts=20, hot=4)

    def work(part: int) -> None:
        for i in range(400):
            put(store, f"{part}-{i % 50}", part * 1000 + i, START + i * DAY // 400)
            store.stand(f"{part}-{i % 50}", Standing(1, i, 0, 0))
            store.get(f"{(part + 1) % 4}-{i % 50}")
            assert len(store) <= 20

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert store.bytes == total(store)
    assert len(store) == 20
