"""The demo: what it asks of the pipeline, where it writes, and what it prints of a run."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from toy_run import Run

from training import demo as module
from training.bench import booster_beside


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The demo with stand-ins for the world and the pipeline; returns what these were asked for."""
    seen: dict[str, Any] = {}

    def run(traffic: Any, labels: Any, bundle: Any, config: Any, **named: Any) -> str:
        seen.update(traffic=traffic, labels=labels, bundle=bundle, config=config, **named)
        seen["uri"] = os.environ["MLFLOW_TRACKING_URI"]
        return "result"

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(
        module, "make_world", lambda out, settings, **named: seen.update(world=out, settings=settings, **named)
    )
    monkeypatch.setattr(module, "origin", lambda world: [])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "x")  # so that it is put back afterwards
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return seen


def test_everything_lies_below_its_folder(asked: dict[str, Any], tmp_path: Path) -> None:
    assert module.demo(tmp_path, 300, lambda *step: None) == "result"
    for name in ("world", "labels", "bundle", "groups"):
        assert tmp_path in asked[name].parents
    assert asked["traffic"] == [tmp_path / "world" / "traffic"]
    assert asked["uri"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert asked["settings"].accounts == 300
    assert asked["config"].tracking.experiment == "fingerprint-demo"
    assert asked["config"].tune.trials <= 10, "a few trials: the demo is short"


def test_another_tracking_store_is_respected(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    module.demo(tmp_path, 300, lambda *step: None)
    assert asked["uri"] == "sqlite:///elsewhere.db"


def test_the_summary_tells_detection_speed_place_and_the_next_command(trained: Run) -> None:
    console = Console(record=True, width=140, file=io.StringIO())
    module.summary(trained.result, console)
    told = console.export_text()
    metrics = trained.result.evaluation.metrics
    assert f"{metrics['recall_at_fpr_0.01']:.0%}" in told
    assert f"{metrics['roc_auc']:.3f}" in told
    assert "simulated" in told
    assert str(trained.bundle) in told
    assert trained.result.tracked.ui_command in told
    assert "µs" in told


def test_new_traffic_is_scored_through_the_command_line(trained: Run, tmp_path: Path) -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    module.score_new(trained.result, tmp_path, 20, console)
    assert "new traffic of 20 accounts" in console.export_text()
    assert len((tmp_path / "verdicts.jsonl").read_text().splitlines()) == 20
    assert booster_beside(trained.bundle).is_file()
