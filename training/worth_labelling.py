"""Which accounts an analyst should look at next: uncertain ones, unlike honest traffic, and unlike each other.

*Uncertainty* (Lewis & Gale 1994): with p the probability whose log odds are how far the score lies above the bundle's
``review`` threshold, twice the smaller of p and 1 - p: 1 on the threshold, near 0 far from it on either side.
*Novelty*: how far the window's known features lie outside what nine tenths of honest windows have (the bundle's
baseline), each as excess / (excess + width of that range), averaged: 0 inside, nearly 1 far outside.

An account's worth is uncertainty times the mean of 1 and novelty, which only tips the balance: with a larger part in it
fewer campaigns were found (docs/lab-notes.md). The queue is filled greedily: each next account has the highest worth
times its distance to the nearest account already in it (at most 1, half the median distance to the first;
farthest-first as in Gonzalez 1985, for labelling Brinker 2003), so that near-copies of one account do not fill it.
Left out: accounts of fewer than ``LEAST`` exchanges, of which training knows nothing, and those already labelled.

    python -m training queue july/ --bundle bundle --feedback feedback.jsonl > queue.csv
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit

from fingerprint import Scorer
from fingerprint.assemble import HOLD, Assembler
from fingerprint.calibrate import LEAST
from fingerprint.errors import FingerprintError, OutOfOrderError
from fingerprint.exchange import Names
from fingerprint.features import compute
from fingerprint.readers import Rejects, read
from training.dataset import Progress
from training.feedback import agreed, read_store
from training.fit import Floats, Rows
from training.split import read_labels

__all__ = ["Judged", "already_labelled", "foremost", "judge", "novelty", "spread", "uncertainty"]

By = Literal["account", "session"]
_NEAR = 0.5  # of the median distance to the first account: what is nearer is partly a copy
_WIDE = 3.0  # widths of the honest range, beyond which a feature counts no further in distances


@dataclass(frozen=True)
class Judged:
    """Windows of at least ``LEAST`` exchanges: whose, int64[k] exchanges, float32[k, n] features, float32[k] scores."""

    account_id: list[str]
    n: npt.NDArray[np.int64]
    features: Rows
    scores: npt.NDArray[np.float32]


def already_labelled(labels: Path | None, feedback: Path | None) -> set[str]:
    """Accounts with a label or a decision by analysts; those on which analysts are divided are not among them."""
    known = set(read_labels(labels, both=False)["account_id"]) if labels else set()
    if feedback:
        decided = agreed(read_store(feedback))
        known |= set(decided.loc[decided["label"] >= 0, "account_id"])
    return known


def judge(traffic: Sequence[Path], scorer: Scorer, by: By, progress: Progress) -> Judged:
    """Read traffic once, or twice where it is not nearly in order. Raises ``FingerprintError`` without windows."""
    try:
        return _judge(traffic, scorer, by, HOLD, progress)
    except OutOfOrderError:
        return _judge(traffic, scorer, by, None, progress)


def _judge(traffic: Sequence[Path], scorer: Scorer, by: By, hold: int | None, progress: Progress) -> Judged:
    accounts, sessions, rejects, count = Names(), Names(), Rejects(), 0
    assembler = Assembler(by, scorer.head, accounts, sessions, hold)
    for path in traffic:
        for batch in read(path, accounts=accounts, sessions=sessions, rejects=rejects):
            assembler.add(batch)
            count += len(batch.time_us)
            progress("read", count, 0)
    names: list[str] = []
    counts, features = [], []
    for entities in assembler.finish():
        enough = np.flatnonzero(entities.n >= LEAST)
        if len(enough):
            names += [entities.account_id[i] for i in enough]
            counts.append(entities.n[enough])
            features.append(compute(entities.windows[enough]))
    if not names:
        raise FingerprintError(f"expected {by}s of at least {LEAST} exchanges, the traffic has none")
    X = np.concatenate(features)
    return Judged(names, np.concatenate(counts), X, scorer.score(X))


def uncertainty(scores: npt.NDArray[np.float32], threshold: float) -> Floats:
    """float32[k] scores to float64[k] from 0 to 1, which it is on the threshold."""
    p = expit(_log_odds(scores) - _log_odds(np.array(threshold)))
    return np.asarray(2 * np.minimum(p, 1 - p), np.float64)


def novelty(features: Rows, baseline: npt.NDArray[np.float32]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Mean over known features of how far they lie outside the honest range (0 to 1), and how many lie outside.

    features: float32[k, n], NaN is missing; baseline: float32[3, n] as ``Bundle.baseline``.
    """
    low, _, high = baseline.astype(np.float64)
    excess = np.maximum(np.maximum(low - features, features - high), 0.0)
    known = ~np.isnan(excess)
    width = np.broadcast_to(high - low, excess.shape)
    far = np.divide(excess, excess + width, out=np.zeros_like(excess), where=known & (excess > 0))
    return far.sum(axis=1) / np.maximum(known.sum(axis=1), 1), (far > 0).sum(axis=1)


def foremost(judged: Judged, scorer: Scorer, done: Collection[str], top: int) -> pd.DataFrame:
    """The queue, foremost first: account_id, priority, score, level, uncertainty, novelty, n_exchanges and reason.

    ``done`` are accounts that need no label. An account of several windows stands by that of the highest worth.
    """
    new, outside = novelty(judged.features, scorer.bundle.baseline)
    unsure = uncertainty(judged.scores, float(scorer.review))
    table = pd.DataFrame({"account_id": judged.account_id, "score": judged.scores, "uncertainty": unsure})
    table["level"], table["novelty"], table["n_exchanges"] = scorer.level(judged.scores), new, judged.n
    table["outside"] = outside
    table = table[~table["account_id"].isin(set(done))]
    table["worth"] = table["uncertainty"] * (1 + table["novelty"]) / 2
    table = table.sort_values(["worth", "account_id"], ascending=[False, True]).drop_duplicates("account_id")
    places = _places(judged.features[table.index.to_numpy()], scorer.bundle.baseline)
    chosen, priority = spread(table["worth"].to_numpy(np.float64), places, top)
    table = table.iloc[chosen].assign(priority=priority)
    facts = zip(table["score"].tolist(), table["outside"].tolist(), strict=True)
    table["reason"] = [_reason(score, count, scorer) for score, count in facts]
    columns = ["account_id", "priority", "score", "level", "uncertainty", "novelty", "n_exchanges", "reason"]
    return table[columns].reset_index(drop=True)


def spread(worth: Floats, places: Floats, top: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Row numbers of at most ``top`` rows, greedily by worth times distance to those already chosen, and that product.

    worth: float64[k]; places: float64[k, n]. Products never rise, an exact copy of a chosen row comes with 0.
    """
    chosen: list[int] = []
    found: list[float] = []
    apart, near, scale = np.ones(len(worth)), np.full(len(worth), np.inf), 1.0
    left = np.ones(len(worth), bool)
    while len(chosen) < min(top, len(worth)):
        gain = np.where(left, worth * apart, -1.0)
        best = int(gain.argmax())
        chosen.append(best)
        found.append(float(gain[best]))
        left[best] = False
        near = np.minimum(near, np.sqrt(((places - places[best]) ** 2).sum(axis=1)))
        if len(chosen) == 1:
            scale = _NEAR * float(np.median(near)) or 1.0
        apart = np.minimum(near / scale, 1.0)
    return np.array(chosen, np.int64), np.array(found)


def _places(features: Rows, baseline: npt.NDArray[np.float32]) -> Floats:
    """float64[k, n]: each feature from the honest median, in widths of the honest range; missing is the median."""
    low, middle, high = baseline.astype(np.float64)
    width = np.where(high > low, high - low, 1.0)
    return np.asarray(np.clip(np.nan_to_num((features - middle) / width), -_WIDE, _WIDE), np.float64)


def _log_odds(scores: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(logit(np.clip(scores.astype(np.float64), 1e-9, 1 - 1e-9)), np.float64)


def _reason(score: float, outside: int, scorer: Scorer) -> str:
    side = "above" if score >= scorer.review else "below"
    away = abs(float(_log_odds(np.array(score)) - _log_odds(np.array(float(scorer.review)))))
    return (
        f"Its score is {away:.1f} log odds {side} the review threshold, and {outside} features lie outside what nine "
        "tenths of honest traffic have."
    )
