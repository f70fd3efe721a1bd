"""``fingerprint pull`` against a registry in sqlite, with bundles registered as training does it."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from review_builder import review
from toy_bundle import toy_bundle
from typer.testing import CliRunner

from fingerprint import BundleError, FingerprintError, bundle, delivery
from fingerprint.commands import app
from fingerprint.delivery import Pulled, pull
from training.config import RunConfig
from training.store import experiment_id, opened, quiet
from training.tracking import _register

pytestmark = pytest.mark.filterwarnings("ignore")  # pydantic's and sqlalchemy's, raised inside MLflow
MODEL = "fingerprint"


class Registry:
    """A store in sqlite with its artifacts beside it."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder}/mlflow.db"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", self.uri)
            with opened() as self.client:
                self.experiment = experiment_id(self.client, "toy")

    def register(self, path: Path | None, tag: str | None = None, alias: str = "champion") -> str:
        """A finished run with the bundle, and a version of it with the alias; returns the run's id."""
        with quiet():
            run = self.client.create_run(self.experiment)
            known = json.loads((path / "manifest.json").read_text())["bundle_id"] if path else ""
            if path:
                self.client.log_artifacts(run.info.run_id, str(path), "bundle")
            self.client.set_terminated(run.info.run_id)
            name = run.info.run_id
            version = _register(
                self.client, RunConfig(), f"runs:/{name}/model", name, review(bundle_id=tag or known), "told"
            )
            self.client.set_registered_model_alias(MODEL, alias, version)
        return str(name)

    def artifacts(self, run: str) -> Path:
        return Path(self.client.get_run(run).info.artifact_uri.removeprefix("file://")) / "bundle"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three bundles that differ in what is typical."""
    folder = tmp_path_factory.mktemp("toys")
    return [toy_bundle(folder / str(i), typical={"logprobs_share": [0.0, 0.1 * i, 1.0]}) for i in range(3)]


def identity(path: Path) -> str:
    return bundle.load(path).bundle_id


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_champion_is_pulled_once_and_what_was_there_is_kept(
    registry: Registry, toys: list[Path], tmp_path: Path
) -> None:
    place, previous = tmp_path / "new" / "bundle", tmp_path / "new" / "bundle.previous"
    run = registry.register(toys[0])
    first = pull(registry.uri, place, MODEL, "champion")
    assert (first.bundle_id, first.run_id, first.changed) == (identity(toys[0]), run, True)
    assert identity(place) == first.bundle_id
    assert names(place.parent) == {"bundle"}, "nothing is left beside it"
    before = place.stat().st_ino
    again = pull(registry.uri, place, MODEL, "champion")
    assert again == Pulled(first.bundle_id, first.version, run, changed=False)
    assert place.stat().st_ino == before
    for new, old in ((1, 0), (2, 1)):
        registry.register(toys[new])
        assert pull(registry.uri, place, MODEL, "champion").changed
        assert (identity(place), identity(previous)) == (identity(toys[new]), identity(toys[old]))
        assert names(place.parent) == {"bundle", "bundle.previous"}
    assert place.stat().st_mode & 0o777 == 0o755


def test_a_signature_comes_with_the_bundle_and_nothing_else_does(
    registry: Registry, toys: list[Path], tmp_path: Path
) -> None:
    run = registry.register(toys[0])
    for name in ("model.sig", "more"):
        (registry.artifacts(run) / name).write_text("{}")
    pull(registry.uri, tmp_path / "bundle", MODEL, "champion")
    assert names(tmp_path / "bundle") == {*bundle.FILES, "manifest.json", "model.sig"}


def test_what_is_damaged_in_its_place_is_pulled_again(registry: Registry, toys: list[Path], tmp_path: Path) -> None:
    registry.register(toys[0])
    pull(registry.uri, tmp_path / "bundle", MODEL, "champion")
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"")
    assert pull(registry.uri, tmp_path / "bundle", MODEL, "champion").changed
    assert identity(tmp_path / "bundle") == identity(toys[0])


def test_the_command_says_what_it_pulled(registry: Registry, toys: list[Path], tmp_path: Path) -> None:
    run = registry.register(toys[1], alias="candidate")
    arguments = ["pull", registry.uri, str(tmp_path / "b"), "--alias", "candidate"]
    told = [CliRunner().invoke(app, arguments) for _ in range(2)]
    assert [result.exit_code for result in told] == [0, 0]
    assert f"bundle {identity(toys[1])} is new: candidate of {MODEL}, version " in told[0].stdout
    assert f", run {run}\n" in told[0].stdout
    assert f"bundle {identity(toys[1])} was there already: candidate" in told[1].stdout
    assert told[0].stderr == "", "nothing of MLflow's own"


def refused(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["pull", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_what_is_not_registered(registry: Registry, toys: list[Path], tmp_path: Path) -> None:
    registry.register(toys[0])
    assert "no registered model other" in refused(registry.uri, tmp_path / "b", "--model", "other")
    assert "fingerprint has no alias best (it has c" in refused(registry.uri, tmp_path / "b", "--alias", "best")
    registry.register(None)
    assert "has no artifact bundle/manifest.json" in refused(registry.uri, tmp_path / "b")
    assert names(tmp_path) == set()


def test_a_store_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told = refused("http://name:secret@127.0.0.1:9", tmp_path / "b")
    assert told == "fingerprint: http://127.0.0.1:9: this MLflow server cannot be reached\n"
    assert "mlflow.db: no such file" in refused(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "b")
    assert "expected the address of MLflow" in refused(tmp_path, tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "find_spec", lambda _: None)
        assert "needs all of MLflow: pip install mlflow" in refused("mysql://me:secret@db/mlflow", tmp_path / "b")
    (tmp_path / "text").write_text("no database")
    assert "MLflow failed (DatabaseError)" in refused(f"sqlite:///{tmp_path}/text", tmp_path / "b")
    assert names(tmp_path) == {"text"}


@pytest.mark.parametrize("name", ["model.onnx", "head.npy", "manifest.json"])
def test_a_damaged_bundle_changes_nothing(registry: Registry, toys: list[Path], tmp_path: Path, name: str) -> None:
    registry.register(toys[0])
    pull(registry.uri, tmp_path / "b", MODEL, "champion")
    file = registry.artifacts(registry.register(toys[1])) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert "the bundle is not taken: " in refused(registry.uri, tmp_path / "b")
    file.unlink()
    refused(registry.uri, tmp_path / "b")
    assert identity(tmp_path / "b") == identity(toys[0])
    assert names(tmp_path) == {"b"}


def test_another_bundle_than_the_registered_one(registry: Registry, toys: list[Path], tmp_path: Path) -> None:
    registry.register(toys[0], tag="fp-000000000000")
    with pytest.raises(BundleError, match="registered with bundle fp-000000000000, its run has fp-"):
        pull(registry.uri, tmp_path / "b", MODEL, "champion")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("place", ["b", "b.previous"])
def test_what_is_no_bundle_is_never_replaced(registry: Registry, tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir()
    (tmp_path / place / "precious").touch()
    assert "holds something else" in refused(registry.uri, tmp_path / "b")
    assert (tmp_path / place / "precious").exists()


@pytest.mark.parametrize("at_once", [True, False])
def test_readers_find_the_old_bundle_or_the_new_one(
    registry: Registry, toys: list[Path], tmp_path: Path, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system cannot exchange two names there is a moment without a directory, never half a bundle."""
    if not at_once:
        monkeypatch.setattr(delivery, "_EXCHANGE", 1 << 20)  # refused as unknown
    place, ids = tmp_path / "b", {identity(toy) for toy in toys[:2]}
    registry.register(toys[1])
    pull(registry.uri, place, MODEL, "champion")
    found: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                found.add(identity(place))
            except BundleError as error:
                found.add("none" if "found none" in str(error) or "cannot read" in str(error) else str(error))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for i in range(6):
            registry.register(toys[i % 2])
            assert pull(registry.uri, place, MODEL, "champion").changed
    finally:
        done.set()
        reader.join()
    assert ids <= found <= (ids if at_once else ids | {"none"})


def test_mlflow_is_imported_by_the_command_alone() -> None:
    code = (
        "import sys, fingerprint.serving_commands, fingerprint.campaign_commands; assert 'mlflow' not in sys.modules;"
        "import fingerprint.delivery; from mlflow.telemetry.utils import is_telemetry_disabled as d; assert d()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_its_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "mlflow.py").write_text("raise ModuleNotFoundError(name='mlflow')")
    command = [sys.executable, "-m", "fingerprint", "pull", "http://localhost:1", str(tmp_path / "b")]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 2
    assert result.stderr == "fingerprint: this needs mlflow: pip install 'fingerprint[mlflow]'\n"


def test_an_error_of_the_library_is_known(tmp_path: Path) -> None:
    with pytest.raises(FingerprintError, match="no such file"):
        pull("sqlite:///none.db", tmp_path / "b", MODEL, "champion")


def test_the_model_is_the_one_that_training_registers() -> None:
    assert RunConfig().tracking.registered_model == MODEL
