"""Detectors that read the features of a window and know honest ones alone: outlier models, and rules of one feature.

Trained on honest training windows, set on honest calibration windows. Left out: which windows, and the choice
between settings (bakeoff, bakeoff_tables).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from fingerprint.features import FEATURES
from training.leaveout import CONTENT
from training.reading import NAMES

__all__ = ["COLUMNS", "MODELS", "RULES", "forest", "one_class", "outlying", "rule"]

Rows = NDArray[np.float32]
Floats64 = NDArray[np.float64]
Fit = Callable[[Floats64, Floats64, int], Callable[[Floats64], Floats64]]  # train, calib, seed -> score
COLUMNS = {
    "content": [i for i, feature in enumerate(FEATURES) if feature.family in CONTENT],
    "all features": list(range(len(FEATURES))),
}
RULES = {
    "volume": {"exchanges an hour": "rate", "tokens an hour": "output_per_hour"},
    "low_cv": {"CV of pauses": "pause_cv", "spread of gaps": "gap_log_spread"},
}
FITTED = 4_000  # windows that a one-class machine is fitted on; it is quadratic
NUS = (0.01, 0.05, 0.2)
LIMIT = 5.0  # standard deviations at which a feature is cut off


def outlying(fit: Fit, train: Rows, calib: Rows, rows: Rows, seed: int) -> dict[str, Floats64]:
    """How far `rows` lie from honest training windows, by set of features; float32[., n] each, NaN is missing.

    Missing values become the median of training, features have mean 0 and deviation 1 there and are cut off at `LIMIT`.
    """
    found = {}
    for name, columns in COLUMNS.items():
        scale: Any = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
        scale.fit(train[:, columns])
        plain = [np.clip(scale.transform(part[:, columns]), -LIMIT, LIMIT) for part in (train, calib, rows)]
        found[name] = fit(plain[0], plain[1], seed)(plain[2])
    return found


def forest(train: Floats64, calib: Floats64, seed: int) -> Callable[[Floats64], Floats64]:
    """Isolation forest (Liu et al. 2008) of the paper's size, 100 trees of 256 windows; higher is lonelier."""
    model = IsolationForest(n_estimators=100, max_samples=min(256, len(train)), random_state=seed).fit(train)
    return lambda rows: -np.asarray(model.score_samples(rows), np.float64)


def one_class(train: Floats64, calib: Floats64, seed: int) -> Callable[[Floats64], Floats64]:
    """One-class support vector machine (Schölkopf et al. 2001), Gaussian kernel as wide as the median distance.

    Of `NUS` the one whose promise is kept best: the share of honest calibration windows outside is nearest to it.
    """
    rng = np.random.default_rng(seed)
    some = train[rng.permutation(len(train))[:FITTED]]
    pairs = some[rng.integers(0, len(some), (2, 4_000))]
    gamma = 1 / (2 * max(float(np.median(((pairs[0] - pairs[1]) ** 2).sum(axis=1))), 1e-9))
    models = [OneClassSVM(kernel="rbf", gamma=gamma, nu=nu).fit(some) for nu in NUS]
    missed = [abs(float((m.decision_function(calib) < 0).mean()) - nu) / nu for m, nu in zip(models, NUS, strict=True)]
    best = models[int(np.argmin(missed))]
    return lambda rows: -np.asarray(best.decision_function(rows), np.float64)


def mahalanobis(train: Floats64, calib: Floats64, seed: int) -> Callable[[Floats64], Floats64]:
    """Squared Mahalanobis distance, covariance shrunk by Ledoit & Wolf (2004)."""
    model = LedoitWolf().fit(train)
    return lambda rows: np.asarray(model.mahalanobis(rows), np.float64)


def rule(name: str, rows: Rows) -> dict[str, Floats64]:
    """The features that a rule looks at, as they are; float32[k, n] to float64[k], NaN where missing."""
    return {told: rows[:, NAMES.index(feature)].astype(np.float64) for told, feature in RULES[name].items()}


MODELS: dict[str, Fit] = {"forest": forest, "one_class": one_class, "mahalanobis": mahalanobis}
