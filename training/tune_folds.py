"""What a trial of tuning is measured on: folds that leave whole attack families out, and one recall a family.

A family is an instance of the problem: what counts is the mean over families never trained on, each weighing the
same. Left out: the search itself (`tune`), and families that the test split holds out, which no trial may see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from training.bootstrap import cut_at
from training.fit import FitError, Floats, log_loss
from training.split import text_group

__all__ = ["FPR", "PARTIAL_FPR", "Fold", "Measured", "clearly_better", "family_folds", "measure"]

Indices = npt.NDArray[np.int64]
FPR = 0.01
"""Recall is measured at this rate of false positives among the honest rows of the fold."""
PARTIAL_FPR = 0.05
"""Partial ROC AUC, which is reported and not searched for, reaches up to this rate."""


@dataclass(frozen=True)
class Fold:
    """Row numbers to train on and to measure on; `families` has those of each left-out family within `out`."""

    rest: Indices
    out: Indices
    families: Mapping[int, Indices]


@dataclass(frozen=True)
class Measured:
    """Of one fold: recall of each left-out family by its number, partial ROC AUC (standardised), log loss in nats."""

    recalls: Mapping[int, float]
    partial_auc: float
    log_loss: float


def family_folds(meta: pd.DataFrame) -> list[Fold]:
    """The folds of training rows, each of which leaves attack families and honest accounts out.

    meta: k rows with label, family, group and fold. Families are dealt whole, the largest first, to as many folds as
    `fold` has; honest rows keep their `fold`, so some are of sources never trained on, as in the test split. With
    one family alone its campaigns are left out by `fold`. Rows of a negative fold are always trained on; a group
    that a fold holds some of is not trained on by the others' rows. Raises FitError below two folds.
    """
    label, group = meta["label"].to_numpy(), meta["group"].to_numpy()
    family = np.array([text_group(*row) for row in zip(meta["label"], meta["family"], strict=True)], dtype=object)
    fold, folds, numbered = _dealt(meta["fold"].to_numpy(), label == 1, family), [], 0
    for k in sorted(set(fold[fold >= 0])):
        out = np.flatnonzero(fold == k)
        rest = np.flatnonzero((fold != k) & ~(np.isin(group, group[out]) & (fold >= 0)))
        if not all(len(rows) and 0 < label[rows].mean() < 1 for rows in (rest, out)):
            continue
        names = sorted(set(family[out[label[out] == 1]]))
        families = {numbered + i: np.flatnonzero(family[out] == name) for i, name in enumerate(names)}
        folds.append(Fold(rest, out, families))
        numbered += len(names)
    if len(folds) < 2:
        attack = label == 1
        raise FitError(
            "tuning: expected attack of two families or campaigns, and honest accounts, in two folds at least; got "
            f"{len(set(family[attack]))} families, {len(set(group[attack]))} campaigns, {len(folds)} folds with both "
            "classes inside and outside: label more accounts, or leave tuning out (--trials 0)"
        )
    return folds


def measure(margin: Floats, meta: pd.DataFrame, families: Mapping[int, Indices]) -> Measured:
    """What float64[k] margins find of the k rows of `meta` (label, weight); `families` numbers rows as in Fold.

    The cut lets at most `FPR` of the weight of honest rows through; `weight` makes every account count once.
    """
    label, weight = (meta[c].to_numpy(np.float64) for c in ("label", "weight"))
    honest = label == 0
    cut, _ = cut_at(margin[honest], weight[None, honest], FPR)
    found = margin > cut[0]
    recalls = {number: float(np.average(found[rows], weights=weight[rows])) for number, rows in families.items()}
    area = float(roc_auc_score(label, margin, sample_weight=weight, max_fpr=PARTIAL_FPR))
    return Measured(recalls, area, log_loss(label, expit(margin), weight))


def clearly_better(trial: Mapping[int, float], default: Mapping[int, float]) -> bool:
    """Whether `trial` gains more than one standard error over families (by number) on `default`."""
    gains = np.array([trial[family] - value for family, value in default.items()])
    return len(gains) > 1 and bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))


def _dealt(fold: Indices, attack: npt.NDArray[np.bool_], family: npt.NDArray[np.object_]) -> Indices:
    """The fold of each row: of attack by family, of the rest as it was."""
    free = attack & (fold >= 0)
    names, rows = np.unique(family[free].astype(str), return_counts=True)
    if len(names) < 2:
        return fold
    order = np.lexsort((names, -rows))
    of = {name: i % (int(fold.max()) + 1) for i, name in enumerate(names[order])}
    return np.array([of[name] if mine else k for name, mine, k in zip(family, free, fold, strict=True)], np.int64)
