from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from training import plots
from training.config import RunConfig
from training.evaluate import evaluate
from training.fit import Model

if TYPE_CHECKING:
    from conftest import Matrix


def test_every_figure_draws_and_says_what_is_simulated(
    model: Model, matrix: Matrix, config: RunConfig, tmp_path: Path
) -> None:
    result = evaluate(model, matrix.X, matrix.meta, config.evaluation, config.seed)
    drawn = plots.figures(result, model, pd.DataFrame({"number": [0, 1, 2], "value": [0.5, 0.4, 0.6]}))
    for name, figure in drawn.items():
        path = tmp_path / f"{name}.png"
        figure.savefig(path)
        assert path.stat().st_size > 5_000
        title = figure.axes[0].get_title(loc="left")
        assert ("simulated positives" in title) == (name not in {"benign_workloads", "feature_importance"}), name
    assert len(drawn) == 8


def test_without_trials_there_is_no_history(model: Model, matrix: Matrix, config: RunConfig) -> None:
    result = evaluate(model, matrix.X, matrix.meta, config.evaluation, config.seed)
    assert "optuna_history" not in plots.figures(result, model, pd.DataFrame())


def test_importances_are_sorted_and_add_up(model: Model) -> None:
    table = plots.feature_importance(model)
    assert table["gain"].is_monotonic_decreasing
    assert abs(table["share"].sum() - 1) < 1e-9
    assert table.loc[0, "feature"] == "feature_0"


def test_plotting_needs_no_pyplot() -> None:
    code = "import sys, training.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
