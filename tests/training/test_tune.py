from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.config import RunConfig, load
from training.fit import FitError
from training.tune import SEARCHED, Tuning, family_folds, tune

if TYPE_CHECKING:
    from conftest import Matrix


@pytest.fixture(scope="module")
def short() -> RunConfig:
    return load(None, {"lightgbm.trees": 12, "lightgbm.max_trees": 15, "lightgbm.max_leaves": 16, "tune.trials": 4})


def search(matrix: Matrix, config: RunConfig, **more: object) -> Tuning:
    names, directions = matrix.names, matrix.directions
    return tune(matrix.X, matrix.meta, config, feature_names=names, directions=directions, **more)  # type: ignore[arg-type]


def test_the_same_seed_finds_the_same_parameters(matrix: Matrix, short: RunConfig) -> None:
    first, second = search(matrix, short), search(matrix, short)
    assert first.params == second.params
    columns = ["number", "value", "partial_auc", "log_loss", *SEARCHED]
    assert first.trials[columns].equals(second.trials[columns])


def test_the_first_trial_is_the_configured_default_and_progress_is_told(matrix: Matrix, short: RunConfig) -> None:
    told: list[tuple[int, int]] = []
    found = search(matrix, short, progress=lambda done, asked: told.append((done, asked)))
    assert {key: found.trials.loc[0, key] for key in SEARCHED} == {
        key: getattr(short.lightgbm, key) for key in SEARCHED
    }
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert found.params.trees <= 15
    assert found.params.num_leaves <= 16


def test_only_training_rows_are_read(matrix: Matrix, short: RunConfig) -> None:
    X = matrix.X.copy()
    X[matrix.meta["split"].to_numpy() != "train"] = 99
    names, directions = matrix.names, matrix.directions
    changed = tune(X, matrix.meta, short, feature_names=names, directions=directions)
    assert changed.params == search(matrix, short).params


def test_no_trials_keep_the_configured_parameters(matrix: Matrix) -> None:
    config = load(None, {"tune.trials": 0})
    found = search(matrix, config)
    assert (found.params, len(found.trials)) == (config.lightgbm, 0)


def test_folds_leave_whole_folds_out_and_negative_ones_are_always_trained_on(matrix: Matrix) -> None:
    meta = matrix.meta.assign(fold=np.where(matrix.meta["fold"] == 2, -1, matrix.meta["fold"]))
    folds = list(family_folds(meta))
    assert len(folds) == 2
    for rest, out in folds:
        assert not set(meta["fold"].iloc[rest]) & set(meta["fold"].iloc[out])
        assert -1 in set(meta["fold"].iloc[rest])


def test_one_fold_is_a_clear_error(matrix: Matrix, short: RunConfig) -> None:
    with pytest.raises(FitError, match="tuning: expected a fold with benign and attack rows"):
        tune(
            matrix.X,
            matrix.meta.assign(fold=0),
            short,
            feature_names=matrix.names,
            directions=matrix.directions,
        )
