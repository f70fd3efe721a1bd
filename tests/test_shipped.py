"""The bundle that ships: sound, small, explained, and exactly the native Booster that is kept beside it."""

import json
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from builders import exchange, exchanges, window_of
from typer.testing import CliRunner

from fingerprint import FEATURES, Scorer, features
from fingerprint.commands import app
from fingerprint.scorer import verify
from training.bench import booster_beside
from training.config import LightGBM
from training.export import check_parity
from training.fit import Calibration, Levels, Model

BUNDLE = Path(__file__).parents[1] / "models" / "default"
pytestmark = pytest.mark.skipif(
    not (BUNDLE / "manifest.json").is_file(), reason="no shipped bundle in models/default yet"
)


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BUNDLE / "manifest.json").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer.load(BUNDLE)


@pytest.fixture(scope="module")
def oracle(manifest: dict[str, Any]) -> Model:
    """LightGBM's own trees with the calibration and thresholds of the manifest."""
    booster = booster_beside(BUNDLE)
    if not booster.is_file():
        pytest.skip("no native Booster beside the shipped bundle")
    calibration = Calibration(**manifest["calibration"])
    levels = Levels(**manifest["thresholds"], benign_accounts=0)
    return Model(lgb.Booster(model_file=str(booster)), calibration, levels, tuple(f.name for f in FEATURES), LightGBM())


@pytest.fixture(scope="module")
def windows(scorer: Scorer) -> np.ndarray:
    """Features of random windows of 1 to 80 exchanges, and rows drawn between and around the typical values."""
    real = features([window_of(exchanges(1 + seed % 80, seed), scorer.head) for seed in range(200)])
    rng = np.random.default_rng(9)
    low, typical, high = np.nan_to_num(scorer.bundle.baseline)
    drawn = typical + rng.normal(size=(4000, len(FEATURES))) * (high - low + 0.1)
    drawn[rng.random(drawn.shape) < 0.15] = np.nan
    return np.concatenate([real, drawn.astype(np.float32)])


def test_it_verifies() -> None:
    assert verify(BUNDLE).bundle_id.startswith("fp-")
    result = CliRunner().invoke(app, ["verify", str(BUNDLE)])
    assert result.exit_code == 0
    assert "is sound" in result.stdout


def test_its_booster_names_the_features_in_their_order(oracle: Model) -> None:
    assert oracle.booster.feature_name() == [feature.name for feature in FEATURES]


def test_it_is_the_calibrated_booster(oracle: Model, windows: np.ndarray) -> None:
    """Over windows, drawn rows, and rows on every threshold, beside it, missing and infinite."""
    report = check_parity((BUNDLE / "model.onnx").read_bytes(), oracle, windows)
    assert report.decision_differences == 0
    assert report.probability_error <= 1e-6
    assert report.edge_rows > 1000


def test_one_row_at_a_time_is_the_booster_too(oracle: Model, scorer: Scorer, windows: np.ndarray) -> None:
    rows = windows[:300]
    alone = np.concatenate([scorer.score(row[None]) for row in rows])
    assert np.abs(alone - oracle.probability(rows)).max() <= 1e-6
    expected = ["act" if p >= scorer.act else "review" if p >= scorer.review else "allow" for p in alone]
    assert scorer.level(alone) == expected


def test_more_of_a_suspicious_feature_never_lowers_the_score(scorer: Scorer, windows: np.ndarray) -> None:
    """The monotone constraints hold after rounding and export."""
    rising = [j for j, feature in enumerate(FEATURES) if feature.direction > 0]
    assert rising
    rows = windows[200:400]
    for j in rising:
        less, more = rows.copy(), rows.copy()
        less[:, j], more[:, j] = FEATURES[j].low, FEATURES[j].high
        assert (scorer.score(more) >= scorer.score(less)).all(), FEATURES[j].name


def test_its_thresholds_leave_room_above_and_below(manifest: dict[str, Any]) -> None:
    assert 0 < manifest["thresholds"]["review"] <= manifest["thresholds"]["act"] < 1


def test_its_prompt_head_is_small(scorer: Scorer) -> None:
    assert (BUNDLE / "head.npy").stat().st_size <= 1_000_000
    assert np.abs(scorer.head.weights.astype(int)).max() > 20, "its weights use their eight bits"


def test_its_card_says_on_what_how_well_and_where_it_fails() -> None:
    card = (BUNDLE / "card.md").read_text("utf-8")
    for heading in ("Trained on", "Limits", "Retrain"):
        assert f"## {heading}" in card
    assert "simulated" in card


def test_its_baseline_is_ordered_and_within_the_ranges_of_the_features(scorer: Scorer) -> None:
    low, typical, high = scorer.bundle.baseline
    for j, feature in enumerate(FEATURES):
        if not np.isnan(typical[j]):
            assert feature.low - 1e-4 <= low[j] <= typical[j] <= high[j] <= feature.high + 1e-4, feature.name


def test_an_ordinary_person_is_allowed(scorer: Scorer) -> None:
    """A dozen everyday questions over two evenings."""
    prompts = [
        "hi, my bread is flat, any idea why?",
        "ok and how warm should the kitchen be",
        "thanks! what can I cook with leftover rice",
        "my kid wants to know why the sky is blue",
        "can you make that shorter",
        "what's a nice birthday present for my dad, he likes fishing",
    ]
    records = [
        exchange(
            exchange_id=str(i),
            timestamp=1_772_390_000 + 86_400 * (i // 6) + 95 * (i % 6) ** 2,
            prompt=prompts[i % 6] if i < 6 else f"{prompts[i % 6]} (again)",
            n_messages=1 + 2 * (i % 3),
            stream=True,
            output_tokens=150 + 31 * i,
            input_tokens=60 + 45 * i,
            stop_reason="end_turn",
        )
        for i in range(12)
    ]
    assert scorer.level(scorer.score(features(window_of(records, scorer.head)))) == ["allow"]
