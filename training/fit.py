"""Training: LightGBM on float32 rows, a calibrator on its raw margins, thresholds from benign accounts.

The result is the *oracle*: what the exported graph must reproduce. Leaves are rounded to a multiple of 2^-12
before anything is fitted on the margins, so that their sum is exact in float32, in any order, on any runtime.

Left out: the choice of parameters (`tune`), the test split (`evaluate`) and ONNX (`export`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit

from fingerprint.calibrate import cut
from fingerprint.errors import FingerprintError
from training.config import Calibration as CalibrationConfig
from training.config import LightGBM, RunConfig
from training.config import Thresholds as ThresholdConfig

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]

LEAF_STEP = 2.0**-12
"""Leaves are multiples of this: float32 sums of margins up to 2^11 are then exact."""

_SLOPES = (0.02, 20.0)  # a calibrator must rise, and stay finite when the classes are separable


class FitError(FingerprintError, ValueError):
    """The data cannot be trained on; the message says what is missing."""


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid(slope * margin + curve * softplus(margin) + intercept).

    `curve` = 0 is Platt scaling (Platt 1999); otherwise it is beta calibration (Kull, Silva Filho & Flach
    2017) written in margins: with p = sigmoid(m), a·ln p - b·ln(1 - p) + c = a·m + (b - a)·softplus(m) + c.
    """

    method: str
    slope: float
    curve: float
    intercept: float
    log_loss: dict[str, float]  # held-out, by method that competed

    def logit(self, margin: Floats) -> Floats:
        """float64[k] margins to float64[k] calibrated log odds."""
        return self.slope * margin + self.curve * np.logaddexp(0.0, margin) + self.intercept

    def __call__(self, margin: Floats) -> Floats:
        """float64[k] margins to float64[k] probabilities; strictly rising."""
        return np.asarray(expit(self.logit(margin)), dtype=np.float64)


@dataclass(frozen=True)
class Levels:
    """Probabilities from which a verdict is `review` and `act` (`score >= threshold`), and what they rest on.

    `extrapolated` names the levels that the benign accounts are too few to promise (`fingerprint.calibrate.cut`).
    """

    review: float
    act: float
    benign_accounts: int
    extrapolated: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, float]:
        """The two thresholds by level."""
        return {"review": self.review, "act": self.act}


@dataclass(frozen=True)
class Model:
    """A trained, calibrated model: the oracle that the export is measured against."""

    booster: lgb.Booster
    calibration: Calibration
    thresholds: Levels
    feature_names: tuple[str, ...]
    params: LightGBM

    def margin(self, X: Rows) -> Floats:
        """float32[k, n] rows (NaN is missing) to float64[k] raw margins."""
        return _margin(self.booster, X)

    def probability(self, X: Rows) -> Floats:
        """float32[k, n] rows (NaN is missing) to float64[k] calibrated probabilities."""
        return self.calibration(self.margin(X))


def fit(
    X: Rows,
    meta: pd.DataFrame,
    params: LightGBM,
    *,
    feature_names: Sequence[str],
    directions: Sequence[int],
    config: RunConfig,
) -> Model:
    """Trains on the rows of split `train`, calibrates and sets thresholds on `calib`; `test` is never read.

    X: float32[k, n], NaN is missing; meta: k rows with label, split, weight, group and account_id;
    directions: n of -1, 0, +1, the sense in which a feature may move the score. Raises FitError when a split
    lacks a class.
    """
    train, calib = (np.flatnonzero(meta["split"].to_numpy() == name) for name in ("train", "calib"))
    for name, rows in (("train", train), ("calib", calib)):
        _need_both_classes(meta["label"].to_numpy()[rows], name)
    booster = train_booster(
        X[train],
        meta.iloc[train],
        params,
        feature_names=feature_names,
        directions=directions,
        seed=config.seed,
    )
    booster = round_leaves(booster)
    margin, held = _margin(booster, X[calib]), meta.iloc[calib]
    calibration = calibrate(margin, held, config.calibration, config.seed)
    levels = set_thresholds(margin, held, calibration, config.thresholds)
    return Model(booster, calibration, levels, tuple(feature_names), params)


def train_booster(
    X: Rows,
    meta: pd.DataFrame,
    params: LightGBM,
    *,
    feature_names: Sequence[str],
    directions: Sequence[int],
    seed: int,
) -> lgb.Booster:
    """A deterministic gbdt Booster from float32[k, n] rows, meta.label and meta.weight."""
    data = lgb.Dataset(
        X,
        meta["label"].to_numpy(),
        weight=meta["weight"].to_numpy(),
        feature_name=list(feature_names),
        params={"verbosity": -1},
    )
    return lgb.train(_parameters(params, directions, seed), data, num_boost_round=params.trees)


def _parameters(params: LightGBM, directions: Sequence[int], seed: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "boosting": "gbdt",
        "num_leaves": params.num_leaves,
        "learning_rate": params.learning_rate,
        "min_data_in_leaf": params.min_data_in_leaf,
        "feature_fraction": params.feature_fraction,
        "bagging_fraction": params.bagging_fraction,
        "bagging_freq": 1,
        "lambda_l2": params.lambda_l2,
        "path_smooth": params.path_smooth,
        "monotone_constraints": list(directions),
        "monotone_constraints_method": "intermediate",
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": params.num_threads,
        "seed": seed,
        "verbosity": -1,
    }


def round_leaves(booster: lgb.Booster) -> lgb.Booster:
    """The same trees with every leaf rounded to a multiple of LEAF_STEP; monotone constraints still hold."""
    for tree, row in enumerate(booster.dump_model()["tree_info"]):
        for leaf in range(row["num_leaves"]):
            value = round(booster.get_leaf_output(tree, leaf) / LEAF_STEP) * LEAF_STEP
            booster.set_leaf_output(tree, leaf, value)
    return lgb.Booster(model_str=booster.model_to_string())


def calibrate(margin: Floats, meta: pd.DataFrame, config: CalibrationConfig, seed: int) -> Calibration:
    """The calibrator of lowest held-out log loss, then fitted on all rows.

    margin: float64[k]; meta: k rows with label, weight and group.
    """
    label, weight = (meta[c].to_numpy(np.float64) for c in ("label", "weight"))
    fold = _group_folds(meta["group"], config.folds, seed)
    losses = {}
    for method in config.methods:
        held = np.empty_like(margin)
        for k in range(config.folds):
            rest, out = fold != k, fold == k
            held[out] = _fit_sigmoid(method, margin[rest], label[rest], weight[rest])(margin[out])
        losses[method] = log_loss(label, held, weight)
    best = min(losses, key=lambda method: losses[method])
    found = _fit_sigmoid(best, margin, label, weight)
    return Calibration(best, found.slope, found.curve, found.intercept, losses)


def log_loss(label: Floats, probability: Floats, weight: Floats) -> float:
    """Weighted mean of -ln of the probability given to what was true, bounded at 1e-7."""
    p = np.clip(probability, 1e-7, 1 - 1e-7)
    return float(np.average(-np.where(label > 0, np.log(p), np.log1p(-p)), weights=weight))


def _fit_sigmoid(method: str, margin: Floats, label: Floats, weight: Floats) -> Calibration:
    """Least log loss against Platt's targets: off 0 and 1, so that separable data have an optimum."""
    positives, negatives = label.sum(), (1 - label).sum()
    target = np.where(label > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    soft, total = np.logaddexp(0.0, margin), weight.sum()

    def loss(v: Floats) -> tuple[float, Floats]:
        low, high, shift = v  # slopes of the two ends: as the margin goes to -inf and to +inf
        z = low * (margin - soft) + high * soft + shift
        slope = weight * (expit(z) - target) / total
        value = (weight * (np.logaddexp(0.0, z) - target * z)).sum() / total
        low_end, high_end = (slope * (margin - soft)).sum(), (slope * soft).sum()
        if method == "platt":
            return value, np.array([low_end + high_end, 0.0, slope.sum()])
        return value, np.array([low_end, high_end, slope.sum()])

    def platt(v: Floats) -> tuple[float, Floats]:
        return loss(np.array([v[0], v[0], v[2]]))

    found = minimize(
        platt if method == "platt" else loss, [1.0, 1.0, 0.0], jac=True, bounds=[_SLOPES, _SLOPES, (-50, 50)]
    )
    low, high, shift = (float(v) for v in found.x)
    return Calibration(method, low, 0.0 if method == "platt" else high - low, shift, {})


def set_thresholds(margin: Floats, meta: pd.DataFrame, calibration: Calibration, config: ThresholdConfig) -> Levels:
    """Thresholds that at most the given shares of benign accounts reach, an account counting by its highest window.

    By `fingerprint.calibrate.cut`. The cut falls half a LEAF_STEP off every margin that can occur, so that float32
    and float64 decide alike, and is a float32 number. margin: float64[k]; meta: k rows with label and account_id.
    """
    benign = meta["label"].to_numpy() == 0
    highest = pd.Series(margin[benign]).groupby(meta["account_id"].to_numpy()[benign]).max().to_numpy()
    cuts = {level: cut(highest, share, config.confidence) for level, share in config.shares.items()}
    on_grid = {level: (np.floor(found.at / LEAF_STEP) + 0.5) * LEAF_STEP for level, found in cuts.items()}
    values = {level: float(np.float32(calibration(np.array([at]))[0])) for level, at in on_grid.items()}
    few = tuple(level for level, found in cuts.items() if not found.kept)
    return Levels(values["review"], values["act"], len(highest), few)


def _margin(booster: lgb.Booster, X: Rows) -> Floats:
    return np.asarray(booster.predict(X, raw_score=True), dtype=np.float64)


def _group_folds(groups: pd.Series, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """int64[k] fold of each row; the rows of a group share one."""
    code = pd.factorize(groups, sort=True)[0]
    order = np.random.default_rng(seed).permutation(code.max() + 1)
    return np.asarray(order[code] % folds, dtype=np.int64)


def _need_both_classes(label: npt.NDArray[Any], split: str) -> None:
    if not (0 < label.sum() < len(label)):
        raise FitError(
            f"split {split!r}: expected benign and attack rows, got {int(label.sum())} attack of {len(label)}"
        )
