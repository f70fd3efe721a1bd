"""The registered model scores by MLflow's own means, in process and over HTTP, as the bundle's Scorer does."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import numpy as np
import numpy.typing as npt
import pytest
from builders import exchanges, window_of
from mlflow_process import mlflow_server
from toy_run import Run

from fingerprint import Scorer, features

pytestmark = pytest.mark.filterwarnings("ignore")  # pydantic's and sqlalchemy's, raised inside MLflow
MODEL = "models:/fingerprint@challenger"
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def scorer(trained: Run) -> Scorer:
    return Scorer.load(trained.bundle)


@pytest.fixture(scope="module")
def rows(scorer: Scorer) -> npt.NDArray[np.float32]:
    """float32[3, n]: features of windows of 1, 3 and 40 exchanges; what a short one cannot have is NaN."""
    records = exchanges(40, seed=5)
    found = np.vstack([features(window_of(records[:count], scorer.head)) for count in (1, 3, 40)])
    assert np.isnan(found).any()
    return found


@pytest.fixture(scope="module")
def address(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("serve") / "log"
    serve = ("models", "serve", "--model-uri", MODEL, "--env-manager", "local")
    with mlflow_server(*serve, uri=trained.result.tracked.uri, ready="/ping", log=log) as found:
        yield found


@pytest.fixture
def registered(trained: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", trained.result.tracked.uri)
    mlflow.set_tracking_uri(trained.result.tracked.uri)
    return MODEL


def test_the_registered_model_loads_as_pyfunc_and_scores_as_the_bundle(
    registered: str, scorer: Scorer, rows: npt.NDArray[np.float32]
) -> None:
    found = mlflow.pyfunc.load_model(registered).predict({"features": rows})
    assert np.abs(found["probability"][:, 0] - scorer.score(rows)).max() < TOLERANCE


def test_a_real_request_is_answered_with_the_bundles_scores(
    address: str, scorer: Scorer, rows: npt.NDArray[np.float32]
) -> None:
    """JSON has no NaN: a missing value is null."""
    values = [[None if value != value else value for value in row] for row in rows.tolist()]
    answer = httpx.post(f"{address}/invocations", json={"inputs": {"features": values}}, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    found = np.array(answer.json()["predictions"]["probability"])[:, 0]
    assert np.abs(found - scorer.score(rows)).max() < TOLERANCE


def test_a_request_of_another_width_is_refused(address: str) -> None:
    wrong = {"inputs": {"features": [[0.5, 0.5]]}}
    assert httpx.post(f"{address}/invocations", json=wrong, trust_env=False, timeout=60).status_code == 400


def test_what_serves_it_elsewhere_is_told_all_that_loading_imports(registered: str) -> None:
    """MLflow checks the graph with ``onnx`` before it gives it to the runtime."""
    required = Path(mlflow.pyfunc.get_model_dependencies(registered)).read_text().split()
    assert {"mlflow", "numpy", "onnx", "onnxruntime"} <= {line.split("==")[0] for line in required}
