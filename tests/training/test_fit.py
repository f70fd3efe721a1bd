from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from training.config import Calibration as CalibrationConfig
from training.config import RunConfig, Thresholds
from training.fit import LEAF_STEP, FitError, Model, calibrate, fit, log_loss, set_thresholds

if TYPE_CHECKING:
    from conftest import Matrix


def refit(matrix: Matrix, config: RunConfig, meta: pd.DataFrame | None = None) -> Model:
    meta = matrix.meta if meta is None else meta
    names, directions = matrix.names, matrix.directions
    return fit(matrix.X, meta, config.lightgbm, feature_names=names, directions=directions, config=config)


def test_the_same_data_and_seed_give_the_same_model(matrix: Matrix, config: RunConfig, model: Model) -> None:
    again = refit(matrix, config)
    assert again.booster.model_to_string() == model.booster.model_to_string()
    assert again.calibration == model.calibration
    assert again.thresholds == model.thresholds


def test_the_test_split_is_never_read(matrix: Matrix, config: RunConfig, model: Model) -> None:
    test = matrix.meta["split"] == "test"
    flipped = matrix.meta.assign(label=matrix.meta["label"].where(~test, 1 - matrix.meta["label"]))
    again = refit(matrix, config, flipped)
    assert again.thresholds == model.thresholds
    assert np.array_equal(again.margin(matrix.X), model.margin(matrix.X))


def test_leaves_are_rounded_so_that_margins_lie_on_a_grid(matrix: Matrix, model: Model) -> None:
    steps = model.margin(matrix.X) / LEAF_STEP
    assert np.array_equal(steps, np.round(steps))


def test_a_feature_with_a_direction_moves_the_score_only_that_way(matrix: Matrix, model: Model) -> None:
    low, high = matrix.X[:500].copy(), matrix.X[:500].copy()
    low[:, 0], high[:, 0] = -2.0, 2.0
    assert (model.probability(high) >= model.probability(low)).all()
    assert (model.probability(high) > model.probability(low)).any()


def test_a_split_of_one_class_is_refused(matrix: Matrix, config: RunConfig) -> None:
    meta = matrix.meta[["label", "split", "weight", "group", "account_id"]].assign(label=0)
    with pytest.raises(FitError, match="split 'train': expected benign and attack rows, got 0 attack"):
        refit(matrix, config, meta)


def rows(label: np.ndarray) -> pd.DataFrame:
    accounts = [f"a{i}" for i in range(len(label))]
    return pd.DataFrame({"label": label, "weight": 1.0, "group": accounts, "account_id": accounts})


def test_platt_scaling_finds_the_slope_that_made_the_labels() -> None:
    rng = np.random.default_rng(1)
    margin = rng.normal(scale=3, size=20_000)
    label = (rng.random(20_000) < expit(0.5 * margin - 1)).astype(int)
    found = calibrate(margin, rows(label), CalibrationConfig(methods=("platt",)), seed=0)
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.intercept == pytest.approx(-1, abs=0.05)
    assert found.curve == 0


def test_beta_calibration_wins_where_the_two_ends_need_different_slopes() -> None:
    rng = np.random.default_rng(1)
    margin = rng.normal(scale=3, size=20_000)
    label = (rng.random(20_000) < expit(np.where(margin > 0, 2.0, 0.2) * margin)).astype(int)
    found = calibrate(margin, rows(label), CalibrationConfig(), seed=0)
    assert found.method == "beta"
    assert found.log_loss["beta"] < found.log_loss["platt"]
    assert found(np.array([-3.0]))[0] == pytest.approx(expit(-0.6), abs=0.05)


@pytest.mark.parametrize("method", ["platt", "beta"])
def test_separable_data_still_give_a_finite_rising_calibrator(method: str) -> None:
    label = np.repeat([0, 1], 50)
    found = calibrate(np.where(label, 4.0, -4.0), rows(label), CalibrationConfig(methods=(method,)), seed=0)
    p = found(np.linspace(-10, 10, 101))
    assert np.isfinite(p).all()
    assert (np.diff(p) > 0).all()


def test_thresholds_let_through_what_promises_the_stated_share_of_benign_accounts(model: Model) -> None:
    margin = np.round(np.random.default_rng(3).normal(size=8000) / LEAF_STEP) * LEAF_STEP
    accounts = [f"a{i // 4}" for i in range(8000)]
    meta = pd.DataFrame({"label": 0, "account_id": accounts})
    levels = set_thresholds(margin, meta, model.calibration, Thresholds(review=0.01, act=0.003))
    highest = pd.Series(model.calibration(margin)).groupby(accounts).max()
    assert (int((highest >= levels.review).sum()), int((highest >= levels.act).sum())) == (12, 1)
    assert (levels.benign_accounts, levels.extrapolated) == (2000, ())


def test_too_few_benign_accounts_extrapolate_and_say_so(model: Model) -> None:
    meta = pd.DataFrame({"label": 0, "account_id": [f"a{i}" for i in range(40)]})
    margin = np.linspace(-3, 1, 40)
    levels = set_thresholds(margin, meta, model.calibration, Thresholds())
    assert levels.extrapolated == ("review", "act")
    assert model.calibration(np.array([1.0]))[0] < levels.review < levels.act < 1


def test_thresholds_are_float32_numbers_between_two_possible_scores(model: Model) -> None:
    for cut in model.thresholds.as_dict().values():
        assert cut == float(np.float32(cut))
    assert model.thresholds.review <= model.thresholds.act


def test_log_loss_is_finite_for_a_certain_mistake() -> None:
    assert log_loss(np.array([1.0]), np.array([0.0]), np.array([1.0])) == pytest.approx(-np.log(1e-7))
