"""Prompt text lives in memory while an exchange is read, and nowhere else.

A canary stands in prompts, system prompts, messages and tools of a small world. It is looked for, plain and
disguised, in every file that scoring and training write, on the standard streams, in logs and in errors.
"""

import contextlib
import io
import json
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import exchange, random_head, window_of
from toy_run import CANARY, Run, disguises, everything_said, leaks
from typer.testing import CliRunner

from fingerprint import ExchangeError, Scorer, features
from fingerprint.commands import app
from fingerprint.contribution import read_exchange

CHAT = [{"role": "system", "content": CANARY}, {"role": "user", "content": CANARY}]
SECRETS: list[dict[str, Any]] = [
    {"prompt": CANARY},
    {"system": CANARY},
    {"tools": [CANARY]},
    {"prompt": None, "messages": CHAT},
    {"prompt": CANARY, "model": CANARY, "stop_reason": CANARY, "client": {"user_agent": CANARY, "ip_prefix": CANARY}},
    {"prompt": f"{CANARY} " * 400, "account": {"payment_hash": CANARY, "plan": CANARY}},
]


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    """The tests below can fail: each disguise in a file, and the name of a file, are found."""
    import base64

    for shift in range(3):
        hidden = base64.b64encode(b"x" * shift + f"{CANARY} and more".encode())
        assert any(mark in hidden for mark in disguises(CANARY))
    for i, mark in enumerate([*disguises(CANARY), CANARY.title().encode()]):
        (tmp_path / str(i)).write_bytes(b"before" + mark + b"after")
    (tmp_path / CANARY).touch()
    (tmp_path / "clean").write_bytes(b"nothing")
    assert "clean" not in leaks(tmp_path, [CANARY])
    assert len(leaks(tmp_path, [CANARY])) == len(list(tmp_path.iterdir())) - 1


def test_the_canary_was_in_what_the_run_read(trained: Run) -> None:
    assert sorted(leaks(trained.traffic, [CANARY])) == ["part-00000.parquet", "second.jsonl"]


def test_a_training_run_writes_no_text(trained: Run) -> None:
    """Bundle, native Booster, MLflow's database and artifacts, and whatever else lies in the working directory."""
    names = {path.name for path in trained.out.rglob("*") if path.is_file()}
    assert {"mlflow.db", "model.onnx", "manifest.json", "bundle.booster.txt", "roc.png", "by_family.csv"} <= names
    assert leaks(trained.out, [CANARY]) == []


def test_a_training_run_says_no_text(trained: Run) -> None:
    """Neither on the two streams, nor by what is compiled, nor in any logger at any level."""
    for said in (trained.stdout, trained.stderr, trained.log, *trained.said):
        assert CANARY not in said
    assert "INFO" in trained.log or len(trained.log) > 100, "the log of other packages was heard"


def test_a_training_run_names_no_account(trained: Run) -> None:
    some = trained.accounts[::7]
    assert leaks(trained.bundle, some) == []
    assert leaks(trained.out / "mlartifacts", some) == []
    for said in (trained.stdout, trained.stderr, trained.log):
        assert not [name for name in some if name in said]


@pytest.mark.parametrize("by", ["account", "session"])
@pytest.mark.parametrize("verb", ["score", "features"])
def test_scoring_writes_and_says_no_text(trained: Run, tmp_path: Path, verb: str, by: str) -> None:
    with everything_said() as said:
        results = [
            CliRunner().invoke(
                app, [verb, str(trained.traffic), "--by", by, "--out", out, "--bundle", str(trained.bundle)]
            )
            for out in (str(tmp_path / "out.parquet"), str(tmp_path / "out.csv"))
        ]
    assert [result.exit_code for result in results] == [0, 0], results[0].output
    assert len(list(tmp_path.iterdir())) == 2
    assert leaks(tmp_path, [CANARY]) == []
    for text in (said[0], *(result.output + result.stderr for result in results)):
        assert CANARY not in text


@pytest.mark.parametrize("secret", SECRETS, ids=[" ".join(secret) for secret in SECRETS])
def test_windows_contributions_and_features_hold_no_text(secret: dict[str, Any]) -> None:
    """Not even a part of it: six bytes of the canary in a row are found in no state."""
    records = [exchange(exchange_id=str(i), timestamp=1_772_366_400 + i, **secret) for i in range(5)]
    window = window_of(records, random_head())
    rows = read_exchange(records[0], random_head())
    states = [window.to_bytes(), features(window).tobytes(), *(part.tobytes() for part in rows)]
    pieces = [CANARY.encode()[at : at + 6] for at in range(len(CANARY) - 5)]
    for state in states:
        assert not any(mark in state for mark in [*disguises(CANARY), *pieces])
    assert CANARY not in repr(window)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": f"{CANARY}\0"},
        {"prompt": f"{CANARY}\ud800"},
        {"prompt": [CANARY]},
        {"prompt": None, "messages": CANARY},
        {"prompt": None, "messages": [{"role": "user", "content": f"{CANARY}\0"}]},
        {"prompt": None, "messages": [{"role": "user", "content": {CANARY: 1}}]},
        {"prompt": None, "messages": [{"role": CANARY, "content": CANARY}]},
        {"system": f"{CANARY}\0"},
        {"system": {"text": CANARY}},
        {"tools": CANARY},
        {"timestamp": CANARY},
        {"account_id": [CANARY]},
        {"account_id": f"{CANARY}\ud800"},
        {"exchange_id": f"{CANARY}\0"},
        {"session_id": [CANARY]},
        {"n": CANARY},
        {"temperature": CANARY},
        {"client": CANARY},
        {"account": {"created_at": CANARY}},
    ],
)
def test_errors_hold_no_text(wrong: dict[str, Any]) -> None:
    """Neither the message nor the traceback that Python would print."""
    with pytest.raises(ExchangeError) as caught:
        read_exchange(exchange(**{"prompt": CANARY, **wrong}), random_head())
    told = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value) + caught.value.reason
    assert CANARY not in told
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_reasons_hold_numbers_and_our_own_words(trained: Run) -> None:
    scorer = Scorer.load(trained.bundle)
    records = [exchange(exchange_id=str(i), timestamp=1_772_366_400 + i, prompt=f"{CANARY} {i}") for i in range(40)]
    rows = features(window_of(records, scorer.head))
    assert CANARY not in json.dumps(scorer.reasons(rows))


def test_the_library_prints_and_logs_nothing(trained: Run) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), everything_said() as said:
        scorer = Scorer.load(trained.bundle)
        window = window_of([exchange(prompt=CANARY)], scorer.head)
        scorer.reasons(features(window))
        scorer.score(np.repeat(features(window), 3, axis=0))
    assert (out.getvalue(), err.getvalue(), said[0]) == ("", "", "")
