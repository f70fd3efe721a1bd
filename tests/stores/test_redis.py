"""Replicas that share accounts through a real Redis have the histories of one process that saw everything."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis_server
from builders import exchange, random_head
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_server import Server, history, row, same
from toy_bundle import toy_bundle
from toy_run import CANARY, disguises

from fingerprint import Monitor, Scorer
from fingerprint.contribution import read_exchange
from fingerprint.history import History
from fingerprint.stores import NOBODY, MemoryStore, RedisStore, Standing

pytestmark = pytest.mark.skipif(redis_server.BINARY is None, reason="no redis-server on this machine")
HOSTILE = [
    "", " ", "a", "A", "{a}", "a{b}c", "a:b", "fp:a", "*", "a\r\nDEL b", "\x00", "ü", "\udce9", "日本", "x" * 100_000,
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("redis")).start() as one:
        yield one


@pytest.fixture
def clean(server: Server) -> Server:
    with server.client() as client:
        client.flushall()
        client.script_flush()
    return server


def kept(store: RedisStore, account: str) -> bytes:
    """The account as this replica has it, to the bit."""
    return store._accounts._known[store._key(account)].history.to_bytes()


def test_replicas_in_turns_are_as_one_process_and_wait_once_for_each_exchange(clean: Server) -> None:
    stores = [RedisStore(clean.url, timeout_s=10) for _ in range(3)]
    stores[0].get("nobody")  # loads the script
    one = History()
    with clean.client() as client:
        calls = int(client.info("commandstats")["cmdstat_evalsha"]["calls"])
    for number in range(300):
        assert one.add(*row(number))
        seen = stores[number % 3].add("a", *row(number))
        assert seen.new
        assert same(seen.windows, one)
    with clean.client() as client:
        assert int(client.info("commandstats")["cmdstat_evalsha"]["calls"]) - calls == 300
        assert "cmdstat_eval" not in client.info("commandstats")
        fields = client.hkeys(next(client.scan_iter()))
        assert len([name for name in fields if name.startswith(b"r")]) <= 60  # the base has 43 rows of its own
    for store in stores:
        got = store.get("a")
        assert got is not None
        assert same(got.windows, one)
        assert kept(store, "a") == one.to_bytes()
        assert len(store) == 1
        assert not store.counts
        store.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 80), st.integers(-40, 3000)), max_size=150),
    st.integers(1, 6),
    st.integers(1, 3),
)
def test_any_interleaving_of_three_replicas(server: Server, steps: list[Any], log_rows: int, cache: int) -> None:
    """Duplicates, exchanges that are minutes late, bases after every few rows, and a cache of too few accounts."""
    with server.client() as client:
        client.flushall()
    stores = [RedisStore(server.url, timeout_s=10, log_rows=log_rows, cache=cache) for _ in range(3)]
    histories, known = [History(), History()], set()
    clock = 0
    for place, account, number, seconds in steps:
        clock = max(clock, clock + seconds)
        us = (clock + min(seconds, 0)) * 1_000_000
        if new := (account, number) not in known:
            histories[account].add(*row(number, us))
        known.add((account, number))
        seen = stores[place].add(str(account), *row(number, us))
        assert seen.new == new
        assert same(seen.windows, histories[account])
    for store in stores:
        for account in {account for account, _ in known}:
            got = store.get(str(account))
            assert got is not None
            assert same(got.windows, histories[account])
            assert kept(store, str(account)) == histories[account].to_bytes()
        assert not {"damaged", "restored", "resent", "store_errors"} & set(store.counts)
        store.close()


def test_threads_of_three_replicas(clean: Server) -> None:
    """New bases are handed in by all at once; every exchange is sent by two threads."""
    stores = [RedisStore(clean.url, timeout_s=30, log_rows=4) for _ in range(3)]
    new: list[int] = []

    def send(place: int, start: int) -> None:
        for number in range(start, 240, 3):
            for account in ("a", "b"):
                new.extend([number] * stores[place].add(account, *row(number, number * 10_000)).new)

    threads = [
        threading.Thread(target=send, args=(place, start)) for place in range(3) for start in (place, (place + 1) % 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == sorted([*range(240), *range(240)])
    one = History()
    for number in range(240):
        one.add(*row(number, number * 10_000))
    for store in stores:
        for account in ("a", "b"):
            got = store.get(account)
            assert got is not None
            assert same(got.windows, one)
            assert kept(store, account) == one.to_bytes()
        assert set(store.counts) == {"duplicates"}
        store.close()


def test_a_base_is_taken_only_in_place_of_the_one_it_follows(clean: Server) -> None:
    """Two replicas hand in a base for the same rows; a third is behind it."""
    stores = [RedisStore(clean.url, timeout_s=10, log_rows=5) for _ in range(3)]
    stores[2].add("a", *row(0))
    for number in range(1, 6):
        stores[0].add("a", *row(number))
    stores[1].get("a")
    keys = [store._accounts._known[store._key("a")].replaces for store in stores]
    assert keys == [0, 0, None]
    for number, store in enumerate([*stores, stores[2]], 6):
        assert same(store.add("a", *row(number)).windows, history(range(number + 1)))
    with clean.client() as client:
        assert client.hget(stores[0]._key("a"), "m") == b"6"  # the first one's, of the rows before its own


def test_ids_are_remembered_for_a_while(clean: Server) -> None:
    store = RedisStore(clean.url, timeout_s=10, log_rows=8, ids=50)
    for number in range(400):
        assert store.add("a", *row(number, number * 20_000_000)).new
        for back in (1, 20, 49):
            assert not store.add("a", *row(max(number - back, 0))).new
    with clean.client() as client:
        names = client.hkeys(store._key("a"))
    assert 50 <= len([name for name in names if name.startswith(b"i")]) <= 50 + 2 * 30
    assert len([name for name in names if name.startswith(b"o")]) < 12
    assert store.counts == {"duplicates": 1200}


def test_many_at_once_are_as_one_after_the_other(clean: Server) -> None:
    """Also where an account comes several times, with duplicates, and another replica wrote in between."""
    memory, stores = MemoryStore(), [RedisStore(clean.url, timeout_s=10, log_rows=6) for _ in range(2)]
    rng = np.random.default_rng(5)
    for turn in range(30):
        items = [(f"a{rng.integers(4)}", *row(int(number))) for number in rng.integers(turn * 8, turn * 8 + 20, 12)]
        items = [(account, identity ^ int(account[1]), rows) for account, identity, rows in items]
        expected = [memory.add(account, identity, _copy(rows)) for account, identity, rows in items]
        seen = stores[turn % 2].add_many(items)
        for one, other in zip(seen, expected, strict=True):
            assert one.new == other.new
            assert np.array_equal(one.windows, other.windows)
    assert stores[0].add_many([]) == []


def _copy(rows: Any) -> Any:
    return type(rows)(*(part.copy() for part in rows))


def test_a_standing_is_seen_by_others(clean: Server) -> None:
    stores = [RedisStore(clean.url, timeout_s=10) for _ in range(2)]
    standing = Standing(2, 5, 1, 4)
    stores[0].stand("a", standing)
    assert stores[0].get("a") is None
    assert stores[0].add("a", *row(0)).standing == NOBODY
    stores[0].stand("a", standing)
    assert stores[1].add("a", *row(1)).standing == standing
    assert stores[0].add("a", *row(2)).standing == standing
    stores[1].stand("a", NOBODY)
    got = stores[0].get("a")
    assert got is not None
    assert got.standing == NOBODY
    assert not got.new


def test_keys_have_the_prefix_and_expire(clean: Server) -> None:
    month, brief = RedisStore(clean.url, prefix="x{y}:"), RedisStore(clean.url, expire_s=100, bundle="other")
    for store in (month, brief):
        for number in range(40):
            store.add("a", *row(number))
        store.stand("a", Standing(1, 1, 0, 0))
    with clean.client() as client:
        keys = sorted(client.scan_iter())
        assert [key[:5] for key in keys] == [b"fp:" + keys[0][3:5], b"x{y}:"]
        assert 90 < client.ttl(keys[0]) <= 100
        assert 30 * 86_400 < client.ttl(keys[1]) <= 31 * 86_400


def test_hostile_names_are_accounts_like_others(clean: Server) -> None:
    stores = [RedisStore(clean.url, timeout_s=10) for _ in range(2)]
    for number, account in enumerate(HOSTILE):
        assert same(stores[0].add(account, *row(number)).windows, history([number]))
    for number, account in enumerate(HOSTILE):
        got = stores[1].get(account)
        assert got is not None
        assert same(got.windows, history([number]))
    with clean.client() as client:
        keys = list(client.scan_iter())
    assert len(keys) == len(HOSTILE)
    assert all(len(key) == 35 and key.decode("ascii").isprintable() for key in keys)


def test_ten_thousand_small_accounts(clean: Server) -> None:
    stores = [RedisStore(clean.url, timeout_s=30, cache=500) for _ in range(2)]
    for start in range(0, 20_000, 500):
        stores[start // 500 % 2].add_many([(str(n % 10_000), *row(n)) for n in range(start, start + 500)])
    assert len(stores[0]) == 500
    for n in (0, 1, 4_999, 9_999):
        got = stores[0].get(str(n))
        assert got is not None
        assert same(got.windows, history([n, n + 10_000]))
    with clean.client() as client:
        assert client.dbsize() == 10_000


def test_no_text_and_no_name_reaches_the_server(tmp_path: Path) -> None:
    with Server(tmp_path, "--appendonly", "yes").start() as server:
        store = RedisStore(server.url, timeout_s=10, log_rows=5)
        for number in range(40):
            text = {"prompt": f"{CANARY} {number} " * 9, "system": CANARY, "tools": [CANARY], "model": CANARY}
            rows = read_exchange(exchange(**text), random_head())
            store.add(CANARY, number, rows)
        with server.client() as client:
            client.save()
            dump = b"".join(key + client.dump(key) for key in client.scan_iter())
            client.config_set("rdbcompression", "no")
            client.save()
        files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"fp:" in dump
    assert b"fp:" in files
    assert not [mark for mark in disguises(CANARY) if mark in dump + files]


def test_monitors_that_share_a_store_say_what_one_says(clean: Server, tmp_path: Path) -> None:
    scorer = Scorer.load(toy_bundle(tmp_path / "bundle"))
    alone = Monitor(scorer)
    replicas = [Monitor(scorer, RedisStore(clean.url, timeout_s=10)) for _ in range(2)]
    for number in range(120):
        record = exchange(exchange_id=str(number), account_id=f"a{number % 5}", logprobs=number % 2 == 0)
        record["timestamp"] = 1_780_000_000 + number * 40
        expected, verdict = alone.observe(record), replicas[number % 2].observe(record)
        assert verdict.as_dict() == expected.as_dict()
    assert alone.counts == replicas[0].counts + replicas[1].counts
    replicas[0].close()


def test_observing_many_is_observing_each(clean: Server, tmp_path: Path) -> None:
    """Levels and alerts that change in the middle of a batch, duplicates, rejected records and no records."""
    scorer = Scorer.load(toy_bundle(tmp_path / "bundle"))
    alone, many, memory = Monitor(scorer), Monitor(scorer, RedisStore(clean.url, timeout_s=10)), Monitor(scorer)
    told: list[Any] = []
    many.listener = lambda verdict, seconds: told.append(verdict)
    for batch in range(8):
        records = []
        for number in range(batch * 50, batch * 50 + 60):
            record = exchange(exchange_id=str(number), account_id=f"a{number % 3}", logprobs=number % 200 < 100)
            records.append(record | {"timestamp": 1_780_000_000 + number * 200})
        records[7] = {"account_id": "a1", "prompt": 5}
        expected = [alone.observe(record) for record in records]
        for monitor in (many, memory):
            assert [one.as_dict() for one in monitor.observe_many(records)] == [one.as_dict() for one in expected]
    assert many.counts == memory.counts == alone.counts
    assert {"verdict:act", "verdict:allow", "verdict:unknown", "alerts", "duplicates"} <= set(alone.counts)
    assert len(told) == 480
    assert many.observe_many([]) == []
    assert [one.level for one in many.observe_many([{}, {}])] == ["unknown", "unknown"]
