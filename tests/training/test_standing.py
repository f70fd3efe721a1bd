"""The champion as a new model meets it, and comparing a registered version anew, on a copy of a real run's store."""

import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from toy_run import CANARY, Run
from typer.testing import CliRunner

from training import store
from training.__main__ import app
from training.compare import Compared
from training.config import load
from training.registry import Registered
from training.standing import standing_champion

pytestmark = pytest.mark.filterwarnings("ignore")  # pydantic's and sqlalchemy's, raised inside MLflow
CONFIG = load()


@pytest.fixture
def client(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    shutil.copy(trained.out / "mlflow.db", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with store.opened() as client:
        return client


def test_no_champion_is_nothing_to_compare_with(client: MlflowClient, tmp_path: Path) -> None:
    standing = standing_champion(CONFIG, tmp_path)
    assert standing.registered is None
    assert standing.why == ""


def test_the_champion_comes_with_what_it_was_fitted_on(client: MlflowClient, trained: Run, tmp_path: Path) -> None:
    version = client.get_model_version_by_alias("fingerprint", "challenger")
    client.set_registered_model_alias("fingerprint", "champion", version.version)
    standing = standing_champion(CONFIG, tmp_path)
    assert standing.registered == Registered("1", version.tags["bundle_id"], version.run_id)
    assert standing.model is not None
    accounts = trained.result.accounts
    known = ~standing.model.unknown(accounts)
    assert known[accounts["split"] != "test"].all()
    assert not known[accounts["split"] == "test"].any()
    assert standing.settings.refit
    assert standing.speed["champion_score_p50_us"] > 0


def test_a_champion_that_keeps_no_measured_model_is_told_not_compared(client: MlflowClient, tmp_path: Path) -> None:
    """As those registered before there was a gate."""
    run = client.create_run(client.create_experiment("older", (tmp_path / "older").as_uri()))
    version = client.create_model_version("fingerprint", f"runs:/{run.info.run_id}", run.info.run_id)
    client.set_registered_model_alias("fingerprint", "champion", version.version)
    standing = standing_champion(CONFIG, tmp_path)
    assert standing.model is None
    assert "keeps no measured" in standing.why


def test_a_version_is_compared_anew_on_accounts_it_was_not_fitted_on(
    client: MlflowClient, trained: Run, tmp_path: Path
) -> None:
    world = trained.root / "world"
    arguments = ["--traffic", trained.traffic, "--labels", world / "labels.csv", "--groups", world / "groups.csv"]
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "version 1 beside no champion" in done.output
    run_id = client.get_model_version("fingerprint", "1").run_id
    _, facts = Compared.load(Path(client.download_artifacts(run_id, "review", str(tmp_path))))
    assert facts["accounts"] == (trained.result.accounts["split"] == "test").sum()
    assert facts["of_accounts"] == len(trained.result.accounts)
    text = client.get_model_version("fingerprint", "1").description
    assert text.startswith("Refused by the gate, first model")
    assert CANARY not in text + done.output


def test_what_cannot_be_compared_is_said(client: MlflowClient, trained: Run, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("account_id,label\nnobody,0\nno one,1\n")
    done = CliRunner().invoke(app, ["compare", "--traffic", str(trained.traffic), "--labels", str(labels)])
    assert "expected honest and distilling accounts with traffic" in str(done.exception)
