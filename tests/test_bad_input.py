"""Bad input through the command line: a clear error or a counted rejection, a verdict for every readable account.

Each case is a file with a good account beside what is bad, as JSONL and, where its schema can hold it, as Parquet.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import exchange
from click.testing import Result
from toy_bundle import toy_bundle
from typer.testing import CliRunner

from fingerprint.commands import app

Record = dict[str, Any]
SCHEMA = pa.schema(
    {
        **dict.fromkeys(["exchange_id", "account_id", "timestamp", "prompt", "system", "model"], pa.string()),
        **dict.fromkeys(["n_messages", "max_tokens", "n", "input_tokens", "output_tokens"], pa.int64()),
        "temperature": pa.float64(),
        "client": pa.struct({"ip_prefix": pa.string(), "user_agent": pa.string()}),
        "account": pa.struct({"created_at": pa.string(), "plan": pa.string()}),
    }
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("bundles") / "toy")


def write_jsonl(folder: Path, records: list[Record]) -> Path:
    path = folder / "traffic.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_parquet(folder: Path, records: list[Record]) -> Path:
    path = folder / "traffic.parquet"
    pq.write_table(pa.Table.from_pylist(records, SCHEMA), path)
    return path


FORMATS = pytest.mark.parametrize("write", [write_jsonl, write_parquet])
Write = Callable[[Path, list[Record]], Path]


def score(traffic: Path, bundle: Path, by: str = "account") -> tuple[Result, dict[str, int]]:
    """The run and, for each account with a verdict, the exchanges that it rests on."""
    result = CliRunner().invoke(app, ["score", str(traffic), "--by", by, "--out", "-", "--bundle", str(bundle)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.stderr
    verdicts = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(0 <= verdict["score"] <= 1 for verdict in verdicts)
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict["account_id"]] = counts.get(verdict["account_id"], 0) + verdict["n_exchanges"]
    return result, counts


def good(count: int = 3) -> list[Record]:
    return [exchange(exchange_id=f"good{i}", account_id="good") for i in range(count)]


def bad(**fields: Any) -> Record:
    return exchange(**{"exchange_id": "bad", "account_id": "bad"} | fields)


@pytest.mark.parametrize("name", ["traffic.jsonl", "traffic.jsonl.gz", "traffic.jsonl.zst", "traffic.parquet"])
def test_an_empty_file(tmp_path: Path, bundle: Path, name: str) -> None:
    (tmp_path / name).touch()
    result, verdicts = score(tmp_path / name, bundle)
    assert result.exit_code == 2
    assert verdicts == {}
    assert len(result.stderr.splitlines()) == 1
    assert "no exchange record could be read" in result.stderr


@FORMATS
def test_no_records(tmp_path: Path, bundle: Path, write: Write) -> None:
    result, _ = score(write(tmp_path, []), bundle)
    assert result.exit_code == 2
    assert "it is empty" in result.stderr


@FORMATS
@pytest.mark.parametrize("by", ["account", "session"])
def test_one_record(tmp_path: Path, bundle: Path, write: Write, by: str) -> None:
    result, verdicts = score(write(tmp_path, good(1)), bundle, by)
    assert (result.exit_code, verdicts) == (0, {"good": 1})


@FORMATS
def test_nothing_but_bad_records(tmp_path: Path, bundle: Path, write: Write) -> None:
    result, verdicts = score(write(tmp_path, [bad(n=-1)] * 3), bundle)
    assert (result.exit_code, verdicts) == (2, {})
    assert "rejected 3: out_of_range:n" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_truncated_line(tmp_path: Path, bundle: Path) -> None:
    path = write_jsonl(tmp_path, good())
    path.write_text(path.read_text() + json.dumps(bad())[:60])
    result, verdicts = score(path, bundle)
    assert (result.exit_code, verdicts) == (1, {"good": 3})
    assert "rejected 1: truncated_line (traffic.jsonl:4)" in result.stderr


def test_a_truncated_parquet_file(tmp_path: Path, bundle: Path) -> None:
    path = write_parquet(tmp_path, good())
    path.write_bytes(path.read_bytes()[:-9])
    result, verdicts = score(path, bundle)
    assert (result.exit_code, verdicts) == (2, {})
    assert "damaged_file" in result.stderr


@FORMATS
@pytest.mark.parametrize("unit", ["x", "word ", "語", "\U0001f600\n", "9", "{}[]\n- "])
def test_a_prompt_of_a_megabyte(tmp_path: Path, bundle: Path, write: Write, unit: str) -> None:
    prompt = (unit * (1 << 20))[: 1 << 20]
    result, verdicts = score(write(tmp_path, [*good(), bad(prompt=prompt), bad(exchange_id="b2", prompt="")]), bundle)
    assert (result.exit_code, verdicts) == (0, {"good": 3, "bad": 2})


@FORMATS
@pytest.mark.parametrize("field", ["exchange_id", "account_id", "prompt", "system", "model"])
def test_nul_bytes(tmp_path: Path, bundle: Path, write: Write, field: str) -> None:
    result, verdicts = score(write(tmp_path, [*good(), bad(**{field: "a\0b"})]), bundle)
    assert (result.exit_code, verdicts) == (1, {"good": 3})
    assert f"rejected 1: nul_byte:{field}" in result.stderr


def test_raw_nul_bytes_between_lines(tmp_path: Path, bundle: Path) -> None:
    path = write_jsonl(tmp_path, good())
    path.write_bytes(b"\0" * 5000 + b"\n" + path.read_bytes())
    result, verdicts = score(path, bundle)
    assert (result.exit_code, verdicts) == (1, {"good": 3})
    assert "rejected 1: invalid_json (traffic.jsonl:1)" in result.stderr


def test_invalid_utf8_in_jsonl(tmp_path: Path, bundle: Path) -> None:
    path = write_jsonl(tmp_path, good())
    broken = json.dumps(bad(prompt="HERE")).encode().replace(b"HERE", b"\xff\xc3(")
    escaped = json.dumps(bad(prompt="\ud800")).encode()
    path.write_bytes(path.read_bytes() + broken + b"\n" + escaped + b"\n")
    result, verdicts = score(path, bundle)
    assert (result.exit_code, verdicts) == (1, {"good": 3})
    assert "rejected 1: invalid_utf8 (traffic.jsonl:4)" in result.stderr
    assert "rejected 1: invalid_utf8:prompt (traffic.jsonl:5)" in result.stderr


def test_invalid_utf8_in_parquet(tmp_path: Path, bundle: Path) -> None:
    table = pa.Table.from_pylist([*good(), bad()], SCHEMA)
    prompts = pa.array([b"a", b"b", "größer".encode(), b"\xff\xc3("], pa.binary()).view(pa.string())
    pq.write_table(table.set_column(3, "prompt", prompts), tmp_path / "traffic.parquet")
    result, verdicts = score(tmp_path / "traffic.parquet", bundle)
    assert (result.exit_code, verdicts) == (1, {"good": 3})
    assert "rejected 1: invalid_utf8:prompt (traffic.parquet:4)" in result.stderr


@FORMATS
@pytest.mark.parametrize("by", ["account", "session"])
def test_times_out_of_order_and_equal(tmp_path: Path, bundle: Path, write: Write, by: str) -> None:
    """The order of the input changes nothing."""
    minutes = [5, 1, 1, 1, 59, 0, 30, 5]
    records = [
        exchange(exchange_id=str(i), account_id=f"a{i % 2}", timestamp=f"2026-03-01T10:{m:02}:00Z")
        for i, m in enumerate(minutes)
    ]
    result, verdicts = score(write(tmp_path, records), bundle, by)
    other, _ = score(write(tmp_path, records[::-1]), bundle, by)
    assert (result.exit_code, verdicts) == (0, {"a0": 4, "a1": 4})
    assert sorted(result.stdout.splitlines()) == sorted(other.stdout.splitlines())


@FORMATS
@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("0001-01-01T00:00:00Z", "absurd_time"),
        ("0001-01-01T00:00:00+14:00", "absurd_time"),
        ("9999-12-31T23:59:59.999999Z", "absurd_time"),
        ("9999-12-31T23:59:59-14:00", "absurd_time"),
        ("1969-12-31T23:59:59.999999Z", "absurd_time"),
        ("2100-01-01T00:00:00Z", "absurd_time"),
        ("2026-03-01T10:00:00", "unreadable_time"),
        ("2026-02-29T10:00:00Z", "unreadable_time"),
        ("half past ten", "unreadable_time"),
        ("", "unreadable_time"),
    ],
)
def test_absurd_times(tmp_path: Path, bundle: Path, write: Write, time: str, reason: str) -> None:
    records = [*good(), bad(timestamp=time), bad(exchange_id="b2", account={"created_at": time})]
    result, verdicts = score(write(tmp_path, records), bundle)
    assert (result.exit_code, verdicts) == (1, {"good": 3})
    assert f"rejected 1: {reason}:timestamp (" in result.stderr
    assert f"rejected 1: {reason}:created_at (" in result.stderr


@FORMATS
def test_an_account_may_be_older_than_any_request(tmp_path: Path, bundle: Path, write: Write) -> None:
    """An old or a default creation date is no reason to leave an account without a verdict."""
    records = [*good(), bad(account={"created_at": "1970-01-01T00:00:00Z"})]
    result, verdicts = score(write(tmp_path, records), bundle)
    assert (result.exit_code, set(verdicts)) == (0, {"good", "bad"})


@pytest.mark.parametrize("time", [-62135596800, 253402300799, 1e300, -1e300, 1e308, 10**400, 1_772_366_400_000, True])
def test_absurd_epochs(tmp_path: Path, bundle: Path, time: float) -> None:
    """Milliseconds taken for seconds are the commonest; nothing is guessed."""
    result, verdicts = score(write_jsonl(tmp_path, [*good(), bad(timestamp=time)]), bundle)
    assert (result.exit_code, verdicts) == (1, {"good": 3})
    assert "_time:timestamp" in result.stderr or "wrong_type:timestamp" in result.stderr


@FORMATS
@pytest.mark.parametrize("field", ["n_messages", "max_tokens", "n", "input_tokens", "output_tokens", "temperature"])
@pytest.mark.parametrize("value", [-1, 2**40, -(2**50)])
def test_negative_and_absurd_counts(tmp_path: Path, bundle: Path, write: Write, field: str, value: int) -> None:
    result, verdicts = score(write(tmp_path, [*good(), bad(**{field: value})]), bundle)
    assert (result.exit_code, verdicts) == (1, {"good": 3})
    assert f"rejected 1: out_of_range:{field}" in result.stderr


@FORMATS
def test_the_largest_counts_are_read(tmp_path: Path, bundle: Path, write: Write) -> None:
    most = dict.fromkeys(["n_messages", "max_tokens", "n", "input_tokens", "output_tokens"], 2**31 - 1)
    records = [*good(), *(bad(exchange_id=str(i), temperature=1000, **most) for i in range(50))]
    result, verdicts = score(write(tmp_path, records), bundle)
    assert (result.exit_code, verdicts) == (0, {"good": 3, "bad": 50})


def test_an_unknown_column(tmp_path: Path, bundle: Path) -> None:
    records = [record | {"colour": "red"} for record in good()]
    lines = score(write_jsonl(tmp_path, records), bundle)
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "traffic.parquet")
    for result, verdicts in (lines, score(tmp_path / "traffic.parquet", bundle)):
        assert (result.exit_code, verdicts) == (0, {"good": 3})
        assert "ignored 1 unknown field: colour" in result.stderr


@pytest.mark.parametrize("field", ["exchange_id", "account_id", "timestamp", "prompt"])
def test_a_missing_column(tmp_path: Path, bundle: Path, field: str) -> None:
    """Missing in a record it is a rejection, missing in a table an error that names it."""
    result, verdicts = score(write_jsonl(tmp_path, [*good(), bad(**{field: None})]), bundle)
    assert (result.exit_code, verdicts) == (1, {"good": 3})
    assert f"rejected 1: missing:{field} (traffic.jsonl:4)" in result.stderr
    pq.write_table(pa.Table.from_pylist(good(), SCHEMA).drop([field]), tmp_path / "traffic.parquet")
    result, verdicts = score(tmp_path / "traffic.parquet", bundle)
    assert (result.exit_code, verdicts) == (2, {})
    assert field in result.stderr
    assert len(result.stderr.splitlines()) == 1


@FORMATS
def test_duplicates_are_dropped_and_counted(tmp_path: Path, bundle: Path, write: Write) -> None:
    result, verdicts = score(write(tmp_path, [*good(), *good(2), bad(exchange_id="good0")]), bundle)
    assert (result.exit_code, verdicts) == (0, {"good": 3})
    assert "3 duplicates dropped" in result.stderr


@pytest.mark.parametrize(
    "line",
    ["null", "[]", '"x"', "7", "{}", "{", "[" * 200_000, '{"a":' * 200_000, "NaN", "1e999", "9" * 9000, "\x1b[31m"],
)
def test_lines_that_are_no_records(tmp_path: Path, bundle: Path, line: str) -> None:
    path = write_jsonl(tmp_path, good())
    path.write_text(path.read_text() + line + "\n")
    result, verdicts = score(path, bundle)
    assert (result.exit_code, verdicts) == (1, {"good": 3})
    assert "rejected 1: " in result.stderr


@pytest.mark.parametrize("value", [None, True, -1, 0, 1, 2**70, 1e308, "", "x", "\0", [], [None], [[]], {}, {"x": []}])
def test_no_value_of_any_field_is_a_traceback(tmp_path: Path, bundle: Path, value: Any) -> None:
    fields = "exchange_id account_id timestamp session_id model system prompt messages n_messages tools max_tokens"
    fields += " temperature n logprobs reasoning stream input_tokens output_tokens stop_reason client account"
    records = [bad(exchange_id=f"{i}") | {field: value} for i, field in enumerate(fields.split())]
    inner = {"client": ["ip_prefix", "asn", "user_agent", "ja4"], "account": ["created_at", "plan", "payment_hash"]}
    records += [bad(exchange_id=name + field, **{name: {field: value}}) for name in inner for field in inner[name]]
    records += [bad(exchange_id=f"m{i}", prompt=None, messages=m) for i, m in enumerate(([value], [{"role": value}]))]
    records += [bad(exchange_id="c", prompt=None, messages=[{"role": "user", "content": value}])]
    result, verdicts = score(write_jsonl(tmp_path, [*good(), *records]), bundle)
    assert result.exit_code in (0, 1)
    assert verdicts["good"] == 3
