"""Tuning: a seeded Optuna search for the LightGBM parameters that find attack families never trained on.

Trials run in batches of `tune.workers` threads. A batch is sampled from the trials before it alone, by a sampler seeded
with the run's seed and how many those are: results follow from the seed and the number of workers, whatever
finishes first and wherever a run was killed. With `tune.study` finished trials are kept in a file
(`tune_study`), and the same command goes on behind them; the trials that were cut off are sampled and tried again.

Only rows of split `train` are read. Left out: calibration and thresholds, which are fitted and not searched, and
drawing (`tune_plots`).
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from training.config import LightGBM, RunConfig
from training.fit import Rows, train_booster
from training.tune_folds import Fold, Measured, clearly_better, family_folds, measure
from training.tune_study import open_study

__all__ = ["MEASURED", "SEARCHED", "US_PER_LEAF", "Progress", "Tuning", "suggest", "tune"]

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
STARTUP = 10  # random trials before the model of the objective takes over
US_PER_LEAF = 1.7e-3  # what onnxruntime takes longer for a row, for each leaf of the model (docs/decisions/0012)
PRUNE_BELOW = 0.05  # p from which a trial's families are taken for worse than the best one's
MEASURED = ("value", "recall", "partial_auc", "log_loss", "size", "seconds")


@dataclass(frozen=True)
class Tuning:
    """The parameters to train with, and what was tried.

    `trials`: a row a trial with number, state (COMPLETE or PRUNED), value (recall less the price of size), recall (mean
    over left-out families at 1 % false positives), partial_auc, log_loss, size (trees x leaves), seconds and the
    parameters; what a pruned trial did not get to is NaN. `importance`: parameter and importance, which adds up to
    1 (PED-ANOVA, Watanabe et al. 2023), empty below three complete trials.
    """

    params: LightGBM
    trials: pd.DataFrame
    importance: pd.DataFrame = field(default_factory=pd.DataFrame)


def tune(
    X: Rows,
    meta: pd.DataFrame,
    config: RunConfig,
    *,
    feature_names: Sequence[str],
    directions: Sequence[int],
    progress: Progress | None = None,
) -> Tuning:
    """The best of `config.tune.trials` by mean recall at 1 % false positives over left-out families, less size.

    A microsecond costs `config.tune.recall_per_us`. The first trial is the configured default, which is kept unless
    the best one beats it by more than one standard error over the families (Breiman et al. 1984). Methods: TPE
    (Bergstra et al. 2011) with a constant liar within a batch (Ginsbourger et al. 2010); after each fold a trial whose
    families are worse than the best trial's by a signed-rank test (Wilcoxon 1945) is pruned.

    X: float32[k, n]; meta: k rows with label, split, weight, fold, family, group and account_id; rows of a negative
    fold are always trained on. Raises FitError when families or accounts are too few for the folds, StudyError
    when `config.tune.study` cannot be used.
    """
    asked = config.tune.trials
    if not asked:
        return Tuning(config.lightgbm, pd.DataFrame())
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs a line a study and a trial otherwise
    train = np.flatnonzero(meta["split"].to_numpy() == "train")
    X, meta = X[train], meta.iloc[train]
    learn = partial(train_booster, feature_names=feature_names, directions=directions, seed=config.seed)
    tried = partial(_tried, partial(_measured, learn, X, meta), family_folds(meta), config)
    kept = _kept(config, _digest(X, meta, feature_names, directions))
    study, tell = _replayed(kept, config), progress or (lambda done, asked: None)
    tell(min(len(study.trials), asked), asked)
    until = time.monotonic() + config.tune.timeout_s
    while len(study.trials) < asked and time.monotonic() < until:
        _batch(study, tried, config, tell)
        if kept is not None:
            kept.add_trials(study.trials[len(kept.trials) :])
    return _found(study, config)


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


def _batch(
    study: optuna.Study, tried: Callable[[optuna.Trial, LightGBM], bool], config: RunConfig, tell: Progress
) -> None:
    """Samples, runs and closes as many trials as there are workers (fewer at the end)."""
    first, asked = len(study.trials), config.tune.trials
    study.sampler = optuna.samplers.TPESampler(
        seed=int(np.random.SeedSequence([config.seed, first]).generate_state(1)[0]),
        n_startup_trials=STARTUP,
        constant_liar=True,  # the other trials of the batch count as poor, so that it spreads
    )
    if not first:
        study.enqueue_trial({key: getattr(config.lightgbm, key) for key in SEARCHED})
    trials = [study.ask() for _ in range(min(config.tune.workers, asked - first))]
    points = [suggest(trial, replace(config.lightgbm, num_threads=1)) for trial in trials]
    with ThreadPoolExecutor(len(trials)) as pool:  # LightGBM releases the GIL
        runs = []
        for done, complete in enumerate(pool.map(tried, trials, points), first + 1):
            runs.append(complete)
            tell(done, asked)
    for trial, complete in zip(trials, runs, strict=True):
        if complete:
            steps = study.trials[trial.number].intermediate_values
            study.tell(trial, float(np.mean(list(steps.values()))))
        else:
            study.tell(trial, state=TrialState.PRUNED)


def _tried(
    measured: Callable[[LightGBM, Fold], Measured],
    folds: Sequence[Fold],
    config: RunConfig,
    trial: optuna.Trial,
    params: LightGBM,
) -> bool:
    """Reports each left-out family's recall less the price of size; False once the trial is pruned."""
    started, size = time.perf_counter(), params.trees * params.num_leaves
    price, results, complete = config.tune.recall_per_us * US_PER_LEAF * size, [], True
    for fold in folds:
        results.append(measured(params, fold))
        for family, recall in results[-1].recalls.items():
            trial.report(recall - price, family)
        complete = fold is folds[-1] or not trial.should_prune()
        if not complete:
            break
    facts: dict[str, float] = {"size": size, "seconds": time.perf_counter() - started}
    if complete:
        facts["recall"] = float(np.mean([value for result in results for value in result.recalls.values()]))
        facts["partial_auc"] = float(np.mean([result.partial_auc for result in results]))
        facts["log_loss"] = float(np.mean([result.log_loss for result in results]))
    for key, value in facts.items():
        trial.set_user_attr(key, value)
    return complete


def _measured(learn: Callable[..., lgb.Booster], X: Rows, meta: pd.DataFrame, params: LightGBM, fold: Fold) -> Measured:
    booster = learn(X[fold.rest], meta.iloc[fold.rest], params)
    margin = np.asarray(booster.predict(X[fold.out], raw_score=True, num_threads=1), np.float64)
    return measure(margin, meta.iloc[fold.out], fold.families)


def _kept(config: RunConfig, rows: str) -> optuna.Study | None:
    """The study on file, if one is asked for."""
    if not config.tune.study:
        return None
    objective = {key: value for key, value in asdict(config.tune).items() if key not in _NOT_OF_TRIALS}
    made = {"rows": rows, "seed": config.seed, "settings of lightgbm": asdict(config.lightgbm)}
    made |= {"settings of tune": objective, "version of lightgbm": lgb.__version__}
    return open_study(Path(config.tune.study), made)


_NOT_OF_TRIALS = {"trials", "timeout_s", "study"}  # settings of Tune that no trial depends on


def _replayed(kept: optuna.Study | None, config: RunConfig) -> optuna.Study:
    """A study in memory with the whole batches of `kept`: what comes next is sampled as if never interrupted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=PRUNE_BELOW)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    done = kept.trials if kept is not None else []
    study.add_trials(done[: len(done) - len(done) % config.tune.workers])
    return study


def _digest(X: Rows, meta: pd.DataFrame, names: Sequence[str], directions: Sequence[int]) -> str:
    """What tells these rows, labels and folds from others; of accounts and text it holds nothing."""
    columns = pd.util.hash_pandas_object(meta[["label", "weight", "fold", "family", "group"]], index=False)
    shape = repr((X.shape, tuple(names), tuple(directions))).encode()
    return hashlib.sha256(X.tobytes() + columns.to_numpy().tobytes() + shape).hexdigest()[:16]


def _found(study: optuna.Study, config: RunConfig) -> Tuning:
    """The best trial's parameters, or the default's where its families gain less than one standard error on it."""
    default, best = study.trials[0], study.best_trial
    clear = clearly_better(best.intermediate_values, default.intermediate_values)
    params = dict(best.params if clear else default.params)
    return Tuning(replace(config.lightgbm, **params), _table(study.trials), _importance(study))


def _table(trials: Sequence[FrozenTrial]) -> pd.DataFrame:
    rows = [
        {
            "number": t.number,
            "state": t.state.name,
            "value": t.value if t.state == TrialState.COMPLETE else np.nan,  # else Optuna has the last family's
            **{key: t.user_attrs.get(key, np.nan) for key in MEASURED[1:]},
            **t.params,
        }
        for t in trials
    ]
    return pd.DataFrame(rows)


def _importance(study: optuna.Study) -> pd.DataFrame:
    complete = [t.value for t in study.trials if t.state == TrialState.COMPLETE]
    if len(complete) < 3:
        return pd.DataFrame()
    found = optuna.importance.get_param_importances(study)
    return pd.DataFrame({"parameter": list(found), "importance": list(found.values())})
