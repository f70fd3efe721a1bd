"""The laws of histories: what counts follows from times alone, whatever the order, the saving and the ageing."""

import numpy as np
import pytest
from builders import exchanges
from hypothesis import example, given, settings
from hypothesis import strategies as st
from serving import (
    DAY,
    HEAD,
    HOUR,
    LENGTHS,
    MINUTE,
    SECOND,
    START,
    forgotten,
    history_of,
    rows_of,
    shuffled,
    traffic,
    windows_of,
)

from fingerprint.assemble import Assembler
from fingerprint.errors import WindowError
from fingerprint.exchange import Names, batch_of, parse
from fingerprint.history import HORIZONS, MOST_ROWS, ROW_BYTES, History, pack_row, unpack_row
from fingerprint.kernels.layout import AT, M
from fingerprint.kernels.text import T

SESSION, MONTH, N = HORIZONS.index("session"), HORIZONS.index("month"), AT["n"]
PAUSES = st.sampled_from([(1,), (1, 20, 1500), (1, 20, 1500, 40_000), (3000, 90_000), (600_000,)])


def counts(history: History) -> dict[str, int]:
    return dict(zip(HORIZONS, history.windows[:, N].tolist(), strict=True))


def test_a_new_history_is_empty():
    history = History()
    assert counts(history) == dict.fromkeys(HORIZONS, 0)
    assert (history.last_us, history.forgotten) == (-1, 0)
    assert np.array_equal(History.from_bytes(history.to_bytes()).windows, history.windows)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(0, 2**31), PAUSES)
def test_the_order_does_not_matter_as_long_as_none_is_later_than_is_held(count, seed, pauses):
    arrivals = traffic(count, seed, pauses)
    ordered, other = history_of(arrivals), history_of(shuffled(arrivals, seed))
    assert np.array_equal(ordered.windows, other.windows)
    assert (ordered.last_us, ordered.forgotten) == (other.last_us, other.forgotten)
    assert ordered.to_bytes() == other.to_bytes()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(0, 2**31), PAUSES)
def test_what_counts_for_a_horizon_follows_from_its_time_and_the_newest(count, seed, pauses):
    arrivals = traffic(count, seed, pauses)
    history = history_of(shuffled(arrivals, seed))
    assert np.array_equal(history.windows, windows_of(arrivals))
    assert history.forgotten == forgotten(arrivals)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 100), st.integers(0, 2**31), PAUSES, st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_saving_and_looking_change_nothing(count, seed, pauses, saved, looked):
    arrivals = traffic(count, seed, pauses)
    plain, other = history_of(arrivals), History()
    for i, (identity, time) in enumerate(arrivals):
        other.add(identity, rows_of(identity, time))
        if i in looked:
            assert other.windows[SESSION, N] > 0
        if i in saved:
            other = History.from_bytes(other.to_bytes())
    assert np.array_equal(plain.windows, other.windows)
    assert plain.to_bytes() == other.to_bytes()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 120), st.integers(0, 2**31), PAUSES)
def test_bytes_round_trip_and_are_canonical(count, seed, pauses):
    history = history_of(shuffled(traffic(count, seed, pauses), seed))
    data = history.to_bytes()
    again = History.from_bytes(data)
    assert again.to_bytes() == data == history.to_bytes()
    assert np.array_equal(again.windows, history.windows)
    assert (again.last_us, again.forgotten) == (history.last_us, history.forgotten)


@pytest.mark.parametrize("seed", range(4))
def test_the_month_is_the_window_of_an_account_in_batch(seed):
    """To the bit, for traffic of up to some 20 days; ids and times as they come from records."""
    records = [record for record in exchanges(300, seed) if record["timestamp"] < 1_772_000_000 + 20 * 86_400]
    accounts, sessions = Names(), Names()
    batch = batch_of(map(parse, records), accounts, sessions)
    assembler = Assembler("account", HEAD, accounts, sessions)
    assembler.add(batch)
    history = History()
    for record, identity in zip(records, batch.identity.tolist(), strict=True):
        rows = assembler._read(batch_of([parse(record)], Names(), Names()), None).rows
        history.add(identity, rows)
    (entities,) = assembler.finish()
    assert len(entities.windows) == 1
    assert np.array_equal(history.windows[MONTH], entities.windows[0])
    assert history.forgotten == 0


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        (0, "session hour day month"),
        (29 * MINUTE, "session hour day month"),
        (44 * MINUTE, "hour day month"),
        (61 * MINUTE, "day month"),
        (17 * HOUR, "day month"),
        (25 * HOUR, "month"),
        (22 * DAY, "month"),
        (31 * DAY, ""),
    ],
)
def test_an_exchange_leaves_one_horizon_after_the_other(past, expected):
    history = history_of([(1, START), (2, START + past)])
    assert counts(history) == {name: 1 + (name in expected.split()) for name in HORIZONS}
    assert history.forgotten == (expected == "")


@pytest.mark.parametrize(("name", "length"), LENGTHS.items())
def test_a_horizon_is_between_three_and_four_quarters(name, length):
    """The oldest quarter is dropped when a fifth begins."""
    begin = START // length * length
    for past, kept in [(3 * length, 1), (4 * length - 1, 1), (4 * length, 0)]:
        assert counts(history_of([(1, begin), (2, begin + past)]))[name] == 1 + kept


@pytest.mark.parametrize(("gap", "session"), [(30 * MINUTE, 2), (30 * MINUTE + 1, 1)])
def test_a_session_ends_after_more_than_30_minutes(gap, session):
    assert counts(history_of([(1, START), (2, START + gap)]))["session"] == session
    later = [(1, START), (2, START + gap), (3, START + gap + SECOND)]
    assert counts(history_of(later))["session"] == session + 1


def test_a_long_session_goes_on_over_cells():
    arrivals = [(i, START + i * 29 * MINUTE) for i in range(200)]
    history = history_of(arrivals)
    assert counts(history)["session"] == 200
    assert np.array_equal(history.windows, windows_of(arrivals))


def test_a_late_one_joins_two_sessions():
    """It came within what is held, and no gap is over 30 minutes any more."""
    arrivals = [(1, START), (3, START + 30 * MINUTE + 5 * SECOND), (2, START + 30 * MINUTE)]
    assert counts(history_of(arrivals[:2]))["session"] == 1
    assert counts(history_of(arrivals))["session"] == 3


def test_one_that_is_too_late_counts_where_its_time_is_and_has_no_gap():
    history = history_of([(1, START), (2, START + 20 * MINUTE), (3, START + 10 * MINUTE)])
    assert counts(history) == {"session": 2, "hour": 3, "day": 3, "month": 3}
    assert history.windows[MONTH, AT["gap_n"]] == 1
    assert history.last_us == START + 20 * MINUTE
    history.add(4, rows_of(4, START - 40 * DAY))
    assert counts(history)["month"] == 3
    assert history.forgotten == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 80), st.integers(0, 2**31), PAUSES, st.randoms())
def test_whatever_the_order_nothing_is_lost(count, seed, pauses, random):
    """In any order at all: counts of the three horizons and what was forgotten are those of the ordered traffic."""
    arrivals = traffic(count, seed, pauses)
    mixed = random.sample(arrivals, len(arrivals))
    history = history_of(mixed)
    expected = windows_of(arrivals)
    assert history.windows[1:, N].tolist() == expected[1:, N].tolist()
    assert np.array_equal(history.windows[1:, AT["first_us"]], expected[1:, AT["first_us"]])
    assert history.forgotten == forgotten(arrivals)


def test_the_same_id_among_the_newest_is_taken_once():
    history, once = history_of([(1, START), (2, START + SECOND)]), history_of([(1, START), (2, START + SECOND)])
    assert not history.add(1, rows_of(1, START))
    assert not history.add(2, rows_of(2, START + 9 * SECOND))
    assert history.to_bytes() == once.to_bytes()
    again = History.from_bytes(history.to_bytes())
    assert not again.add(2, rows_of(2, START + SECOND))
    assert again.add(3, rows_of(3, START + 2 * SECOND))


def test_ids_of_rows_that_went_into_cells_are_not_kept():
    history = history_of([(i, START + i * MINUTE) for i in range(300)])
    assert len(history._rows) <= 16
    assert history._ids == {identity for _, identity, _ in history._rows}


def test_a_busy_account_keeps_so_many_rows():
    """Two thousand within the time that is held: in order nothing differs, and one that is late has no gap."""
    arrivals = [(i, START + i * 10_000) for i in range(2000)]
    history = history_of(arrivals)
    assert len(history._rows) == len(history._ids) == MOST_ROWS
    assert np.array_equal(history.windows, windows_of(arrivals))
    assert len(history.to_bytes()) < (MOST_ROWS + 30) * ROW_BYTES
    gaps = history.windows[MONTH, AT["gap_n"]]
    assert history.add(5000, rows_of(5000, START + 5_000))
    assert history.windows[MONTH, [N, AT["gap_n"]]].tolist() == [2001, gaps]
    assert np.array_equal(History.from_bytes(history.to_bytes()).windows, history.windows)


def test_a_busy_account_in_any_order_within_its_rows():
    arrivals = [(i, START + i * 100_000) for i in range(1500)]
    blocks = [arrivals[at : at + 100][::-1] for at in range(0, 1500, 100)]
    history = history_of(arrival for block in blocks for arrival in block)
    assert np.array_equal(history.windows, windows_of(arrivals))


def test_windows_are_those_after_the_last_exchange_whenever_one_looks():
    arrivals, history = shuffled(traffic(150, 5), 5), History()
    for i, (identity, time) in enumerate(arrivals):
        history.add(identity, rows_of(identity, time))
        assert np.array_equal(history.windows, windows_of(arrivals[: i + 1]))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 100), st.integers(0, 2**31), PAUSES)
def test_a_summary_has_the_month_in_one_cell_and_goes_on(count, seed, pauses):
    history = history_of(traffic(count, seed, pauses))
    brief = History.from_bytes(history.summary().to_bytes())
    assert np.array_equal(brief.windows[MONTH], history.windows[MONTH])
    assert (brief.last_us, brief.forgotten) == (history.last_us, history.forgotten)
    then = history.last_us + 5 * SECOND
    for each in (history, brief):
        each.add(10**6, rows_of(7, then))
    if then // LENGTHS["month"] == (then - 5 * SECOND) // LENGTHS["month"]:
        assert np.array_equal(brief.windows[MONTH], history.windows[MONTH])


def test_a_summary_of_nothing_is_nothing():
    assert History().summary().to_bytes() == History().to_bytes()


def test_a_row_round_trips():
    rows = rows_of(3, START)
    data = b"before" + pack_row(2**64 - 1, rows)
    assert len(data) == 6 + ROW_BYTES
    time, identity, again = unpack_row(data, 6)
    assert (time, identity) == (START, 2**64 - 1)
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(again, rows, strict=True))
    with pytest.raises(WindowError, match="bytes of an exchange"):
        unpack_row(data[:-1], 6)


WHOLE = history_of(traffic(60, 2)).to_bytes()


def read(data: bytes) -> History | None:
    """The only error that bytes may cause is that they are refused."""
    try:
        return History.from_bytes(data)
    except WindowError:
        return None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3000))
@example(b"")
@example(WHOLE[:40])
def test_arbitrary_bytes_are_refused(data):
    assert read(data) is None
    assert read(WHOLE[:4] + data) is None or data == WHOLE[4:]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8), st.data())
def test_mutated_bytes_are_refused_or_read_and_raise_nothing_else(changes, data):
    mutated = bytearray(WHOLE)
    for at, value in changes:
        mutated[at] = value
    read(bytes(mutated))
    begin, end = sorted(data.draw(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)))))
    read(bytes(mutated[:begin] + mutated[end:]))
    read(bytes(mutated[:end] + mutated[begin:]))


@pytest.mark.parametrize("length", range(0, len(WHOLE), 97))
def test_bytes_that_were_cut_are_refused(length):
    with pytest.raises(WindowError):
        History.from_bytes(WHOLE[:length])


def test_bytes_of_another_version_are_refused():
    with pytest.raises(WindowError, match="version"):
        History.from_bytes(bytes([WHOLE[0] ^ 1]) + WHOLE[1:])


def test_more_bytes_are_refused():
    with pytest.raises(WindowError):
        History.from_bytes(WHOLE + b"\0")


@pytest.mark.parametrize(
    ("part", "column", "value"),
    [
        *((1, T[name], value) for name in ("head_form", "tail_form", "skeleton") for value in (-1, 24, 32_000)),
        *((4, M["stop"], value) for value in (-2, 5, 2**30)),
    ],
)
def test_a_row_that_points_outside_of_the_window_is_refused(part, column, value):
    rows = rows_of(3, START)
    rows[part][0, column] = value
    with pytest.raises(WindowError):
        unpack_row(pack_row(3, rows))
    with pytest.raises(WindowError):
        History.from_bytes(history_of([(4, START)]).to_bytes()[:-ROW_BYTES] + pack_row(3, rows))


def test_every_byte_counts():
    """What was damaged is never read as another history."""
    for at in range(len(WHOLE)):
        with pytest.raises(WindowError):
            History.from_bytes(WHOLE[:at] + bytes([WHOLE[at] ^ 4]) + WHOLE[at + 1 :])
