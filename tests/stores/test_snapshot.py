"""Snapshots: what was saved comes back, what is damaged is refused, and a process may be killed at any moment."""

import errno
import json
import logging
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import saving_child
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import START, history_of, rows_of, traffic

from fingerprint.history import HORIZONS
from fingerprint.kernels.layout import AT
from fingerprint.stores import Standing, StoreError, memory, snapshot
from fingerprint.stores.memory import MemoryStore

MONTH, N = HORIZONS.index("month"), AT["n"]
CHILD = Path(saving_child.__file__)


def put(store: MemoryStore, account: str, identity: int, time_us: int) -> bool:
    return store.add(account, identity, rows_of(identity, time_us)).new


def content(store: MemoryStore) -> dict[str, Any]:
    """All that a store knows, whether hot or not."""
    accounts = {name: hot.to_bytes() for name, hot in store._hot.items()} | dict(store._packed)
    return {"accounts": accounts, "summaries": dict(store._summaries), "ids": store.ids.table, "counts": store.counts}


def same(a: MemoryStore, b: MemoryStore) -> bool:
    left, right = content(a), content(b)
    return bool(np.array_equal(left.pop("ids"), right.pop("ids"))) and left == right


def filled(accounts: int = 40, count: int = 300, seed: int = 1) -> MemoryStore:
    store, rng = MemoryStore(max_accounts=30, hot=5), np.random.default_rng(seed)
    for identity, time_us in traffic(count, seed):
        account = f"account {rng.integers(accounts)} \u00fc\U0001f600"
        put(store, account, identity, time_us)
        store.stand(account, Standing(identity % 3, time_us, 0, 0))
    put(store, "twice", 10**9, START)
    put(store, "twice", 10**9, START)
    return store


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return filled()


@pytest.fixture(scope="module")
def data(store: MemoryStore, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("snapshot") / "state.fp"
    store.save(path)
    return path.read_bytes()


@pytest.fixture
def warned() -> Iterator[list[str]]:
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("fingerprint")
    log.addHandler(handler)
    yield messages
    log.removeHandler(handler)


def test_all_of_a_store_comes_back(store: MemoryStore, tmp_path: Path, warned: list[str]) -> None:
    store.save(tmp_path / "state.fp")
    again = MemoryStore.load(tmp_path / "state.fp", max_accounts=30)
    assert same(again, store)
    assert again.counts["duplicates"] == 1
    assert again._bytes == sum(len(p) + sys.getsizeof(name) + 200 for name, p in again._packed.items())
    assert [*again._packed] == [*store._packed, *store._hot], "the least recently seen still come first"
    assert [*again._summaries] == [*store._summaries]
    assert not put(again, "new", 10**9, START)
    assert warned == []


def test_it_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    """To the bit, whenever it was saved; and what was sent already and is sent again counts once."""
    arrivals = [(f"a{identity % 7}", identity, time) for identity, time in traffic(400, 3)]
    plain, store = MemoryStore(), MemoryStore()
    for i, arrival in enumerate(arrivals):
        put(plain, *arrival)
        put(store, *arrival)
        if i % 90 == 89:
            store.save(tmp_path / "state.fp")
            store = MemoryStore.load(tmp_path / "state.fp")
            assert not any(put(store, *sent) for sent in arrivals[: i + 1])
    store.counts.clear()
    assert same(store, plain)


def test_other_bounds_when_loading(store: MemoryStore, tmp_path: Path) -> None:
    store.save(tmp_path / "state.fp")
    again = MemoryStore.load(tmp_path / "state.fp", max_accounts=10, hot=2)
    assert len(again) == 10
    assert again.counts["evicted"] == store.counts["evicted"] + 20
    assert [*again._packed] == [*store._packed, *store._hot][-10:]


def test_an_empty_store(tmp_path: Path) -> None:
    MemoryStore().save(tmp_path / "state.fp")
    assert len(MemoryStore.load(tmp_path / "state.fp")) == 0


def test_odd_names_come_back(tmp_path: Path) -> None:
    names = ["", "\0", "\ud800", "a" * 100_000, "\U0010ffff", "../../x", "\n"]
    store = MemoryStore()
    for i, name in enumerate(names):
        put(store, name, i + 5, START)
    store.save(tmp_path / "state.fp")
    assert [*MemoryStore.load(tmp_path / "state.fp")._packed] == names


def test_the_one_before_is_kept(tmp_path: Path) -> None:
    path, store = tmp_path / "state.fp", MemoryStore()
    for i in range(3):
        put(store, f"a{i}", i + 1, START)
        store.save(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state.fp", "state.fp.1"]
    assert [len(MemoryStore.load(file)) for file in (path, snapshot.before(path))] == [3, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "names of accounts are for the owner"


def test_no_file_is_an_empty_store(tmp_path: Path, warned: list[str]) -> None:
    assert len(MemoryStore.load(tmp_path / "none")) == 0
    assert warned == []


@pytest.mark.parametrize(
    ("rubbish", "told"),
    [
        (b"", "this is no snapshot"),
        (b"FPSNAP1", "this is no snapshot"),
        (b"hello " * 1000, "this is no snapshot"),
        (b"FPSNAP1\n\0\0\0\0", "another version"),
        (None, "not a file"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, rubbish: bytes | None, told: str, warned: list[str]) -> None:
    path = tmp_path / "state.fp"
    if rubbish is None:
        os.mkfifo(path)
    else:
        path.write_bytes(rubbish)
    assert len(MemoryStore.load(path)) == 0
    assert [message for message in warned if told in message]
    assert "starting with no accounts" in warned[-1]
    assert len(warned) == 2


def test_the_one_before_is_used_where_the_newest_cannot_be(tmp_path: Path, warned: list[str]) -> None:
    path, store = tmp_path / "state.fp", MemoryStore()
    put(store, "a", 1, START)
    store.save(path)
    put(store, "b", 2, START)
    store.save(path)
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], whole + b"x", whole.replace(b"b", b"c"), b""):
        warned.clear()
        path.write_bytes(broken)
        assert [*MemoryStore.load(path)._packed] == ["a"]
        assert len(warned) == 2
        assert "state.fp.1" in warned[1]
    path.unlink()
    assert [*MemoryStore.load(path)._packed] == ["a"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_any_changed_byte_is_refused(tmp_path: Path, data: bytes, at: float, value: int) -> None:
    path, place = tmp_path / "state.fp", int(at * len(data))
    path.write_bytes(data[:place] + bytes([data[place] ^ value]) + data[place + 1 :])
    assert len(MemoryStore.load(path)) == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(begin=st.floats(0, 1), end=st.floats(0, 1), more=st.binary(max_size=40))
def test_any_cut_is_refused(tmp_path: Path, data: bytes, begin: float, end: float, more: bytes) -> None:
    a, b = sorted([int(begin * len(data)), int(end * len(data))])
    other = data[:a] + more + data[b:]
    (tmp_path / "state.fp").write_bytes(other)
    assert (len(MemoryStore.load(tmp_path / "state.fp")) == 0) == (other != data)


def blocks_of(data: bytes) -> list[bytes]:
    at, parts = 12, []
    while at < len(data):
        size = snapshot._BLOCK.size + snapshot._BLOCK.unpack_from(data, at)[2]
        parts.append(data[at : at + size])
        at += size
    return parts


def test_blocks_in_another_order_or_of_another_file_are_refused(tmp_path: Path, data: bytes) -> None:
    """Each is whole."""
    parts, path = blocks_of(data), tmp_path / "state.fp"
    assert len(parts) > 6
    filled(seed=2).save(path)
    foreign = blocks_of(path.read_bytes())
    for mixed in (
        [parts[1], parts[0], *parts[2:]],
        parts[1:],
        [*parts[:-2], parts[-1]],
        [*parts[:2], *parts[1:]],
        [*parts, parts[-1]],
        [parts[-1]],
        [foreign[0], *parts[1:-1], foreign[-1]],
    ):
        path.write_bytes(data[:12] + b"".join(mixed))
        assert len(snapshot.read(path).accounts) == 0 or mixed[0] == foreign[0]
    path.write_bytes(data[:12] + b"".join(parts))
    assert len(snapshot.read(path).accounts) == 30


@pytest.mark.parametrize("kind", [0, 1, 3, 4, 5, 77, 255])
@pytest.mark.parametrize("size", [0, 1, 20, 2**40, 2**63, 2**64 - 1])
def test_lengths_are_checked_before_they_are_believed(tmp_path: Path, kind: int, size: int) -> None:
    """A block that says it is a terabyte takes no memory; the sums being right, what is inside is checked as well."""
    path = tmp_path / "state.fp"
    head = b"FPSNAP1\n" + snapshot._VERSION
    for body in (b"", b"\xff" * 20, snapshot._ENTRY.pack(2**32 - 1, 2**32 - 1) + b"x" * 12):
        check = snapshot._sum(0, (kind, 2**32 - 1, size), body)
        path.write_bytes(head + snapshot._BLOCK.pack(kind, 2**32 - 1, size, check) + body)
        assert len(MemoryStore.load(path)) == 0


def test_requests_go_on_while_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each account is as it was at one moment, with the ids of just that: sending all again gives the same bits."""
    monkeypatch.setattr(memory, "PIECE", 3)
    monkeypatch.setattr(memory, "PIECE_IDS", 1 << 15)
    path, store = tmp_path / "state.fp", MemoryStore(hot=20)
    arrivals = [(f"a{identity % 90}", identity, time) for identity, time in traffic(3000, 4, (1, 20))]
    stop = threading.Event()
    done = 0

    def serve() -> None:
        nonlocal done
        for arrival in arrivals:
            put(store, *arrival)
            done += 1
        stop.set()

    thread = threading.Thread(target=serve)
    thread.start()
    saves = during = 0
    whole = MemoryStore()
    for arrival in arrivals:
        put(whole, *arrival)
    while not stop.is_set():
        least = done
        store.save(path)
        saves, during = saves + 1, during + (done - least > 3)
        again = MemoryStore.load(path)
        kept = sum(not put(again, *arrival) for arrival in arrivals)
        assert least <= kept <= len(arrivals)
        again.counts.clear()
        assert content(again)["accounts"] == content(whole)["accounts"]
    thread.join()
    assert saves > 1
    assert during, "the test is of something"
    assert store._saved is None


def test_exchanges_are_taken_between_any_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without chance: after each block some more come in, to accounts written, not yet written, and new."""
    monkeypatch.setattr(memory, "PIECE", 2)
    monkeypatch.setattr(memory, "PIECE_IDS", 1 << 16)
    store = MemoryStore(max_accounts=12, hot=3)
    arrivals = [(f"a{identity % 25}", identity, time) for identity, time in traffic(400, 6, (1,))]
    for arrival in arrivals[:200]:
        put(store, *arrival)
    coming = iter(arrivals[200:])
    blocks = store._blocks()

    def beside() -> Iterator[snapshot.Block]:
        for block in blocks:
            yield block
            for _ in range(5):
                if arrival := next(coming, None):
                    put(store, *arrival)

    snapshot.write(tmp_path / "state.fp", beside())
    assert len([*coming]) < 150
    again = MemoryStore.load(tmp_path / "state.fp")
    for name, packed in again._packed.items():
        seen = memory._Hot.from_bytes(packed).history
        n = int(seen.windows[MONTH, N])
        own = [identity for account, identity, _ in arrivals if account == name]
        known = [identity in again.ids.table[identity & again.ids._mask].tolist() for identity in own]
        assert known == sorted(known, reverse=True), "the ids are those of a beginning of its exchanges"
        assert n <= sum(known)
        assert not seen.add(own[sum(known) - 1], rows_of(own[sum(known) - 1], START)), "and the newest of them is there"


def test_an_error_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, store = tmp_path / "state.fp", filled()
    store.save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["state.fp"]
    assert store._saved is None
    monkeypatch.undo()
    store.save(path)


def wait(until: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_store_with_a_snapshot_outlives_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = MemoryStore(snapshot="state.fp", every_s=0.02)
    put(store, "a", 1, START)
    monkeypatch.chdir("/")
    wait((tmp_path / "state.fp.1").exists)
    wait(lambda: len(MemoryStore.load(tmp_path / "state.fp")) == 1)
    put(store, "b", 2, START)
    store.close()
    store.close()
    saved = (tmp_path / "state.fp").stat()
    again = MemoryStore(snapshot=tmp_path / "state.fp", every_s=1000)
    assert [*again._packed] == ["a", "b"]
    assert (tmp_path / "state.fp").stat().st_mtime_ns == saved.st_mtime_ns, "nothing is written after close"
    again.close()
    assert not [t for t in threading.enumerate() if t.name == "fingerprint-snapshot"]


def test_what_cannot_be_written_is_counted_and_said_once(tmp_path: Path, warned: list[str]) -> None:
    folder = tmp_path / "folder"
    store = MemoryStore(snapshot=folder / "state.fp", every_s=0.01)
    wait(lambda: store.counts["snapshot_errors"] > 3)
    assert put(store, "a", 1, START)
    assert len(warned) == 1
    assert "No such file" in warned[0]
    folder.mkdir()
    wait((folder / "state.fp").exists)
    wait(lambda: not store._keeper or not store._keeper._failing)
    errors = store.counts["snapshot_errors"]
    store.close()
    assert len(warned) == 1
    assert MemoryStore.load(folder / "state.fp").counts["snapshot_errors"] == errors


def test_close_does_not_raise(tmp_path: Path, warned: list[str]) -> None:
    store = MemoryStore(snapshot=tmp_path / "none" / "state.fp", every_s=1000)
    store.close()
    assert store.counts["snapshot_errors"] == 1
    assert len(warned) == 1
    MemoryStore().close()


@pytest.mark.parametrize("every_s", [0, -1, float("nan")])
def test_seconds_that_cannot_be(tmp_path: Path, every_s: float) -> None:
    with pytest.raises(StoreError, match="expected every_s above 0"):
        MemoryStore(snapshot=tmp_path / "state.fp", every_s=every_s)


def test_one_file_is_kept_by_one_store(tmp_path: Path) -> None:
    store = MemoryStore(snapshot=tmp_path / "state.fp")
    with pytest.raises(StoreError, match="give each its own file"):
        MemoryStore(snapshot=tmp_path / "state.fp")
    store.close()
    MemoryStore(snapshot=tmp_path / "state.fp").close()


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".state.fp.123.partial").write_bytes(b"half")
    (tmp_path / ".other.fp.123.partial").write_bytes(b"of another")
    MemoryStore(snapshot=tmp_path / "state.fp").close()
    assert sorted(file.name for file in tmp_path.iterdir()) == [".other.fp.123.partial", "state.fp", "state.fp.lock"]


def test_a_process_that_is_killed_loses_nothing_that_was_saved(tmp_path: Path) -> None:
    """Twenty times at a random moment. Each serves one log from its beginning, as it is sent again after any restart:
    in the end all accounts are those of one process that saw the log once, to the bit."""
    rng, path = random.Random(5), tmp_path / "state.fp"
    snapshots = least = 0
    with subprocess.Popen(
        [sys.executable, str(CHILD), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for line in ["serve"] * 20 + ["once"]:
            parent.stdin.write(f"{line}\n".encode())
            parent.stdin.flush()
            child = json.loads(parent.stdout.readline())["serving"]
            if line == "serve":
                time.sleep(rng.uniform(0, 0.4))
                os.kill(child, signal.SIGKILL)
            while "ended" not in (told := json.loads(parent.stdout.readline())):
                snapshots, least = snapshots + 1, max(least, told["saved"])
            assert told["ended"] == (signal.SIGKILL if line == "serve" else 0)
            store = MemoryStore.load(path)
            found = [store.get(name) for name in [*store._packed]]
            assert sum(int(seen.windows[MONTH, N]) for seen in found if seen) >= least
        parent.stdin.close()
        assert parent.wait() == 0
    assert snapshots > 10
    accounts: dict[str, list[tuple[int, int]]] = {}
    for name, identity, time_us in saving_child.LOG:
        accounts.setdefault(name, []).append((identity, time_us))
    assert len(store) == len(accounts)
    for name, arrivals in accounts.items():
        seen = store.get(name)
        assert seen is not None
        assert np.array_equal(seen.windows, history_of(arrivals).windows)
