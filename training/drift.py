"""Whether traffic still looks like what a bundle was made for: drift of features and of scores.

PSI, the population stability index, is the symmetric divergence of Jeffreys (1946) over bins, the sum of
(latest - expected) ln(latest / expected) over shares. Scorecards read it so (Siddiqi 2006, Credit Risk Scorecards):
below 0.1 steady, from 0.25 shifted, between them worth a look. By chance alone it is about a chi-square of bins - 1
degrees, times 1/n + 1/m (Yurdakul & Naranjo 2020); the windows of one account resemble each other, so by session it
may be more. KS is the largest distance of the two distribution functions (Kolmogorov-Smirnov) of the known values.

With reference traffic the bins are its deciles, missing values in a bin of their own. Without, there are only the
three quantiles of the bundle's baseline: four bins with 5, 45, 45 and 5 % expected, a lower bound of KS, and nothing
on scores or missing values. Left out: why traffic drifted, and whether the model got worse, which needs labels.

    python -m training drift --bundle bundle july --reference june --out drift.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2, ks_2samp

from fingerprint import Scorer
from fingerprint.assemble import HOLD, Assembler
from fingerprint.calibrate import LEAST
from fingerprint.errors import FingerprintError, OutOfOrderError
from fingerprint.exchange import Names
from fingerprint.features import FEATURES, compute
from fingerprint.kernels.layout import MISSING, M
from fingerprint.readers import Rejects, read
from training.dataset import Progress
from training.fit import Rows

__all__ = [
    "FEW", "LARGE", "SMALL", "Drift", "Seen", "against_baseline", "against_reference", "alarms", "asked_models",
    "by_chance", "compare", "ks", "psi", "psi_of", "see",
]  # fmt: skip

By = Literal["account", "session"]
Floats = npt.NDArray[np.float64]

SMALL, LARGE = 0.1, 0.25  # the usual readings of PSI
FEW = 200  # windows, below which PSI is told to be noisy
_CHANCE = 0.99  # of PSI by chance lies below what may raise an alarm
_AT = np.array([0.05, 0.5, 0.95])  # the baseline's quantiles
_EXPECTED = np.diff(_AT, prepend=0.0, append=1.0)


@dataclass(frozen=True)
class Seen:
    """Windows of some traffic: float32[k, n] features and float32[k] scores, without those of fewer than ``LEAST``
    exchanges (``small``); and of every exchange (duplicates too) when it came and the hash of the model it asked for.
    """

    features: Rows
    scores: npt.NDArray[np.float32]
    small: int
    rejected: int
    time_us: npt.NDArray[np.int64]
    model: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Drift:
    """The latest windows beside a reference, or beside the bundle's baseline where ``reference`` is None.

    ``features``: a row a feature, strongest first: psi, ks, what psi is by chance (``chance`` on average, ``noise`` at
    most in 99 of 100 cases), the shares outside the baseline's range and missing, in both; ``score``: the same figures
    of the score, and shares at each level; ``models``: shares of models; ``calibrated``: the bundle's facts on whose
    windows its baseline is, empty where they are those of training.
    """

    bundle_id: str
    by: By
    latest: Seen
    reference: Seen | None
    features: pd.DataFrame
    score: dict[str, float]
    models: pd.DataFrame
    thresholds: dict[str, float]
    calibrated: dict[str, Any]

    @property
    def few(self) -> bool:
        """Whether there are so few windows that PSI is noisy."""
        return min(len(seen.scores) for seen in (self.latest, self.reference) if seen is not None) < FEW


def psi(expected: Floats, found: Floats) -> float:
    """The population stability index of two float64[bins] of positive shares."""
    return float(np.sum((found - expected) * np.log(found / expected)))


def by_chance(bins: int, windows: int, reference: int | None) -> tuple[float, float]:
    """PSI of the same distribution drawn twice: its mean, and below what it stays in 99 of 100 cases.

    ``reference``: None where its shares are known without error.
    """
    scale = 1 / windows + (1 / reference if reference else 0.0)
    return (bins - 1) * scale, float(chi2.ppf(_CHANCE, bins - 1)) * scale if bins > 1 else 0.0


def psi_of(reference: npt.NDArray[np.floating], latest: npt.NDArray[np.floating]) -> tuple[float, int]:
    """PSI of two samples over deciles of the first, and how many bins hold anything.

    A value that is several deciles is a bin of its own, and so is NaN. An empty bin counts as half a window.
    """
    edges = _edges(reference)
    counts = np.stack([_counts(sample, edges) for sample in (reference, latest)])
    counts = counts[:, counts.any(axis=0)]
    shares = np.maximum(counts, 0.5) / np.array([[len(reference)], [len(latest)]])
    return psi(shares[0], shares[1]), counts.shape[1]


def _edges(values: npt.NDArray[np.floating]) -> Floats:
    """Upper ends of all bins but the last."""
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return np.empty(0)
    edges, times = np.unique(np.quantile(known, np.arange(1, 10) / 10, method="inverted_cdf"), return_counts=True)
    return np.asarray(np.union1d(edges, np.nextafter(edges[times > 1], -np.inf)), np.float64)


def _counts(values: npt.NDArray[np.floating], edges: Floats) -> Floats:
    """float64[bins + 1]: windows in each bin, those without the value last."""
    known = values[~np.isnan(values)].astype(np.float64)
    inside = np.bincount(np.searchsorted(edges, known), minlength=len(edges) + 1)
    return np.append(inside, len(values) - len(known)).astype(np.float64)


def ks(reference: npt.NDArray[np.floating], latest: npt.NDArray[np.floating]) -> float:
    """The Kolmogorov-Smirnov distance of the known values, NaN where a side has none."""
    one, other = (sample[~np.isnan(sample)] for sample in (reference, latest))
    return float(ks_2samp(one, other, method="asymp").statistic) if len(one) and len(other) else float("nan")


def against_baseline(quantiles: npt.NDArray[np.floating], latest: npt.NDArray[np.floating]) -> tuple[float, float]:
    """PSI over the four bins that a feature's 5, 50 and 95 % quantiles make, and the lower bound of KS at these.

    Values that equal a quantile count on the side that is nearer to what is expected: in the baseline too they may
    lie on either. NaN where the baseline has no quantiles or no latest window has the feature.
    """
    known = np.sort(latest[~np.isnan(latest)])
    if not len(known) or np.isnan(quantiles).any():
        return float("nan"), float("nan")
    below, upto = (np.searchsorted(known, quantiles, side) / len(known) for side in ("left", "right"))
    reached = np.clip(_AT, below, upto)
    found = np.maximum(np.diff(reached, prepend=0.0, append=1.0), 0.5 / len(known))
    return psi(_EXPECTED, found), float(np.abs(reached - _AT).max())


def against_reference(reference: npt.NDArray[np.floating], latest: npt.NDArray[np.floating]) -> dict[str, float]:
    """PSI and KS of two samples, and what PSI is by chance."""
    found, bins = psi_of(reference, latest)
    chance, noise = by_chance(bins, len(latest), len(reference))
    return {"psi": found, "ks": ks(reference, latest), "chance": chance, "noise": noise}


def _of_baseline(quantiles: npt.NDArray[np.floating], latest: npt.NDArray[np.floating]) -> dict[str, float]:
    found, distance = against_baseline(quantiles, latest)
    chance, noise = by_chance(len(_EXPECTED), max(int((~np.isnan(latest)).sum()), 1), None)
    return {"psi": found, "ks": distance, "chance": chance, "noise": noise}


def _outside(quantiles: npt.NDArray[np.floating], values: npt.NDArray[np.floating]) -> float:
    """Share of the known values outside the 5 to 95 % range; NaN where there is none or no range."""
    known = values[~np.isnan(values)]
    if not len(known) or np.isnan(quantiles).any():
        return float("nan")
    return float(np.mean((known < quantiles[0]) | (known > quantiles[2])))


def compare(scorer: Scorer, by: By, latest: Seen, reference: Seen | None = None) -> Drift:
    """The drift of all features and of the score."""
    rows = []
    for j, feature in enumerate(FEATURES):
        quantiles, new = scorer.bundle.baseline[:, j], latest.features[:, j]
        old = None if reference is None else reference.features[:, j]
        figures = _of_baseline(quantiles, new) if old is None else against_reference(old, new)
        figures |= {"outside": _outside(quantiles, new), "missing": float(np.isnan(new).mean())}
        figures["outside_reference"] = float("nan") if old is None else _outside(quantiles, old)
        figures["missing_reference"] = float("nan") if old is None else float(np.isnan(old).mean())
        rows.append({"feature": feature.name, "family": feature.family, **figures})
    features = pd.DataFrame(rows).sort_values(["psi", "ks"], ascending=False, ignore_index=True, kind="stable")
    thresholds = {"review": float(scorer.review), "act": float(scorer.act)}
    score = {} if reference is None else against_reference(reference.scores, latest.scores)
    for level, cut in thresholds.items():
        score[level] = float(np.mean(latest.scores >= np.float32(cut)))
        if reference is not None:
            score[f"{level}_reference"] = float(np.mean(reference.scores >= np.float32(cut)))
    calibrated = scorer.bundle.manifest.get("calibrated", {})
    models = asked_models(latest, reference)
    return Drift(scorer.bundle_id, by, latest, reference, features, score, models, thresholds, calibrated)


def asked_models(latest: Seen, reference: Seen | None = None) -> pd.DataFrame:
    """Shares of models among the first and last third of the latest exchanges, largest change first.

    Of a model only the hash is known (``fingerprint.exchange.text_hash``, eight hexadecimal digits); ``new`` are those
    that neither the first third nor the reference asks for. Empty where no exchange names a model.
    """
    third = len(latest.time_us) // 3
    asked = latest.model[np.argsort(latest.time_us, kind="stable")]
    parts = {} if reference is None else {"reference": reference.model}
    parts |= {"first_third": asked[:third], "last_third": asked[len(asked) - third :]}
    if not third or all((part == MISSING).all() for part in parts.values()):
        return pd.DataFrame(columns=["model", *parts, "new"])
    shares = {name: pd.Series(part).value_counts(normalize=True) for name, part in parts.items()}
    table = pd.DataFrame(shares).fillna(0.0)
    table["new"] = (table.drop(columns="last_third") == 0).all(axis=1)
    table.insert(0, "model", ["none named" if code == MISSING else f"{code:08x}" for code in table.index])
    by = (table["last_third"] - table["first_third"]).abs().sort_values(ascending=False, kind="stable").index
    return table.loc[by].reset_index(drop=True)


def alarms(drift: Drift, most_psi: float = LARGE, most_features: float = 0.1) -> list[str]:
    """What is beyond its limit, a sentence each; nothing below what chance makes counts."""
    told = []
    at = drift.score.get("psi", float("nan"))
    if at >= most_psi and at > drift.score["noise"]:
        told.append(f"PSI of the score is {at:.3f}, expected below {most_psi:g}")
    judged = drift.features.dropna(subset="psi")
    share = float(((judged["psi"] >= LARGE) & (judged["psi"] > judged["noise"])).mean()) if len(judged) else 0.0
    if share > most_features:
        told.append(
            f"{share:.1%} of the features have a PSI of {LARGE:g} or more, expected at most {most_features:.1%}"
        )
    return told


def see(traffic: Sequence[Path], scorer: Scorer, by: By, progress: Progress = lambda stage, done, total: None) -> Seen:
    """Read traffic once, or twice where it is not nearly in order. Raises ``FingerprintError`` without windows."""
    try:
        return _see(traffic, scorer, by, HOLD, progress)
    except OutOfOrderError:
        return _see(traffic, scorer, by, None, progress)


def _see(traffic: Sequence[Path], scorer: Scorer, by: By, hold: int | None, progress: Progress) -> Seen:
    accounts, sessions, rejects, count = Names(), Names(), Rejects(), 0
    assembler = Assembler(by, scorer.head, accounts, sessions, hold)
    time_us, model = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for path in traffic:
        for batch in read(path, accounts=accounts, sessions=sessions, rejects=rejects):
            time_us.append(batch.time_us)
            model.append(batch.meta[:, M["model"]].copy())
            assembler.add(batch)
            count += len(batch.time_us)
            progress("read", count, 0)
    features, scores, small = [np.empty((0, len(FEATURES)), np.float32)], [np.empty(0, np.float32)], 0
    for entities in assembler.finish():
        enough = entities.n >= LEAST
        small += int((~enough).sum())
        if enough.any():
            features.append(compute(entities.windows[enough]))
            scores.append(scorer.score(features[-1]))
    if len(features) == 1:
        raise FingerprintError(f"expected {by}s of at least {LEAST} exchanges, got {small:,} of fewer")
    found = (np.concatenate(features), np.concatenate(scores), small, rejects.total)
    return Seen(*found, np.concatenate(time_us), np.concatenate(model))
