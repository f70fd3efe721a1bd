from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from training.fit import FitError
from training.tune_folds import clearly_better, family_folds, measure

if TYPE_CHECKING:
    from conftest import Matrix


@pytest.fixture
def train(matrix: Matrix) -> pd.DataFrame:
    """Five attack families and four folds of whole accounts, one campaign a family and account."""
    meta = matrix.meta[matrix.meta["split"] == "train"].reset_index(drop=True)
    number = meta["account_id"].str[1:].astype(int)
    family = meta["family"].where(meta["label"] == 0, "f" + (number % 5).astype(str))
    return meta.assign(family=family, fold=number % 4, group=meta["account_id"])


def test_a_family_is_in_one_fold_and_never_trained_on_there(train: pd.DataFrame) -> None:
    folds = family_folds(train)
    attack = train["label"] == 1
    left_out = []
    for fold in folds:
        out = train.iloc[fold.out]
        for rows in fold.families.values():
            (name,) = set(out["family"].iloc[rows])
            left_out.append(name)
            assert name not in set(train.iloc[fold.rest].loc[attack, "family"])
    assert sorted(left_out) == sorted(set(train.loc[attack, "family"]))
    assert sorted(number for fold in folds for number in fold.families) == list(range(len(left_out)))


def test_honest_rows_keep_their_fold_and_negative_ones_are_always_trained_on(train: pd.DataFrame) -> None:
    meta = train.assign(fold=np.where(train["fold"] == 3, -1, train["fold"]))
    honest = meta["label"] == 0
    for k, fold in enumerate(family_folds(meta)):
        assert set(meta.iloc[fold.out].loc[honest, "fold"]) == {k}
        assert -1 in set(meta["fold"].iloc[fold.rest])
        assert -1 not in set(meta["fold"].iloc[fold.out])


def test_a_group_that_is_partly_left_out_is_not_trained_on(train: pd.DataFrame) -> None:
    meta = train.assign(group=np.where(train["label"] == 1, "all one", train["group"]))
    with pytest.raises(FitError, match="0 folds with both"):
        family_folds(meta)


def test_with_one_family_its_campaigns_are_left_out(train: pd.DataFrame) -> None:
    meta = train.assign(family="attack")
    folds = family_folds(meta)
    assert [len(fold.families) for fold in folds] == [1, 1, 1, 1]
    for fold in folds:
        assert not set(meta["fold"].iloc[fold.rest]) & set(meta["fold"].iloc[fold.out])


def test_recall_is_above_the_cut_that_one_percent_of_honest_weight_reaches() -> None:
    """Of 400 honest rows four count for 1 %, and one of weight 3 with another of weight 1 does."""
    honest, attack = np.arange(400.0), np.array([396.5, 395.5, 10.0, 500.0])
    meta = pd.DataFrame({"label": [0] * 400 + [1] * 4, "weight": 1.0})
    families = {0: np.array([400, 401]), 7: np.array([402, 403])}
    margin = np.concatenate([honest, attack]) / 100
    assert measure(margin, meta, families).recalls == {0: 1.0, 7: 0.5}
    meta.loc[399, "weight"] = 3.0
    assert measure(margin, meta, families).recalls == {0: 0.0, 7: 0.5}


def test_accounts_count_once_in_a_familys_recall() -> None:
    meta = pd.DataFrame({"label": [0] * 200 + [1] * 5, "weight": [1.0] * 200 + [1.0, *[0.25] * 4]})
    margin = np.concatenate([np.zeros(200), [5.0], -np.ones(4)])
    assert measure(margin, meta, {0: np.arange(200, 205)}).recalls == {0: 0.5}


def test_a_trial_is_clearly_better_by_more_than_a_standard_error_over_families() -> None:
    default = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}
    gains = np.array([0.3, -0.2, 0.25, -0.2])
    assert 0 < gains.mean() < gains.std(ddof=1) / 2
    assert not clearly_better({k: v + gains[k] for k, v in default.items()}, default)
    assert clearly_better({k: v + 0.01 + 0.01 * gains[k] for k, v in default.items()}, default)
    assert not clearly_better(default, default)
    assert not clearly_better({0: 0.9}, {0: 0.1}), "one family has no error to go by"
