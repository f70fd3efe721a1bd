"""From batches to windows: the order, the cuts and the holding of exchanges never change a bit of a window."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from builders import exchange, exchanges, random_head, window_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fingerprint import Window, assemble
from fingerprint.assemble import Assembler, reduce_rows
from fingerprint.contribution import contribute, read_exchange
from fingerprint.errors import OutOfOrderError
from fingerprint.exchange import Names, batch_of, parse
from fingerprint.kernels.layout import AT, WORDS
from fingerprint.kernels.reduce import clear
from fingerprint.recent import Recent

HEAD = random_head()
NOON = 1_772_366_400
MINUTE = 60
Record = dict[str, Any]
Found = dict[tuple[str, str], Window]


def fill(by: Any, batches: Iterable[list[Record]], hold: int | None = None) -> Assembler:
    accounts, sessions = Names(), Names()
    assembler = Assembler(by, HEAD, accounts, sessions, hold)
    for records in batches:
        assembler.add(batch_of(map(parse, records), accounts, sessions))
    return assembler


def windows(assembler: Assembler) -> Found:
    """Windows by account and name; the facts beside each window are those in it."""
    found: Found = {}
    for entities in assembler.finish():
        for name, account, n, first, last, state in zip(*entities, strict=True):
            assert (account, name) not in found
            assert (n, first, last) == (state[AT["n"]], state[AT["first_us"]], state[AT["last_us"]])
            found[account, name] = Window(state.copy())
    return found


def assembled(by: Any, *batches: list[Record], hold: int | None = None) -> Found:
    return windows(fill(by, batches, hold))


def cut(records: list[Record], size: int) -> list[list[Record]]:
    return [records[at : at + size] for at in range(0, len(records), size)]


def at(second: float, **fields: Any) -> Record:
    return exchange(**{"exchange_id": f"at {second}", "timestamp": NOON + second} | fields)


def shuffled(records: list[Record], seed: int) -> list[Record]:
    return [records[i] for i in np.random.default_rng(seed).permutation(len(records))]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**31), st.integers(1, 60))
def test_account_windows_are_those_of_streaming(count: int, seed: int, size: int) -> None:
    """One exchange after the other or all at once: the same bits."""
    records = exchanges(count, seed, accounts=3)
    streamed = {
        (name, name): window_of((r for r in records if r["account_id"] == name), HEAD)
        for name in {r["account_id"] for r in records}
    }
    assert assembled("account", *cut(records, size)) == streamed


@pytest.mark.parametrize("by", ["account", "session"])
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**31), st.integers(1, 60))
def test_the_order_of_the_input_changes_nothing(by: str, count: int, seed: int, size: int) -> None:
    records = exchanges(count, seed, accounts=3)
    assert assembled(by, *cut(shuffled(records, seed), size)) == assembled(by, records)


def test_session_windows_are_those_of_streaming() -> None:
    """A session's first exchange keeps the gap to the account's exchange before it."""
    moments = [0, 60, 4000, 4030, 9000]
    found = assembled("session", [at(second) for second in moments])
    expected, last = [], -1
    for part in (moments[:2], moments[2:4], moments[4:]):
        window = Window.empty()
        for second in part:
            window.update(read_exchange(at(second), HEAD, last))
            last = window.last_us
        expected.append(window)
    assert list(found.values()) == expected
    assert [name for _, name in found] == [
        "a@2026-03-01T12:00:00.000000Z",
        "a@2026-03-01T13:06:40.000000Z",
        "a@2026-03-01T14:30:00.000000Z",
    ]


def test_sessions_of_an_account_merge_to_its_window() -> None:
    records = exchanges(300, 5, accounts=4)
    for name in {r["account_id"] for r in records}:
        merged = Window.empty()
        for (account, _), window in assembled("session", records).items():
            if account == name:
                merged.merge(window)
        assert merged == assembled("account", records)[name, name]


@pytest.mark.parametrize("by", ["account", "session"])
def test_duplicates_are_dropped_and_counted_and_the_first_stays(by: str) -> None:
    records = exchanges(50, 1, accounts=2)
    again = [record | {"prompt": "another text", "temperature": 2.0} for record in records[:20]]
    for batches in ([records + again], [records, again], [records[:10] + again[:10], records[10:] + again[10:]]):
        assembler = fill(by, batches)
        assert windows(assembler) == assembled(by, records)
        assert (assembler.duplicates, assembler.exchanges) == (20, 50)


def test_duplicates_are_known_after_their_first_was_reduced() -> None:
    """An old id that comes again with a late time, long after its exchange went into a window."""
    records = exchanges(200, 1, accounts=2)
    late = [record | {"timestamp": records[-1]["timestamp"] + i} for i, record in enumerate(records[:5])]
    assembler = fill("account", [*cut(records, 20), late], hold=40)
    assert assembler.exchanges > 100, "most of it was reduced while reading"
    assert windows(assembler) == assembled("account", records)
    assert (assembler.duplicates, assembler.exchanges) == (5, 200)


def test_an_account_whose_every_record_is_a_duplicate_has_no_window() -> None:
    records = [at(0), at(1), at(0, account_id="copy"), at(1, account_id="copy")]
    for by in ("account", "session"):
        assert {account for account, _ in assembled(by, records)} == {"a"}


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 400), st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 120))
def test_holding_some_is_holding_all(count: int, seed: int, size: int, hold: int) -> None:
    """Reducing what is older than a moving horizon gives the windows of holding everything."""
    records = exchanges(count, seed, accounts=5)
    assert assembled("account", *cut(records, size), hold=hold) == assembled("account", records)


def test_a_little_disorder_within_what_is_held_is_put_in_order() -> None:
    records = [at(MINUTE * i, exchange_id=str(i), account_id=f"a{i % 3}") for i in range(400)]
    swapped = [records[i ^ 1] for i in range(400)]
    assembler = fill("account", cut(swapped, 10), hold=50)
    assert assembler.exchanges > 300, "most of it was reduced while reading"
    assert windows(assembler) == assembled("account", records)


def test_what_is_older_than_the_horizon_is_an_error_and_not_a_wrong_gap() -> None:
    records = exchanges(200, 2)
    assembler = fill("account", cut(records, 20), hold=40)
    with pytest.raises(OutOfOrderError):
        assembler.add(batch_of([parse(records[0] | {"exchange_id": "late"})], assembler.accounts, assembler.sessions))
    for by, hold in (("account", None), ("session", 40)):
        found = assembled(by, *cut(records[::-1], 20), hold=hold)
        assert sum(map(len, found.values())) == 200


def test_an_idle_gap_over_thirty_minutes_parts_sessions() -> None:
    """Exactly thirty minutes do not, a microsecond more does."""
    limit = 30 * MINUTE
    assert len(assembled("session", [at(0), at(limit), at(2 * limit)])) == 1
    assert len(assembled("session", [at(0), at(limit + 1e-6), at(2 * limit + 1e-6)])) == 2


def test_idle_gaps_are_those_of_one_account() -> None:
    """Another account's exchanges keep no session alive."""
    records = [at(600 * i, exchange_id=str(i), account_id="busy" if i % 10 else "idle") for i in range(21)]
    found = assembled("session", records)
    assert sorted((account, len(window)) for (account, _), window in found.items()) == [
        ("busy", 18),
        *[("idle", 1)] * 3,
    ]


def test_the_records_own_session_holds_over_any_gap() -> None:
    """Interleaved conversations are parted; what has no session of its own is cut by gaps among itself."""
    records = [at(3000 * i, session_id="ab"[i % 2]) for i in range(6)]
    records += [at(3000 * i + 1) for i in range(3)]
    found = assembled("session", records)
    assert sorted((name, len(w)) for (_, name), w in found.items() if len(name) == 1) == [("a", 3), ("b", 3)]
    assert [len(window) for (_, name), window in found.items() if "@" in name] == [1, 1, 1]


def test_one_session_id_in_two_accounts_is_two_sessions() -> None:
    records = [at(i, account_id=f"a{i % 2}", session_id="s") for i in range(6)]
    found = assembled("session", records)
    assert {key: len(window) for key, window in found.items()} == {("a0", "s"): 3, ("a1", "s"): 3}


@pytest.mark.parametrize("by", ["account", "session"])
def test_equal_times(by: str) -> None:
    """All at one moment: gaps of zero, the same window in any order."""
    records = [at(0, exchange_id=str(i), prompt=f"prompt {i}") for i in range(30)]
    found = assembled(by, records)
    assert assembled(by, *cut(shuffled(records, 1), 7)) == found
    (window,) = found.values()
    assert window.state[AT["gap_n"]] == window.state[AT["gap_hist"]] == 29


def test_equal_times_on_the_horizon() -> None:
    """More exchanges at one moment than are held."""
    records = [at(i // 50, exchange_id=str(i)) for i in range(200)]
    assert assembled("account", *cut(records, 10), hold=30) == assembled("account", records)


@pytest.mark.parametrize("by", ["account", "session"])
def test_many_entities_are_given_in_chunks(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    records = exchanges(200, 3, accounts=40)
    expected = assembled(by, records)
    monkeypatch.setattr(assemble, "_CHUNK", 7)
    chunks = [len(entities.entity_id) for entities in fill(by, [records]).finish()]
    assert max(chunks) <= 7 < sum(chunks) == len(expected)
    assert assembled(by, records) == expected


@pytest.mark.parametrize("by", ["account", "session"])
def test_nothing_and_empty_batches(by: str) -> None:
    assert assembled(by) == {}
    records = exchanges(5, 1)
    assert assembled(by, [], records, []) == assembled(by, records)


@pytest.mark.parametrize("entities", [1, 2, 7, 3000])
def test_threads_reduce_as_one_does(entities: int) -> None:
    """Above 4,096 rows several threads work, and none shares a window."""
    rng = np.random.default_rng(entities)
    few = contribute(batch_of(map(parse, exchanges(300, 4)), Names(), Names()), HEAD)
    rows = few.take(rng.integers(0, 300, 6000))
    owner = rng.integers(0, entities, 6000)
    together, alone = np.empty((2, entities, WORDS), np.int64)
    clear(together)
    clear(alone)
    reduce_rows(together, owner, rows)
    for start in range(0, 6000, 1000):
        part = slice(start, start + 1000)
        reduce_rows(alone, owner[part], rows.take(part))
    assert np.array_equal(together, alone)
    assert together[:, AT["n"]].sum() == 6000


@pytest.mark.parametrize("entities", [1, 2, 7, 3000])
def test_no_two_threads_are_given_one_window(entities: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A race would show only now and then: the parts themselves are looked at."""
    few = contribute(batch_of(map(parse, exchanges(300, 4)), Names(), Names()), HEAD)
    owner = np.random.default_rng(entities).integers(0, entities, 6000)
    parts: list[NDArray[np.int64]] = []
    monkeypatch.setattr(assemble, "add_rows", lambda w, entity, by, *rest: parts.append(by[rest[-2] : rest[-1]]))
    reduce_rows(np.empty((entities, WORDS), np.int64), owner, few.take(np.arange(6000) % 300))
    assert sorted(np.concatenate(parts).tolist()) == list(range(6000))
    owners = [set(owner[part].tolist()) for part in parts]
    assert sum(map(len, owners)) == len(set().union(*owners))


@pytest.mark.parametrize("hold", [None, 40])
def test_ids_repeated_under_another_account_are_counted_apart(hold: int | None) -> None:
    """Held or reduced already, the first has the id; how often others claim it is known."""
    records = [exchange(exchange_id=str(i), account_id=f"a{i % 3}", timestamp=NOON + i) for i in range(200)]
    again = [exchange(exchange_id=str(i), account_id=f"a{i % 2}", timestamp=NOON + 300) for i in range(180, 200)]
    batches = [records[i : i + 20] for i in range(0, 200, 20)]
    assembler = fill("account", [*batches, again, again], hold)
    assert sum(entities.n.sum() for entities in assembler.finish()) == 200
    assert (assembler.duplicates, assembler.exchanges) == (40, 200)
    assert assembler.foreign == 2 * sum(i % 3 != i % 2 for i in range(180, 200))


# ---- what earlier runs read


class Run:
    """Runs over one state: windows, names and the last day go from one to the next."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.windows: NDArray[np.int64] | None = None
        self.recent = Recent()

    def read(self, *batches: list[Record], hold: int | None = None) -> Assembler:
        accounts, sessions = Names(), Names()
        for name in self.names:
            accounts.code(name)
        assembler = Assembler("account", HEAD, accounts, sessions, hold, windows=self.windows, recent=self.recent)
        for records in batches:
            assembler.add(batch_of(map(parse, records), accounts, sessions))
        self.windows, self.names = assembler.account_windows(), list(accounts.items)
        assert assembler.recent is self.recent
        return assembler

    def told(self) -> dict[str, Window]:
        assert self.windows is not None
        return {name: Window(state.copy()) for name, state in zip(self.names, self.windows, strict=True)}


def hourly(first: int, end: int) -> list[Record]:
    """An exchange an hour, of three accounts."""
    return [at(3600 * i, account_id=f"a{i % 3}") for i in range(first, end)]


@pytest.mark.parametrize("hold", [None, 5])
def test_overlapping_runs_count_each_exchange_once(hold: int | None) -> None:
    run, whole = Run(), Run()
    whole.read(hourly(0, 60))
    run.read(hourly(0, 30))
    second = run.read(*cut(hourly(20, 60), 4), hold=hold)
    assert run.told() == whole.told()
    assert (second.exchanges, second.duplicates, second.late, second.belated) == (30, 10, 0, 0)
    for found, expected in zip(
        vars(run.recent.in_order()).values(), vars(whole.recent.in_order()).values(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert len(run.recent.identity) == 25


def test_a_run_that_is_read_again_changes_nothing() -> None:
    run = Run()
    run.read(hourly(0, 24))
    before = run.told()
    again = run.read(hourly(0, 24))
    assert (again.exchanges, again.duplicates, again.foreign, again.late) == (0, 24, 0, 0)
    assert run.told() == before


def test_what_may_have_been_forgotten_is_late_and_not_read() -> None:
    """From the horizon on it is known or new; before it nobody knows."""
    run = Run()
    run.read(hourly(0, 48))
    before = run.told()
    again = run.read(hourly(0, 48))
    assert (again.exchanges, again.duplicates, again.late) == (0, 25, 23)
    assert run.told() == before
    never = run.read([at(60, account_id="a0", exchange_id="never read")], [])
    assert (never.exchanges, never.late) == (0, 1)
    assert run.told() == before


def test_late_exchanges_do_not_make_a_run_out_of_order() -> None:
    run = Run()
    run.read(hourly(0, 48))
    after = run.read(*cut(hourly(48, 90), 3), hourly(0, 10), hold=5)
    assert (after.exchanges, after.late) == (42, 10)
    whole = Run()
    whole.read(hourly(0, 90))
    assert run.told() == whole.told()


def test_within_a_run_nothing_is_late() -> None:
    run, whole = Run(), Run()
    first = run.read(hourly(200, 300), hourly(0, 200))
    whole.read(hourly(0, 300))
    assert (first.exchanges, first.late, first.belated) == (300, 0, 0)
    assert run.told() == whole.told()


def test_a_known_id_under_another_account_is_told() -> None:
    run = Run()
    run.read(hourly(0, 10))
    again = run.read([record | {"account_id": "other"} for record in hourly(5, 10)])
    assert (again.duplicates, again.foreign) == (5, 5)


@pytest.mark.parametrize("hold", [None, 4])
def test_belated_exchanges_have_the_gaps_they_have_in_order(hold: int | None) -> None:
    """Of what comes after others of its account only the gap of the next one, which was read before, is not known."""
    moments = [0, 100, 250, 1000, 1700, 5000, 5100, 5300, 5600]
    records = [at(second, account_id="x") for second in moments]
    early, belated, new = records[:2] + records[3:6], records[2:3], records[6:]
    run = Run()
    run.read(early)
    second = run.read(belated + new, hold=hold)
    assert (second.exchanges, second.belated) == (4, 1)
    ordered = Window.empty()
    after = {0: -1, 100: 0, 250: 100, 1000: 100, 1700: 1000, 5000: 1700, 5100: 5000, 5300: 5100, 5600: 5300}
    for time, before in after.items():
        previous = -1 if before < 0 else round((NOON + before) * 1_000_000)
        ordered.update(read_exchange(at(time, account_id="x"), HEAD, previous))
    assert run.told()["x"] == ordered


def test_belated_exchanges_before_all_that_is_known_have_no_gap() -> None:
    run = Run()
    run.read([at(1000)])
    run.read([at(0), at(10)])
    expected = Window.empty()
    for time, before in ((1000, -1), (0, -1), (10, 0)):
        expected.update(read_exchange(at(time), HEAD, -1 if before < 0 else (NOON + before) * 1_000_000))
    assert run.told()["a"] == expected
