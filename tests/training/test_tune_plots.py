from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from training import tune_plots
from training.tune import SEARCHED


@pytest.fixture
def trials() -> pd.DataFrame:
    """Four complete trials and a pruned one: at each size the first is best, but for the largest."""
    facts = [(320, 0.3), (320, 0.2), (640, 0.4), (1280, 0.4), (900, float("nan"))]
    rows = [
        {"number": i, "state": "PRUNED" if recall != recall else "COMPLETE", "value": recall - size / 1e5}
        | {"recall": recall, "partial_auc": 0.6, "log_loss": 0.3, "size": size, "seconds": 0.5}
        | dict.fromkeys(SEARCHED, 1.0 + i)
        for i, (size, recall) in enumerate(facts)
    ]
    return pd.DataFrame(rows)


def test_every_figure_draws_and_says_what_is_simulated(trials: pd.DataFrame, tmp_path: Path) -> None:
    importance = pd.DataFrame({"parameter": SEARCHED, "importance": 1 / len(SEARCHED)})
    drawn = tune_plots.figures(trials, importance, "simulated positives")
    assert set(drawn) == {"history", "importance", "slices", "recall_against_size"}
    for name, figure in drawn.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000
        assert "simulated positives" in (figure.get_suptitle() or figure.axes[0].get_title(loc="left")), name
    assert [axes.get_xlabel() for axes in drawn["slices"].axes] == list(SEARCHED)


def test_the_front_has_what_is_beaten_by_none_of_its_size_or_less(trials: pd.DataFrame) -> None:
    assert tune_plots.front(trials)["number"].tolist() == [0, 2]


def test_without_trials_nothing_is_drawn_and_importance_needs_some(trials: pd.DataFrame) -> None:
    assert tune_plots.figures(pd.DataFrame(), pd.DataFrame(), "x") == {}
    assert "importance" not in tune_plots.figures(trials, pd.DataFrame(), "x")


def test_one_trial_is_drawn(trials: pd.DataFrame) -> None:
    assert len(tune_plots.figures(trials.head(1), pd.DataFrame(), "x")) == 3


def test_drawing_needs_neither_pyplot_nor_optuna() -> None:
    code = "import sys, training.tune_plots; sys.exit('matplotlib.pyplot' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
