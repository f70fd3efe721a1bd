from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

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
    drawn = plots.figures(result, model)
    for name, figure in drawn.items():
        path = tmp_path / f"{name}.png"
        figure.savefig(path)
        assert path.stat().st_size > 5_000
        title = figure.axes[0].get_title(loc="left")
        assert ("simulated positives" in title) == (name not in {"benign_workloads", "feature_importance"}), name
    assert len(drawn) == 7


def test_slices_of_the_labels_own_columns_are_drawn(model: Model, matrix: Matrix, config: RunConfig) -> None:
    meta = matrix.meta.assign(lang="zh", evasions="identity=0.8")
    result = evaluate(model, matrix.X, meta, config.evaluation, config.seed)
    drawn = plots.figures(result, model)
    figure = drawn["recall_by_evasion"]
    assert [label.get_text()[:8] for label in figure.axes[0].get_yticklabels()] == ["identity"]
    assert "recall_by_lang" in drawn


def test_scores_are_drawn_with_the_thresholds_that_were_measured(
    model: Model, matrix: Matrix, config: RunConfig
) -> None:
    """Not with those of a model trained after it."""
    result = evaluate(model, matrix.X, matrix.meta, config.evaluation, config.seed)
    shipped = replace(model, thresholds=replace(model.thresholds, review=0.123))
    legend = plots.figures(result, shipped)["scores"].axes[0].get_legend()
    assert legend is not None
    told = [text.get_text() for text in legend.get_texts()]
    assert f"review from {model.thresholds.review:.3f}" in told


def test_importances_are_sorted_and_add_up(model: Model) -> None:
    table = plots.feature_importance(model)
    assert table["gain"].is_monotonic_decreasing
    assert abs(table["share"].sum() - 1) < 1e-9
    assert table.loc[0, "feature"] == "feature_0"


def test_plotting_needs_no_pyplot() -> None:
    code = "import sys, training.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
