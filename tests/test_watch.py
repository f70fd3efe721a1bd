"""``fingerprint watch``: a process that follows a file as it grows, and says what changes and nothing of prompts."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis_server
from builders import exchange
from toy_bundle import toy_bundle
from typer.testing import CliRunner

import fingerprint.serving_commands  # noqa: F401 (it adds its command)
from fingerprint.commands import app

CANARY = "canary-7f3a"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("bundles") / "toy")


class Watching:
    """A running ``fingerprint watch``; what it says is in files, so that it never waits for us."""

    def __init__(self, folder: Path, *arguments: object, stdin: int = subprocess.DEVNULL) -> None:
        self.out, self.err = folder / "out.jsonl", folder / "err.txt"
        command = [sys.executable, "-m", "fingerprint", "watch", *map(str, arguments)]
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(command, stdin=stdin, stdout=out, stderr=err)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.read_text("utf-8").splitlines(True) if line.endswith("\n")]

    def said(self) -> str:
        return self.err.read_text("utf-8")

    def until(self, true: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, (self.said(), self.out.read_text("utf-8"))
            time.sleep(0.02)

    def changes(self, count: int) -> list[tuple[str, str, str]]:
        self.until(lambda: len(self.lines()) >= count)
        return [(line["account_id"], line["previous"], line["level"]) for line in self.lines()]

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@pytest.fixture
def start(tmp_path: Path, bundle: Path) -> Iterator[Callable[..., Watching]]:
    running: list[Watching] = []

    def begin(*arguments: object, stdin: int = subprocess.DEVNULL, bundle: Path = bundle) -> Watching:
        folder = tmp_path / f"said{len(running)}"
        folder.mkdir()
        running.append(Watching(folder, *arguments, "--bundle", bundle, stdin=stdin))
        return running[-1]

    yield begin
    for watching in running:
        watching.process.kill()
        watching.process.wait()


def records(account: str, count: int = 10, first: int = 0, **more: Any) -> bytes:
    """Lines of an account; it reaches ``act`` with its tenth exchange if they ask for log-probabilities."""
    made = [
        exchange(
            exchange_id=f"{account}{i}",
            account_id=account,
            timestamp=1_772_366_400 + 60 * i,
            **({"logprobs": True, "prompt": CANARY} | more),
        )
        for i in range(first, first + count)
    ]
    return b"".join(json.dumps(record).encode() + b"\n" for record in made)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)


def test_it_says_what_changes_while_the_file_grows(tmp_path: Path, start: Callable[..., Watching]) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(records("a", 9))
    watching = start(path)
    append(path, records("quiet", 12, logprobs=False))
    append(path, records("a", 3, first=9))
    assert watching.changes(1) == [("a", "allow", "act")]
    append(path, records("b"))
    assert watching.changes(2) == [("a", "allow", "act"), ("b", "allow", "act")]
    line = watching.lines()[0]
    assert (line["n_exchanges"], line["window"], line["alert"], line["campaign_id"]) == (10, "session", True, None)
    assert line["score"] == pytest.approx(0.982, abs=0.001)
    assert line["reasons"][0]["feature"] == "logprobs_share"
    assert watching.end() == 130
    assert watching.said().splitlines()[-1] == "fingerprint: stopped"
    assert "34 records: 0 rejected, 0 duplicates dropped; changes of level: 0 to allow, 0 to review, 2 to act" in (
        watching.said()
    )


def test_a_line_waits_for_its_rest(tmp_path: Path, start: Callable[..., Watching]) -> None:
    path, data = tmp_path / "t.jsonl", records("a")
    path.touch()
    watching = start(path, "--all")
    for at in range(0, len(data), 700):
        append(path, data[at : at + 700])
        time.sleep(0.05)
    watching.changes(10)
    append(path, records("b")[:50])
    time.sleep(0.5)
    assert watching.end() == 130
    assert "10 records: 0 rejected" in watching.said(), "what has no end yet is no bad line"


def test_rotation(tmp_path: Path, start: Callable[..., Watching]) -> None:
    """What a writer adds to the old file after it was renamed is read, then the new one from its beginning."""
    path = tmp_path / "t.jsonl"
    path.write_bytes(records("a", 5))
    watching = start(path, "--all")
    watching.changes(5)
    path.rename(tmp_path / "t.jsonl.1")
    time.sleep(0.5)
    append(tmp_path / "t.jsonl.1", records("a", 4, first=5))
    path.write_bytes(records("a", 1, first=9))
    append(tmp_path / "t.jsonl.1", records("b", 1))
    found = watching.changes(11)
    assert [account for account, *_ in found] == ["a"] * 9 + ["b", "a"]
    assert found[-1] == ("a", "allow", "act")
    append(path, records("c", 1))
    watching.changes(12)
    assert watching.end() == 130
    assert "12 records: 0 rejected" in watching.said()


def test_truncation(tmp_path: Path, start: Callable[..., Watching]) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(records("a", 9))
    watching = start(path, "--all")
    watching.changes(9)
    os.truncate(path, 0)
    time.sleep(0.5)
    append(path, records("a", 1, first=9))
    assert watching.changes(10)[-1] == ("a", "allow", "act")
    assert watching.end() == 130


def test_a_file_that_is_not_there_yet(tmp_path: Path, start: Callable[..., Watching]) -> None:
    path = tmp_path / "t.jsonl"
    watching = start(path)
    watching.until(lambda: "waiting for it" in watching.said())
    path.write_bytes(records("a"))
    assert watching.changes(1) == [("a", "allow", "act")]
    assert watching.end() == 130


def test_new_lines_only(tmp_path: Path, start: Callable[..., Watching]) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(records("a", 9) + records("b", 1)[:-1])
    watching = start(path, "--new-only", "--all", "--metrics-port", port := free_port())
    watching.until(lambda: answers(port))
    time.sleep(0.5)
    append(path, b"\nbad\n" + records("c", 1))
    assert [account for account, *_ in watching.changes(2)] == ["b", "c"], "a line that ends from now on is new"
    assert watching.end() == 130
    assert "rejected 1: invalid_json (new lines of t.jsonl:2)" in watching.said()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def answers(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as got:
            return str(got.read().decode())
    except OSError:
        return ""


def test_standard_input_and_metrics(start: Callable[..., Watching]) -> None:
    port = free_port()
    watching = start("--metrics-port", port, stdin=subprocess.PIPE)
    assert watching.process.stdin is not None
    watching.process.stdin.write(records("a") + b"bad\n")
    watching.process.stdin.flush()
    assert watching.changes(1) == [("a", "allow", "act")]
    watching.until(lambda: 'fingerprint_rejected_total{reason="invalid_json"} 1.0' in answers(port))
    assert 'fingerprint_verdicts_total{level="act"} 1.0' in answers(port)
    watching.process.stdin.write(records("b")[:-1])
    watching.process.stdin.close()
    assert watching.process.wait(PATIENCE) == 1
    assert [line["account_id"] for line in watching.lines()] == ["a", "b"]
    assert "rejected 1: invalid_json (stdin:11)" in watching.said()


def test_once(tmp_path: Path, start: Callable[..., Watching]) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(records("a") + records("a") + records("b")[:-1])
    watching = start(path, "--once")
    assert watching.process.wait(PATIENCE) == 0
    assert [line["account_id"] for line in watching.lines()] == ["a", "b"]
    assert "30 records: 0 rejected, 10 duplicates dropped" in watching.said()


def test_bad_lines_are_told_at_the_end(tmp_path: Path, start: Callable[..., Watching]) -> None:
    path = tmp_path / "t.jsonl"
    bad = [f'{CANARY}\n"{CANARY}"\n'.encode(), b"\xff\n\n", records("x", 1, n=-1), records("", 1)]
    path.write_bytes(b"\xef\xbb\xbf" + records("a", odd=CANARY) + b"".join(bad) + f'{{"prompt": "{CANARY}'.encode())
    watching = start(path, "--once")
    assert watching.process.wait(PATIENCE) == 1
    assert len(watching.lines()) == 1
    assert set(watching.said().splitlines()[:-1]) == {
        "rejected 1: invalid_json (t.jsonl:11)",
        "rejected 1: not_an_object (t.jsonl:12)",
        "rejected 1: invalid_utf8 (t.jsonl:13)",
        "rejected 1: out_of_range:n (t.jsonl:15)",
        "rejected 1: missing:account_id (t.jsonl:16)",
        "rejected 1: truncated_line (t.jsonl:17)",
        "ignored 1 unknown field: odd",
    }
    assert CANARY not in watching.said()
    assert CANARY not in watching.out.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_snapshot_carries_accounts_on(tmp_path: Path, start: Callable[..., Watching], number: int) -> None:
    path, snapshot = tmp_path / "t.jsonl", tmp_path / "accounts.snapshot"
    path.write_bytes(records("a", 9) + records("b"))
    first = start(path, "--snapshot", snapshot)
    first.changes(1)
    assert first.end(number) == 128 + number
    assert snapshot.is_file()
    append(path, records("a", 1, first=9))
    second = start(path, "--snapshot", snapshot, "--once")
    assert second.process.wait(PATIENCE) == 0
    assert second.changes(1) == [("a", "allow", "act")], "b stood at act before"
    assert "20 records: 0 rejected, 19 duplicates dropped" in second.said()
    assert CANARY.encode() not in snapshot.read_bytes()


@pytest.mark.skipif(redis_server.BINARY is None, reason="no redis-server on this machine")
def test_redis_carries_accounts_on(tmp_path: Path, start: Callable[..., Watching]) -> None:
    path, folder = tmp_path / "t.jsonl", tmp_path / "r"
    folder.mkdir()
    path.write_bytes(records("a", 9) + records("b"))
    with redis_server.Server(folder).start() as server:
        first = start(path, "--redis", server.url)
        first.changes(1)
        assert first.end() == 130
        append(path, records("a", 1, first=9))
        second = start(path, "--redis", server.url, "--once")
        assert second.process.wait(PATIENCE) == 0
    assert second.changes(1) == [("a", "allow", "act")], "b stood at act before"
    assert "20 records: 0 rejected, 19 duplicates dropped" in second.said()


def test_a_store_that_is_away_is_told(tmp_path: Path, start: Callable[..., Watching]) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(records("a"))
    watching = start(path, "--once", "--redis", f"unix://{tmp_path}/none")
    assert watching.process.wait(PATIENCE) in (0, 1)
    assert watching.changes(1) == [("a", "allow", "act")]
    assert re.search(r"^store: .*store_errors$", watching.said(), re.M)


def test_campaigns_raise_their_members(tmp_path: Path, start: Callable[..., Watching]) -> None:
    path, campaigns = tmp_path / "t.jsonl", tmp_path / "c.csv"
    path.write_bytes(records("a", 1) + records("b", 1) + records("c", 1))
    campaigns.write_text("account_id,campaign_id,score\na,camp-1,0.95\nb,camp-2,0.6\n")
    watching = start(path, "--campaigns", campaigns)
    assert watching.changes(2) == [("a", "allow", "act"), ("b", "allow", "review")]
    assert [line["campaign_id"] for line in watching.lines()] == ["camp-1", "camp-2"]
    assert watching.said() == "c.csv: 2 campaigns of 2 accounts\n"
    campaigns.write_text("nonsense")
    watching.until(lambda: "what was known before stays" in watching.said())
    campaigns.unlink()
    watching.until(lambda: watching.said().count("what was known before stays") == 2)
    (tmp_path / "new.csv").write_text("account_id,campaign_id,score\nb,camp-3,0.9\nc,camp-3,0.9\n")
    (tmp_path / "new.csv").rename(campaigns)
    watching.until(lambda: "c.csv: 1 campaign of 2 accounts" in watching.said())
    append(path, records("b", 1, first=1) + records("c", 1, first=1))
    assert watching.changes(4)[2:] == [("b", "review", "act"), ("c", "allow", "act")]
    assert watching.end() == 130


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["t.jsonl.gz"], "only plain JSONL is followed"),
        (["t.parquet"], "only plain JSONL is followed"),
        (["."], "a directory is not followed"),
        (["none.jsonl", "--once"], "no such file"),
        (["t.jsonl", "--once", "--new-only"], "--once or --new-only"),
        (["t.jsonl", "--redis", "redis://127.0.0.1:1/0", "--snapshot", "s"], "--redis or --snapshot"),
        (["t.jsonl", "--snapshot", "none/s"], "no such directory"),
        (["t.jsonl", "--snapshot", "./t.jsonl"], "this file is read"),
        (["t.jsonl", "--campaigns", "none.csv"], "No such file"),
        (["t.jsonl", "--campaigns", "t.jsonl"], "t.jsonl:1: expected account_id"),
        (["t.jsonl", "--bundle", "none"], "none"),
        (["t.jsonl", "--metrics-port", "0"], "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("t.jsonl", "t.jsonl.gz", "t.parquet"):
        Path(name).write_bytes(records("secret", 1))
    result = CliRunner().invoke(app, ["watch", "--bundle", str(bundle), *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())
    assert "secret" not in result.stderr
    assert Path("t.jsonl").read_bytes() == records("secret", 1)


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, start: Callable[..., Watching]) -> None:
    (tmp_path / "t.jsonl").write_bytes(records("a"))
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        watching = start(tmp_path / "t.jsonl", "--metrics-port", held.getsockname()[1])
        assert watching.process.wait(PATIENCE) == 2
    assert re.fullmatch(r"fingerprint: .*in use.*\n", watching.said())


def test_a_reader_that_goes_away(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(records("a", 3000))
    snapshot = tmp_path / "s"
    command = [sys.executable, "-m", "fingerprint", "watch", tmp_path / "t.jsonl", "--all", "--bundle", bundle]
    process = subprocess.Popen(
        [*map(str, command), "--snapshot", str(snapshot)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
    assert snapshot.is_file(), "what was known is kept"


def test_the_readme_shows_it() -> None:
    assert "fingerprint watch " in (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_a_new_bundle_is_taken_over_and_a_damaged_one_is_not(
    tmp_path: Path, bundle: Path, start: Callable[..., Watching]
) -> None:
    """The account's nine exchanges before the change count for the bundle after it."""
    place, path = tmp_path / "bundle", tmp_path / "t.jsonl"
    shutil.copytree(bundle, place)
    path.write_bytes(records("a", 9))
    watching = start(path, "--all", bundle=place)
    watching.changes(9)
    other = toy_bundle(tmp_path / "other", typical={"logprobs_share": [0.0, 0.1, 1.0]})
    old, new = (json.loads((folder / "manifest.json").read_text())["bundle_id"] for folder in (place, other))
    place.rename(tmp_path / "bundle.previous")
    other.rename(place)
    watching.until(lambda: f"bundle {new} from now on, {old} until now; accounts stay as known" in watching.said())
    append(path, records("a", 1, first=9))
    assert watching.changes(10)[-1] == ("a", "allow", "act")
    assert [line["bundle_id"] for line in watching.lines()] == [old] * 9 + [new]
    (place / "manifest.json").write_text("{")
    watching.until(lambda: f"manifest.json is not JSON; copy the bundle again; bundle {new} goes on" in watching.said())
    append(path, records("b", 1))
    watching.changes(11)
    assert watching.lines()[-1]["bundle_id"] == new
    assert watching.end() == 130
    assert watching.said().count("goes on") == 1
