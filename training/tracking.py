"""MLflow: one run that holds everything a reviewer needs, nested runs for trials, a registered version.

The only module that imports MLflow. The store is MLFLOW_TRACKING_URI or `sqlite:///mlflow.db`, with artifacts in
`mlartifacts` beside it; no network unless that URI is one. Models are stored as native text and ONNX, never
pickled. Left out: promotion (an alias is moved by a reviewer) and reading traffic or text of any kind.

    mlflow ui --backend-store-uri sqlite:///mlflow.db
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read while MLflow is imported

import mlflow
import mlflow.onnx
import numpy as np
import onnx
import onnxruntime
import pandas as pd
from mlflow.entities import Metric, Param, RunTag
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import Schema, TensorSpec

from training import plots
from training.config import RunConfig
from training.evaluate import Evaluation
from training.export import ParityReport
from training.fit import Model, Rows
from training.tune import Tuning

_DESCRIPTION = 5000  # characters that MLflow's schema keeps of a version's description
_EXPERIMENT = """Candidates for the registered model are runs named by their bundle id: card, metrics, plots, tables and
bundle; runs nested in one are the trials of its tuning."""


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
    training_data: Sequence[Mapping[str, Any]] = (),
    metrics: Mapping[str, float] | None = None,
) -> Tracked:
    """Writes one finished run and registers its ONNX model with tag `bundle_id` and the configured alias.

    X: float32[k, n] and meta: k rows with split and label, of which digests are kept, not the rows; `metrics`
    are added to those of `evaluation` (latencies, say). A run that fails midway is marked FAILED and is not
    registered: registration is the last step.
    """
    started = time.perf_counter()
    with _quiet():
        client, experiment_id = _store(config.tracking.experiment)
        bundle_id = str(json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["bundle_id"])
        tags = {"bundle_id": bundle_id, "positives": evaluation.positives, "metrics_of": config.metrics_of}
        tags["mlflow.note.content"] = told = _shown(f"{_headline(evaluation, config)}\n\n{card}")
        with mlflow.start_run(experiment_id=experiment_id, run_name=bundle_id, tags=tags) as run:
            _log_settings(config, model, training_data)
            mlflow.log_metrics(_metrics(evaluation, parity, onnx_bytes, metrics or {}))
            _log_datasets(X, meta)
            _log_files(model, evaluation, tuning, bundle, card)
            _log_trials(client, experiment_id, run.info.run_id, tuning.trials, evaluation.positives)
            uri = _log_onnx(model, onnx_bytes, X, bundle_id)
        version = _register(client, config, uri, run.info.run_id, bundle_id, told)
    return Tracked(mlflow.get_tracking_uri(), experiment_id, run.info.run_id, version, time.perf_counter() - started)


def track_report(
    experiment: str, name: str, folder: Path, *, metrics: Mapping[str, float], tags: Mapping[str, str]
) -> Tracked:
    """Writes one finished run of figures about a bundle, with the files of `folder`; nothing is registered."""
    started = time.perf_counter()
    with _quiet():
        _, experiment_id = _store(experiment)
        with mlflow.start_run(experiment_id=experiment_id, run_name=name, tags=dict(tags)) as run:
            mlflow.log_metrics(dict(metrics))
            mlflow.log_artifacts(str(folder))
    return Tracked(mlflow.get_tracking_uri(), experiment_id, run.info.run_id, "", time.perf_counter() - started)


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or sqlite in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


@contextmanager
def _quiet() -> Iterator[None]:
    """No migration log, no notices and none of the deprecation warnings that MLflow raises in its own imports."""
    loggers = [logging.getLogger(name) for name in ("alembic", "mlflow", "mlflow.models.model", "mlflow.store")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pydantic, sqlalchemy and MLflow itself; none is about our calls
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _store(experiment: str) -> tuple[MlflowClient, str]:
    """The client and the experiment's id; a new experiment on sqlite keeps its artifacts beside the file."""
    uri = tracking_uri()
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    if found is not None:
        return client, str(found.experiment_id)
    location = None
    if uri.startswith("sqlite:///"):
        location = (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()
    tags = {"mlflow.note.content": _EXPERIMENT}
    return client, str(client.create_experiment(experiment, artifact_location=location, tags=tags))


def _log_settings(config: RunConfig, model: Model, training_data: Sequence[Mapping[str, Any]]) -> None:
    """Parameters that compare well in the UI, and the whole resolved config as a file."""
    resolved = config.as_dict()
    sections = {f"{s}.{k}": v for s, part in resolved.items() if isinstance(part, dict) for k, v in part.items()}
    sections |= {f"lightgbm.{k}": v for k, v in asdict(model.params).items()} | {"seed": config.seed}
    calibration = model.calibration
    sections |= {"calibration.method": calibration.method, "features": len(model.feature_names)}
    sections |= {"thresholds.benign_accounts": model.thresholds.benign_accounts}
    mlflow.log_params(sections)
    mlflow.log_dict(resolved, "config.json")
    mlflow.log_dict({"training_data": [dict(row) for row in training_data]}, "training_data.json")


def _metrics(
    evaluation: Evaluation, parity: ParityReport, onnx_bytes: bytes, more: Mapping[str, float]
) -> dict[str, float]:
    proof = {f"parity_{key}": float(value) for key, value in asdict(parity).items()}
    return {**evaluation.metrics, **proof, "onnx_bytes": float(len(onnx_bytes)), **more}


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
        for name in ("plots", "tables", "booster"):
            (root / name).mkdir()
        for name, figure in plots.figures(evaluation, model, tuning.trials).items():
            figure.savefig(root / "plots" / f"{name}.png")
        tables = {**evaluation.tables, "feature_importance": plots.feature_importance(model), "trials": tuning.trials}
        for name, table in tables.items():
            table.to_csv(root / "tables" / f"{name}.csv", index=False, float_format="%.6g")
        model.booster.save_model(root / "booster" / "model.txt")
        (root / "card.md").write_text(card, encoding="utf-8")
        mlflow.log_artifacts(folder)
    mlflow.log_artifacts(str(bundle), "bundle")


def _log_trials(client: MlflowClient, experiment_id: str, parent: str, trials: pd.DataFrame, positives: str) -> None:
    """One nested run a trial, each written in a single batch."""
    now = int(time.time() * 1000)
    measured = ("value", "partial_auc", "log_loss", "seconds")
    for row in trials.to_dict("records"):
        tags = {"mlflow.parentRunId": parent, "mlflow.runName": f"trial {row['number']}"}
        run = client.create_run(experiment_id, tags=tags)
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, float(row[key]), now, 0) for key in measured],
            params=[Param(str(k), str(v)) for k, v in row.items() if k not in (*measured, "number")],
            tags=[RunTag("positives", positives)],
        )
        client.set_terminated(run.info.run_id)


def _log_onnx(model: Model, onnx_bytes: bytes, X: Rows, bundle_id: str) -> str:
    """The graph with signature and example; returns the model's URI. Requirements are given, not inferred."""
    n = len(model.feature_names)
    column = (-1, 1)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, n), "features")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), column, name) for name in ("margin", "probability")]),
    )
    info = mlflow.onnx.log_model(
        onnx.load_from_string(onnx_bytes),
        name="model",
        signature=signature,
        input_example={"features": np.nan_to_num(X[:2])},  # JSON, which the example is kept as, has no NaN
        onnx_execution_providers=["CPUExecutionProvider"],
        pip_requirements=[f"{package.__name__}=={package.__version__}" for package in (onnx, onnxruntime, np)],
        metadata={"bundle_id": bundle_id},
        save_as_external_data=False,
    )
    return str(info.model_uri)


def _register(client: MlflowClient, config: RunConfig, uri: str, run_id: str, bundle_id: str, told: str) -> str:
    """The new version's number, with `told` as its description, tag `bundle_id` and the configured alias."""
    name = config.tracking.registered_model
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description="Finds distillation campaigns in API traffic.")
    version = client.create_model_version(name, uri, run_id, tags={"bundle_id": bundle_id}, description=told)
    client.set_registered_model_alias(name, config.tracking.alias, version.version)
    return str(version.version)


def _headline(evaluation: Evaluation, config: RunConfig) -> str:
    """One line ahead of the card: lists of versions and the top of a run's page show little more."""
    fpr = config.evaluation.fprs[0]
    found, low, high = (evaluation.metrics[f"recall_at_fpr_{fpr:g}{end}"] for end in ("", "_low", "_high"))
    measured = f"{evaluation.positives}, measured on {config.metrics_of}"
    return f"Finds {found:.0%} of attack windows ({low:.0%} to {high:.0%}) at {fpr:.1%} false positives: {measured}."


def _shown(text: str) -> str:
    """The text as far as MLflow's pages hold it."""
    rest = "\n\n… the whole card is the run's artifact `card.md`\n"
    return text if len(text) <= _DESCRIPTION else text[: _DESCRIPTION - len(rest)] + rest
