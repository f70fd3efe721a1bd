"""Resamples of whole groups, cuts at a rate, and recall with its interval, where the answer is known."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from training.bootstrap import Bootstrap, areas, cut_at, resampled


def test_resamples_keep_groups_whole_and_sides_apart() -> None:
    attack = np.array([True, True, False, False, False])
    weights = resampled(attack, np.array(["a", "a", "b", "c", "c"], object), 30, seed=7)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, 0] == 1).all()  # one group on this side: always drawn
    assert set((weights[:, 2] + weights[:, 3]).tolist()) == {2.0}


def test_the_cut_is_a_point_of_the_roc_curve() -> None:
    rng = np.random.default_rng(0)
    label, weight = rng.integers(0, 2, 2000), rng.random(2000)
    score = np.round(rng.normal(size=2000) + label, 1)
    rates, recalls, _ = roc_curve(label, score, sample_weight=weight, drop_intermediate=False)
    for fpr in (0.003, 0.01, 0.1):
        (cut,), (realised,) = cut_at(score[label == 0], weight[None, label == 0], fpr)
        assert realised == pytest.approx(np.average(score[label == 0] > cut, weights=weight[label == 0]))
        assert realised <= fpr
        found = np.average(score[label == 1] > cut, weights=weight[label == 1])
        assert found == pytest.approx(recalls[rates <= fpr].max())


def test_equal_scores_are_not_split_to_reach_a_rate() -> None:
    cut, realised = cut_at(np.full(10, 0.5), np.ones((3, 10)), 0.3)
    assert (cut == 0.5).all()
    assert (realised == 0).all()


def windows(attack: list[float], honest: list[float], fold: int) -> pd.DataFrame:
    label = np.r_[np.ones(len(attack), int), np.zeros(len(honest), int)]
    name = [f"{fold}/{i}" for i in range(len(label))]
    return pd.DataFrame({
        "label": label, "group": name, "account_id": name, "account_weight": 1.0, "fold": fold,
        "family": "f", "score": [*attack, *honest],
    })  # fmt: skip


def rates(scored: pd.DataFrame, resamples: int = 200) -> Bootstrap:
    return Bootstrap(scored, fprs=(0.01, 0.1), resamples=resamples, confidence=0.95, seed=1)


def test_each_fold_has_the_cut_of_its_own_model() -> None:
    """The second model's margins are ten higher; with one cut for both it would find everything, or nothing."""
    honest = [*np.linspace(0, 1, 99), 3.0]
    scored = pd.concat([windows([2.0, 0.5], honest, 0), windows([12.0, 10.5], [10 + v for v in honest], 1)])
    found = rates(scored)
    assert found.cuts[0.01][0] == pytest.approx([1.0, 11.0])
    assert found.realised[0.01] == pytest.approx(0.01)
    table = found.table(["family"])
    assert table.loc[0, ["windows", "accounts", "recall_at_fpr_0.01"]].tolist() == [4, 4, 0.5]


def test_intervals_cover_the_true_recall_as_often_as_they_say() -> None:
    """Campaigns of ten accounts found or missed together: intervals by account would be far too narrow."""
    rng, covered = np.random.default_rng(5), 0
    for _ in range(60):
        campaign = np.repeat(rng.random(30) < 0.4, 10).astype(float)
        scored = windows((2 * campaign - 1).tolist(), np.linspace(-0.5, 0.5, 200).tolist(), 0)
        scored.loc[: len(campaign) - 1, "group"] = np.repeat([f"c{i}" for i in range(30)], 10)
        row = rates(scored, 100).table(["family"]).iloc[0]
        covered += row["low_0.01"] <= 0.4 <= row["high_0.01"]
    assert covered >= 50


def test_marks_may_overlap_and_a_slice_without_attack_is_left_out() -> None:
    scored = windows([2.0, 2.0, 0.0, 0.0], np.linspace(0, 1, 100).tolist(), 0)
    marks = {"a": np.array([True, True, True, False]), "b": np.array([False, False, True, True])}
    table = rates(scored).marked("mark", marks | {"none": np.zeros(4, bool)}).set_index("mark")
    assert table["recall_at_fpr_0.01"].to_dict() == {"a": pytest.approx(2 / 3), "b": 0.0}
    assert table["windows"].to_dict() == {"a": 3, "b": 2}


def test_areas_are_those_of_scikit_learn_with_ties_and_weights() -> None:
    rng = np.random.default_rng(3)
    score, attack = rng.integers(0, 40, 500) / 40, rng.random(500) < 0.3
    weight = rng.random((4, 500))
    weight[:, :50] = 0.0
    expected = [roc_auc_score(attack, score, sample_weight=row) for row in weight]
    assert np.allclose(areas(score, attack, weight), expected, atol=1e-12)
