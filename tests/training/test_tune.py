from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.config import RunConfig, load
from training.fit import FitError
from training.tune import MEASURED, SEARCHED, US_PER_LEAF, Tuning, tune
from training.tune_study import StudyError

if TYPE_CHECKING:
    from conftest import Matrix

EXACT = ["number", "state", *MEASURED[:-1], *SEARCHED]  # all but the seconds


@pytest.fixture(scope="module")
def short() -> RunConfig:
    return load(None, {"lightgbm.trees": 12, "lightgbm.max_trees": 15, "lightgbm.max_leaves": 16, "tune.trials": 4})


def asked(config: RunConfig, **tuning: object) -> RunConfig:
    return replace(config, tune=replace(config.tune, **tuning))  # type: ignore[arg-type]


def search(matrix: Matrix, config: RunConfig, **more: object) -> Tuning:
    names, directions = matrix.names, matrix.directions
    return tune(matrix.X, matrix.meta, config, feature_names=names, directions=directions, **more)  # type: ignore[arg-type]


def many_families(matrix: Matrix) -> Matrix:
    """The attack rows dealt to twelve families, enough for a signed-rank test after two folds."""
    code = matrix.meta["account_id"].str[1:].astype(int) % 12
    family = matrix.meta["family"].where(matrix.meta["label"] == 0, "f" + code.astype(str))
    return replace(matrix, meta=matrix.meta.assign(family=family, group=matrix.meta["account_id"]))


def test_the_same_seed_finds_the_same_parameters(matrix: Matrix, short: RunConfig) -> None:
    first, second = search(matrix, short), search(matrix, short)
    assert first.params == second.params
    assert first.trials[EXACT].equals(second.trials[EXACT])


def test_the_first_trial_is_the_configured_default_and_progress_is_told(matrix: Matrix, short: RunConfig) -> None:
    told: list[tuple[int, int]] = []
    found = search(matrix, short, progress=lambda done, asked: told.append((done, asked)))
    assert {key: found.trials.loc[0, key] for key in SEARCHED} == {
        key: getattr(short.lightgbm, key) for key in SEARCHED
    }
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert found.params.trees <= 15
    assert found.params.num_leaves <= 16


def test_the_value_is_recall_less_the_price_of_size(matrix: Matrix, short: RunConfig) -> None:
    trials = search(matrix, asked(short, recall_per_us=0.1)).trials
    assert (trials["size"] == trials["trees"] * trials["num_leaves"]).all()
    assert np.allclose(trials["value"], trials["recall"] - 0.1 * US_PER_LEAF * trials["size"])
    free = search(matrix, asked(short, recall_per_us=0.0)).trials
    assert (free["value"] - free["recall"]).abs().max() < 1e-12


def test_only_training_rows_are_read(matrix: Matrix, short: RunConfig) -> None:
    X = matrix.X.copy()
    X[matrix.meta["split"].to_numpy() != "train"] = 99
    assert search(replace(matrix, X=X), short).trials[EXACT].equals(search(matrix, short).trials[EXACT])


def test_no_trials_keep_the_configured_parameters(matrix: Matrix) -> None:
    config = load(None, {"tune.trials": 0})
    found = search(matrix, config)
    assert (found.params, len(found.trials)) == (config.lightgbm, 0)


def test_a_hopeless_trial_is_pruned_before_its_last_fold_and_is_never_chosen(matrix: Matrix, short: RunConfig) -> None:
    """A price that only small trees can pay: large ones lose on every family alike."""
    found = search(many_families(matrix), asked(short, trials=12, recall_per_us=0.9, workers=1))
    pruned = found.trials[found.trials["state"] == "PRUNED"]
    assert len(pruned)
    assert pruned[["value", "recall", "partial_auc", "log_loss"]].isna().all(axis=None)
    assert pruned[["size", "seconds", *SEARCHED]].notna().all(axis=None)
    assert found.trials.loc[0, "state"] == "COMPLETE"
    best = found.trials.loc[found.trials["value"].idxmax()]
    assert found.params.num_leaves == best["num_leaves"]


def test_importances_add_up_and_need_three_complete_trials(matrix: Matrix, short: RunConfig) -> None:
    table = search(matrix, short).importance
    assert set(table["parameter"]) == set(SEARCHED)
    assert abs(table["importance"].sum() - 1) < 1e-9
    assert search(matrix, asked(short, trials=2)).importance.empty


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from conftest import make_matrix
from training.config import load
from training.tune import tune
matrix = make_matrix()
config = load(sys.argv[2], {"tune.study": sys.argv[3]})
def stop(done, asked):
    if done == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
tune(matrix.X, matrix.meta, config, feature_names=matrix.names, directions=matrix.directions, progress=stop)
"""


@pytest.mark.parametrize("done", [1, 5, 8])
def test_a_killed_search_goes_on_and_ends_as_one_that_was_not(matrix: Matrix, tmp_path: Path, done: int) -> None:
    settings, file = tmp_path / "settings.toml", tmp_path / "study.db"
    settings.write_text("[lightgbm]\ntrees = 12\nmax_trees = 15\nmax_leaves = 16\n[tune]\ntrials = 13\nworkers = 3\n")
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(Path(__file__).parent),
        str(settings),
        str(file),
    ]
    killed = subprocess.run([*command, str(done)], check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL
    told: list[int] = []
    config = load(settings)
    resumed = search(matrix, asked(config, study=str(file)), progress=lambda done, asked: told.append(done))
    assert told[0] == done - done % 3 - (3 if done % 3 == 0 else 0), "whole batches are kept"
    whole = search(matrix, config)
    assert resumed.params == whole.params
    assert resumed.trials[EXACT].equals(whole.trials[EXACT])
    assert resumed.importance.equals(whole.importance)


def test_a_finished_study_runs_nothing_and_a_longer_one_goes_on_from_it(
    matrix: Matrix, short: RunConfig, tmp_path: Path
) -> None:
    config = asked(short, study=str(tmp_path / "study.db"), trials=3)
    first = search(matrix, config)
    told: list[int] = []
    again = search(matrix, asked(config, trials=2), progress=lambda done, asked: told.append(done))
    assert told == [2]
    assert again.trials.equals(first.trials.head(2))
    longer = search(matrix, asked(config, trials=6))
    assert longer.trials[EXACT].equals(search(matrix, asked(short, trials=6)).trials[EXACT])


def test_a_study_of_other_rows_settings_or_workers_is_refused(matrix: Matrix, short: RunConfig, tmp_path: Path) -> None:
    config = asked(short, study=str(tmp_path / "study.db"), trials=1)
    search(matrix, config)
    for other, told in (
        (replace(config, seed=3), "other seed:"),
        (asked(config, workers=3), "other settings of tune:"),
        (replace(config, lightgbm=replace(config.lightgbm, trees=9)), "other settings of lightgbm:"),
    ):
        with pytest.raises(StudyError, match=told):
            search(matrix, other)
    meta = matrix.meta.assign(label=1 - matrix.meta["label"])
    with pytest.raises(StudyError, match="other rows: repeat the command it was made with"):
        search(replace(matrix, meta=meta), config)


def test_one_fold_is_a_clear_error(matrix: Matrix, short: RunConfig) -> None:
    with pytest.raises(FitError, match=r"tuning: expected attack of two families .* 0 folds with both"):
        search(replace(matrix, meta=matrix.meta.assign(fold=0)), short)
