"""One run is written to sqlite in a temporary directory; the tests look at what a reviewer would find there."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import lightgbm as lgb
import mlflow
import numpy as np
import pandas as pd
import pytest
from compared import compared
from mlflow.tracking import MlflowClient
from review_builder import review

from fingerprint import BundleError
from fingerprint.delivery import pull
from training import store
from training.compare import Compared
from training.config import RunConfig
from training.evaluate import evaluate
from training.export import check_parity, to_onnx, write_bundle
from training.fit import Model
from training.review_page import markdown
from training.tracking import Tracked, track
from training.tune import SEARCHED, Tuning

if TYPE_CHECKING:
    from conftest import Matrix

pytestmark = pytest.mark.filterwarnings("ignore")  # pydantic's and sqlalchemy's, raised inside MLflow
CARD = "# card\n"
REVIEW = review()


@dataclass(frozen=True)
class Written:
    tracked: Tracked
    client: MlflowClient
    onnx_bytes: bytes
    folder: Path


@pytest.fixture(scope="module")
def written(
    model: Model, matrix: Matrix, config: RunConfig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Written]:
    folder = tmp_path_factory.mktemp("tracking")
    data = to_onnx(model)
    bundle = write_bundle(
        folder / "bundle",
        model=model,
        onnx_bytes=data,
        head=np.zeros((2, 2), np.int8),
        head_info={},
        feature_names=matrix.names,
        feature_set="3f2a",
        thresholds=model.thresholds.as_dict(),
        baseline={},
        training_data=[],
        metrics={},
        metrics_of="this model",
        metrics_thresholds={},
        card=CARD,
        package_version="0",
    )
    measured = folder / "measured"
    measured.mkdir()
    (measured / "fitted.json").write_text("{}")
    params = {key: getattr(model.params, key) for key in SEARCHED}
    complete = {"value": 0.5, "recall": 0.52, "partial_auc": 0.6, "log_loss": 0.3, "size": 320, "seconds": 0.1}
    pruned = {"size": 960, "seconds": 0.04}
    trials = pd.DataFrame(
        [{"number": 0, "state": "COMPLETE"} | complete | params, {"number": 1, "state": "PRUNED"} | pruned | params]
    )
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        tracked = track(
            config=config,
            model=model,
            onnx_bytes=data,
            X=matrix.X,
            meta=matrix.meta,
            evaluation=evaluate(model, matrix.X, matrix.meta, config.evaluation, config.seed),
            tuning=Tuning(model.params, trials),
            parity=check_parity(data, model, matrix.X),
            bundle=bundle,
            card=CARD,
            review=REVIEW,
            found=compared(),
            measured=measured,
            training_data=[{"name": "toy", "rows": 3}],
            metrics={"score_p50_us": 9.5},
        )
        yield Written(tracked, MlflowClient(tracked.uri), data, folder)


def test_the_run_is_finished_with_parameters_metrics_and_digests(
    written: Written, config: RunConfig, matrix: Matrix
) -> None:
    run = written.client.get_run(written.tracked.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["lightgbm.trees"] == str(config.lightgbm.trees)
    assert run.data.params["seed"] == str(config.seed)
    assert run.data.metrics["export/parity_margin_error"] == 0
    assert run.data.metrics["speed/score_p50_us"] == 9.5
    assert {"detection/recall_at_fpr_0.01", "intervals/recall_at_fpr_0.01_low"} <= set(run.data.metrics)
    assert (
        run.data.metrics["accounts_at_review_example_count"]
        == matrix.meta.loc[matrix.meta["split"] == "test", "account_id"].nunique()
    )
    assert run.data.tags["mlflow.source.name"] == "python -m training run"
    assert [d.dataset.name for d in run.inputs.dataset_inputs] == [
        *("windows_train", "windows_calib", "windows_test"),
        "accounts_test",
    ]
    assert all(len(d.dataset.digest) >= 8 for d in run.inputs.dataset_inputs)


def test_the_experiment_says_what_its_runs_are(written: Written) -> None:
    experiment = written.client.get_experiment(written.tracked.experiment_id)
    assert experiment.tags["mlflow.note.content"].startswith("Candidates for the registered model")


def test_a_reviewer_finds_plots_tables_card_booster_and_bundle(written: Written, tmp_path: Path, model: Model) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(run_id=written.tracked.run_id, dst_path=str(tmp_path)))
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"card.md", "config.json", "bundle/manifest.json", "plots/roc.png", "plots/tuning/history.png"} <= names
    assert {"tables/by_family.csv", "tables/trials.csv", "review/review.html", "measured/fitted.json"} <= names
    kept, facts = Compared.load(folder / "review")
    assert kept.sides == ("score", "champion_score")
    assert facts["champion"] == "3"
    native = lgb.Booster(model_file=folder / "booster" / "model.txt")
    assert native.model_to_string() == model.booster.model_to_string()
    assert (written.folder / "mlartifacts").is_dir()


def test_nothing_is_pickled(written: Written) -> None:
    kinds = {path.suffix for path in written.folder.rglob("*") if path.is_file()}
    assert not kinds & {".pkl", ".pickle", ".joblib", ".cloudpickle"}


def test_trials_are_nested_runs_and_a_pruned_one_is_shown_as_such(written: Written, model: Model) -> None:
    tracked = written.tracked
    query = f"tags.mlflow.parentRunId = '{tracked.run_id}'"
    runs = written.client.search_runs([tracked.experiment_id], query)
    complete, pruned = sorted(runs, key=lambda run: str(run.info.run_name))
    assert [run.info.run_name for run in (complete, pruned)] == ["trial 0", "trial 1"]
    assert [run.info.status for run in (complete, pruned)] == ["FINISHED", "KILLED"]
    assert [run.data.tags["state"] for run in (complete, pruned)] == ["complete", "pruned"]
    assert complete.data.metrics["recall"] == 0.52
    assert set(pruned.data.metrics) == {"size", "seconds"}
    assert complete.data.params == pruned.data.params
    assert complete.data.params["num_leaves"] == str(model.params.num_leaves)


def test_the_challenger_loads_back_and_scores_as_the_model_does(
    written: Written, matrix: Matrix, model: Model, config: RunConfig
) -> None:
    version = written.client.get_model_version_by_alias("fingerprint", config.tracking.alias)
    assert str(version.version) == written.tracked.version
    assert version.tags["bundle_id"].startswith("fp-")
    assert version.description == markdown(REVIEW)
    loaded = mlflow.onnx.load_model("models:/fingerprint@challenger")
    assert loaded.SerializeToString() == written.onnx_bytes
    found = mlflow.pyfunc.load_model("models:/fingerprint@challenger").predict({"features": matrix.X})
    assert np.abs(found["probability"][:, 0] - model.probability(matrix.X)).max() < 1e-6


def test_serving_finds_the_bundle_where_it_is_registered(written: Written, tmp_path: Path) -> None:
    """This one names no features, so it is found and then refused."""
    with pytest.raises(BundleError, match=f"version {written.tracked.version} of fingerprint: .* feature set"):
        pull(written.tracked.uri, tmp_path / "bundle", "fingerprint", "challenger")


def test_logging_is_quiet_and_put_back() -> None:
    import logging

    before = logging.getLogger("mlflow").level
    with store.quiet():
        assert logging.getLogger("alembic").level == logging.ERROR
    assert logging.getLogger("mlflow").level == before


def test_the_ui_is_one_command(written: Written) -> None:
    program, *rest = written.tracked.ui_command.split()
    assert Path(program).name == "mlflow"
    assert Path(program).is_file(), "it runs where it is pasted"
    assert rest == ["ui", "--backend-store-uri", f"sqlite:///{written.folder}/mlflow.db"]


def test_mlflow_is_imported_for_tracking_alone_and_sends_no_telemetry() -> None:
    code = (
        "import sys, training.export, training.card, training.tune, training.plots; assert 'mlflow' not in sys.modules;"
        "import training.tracking; from mlflow.telemetry.utils import is_telemetry_disabled as d; assert d()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
