"""Where MLflow keeps runs and models: MLFLOW_TRACKING_URI or `sqlite:///mlflow.db`, opened with errors of one line.

No network unless that URI is one. A new experiment on sqlite keeps its artifacts in `mlartifacts` beside the file. Left
out: what is written (`tracking`) and who serves (`registry`).
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read while MLflow is imported
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from fingerprint.errors import FingerprintError

__all__ = ["PROCESS", "StoreError", "end_killed", "experiment_id", "opened", "process", "quiet", "tracking_uri"]

_EXPERIMENT = """Candidates for the registered model are runs named by their bundle id: review, metrics, plots, tables
and bundle; runs nested in one are the trials of its tuning."""
PROCESS = "process"  # tag of a run that is being written: host and process id


class StoreError(FingerprintError, RuntimeError):
    """MLflow's store cannot be used; the message says what to do."""


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or sqlite in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


@contextmanager
def opened() -> Iterator[MlflowClient]:
    """The client of the store, inside `quiet`; what MLflow raises in it becomes a StoreError."""
    uri = tracking_uri()
    with quiet():
        try:
            mlflow.set_tracking_uri(uri)
            yield MlflowClient(uri)
        except (MlflowException, SQLAlchemyError) as error:
            raise StoreError(_told(uri, str(error))) from error


def experiment_id(client: MlflowClient, name: str) -> str:
    """The experiment's id; it is made where it is not there."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None
    if (uri := tracking_uri()).startswith("sqlite:///"):
        location = (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()
    tags = {"mlflow.note.content": _EXPERIMENT}
    return str(client.create_experiment(name, artifact_location=location, tags=tags))


def end_killed(client: MlflowClient, experiment: str) -> int:
    """Mark runs of this host as KILLED whose process is gone, and count them."""
    host, count = socket.gethostname(), 0
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        name, _, number = run.data.tags.get(PROCESS, "").rpartition(":")
        if name == host and number.isdigit() and not _alive(int(number)):
            client.set_terminated(run.info.run_id, "KILLED")
            count += 1
    return count


def process() -> str:
    """This process, for the tag PROCESS."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _told(uri: str, text: str) -> str:
    """One line for what MLflow says in many."""
    if "database is locked" in text:
        return "MLflow's database is locked: another process writes to it; try again when it has ended"
    if "out-of-date database schema" in text:
        return f"MLflow's database is of an older version: back it up, then run `mlflow db upgrade {_shown(uri)}`"
    if "file is not a database" in text or "malformed" in text:
        return f"{_shown(uri)} is no database of MLflow, or is damaged: give another MLFLOW_TRACKING_URI"
    return f"MLflow refuses: {text.strip().splitlines()[0]}"


def _shown(uri: str) -> str:
    """The address without what may be a secret: user, password, query."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def quiet() -> Iterator[None]:
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
