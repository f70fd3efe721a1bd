"""The whole run on a toy world: traffic and labels in; a bundle, verdicts and a tracked, registered run out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import exchanges
from mlflow.tracking import MlflowClient
from toy_run import Run
from typer.testing import CliRunner

from fingerprint import FEATURES, Scorer
from fingerprint.commands import app
from fingerprint.errors import TrafficError
from fingerprint.exchange import parse
from fingerprint.features import FEATURE_SET
from training import pipeline, reading
from training.bench import booster_beside
from training.config import RunConfig
from training.dataset import sample_prompts
from training.split import FOREVER_US, LabelError

pytestmark = pytest.mark.filterwarnings("ignore")  # pydantic's and sqlalchemy's, raised inside MLflow


@pytest.fixture(scope="module")
def client(trained: Run) -> MlflowClient:
    return MlflowClient(trained.result.tracked.uri)


@pytest.fixture(scope="module")
def verdicts(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    out = tmp_path_factory.mktemp("verdicts") / "verdicts.jsonl"
    arguments = [str(trained.traffic), "--by", "account", "--out", str(out), "--bundle", str(trained.bundle)]
    result = CliRunner().invoke(app, ["score", *arguments])
    assert result.exit_code == 0, result.output
    return pd.read_json(out, lines=True)


def test_no_warning_comes_from_our_own_code(trained: Run) -> None:
    assert trained.warned == []


def test_the_bundle_is_sound_and_says_what_it_is(trained: Run) -> None:
    scorer = Scorer.load(trained.bundle)
    manifest = scorer.bundle.manifest
    assert manifest["feature_set"] == FEATURE_SET
    assert manifest["features"] == [feature.name for feature in FEATURES]
    assert manifest["thresholds"] == trained.result.model.thresholds.as_dict()
    data = {row["name"]: row for row in manifest["training_data"]}
    assert data["traffic and labels"]["files"] == 2
    assert data["traffic and labels"]["rejected"] == 0
    assert sum(data["traffic and labels"]["accounts"].values()) == 300
    assert set(data["traffic and labels"]["accounts"]) == {"train", "calib"}, "those of the model that ships"
    assert set(data["traffic and labels"]["forerunner_accounts"]) == {"train", "calib", "test"}
    assert manifest["metrics_of"] == "forerunner"
    assert manifest["metrics_thresholds"] == trained.result.evaluation.thresholds.as_dict()
    assert manifest["metrics_thresholds"] != manifest["thresholds"]
    assert "simulated world, text of our own" in data
    assert str(trained.root) not in json.dumps(manifest), "no path of this machine"


def test_the_bundle_scores_as_the_booster_beside_it(trained: Run) -> None:
    assert trained.result.parity.decision_differences == 0
    assert trained.result.parity.probability_error <= 1e-6
    native = booster_beside(trained.bundle).read_text()
    assert native == trained.result.model.booster.model_to_string() or "tree_sizes" in native
    rows = np.zeros((5, len(FEATURES)), np.float32)
    rows[1], rows[2, ::2] = np.nan, 1
    found = Scorer.load(trained.bundle).score(rows)
    assert np.abs(found - trained.result.model.probability(rows)).max() <= 1e-6


def test_a_verdict_for_every_account_of_the_traffic(trained: Run, verdicts: pd.DataFrame) -> None:
    assert sorted(verdicts["account_id"]) == sorted(trained.accounts)
    assert verdicts["score"].between(0, 1).all()
    assert set(verdicts["level"]) <= {"allow", "review", "act"}
    assert (verdicts["n_exchanges"] > 0).all()
    assert verdicts["bundle_id"].nunique() == 1


def test_campaign_accounts_score_higher_than_honest_ones(trained: Run, verdicts: pd.DataFrame) -> None:
    labels = pd.read_csv(trained.root / "world" / "labels.csv").set_index("account_id")["label"]
    ranks = verdicts["score"].rank()
    attack = verdicts["account_id"].map(labels) == 1
    auc = (ranks[attack].sum() - attack.sum() * (attack.sum() + 1) / 2) / (attack.sum() * (~attack).sum())
    assert auc > 0.65


def test_levels_follow_the_bundles_thresholds_and_reasons_explain_them(trained: Run, verdicts: pd.DataFrame) -> None:
    cuts = trained.result.model.thresholds
    expected = np.where(
        verdicts["score"] >= np.float32(cuts.act),
        "act",
        np.where(verdicts["score"] >= np.float32(cuts.review), "review", "allow"),
    )
    close = (verdicts["score"] - cuts.review).abs().lt(1e-6) | (verdicts["score"] - cuts.act).abs().lt(1e-6)
    assert (verdicts["level"] == expected)[~close].all()
    for row in verdicts.itertuples():
        assert not row.reasons or row.level != "allow"
        lower = [(reason["family_without"], reason["without"]) for reason in row.reasons]
        assert lower == sorted(lower), "first the family without which the score is lowest, in it the feature"
        assert all(family < row.score for family, _ in lower)


def test_the_run_in_mlflow_is_what_a_reviewer_needs(trained: Run, client: MlflowClient) -> None:
    run = client.get_run(trained.result.tracked.run_id)
    assert run.info.status == "FINISHED"
    found = ("detection/roc_auc", "detection/recall_at_fpr_0.01", "intervals/recall_at_fpr_0.01_low")
    for name in (*found, "export/parity_probability_error", "speed/score_p50_us", "speed/booster_predict_p50_us"):
        assert np.isfinite(run.data.metrics[name])
    assert run.data.params["tune.trials"] == "2"
    assert run.data.tags["metrics_of"] == "forerunner"
    assert [d.dataset.name for d in run.inputs.dataset_inputs] == ["windows_train", "windows_calib", "accounts_test"]
    top = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"card.md", "config.json", "bundle", "plots", "tables", "booster", "review", "measured"} <= top
    trials = client.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'")
    assert len(trials) == 2


def test_the_registered_version_is_the_challenger_and_names_its_bundle(trained: Run, client: MlflowClient) -> None:
    version = client.get_model_version_by_alias("fingerprint", "challenger")
    assert version.run_id == trained.result.tracked.run_id
    assert version.tags["bundle_id"] == Scorer.load(trained.bundle).bundle_id


def test_test_accounts_were_read_by_no_training(trained: Run) -> None:
    """Campaigns and families held out are on one side; every split has both labels."""
    accounts = trained.result.accounts
    assert accounts.groupby("group")["split"].nunique().max() <= 2
    assert (accounts.loc[~accounts["seen_family"], "split"] == "test").all()
    assert accounts.groupby("split")["label"].nunique().eq(2).all()


def test_stages_are_told_on_stderr_and_the_result_on_stdout(trained: Run) -> None:
    for stage in ("reading traffic", "tuning", "proving parity", "tracking in MLflow"):
        assert stage in trained.stderr
        assert stage not in trained.stdout
    for told in ("ROC AUC", "decisions differ", "mlflow ui --backend-store-uri", "LightGBM's own predict"):
        assert told.split()[0] in trained.stdout


def test_nothing_is_left_behind(trained: Run) -> None:
    """No draft of a bundle, no temporary folder."""
    names = {path.name for path in trained.out.iterdir()}
    assert names <= {"bundle", "bundle.booster.txt", "bundle.examples.csv", "mlflow.db", "mlartifacts"}
    assert {path.name for path in trained.bundle.iterdir()} == {"model.onnx", "head.npy", "card.md", "manifest.json"}


def test_the_card_tells_how_to_retrain(trained: Run) -> None:
    card = (trained.bundle / "card.md").read_text("utf-8")
    assert "python -m training run" in card
    assert str(trained.root) not in card
    assert isinstance(trained.bundle, Path)


@pytest.mark.parametrize("part", [0.4, 0.7, None])
def test_no_prompt_from_after_the_cut_reaches_the_head(
    part: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training accounts go on after the cut, which is test's; when nothing is held out all prompts count."""
    records = [r | {"prompt": f"{r['exchange_id']} {r['prompt']}"} for r in exchanges(400, 5, accounts=4)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    sent = {r["prompt"].encode(): parse(r).time_us for r in records}
    columns = {"account_id": [f"a{i}" for i in range(4)], "family": "chat", "text_group": "0:chat", "seen_family": True}
    accounts = pd.DataFrame({**columns, "split": ["train", "train", "calib", "test"]})
    accounts.attrs["cut_us"] = FOREVER_US if part is None else sorted(sent.values())[int(400 * part)]
    given: list[bytes] = []
    monkeypatch.setattr(reading, "known_capabilities", lambda *rest: ([], []))
    monkeypatch.setattr(reading, "train_heads", lambda prompts, *rest: given.extend(prompts) or [])
    reading._heads(sample_prompts([tmp_path / "t.jsonl"]), accounts, None, RunConfig(), lambda *step: None)
    assert len(given) == 48, "the usual number of both training accounts"
    assert all(sent[prompt] < accounts.attrs["cut_us"] for prompt in given)


def test_the_digest_is_over_the_files_that_are_read(trained: Run, tmp_path: Path) -> None:
    """A folder beside the traffic's files, and files of other kinds, are neither an error nor part of it."""
    folder, labels = tmp_path / "traffic", trained.root / "world" / "labels.csv"
    shutil.copytree(trained.traffic, folder)
    before = pipeline._digest([folder], labels)
    (folder / "checkpoints").mkdir()
    (folder / "README.txt").write_text("not traffic")
    assert pipeline._digest([folder], labels) == before
    with next(folder.glob("*.jsonl")).open("a") as stream:
        stream.write("\n")
    assert pipeline._digest([folder], labels)["sha256"] != before["sha256"]


def test_what_can_fail_at_once_fails_before_the_long_work(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels, groups and the list of files are looked at before any record is read."""
    monkeypatch.setattr(pipeline, "sample_prompts", lambda *rest: pytest.fail("read the traffic first"))
    labels = trained.root / "world" / "labels.csv"
    cases = [
        (trained.traffic, tmp_path, labels, LabelError),
        (trained.traffic, labels, tmp_path, LabelError),
        (tmp_path, labels, None, TrafficError),
    ]
    for traffic, table, groups, error in cases:
        with pytest.raises(error):
            pipeline.run([traffic], table, tmp_path / "bundle", RunConfig(), groups=groups)
