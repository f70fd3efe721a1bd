"""Readers: every kind of source, every bad line counted, memory bounded."""

import gzip
import io
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import GOOD, SCHEMA, Told, numbered, write_jsonl, write_parquet

from fingerprint import _unpack, readers
from fingerprint.readers import Rejects


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
    assert told.rejects.counts.get("truncated_line", 0) <= 1
    assert harm == "garbled" or told.rejects.total <= 2


@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.jsonl.zst"])
@pytest.mark.parametrize("records", [1, 40, 5000])
def test_damage_at_the_end_costs_no_record(tmp_path: Path, name: str, records: int) -> None:
    """Rubbish after the end, a missing or wrong check sum, a file that stops in its last block."""
    whole = packed(name, write_jsonl(tmp_path / "t.jsonl", numbered(records)).read_bytes())
    harmed = [whole + b"rubbish", whole[:-4]] + ([whole[:-1], whole[:-8] + b"x" * 8] if name.endswith("gz") else [])
    for content in harmed[: 1 if name.endswith("zst") and records < 5000 else None]:
        (tmp_path / name).write_bytes(content)
        told = Told(tmp_path / name)
        lost = 0 if name.endswith("gz") or content == harmed[0] else 200  # zstd gives whole blocks of 128 KiB
        assert records - lost <= len(told.rows) <= records
        assert told.rejects.counts["damaged_file"] == 1
        assert told.rows == Told(tmp_path / "t.jsonl").rows[: len(told.rows)]
        assert lost or told.rejects.places == {"damaged_file": [f"{name}:{records + 1}"]}


def test_what_comes_before_damage_in_the_middle_is_read_to_the_last_line(tmp_path: Path) -> None:
    """As far as zlib itself can be made to give it, byte by byte."""
    rng = np.random.default_rng(5)
    records = [GOOD | {"exchange_id": str(i), "prompt": rng.bytes(60).hex()} for i in range(3000)]
    whole = packed("t.jsonl.gz", write_jsonl(tmp_path / "t.jsonl", records).read_bytes())
    for at in (1000, len(whole) // 2, len(whole) - 50):
        (tmp_path / "t.jsonl.gz").write_bytes(whole[:at])
        expected = zlib.decompressobj(wbits=31).decompress(whole[:at])
        told = Told(tmp_path / "t.jsonl.gz")
        assert len(told.rows) == expected.count(b"\n")
        last = len(told.rows) + 1
        assert told.rejects.places == {"damaged_file": [f"t.jsonl.gz:{last}"], "truncated_line": [f"t.jsonl.gz:{last}"]}


def zstd_blocks(content: bytes) -> list[int]:
    """Where the blocks of the one frame begin (RFC 8878)."""
    kind = content[4]
    at = 5 + (kind >> 5 & 1 ^ 1) + (0, 1, 2, 4)[kind & 3] + (kind >> 5 & 1, 2, 4, 8)[kind >> 6]
    blocks, last = [], 0
    while not last:
        blocks.append(at)
        head = int.from_bytes(content[at : at + 3], "little")
        last, at = head & 1, at + 3 + (1 if head >> 1 & 3 == 1 else head >> 3)
    return blocks


def test_all_blocks_before_a_damaged_one_are_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    records = [GOOD | {"exchange_id": str(i), "prompt": rng.bytes(60).hex()} for i in range(3000)]
    whole = packed("t.jsonl.zst", write_jsonl(tmp_path / "t.jsonl", records).read_bytes())
    at = zstd_blocks(whole)[9]
    (tmp_path / "cut.jsonl.zst").write_bytes(whole[:at])
    (tmp_path / "t.jsonl.zst").write_bytes(whole[:at] + b"\xff\xff\xff" + whole[at + 3 :])
    told = Told(tmp_path / "t.jsonl.zst")
    assert len(told.rows) > 1000
    assert told.rows == Told(tmp_path / "cut.jsonl.zst").rows
    assert told.rejects.counts == {"damaged_file": 1, "truncated_line": 1}


def test_a_last_record_without_newline_before_damage_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(json.dumps(GOOD).encode())[:-4])
    told = Told(tmp_path / "t.jsonl.gz")
    assert len(told.rows) == 1
    assert told.rejects.counts == {"damaged_file": 1}


def test_lines_that_span_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", numbered(30))
    expected = Told(path).rows
    for size in (1, 7, 400, 10_000):
        monkeypatch.setattr(_unpack, "CHUNK", size)
        assert Told(path).rows == expected


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.jsonl.zst", "t.parquet"])
@pytest.mark.parametrize("content", [b"", b"\x93PAR1 nothing of the kind"])
def test_nothing_to_read_is_an_error_of_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    error = Told(tmp_path / name).error
    assert "no exchange record could be read" in error
    assert "\n" not in error


def harm_row_group(path: Path, group: int) -> None:
    """Write over a page of its third column."""
    content = bytearray(path.read_bytes())
    at = pq.ParquetFile(path).metadata.row_group(group).column(2).data_page_offset
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)


@pytest.mark.parametrize("batch_rows", [50, 100, 250, 65536])
def test_a_damaged_row_group_costs_no_other(tmp_path: Path, batch_rows: int) -> None:
    """Whether they are read one at a time or together."""
    path = write_parquet(tmp_path / "t.parquet", numbered(400), row_group_size=100, compression="gzip")
    expected = Told(path).rows
    harm_row_group(path, 2)
    told = Told(path, batch_rows=batch_rows)
    assert told.rows == expected[:200] + expected[300:]
    assert told.rejects.counts == {"damaged_file": 1}
    assert told.rejects.places == {"damaged_file": ["t.parquet:201"]}


def test_rows_after_a_damaged_row_group_keep_their_numbers(tmp_path: Path) -> None:
    records = [*numbered(35), GOOD | {"account_id": None}, *numbered(4)]
    path = write_parquet(tmp_path / "t.parquet", records, row_group_size=10, compression="gzip")
    harm_row_group(path, 0)
    harm_row_group(path, 2)
    told = Told(path)
    assert told.rejects.places == {
        "damaged_file": ["t.parquet:1", "t.parquet:21"],
        "missing:account_id": ["t.parquet:36"],
    }
    assert len(told.rows) == 19


def test_small_row_groups_are_read_together(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", numbered(300), row_group_size=3)
    assert Told(path).batches == 1
    assert Told(path, batch_rows=20).batches == 17


def test_a_cut_parquet_file_does_not_hide_the_others(tmp_path: Path) -> None:
    whole_file = write_parquet(tmp_path / "b.parquet", numbered(4)).read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole_file[:-100])
    write_jsonl(tmp_path / "c.jsonl", numbered(3))
    (tmp_path / "notes.txt").write_text("not traffic")
    told = Told(tmp_path)
    assert len(told.rows) == 7
    assert told.rejects.places == {"damaged_file": ["a.parquet:1"]}


def test_directories_are_read_to_their_depth_in_order(tmp_path: Path) -> None:
    """As partitioned data sets lie; what they keep beside the data is passed over, all else is told."""
    for i, name in enumerate(["date=2/a.jsonl", "date=1/b.jsonl", "date=1/x/a.jsonl", "date=1/a.jsonl"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(tmp_path / name, [GOOD | {"exchange_id": str(i), "account_id": name}, {}])
    for name in ("_SUCCESS", ".a.crc", "date=1/c.csv", "date=1/d.csv.bz2", "README", "_old.jsonl", "o.\x1bx"):
        (tmp_path / name).touch()
    (tmp_path / "_log").mkdir()
    write_jsonl(tmp_path / "_log" / "1.json", [GOOD])
    (tmp_path / "z").symlink_to(tmp_path / "date=1")
    told = Told(tmp_path)
    assert [row[0] for row in told.rows] == ["date=1/a.jsonl", "date=1/b.jsonl", "date=1/x/a.jsonl", "date=2/a.jsonl"]
    assert told.rejects.places["missing:exchange_id"][2] == "date=1/x/a.jsonl:2"
    kinds = ".bz2, .csv, linked directory, names that begin with . or _, other names"
    assert told.rejects.notices() == [f"ignored 6 files: {kinds}"]


def test_files_that_cannot_be_used_do_not_hide_the_others(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "b.jsonl", numbered(2))
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone.jsonl")
    (tmp_path / "l.jsonl").symlink_to(tmp_path / "l.jsonl")
    pq.write_table(pa.table({"account_id": [1]}), tmp_path / "p.parquet")
    told = Told(tmp_path)
    assert len(told.rows) == 2
    assert told.rejects.places == {"unusable_file": ["a.jsonl:1", "l.jsonl:1", "p.parquet:1"]}
    assert told.rejects.notices() == [
        "unusable a.jsonl: a link that leads nowhere",
        "unusable l.jsonl: a link that leads nowhere",
        "unusable p.parquet: expected a column exchange_id, found 1 columns without it",
    ]
    for name in ("a.jsonl", "l.jsonl", "p.parquet"):
        assert name in Told(tmp_path / name).error
    (tmp_path / "b.jsonl").unlink()
    assert "no exchange record could be read; rejected 3: unusable_file" in Told(tmp_path).error


def test_one_column_twice_is_an_error_of_one_line(tmp_path: Path) -> None:
    inner = pa.StructArray.from_arrays([pa.array(["a"]), pa.array(["b"])], ["ip_prefix", "ip_prefix"])
    names = ["exchange_id", "account_id", "timestamp", "prompt"]
    whole = [*(pa.array([GOOD[name]]) for name in names), inner]
    pq.write_table(pa.Table.from_arrays(whole, [*names, "client"]), tmp_path / "a.parquet")
    assert Told(tmp_path / "a.parquet").error == (
        "a.parquet: expected one column client.ip_prefix, found several of that name"
    )
    pq.write_table(pa.Table.from_arrays([*whole[:4], whole[0]], [*names, "prompt"]), tmp_path / "b.parquet")
    assert "expected one column prompt" in Told(tmp_path / "b.parquet").error


@pytest.mark.parametrize("name", ["missing.jsonl", "notes.txt", "."])
def test_no_traffic_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").touch()
    assert Told(tmp_path / name).error


def test_a_directory_without_traffic_says_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert Told(tmp_path).error.endswith(".parquet; ignored 1 file: .txt")
    (tmp_path / "notes.txt").unlink()
    assert Told(tmp_path).error.endswith("no traffic in this directory, expected " + ", ".join(readers.SUFFIXES))


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
