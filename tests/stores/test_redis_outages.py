"""Redis goes away, comes back with or without what it knew, or holds damaged values: traffic goes on, and adds up."""

import logging
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import redis_server
from redis_server import Server, history, row, same

from fingerprint.history import History
from fingerprint.kernels.layout import AT
from fingerprint.stores import RedisStore, Standing

pytestmark = pytest.mark.skipif(redis_server.BINARY is None, reason="no redis-server on this machine")
AOF = ("--appendonly", "yes", "--appendfsync", "always")
Stores = list[RedisStore]


def replicas(server: Server, count: int = 2, **options: Any) -> Stores:
    return [RedisStore(server.url, **{"timeout_s": 20, "retry_s": 0.0, "log_rows": 5, **options}) for _ in range(count)]


def kept(store: RedisStore, account: str) -> bytes:
    return store._accounts._known[store._key(account)].history.to_bytes()


def agree(stores: Stores, one: History, account: str = "a") -> None:
    """Every replica, also one that begins now, has this history to the bit."""
    for store in [*stores, *stores]:  # what one had to send, the others see
        got = store.get(account)
        assert got is not None
    for store in stores:
        got = store.get(account)
        assert got is not None
        assert same(got.windows, one)
        assert kept(store, account) == one.to_bytes()
        assert store._accounts.waiting == 0


@pytest.fixture
def server(tmp_path: Path) -> Any:
    with Server(tmp_path, *AOF).start() as one:
        yield one


def test_a_crash_in_the_middle_of_traffic_changes_nothing(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    stores = replicas(server)
    for number in range(40):
        if number == 13:
            server.kill()
        if number == 29:
            server.start()
        seen = stores[number % 2].add("a", *row(number))
        assert seen.new
        if number < 13 or number >= 29:
            assert not stores[number % 2]._down
    with server.client():
        agree([*stores, *replicas(server, 1)], history(range(40)))
    for store in stores:
        assert store.counts["local"] == 8
        assert store.counts["store_errors"] == 8  # each was a try
        assert store.counts["outages"] == 1
        assert "dropped" not in store.counts
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([text for text in texts if "counted in locally" in text]) == 2
    assert len([text for text in texts if "it is back: 8 exchanges" in text]) == 2


def test_crashes_again_and_again_under_threads(server: Server) -> None:
    """Every row is sent in the end, none twice, whatever the moment at which the server was killed."""
    stores = replicas(server, 3, retry_s=0.01)

    def send(place: int) -> None:
        for number in range(place, 600, 3):
            stores[place].add("ab"[number % 2], *row(number, number * 10_000))
            time.sleep(0.002)

    threads = [threading.Thread(target=send, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    rng = random.Random(1)
    while any(thread.is_alive() for thread in threads):
        time.sleep(rng.random() / 10)
        server.kill()
        time.sleep(rng.random() / 20)
        server.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.get("a")  # the one that finds that it is back
    assert sum(store.counts["local"] for store in stores) > 0
    for start, account in enumerate("ab"):
        one = History()
        for number in range(start, 600, 2):
            one.add(*row(number, number * 10_000))
        agree(stores, one, account)


def test_a_reply_that_is_lost_counts_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = replicas(server)
    ask = stores[0]._ask

    def lose(commands: Any) -> Any:
        ask(commands)
        raise redis.ConnectionError

    for number in range(20):
        monkeypatch.setattr(stores[0], "_ask", lose if number % 3 == 1 else ask)
        seen = stores[0].add("a", *row(number))
        assert seen.new
        assert same(seen.windows, history(range(number + 1)))
    monkeypatch.undo()
    agree(stores, history(range(20)))
    with server.client() as client:
        assert client.hget(stores[0]._key("a"), "q") == b"20"


def test_a_server_that_comes_back_empty_is_given_what_is_known(tmp_path: Path) -> None:
    """Base, ids and standing; by both replicas, of which one is behind."""
    with Server(tmp_path).start() as server:
        stores, standing = replicas(server), Standing(2, 7, 1, 5)
        for number in range(60):
            stores[number >= 50].add("a", *row(number))
        stores[1].stand("a", standing)
        server.kill()
        server.start()
        assert stores[1].add("a", *row(60)).new
        assert not stores[1].add("a", *row(60)).new
        assert not stores[0].add("a", *row(49)).new
        assert stores[1].counts["restored"] == 1
        agree([*stores, *replicas(server, 1)], history(range(61)))
        got = replicas(server, 1)[0].get("a")
        assert got is not None
        assert got.standing == standing


def test_the_one_that_is_behind_comes_first_and_the_other_adds_what_it_holds(tmp_path: Path) -> None:
    with Server(tmp_path).start() as server:
        stores = replicas(server)
        for number in range(60):
            stores[number >= 50].add("a", *row(number))
        server.kill()
        server.start()
        stores[0].add("a", *row(60))
        stores[1].add("a", *row(61))
        agree([*stores, *replicas(server, 1)], history(range(62)))
        assert stores[1].counts["resent"] == 10


def test_a_server_that_lost_the_newest_rows_gets_them_again(server: Server) -> None:
    """As after a fail-over to a server that was behind; others wrote in the place of what was lost."""
    stores = replicas(server, 3, log_rows=100)
    for number in range(30):
        stores[number % 3].add("a", *row(number))
    with server.client() as client:
        old = client.dump(stores[0]._key("a"))
        for number in range(30, 40):
            stores[0].add("a", *row(number))
        client.restore(stores[0]._key("a"), 1_000_000, old, replace=True)
    stores[1].add("a", *row(40))
    for number in range(41, 60):
        stores[number % 3].add("a", *row(number))
    agree(stores, history(range(60)))
    assert stores[0].counts["resent"] == 10


def test_the_script_cache_is_flushed(server: Server) -> None:
    stores = replicas(server)
    for number in range(12):
        with server.client() as client:
            client.script_flush()
        if number % 2:
            stores[0].add("a", *row(number))
        else:
            stores[0].add_many([("a", *row(number)), ("b", *row(number))])
        stores[0].stand("b", Standing(1, number, 0, 0))
    agree(stores, history(range(12)))
    got = stores[1].get("b")
    assert got is not None
    assert got.standing.since_us == 11
    assert not stores[0].counts


def test_an_outage_blocks_nobody_and_the_queue_is_bounded(tmp_path: Path) -> None:
    """A server that does not answer: one call waits for it, others in the meantime and until the next try do not."""
    with Server(tmp_path).start() as server:
        store = RedisStore(server.url, timeout_s=0.4, retry_s=60, queue=10)
        one = History()
        one.add(*row(0))
        store.add("a", *row(0))
        assert server.process
        server.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        one.add(*row(1, 40_000_000))
        store.add("a", *row(1, 40_000_000))
        assert 0.1 < time.monotonic() - began < 1
        began = time.monotonic()
        for number in range(2, 40):
            one.add(*row(number, number * 40_000_000))
            assert same(store.add("a", *row(number, number * 40_000_000)).windows, one)
        store.stand("a", Standing(1, 1, 0, 0))
        assert store.get("b") is None
        assert store.add("c", *row(1)).new
        assert not store.add("c", *row(1)).new
        assert time.monotonic() - began < 0.2
        got = store.get("a")
        assert got is not None
        assert got.standing.level == 1
        assert store.counts == {
            "store_errors": 1, "outages": 1, "local": 41, "dropped": 30,
        }  # fmt: skip
        server.process.send_signal(signal.SIGCONT)
        store.close()
        again = RedisStore(server.url).get("a")
        assert again is not None
        assert again.standing.level == 1
        assert again.windows[3, AT["n"]] == 1 + 1 + 9  # the second had reached it before it was stopped for good


def test_a_server_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    server = Server(tmp_path)
    store = RedisStore(server.url, retry_s=0.0)
    for number in range(300):
        assert store.add("a", *row(number)).new
    assert store.get("b") is None
    store.stand("a", Standing(2, 1, 0, 0))
    with server.start():
        for number in range(40):
            store.add(f"b{number}", *row(number))
        agree([store, *replicas(server, 1)], history(range(300)))
        got = replicas(server, 1)[0].get("a")
        assert got is not None
        assert got.standing.level == 2


def test_many_accounts_wait_and_are_sent_beside_others(server: Server) -> None:
    stores = replicas(server, retry_s=60)
    server.kill()
    for number in range(2000):
        stores[0].add(f"a{number % 400}", *row(number))
    assert stores[0].counts["store_errors"] == 1
    stores[0]._try_at = 0
    server.start()
    calls = 0
    while stores[0]._accounts.waiting:
        stores[0].add("other", *row(calls))
        calls += 1
    assert calls < 12
    for account in range(400):
        got = stores[1].get(f"a{account}")
        assert got is not None
        assert same(got.windows, history(range(account, 2000, 400)))


def test_a_server_without_memory_is_an_outage(server: Server) -> None:
    stores = replicas(server)
    stores[0].add("a", *row(0))
    with server.client() as client:
        client.config_set("maxmemory", 1)
        assert stores[0].add("a", *row(1)).new
        assert stores[0].add_many([("a", *row(2)), ("b", *row(2))])[1].new
        assert stores[0].counts["store_errors"] == 2
        client.config_set("maxmemory", 0)
    stores[0].add("b", *row(3))
    stores[0].add("b", *row(4))
    agree(stores, history(range(3)))
    agree(stores, history(range(2, 5)), "b")


def set_field(name: str, value: bytes) -> Callable[[Any, str], Any]:
    return lambda client, key: client.hset(key, name, value)


DAMAGE: dict[str, Callable[[Any, str], Any]] = {
    "base": set_field("b", b"\x00" * 400),
    "base of another version": lambda client, key: client.hset(key, "b", b"12345678" + client.hget(key, "b")[8:]),
    "no base": lambda client, key: client.hdel(key, "b"),
    "short base": set_field("b", b""),
    "number": set_field("q", b"x"),
    "no tag": lambda client, key: client.hdel(key, "t"),
    "other tag": set_field("t", b"0123456789abcdef"),
    "base number": set_field("m", b"1e9"),
    "first id": set_field("f", b"nan"),
    "no row": lambda client, key: client.hdel(key, b"r" + client.hget(key, "q")),
    "short row": lambda client, key: client.hset(key, b"r" + client.hget(key, "q"), b"short"),
    "changed row": lambda client, key: client.hset(
        key, b"r" + client.hget(key, "q"), client.hget(key, b"r" + client.hget(key, "q"))[:-4] + b"\x01\x02\x03\x04"
    ),
    "not a hash": lambda client, key: (client.delete(key), client.set(key, "x")),
    "a list": lambda client, key: (client.delete(key), client.rpush(key, "x")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_accounts_begin_anew(server: Server, kind: str) -> None:
    store = replicas(server, 1, log_rows=8)[0]
    for number in range(30):
        store.add("a", *row(number, number * 20_000_000))
    fresh = replicas(server, 2)
    with server.client() as client:
        DAMAGE[kind](client, store._key("a"))
    first = fresh[0].add("a", *row(30))
    assert first.new
    assert same(first.windows, history([30]))
    assert fresh[0].counts["damaged"] == 1
    assert same(fresh[1].add("a", *row(31)).windows, history([30, 31]))
    assert not {"damaged", "store_errors"} & set(fresh[1].counts)
    assert store.add("a", *row(32)).new
    assert "store_errors" not in store.counts


def test_a_damaged_standing_is_nobody(server: Server) -> None:
    stores = replicas(server)
    stores[0].add("a", *row(0))
    with server.client() as client:
        client.hset(stores[0]._key("a"), "s", b"x")
    assert stores[0].add("a", *row(1)).standing.level == 0
