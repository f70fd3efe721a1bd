"""The verbs of labelling: verdicts in, a queue out, and both in the next run."""

import io
import json
from pathlib import Path

import pandas as pd
from click.testing import Result
from toy_run import CANARY, Run
from typer.testing import CliRunner

from training.__main__ import app


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def verdicts(folder: Path, rows: list[str]) -> Path:
    path = folder / "verdicts.csv"
    path.write_text("\n".join(["account_id,decision,analyst,time,note", *rows]) + "\n")
    return path


def test_feedback_tells_its_counts_and_what_it_refused(tmp_path: Path) -> None:
    store = tmp_path / "store.jsonl"
    rows = [f"a,benign,ann,2026-03-01T10:00:00Z,{CANARY}", f"b,{CANARY},ann,2026-03-01T10:00:00Z,"]
    found = call("feedback", verdicts(tmp_path, rows), "--store", store)
    assert found.exit_code == 1
    assert json.loads(found.stdout) == {"added": 1, "repeated": 0, "refused": {"unknown:decision": 1}}
    assert "rejected 1: unknown:decision (verdicts.csv:3)" in found.stderr
    assert CANARY not in found.output + found.stderr + store.read_text()
    again = call("feedback", verdicts(tmp_path, rows[:1]), "--store", store)
    assert (again.exit_code, again.stderr) == (0, "")
    assert json.loads(again.stdout) == {"added": 0, "repeated": 1, "refused": {}}


def test_the_queue_is_csv_without_the_accounts_that_have_a_label_or_a_decision(trained: Run, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("account_id,label\n" + "".join(f"{name},1\n" for name in trained.accounts[::2]))
    decided, divided = trained.accounts[1], trained.accounts[3]
    rows = [f"{decided},benign,ann,2026-03-01T10:00:00Z,", f"{divided},unsure,ann,2026-03-01T10:00:00Z,"]
    call("feedback", verdicts(tmp_path, rows), "--store", tmp_path / "store.jsonl")
    given = ["--bundle", trained.bundle, "--labels", labels, "--feedback", tmp_path / "store.jsonl"]
    found = call("queue", trained.traffic, *given, "--top", 300)
    assert found.exit_code == 0, found.stderr
    table = pd.read_csv(io.StringIO(found.stdout))
    columns = ["account_id", "priority", "score", "level", "uncertainty", "novelty", "n_exchanges", "reason"]
    assert table.columns.tolist() == columns
    assert not {decided, *trained.accounts[::2]} & set(table["account_id"])
    assert divided in set(table["account_id"]), "another analyst may settle it"
    assert CANARY not in found.stdout + found.stderr


def test_sessions_make_a_queue_of_accounts_too(trained: Run) -> None:
    found = call("queue", trained.traffic, "--bundle", trained.bundle, "--by", "session", "--top", 20)
    table = pd.read_csv(io.StringIO(found.stdout))
    assert len(table) == 20
    assert table["account_id"].is_unique
