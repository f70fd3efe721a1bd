"""A small synthetic `Review`, with and without a champion: seeded figures in the shapes that its docstring promises."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from training.config import SIMULATED
from training.review import Against, Decision, Review

FPRS = (0.01, 0.003)
FAMILIES = ("alpaca", "camel", "evol_instruct", "glaive", "cot_traces", "list_synth")
WORKLOADS = ("human_chat", "nightly_eval", "support_bot:banking_intents", "gateway", "classroom")
FEATURES = ("prompt_distinct_ratio", "likeness_p90", "pause_log_mean", "hours_entropy", "never_seen", "tokens_mean")
FOUND = {
    "family": FAMILIES,
    "attacker_share": (0.05, 0.25, 1.0),
    "lang": ("en", "zh"),
    "evasion": ("none", "low_slow, strong", "identity, weak"),
}
HONEST = {"workload": WORKLOADS, "lang": ("en", "ja", "many")}


def review(*, champion: bool = True, seed: int = 5, **changes: Any) -> Review:
    """A review of random figures; `changes` replace fields."""
    rng = np.random.default_rng(seed)
    built = Review(
        bundle_id="fp-0123456789ab",
        positives=SIMULATED,
        metrics_of="this model",
        against=Against("3", "fp-ba9876543210", 1204, 1766) if champion else None,
        fprs=FPRS,
        thresholds={"review": 0.966, "act": 0.992},
        trained_on=pd.DataFrame({"name": ["simulated world"], "licence": ["our own"], "sha256": ["ab" * 32]}),
        splits=pd.DataFrame({"split": ["train", "test"], "kind": "attack", "accounts": 965, "windows": 9800}),
        changed=pd.DataFrame([("num_leaves", 15, 6)], columns=["what", "champion", "challenger"])[: int(champion)],
        headline=_headline(rng, champion),
        found={kind: found(rng, slices, champion) for kind, slices in FOUND.items()},
        honest={kind: honest(rng, slices, champion) for kind, slices in HONEST.items()},
        calibration=_calibration(rng, champion),
        early=_early(rng, champion),
        survival=_survival(champion),
        drift=_drift(rng),
        features=FEATURES,
        sample=_sample(rng),
        contributions=rng.normal(size=(60, len(FEATURES))) * np.arange(len(FEATURES)),
        examples=_examples(rng, champion),
        speed={"score_p50_us": 4.1, "score_p99_us": 5.2, "booster_predict_p50_us": 15.0, "onnx_bytes": 92_160.0},
        parity={"rows": 28647, "edge_rows": 2531, "probability_error": 1.3e-7, "decision_differences": 0},
        trials=pd.DataFrame(
            {
                "number": range(4),
                "state": ["COMPLETE", "PRUNED", "COMPLETE", "COMPLETE"],
                "value": [0.5, 0.4, 0.6, 0.55],
                "num_leaves": [6, 8, 15, 6],
            }
        ),
        decision=decision(passed=True) if champion else None,
    )  # fmt: skip
    return replace(built, **changes)


def decision(passed: bool, reason: str = "All checks hold.") -> Decision:
    rows = [
        ("recall at 1.0% false positives", "all", 0.262, 0.241, 0.021, 0.004, 0.037, "not below the champion", True),
        ("honest accounts at review", "workload gateway", 0.03, 0.01, 0.02, -0.01, 0.05, "at most +5 pp", passed),
        ("score p99", "", 5.2, float("nan"), float("nan"), float("nan"), float("nan"), "at most 30 µs", True),
    ]
    names = ["check", "slice", "challenger", "champion", "difference", "low", "high", "limit", "passed"]
    return Decision(passed, reason, pd.DataFrame(rows, columns=names))


def found(rng: np.random.Generator, slices: Sequence[object], champion: bool) -> pd.DataFrame:
    """Recall of slices; of families (text) whether they were trained on."""
    table = pd.DataFrame({"slice": list(slices), "windows": rng.integers(8, 900, len(slices))})
    table["accounts"] = table["windows"] // 4
    if slices is FAMILIES:
        table["seen_family"] = np.arange(len(slices)) % 2 == 0
    for side in ("", "champion_")[: 1 + champion]:
        for rate in FPRS:
            _interval(rng, table, (f"{side}recall_{rate:g}", f"{side}low_{rate:g}", f"{side}high_{rate:g}"), 0.6)
    return table


def honest(rng: np.random.Generator, slices: Sequence[object], champion: bool) -> pd.DataFrame:
    """Honest accounts at each level."""
    table = pd.DataFrame({"slice": list(slices), "seen_family": rng.random(len(slices)) < 0.5})
    table["accounts"] = rng.integers(2, 300, len(slices))
    for side in ("", "champion_")[: 1 + champion]:
        for level, most in (("review", 0.06), ("act", 0.02)):
            _interval(rng, table, tuple(f"{side}{level}{end}" for end in ("", "_low", "_high")), most)
    return table


def _interval(rng: np.random.Generator, table: pd.DataFrame, names: Sequence[str], most: float) -> None:
    value, width = rng.random(len(table)) * most, 0.6 / np.sqrt(table["accounts"] + 1)
    table[list(names)] = np.stack([value, np.maximum(value - width, 0), np.minimum(value + width, 1)], axis=1)


def _headline(rng: np.random.Generator, champion: bool) -> pd.DataFrame:
    measures = [
        f"recall at {rate:.1%} false positives, {of}" for rate in FPRS for of in ("all families", "unseen families")
    ]
    table = pd.DataFrame({"measure": [*measures, "honest accounts at review", "ROC AUC"]})
    for side in ("value low high", "champion champion_low champion_high")[: 1 + champion]:
        value = rng.random(len(table)) * 0.4
        table[side.split()] = np.stack([value, value * 0.7, value * 1.4], axis=1)
    if champion:
        gap = table["value"] - table["champion"]
        table = table.assign(difference=gap, difference_low=gap - 0.03, difference_high=gap + 0.04)
    return table


def _calibration(rng: np.random.Generator, champion: bool) -> pd.DataFrame:
    at = np.linspace(0.05, 0.95, 8)
    noisy = {name: np.clip(at + rng.normal(0, 0.05, 8), 0, 1) for name in ("challenger", "champion")[: 1 + champion]}
    rows = [pd.DataFrame({"model": k, "predicted": at, "observed": v, "weight": 9 - 8 * at}) for k, v in noisy.items()]
    return pd.concat(rows, ignore_index=True)


def _early(rng: np.random.Generator, champion: bool) -> pd.DataFrame:
    rows = [(level, share, 169, rng.random(), 60.0, np.inf) for level in ("review", "act") for share in (0.05, 1.0)]
    table = pd.DataFrame(rows, columns=["level", "slice", "accounts", "found", "median", "p90"])
    return table.assign(champion_found=0.2, champion_median=80.0, champion_p90=np.inf) if champion else table


def _survival(champion: bool) -> pd.DataFrame:
    looks = np.array([5, 10, 25, 60, 120, 400])
    rows = [
        pd.DataFrame({"level": level, "slice": share, "exchanges": looks})
        for level in ("review", "act")
        for share in (0.05, 0.25, 1.0)
    ]  # fmt: skip
    table = pd.concat(rows, ignore_index=True)
    table["left"] = 1 - 0.1 * table["slice"] * np.log(table["exchanges"])
    return table.assign(champion_left=table["left"] ** 0.8) if champion else table


def _drift(rng: np.random.Generator) -> pd.DataFrame:
    table = pd.DataFrame({"feature": FEATURES, "family": "timing", "psi": rng.random(len(FEATURES)) * 0.4})
    return table.assign(ks=table["psi"] / 3, chance=0.01, noise=0.03, missing=0.02, missing_reference=0.01)


def _sample(rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Windows of which one feature is missing everywhere and one here and there."""
    sample = rng.normal(size=(60, len(FEATURES))).astype(np.float32)
    sample[:, FEATURES.index("never_seen")] = np.nan
    sample[::7, 1] = np.nan
    return sample


def _examples(rng: np.random.Generator, champion: bool) -> pd.DataFrame:
    reasons = [
        "likeness_p90 is 5.92 (logit); honest traffic usually has -0.2.",
        "pause_log_mean is 13.5; usually 16.4.",
    ]
    rows = [
        {"side": side, "account_id": f"acct_{side}_{i}", "slice": WORKLOADS[i] if side == "honest" else FAMILIES[i],
         "n_exchanges": 40 + i, "share": np.nan if side == "honest" else 0.25, "score": rng.random(), "level": "review",
         "reasons": reasons}
        for side in ("honest", "attack") for i in range(4)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(champion_score=0.5) if champion else table
