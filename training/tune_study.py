"""The sqlite file of a tuning study: what makes a search go on where it was killed.

A finished trial is written whole, in one transaction, and a new file takes its name only when it is complete: a process
killed at any moment leaves a file that opens. The file says what its trials were made on and is used for nothing
else. Left out: sampling and the trials themselves (`tune`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from fingerprint.errors import FingerprintError

__all__ = ["StudyError", "check_study", "open_study"]

NAME = "fingerprint"
_MADE_OF = "made_of"
_NOT_OPTUNA = {"experiments", "runs", "registered_models"}  # MLflow's tables; `alembic_version` both have
_UNREADABLE = (
    sqlite3.Error,
    SQLAlchemyError,
    OptunaError,
    OSError,
    KeyError,
    AssertionError,
)  # the last two: lost rows


class StudyError(FingerprintError, ValueError):
    """The file of a study cannot be used; the message says what it is and what to do."""


def check_study(path: Path, tracking_uri: str = "") -> None:
    """Raises StudyError unless `path` is free, or an sqlite file of a study and not the one that MLflow writes.

    To be called before a run begins: what the study was made on is compared when it is opened.
    """
    mlflow = Path(tracking_uri.removeprefix("sqlite:///")) if tracking_uri.startswith("sqlite:///") else None
    if mlflow is not None and path.resolve() == mlflow.resolve():
        raise StudyError(f"{path}: expected a file of its own for the study, this is MLflow's: give --study another")
    if not path.parent.is_dir():
        raise StudyError(f"{path}: expected a file in a folder that exists: make {path.parent} first")
    if path.exists():
        with _explained(path):
            _check_tables(path)
            _storage(path).engine.dispose()


def open_study(path: Path, made_of: Mapping[str, object]) -> optuna.Study:
    """The study in `path`, made if it is not there yet.

    `made_of`: by name what trials depend on, values that JSON holds. Raises StudyError for a file that is not a
    study's, is damaged, has another version's schema, or was made of something else (what differs is told).
    """
    check_study(path)
    made = {key: json.loads(json.dumps(value)) for key, value in made_of.items()}
    with _explained(path):
        if not path.exists():
            _create(path, made)
        study = optuna.load_study(study_name=NAME, storage=_storage(path))
        kept = study.user_attrs.get(_MADE_OF, {})
    differ = sorted(key for key in made.keys() | kept.keys() if made.get(key) != kept.get(key))
    if differ:
        raise StudyError(
            f"{path}: expected a study of the same rows and settings, it was made with other {', '.join(differ)}: "
            "repeat the command it was made with, or give --study another file"
        )
    return study


def _create(path: Path, made: Mapping[str, object]) -> None:
    """A study without trials, complete before it has its name."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    storage = _storage(draft)
    study = optuna.create_study(study_name=NAME, direction="maximize", storage=storage)
    study.set_user_attr(_MADE_OF, dict(made))
    storage.engine.dispose()
    draft.replace(path)


def _storage(path: Path) -> RDBStorage:
    return RDBStorage(f"sqlite:///{path.resolve()}")


def _check_tables(path: Path) -> None:
    """Before Optuna opens it, which would add its tables to any sqlite file."""
    connection = sqlite3.connect(path)
    try:
        damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        tables = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()
    if damage != "ok":
        raise sqlite3.DatabaseError(damage)
    if "trials" not in tables or tables & _NOT_OPTUNA:
        kind = "MLflow's tables" if tables & _NOT_OPTUNA else "no study"
        raise StudyError(f"{path}: expected the file of a tuning study, it has {kind}: give --study another file")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Errors of sqlite, SQLAlchemy and Optuna as one line."""
    try:
        yield
    except RuntimeError as error:  # Optuna's, of a schema that is not this version's
        raise StudyError(
            f"{path}: expected a study of Optuna {optuna.__version__}, its tables are another version's: "
            f"run `optuna storage upgrade --storage sqlite:///{path}`, or give --study another file"
        ) from error
    except _UNREADABLE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise StudyError(
            f"{path}: expected an sqlite file of a tuning study, cannot read it ({reason[0]}): "
            "give --study another file, or delete this one to begin anew"
        ) from error
