"""The command line: data on stdout, diagnostics on stderr, exit status 0, 1 or 2, no content of prompts anywhere."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import exchange, exchanges
from click.testing import Result
from toy_bundle import toy_bundle
from typer.testing import CliRunner

from fingerprint import __version__, commands
from fingerprint.bundle import load
from fingerprint.commands import app
from fingerprint.features import FEATURES

CANARY = "canary-7f3a"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("bundles") / "toy")


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def scored(traffic: Path, bundle: Path, by: str = "account", out: object = "-") -> tuple[Result, list[dict[str, Any]]]:
    result = run("score", traffic, "--by", by, "--out", out, "--bundle", bundle)
    return result, [json.loads(line) for line in result.stdout.splitlines()]


def mixed() -> list[dict[str, Any]]:
    """Three accounts whose levels the toy bundle knows."""
    return [
        exchange(exchange_id=f"{name}{i}", account_id=name, timestamp=1_772_366_400 + 60 * i, logprobs=wanted(i))
        for name, wanted in (("quiet", lambda i: False), ("half", lambda i: i % 2 == 0), ("loud", lambda i: True))
        for i in range(6)
    ]


def test_a_verdict_for_every_account(tmp_path: Path, bundle: Path) -> None:
    result, verdicts = scored(lines(tmp_path / "t.jsonl", mixed()), bundle)
    assert result.exit_code == 0
    assert {v["account_id"]: v["level"] for v in verdicts} == {"quiet": "allow", "half": "review", "loud": "act"}
    loud = next(v for v in verdicts if v["account_id"] == "loud")
    assert loud["entity_id"] == "loud"
    assert loud["n_exchanges"] == 6
    assert loud["first_seen"] == "2026-03-01T12:00:00.000000Z"
    assert loud["last_seen"] == "2026-03-01T12:05:00.000000Z"
    assert loud["score"] == pytest.approx(0.982, abs=0.001)
    assert loud["bundle_id"] == load(bundle).bundle_id
    assert loud["reasons"][0]["feature"] == "logprobs_share"
    named = "family feature value typical low high without family_without sentence"
    assert list(loud["reasons"][0]) == named.split()
    told = "18 records: 0 rejected, 0 duplicates dropped; 3 accounts: 1 allow, 1 review, 1 act ("
    assert result.stderr.splitlines()[-1].startswith(told)


def test_sessions(tmp_path: Path, bundle: Path) -> None:
    """A session is the record's own or ends with an idle gap of 30 minutes."""
    moments = [0, 60, 4000, 4060, 9000]
    records = [exchange(exchange_id=str(s), timestamp=1_772_366_400 + s) for s in moments]
    records += [exchange(exchange_id=f"own{s}", timestamp=1_772_366_400 + s, session_id="mine") for s in moments]
    result, verdicts = scored(lines(tmp_path / "t.jsonl", records), bundle, by="session")
    assert result.exit_code == 0
    assert sorted(v["n_exchanges"] for v in verdicts) == [1, 2, 2, 5]
    assert next(v for v in verdicts if v["n_exchanges"] == 5)["entity_id"] == "mine"
    assert {v["account_id"] for v in verdicts} == {"a"}


def test_every_format_in_and_out_says_the_same(tmp_path: Path, bundle: Path) -> None:
    records = exchanges(200, accounts=5)
    traffic = lines(tmp_path / "t.jsonl", records)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(traffic.read_bytes()))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "t.parquet")
    _, expected = scored(traffic, bundle)
    piped = run("score", "-", "--by", "account", "--out", "-", "--bundle", bundle, stdin=traffic.read_bytes())
    assert [json.loads(line) for line in piped.stdout.splitlines()] == expected
    for name in ("t.jsonl.gz", "t.parquet"):
        assert scored(tmp_path / name, bundle)[1] == expected
    for suffix in ("jsonl", "csv", "parquet"):
        result = scored(traffic, bundle, out=tmp_path / f"v.{suffix}")[0]
        assert result.stdout == ""
    with (tmp_path / "v.csv").open(newline="") as stream:
        assert [row["entity_id"] for row in csv.DictReader(stream)] == [v["entity_id"] for v in expected]
    assert pq.read_table(tmp_path / "v.parquet")["level"].to_pylist() == [v["level"] for v in expected]


def test_a_directory_is_all_its_files(tmp_path: Path, bundle: Path) -> None:
    records = exchanges(60, accounts=3)
    (tmp_path / "day").mkdir()
    lines(tmp_path / "day" / "2.jsonl", records[30:])
    pq.write_table(pa.Table.from_pylist(records[:30]), tmp_path / "day" / "1.parquet")
    assert scored(tmp_path / "day", bundle)[1] == scored(lines(tmp_path / "t.jsonl", records), bundle)[1]


def test_a_file_that_cannot_be_used_does_not_cost_the_verdicts_of_the_others(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "day").mkdir()
    lines(tmp_path / "day" / "2.jsonl", mixed())
    pq.write_table(pa.table({"account_id": [7]}), tmp_path / "day" / "1.parquet")
    (tmp_path / "day" / "notes.csv").touch()
    result, verdicts = scored(tmp_path / "day", bundle)
    assert (result.exit_code, len(verdicts)) == (1, 3)
    assert result.stderr.splitlines()[:3] == [
        "rejected 1: unusable_file (1.parquet:1)",
        "unusable 1.parquet: expected a column exchange_id, found 1 columns without it",
        "ignored 1 file: .csv",
    ]
    assert scored(tmp_path / "day" / "1.parquet", bundle)[0].exit_code == 2


def test_features(tmp_path: Path, bundle: Path) -> None:
    out = tmp_path / "f.parquet"
    result = run("features", lines(tmp_path / "t.jsonl", mixed()), "--by", "account", "--out", out, "--bundle", bundle)
    assert result.exit_code == 0
    table = pq.read_table(out)
    assert table.column_names[5:] == [feature.name for feature in FEATURES]
    assert dict(zip(table["account_id"].to_pylist(), table["logprobs_share"].to_pylist(), strict=True)) == {
        "quiet": 0.0,
        "half": 0.5,
        "loud": 1.0,
    }
    assert result.stderr.splitlines()[-1].startswith("18 records: 0 rejected, 0 duplicates dropped; 3 accounts (")


def test_rejected_records_are_exit_status_1(tmp_path: Path, bundle: Path) -> None:
    path = tmp_path / "t.jsonl"
    records = [*mixed(), mixed()[0], exchange(account_id=None), exchange(odd=1)]
    result, verdicts = scored(lines(path, records), bundle)
    assert result.exit_code == 1
    assert len(verdicts) == 4
    assert result.stderr.splitlines()[:2] == [
        "rejected 1: missing:account_id (t.jsonl:20)",
        "ignored 1 unknown field: odd",
    ]
    assert "21 records: 1 rejected, 1 duplicates dropped" in result.stderr


def test_ids_under_another_account_are_warned_of(tmp_path: Path, bundle: Path) -> None:
    records = [*mixed(), mixed()[0], mixed()[1] | {"account_id": "other"}]
    result, verdicts = scored(lines(tmp_path / "t.jsonl", records), bundle)
    assert (result.exit_code, len(verdicts)) == (0, 3)
    assert result.stderr.splitlines()[0] == (
        "dropped 2 duplicates, 1 of them under another account_id: ids must be unique"
    )
    assert len(scored(lines(tmp_path / "t.jsonl", records[:-1]), bundle)[0].stderr.splitlines()) == 1


def test_traffic_out_of_order_is_read_again(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More exchanges than are held, the oldest last: the same verdicts as for sorted traffic."""
    monkeypatch.setattr(commands, "HOLD", 50)
    monkeypatch.setattr("fingerprint.readers.BATCH_BYTES", 5000)
    records = exchanges(400, accounts=4)
    _, expected = scored(lines(tmp_path / "sorted.jsonl", records), bundle)
    bad = lines(tmp_path / "t.jsonl", [*records[::-1], exchange(account_id=None)])
    result, verdicts = scored(bad, bundle)
    assert "reading it again" in result.stderr
    assert "rejected 1:" in result.stderr
    by_name = {v["account_id"]: v for v in verdicts}
    assert by_name == {v["account_id"]: v for v in expected}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["score"],
        ["score", "t.jsonl", "--by", "account"],
        ["score", "t.jsonl", "--by", "planet", "--out", "-"],
        ["score", "t.jsonl", "--by", "account", "--out", "v.xlsx"],
        ["score", "t.jsonl", "--by", "account", "--out", "no/such/place/v.csv"],
        ["score", "loop.jsonl", "--by", "account", "--out", "-"],
        ["score", "t.jsonl", "--by", "account", "--out", "loop.jsonl"],
        ["score", "t.jsonl", "--by", "account", "--out", "t.jsonl"],
        ["score", ".", "--by", "account", "--out", "v.jsonl"],
        ["score", "..", "--by", "account", "--out", "v.jsonl"],
        ["score", "missing.jsonl", "--by", "account", "--out", "-"],
        ["score", "t.txt", "--by", "account", "--out", "-"],
        ["score", "t.jsonl", "--by", "account", "--out", "-", "--bundle", "nowhere"],
        ["features", "t.jsonl", "--by", "account", "--out", "-", "--bundle", "nowhere"],
        ["verify", "nowhere"],
        ["verify", "two", "bundles"],
        ["guess"],
    ],
)
def test_wrong_arguments_are_exit_status_2(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = lines(tmp_path / "t.jsonl", mixed()).read_bytes()
    (tmp_path / "t.txt").touch()
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    chosen = [] if "--bundle" in arguments or "--out" not in arguments else ["--bundle", bundle]
    result = run(*arguments, *chosen)
    assert result.exit_code == 2
    assert result.stderr
    assert result.stdout == ""
    assert (tmp_path / "t.jsonl").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop.jsonl", "t.jsonl", "t.txt"]
    assert (tmp_path / "loop.jsonl").is_symlink()


def test_known_errors_are_one_line(tmp_path: Path, bundle: Path) -> None:
    result = run("score", tmp_path / "no\nsuch.jsonl", "--by", "account", "--out", "-", "--bundle", bundle)
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("fingerprint: ")


def test_a_place_that_cannot_be_written_is_named_as_the_user_did(tmp_path: Path, bundle: Path) -> None:
    traffic, out = lines(tmp_path / "t.jsonl", mixed()), tmp_path / "none" / "v.csv"
    assert scored(traffic, bundle, out=out)[0].stderr == f"fingerprint: --out {out}: No such file or directory\n"


def test_verify(tmp_path: Path, bundle: Path) -> None:
    result = run("verify", bundle)
    assert result.exit_code == 0
    assert f"{load(bundle).bundle_id} is sound" in result.stdout
    other = toy_bundle(tmp_path / "other")
    (other / "card.md").write_text("changed")
    result = run("verify", other)
    assert result.exit_code == 2
    assert "card.md was changed" in result.stderr


def test_help_and_version() -> None:
    assert run("--version").stdout == f"fingerprint {__version__}\n"
    for command in ([], ["score"], ["features"], ["verify"]):
        result = run(*command, "--help")
        assert result.exit_code == 0
        assert "Examples:\n" in result.stdout
        assert f"fingerprint {command[0] if command else 'score'}" in result.stdout


@pytest.mark.parametrize("out", ["-", "v.jsonl", "v.csv", "v.parquet"])
@pytest.mark.parametrize("verb", ["score", "features"])
def test_no_content_of_a_record_leaves(tmp_path: Path, bundle: Path, out: str, verb: str) -> None:
    """Planted in prompts, system prompts, messages and rejected records, the canary is in no output.

    An account id is in the verdict of its account by contract, and nowhere else.
    """
    chat = [{"role": "system", "content": CANARY}, {"role": "user", "content": CANARY}]
    secret = {"prompt": CANARY, "system": CANARY, "logprobs": True, "client": {"user_agent": CANARY}}
    records = [exchange(**secret, exchange_id=f"{CANARY}{i}") for i in range(4)]
    records += [exchange(messages=chat, prompt=None, exchange_id="c", model=CANARY, stop_reason=CANARY)]
    records += [exchange(**secret, **{field: [CANARY]}) for field in ("account_id", "session_id", "n", "stream")]
    records += [exchange(prompt=f"{CANARY}\0"), exchange(**secret | {"timestamp": CANARY, "account_id": CANARY})]
    records += [exchange(**{f"{CANARY} field": CANARY})]
    path = lines(tmp_path / "t.jsonl", records)
    path.write_bytes(path.read_bytes() + f'{CANARY}\n"{CANARY}"\n{{"prompt": "{CANARY}'.encode())
    target = out if out == "-" else tmp_path / out
    result = run(verb, path, "--by", "account", "--out", target, "--bundle", bundle)
    assert result.exit_code == 1
    written = b"" if out == "-" else (tmp_path / out).read_bytes()
    assert CANARY.encode() not in written
    assert CANARY not in result.output
    assert CANARY not in result.stderr


def test_no_account_id_in_diagnostics(tmp_path: Path, bundle: Path) -> None:
    records = [exchange(account_id=CANARY), exchange(account_id=CANARY, exchange_id="f", n=-1)]
    result, verdicts = scored(lines(tmp_path / "t.jsonl", records), bundle)
    assert verdicts[0]["account_id"] == CANARY
    assert CANARY not in result.stderr


class TestProcess:
    """What only a process of its own shows."""

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "fingerprint", *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def test_a_reader_that_goes_away(self, tmp_path: Path, bundle: Path) -> None:
        records = [exchange(exchange_id=str(i), account_id=f"a{i}") for i in range(9000)]
        traffic = lines(tmp_path / "t.jsonl", records)
        process = self.start("features", traffic, "--by", "account", "--out", "-", "--bundle", bundle)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""
        process.stderr.close()

    def test_ctrl_c(self, tmp_path: Path, bundle: Path) -> None:
        # the background job of a shell ignores the signal, and hands that on to its children
        kept = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = self.start(
            "score", "-", "--by", "account", "--out", tmp_path / "v.csv", "--bundle", bundle, stdin=subprocess.PIPE
        )
        signal.signal(signal.SIGINT, kept)
        while not list(tmp_path.glob(".v.csv.*")) and process.poll() is None:
            time.sleep(0.05)  # it has begun its file, and will now wait for input
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        _, told = process.communicate()
        assert process.returncode in (130, -signal.SIGINT)  # the latter, 130 to a shell too, while it still loads code
        assert told == b"fingerprint: stopped\n"
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("closed", [0, 1, 2])
    @pytest.mark.parametrize("out", ["-", "v.jsonl"])
    def test_closed_standard_streams(self, tmp_path: Path, bundle: Path, closed: int, out: str) -> None:
        """Nothing is written to a wrong place, and what cannot be done is said where that is possible."""
        traffic = "-" if closed == 0 else str(lines(tmp_path / "t.jsonl", mixed()))
        command = [sys.executable, "-m", "fingerprint", "score", traffic, "--by", "account", "--out", out]
        shell = ["sh", "-c", f'"$@" {closed}{"<" if closed == 0 else ">"}&-', "sh", *command, "--bundle", str(bundle)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        process = subprocess.run(shell, capture_output=True, cwd=tmp_path, check=False, env=environment)
        impossible = closed == 0 or (closed == 1 and out == "-")
        assert process.returncode == (2 if impossible else 0)
        assert len(process.stderr.splitlines()) == (0 if closed == 2 else 1)
        assert b"Traceback" not in process.stderr
        written = process.stdout if out == "-" else (b"" if impossible else (tmp_path / out).read_bytes())
        assert [json.loads(line)["account_id"] for line in written.splitlines()] == (
            [] if impossible else ["quiet", "half", "loud"]
        )

    @pytest.mark.parametrize("debug", ["", "1"])
    def test_an_error_nobody_thought_of(self, debug: str) -> None:
        """Its type alone, because its text may hold a prompt; all of it for who asks."""
        code = (
            "import sys, fingerprint.cli, fingerprint.commands as c\n"
            f"def fail(path): raise LookupError({CANARY!r})\n"
            "c.verify_bundle = fail; sys.argv = ['fingerprint', 'verify']; fingerprint.cli.main()"
        )
        environment = os.environ | {"FINGERPRINT_DEBUG": debug, "PYTHONPATH": str(Path(__file__).parents[1])}
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
        assert (b"Traceback" in process.stderr) == (CANARY.encode() in process.stderr) == bool(debug)
        assert process.returncode == 70
        last = b"fingerprint: unexpected LookupError; FINGERPRINT_DEBUG=1 shows where\n"
        assert process.stderr.endswith(last) if debug else process.stderr == last

    @pytest.mark.parametrize("absent", ["typer", "rich", "pyarrow"])
    def test_without_its_extra_it_says_what_to_install(self, tmp_path: Path, absent: str) -> None:
        (tmp_path / f"{absent}.py").write_text(f"raise ModuleNotFoundError('No module', name={absent!r})")
        path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
        process = self.start("--version", env=os.environ | {"PYTHONPATH": path})
        out, told = process.communicate(timeout=60)
        assert process.returncode == 2
        assert out == b""
        assert told.decode().splitlines() == [
            f"fingerprint: the command line needs {absent}, which is not installed: pip install 'fingerprint[cli]'"
        ]

    def test_importing_fingerprint_needs_no_extra(self) -> None:
        code = "import sys, fingerprint; print(sorted({'pyarrow', 'typer', 'rich', 'click'} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"
