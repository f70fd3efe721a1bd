"""Readers: JSONL and Parquet give the same batches and the same rejections, and memory and time stay bounded."""

import gzip
import io
import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fingerprint import readers
from fingerprint.errors import TrafficError
from fingerprint.exchange import Batch, Names, parse
from fingerprint.kernels.layout import MISSING, M
from fingerprint.readers import Rejects, read

NOON = "2026-03-01T12:00:00Z"
GOOD: dict[str, Any] = {
    "exchange_id": "e1",
    "account_id": "a1",
    "timestamp": NOON,
    "session_id": None,
    "model": "large",
    "system": "be brief",
    "prompt": "why is the sky blue?",
    "n_messages": 3,
    "tools": ["search"],
    "max_tokens": 256,
    "temperature": 0.7,
    "n": 1,
    "logprobs": False,
    "reasoning": True,
    "stream": None,
    "input_tokens": 12,
    "output_tokens": 90,
    "stop_reason": "end_turn",
    "client": {"ip_prefix": "192.0.2.0/24", "asn": 64500, "user_agent": "curl", "ja4": "t13d"},
    "account": {"created_at": "2026-02-01T00:00:00+02:00", "plan": "Pro", "payment_hash": "p1"},
}
SCHEMA = pa.schema(
    {
        **{name: pa.string() for name in ("exchange_id", "account_id", "timestamp", "session_id", "model", "system")},
        "prompt": pa.string(),
        "n_messages": pa.float64(),
        "tools": pa.list_(pa.string()),
        "max_tokens": pa.int64(),
        "temperature": pa.float64(),
        "n": pa.int64(),
        "logprobs": pa.bool_(),
        "reasoning": pa.bool_(),
        "stream": pa.bool_(),
        "input_tokens": pa.int64(),
        "output_tokens": pa.float64(),
        "stop_reason": pa.string(),
        "client": pa.struct(
            {"ip_prefix": pa.string(), "asn": pa.int64(), "user_agent": pa.string(), "ja4": pa.string()}
        ),
        "account": pa.struct({"created_at": pa.string(), "plan": pa.string(), "payment_hash": pa.string()}),
    }
)
CHAT = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))


def numbered(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [GOOD | {"exchange_id": f"e{i}", "account_id": f"a{i % 3}"} | fields for i in range(count)]


def write_jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_parquet(path: Path, records: list[dict[str, Any]], schema: pa.Schema = SCHEMA, **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(records, schema), path, **options)
    return path


class Told:
    """What a source gave: rows as comparable tuples, with names in place of codes, and the rejections."""

    def __init__(self, source: Path | str, **options: Any) -> None:
        self.accounts, self.sessions, self.rejects = Names(), Names(), Rejects()
        self.error = ""
        self.rows: list[tuple[Any, ...]] = []
        self.batches = 0
        batches = read(source, accounts=self.accounts, sessions=self.sessions, rejects=self.rejects, **options)
        try:
            for batch in batches:
                self.batches += 1
                self.rows.extend(self._rows(batch))
        except TrafficError as error:
            self.error = str(error)

    def _rows(self, batch: Batch) -> Iterator[tuple[Any, ...]]:
        assert batch.offsets[0] == 0
        assert batch.meta.dtype == np.int32
        assert not batch.data.flags.writeable
        for i in range(len(batch.time_us)):
            session = int(batch.session[i])
            yield (
                self.accounts.items[batch.account[i]],
                None if session < 0 else self.sessions.items[session],
                int(batch.time_us[i]),
                int(batch.identity[i]),
                batch.data[batch.offsets[i] : batch.offsets[i + 1]].tobytes(),
                tuple(batch.meta[i].tolist()),
            )


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


@settings(max_examples=4000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


@settings(max_examples=3000, deadline=None)
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
        ("prompt", pa.array([b"x"]), "column prompt: expected text, got binary"),
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


def test_reasons_of_lines(tmp_path: Path) -> None:
    """Each line that is no record has its reason and its number; the good ones are read."""
    good = json.dumps(GOOD).encode()
    deep = b'{"a":' * 100_000
    bad_temperature = json.dumps(GOOD | {"temperature": 0.5}).replace("0.5", "1" + "0" * 400).encode()
    lines = [b"\xef\xbb\xbf" + good + b"\r", b"", b"  \r", b"[1]", b"{", b'"\xff"', deep, b'{"a":NaN}', b"null"]
    lines += [bad_temperature, good.replace(b"0.7", b"Infinity"), good.replace(b"e1", b"\\ud800"), good[:40]]
    (tmp_path / "t.jsonl").write_bytes(b"\n".join(lines))
    told = Told(tmp_path / "t.jsonl")
    assert len(told.rows) == 1
    assert told.rejects.counts == {
        "not_an_object": 2,
        "invalid_json": 3,
        "invalid_utf8": 1,
        "too_deep": 1,
        "out_of_range:temperature": 1,
        "invalid_utf8:exchange_id": 1,
        "truncated_line": 1,
    }
    assert told.rejects.places["not_an_object"] == ["t.jsonl:4", "t.jsonl:9"]
    assert told.rejects.places["truncated_line"] == ["t.jsonl:13"]
    assert told.rejects.total == 10


def test_a_last_line_without_newline_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps(GOOD))
    assert len(Told(tmp_path / "t.jsonl").rows) == 1


def packed(name: str, content: bytes) -> bytes:
    return gzip.compress(content) if name.endswith(".gz") else pa.Codec("zstd").compress(content).to_pybytes()


@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.jsonl.zst", "T.NDJSON.GZ"])
def test_compressed_files(tmp_path: Path, name: str) -> None:
    content = write_jsonl(tmp_path / "t.jsonl", numbered(50)).read_bytes()
    (tmp_path / name).write_bytes(packed(name.lower(), content) * 2)
    assert Told(tmp_path / name).rows == Told(tmp_path / "t.jsonl").rows * 2


@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.jsonl.zst"])
@pytest.mark.parametrize("harm", ["cut", "garbled"])
def test_a_damaged_file_gives_what_can_be_read(tmp_path: Path, name: str, harm: str) -> None:
    rng = np.random.default_rng(5)
    records = numbered(3000)
    for record in records:
        record["prompt"] = rng.bytes(60).hex()
    content = packed(name, write_jsonl(tmp_path / "t.jsonl", records).read_bytes())
    half = len(content) // 2
    harmed = content[:half] if harm == "cut" else content[:half] + b"\0" * 500 + content[half + 500 :]
    (tmp_path / name).write_bytes(harmed)
    told = Told(tmp_path / name)
    assert 200 < len(told.rows) < 3000
    assert told.rows == Told(tmp_path / "t.jsonl").rows[: len(told.rows)]
    assert told.rejects.counts["damaged_file"] == 1
    assert harm == "garbled" or told.rejects.total == 1


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst", "t.parquet"])
@pytest.mark.parametrize("content", [b"", b"\x93PAR1 nothing of the kind"])
def test_nothing_to_read_is_an_error_of_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    error = Told(tmp_path / name).error
    assert "no exchange record could be read" in error
    assert "\n" not in error


def test_a_damaged_page_in_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", numbered(400), row_group_size=100, compression="gzip")
    content = bytearray(path.read_bytes())
    at = pq.ParquetFile(path).metadata.row_group(2).column(6).data_page_offset
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)
    told = Told(path, batch_rows=50)
    assert len(told.rows) == 200
    assert told.rejects.counts == {"damaged_file": 1}


def test_a_cut_parquet_file_does_not_hide_the_others(tmp_path: Path) -> None:
    whole_file = write_parquet(tmp_path / "b.parquet", numbered(4)).read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole_file[:-100])
    write_jsonl(tmp_path / "c.jsonl", numbered(3))
    (tmp_path / "notes.txt").write_text("not traffic")
    told = Told(tmp_path)
    assert len(told.rows) == 7
    assert told.rejects.places == {"damaged_file": ["a.parquet:1"]}


@pytest.mark.parametrize("name", ["missing.jsonl", "notes.txt", "."])
def test_no_traffic_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").touch()
    assert Told(tmp_path / name).error


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_jsonl(tmp_path / "t.jsonl", [*numbered(3), "x"]).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    told = Told("-")
    assert len(told.rows) == 3
    assert told.rejects.summary() == ["rejected 1: not_an_object (stdin:4)"]


def test_unknown_fields_are_noticed_once_and_named_only_if_plain(tmp_path: Path) -> None:
    records = numbered(3, colour="red", **{"a secret!": 1})
    told = Told(write_jsonl(tmp_path / "t.jsonl", records))
    assert told.rejects.notices() == ["ignored 2 unknown fields: colour"]
    write_parquet(tmp_path / "t.parquet", records, SCHEMA.append(pa.field("colour", pa.string())))
    assert Told(tmp_path / "t.parquet").rejects.notices() == ["ignored 1 unknown field: colour"]
    assert Rejects().notices() == []


def test_unknown_fields_are_bounded(tmp_path: Path) -> None:
    rejects = Rejects()
    for i in range(5000):
        rejects.notice([f"f{i}"])
    assert rejects.notices()[0].startswith("ignored 1000")


def test_long_lines_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LINE_LIMIT", 2000)
    long = json.dumps(GOOD | {"prompt": "x" * 9000})
    (tmp_path / "t.jsonl").write_text(f"{json.dumps(GOOD)}\n{long}\n{json.dumps(GOOD)}\n{long}")
    told = Told(tmp_path / "t.jsonl")
    assert len(told.rows) == 2
    assert told.rejects.summary() == ["rejected 2: too_long (t.jsonl:2, t.jsonl:4)"]


def test_batches_are_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH_BYTES", 30_000)
    monkeypatch.setattr("fingerprint._schema.STEP_BYTES", 300_000)
    records = [GOOD | {"exchange_id": str(i), "prompt": f"{i}" * 10_000} for i in range(100)]
    lines = Told(write_jsonl(tmp_path / "t.jsonl", records))
    columns = Told(write_parquet(tmp_path / "t.parquet", records, compression="none", use_dictionary=False))
    assert 25 <= lines.batches <= 50
    assert columns.batches > 3
    assert columns.rows == lines.rows


def test_summary_counts_and_places(tmp_path: Path) -> None:
    told = Told(write_jsonl(tmp_path / "t.jsonl", [*numbered(7, account_id=None), [], GOOD]))
    assert told.rejects.summary() == [
        "rejected 7: missing:account_id (t.jsonl:1, t.jsonl:2, t.jsonl:3, t.jsonl:4, t.jsonl:5, …)",
        "rejected 1: not_an_object (t.jsonl:8)",
    ]


def test_reasons_are_a_small_vocabulary(tmp_path: Path) -> None:
    """Whatever the content, a reason names a fault and a field of the contract, nothing of the record."""
    odd: list[Any] = [None, 1, -5, "x\x00", [], {}, True, 1e999, "canary"]
    records = [GOOD | {field: value} for field in GOOD for value in odd if value != 1e999]
    reasons = Counter(Told(write_jsonl(tmp_path / "t.jsonl", records)).rejects.counts)
    faults = {"missing", "wrong_type", "nul_byte", "out_of_range", "unreadable_time", "absurd_time"}
    assert {reason.split(":")[0] for reason in reasons} == faults
    assert {reason.split(":")[1] for reason in reasons} <= set(GOOD)
