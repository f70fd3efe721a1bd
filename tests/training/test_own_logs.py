"""Runs on an operator's logs: repeated from what was logged, and with accounts that nobody labelled."""

from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from mlflow.tracking import MlflowClient
from toy_run import CANARY, Run, leaks
from typer.testing import CliRunner

from fingerprint import Scorer
from training.__main__ import app

pytestmark = pytest.mark.filterwarnings("ignore")  # pydantic's and sqlalchemy's, raised inside MLflow


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Result:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    given = [str(argument) for argument in ("run", "--bundle", folder / "bundle", *arguments)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def test_the_logged_settings_and_the_same_files_give_the_same_bundle(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id is a hash of all it holds; a folder is the same as its files one by one."""
    config = MlflowClient(trained.result.tracked.uri).download_artifacts(
        trained.result.tracked.run_id, "config.json", str(tmp_path)
    )
    world = trained.root / "world"
    traffic = [item for path in sorted(trained.traffic.iterdir()) for item in ("--traffic", path)]
    assert len(traffic) == 4
    tables = ["--labels", world / "labels.csv", "--groups", world / "groups.csv"]
    run(tmp_path, monkeypatch, *traffic, *tables, "--config", config)
    assert Scorer.load(tmp_path / "bundle").bundle_id == Scorer.load(trained.bundle).bundle_id


def test_labels_of_attackers_and_verdicts_are_enough_with_weighted_accounts(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = trained.root / "world"
    labels = pd.read_csv(world / "labels.csv", dtype=str, keep_default_na=False)
    attack = labels.loc[labels["label"] == "1", ["account_id", "label"]]
    attack.iloc[::2].to_csv(tmp_path / "labels.csv", index=False)
    votes = [f"{name},distillation,ann,2026-03-01T10:00:00Z" for name in attack["account_id"].iloc[1::6]]
    (tmp_path / "votes.csv").write_text("\n".join(["account_id,decision,analyst,time", *votes]) + "\n")
    store = tmp_path / "feedback.jsonl"
    assert CliRunner().invoke(app, ["feedback", str(tmp_path / "votes.csv"), "--store", str(store)]).exit_code == 0
    settings = tmp_path / "settings.toml"
    settings.write_text("[tune]\ntrials = 1\n[lightgbm]\ntrees = 20\n[evaluation]\nbootstrap = 20\n")
    given = ["--traffic", trained.traffic, "--labels", tmp_path / "labels.csv", "--groups", world / "groups.csv"]
    given += ["--unlabelled", "weighted", "--feedback", store, "--config", settings]
    result = run(tmp_path, monkeypatch, *given)
    rest = 300 - len(attack.iloc[::2]) - len(votes)
    assert f"{rest} accounts of the traffic have no label: weighted in training, honest elsewhere" in result.stderr
    assert f"{len(votes)} accounts have a label by analysts" in result.stderr
    data = {row["name"]: row for row in Scorer.load(tmp_path / "bundle").bundle.manifest["training_data"]}
    row = data["traffic and labels"]
    assert row["unlabelled"] == "weighted"
    assert row["labels"]["decided"] == len(votes)
    assert 0 < row["labelled_share"] < 1
    assert sum(row["accounts"].values()) == 300
    card = (tmp_path / "bundle" / "card.md").read_text("utf-8")
    assert "Accounts without a label count as honest in calibration and test" in card
    assert "--unlabelled weighted --feedback FEEDBACK" in card
    assert leaks(tmp_path / "bundle", [CANARY, *trained.accounts[::7]]) == []
