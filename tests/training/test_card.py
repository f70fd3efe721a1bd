from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from training.card import card, markdown
from training.config import RunConfig
from training.evaluate import Evaluation, evaluate
from training.export import ParityReport
from training.fit import Model

if TYPE_CHECKING:
    from conftest import Matrix

PARITY = ParityReport(rows=900, edge_rows=800, probability_error=1.2e-7, margin_error=0.0, decision_differences=0)
SOURCES = [{"source": "toy | prompts", "rows": 12, "licence": "CC-BY-4.0"}]


@pytest.fixture(scope="module")
def result(model: Model, matrix: Matrix, config: RunConfig) -> Evaluation:
    return evaluate(model, matrix.X, matrix.meta, config.evaluation, config.seed)


def write(model: Model, matrix: Matrix, config: RunConfig, result: Evaluation) -> str:
    return card(
        config=config,
        model=model,
        meta=matrix.meta,
        evaluation=result,
        parity=PARITY,
        training_data=SOURCES,
    )


def test_the_card_answers_what_a_reviewer_asks(
    model: Model, matrix: Matrix, config: RunConfig, result: Evaluation
) -> None:
    text = write(model, matrix, config, result)
    for heading in (
        "Measured at",
        "Thresholds of the model in this bundle",
        "Trained on",
        "Limits",
        "Model and export",
        "Retrain",
    ):
        assert f"\n## {heading}\n" in text
    assert f"set on {model.thresholds.benign_accounts} benign accounts" in text
    assert "| toy \\| prompts | 12 | CC-BY-4.0 |" in text
    assert "python -m training run" in text
    assert "0 different decisions, largest difference of probability 1.2e-07" in text
    assert f"| {result.metrics['roc_auc']:.3f}" in text


def test_every_table_of_recall_says_that_positives_are_simulated(
    model: Model, matrix: Matrix, config: RunConfig, result: Evaluation
) -> None:
    text = write(model, matrix, config, result)
    headings = [line for line in text.splitlines() if line.startswith("### Recall")]
    assert len(headings) == 3
    assert all("simulated positives" in line for line in headings)


def test_the_measured_model_and_the_shipped_one_are_told_apart(
    model: Model, matrix: Matrix, config: RunConfig, result: Evaluation
) -> None:
    """After a refit the figures, thresholds and counts of the forerunner stand under its name alone."""
    shipped = replace(model, thresholds=replace(model.thresholds, review=0.111, act=0.222, benign_accounts=99))
    everyone = replace(matrix, meta=matrix.meta.assign(split="train"))
    text = write(shipped, everyone, replace(config, refit=True, seed=5), result)
    measured, of_bundle = text.split("## Thresholds of the model in this bundle")
    assert f"`review` from {model.thresholds.review:.4f}" in measured
    assert "### Thresholds as measured: those of the forerunner" in measured
    assert "0.1110" not in measured
    assert "`review` from 0.1110 and `act` from 0.2220" in of_bundle
    assert "99 benign accounts" in of_bundle
    assert "| test | benign |" in measured.split("### Accounts and windows of the forerunner")[1]
    assert "| test |" not in of_bundle
    assert "of seed 20260701 in sight" in " ".join(of_bundle.split())
    assert "this run's seed is 5" in of_bundle
    plain = write(model, matrix, config, result)
    assert "forerunner" not in plain
    assert "### Thresholds as measured: those of this model" in plain


def test_languages_and_evasions_of_the_labels_are_shown(
    model: Model, matrix: Matrix, config: RunConfig, result: Evaluation
) -> None:
    assert "by language" not in write(model, matrix, config, result)
    meta = matrix.meta.assign(lang="zh", evasions="identity=0.8")
    told = write(model, matrix, config, evaluate(model, matrix.X, meta, config.evaluation, config.seed))
    for title in (
        "Recall at 1% by language",
        "Recall at 1% by evasion",
        "Benign accounts that reach them, by language",
    ):
        assert f"### {title}" in told
    assert "| language | accounts | review | act |" in told
    assert "| identity |" in told


def test_the_same_inputs_give_the_same_card(
    model: Model, matrix: Matrix, config: RunConfig, result: Evaluation
) -> None:
    assert write(model, matrix, config, result) == write(model, matrix, config, result)


def test_extrapolated_thresholds_and_suspect_features_are_named(
    model: Model, matrix: Matrix, config: RunConfig, result: Evaluation
) -> None:
    few = replace(model, thresholds=replace(model.thresholds, extrapolated=("act",)))
    assert "too few to promise `act`: extrapolated" in write(few, matrix, config, result)
    leak = result.tables["single_features"].assign(suspect=lambda t: t["feature"] == "feature_0")
    leaking = replace(result, tables={**result.tables, "single_features": leak})
    assert "may leak it: `feature_0`" in write(model, matrix, config, leaking)


def test_a_table_shows_missing_as_empty_and_whole_numbers_whole() -> None:
    table = pd.DataFrame({"a": [0.5, float("nan")], "b": [3, 4]})
    assert markdown(table) == "| a | b |\n| --- | --- |\n| 0.500 | 3 |\n|  | 4 |"
    assert markdown(pd.DataFrame()) == ""
