"""Delivery: the bundle of a registered model's alias, from MLflow into a directory that serving reads.

It is downloaded beside its place, verified as serving does, and swapped with what is there in one step: a reader
finds the old bundle or the new one. Needs ``fingerprint[mlflow]``; for stores on a server the small ``mlflow-skinny``
is enough. Left out: training and registering (``training.tracking``), and who moves an alias: a reviewer does.
"""

import ctypes
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

# read while MLflow is imported or asked; what the host has set stays
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 take minutes where no server is
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pydantic and MLflow, raised in their own imports
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

from fingerprint.bundle import FILES, SIGNATURE, check_place, load
from fingerprint.errors import BundleError, FingerprintError
from fingerprint.scorer import verify

__all__ = ["Pulled", "pull"]

_FOLDER: Final = "bundle"  # where training keeps it among the artifacts of a run
_NAMES: Final = ("manifest.json", *FILES, SIGNATURE)
_DATABASES: Final = ("sqlite", "postgresql", "mysql", "mssql")
_HERE: Final = -100  # AT_FDCWD
_EXCHANGE: Final = 2  # RENAME_EXCHANGE


@dataclass(frozen=True)
class Pulled:
    """What the alias stands for, and whether the directory had to be changed for it."""

    bundle_id: str
    version: str
    run_id: str
    changed: bool


def pull(uri: str, directory: Path, model: str, alias: str) -> Pulled:
    """Make ``directory`` the bundle that ``alias`` of the registered ``model`` stands for.

    What was there becomes ``DIRECTORY.previous``. Nothing is changed where that bundle is there already, and nothing
    when an error is raised: ``FingerprintError`` where MLflow has no such bundle or cannot be asked, ``BundleError``
    where the bundle is damaged or made for another version of fingerprint.
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 (links stay links)
    check_place(directory)
    check_place(_previous(directory))
    with _quiet():
        with _one_error(uri):
            client = _client(uri)
            version = _version(client, model, alias)
        number, run, stated = str(version.version), version.run_id or "", version.tags.get("bundle_id")
        if stated is not None and stated == _held(directory):
            return Pulled(stated, number, run, changed=False)
        directory.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            with _one_error(uri):
                _download(client, run, draft, f"version {number} of {model}")
            found = _checked(draft, stated, f"version {number} of {model}")
            changed = found != _held(directory)
            if changed:
                _swap(draft, directory)
            return Pulled(found, number, run, changed)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _client(uri: str) -> Any:
    """The client of a store that is there: asked for an absent database file, MLflow would make one."""
    if "://" not in uri and not uri.startswith("databricks"):
        raise FingerprintError("expected the address of MLflow, as http://localhost:5000 or sqlite:///mlflow.db")
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    if uri.startswith("sqlite:///") and not Path(path).is_file():
        raise FingerprintError(f"{_shown(uri)}: no such file")
    if uri.startswith(_DATABASES) and find_spec("sqlalchemy") is None:
        raise FingerprintError(f"{_shown(uri)}: a store in a database needs all of MLflow: pip install mlflow")
    return MlflowClient(uri, uri)


def _version(client: Any, model: str, alias: str) -> Any:
    """The version that the alias stands for."""
    try:
        aliases = client.get_registered_model(model).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise FingerprintError(f"no registered model {model}") from None
    if alias not in aliases:
        known = ", ".join(sorted(aliases)) or "none"
        raise FingerprintError(f"{model} has no alias {alias} (it has {known}): give a version this alias in MLflow")
    return client.get_model_version(model, str(aliases[alias]))


def _download(client: Any, run: str, draft: Path, what: str) -> None:
    """The files of a bundle and no others from the run's artifacts."""
    listed = {Path(entry.path).name for entry in client.list_artifacts(run, _FOLDER)} if run else set()
    if "manifest.json" not in listed:
        raise FingerprintError(f"{what}: its run has no artifact {_FOLDER}/manifest.json: was it made by training?")
    with tempfile.TemporaryDirectory(prefix=f"{draft.name}.", dir=draft.parent) as folder:
        for name in _NAMES:
            if name in listed:
                Path(client.download_artifacts(run, f"{_FOLDER}/{name}", folder)).rename(draft / name)


def _checked(draft: Path, stated: str | None, what: str) -> str:
    """The id of a sound bundle that is the one registered."""
    try:
        found = verify(draft).bundle_id
    except BundleError as error:
        told = str(error).removeprefix(f"bundle {draft}: ")
        raise BundleError(f"{what}: the bundle is not taken: {told}") from None
    if stated not in (None, found):
        raise BundleError(f"{what}: registered with bundle {stated}, its run has {found}: register it again")
    return found


def _held(directory: Path) -> str | None:
    """The id of the sound bundle that is there."""
    try:
        return load(directory).bundle_id
    except BundleError:
        return None


def _previous(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.previous")


def _swap(draft: Path, directory: Path) -> None:
    """Put ``draft`` in its place in one step; what was there becomes the previous one, if it was anything."""
    draft.chmod(0o755)  # mkdtemp makes it private
    if not directory.exists():
        draft.rename(directory)
        return
    _exchange(draft, directory)
    previous = _previous(directory)
    if any(draft.iterdir()):
        previous.unlink() if previous.is_symlink() else shutil.rmtree(previous, ignore_errors=True)
        draft.rename(previous)
    elif draft.is_symlink():
        draft.unlink()


def _exchange(draft: Path, directory: Path) -> None:
    """Both names change places at once; where the file system cannot, by way of a third name."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename and not rename(_HERE, os.fsencode(draft), _HERE, os.fsencode(directory), _EXCHANGE):
        return
    aside = draft.with_name(f"{draft.name}.old")
    directory.rename(aside)
    try:
        draft.rename(directory)
    except OSError:
        aside.rename(directory)
        raise
    aside.rename(draft)


def _shown(uri: str) -> str:
    """The address without what may be a secret: user, password, query."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def _one_error(uri: str) -> Iterator[None]:
    """Whatever MLflow raises in one line of our own: its texts hold addresses with all that is in them."""
    try:
        yield
    except FingerprintError:
        raise
    except ModuleNotFoundError as error:
        raise FingerprintError(f"{_shown(uri)}: this store needs {error.name}: pip install mlflow") from None
    except MlflowException as error:
        if isinstance(error.__cause__ or error.__context__, OSError):
            raise FingerprintError(f"{_shown(uri)}: this MLflow server cannot be reached") from None
        raise FingerprintError(f"{_shown(uri)}: MLflow refuses ({error.error_code})") from None
    except Exception as error:  # of whatever keeps the artifacts
        raise FingerprintError(f"{_shown(uri)}: MLflow failed ({type(error).__name__})") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """None of MLflow's notices, migration logs and deprecation warnings."""
    loggers = [logging.getLogger(name) for name in ("alembic", "mlflow", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
