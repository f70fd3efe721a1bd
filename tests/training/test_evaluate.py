from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from training.bootstrap import cut_at
from training.config import RunConfig
from training.evaluate import (
    SIZE_BINS,
    Evaluation,
    EvaluationError,
    calibration_table,
    clopper_pearson,
    evaluate,
    single_feature_auc,
)
from training.fit import Model

if TYPE_CHECKING:
    from conftest import Matrix


@pytest.fixture(scope="module")
def result(model: Model, matrix: Matrix, config: RunConfig) -> Evaluation:
    return evaluate(model, matrix.X, matrix.meta, config.evaluation, config.seed)


def test_intervals_hold_the_estimate_and_have_width(result: Evaluation) -> None:
    m = result.metrics
    assert 0.5 < m["roc_auc"] <= 1
    for key in ("recall_at_fpr_0.01", "recall_unseen_at_fpr_0.01", "recall_at_fpr_0.003"):
        assert m[f"{key}_low"] <= m[key] <= m[f"{key}_high"]
    assert m["recall_at_fpr_0.01_low"] < m["recall_at_fpr_0.01_high"]
    assert m["fpr_realised_at_0.01"] <= 0.01
    assert m["account_fpr_at_review_low"] <= m["account_fpr_at_review"] <= m["account_fpr_at_review_high"]
    assert all(np.isfinite(v) for v in m.values())


def test_only_the_test_split_is_measured(result: Evaluation, model: Model, matrix: Matrix, config: RunConfig) -> None:
    X = np.where((matrix.meta["split"] == "test").to_numpy()[:, None], matrix.X, np.float32(9))
    again = evaluate(model, X, matrix.meta, config.evaluation, config.seed)
    assert again.metrics == result.metrics
    assert result.metrics["windows"] == (matrix.meta["split"] == "test").sum()


def test_families_never_trained_on_are_told_apart(result: Evaluation) -> None:
    table = result.tables["by_family"].set_index("family")
    assert table["seen_family"].to_dict() == {"harvest": True, "judge": True, "rewrite": False}
    assert (table["low_0.01"] <= table["recall_at_fpr_0.01"]).all()
    unseen = table.loc["rewrite", "recall_at_fpr_0.01"]
    assert unseen == pytest.approx(result.metrics["recall_unseen_at_fpr_0.01"])


def test_slices_add_up_to_all_attack_windows(result: Evaluation) -> None:
    attack = int((result.scored["label"] == 1).sum())
    for name in ("by_family", "by_window_size", "by_share", "by_scope", "by_window_size_and_share"):
        assert result.tables[name]["windows"].sum() == attack, name
    assert list(result.tables["by_window_size"]["window_size"]) == list(SIZE_BINS)


def test_benign_workloads_count_accounts(result: Evaluation, model: Model) -> None:
    table = result.tables["benign_workloads"].set_index("family")
    chat = result.scored.query("family == 'chat' and label == 0")
    flagged = chat[chat["score"] >= model.thresholds.review]["account_id"].nunique()
    assert table.loc["chat", "review_accounts"] == flagged
    assert table.loc["chat", "accounts"] == chat["account_id"].nunique()
    assert (table["review_low"] <= table["review_fpr"]).all()
    assert (table["act_fpr"] <= table["review_fpr"]).all()


@pytest.mark.parametrize(("hits", "total"), [(0, 40), (3, 40), (40, 40)])
def test_the_exact_interval_is_scipys(hits: int, total: int) -> None:
    low, high = clopper_pearson(hits, total, 0.95)
    exact = binomtest(hits, total).proportion_ci(0.95, "exact")
    assert (float(low), float(high)) == pytest.approx((exact.low, exact.high))


def test_calibrated_scores_have_a_small_calibration_error(result: Evaluation) -> None:
    assert result.metrics["ece"] < 0.1
    table = calibration_table(result.scored)
    assert table["weight"].sum() == pytest.approx(result.scored["account_weight"].sum())


def test_a_feature_that_gives_the_label_away_is_suspect() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 500)
    X = rng.normal(size=(500, 3)).astype(np.float32)
    X[:, 1] -= 5 * label
    X[label == 1, 2] = np.nan
    table = single_feature_auc(X, pd.DataFrame({"label": label}), ["noise", "leak", "gap"]).set_index("feature")
    assert table["suspect"].to_dict() == {"leak": True, "noise": False, "gap": True}
    assert table.loc["leak", "auc"] > 0.99
    assert table.loc["gap", "auc_missing"] == 1.0


def test_a_test_split_of_one_class_is_a_clear_error(model: Model, matrix: Matrix, config: RunConfig) -> None:
    benign = matrix.meta["label"] == 0
    with pytest.raises(EvaluationError, match="test split: expected benign and attack rows"):
        evaluate(model, matrix.X[benign], matrix.meta[benign], config.evaluation, config.seed)


def test_no_unseen_family_leaves_its_metrics_out(model: Model, matrix: Matrix, config: RunConfig) -> None:
    found = evaluate(model, matrix.X, matrix.meta.assign(seen_family=True), config.evaluation, config.seed)
    assert not [key for key in found.metrics if "unseen" in key]


def test_slices_of_the_labels_own_columns(model: Model, matrix: Matrix, config: RunConfig) -> None:
    """Recall by language and by each evasion, which may overlap; false alarms by language."""
    attack, account = matrix.meta["label"] == 1, matrix.meta["account_id"].str[1:].astype(int)
    lang = np.where(account % 3 == 0, "zh", "en")
    evasions = np.select([~attack, account % 2 == 0], ["", "low_slow=0.4 identity=0.8"], "identity=0.5")
    evasions[attack & (account % 5 == 0)] = ""
    meta = matrix.meta.assign(lang=lang, evasions=evasions)
    found = evaluate(model, matrix.X, meta, config.evaluation, config.seed)
    scored = found.scored
    honest = scored[scored["label"] == 0]
    (cut,), _ = cut_at(honest["score"].to_numpy(), honest[["account_weight"]].to_numpy().T, 0.01)
    table = found.tables["by_evasion"].set_index("evasion")
    assert list(table.index) == ["identity", "low_slow", "none"]
    with_it = scored[scored["evasions"].str.contains("low_slow") & (scored["label"] == 1)]
    expected = np.average(with_it["score"] > cut, weights=with_it["account_weight"])
    assert table.loc["low_slow", "recall_at_fpr_0.01"] == pytest.approx(expected)
    assert table.loc["low_slow", "windows"] == len(with_it)
    assert table.loc["low_slow", "windows"] < table.loc["identity", "windows"]
    assert table.loc[["identity", "none"], "windows"].sum() == attack[matrix.meta["split"] == "test"].sum()
    assert found.tables["by_lang"]["windows"].sum() == attack[matrix.meta["split"] == "test"].sum()
    assert found.tables["benign_by_lang"]["accounts"].sum() == found.metrics["benign_accounts"]
    without = evaluate(model, matrix.X, matrix.meta, config.evaluation, config.seed)
    assert not {"by_lang", "by_evasion", "benign_by_lang"} & set(without.tables)
    assert without.metrics == found.metrics
