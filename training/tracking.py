"""MLflow: one run that holds everything a reviewer needs, nested runs for trials, a registered version.

Models are stored as native text and ONNX, never pickled. Left out: where the store is (`store`), promotion (`registry`)
and reading traffic or text of any kind.

    mlflow ui --backend-store-uri sqlite:///mlflow.db
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.onnx
import numpy as np
import onnx
import onnxruntime
import pandas as pd
from mlflow.entities import Metric, Param
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec

from training import plots, review_page, store, tune_plots
from training.compare import Compared
from training.config import RunConfig, Tracking
from training.evaluate import Evaluation
from training.export import ParityReport
from training.fit import Model, Rows
from training.registry import Registered
from training.review import Review
from training.tune import MEASURED, SEARCHED, Tuning


@dataclass(frozen=True)
class Tracked:
    """Where MLflow has a run: store, experiment, run, registered version (if any), and how long writing took."""

    uri: str
    experiment_id: str
    run_id: str
    version: str
    seconds: float

    @property
    def ui_command(self) -> str:
        """The command that opens the MLflow UI on this store, to be pasted here; a server's own address is its UI."""
        if self.uri.startswith("http"):
            return self.uri
        program = Path(sys.executable).with_name("mlflow")
        here = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
        return f"{here} ui --backend-store-uri {self.uri}"


def track(
    *,
    config: RunConfig,
    model: Model,
    onnx_bytes: bytes,
    X: Rows,
    meta: pd.DataFrame,
    evaluation: Evaluation,
    tuning: Tuning,
    parity: ParityReport,
    bundle: Path,
    card: str,
    review: Review,
    found: Compared,
    measured: Path,
    training_data: Sequence[Mapping[str, Any]] = (),
    metrics: Mapping[str, float] | None = None,
    began: float | None = None,
) -> Tracked:
    """Writes one finished run and registers its ONNX model with tag `bundle_id` and the configured alias.

    X: float32[k, n] and meta: k rows with split and label, of which digests are kept, not the rows; `metrics`
    are added to those of `evaluation` (latencies, say); `measured` is the folder of `candidate.keep`; `began`: when
    training did, in seconds since 1970. A run that fails midway is marked FAILED, one that is killed is marked so by
    the next; neither is registered: that is the last step.
    """
    started = time.perf_counter()
    with store.opened() as client:
        experiment_id = store.experiment_id(client, config.tracking.experiment)
        store.end_killed(client, experiment_id)
        bundle_id, told = review.bundle_id, review_page.markdown(review)
        tags = {"bundle_id": bundle_id, "positives": evaluation.positives, "metrics_of": config.metrics_of}
        tags |= {store.PROCESS: store.process(), "mlflow.note.content": told}
        tags |= {"mlflow.source.name": "python -m training run", "mlflow.runName": bundle_id}
        run_id = client.create_run(experiment_id, int(1000 * (began or time.time())), tags).info.run_id
        with mlflow.start_run(run_id):
            _log_settings(config, model, training_data)
            _log_datasets(X, meta)
            _log_files(model, evaluation, tuning, bundle, card)
            _log_review(client, run_id, review, found)
            mlflow.log_artifacts(str(measured), "measured")
            _log_trials(client, experiment_id, run_id, tuning.trials, evaluation.positives)
            logged = _log_onnx(model, onnx_bytes, X, bundle_id)
            of_model = {"onnx_bytes": float(len(onnx_bytes)), **_parity(parity), **(metrics or {})}
            of_model |= {} if config.refit else evaluation.metrics  # those of the forerunner are not the model's
            mlflow.log_metrics(_sections(of_model), model_id=logged.model_id)
            mlflow.log_metrics(_sections(evaluation.metrics) if config.refit else {})
            _log_confusion(evaluation)
        version = _register(client, config, str(logged.model_uri), run_id, review, told)
    return Tracked(mlflow.get_tracking_uri(), experiment_id, run_id, version, time.perf_counter() - started)


def track_report(
    experiment: str, name: str, folder: Path, *, metrics: Mapping[str, float], tags: Mapping[str, str]
) -> Tracked:
    """Writes one finished run of figures about a bundle, with the files of `folder`; nothing is registered."""
    started = time.perf_counter()
    with store.opened() as client:
        experiment_id = store.experiment_id(client, experiment)
        with mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=dict(tags)) as run:
            mlflow.log_metrics(dict(metrics))
            mlflow.log_artifacts(str(folder))
    return Tracked(mlflow.get_tracking_uri(), experiment_id, run.info.run_id, "", time.perf_counter() - started)


def track_comparison(registered: Registered, review: Review, found: Compared, tracking: Tracking) -> None:
    """Writes a new comparison into the run and the description of a version that is there."""
    with store.opened() as client:
        _log_review(client, registered.run_id, review, found)
        text = review_page.markdown(review)
        client.update_model_version(tracking.registered_model, registered.version, text)
        client.set_tag(registered.run_id, "mlflow.note.content", text)


def _log_review(client: MlflowClient, run_id: str, review: Review, found: Compared) -> None:
    """The page, its tables, and what the gate decides on."""
    facts = {
        "champion": review.against.version if review.against else "",
        "speed": dict(review.speed),
        "parity": dict(review.parity),
        "not_compared": review.not_compared,
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "review.html").write_text(review_page.html(review), encoding="utf-8")
        found.save(root, facts)
        if review.decision:
            review.decision.rows.to_csv(root / "gate.csv", index=False, float_format="%.6g")
        client.log_artifacts(run_id, folder, "review")


def _log_settings(config: RunConfig, model: Model, training_data: Sequence[Mapping[str, Any]]) -> None:
    """Parameters that compare well in the UI, and the whole resolved config as a file."""
    resolved = config.as_dict()
    sections = {f"{s}.{k}": v for s, part in resolved.items() if isinstance(part, dict) for k, v in part.items()}
    sections |= {f"lightgbm.{k}": v for k, v in asdict(model.params).items()} | {"seed": config.seed}
    calibration = model.calibration
    sections |= {"calibration.method": calibration.method, "features": len(model.feature_names)}
    sections |= {"thresholds.benign_accounts": model.thresholds.benign_accounts}
    mlflow.log_params({name: value for name, value in sections.items() if value not in ("", [])})
    mlflow.log_dict(resolved, "config.json")
    mlflow.log_dict({"training_data": [dict(row) for row in training_data]}, "training_data.json")


def _parity(parity: ParityReport) -> dict[str, float]:
    return {f"parity_{key}": float(value) for key, value in asdict(parity).items()}


def _sections(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics with the section that MLflow groups their charts by, and no more digits than mean something."""
    return {f"{_section(name)}/{name}": float(f"{value:.6g}") for name, value in metrics.items()}


def _section(name: str) -> str:
    if name.endswith(("_low", "_high")):
        return "intervals"
    starts = {
        "account_fpr": "honest accounts", "parity": "export", "onnx": "export", "score_p": "speed", "booster": "speed",
        "windows": "data", "benign_accounts": "data", "attack_accounts": "data", "prevalence": "data",
    }  # fmt: skip
    return next((section for start, section in starts.items() if name.startswith(start)), "detection")


def _log_confusion(evaluation: Evaluation) -> None:
    """MLflow's own evaluation of test accounts as classified at `review`: counts, precision, confusion matrix."""
    accounts = evaluation.scored.groupby("account_id").agg(label=("label", "first"), score=("score", "max"))
    reached = (accounts["score"] >= evaluation.thresholds.review).astype(float)
    table = pd.DataFrame({"label": accounts["label"].astype(float), "reached": reached})
    mlflow.models.evaluate(
        data=mlflow.data.from_pandas(table, targets="label", predictions="reached", name="accounts_test"),
        model_type="classifier",
        evaluators="default",
        evaluator_config={"metric_prefix": "accounts_at_review_", "log_model_explainability": False, "pos_label": 1.0},
    )


def _log_datasets(X: Rows, meta: pd.DataFrame) -> None:
    """The digest, shape and schema of the rows and labels of each split there is; MLflow keeps no row."""
    for split in [name for name in ("train", "calib", "test") if (meta["split"] == name).any()]:
        rows = (meta["split"] == split).to_numpy()
        features, label = X[rows], meta["label"].to_numpy()[rows]
        digest = hashlib.sha256(features.tobytes() + label.tobytes()).hexdigest()[:16]
        data = mlflow.data.from_numpy(features, targets=label, name=f"windows_{split}", digest=digest)
        mlflow.log_input(data, context=split)


def _log_files(model: Model, evaluation: Evaluation, tuning: Tuning, bundle: Path, card: str) -> None:
    """Plots, tables as CSV, the card, the native Booster as text and the bundle, uploaded as one folder."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("plots/tuning", "tables", "booster"):
            (root / name).mkdir(parents=True)
        tuned = tune_plots.figures(tuning.trials, tuning.importance, evaluation.positives)
        drawn = plots.figures(evaluation, model) | {f"tuning/{name}": figure for name, figure in tuned.items()}
        for name, figure in drawn.items():
            figure.savefig(root / "plots" / f"{name}.png")
        tables = {**evaluation.tables, "feature_importance": plots.feature_importance(model), "trials": tuning.trials}
        for name, table in tables.items():
            table.to_csv(root / "tables" / f"{name}.csv", index=False, float_format="%.6g")
        model.booster.save_model(root / "booster" / "model.txt")
        (root / "card.md").write_text(card, encoding="utf-8")
        mlflow.log_artifacts(folder)
    mlflow.log_artifacts(str(bundle), "bundle")


def _log_trials(client: MlflowClient, experiment_id: str, parent: str, trials: pd.DataFrame, positives: str) -> None:
    """One nested run a trial, each written in a single batch; a pruned one is shown as killed."""
    now = int(time.time() * 1000)
    for row in trials.to_dict("records"):
        tags = {"mlflow.parentRunId": parent, "mlflow.runName": f"trial {row['number']}"}
        run = client.create_run(experiment_id, tags=tags | {"positives": positives, "state": row["state"].lower()})
        measured = {key: float(row[key]) for key in MEASURED if np.isfinite(row[key])}
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, value, now, 0) for key, value in measured.items()],
            params=[Param(key, str(row[key])) for key in SEARCHED],
        )
        client.set_terminated(run.info.run_id, "FINISHED" if row["state"] == "COMPLETE" else "KILLED")


def _log_onnx(model: Model, onnx_bytes: bytes, X: Rows, bundle_id: str) -> Any:
    """The graph with signature and example; returns what MLflow says of it. Requirements are given, not inferred."""
    n = len(model.feature_names)
    column = (-1, 1)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, n), "features")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), column, name) for name in ("margin", "probability")]),
    )
    return mlflow.onnx.log_model(
        onnx.load_from_string(onnx_bytes),
        name="model",
        signature=signature,
        input_example={"features": np.nan_to_num(X[:2])},  # JSON, which the example is kept as, has no NaN
        onnx_execution_providers=["CPUExecutionProvider"],
        pip_requirements=[f"{package.__name__}=={package.__version__}" for package in (onnx, onnxruntime, np)],
        metadata={"bundle_id": bundle_id},
        save_as_external_data=False,
    )


def _register(client: MlflowClient, config: RunConfig, uri: str, run_id: str, review: Review, told: str) -> str:
    """The new version's number, with `told` as its description, tag `bundle_id` and the configured alias."""
    name = config.tracking.registered_model
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description="Finds distillation campaigns in API traffic.")
    auc = review.headline.loc[review.headline["measure"] == "ROC AUC", "value"]
    tags = {"bundle_id": review.bundle_id, "positives": review.positives}
    tags |= {"roc_auc": f"{auc.iloc[0]:.3f}"} if len(auc) else {}
    version = client.create_model_version(name, uri, run_id, tags=tags, description=told)
    client.set_registered_model_alias(name, config.tracking.alias, version.version)
    return str(version.version)
