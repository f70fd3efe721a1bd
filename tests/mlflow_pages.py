"""MLflow's pages in the system's own Chromium: an address for each, a page without side panels, pictures of it.

    python tests/mlflow_pages.py mlflow.db FOLDER

writes the pictures of the README: the run and the version that has the alias `challenger`.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from mlflow.tracking import MlflowClient
from mlflow_process import mlflow_server
from playwright.sync_api import Page, sync_playwright

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MODEL, ALIAS = "fingerprint", "challenger"
AT_ALIAS = re.compile(rf"@\s*{ALIAS}")
PATIENCE_MS = 90_000  # the first page compiles MLflow's scripts
# loopback only, whatever a page or the browser itself would ask for
ALONE = ["--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
# what a reviewer would click: the view of model training, and the assistant closed
CHOICES = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
}


@dataclass(frozen=True)
class Ui:
    """One tab on a server; ``asked`` are the addresses of all that its pages asked for."""

    address: str
    page: Page
    asked: list[str] = field(default_factory=list)

    def open(self, place: str) -> None:
        self.page.goto("about:blank")  # or an artifact's page keeps showing the artifact before
        self.page.goto(f"{self.address}/#/{place}")

    def see(self, *texts: str | re.Pattern[str]) -> None:
        """Waits until each text stands somewhere on the page, for itself, where it can be seen."""
        for text in texts:
            self.page.get_by_text(text, exact=True).filter(visible=True).first.wait_for()

    def picture(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png", animations="disabled")


@contextmanager
def opened(uri: str, folder: Path) -> Iterator[Ui]:
    """``mlflow ui`` on a store, as the README has it, and a headless browser of 1440 by 900 on it."""
    arguments = [*ALONE, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    serve = ("ui", "--backend-store-uri", uri)
    with (
        mlflow_server(*serve, uri=uri, ready="/health", log=folder / "ui.log") as address,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=BROWSER, args=arguments) as browser,
    ):
        stored = [{"name": name, "value": value} for name, value in CHOICES.items()]
        state = {"cookies": [], "origins": [{"origin": address, "localStorage": stored}]}
        context = browser.new_context(viewport={"width": 1440, "height": 900}, storage_state=state)
        context.set_default_timeout(PATIENCE_MS)
        ui = Ui(address, context.new_page())
        context.on("request", lambda request: ui.asked.append(request.url))
        yield ui


def run_place(experiment_id: str, run_id: str, tab: str = "") -> str:
    return f"experiments/{experiment_id}/runs/{run_id}/{tab}".rstrip("/")


def comparison_place(experiment_id: str, run_ids: list[str]) -> str:
    runs, experiments = (quote(json.dumps(ids, separators=(",", ":"))) for ids in (run_ids, [experiment_id]))
    return f"compare-runs?runs={runs}&experiments={experiments}"


def version_place(version: str) -> str:
    return f"models/{MODEL}/versions/{version}"


def pictures(store: Path, folder: Path) -> None:
    """The two pictures of the README, of the challenger; no artifact's page, on which MLflow prints where files lie."""
    uri = f"sqlite:///{store.resolve()}"
    client = MlflowClient(uri)
    version = client.get_model_version_by_alias(MODEL, ALIAS)
    with tempfile.TemporaryDirectory() as scratch, opened(uri, Path(scratch)) as ui:
        ui.open(version_place(str(version.version)))
        ui.see(f"Version {version.version}", AT_ALIAS, version.tags["bundle_id"], "model")
        ui.picture(folder, "version")
        review = client.download_artifacts(version.run_id, "review/review.html", scratch)
        ui.page.goto(Path(review).as_uri())
        ui.picture(folder, "review")


if __name__ == "__main__":
    pictures(Path(sys.argv[1]), Path(sys.argv[2]))
