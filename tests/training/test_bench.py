"""The benchmark: its machinery on tiny inputs; no test depends on how fast this machine is."""

import time
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pyarrow.parquet as pq
import pytest
from toy_run import Run

from fingerprint import FEATURES, Scorer
from training import bench as module
from training.bench import Row, bench, booster_beside, one_row, report
from training.world import make_world
from training.world.settings import load


def test_the_native_booster_lies_beside_its_bundle() -> None:
    assert booster_beside(Path("models/default")) == Path("models/default.booster.txt")


def test_medians_are_of_the_call_after_a_warm_up() -> None:
    calls = []

    def call() -> None:
        calls.append(0)
        time.sleep(0.001)

    p50, p99 = module.median_us(call, 20)
    assert len(calls) == 23
    assert 1000 <= p50 <= p99


def test_one_row_is_timed_by_both(trained: Run) -> None:
    booster = lgb.Booster(model_file=str(booster_beside(trained.bundle)))
    row = np.zeros(len(FEATURES), np.float32)
    ours, peer, p99 = one_row(Scorer.load(trained.bundle), booster, row)
    assert 0 < ours <= p99
    assert peer > 0


def test_traffic_of_one_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many exchanges as asked, each once, prompts of one size."""
    monkeypatch.setattr(module, "make_world", lambda out, settings: make_world(out, load("tiny")))
    table = pq.read_table(module._traffic(tmp_path, 3000, 320))
    assert len(table) == 3000
    assert len(set(table["exchange_id"].to_pylist())) == 3000
    sizes = [len(prompt.encode()) for prompt in table["prompt"].to_pylist()]
    assert set(sizes) == {320}


def test_every_figure_stands_beside_its_peer(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "make_world", lambda out, settings: make_world(out, load("tiny")))
    monkeypatch.setattr(module, "_start_row", lambda bundle: Row("start", "1 s", "2 s", "2x", "<= 1.5 s"))
    monkeypatch.setattr(module, "median_us", lambda call, repeats: (call(), (8.0, 9.0))[1])
    rows = bench(trained.bundle, 4000)
    assert len(rows) == 6
    text = report(rows, "fp-toy")
    assert "fp-toy" in text
    for row in rows:
        assert row.what in text
    measured = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(measured) == len(rows)
    assert all(line.count(" | ") == 4 for line in measured)
    for asked in (">= 200,000/s", "<= 40 µs", "<= 400 µs", "<= 1.5 s"):
        assert asked in text


def test_import_and_load_are_timed_in_new_processes(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(module.subprocess, "run", lambda command, check: started.append(command[-1]))
    row = module._start_row(trained.bundle)
    assert len(started) == 10
    assert sum("Scorer.load" in code for code in started) == 5
    assert row.asked == "<= 1.5 s"
