"""What ``fingerprint campaigns`` wrote, as levels of accounts for a monitor."""

import json
from pathlib import Path

import pytest
from builders import exchange
from toy_bundle import toy_bundle

from fingerprint.campaigns import evidence
from fingerprint.convictions import ACT, REVIEW, levels_of
from fingerprint.errors import FingerprintError
from fingerprint.monitor import Monitor
from fingerprint.verdicts import writer

ROWS = [("a", "camp-1", 0.95), ("b", "camp-1", 0.95), ("c", "camp-2", REVIEW), ("d", "camp-3", 0.49)]
LEVELS = [("a", "camp-1", "act"), ("b", "camp-1", "act"), ("c", "camp-2", "review"), ("d", "camp-3", "allow")]
KINDS = {"account_id": "text", "campaign_id": "text", "score": "number"}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_what_the_command_writes_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"campaigns.{suffix}"
    with writer(str(path), KINDS) as write:
        write(dict(zip(KINDS, zip(*ROWS, strict=True), strict=True)))
    assert levels_of(path) == LEVELS
    assert levels_of(str(path)) == LEVELS


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_no_campaigns_are_none(tmp_path: Path, suffix: str) -> None:
    with writer(str(tmp_path / f"none.{suffix}"), KINDS):
        pass
    assert levels_of(tmp_path / f"none.{suffix}") == []


def test_other_columns_and_their_order_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(f'\ufeffscore,note,campaign_id,account_id\n{ACT},"two\nlines",camp-1,"a,b"\n', "utf-8")
    assert levels_of(path) == [("a,b", "camp-1", "act")]


def test_of_an_account_in_two_campaigns_the_stronger_counts(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("account_id,campaign_id,score\na,camp-1,0.6\na,camp-2,0.9\na,camp-3,0.7\n")
    assert levels_of(path) == [("a", "camp-2", "act")]


def test_the_levels_are_those_of_campaigns() -> None:
    assert (evidence.REVIEW, evidence.ACT) == (REVIEW, ACT)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.parquet", "PAR1"),
        ("c.csv", ""),
        ("c.csv", "account_id,score\na,1\n"),
        ("c.csv", "account_id,campaign_id,score\nsecret,camp-1\n"),
        ("c.csv", "account_id,campaign_id,score\nsecret,camp-1,high\n"),
        ("c.csv", "account_id,campaign_id,score\nsecret,camp-1,nan\n"),
        ("c.csv", "account_id,campaign_id,score\nsecret,camp-1,1.1\n"),
        ("c.csv", "account_id,campaign_id,score\nsecret,,0.9\n"),
        ("c.csv", "account_id,campaign_id,score\nsecret,\udcff,0.9\n"),
        ("c.jsonl", '{"account_id": "secret"'),
        ("c.jsonl", '["secret"]\n'),
        ("c.jsonl", json.dumps({"account_id": "secret", "campaign_id": 7, "score": 0.9})),
        ("c.jsonl", json.dumps({"account_id": "secret", "campaign_id": "c", "score": True})),
        ("c.jsonl", "[" * 100_000),
    ],
)
def test_what_is_no_such_file_is_refused_without_its_content(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FingerprintError, match="expected") as refused:
        levels_of(path)
    assert "secret" not in str(refused.value)


def test_a_monitor_takes_them_over(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("account_id,campaign_id,score\na,camp-1,0.9\n")
    monitor = Monitor.load(toy_bundle(tmp_path / "toy"))
    assert monitor.observe(exchange()).level == "allow"
    monitor.convict(levels_of(path))
    verdict = monitor.observe(exchange(exchange_id="f"))
    assert (verdict.level, verdict.previous, verdict.campaign_id) == ("act", "allow", "camp-1")
    assert monitor.observe(exchange(exchange_id="g")).previous == "act"
