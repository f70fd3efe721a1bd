"""What the gate lets pass and what it refuses, on synthetic scores of which the truth is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compared import PARITY, SPEED, compared

from training.compare import CHALLENGER, CHAMPION, Compared
from training.config import RunConfig, load
from training.gate import decide
from training.review import Decision

CONFIG: RunConfig = load(None, {"evaluation.bootstrap": 100})


def decided(found: Compared, **facts: Any) -> Decision:
    return decide(found, {**SPEED, **facts}, {**PARITY, **facts}, CONFIG)


def failed(decision: Decision) -> list[str]:
    rows = decision.rows[~decision.rows["passed"].astype(bool)]
    return [f"{check} {name}".strip() for check, name in zip(rows["check"], rows["slice"], strict=True)]


def lowered(found: Compared, rows: "np.ndarray[Any, Any]", by: float = 0.5) -> Compared:
    """The challenger scores some windows lower (or, negative, higher) than it did."""
    windows = found.windows.copy()
    windows.loc[rows, CHALLENGER] = np.clip(windows.loc[rows, CHALLENGER] - by, 1e-6, 1 - 1e-6)
    return replace(found, windows=windows)


def test_the_same_model_passes() -> None:
    found = compared()
    windows = found.windows.assign(**{CHALLENGER: found.windows[CHAMPION]})
    decision = decided(replace(found, windows=windows))
    assert decision.passed
    assert not failed(decision)
    differences = decision.rows["difference"].dropna()
    assert len(differences) > 20
    assert (differences == 0).all()


def test_models_that_differ_by_chance_are_seldom_refused() -> None:
    """Twelve pairs of equally good models, some fifty checks each; about one in seven is refused."""
    refused = [failed(decided(compared(seed=seed))) for seed in range(12)]
    assert sum(map(bool, refused)) <= 4, refused


def test_a_model_that_finds_less_is_refused_by_name() -> None:
    found = compared()
    decision = decided(lowered(found, (found.windows["label"] == 1).to_numpy(), by=0.3))
    assert not decision.passed
    assert "recall at 1.0% false positives, all families" in failed(decision)
    assert "recall" in decision.reason


def test_a_fall_in_one_family_is_refused_though_the_rest_makes_up_for_it() -> None:
    found = compared(2400, strength=1.5)
    attack = found.windows["label"] == 1
    worse = (attack & (found.windows["family"] == "judge")).to_numpy()
    better = (attack & (found.windows["family"] != "judge")).to_numpy()
    decision = decided(lowered(lowered(found, worse, by=0.6), better, by=-0.9))
    overall = decision.rows.loc[decision.rows["check"] == "recall at 1.0% false positives, all families"]
    assert overall["passed"].all()
    assert "recall at 1.0% family judge" in failed(decision)


def test_more_false_alarms_in_one_language_are_refused() -> None:
    found = compared(2400)
    ja = found.windows["lang"] == "ja"
    some = ja & (found.windows["label"] == 0) & (found.windows["account_id"].str.endswith(("1", "4")))
    names = failed(decided(lowered(found, some.to_numpy(), by=-0.9)))
    assert "honest accounts at review lang ja" in names
    assert "honest accounts newly at review lang ja" in names
    assert not [name for name in names if name.startswith("honest") and name.endswith(("lang en", "lang de"))]


@pytest.mark.parametrize(
    ("facts", "check"),
    [
        ({"score_p50_us": 31.0}, "microseconds to score a window"),
        ({"onnx_bytes": 3e6}, "bytes of ONNX"),
        ({"decision_differences": 1.0}, "decisions of ONNX unlike LightGBM's"),
    ],
)
def test_a_broken_slow_or_large_export_is_refused(facts: dict[str, float], check: str) -> None:
    assert check in failed(decided(compared(), **facts))


def test_too_few_accounts_say_nothing() -> None:
    names = failed(decided(compared(60)))
    assert {"honest accounts compared", "attack accounts compared"} <= set(names)


def test_a_first_model_is_held_to_its_own_limits() -> None:
    found = compared(alone=True)
    assert decided(found).passed
    assert "no champion" in decided(found).reason
    chance = decided(compared(alone=True, strength=0.0))
    assert "recall at 1.0% false positives, all families" in failed(chance)


def test_a_first_model_that_flags_a_workload_is_refused() -> None:
    found = compared(alone=True)
    ci = ((found.windows["family"] == "ci") & (found.windows["account_id"].str.endswith(("1", "2")))).to_numpy()
    assert "honest accounts at review workload ci" in failed(decided(lowered(found, ci, by=-0.9)))
