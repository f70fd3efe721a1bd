"""Thresholds with a promise, and the baseline, from honest traffic: what ``fingerprint calibrate`` does.

A level asks for a share of honest accounts that may reach it. The cut is put between two accounts, so that the share
of all accounts like these that lies above it is, with the stated confidence, no more than was asked: the exact bound
of Clopper & Pearson (1934), which is also Wilks's (1941) tolerance limit and so holds for a cut that is chosen among
the accounts themselves. No law of the scores is assumed. What is assumed: the accounts are honest, and those to come
are drawn as they were. Distilling accounts among them raise the cut: fewer alarms, never more. Training sets its
thresholds by the same ``cut``. Left out: reading and scoring traffic (``commands``).
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.bundle import Bundle
from fingerprint.errors import FingerprintError
from fingerprint.features import FEATURES

__all__ = [
    "LEAST",
    "Cut",
    "Judged",
    "calibrated",
    "cut",
    "needed",
    "quantiles",
    "sentence",
    "small_accounts",
    "upper_bound",
]

LEAST = 3  # exchanges of the smallest account that a promise is made for, and of the smallest window of training
_MARK = "> Set on the operator's own traffic: "


@dataclass(frozen=True)
class Cut:
    """Where a level begins (values from ``at`` on), and what that promises.

    ``asked``: the share of honest accounts that may reach it; ``accounts``: how many it rests on; ``reached``: how
    many of them reach it; ``bound``: upper end of the share of all such accounts that do, at the given confidence.
    """

    at: float
    asked: float
    accounts: int
    reached: int
    bound: float

    @property
    def kept(self) -> bool:
        """Whether what was asked is promised; if not, the accounts were too few and the cut is beyond all of them."""
        return self.bound <= self.asked


class Judged(NamedTuple):
    """Honest windows as ``score`` judges them: int64[k] facts, float32[k, n] features, float32[k] scores."""

    account_id: list[str]
    n: NDArray[np.int64]
    first_us: NDArray[np.int64]
    last_us: NDArray[np.int64]
    features: NDArray[np.float32]
    scores: NDArray[np.float32]


def _at_most(hits: int, total: int, rate: float) -> NDArray[np.float64]:
    """float64[hits + 1]: the binomial probabilities of at most 0, 1, ... ``hits`` of ``total`` at ``rate``."""
    k = np.arange(hits + 1)
    choose = np.cumsum(np.r_[0.0, np.log((total - k[:-1]) / k[1:])])
    return np.cumsum(np.exp(choose + k * math.log(rate) + (total - k) * math.log1p(-rate)))


def upper_bound(hits: int, total: int, confidence: float) -> float:
    """One-sided exact upper bound of a rate of which ``hits`` of ``total`` were seen (Clopper & Pearson 1934)."""
    if hits >= total:
        return 1.0
    low, high = 0.0, 1.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _at_most(hits, total, middle)[-1] > 1 - confidence else (low, middle)
    return high


def needed(rate: float, confidence: float) -> int:
    """From how many accounts on a rate can be promised: then none of them may reach the cut (Wilks 1941)."""
    return math.ceil(math.log1p(-confidence) / math.log1p(-rate))


def cut(values: NDArray[np.float64], asked: float, confidence: float) -> Cut:
    """The lowest cut that keeps the promise; ``values``: float64[k], one an account, margins or log odds.

    Equal values stay on one side, below. Too few accounts promise nothing: then the cut follows from an exponential
    tail through the highest tenth (peaks over threshold, Pickands 1975), and lies beyond all of them.
    """
    highest = np.sort(values)[::-1]
    total = len(highest)
    allowed = int((_at_most(min(total - 1, math.ceil(asked * total)), total, asked) <= 1 - confidence).sum()) - 1
    at = _between(highest, max(allowed, 0))
    if allowed < 0:
        tail = highest[: max(2, total // 10)]
        at = max(at, float(tail[-1] + np.mean(tail - tail[-1]) * math.log(len(tail) / (asked * total))))
    bound = upper_bound(max(allowed, 0), total, confidence)
    return Cut(at, asked, total, int((highest >= at).sum()), bound)


def _between(highest: NDArray[np.float64], allowed: int) -> float:
    """The middle between the highest value that must stay below, number ``allowed`` in falling order, and the next."""
    below = highest[allowed]
    above = highest[highest > below]
    return float((below + above[-1]) / 2 if len(above) else np.nextafter(below, np.inf))


def quantiles(features: NDArray[np.float32]) -> dict[str, list[float]]:
    """The baseline: the 5 %, 50 % and 95 % quantile of each feature over honest windows, float32[k, n]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # what no window has is missing in the baseline too
        found = np.nanquantile(features, [0.05, 0.5, 0.95], axis=0)
    return {feature.name: found[:, j].tolist() for j, feature in enumerate(FEATURES)}


def _threshold(scores: NDArray[np.float32], asked: float, confidence: float) -> Cut:
    """The cut as a float32 score: no account below it in log odds reaches it after rounding."""
    odds = np.clip(scores.astype(np.float64), 1e-12, 1 - 2.0**-25)
    logit = np.log(odds) - np.log1p(-odds)
    found = cut(logit, asked, confidence)
    below = scores[logit < found.at].max()
    if below >= 1:
        raise FingerprintError("honest accounts have the highest score there is: this bundle does not fit the traffic")
    at = max(np.float32(1 / (1 + math.exp(-found.at))), np.nextafter(below, np.float32(1)))
    return replace(found, at=float(at), reached=int((scores >= at).sum()))


def calibrated(
    bundle: Bundle, parts: Sequence[Judged], by: str, asked: Mapping[str, float], confidence: float
) -> tuple[dict[str, Any], str, dict[str, Cut]]:
    """Manifest and card of the bundle with thresholds and baseline of these windows, and the cut of each level.

    ``asked``: level to share; ``by``: what a window is. An account counts once, by its highest window; those of fewer
    than ``LEAST`` exchanges, of which training knows nothing, are left out and counted apart. Raises
    ``FingerprintError`` when no account is left.
    """
    names, owner = np.unique([name for part in parts for name in part.account_id], return_inverse=True)
    scores, n = np.concatenate([part.scores for part in parts]), np.concatenate([part.n for part in parts])
    highest = np.zeros(len(names), np.float32)
    np.maximum.at(highest, owner, scores)
    enough = np.bincount(owner, n) >= LEAST
    if not enough.any():
        raise FingerprintError(f"expected accounts of at least {LEAST} exchanges, got {len(names)} of fewer")
    cuts = {level: _threshold(highest[enough], share, confidence) for level, share in asked.items()}
    counted = np.concatenate([part.features for part in parts])[enough[owner]]
    seen = [min(int(part.first_us.min()) for part in parts), max(int(part.last_us.max()) for part in parts)]
    first, last = (str(np.datetime64(moment, "us").astype("M8[D]")) for moment in seen)
    small = highest[~enough]
    facts = {
        "from": bundle.bundle_id,
        "by": by,
        "accounts": int(enough.sum()),
        "windows": len(counted),
        "first_day": first,
        "last_day": last,
        "confidence": confidence,
        "levels": {
            level: {"asked": c.asked, "reached": c.reached, "bound": c.bound, "kept": c.kept}
            for level, c in cuts.items()
        },
        "accounts_too_small": {
            "accounts": len(small),
            **{level: int((small >= np.float32(c.at)).sum()) for level, c in cuts.items()},
        },
    }
    manifest = {
        **bundle.manifest,
        "thresholds": {level: c.at for level, c in cuts.items()},
        "baseline": quantiles(counted),
        "calibrated": facts,
    }
    card = (bundle.path / "card.md").read_text("utf-8")
    return manifest, _card(card, facts, cuts), cuts


def small_accounts(facts: Mapping[str, Any]) -> str:
    """How many accounts were too small to count and reach ``review`` all the same; empty if there are none."""
    small = facts["accounts_too_small"]
    if not small["accounts"]:
        return ""
    few = f"{small['accounts']:,} accounts of fewer than {LEAST} exchanges are left out"
    return f"{few}; {small['review']:,} of them reach review"


def sentence(level: str, found: Cut, confidence: float) -> str:
    """What a level promises, for people."""
    start = f"{level} from {found.at:.4f}: {found.reached:,} of {found.accounts:,} honest accounts reach it"
    promise = f"at most {found.bound:.2%} of such accounts will, with {confidence:.0%} confidence"
    if found.kept:
        return f"{start}; {promise} ({found.asked:.2%} asked)"
    few = f"{found.accounts:,} accounts are too few to promise {found.asked:.2%}"
    return f"{start}; {few}, {needed(found.asked, confidence):,} are needed: {promise}"


def _card(card: str, facts: Mapping[str, Any], cuts: Mapping[str, Cut]) -> str:
    """The card with one line on these thresholds after its title, in place of one that was there."""
    kept = "\n".join(line for line in card.splitlines() if not line.startswith(_MARK))
    told = ". ".join(sentence(level, found, facts["confidence"]) for level, found in cuts.items())
    line = f"{_MARK}{told}. Traffic of {facts['first_day']} to {facts['last_day']}, by {facts['by']}; thresholds and "
    line += f"baseline of {facts['from']} below are replaced."
    title, _, body = kept.partition("\n")
    return f"{title}\n\n{line}\n\n{body.strip()}".rstrip() + "\n"
