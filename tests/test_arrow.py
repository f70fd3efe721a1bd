"""Parquet: the same rows and the same rejections as JSONL, whatever the types of its columns."""

import math
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import CHAT, GOOD, NOON, SCHEMA, Told, numbered, write_jsonl, write_parquet

from fingerprint.exchange import Names, parse
from fingerprint.kernels.layout import MISSING, M


def text(*odd: str | None) -> st.SearchStrategy[str | None]:
    return st.one_of(st.sampled_from(["a", "b", "größer", "", "x\x00y", *odd]), st.text(max_size=6), st.none())


def whole(least: int) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, -1, 0, 1, 7, 2**31 - 1, 2**31, 2**53, least])


TIMES = st.one_of(
    st.sampled_from(
        [
            *(NOON, "2026-03-01T12:00:00.123456+05:30", "2026-03-01 12:00:00-00:30", "2026-03-01T12:00:00"),
            *("2026-02-30T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "yesterday", "", None),
            *("2026-03-01T12:00:00.1234567891Z", "1999-12-31T23:59:59.999999Z", "2100-01-01T00:00:00Z"),
            *("2026-03-01t12:00:00z", "2016-12-31T23:59:60Z", "2026-03-01T23:59:60.7+00:00", "2026-03-01T00:00:61Z"),
            *("2026-03-01T12:00:00+24:00", "2026-03-01T24:00:00Z", "0000-01-01T00:00:00Z", "x\x00"),
        ]
    ),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
)
RECORDS = st.fixed_dictionaries(
    {"exchange_id": text("e1", "e2"), "account_id": st.one_of(st.just("a1"), text("a2")), "timestamp": TIMES},
    optional={
        "session_id": text("s1"),
        "model": text(),
        "system": text(),
        "prompt": text("say it in one line"),
        "n_messages": st.one_of(whole(1), st.sampled_from([2.0, 2.5, 1e300])),
        "tools": st.one_of(st.none(), st.lists(st.one_of(st.just("t"), st.none()), max_size=3)),
        "max_tokens": whole(0),
        "temperature": st.sampled_from([None, 0, 0.0005, 0.0015, 0.7, 1, 1000, 1000.1, -0.1, 1e308]),
        "n": whole(1),
        "logprobs": st.sampled_from([None, True, False]),
        "stream": st.sampled_from([None, True, False]),
        "input_tokens": whole(0),
        "output_tokens": st.one_of(whole(0), st.sampled_from([3.0, 0.5])),
        "stop_reason": text("end_turn", "length", "odd"),
        "client": st.one_of(
            st.none(),
            st.fixed_dictionaries({}, optional={"ip_prefix": text(), "asn": st.just(1), "user_agent": text()}),
        ),
        "account": st.one_of(
            st.none(),
            st.fixed_dictionaries({}, optional={"created_at": TIMES, "plan": text("FREE"), "payment_hash": text()}),
        ),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(RECORDS, min_size=1, max_size=12), st.integers(1, 5), st.booleans())
def test_both_formats_accept_and_reject_alike(records: list[dict[str, Any]], size: int, repeated: bool) -> None:
    """Random good and bad records: the same rows in the same order, the same reasons on the same lines."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Told(write_jsonl(Path(folder, "t.jsonl"), records))
        table = write_parquet(Path(folder, "t.parquet"), records, row_group_size=7, use_dictionary=repeated)
        columns = Told(table, batch_rows=size)
    assert columns.rows == lines.rows
    assert columns.rejects.counts == lines.rejects.counts
    renamed = {reason: [p.replace("jsonl", "parquet") for p in at] for reason, at in lines.rejects.places.items()}
    assert columns.rejects.places == renamed
    assert (columns.accounts.items, columns.sessions.items) == (lines.accounts.items, lines.sessions.items)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"prompt": text(), "system": text(), "n_messages": whole(1)},
            optional={
                "messages": st.one_of(
                    st.none(),
                    st.lists(
                        st.one_of(
                            st.none(),
                            st.fixed_dictionaries(
                                {"role": st.sampled_from(["user", "assistant", "system", None]), "content": text()}
                            ),
                        ),
                        max_size=4,
                    ),
                )
            },
        ),
        min_size=1,
        max_size=8,
    )
)
def test_both_formats_find_the_same_prompt_in_messages(records: list[dict[str, Any]]) -> None:
    """Chat-style records: the newest user turn, the system prompt and the depth."""
    records = [GOOD | {"exchange_id": str(i)} | record for i, record in enumerate(records)]
    with tempfile.TemporaryDirectory() as folder:
        lines = Told(write_jsonl(Path(folder, "t.jsonl"), records))
        columns = Told(write_parquet(Path(folder, "t.parquet"), records, SCHEMA.append(pa.field("messages", CHAT))))
    assert columns.rows == lines.rows
    assert columns.rejects.counts == lines.rejects.counts


def test_a_row_is_what_parse_says(tmp_path: Path) -> None:
    exchange = parse(GOOD)
    (row,) = Told(write_parquet(tmp_path / "t.parquet", [GOOD])).rows
    assert row[0] == "a1"
    assert row[2] == exchange.time_us
    assert row[4] == exchange.prompt
    assert list(row[5]) == exchange.meta


@pytest.mark.parametrize(
    ("column", "micros"),
    [
        (pa.array([1_772_366_400_500_000_123], pa.timestamp("ns", "UTC")), 1_772_366_400_500_000),
        (pa.array([1_772_366_400_500_000], pa.timestamp("us", "Europe/Berlin")), 1_772_366_400_500_000),
        (pa.array([1_772_366_400_500], pa.timestamp("ms", "+02:00")), 1_772_366_400_500_000),
        (pa.array([1_772_366_400], pa.timestamp("s", "UTC")), 1_772_366_400_000_000),
        (pa.array([1_772_366_400.5]), 1_772_366_400_500_000),
        (pa.array([1_772_366_400], pa.int32()), 1_772_366_400_000_000),
        (pa.array([1_772_366_400], pa.uint64()), 1_772_366_400_000_000),
        (pa.array(["2026-03-01T12:00:00.5Z"]), 1_772_366_400_500_000),
        (pa.array(["2026-03-01T12:00:00.5Z"]).dictionary_encode(), 1_772_366_400_500_000),
        (pa.array(["2026-03-01T14:00:00.5+02:00"], pa.large_string()), 1_772_366_400_500_000),
    ],
)
def test_times_of_any_unit(tmp_path: Path, column: pa.Array, micros: int) -> None:
    table = pa.Table.from_pylist([GOOD], SCHEMA)
    pq.write_table(table.set_column(2, "timestamp", column), tmp_path / "t.parquet")
    assert [row[2] for row in Told(tmp_path / "t.parquet").rows] == [micros]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([-(2**63)], pa.timestamp("ms", "UTC")), "absurd_time:timestamp"),
        (pa.array([2**63 - 1], pa.timestamp("us", "UTC")), "absurd_time:timestamp"),
        (pa.array([2**63 - 1], pa.int64()), "absurd_time:timestamp"),
        (pa.array([2**64 - 1], pa.uint64()), "absurd_time:timestamp"),
        (pa.array([math.inf]), "unreadable_time:timestamp"),
        (pa.array([math.nan]), "unreadable_time:timestamp"),
        (pa.array([1e306]), "unreadable_time:timestamp"),
        (pa.array([1e300]), "absurd_time:timestamp"),
        (pa.array([None], pa.float64()), "missing:timestamp"),
        (pa.array([None]), "missing:timestamp"),
    ],
)
def test_times_out_of_bounds(tmp_path: Path, column: pa.Array, reason: str) -> None:
    table = pa.Table.from_pylist([GOOD], SCHEMA)
    pq.write_table(table.set_column(2, "timestamp", column), tmp_path / "t.parquet")
    assert Told(tmp_path / "t.parquet").rejects.counts == {reason: 1}


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_text_of_any_arrow_type(tmp_path: Path, kind: pa.DataType) -> None:
    records = numbered(40, session_id="s", prompt="one\ntwo")
    table = pa.Table.from_pylist(records, SCHEMA)
    for name in ("exchange_id", "account_id", "session_id", "prompt", "model", "timestamp", "stop_reason"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(kind))
    pq.write_table(table.slice(3), tmp_path / "t.parquet", row_group_size=9)
    lines = Told(write_jsonl(tmp_path / "t.jsonl", records[3:]))
    assert Told(tmp_path / "t.parquet", batch_rows=4).rows == lines.rows


def test_prompts_are_not_copied(tmp_path: Path) -> None:
    from fingerprint._arrow import to_batch

    rows = pa.RecordBatch.from_pylist(numbered(100), SCHEMA).slice(10, 50)
    batch, _ = to_batch(rows, Names(), Names())
    buffer = rows.column("prompt").buffers()[2]
    assert buffer.address <= batch.data.ctypes.data < buffer.address + buffer.size
    assert len(batch.time_us) == 50


def invalid(values: list[bytes]) -> pa.Array:
    return pa.array(values, pa.binary()).view(pa.string())


@pytest.mark.parametrize(
    "field", ["exchange_id", "account_id", "session_id", "prompt", "system", "model", "stop_reason"]
)
@pytest.mark.parametrize("chat", [False, True])
def test_text_that_is_not_utf8_is_rejected_by_row(tmp_path: Path, field: str, chat: bool) -> None:
    records = numbered(4, messages=[{"role": "user", "content": "hi"}] if chat else None)
    table = pa.Table.from_pylist(records, SCHEMA.append(pa.field("messages", CHAT)))
    column = invalid([b"x", b"\xff\xfe", b"y", b"\xc3"])
    table = table.set_column(table.schema.get_field_index(field), field, column)
    pq.write_table(table, tmp_path / "t.parquet")
    told = Told(tmp_path / "t.parquet")
    assert told.rejects.counts == {f"invalid_utf8:{field}": 2}
    assert told.rejects.places == {f"invalid_utf8:{field}": ["t.parquet:2", "t.parquet:4"]}
    assert len(told.rows) == 2


@pytest.mark.parametrize(
    ("name", "column", "words"),
    [
        ("timestamp", pa.array([True]), "expected a timestamp with time zone"),
        ("timestamp", pa.array([1], pa.timestamp("us")), "got timestamp[us]"),
        ("account_id", pa.array([7]), "column account_id: expected text, got int64"),
        ("max_tokens", pa.array(["7"]), "column max_tokens: expected a number, got string"),
        ("logprobs", pa.array([1]), "column logprobs: expected true or false, got int64"),
        ("tools", pa.array(["search"]), "column tools: expected a list of text, got string"),
        ("client", pa.array(["curl"]), "column client: expected a struct, got string"),
        ("account", pa.array([{"plan": 3}]), "column account.plan: expected text, got int64"),
        ("prompt", pa.array([b"x"], pa.binary(1)), "column prompt: expected text, got fixed_size_binary[1]"),
    ],
)
def test_a_column_of_a_wrong_type_is_an_error_of_the_file(
    tmp_path: Path, name: str, column: pa.Array, words: str
) -> None:
    table = pa.Table.from_pylist([GOOD], SCHEMA)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), tmp_path / "t.parquet")
    assert words in Told(tmp_path / "t.parquet").error


@pytest.mark.parametrize("name", ["exchange_id", "account_id", "timestamp", "prompt"])
def test_a_needed_column_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    pq.write_table(pa.Table.from_pylist([GOOD], SCHEMA).drop([name]), tmp_path / "t.parquet")
    assert name in Told(tmp_path / "t.parquet").error


def test_the_needed_columns_are_enough(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([GOOD], SCHEMA).select(["exchange_id", "account_id", "timestamp", "prompt"])
    pq.write_table(table, tmp_path / "t.parquet")
    ((*_, meta),) = Told(tmp_path / "t.parquet").rows
    assert meta == (MISSING,) * len(M)


BYTES = [pa.binary(), pa.large_binary(), pa.binary_view()]


def laid_out(kind: Any, names: Any, records: list[dict[str, Any]]) -> pa.Table:
    """The records with every text of this type, also inside structs, and tools of that."""

    def of(field: Any) -> Any:
        if pa.types.is_struct(field.type):
            return pa.struct([(inner.name, of(inner)) for inner in field.type])
        return names if field.name == "tools" else kind if field.type == pa.string() else field.type

    schema = pa.schema([(field.name, of(field)) for field in SCHEMA])
    return pa.Table.from_pylist(records, schema)


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]
)
@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize(
    "names",
    [pa.large_list(pa.string()), pa.list_(pa.string_view(), 1), pa.list_(pa.binary()), pa.list_view(pa.string())],
)
def test_text_and_lists_in_any_layout(tmp_path: Path, kind: Any, names: Any, repeated: bool) -> None:
    """Arrow itself cannot read lists of a fixed size where one is null."""
    gaps = {"client": None} if pa.types.is_fixed_size_list(names) else {"client": None, "tools": None}
    records = [*numbered(9), GOOD | {"exchange_id": "\x00"}, GOOD | {"prompt": "größer"} | gaps]
    expected = Told(write_parquet(tmp_path / "a.parquet", records))
    pq.write_table(laid_out(kind, names, records), tmp_path / "t.parquet", use_dictionary=repeated)
    told = Told(tmp_path / "t.parquet")
    assert (told.error, told.rows) == ("", expected.rows)
    assert told.rejects.counts == expected.rejects.counts == {"nul_byte:exchange_id": 1}


@pytest.mark.parametrize("kind", BYTES)
@pytest.mark.parametrize("field", ["exchange_id", "account_id", "timestamp", "prompt", "model", "system"])
def test_bytes_that_are_not_utf_8_are_rejected_rows(tmp_path: Path, kind: Any, field: str) -> None:
    table = pa.Table.from_pylist([GOOD, GOOD | {"exchange_id": "e2"}], SCHEMA)
    at = table.schema.get_field_index(field)
    values = [(GOOD if field != "exchange_id" else {field: "e"})[field].encode(), b"\xff\xc3("]
    pq.write_table(table.set_column(at, field, pa.array(values, kind)), tmp_path / "t.parquet")
    told = Told(tmp_path / "t.parquet")
    assert len(told.rows) == 1
    (reason,) = told.rejects.counts
    assert reason == (f"invalid_utf8:{field}" if field != "timestamp" else "unreadable_time:timestamp")
