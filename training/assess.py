"""From a comparison to a review: the tables, the examples with their reasons, what each feature adds, what changed.

Accounts appear as hashes (`candidate.hashes`): MLflow is read by more people than the logs are. `names` tells which
account a hash is, for a file outside MLflow. Left out: how it is shown (`review_page`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fingerprint.features import FEATURES
from training import compare_tables
from training.candidate import Candidate, hashes
from training.compare import CHALLENGER, CHAMPION, Compared
from training.config import RunConfig
from training.drift import against_baseline, against_reference, by_chance
from training.gate import decide
from training.review import Against, Review

__all__ = ["assess", "changes", "drift_of", "names"]

_EXAMPLES = 10
_SAMPLE = 1000  # windows, of which the contributions are shown


def assess(
    found: Compared,
    model: Candidate,
    config: RunConfig,
    *,
    bundle_id: str,
    against: Against | None,
    trained_on: pd.DataFrame,
    splits: pd.DataFrame,
    changed: pd.DataFrame,
    drift: pd.DataFrame,
    speed: Mapping[str, float],
    parity: Mapping[str, float],
    trials: pd.DataFrame,
    not_compared: str = "",
) -> Review:
    """Everything a reviewer is shown of `model`, the measured one behind the bundle `bundle_id` that would serve.

    The gate's opinion is of `config.gate`; the parts that are given are those of `Review`.
    """
    early, survival = compare_tables.early(found)
    rates = compare_tables.resampled_rates(found, config)
    sample = _sample(found, config.seed)
    return Review(
        bundle_id=bundle_id,
        positives=config.evaluation.positives,
        metrics_of=config.metrics_of,
        against=against,
        fprs=config.evaluation.fprs,
        thresholds=model.thresholds,
        trained_on=trained_on,
        splits=splits,
        changed=changed,
        headline=compare_tables.headline(found, config, rates),
        found=compare_tables.recalls(found, config, rates),
        honest=compare_tables.honest(found, config),
        calibration=compare_tables.calibration(found),
        early=early,
        survival=survival,
        drift=drift,
        features=tuple(feature.name for feature in FEATURES),
        sample=sample,
        contributions=np.asarray(model.booster.predict(sample, pred_contrib=True), np.float64)[:, :-1],
        examples=examples(found, model),
        speed=speed,
        parity=parity,
        trials=trials,
        decision=None if not_compared else decide(found, speed, parity, config, rates),
        not_compared=not_compared,
    )


def _sample(found: Compared, seed: int) -> npt.NDArray[np.float32]:
    """Some windows, honest and attack alike."""
    label = found.windows["label"].to_numpy()
    rng, parts = np.random.default_rng(seed), []
    for side in (0, 1):
        rows = np.flatnonzero(label == side)
        parts.append(rng.choice(rows, min(_SAMPLE // 2, len(rows)), replace=False))
    sample: npt.NDArray[np.float32] = found.X[np.sort(np.concatenate(parts))]
    return sample


def examples(found: Compared, model: Candidate) -> pd.DataFrame:
    """The highest honest accounts and the lowest attack accounts, each by its highest window, with reasons."""
    rows = found.windows.reset_index(drop=True)
    highest = rows.loc[rows.groupby("account_id")[CHALLENGER].idxmax()].sort_values(CHALLENGER, kind="stable")
    picked = pd.concat(
        [highest[highest["label"] == 0].iloc[::-1].head(_EXAMPLES), highest[highest["label"] == 1].head(_EXAMPLES)]
    )
    reasons = model.scorer.reasons(found.X[picked.index])
    return pd.DataFrame(
        {
            "side": np.where(picked["label"] == 1, "attack", "honest"),
            "account_id": hashes(picked["account_id"]).to_numpy(),
            "slice": picked["family"].to_numpy(),
            "n_exchanges": picked["n_exchanges"].to_numpy(),
            "share": picked["share"].to_numpy(),
            "score": picked[CHALLENGER].to_numpy(),
            "level": model.scorer.level(picked[CHALLENGER].to_numpy(np.float32)),
            **({"champion_score": picked[CHAMPION].to_numpy()} if CHAMPION in picked else {}),
            "reasons": [[str(reason["sentence"]) for reason in told] for told in reasons],
        }
    )


def names(review: Review, accounts: pd.Series[str]) -> pd.DataFrame:
    """Which of the accounts the examples are: side, hash, account_id."""
    of = dict(zip(hashes(accounts), accounts, strict=True))
    told = review.examples[["side", "account_id"]].rename(columns={"account_id": "hash"})
    return told.assign(account_id=told["hash"].map(of))


def changes(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> pd.DataFrame:
    """what, champion, challenger: a row for each entry of two nested mappings (settings, facts) that differs."""
    new, old = _flat(mine), _flat(theirs)
    rows = [(key, old.get(key, ""), new.get(key, "")) for key in {**old, **new} if old.get(key) != new.get(key)]
    return pd.DataFrame([tuple(map(str, row)) for row in rows], columns=["what", "champion", "challenger"])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def drift_of(old: npt.NDArray[np.float32] | None, new: npt.NDArray[np.float32], model: Candidate) -> pd.DataFrame:
    """Drift of each feature of honest windows, strongest first; without `old` from the bundle's baseline."""
    rows = []
    for j, feature in enumerate(FEATURES):
        latest = new[:, j]
        if old is not None:
            figures = against_reference(old[:, j], latest)
            figures["missing_reference"] = float(np.isnan(old[:, j]).mean())
        else:
            psi, distance = against_baseline(model.scorer.bundle.baseline[:, j], latest)
            chance, noise = by_chance(4, max(len(latest), 1), None)
            figures = {"psi": psi, "ks": distance, "chance": chance, "noise": noise, "missing_reference": float("nan")}
        rows.append({"feature": feature.name, "family": feature.family, **figures, "missing": np.isnan(latest).mean()})
    return pd.DataFrame(rows).sort_values(["psi", "ks"], ascending=False, ignore_index=True, kind="stable")
