"""Tuning: a seeded Optuna search for the LightGBM parameters that find attack families never trained on.

Only rows of split `train` are read. Left out: calibration and thresholds, which are fitted and not searched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from training.config import LightGBM, RunConfig
from training.fit import FitError, Rows, log_loss, train_booster

Indices = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]
"""Called after each trial with trials done and trials asked for."""

SEARCHED = (
    "trees",
    "num_leaves",
    "learning_rate",
    "min_data_in_leaf",
    "feature_fraction",
    "bagging_fraction",
    "lambda_l2",
    "path_smooth",
)
LOSS_COST = 0.02  # tie-breaker: area given for one nat of log loss


@dataclass(frozen=True)
class Tuning:
    """The parameters to train with and one row a trial: number, value, partial_auc, log_loss, seconds, parameters."""

    params: LightGBM
    trials: pd.DataFrame


def tune(
    X: Rows,
    meta: pd.DataFrame,
    config: RunConfig,
    *,
    feature_names: Sequence[str],
    directions: Sequence[int],
    progress: Progress | None = None,
) -> Tuning:
    """The best of `config.tune.trials` by partial ROC AUC up to `config.tune.max_fpr` over the folds of `split`.

    Recall at one low rate rests on a few benign accounts of a fold and mostly picks noise; the standardised area up to
    a somewhat higher rate (McClish 1989) is steadier. The default is kept unless the best trial beats it by more
    than one standard error over the folds (Breiman et al. 1984).

    X: float32[k, n]; meta: k rows with label, split, weight, fold and account_id; rows of a negative fold are
    always trained on. The first trial is the configured default. Method: TPE (Bergstra et al. 2011). Raises
    FitError when no fold has both classes inside and outside.
    """
    if not config.tune.trials:
        return Tuning(config.lightgbm, pd.DataFrame())
    train = np.flatnonzero(meta["split"].to_numpy() == "train")
    X, meta = X[train], meta.iloc[train]
    folds = list(family_folds(meta))
    if not folds:
        raise FitError("tuning: expected a fold with benign and attack rows inside and outside, found none")

    learn = partial(train_booster, feature_names=feature_names, directions=directions, seed=config.seed)

    def objective(trial: optuna.Trial) -> float:
        started, params = time.perf_counter(), suggest(trial, config.lightgbm)
        score = partial(_score, learn, X, meta, replace(params, num_threads=1), config.tune.max_fpr)
        with ThreadPoolExecutor(params.num_threads) as pool:  # folds side by side: no barrier between the cores
            areas, losses = np.array(list(pool.map(score, folds))).T
        area, loss = float(areas.mean()), float(losses.mean())
        took = time.perf_counter() - started
        for key, value in (("partial_auc", area), ("log_loss", loss), ("seconds", took), ("areas", areas.tolist())):
            trial.set_user_attr(key, value)
        return area - LOSS_COST * loss

    study, asked = _study(config), config.tune.trials
    report = _reporter(progress, asked)
    study.optimize(objective, n_trials=asked, timeout=config.tune.timeout_s, callbacks=report)
    return Tuning(replace(config.lightgbm, **_chosen(study)), _table(study))


def family_folds(meta: pd.DataFrame) -> Iterator[tuple[Indices, Indices]]:
    """(rest, held out) row numbers for each fold of meta.fold in which both have both classes."""
    fold, label = meta["fold"].to_numpy(), meta["label"].to_numpy()
    for k in sorted(set(fold[fold >= 0])):
        rest, out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if all(len(rows) and 0 < label[rows].mean() < 1 for rows in (rest, out)):
            yield rest, out


def suggest(trial: optuna.Trial, base: LightGBM) -> LightGBM:
    """One point of the search space (the names in SEARCHED), within the size limits of `base`."""
    values: dict[str, Any] = {
        "trees": trial.suggest_int("trees", min(10, base.trees), base.max_trees),
        "num_leaves": trial.suggest_int("num_leaves", min(4, base.num_leaves), base.max_leaves),
        "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 5, 200, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 50.0, log=True),
        "path_smooth": trial.suggest_float("path_smooth", 0.0, 20.0),
    }
    return replace(base, **values)


def _score(
    learn: Callable[..., lgb.Booster],
    X: Rows,
    meta: pd.DataFrame,
    params: LightGBM,
    max_fpr: float,
    fold: tuple[Indices, Indices],
) -> tuple[float, float]:
    """Partial ROC AUC up to `max_fpr`, standardised, and log loss, on one left-out fold."""
    rest, out = fold
    margin = np.asarray(learn(X[rest], meta.iloc[rest], params).predict(X[out], raw_score=True))
    label, weight = (meta[c].to_numpy(np.float64)[out] for c in ("label", "weight"))
    area = float(roc_auc_score(label, margin, sample_weight=weight, max_fpr=max_fpr))
    return area, log_loss(label, expit(margin), weight)


def _study(config: RunConfig) -> optuna.Study:
    """A new study, or the one in `config.tune.storage`, with the configured default queued first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs a line a trial otherwise
    startup = max(3, config.tune.trials // 3)  # random trials before the model of the objective takes over
    study = optuna.create_study(
        study_name="fingerprint",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=config.seed, n_startup_trials=startup),
        storage=config.tune.storage or None,
        load_if_exists=True,
    )
    study.enqueue_trial({key: getattr(config.lightgbm, key) for key in SEARCHED}, skip_if_exists=True)
    return study


def _reporter(progress: Progress | None, asked: int) -> list[Callable[[optuna.Study, Any], None]]:
    if progress is None:
        return []
    return [lambda study, trial: progress(trial.number + 1, asked)]


def _chosen(study: optuna.Study) -> dict[str, Any]:
    """The best trial's parameters, or the default's where the best is within one standard error of it."""
    default, best = study.get_trials(deepcopy=False)[0], study.best_trial
    gains = np.subtract(best.user_attrs["areas"], default.user_attrs["areas"])
    clear = len(gains) > 1 and gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains))
    return dict(best.params if clear else default.params)


def _table(study: optuna.Study) -> pd.DataFrame:
    rows = [
        {"number": t.number, "value": t.value, **{k: v for k, v in t.user_attrs.items() if k != "areas"}, **t.params}
        for t in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    ]
    return pd.DataFrame(rows)
