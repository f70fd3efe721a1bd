"""Accounts that have traffic and no label: left out, taken as honest, or each as a little of both.

``weighted`` is positive-unlabelled learning after Elkan & Noto (2008, Learning Classifiers from Only Positive and
Unlabeled Data). Training windows of labelled attackers against those of unlabelled accounts give g(x), the probability
of being *labelled*, cross-fitted over the folds. Where labels were given by chance among attackers, g is c times the
probability of being an attack, c being the share of attackers with a label. c is estimated on the held-out windows of
labelled attackers, as the mean of their highest tenth of g: the mean of all of them, the paper's first estimator,
presumes that every attack window can be told from an honest one, and is too low here. An unlabelled window then is an
attack with weight w(x) = (1 - c) / c * g / (1 - g), at most 1, and honest with 1 - w(x).

In calibration and test an unlabelled account counts as honest in both modes, so that an attacker among them counts as a
false alarm: rates of false positives are upper bounds, and thresholds stricter than they need be. Left out: the
prompt head, which reads unlabelled accounts as honest ones, and a choice of the mode by measurement: without
true labels there is nothing to measure it on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import pandas as pd

from training.config import LightGBM
from training.dataset import WindowTable
from training.fit import Floats, train_booster
from training.split import LabelError, with_accounts

__all__ = ["FAMILY", "Soft", "Unlabelled", "labelled_share", "soft_labels", "with_unlabelled"]

FAMILY = "unlabelled"
_SURE = 0.9  # quantile of held-out labelled attackers from which on g is taken to be c


class Unlabelled(StrEnum):
    """What becomes of accounts without a label."""

    drop = "drop"
    benign = "benign"
    weighted = "weighted"


class Soft(NamedTuple):
    """Windows to train on, unlabelled ones in two rows; the labelled share c; unlabelled accounts that are attacks."""

    table: WindowTable
    share: float
    attacks: float


def with_unlabelled(labels: pd.DataFrame, names: Collection[str], groups: Mapping[str, str]) -> pd.DataFrame:
    """The labels (as ``split.read_labels`` gives them) and an honest row for every account of ``names`` without one."""
    more = sorted(set(names) - set(labels["account_id"]))
    return with_accounts(labels, more, 0, kind=FAMILY, family=FAMILY, groups=groups)


def soft_labels(
    table: WindowTable, params: LightGBM, *, feature_names: Sequence[str], directions: Sequence[int], seed: int
) -> Soft:
    """The table with each training window of an unlabelled account as two rows: an attack, and (last) an honest one.

    Their weights add up to that of the window; rows of no weight are left out. Other rows stay as they are. Raises
    LabelError where the labelled attackers in training are in one fold.
    """
    meta = table.meta
    train = (meta["split"] == "train").to_numpy()
    unlabelled = train & (meta["kind"] == FAMILY).to_numpy()
    labelled = train & (meta["label"] == 1).to_numpy() & (meta["kind"] != "injected").to_numpy()
    rows = np.flatnonzero(unlabelled | labelled)
    g = np.full(len(meta), np.nan)
    g[rows] = _cross_fitted(table.X[rows], meta.iloc[rows].assign(label=labelled[rows].astype(int)), params, seed,
                            feature_names, directions)  # fmt: skip
    weight = meta["weight"].to_numpy(np.float64)
    c = labelled_share(g[labelled], weight[labelled])
    attack = np.where(unlabelled, np.clip((1 - c) / c * g / (1 - g), 0.0, 1.0), 0.0)
    as_attack, kept = np.flatnonzero(unlabelled & (attack > 0)), np.flatnonzero(~unlabelled | (attack < 1))
    honest = meta.assign(weight=weight * (1 - attack)).iloc[kept]
    suspected = meta.assign(weight=weight * attack, label=1).iloc[as_attack]
    order = np.r_[as_attack, kept]
    soft = WindowTable(table.X[order], pd.concat([suspected, honest], ignore_index=True))
    return Soft(soft, c, float((weight * attack)[unlabelled].sum()))


def labelled_share(g: Floats, weight: Floats) -> float:
    """c, from the probability of being labelled (float64[k]) and the weights of held-out labelled attackers."""
    sure = g >= np.quantile(g, _SURE)
    return float(np.clip(np.average(g[sure], weights=weight[sure]), 1e-3, 1 - 1e-3))


def _cross_fitted(
    X: np.ndarray, meta: pd.DataFrame, params: LightGBM, seed: int, names: Sequence[str], directions: Sequence[int]
) -> Floats:
    """float64[k]: the probability of label 1 of each row, by a booster that was trained without its fold."""
    label, fold, g = meta["label"].to_numpy(), meta["fold"].to_numpy(), np.empty(len(meta))
    for k in sorted(set(fold)):
        rest, out = fold != k, fold == k
        if len(set(label[rest])) < 2:
            accounts = meta.loc[meta["label"] == 1, "account_id"].nunique()
            raise LabelError(
                "expected labelled attackers and unlabelled accounts in training in more than one fold, got "
                f"{accounts} attackers: give more labels, or use --unlabelled benign"
            )
        booster = train_booster(X[rest], meta[rest], params, feature_names=names, directions=directions, seed=seed)
        g[out] = booster.predict(X[out])
    return np.clip(g, 1e-6, 1 - 1e-6)
