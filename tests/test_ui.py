"""What a reviewer sees: MLflow's own server on two runs, its pages in a real browser, nothing of them from elsewhere.

Pictures go to FINGERPRINT_SCREENSHOTS, if that is set, and else to a temporary directory.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import mlflow_pages
import pytest
from mlflow.entities import Run as Tracked
from mlflow.tracking import MlflowClient
from mlflow_pages import AT_ALIAS, MODEL, Ui, comparison_place, run_place, version_place
from toy_run import Run
from typer.testing import CliRunner

from training.__main__ import app

pytestmark = pytest.mark.filterwarnings("ignore")  # pydantic's and sqlalchemy's, raised inside MLflow
CARD, REVIEW = "Model card: fingerprint", "Figures of the whole test split, simulated positives"
SECOND = {"refit = true": "seed = 11", "trees = 40": "trees = 30"}  # other settings and another split


@dataclass(frozen=True)
class Store:
    """Two registered versions and the runs that they are of: the champion first, then its challenger."""

    uri: str
    runs: tuple[Tracked, Tracked]

    @property
    def experiment(self) -> str:
        return str(self.runs[0].info.experiment_id)


@pytest.fixture(scope="module")
def store(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A copy of the toy run's store, into which another one is trained; artifacts lie beside those of the first."""
    folder = tmp_path_factory.mktemp("store")
    uri, settings = f"sqlite:///{folder}/mlflow.db", trained.settings.read_text()
    shutil.copy(trained.out / "mlflow.db", folder)
    for old, new in SECOND.items():
        settings = settings.replace(old, new)
    (folder / "settings.toml").write_text(settings)
    world = trained.root / "world"
    arguments = ["--traffic", trained.traffic, "--labels", world / "labels.csv", "--groups", world / "groups.csv"]
    out = ["--bundle", folder / "bundle", "--config", folder / "settings.toml"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        promoted = CliRunner().invoke(app, ["promote", "--override", "the first of all"])
        assert promoted.exit_code == 0, (promoted.output, promoted.exception)
        done = CliRunner().invoke(app, ["run", *map(str, [*arguments, *out])])
    assert done.exit_code == 0, (done.output, done.exception)
    client = MlflowClient(uri)
    first, second = (client.get_run(client.get_model_version(MODEL, number).run_id) for number in ("1", "2"))
    return Store(uri, (first, second))


@pytest.fixture(scope="module")
def ui(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    if mlflow_pages.BROWSER is None:
        told = "expected chromium, chromium-browser or google-chrome on the path, found none: install chromium"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(told)
    with mlflow_pages.opened(store.uri, tmp_path_factory.mktemp("ui")) as one:
        yield one


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return Path(os.environ.get("FINGERPRINT_SCREENSHOTS") or tmp_path)


def test_the_runs_page_has_the_card_metrics_parameters_and_the_model(ui: Ui, store: Store, pictures: Path) -> None:
    run = store.runs[1]
    ui.open(run_place(store.experiment, run.info.run_id))
    ui.see(run.data.tags["bundle_id"], "Description", REVIEW, "Finished", "Registered models", "v2")
    ui.see("detection/roc_auc", str(run.data.metrics["detection/roc_auc"]), "export/parity_decision_differences")
    ui.see("lightgbm.trees", run.data.params["lightgbm.trees"], "seed", "11")
    ui.picture(pictures, "run")


def test_a_plot_of_the_run_is_drawn(ui: Ui, store: Store, pictures: Path) -> None:
    ui.open(run_place(store.experiment, store.runs[1].info.run_id, "artifacts/plots/roc.png"))
    plot = ui.page.get_by_alt_text("plots/roc.png").filter(visible=True)
    plot.wait_for()
    ui.page.wait_for_function("image => image.naturalWidth > 300", arg=plot.element_handle())
    ui.picture(pictures, "plot")


def test_the_card_is_read_as_a_page(ui: Ui, store: Store, pictures: Path) -> None:
    ui.open(run_place(store.experiment, store.runs[1].info.run_id, "artifacts/card.md"))
    ui.page.get_by_role("heading", name=CARD).wait_for()
    ui.page.get_by_role("cell", name="ROC AUC").wait_for()
    ui.picture(pictures, "card")


def test_the_review_is_read_as_a_page(ui: Ui, store: Store, pictures: Path) -> None:
    ui.open(run_place(store.experiment, store.runs[1].info.run_id, "artifacts/review/review.html"))
    body = ui.page.frame_locator("iframe").locator("body")
    for told in (store.runs[1].data.tags["bundle_id"], "Refused by the gate", "The champion is version 1"):
        body.get_by_text(told).filter(visible=True).first.wait_for()
    ui.picture(pictures, "review")


def test_metrics_have_charts(ui: Ui, store: Store, pictures: Path) -> None:
    ui.open(run_place(store.experiment, store.runs[1].info.run_id, "model-metrics"))
    ui.page.get_by_placeholder("Search metric charts").fill("roc_auc")
    ui.see("roc_auc", f"{store.runs[1].data.metrics['detection/roc_auc']:.2f}")
    ui.picture(pictures, "metrics")


def test_two_runs_are_compared(ui: Ui, store: Store, pictures: Path) -> None:
    ui.open(comparison_place(store.experiment, [run.info.run_id for run in store.runs]))
    ui.see("Comparing 2 Runs from 1 Experiment", *(run.data.tags["bundle_id"] for run in store.runs))
    ui.page.get_by_role("switch", name="Show diff only").first.click()
    trees = ui.page.get_by_role("row").filter(has=ui.page.get_by_text("lightgbm.trees", exact=True))
    for run in store.runs:
        trees.get_by_text(run.data.params["lightgbm.trees"], exact=True).wait_for()
    first = min(store.runs[0].data.metrics)  # the table shows a dozen of them at a time
    ui.see(first, *(f"{round(run.data.metrics[first], 3):g}" for run in store.runs))
    trees.scroll_into_view_if_needed()
    ui.picture(pictures, "comparison")


def test_the_registered_model_lists_its_versions_and_the_alias(ui: Ui, store: Store, pictures: Path) -> None:
    ui.open(f"models/{MODEL}")
    ui.see("Finds distillation campaigns in API traffic.", "Version 1", "Version 2", AT_ALIAS)
    ui.see(*(re.compile(run.data.tags["bundle_id"]) for run in store.runs))
    ui.picture(pictures, "model")


def test_the_page_of_a_version_has_the_card_the_alias_and_the_run(ui: Ui, store: Store, pictures: Path) -> None:
    ui.open(version_place("2"))
    ui.see("Version 2", REVIEW, "Where it is worst", AT_ALIAS, store.runs[1].data.tags["bundle_id"], "model")
    ui.page.get_by_role("cell", name="ROC AUC").wait_for()
    ui.picture(pictures, "version")


def test_the_pages_ask_for_nothing_outside_this_machine(ui: Ui) -> None:
    ui.open(f"models/{MODEL}")
    ui.see("Version 2")
    hosts = {urlsplit(url.removeprefix("blob:")).hostname for url in ui.asked if not url.startswith("data:")}
    assert hosts == {"127.0.0.1"}
