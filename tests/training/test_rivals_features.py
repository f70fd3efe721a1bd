"""Detectors of features: outliers score higher, promises hold on honest windows not seen, gaps are typical."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from training.reading import NAMES
from training.rivals_features import COLUMNS, MODELS, NUS, RULES, one_class, outlying, rule

Rows = npt.NDArray[np.float32]


def honest(rng: np.random.Generator, count: int) -> Rows:
    rows = rng.normal(size=(count, len(NAMES))).astype(np.float32)
    rows[:, 1] += rows[:, 0]
    rows[rng.random(rows.shape) < 0.05] = np.nan
    rows[:, NAMES.index("networks")] = np.nan  # never known
    return rows


@pytest.mark.parametrize("name", sorted(MODELS))
def test_what_lies_far_from_honest_windows_scores_higher(name: str) -> None:
    rng = np.random.default_rng(1)
    train, calib, fresh = (honest(rng, count) for count in (400, 200, 200))
    found = outlying(MODELS[name], train, calib, np.concatenate([fresh, fresh + 2]), 7)
    assert set(found) == set(COLUMNS)
    for score in found.values():
        assert np.mean(score[200:] > np.quantile(score[:200], 0.95)) > 0.9
    again = outlying(MODELS[name], train, calib, np.concatenate([fresh, fresh + 2]), 7)
    np.testing.assert_array_equal(found["content"], again["content"])


def test_content_alone_is_blind_to_the_rest() -> None:
    rng = np.random.default_rng(2)
    train, calib, rows = (honest(rng, count) for count in (300, 100, 50))
    other = rows.copy()
    rest = [i for i in COLUMNS["all features"] if i not in COLUMNS["content"]]
    other[:, rest] += 9
    first, second = (outlying(MODELS["mahalanobis"], train, calib, some, 1) for some in (rows, other))
    np.testing.assert_array_equal(first["content"], second["content"])
    assert (second["all features"] > first["all features"]).all()


def test_the_one_class_machine_is_set_on_honest_windows_it_has_not_seen() -> None:
    """Calibration windows twice as wide as training: the share that is outside is nearest to a large nu's promise."""
    rng = np.random.default_rng(3)
    shape: Any = (500, 3)
    train, same, rows = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=(2000, 3))
    outside = float((one_class(train, same, 1)(rows) > 0).mean())
    assert min(abs(outside - nu) / nu for nu in NUS) < 0.5
    wide = one_class(train, 2 * same, 1)(rows)
    assert float((wide > 0).mean()) > 0.1


def test_rules_look_at_one_feature_and_a_missing_one_stays_missing() -> None:
    rows = np.zeros((2, len(NAMES)), np.float32)
    rows[:, NAMES.index("rate")] = (3.0, np.nan)
    found = rule("volume", rows)
    assert set(found) == set(RULES["volume"])
    np.testing.assert_array_equal(found["exchanges an hour"], [3.0, np.nan])
