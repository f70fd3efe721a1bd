"""Positive-unlabelled weights: they add up, find the hidden attackers, and touch training rows alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from training.config import RunConfig
from training.dataset import WindowTable
from training.split import LabelError
from training.unlabelled import FAMILY, Soft, labelled_share, soft_labels

if TYPE_CHECKING:
    from conftest import Matrix


def hidden(matrix: Matrix, share: float = 0.5) -> WindowTable:
    """A share of the attackers and most honest accounts without their label; column ``truth`` has it."""
    meta = matrix.meta.assign(truth=matrix.meta["label"])
    accounts = meta["account_id"].unique()
    lost = dict(zip(accounts, np.random.default_rng(5).random(len(accounts)), strict=True))
    unlabelled = meta["account_id"].map(lost) < np.where(meta["truth"] == 1, share, 0.7)
    kind = meta["kind"].mask(unlabelled, FAMILY)
    return WindowTable(matrix.X, meta.assign(label=meta["label"].where(~unlabelled, 0), kind=kind))


def soft(matrix: Matrix, config: RunConfig, table: WindowTable) -> Soft:
    names, directions = matrix.names, matrix.directions
    return soft_labels(table, config.lightgbm, feature_names=names, directions=directions, seed=3)


@pytest.fixture(scope="module")
def table(matrix: Matrix) -> WindowTable:
    return hidden(matrix)


@pytest.fixture(scope="module")
def found(matrix: Matrix, config: RunConfig, table: WindowTable) -> Soft:
    return soft(matrix, config, table)


def test_the_two_rows_of_a_window_weigh_what_it_did(table: WindowTable, found: Soft) -> None:
    for columns in (["account_id"], ["split"], ["split", "kind"]):
        before, after = (part.meta.groupby(columns)["weight"].sum() for part in (table, found.table))
        assert np.allclose(before, after)
    assert (found.table.meta["weight"] > 0).all()
    assert len(found.table.X) == len(found.table.meta)


def test_only_unlabelled_accounts_in_training_change(table: WindowTable, found: Soft) -> None:
    """Calibration and test rows are those that were, in their order, labels too."""

    def others(part: WindowTable) -> tuple[np.ndarray, pd.DataFrame]:
        rows = ((part.meta["kind"] != FAMILY) | (part.meta["split"] != "train")).to_numpy()
        return part.X[rows], part.meta[rows].reset_index(drop=True)

    (before, meta), (after, meta_after) = others(table), others(found.table)
    assert np.array_equal(before, after, equal_nan=True)
    pd.testing.assert_frame_equal(meta, meta_after)


def test_hidden_attackers_weigh_more_as_attacks_than_honest_accounts(found: Soft) -> None:
    meta = found.table.meta
    rows = meta[(meta["kind"] == FAMILY) & (meta["split"] == "train")]
    attack = rows["weight"].where(rows["label"] == 1, 0.0)
    share = attack.groupby(rows["truth"]).sum() / rows["weight"].groupby(rows["truth"]).sum()
    assert share[1] > 2 * share[0]
    assert found.attacks == pytest.approx(attack.sum())


def test_fewer_labels_give_a_smaller_labelled_share(matrix: Matrix, config: RunConfig, found: Soft) -> None:
    few = soft(matrix, config, hidden(matrix, 0.85))
    assert few.share < found.share
    assert 0 < few.share < 1


def test_the_labelled_share_is_read_where_attackers_are_surest() -> None:
    g = np.r_[np.full(900, 0.1), np.full(100, 0.6)]
    assert labelled_share(g, np.ones(1000)) == pytest.approx(0.6)
    assert labelled_share(np.ones(10), np.ones(10)) < 1, "where all are labelled w is small and finite"


def test_the_same_table_gives_the_same_weights(matrix: Matrix, config: RunConfig, found: Soft) -> None:
    pd.testing.assert_frame_equal(soft(matrix, config, hidden(matrix)).table.meta, found.table.meta)


def test_a_window_is_judged_by_a_model_that_did_not_see_its_fold(
    matrix: Matrix, config: RunConfig, table: WindowTable, found: Soft
) -> None:
    """Turning the labels of one fold changes the weights of the others, not its own probabilities of being labelled."""
    from training import unlabelled

    rows = (table.meta["split"] == "train").to_numpy()
    meta, X = table.meta[rows], table.X[rows]
    fold = (meta["fold"] == 0).to_numpy()
    turned = meta.assign(label=np.where(fold, 1 - meta["label"], meta["label"]))
    shape = (config.lightgbm, 3, matrix.names, matrix.directions)
    one, other = (unlabelled._cross_fitted(X, part, *shape) for part in (meta, turned))
    assert np.array_equal(one[fold], other[fold])
    assert not np.array_equal(one[~fold], other[~fold])


def test_attackers_in_one_fold_are_too_few(matrix: Matrix, config: RunConfig, table: WindowTable) -> None:
    one = WindowTable(table.X, table.meta.assign(fold=table.meta["label"]))
    with pytest.raises(LabelError, match=r"in more than one fold, got .* attackers: give more labels"):
        soft(matrix, config, one)
