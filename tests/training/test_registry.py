"""Moving alias champion: only through the gate or with a reason, never on a comparison with another champion."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import FACTS, compared
from mlflow.tracking import MlflowClient

from training import registry, store
from training.compare import CHALLENGER, CHAMPION, Compared
from training.config import RunConfig, load
from training.registry import PromotionError

CONFIG: RunConfig = load(None, {"evaluation.bootstrap": 60})
Register = Callable[..., str]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new store: making one takes seconds."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
        with store.opened() as client:
            store.experiment_id(client, "fingerprint")
            client.create_registered_model("fingerprint")
    return file


@pytest.fixture
def client(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    (tmp_path / "mlflow.db").write_bytes(empty.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with store.opened() as client:
        yield client


@pytest.fixture
def register(client: MlflowClient, tmp_path: Path) -> Register:
    """Registers a version whose run keeps a comparison, as a training run does, and gives it alias challenger."""

    def made(found: Compared, **facts: Any) -> str:
        experiment = client.create_experiment(f"e{len(list(tmp_path.iterdir()))}", (tmp_path / "artifacts").as_uri())
        run = client.create_run(experiment)
        folder = tmp_path / run.info.run_id
        folder.mkdir()
        found.save(folder, {**FACTS, **facts})
        client.log_artifacts(run.info.run_id, str(folder), "review")
        client.log_dict(run.info.run_id, CONFIG.as_dict(), "config.json")
        tags = {"bundle_id": f"fp-{run.info.run_id[:12]}"}
        version = client.create_model_version("fingerprint", f"runs:/{run.info.run_id}", run.info.run_id, tags)
        client.set_registered_model_alias("fingerprint", "challenger", version.version)
        return str(version.version)

    return made


def aliases(client: MlflowClient) -> dict[str, str]:
    found = client.get_registered_model("fingerprint").aliases
    return {name: str(version) for name, version in found.items()}


def tags(client: MlflowClient, version: str) -> dict[str, str]:
    found: dict[str, str] = client.get_model_version("fingerprint", version).tags
    return found


def worse(found: Compared) -> Compared:
    attack = found.windows["label"] == 1
    return replace(found, windows=found.windows.assign(score=found.windows[CHALLENGER].where(~attack, 0.1)))


def test_a_first_model_becomes_champion_and_the_next_replaces_it(
    client: MlflowClient, register: Register, tmp_path: Path
) -> None:
    first = register(compared(alone=True))
    assert registry.champion(CONFIG.tracking) is None
    assert registry.promote(CONFIG, tmp_path).moved
    assert aliases(client) == {"champion": first}
    second = register(compared(), champion=first)
    found = registry.promote(CONFIG, tmp_path)
    assert found.moved
    assert found.replaced == first
    assert aliases(client) == {"champion": second}
    assert tags(client, second)["gate"] == "passed"
    assert tags(client, second)["replaces"] == first
    run = client.get_run(client.get_model_version("fingerprint", second).run_id)
    assert run.data.tags["gate_reason"] == found.decision.reason
    assert "recall at 1.0% false positives" in run.data.tags["gate_table"]


def test_a_worse_model_is_refused_with_the_reason_and_moves_only_when_overridden(
    client: MlflowClient, register: Register, tmp_path: Path
) -> None:
    first = register(compared(alone=True))
    registry.promote(CONFIG, tmp_path)
    second = register(worse(compared()), champion=first)
    found = registry.promote(CONFIG, tmp_path)
    assert not found.moved
    assert aliases(client) == {"champion": first, "challenger": second}
    assert tags(client, second)["gate"] == "refused"
    assert "recall" in tags(client, second)["gate_reason"]
    assert "replaces" not in tags(client, second)
    assert registry.promote(CONFIG, tmp_path, override="the old one misses a live campaign").moved
    assert aliases(client) == {"champion": second}
    assert tags(client, second)["gate"] == "overridden"
    assert tags(client, second)["gate_override"] == "the old one misses a live campaign"


def test_demoting_goes_back_to_the_one_that_was_replaced(
    client: MlflowClient, register: Register, tmp_path: Path
) -> None:
    first = register(compared(alone=True))
    registry.promote(CONFIG, tmp_path)
    with pytest.raises(PromotionError, match="none to go back to"):
        registry.demote(CONFIG.tracking, "why not")
    second = register(compared(), champion=first)
    registry.promote(CONFIG, tmp_path)
    back, demoted = registry.demote(CONFIG.tracking, "flags translators")
    assert (back.version, demoted.version) == (first, second)
    assert aliases(client) == {"champion": first}
    assert tags(client, second)["demoted"] == "flags translators"


def test_a_comparison_with_another_champion_does_not_count(
    client: MlflowClient, register: Register, tmp_path: Path
) -> None:
    first, second = register(compared(alone=True)), register(compared(alone=True))
    registry.promote(CONFIG, tmp_path, version=first)
    with pytest.raises(PromotionError, match="was compared with no champion, the champion is version 1"):
        registry.promote(CONFIG, tmp_path)
    assert aliases(client) == {"champion": first, "challenger": second}
    assert "gate" not in tags(client, second)


def test_what_is_not_there_is_said(client: MlflowClient, register: Register, tmp_path: Path) -> None:
    with pytest.raises(PromotionError, match="no version with alias challenger"):
        registry.promote(CONFIG, tmp_path)
    with pytest.raises(PromotionError, match="no champion to demote"):
        registry.demote(CONFIG.tracking, "x")
    with pytest.raises(PromotionError, match=r"no version 7 \(it has none\)"):
        registry.promote(CONFIG, tmp_path, version="7")
    first = register(compared(alone=True))
    registry.promote(CONFIG, tmp_path)
    with pytest.raises(PromotionError, match="is the champion already"):
        registry.promote(CONFIG, tmp_path, version=first)
    run = client.create_run(client.create_experiment("bare"))
    client.create_model_version("fingerprint", f"runs:/{run.info.run_id}", run.info.run_id)
    with pytest.raises(PromotionError, match="its run keeps no review"):
        registry.promote(CONFIG, tmp_path, version="2")


def test_the_kept_comparison_names_no_account_and_decides_the_same(tmp_path: Path) -> None:
    found = compared()
    found.save(tmp_path, FACTS)
    kept, facts = Compared.load(tmp_path)
    assert kept.sides == (CHALLENGER, CHAMPION)
    assert np.array_equal(kept.windows[CHALLENGER], found.windows[CHALLENGER])
    assert not set(kept.windows["account_id"]) & set(found.windows["account_id"])
    assert kept.windows["group"].nunique() == found.windows["group"].nunique()
    assert facts["speed"] == FACTS["speed"]
    assert json.loads((tmp_path / "compared.json").read_text())["accounts"] == found.accounts


class TestStore:
    """Errors of MLflow's own are one line that says what to do."""

    def test_a_locked_database(self, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import sqlite3

        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db?timeout=0.1")
        (tmp_path / "other.db").write_bytes((tmp_path / "mlflow.db").read_bytes())
        holder = sqlite3.connect(tmp_path / "other.db", isolation_level=None)
        holder.execute("begin exclusive")
        with pytest.raises(store.StoreError, match="database is locked: another process"):
            registry.champion(CONFIG.tracking)
        holder.close()

    def test_a_database_of_an_older_version(
        self, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import sqlite3

        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/old.db")
        (tmp_path / "old.db").write_bytes((tmp_path / "mlflow.db").read_bytes())
        with sqlite3.connect(tmp_path / "old.db") as database:
            database.execute("update alembic_version set version_num = 'acf3f17fdcc7'")
        database.close()
        with pytest.raises(store.StoreError, match="older version: back it up, then run `mlflow db upgrade"):
            registry.champion(CONFIG.tracking)

    def test_a_file_that_is_no_database(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "not.db").write_bytes(b"hello " * 1000)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/not.db")
        with pytest.raises(store.StoreError, match="is no database of MLflow"):
            registry.champion(CONFIG.tracking)

    def test_a_killed_run_is_marked_by_the_next(self, client: MlflowClient) -> None:
        experiment = store.experiment_id(client, "fingerprint")
        host = store.process().rpartition(":")[0]
        killed, alive, elsewhere = (
            client.create_run(experiment, tags={store.PROCESS: of}).info.run_id
            for of in (f"{host}:{2**22 + 5}", store.process(), "another-host:1")
        )
        assert store.end_killed(client, experiment) == 1
        status = [client.get_run(run).info.status for run in (killed, alive, elsewhere)]
        assert status == ["KILLED", "RUNNING", "RUNNING"]
