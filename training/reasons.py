"""How far the reasons of verdicts agree with LightGBM's exact contributions, on the windows that a bundle flags.

Reasons are what the score falls by when something is set to its benign typical value; `pred_contrib` (TreeSHAP,
Lundberg, Erion & Lee 2018) shares out the raw margin over the features exactly, against what training saw. The two ask
different questions, so that they need not agree. Both are compared in raw margins, which the calibrator only bends.
Left out: making reasons (`fingerprint.scorer`) and speed (`bench`).

    python -m training reasons --traffic world/traffic --labels world/labels.csv --groups world/groups.csv --out page.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import kendalltau, spearmanr

from fingerprint import Scorer
from fingerprint.bundle import default_path
from fingerprint.errors import FingerprintError
from fingerprint.features import FEATURES
from fingerprint.scorer import FAMILIES
from training.bench import booster_beside, reasons_of_one_row
from training.bootstrap import interval, resampled
from training.config import RunConfig
from training.dataset import Progress, WindowTable, contributions, window_table
from training.fit import Rows
from training.split import read_labels
from training.world import origin
from training.world.page import table

__all__ = ["MEASURES", "Judged", "agreement", "judge", "medians", "report"]

Floats = npt.NDArray[np.float64]

TOP = 5
CONFIDENCE = 0.95
MEASURES = {
    "spearman": "rank correlation of all features (Spearman)",
    "kendall": "the same (Kendall's tau-b)",
    "spearman_used": "rank correlation of the features that the model uses (Spearman)",
    "top": f"share of the {TOP} largest contributions that are among the {TOP} largest falls",
    "told": f"share of the {TOP} largest contributions that are told as reasons",
    "weight": "contributions of the reasons, as a share of the most that as many features have",
    "sign": "share of reasons whose contribution raises the score",
    "family": "the strongest family is the same",
    "families": "rank correlation of the families (Kendall's tau-b)",
}
_WHOSE = np.array([FAMILIES.index(feature.family) for feature in FEATURES])


@dataclass(frozen=True)
class Judged:
    """The flagged windows: whose, their level, a column a measure (see ``agreement``), the strongest family by
    contributions (`strongest`) and how many families are told; ``fixed``: the measures of one order of features for
    all windows, that of their mean falls; how many windows and accounts were looked at; and the features of one."""

    windows: pd.DataFrame
    fixed: pd.DataFrame
    looked_at: tuple[int, int]
    example: Rows


def agreement(
    family: Floats, feature: Floats, told: Sequence[Sequence[int]], contribution: Floats, used: npt.NDArray[np.bool_]
) -> pd.DataFrame:
    """A row a window, a column a measure.

    family: float[k, families] and feature: float[k, n], how far the score falls without each; told: the features of
    each window's reasons; contribution: float[k, n], exact; used: bool[n], which of them the model splits on.
    """
    rows = [_agreement(*given, used) for given in zip(family, feature, told, contribution, strict=True)]
    return pd.DataFrame(rows, columns=list(MEASURES))


def _agreement(
    family: Floats, feature: Floats, told: Sequence[int], contribution: Floats, used: npt.NDArray[np.bool_]
) -> list[float]:
    by_family: Floats = np.bincount(_WHOSE, contribution, len(FAMILIES)).astype(np.float64)
    top, most = _largest(contribution, TOP), _largest(contribution, len(told))
    return [
        _rank(spearmanr, feature, contribution),
        _rank(kendalltau, feature, contribution),
        _rank(spearmanr, feature[used], contribution[used]),
        len({*top} & {*_largest(feature, TOP)}) / TOP,
        len({*top} & {*told}) / TOP,
        float(contribution[list(told)].sum() / contribution[most].sum()) if told else np.nan,
        float(np.mean(contribution[list(told)] > 0)) if told else np.nan,
        float(np.argmax(family) == np.argmax(by_family)),
        _rank(kendalltau, family, by_family),
    ]


def _rank(correlation: Callable[[Any, Any], Any], one: Floats, other: Floats) -> float:
    """A rank correlation, NaN where there is nothing to rank."""
    return float(correlation(one, other).statistic) if np.ptp(one) and np.ptp(other) else float("nan")


def _largest(values: Floats, count: int) -> list[int]:
    return [int(j) for j in np.argsort(-values, kind="stable")[:count]]


def medians(windows: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """A row a measure: the median over accounts with its interval, and the mean over accounts with its own.

    An account counts by the mean of its windows; what is drawn again is what `group` says is operated together.
    """
    by_account = windows.groupby("account_id", sort=False)
    values = by_account[list(MEASURES)].mean().to_numpy(np.float64)
    together = by_account["group"].first()
    times = resampled(np.ones(len(values), dtype=bool), together, resamples, seed)
    middle = np.stack([_weighted_median(column, times) for column in values.T], axis=1)
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean = (times @ np.where(known, values, 0.0)) / (times @ known)
    columns: dict[str, Any] = {"measure": list(MEASURES)}
    for name, found in (("median", middle), ("mean", mean)):
        low, high = interval(found, CONFIDENCE)
        columns |= {name: found[0], f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(columns)


def _weighted_median(values: Floats, weight: Floats) -> Floats:
    """float64[k] medians of float64[n] values under float64[k, n] weights, missing values left out."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return np.full(len(weight), np.nan)
    by = known[np.argsort(values[known], kind="stable")]
    mass = np.cumsum(weight[:, by], axis=1)
    half = mass[:, -1:] / 2
    lower, upper = (mass < half).sum(axis=1), (mass <= half).sum(axis=1)  # two middle values where they are even
    found = (values[by][np.minimum(lower, len(by) - 1)] + values[by][np.minimum(upper, len(by) - 1)]) / 2
    return np.asarray(np.where(half[:, 0] > 0, found, np.nan))


def judge(scorer: Scorer, booster: lightgbm.Booster, data: WindowTable) -> Judged:
    """Reasons and exact contributions of every window at `review` or `act`.

    Raises ``FingerprintError`` where none is flagged, or where the Booster is not the one of the bundle.
    """
    scores = scorer.score(data.X)
    flagged = np.flatnonzero(scores >= scorer.review)
    if not len(flagged):
        raise FingerprintError(f"none of {len(scores):,} windows reaches `review`: give more traffic")
    X = data.X[flagged]
    exact = np.asarray(booster.predict(X, pred_contrib=True), np.float64)
    if np.abs(exact.sum(axis=1) - booster.predict(X, raw_score=True)).max() > 1e-6 or not _same(scorer, booster, X):
        raise FingerprintError("the Booster beside the bundle is not its model")
    found = [scorer.falls(row) for row in X]
    names = [feature.name for feature in FEATURES]
    told = [[names.index(reason["feature"]) for reason in reasons] for reasons in scorer.reasons(X)]
    exact, used = exact[:, :-1], booster.feature_importance() > 0
    family, feature = (np.array([falls[i] for falls in found], np.float64) for i in range(2))
    whose = data.meta.iloc[flagged][["account_id", "label", "group"]].reset_index(drop=True)
    windows = pd.concat([whose, agreement(family, feature, told, exact, used)], axis=1)
    always = [_largest(feature.mean(axis=0), TOP)] * len(X)
    by_family, by_feature = (np.broadcast_to(falls.mean(axis=0), falls.shape) for falls in (family, feature))
    fixed = pd.concat([whose, agreement(by_family, by_feature, always, exact, used)], axis=1)
    windows["level"] = scorer.level(scores[flagged])
    shared_out = exact @ np.eye(len(FAMILIES))[_WHOSE]
    windows["strongest"] = np.array(FAMILIES)[shared_out.argmax(axis=1)]
    windows["families_told"] = [len({FEATURES[j].family for j in row}) for row in told]
    return Judged(windows, fixed, (len(scores), data.meta["account_id"].nunique()), X[0])


def _same(scorer: Scorer, booster: lightgbm.Booster, X: Rows) -> bool:
    """Whether both order the windows alike: the calibrator only bends."""
    order = np.argsort(booster.predict(X, raw_score=True), kind="stable")
    return bool((np.diff(scorer.score(X)[order]) >= -1e-6).all())


def report(
    traffic: Sequence[Path],
    labels: Path,
    groups: Path | None,
    bundle: Path | None,
    config: RunConfig,
    progress: Progress = lambda stage, done, total: None,
) -> str:
    """The page: agreement on the windows of all labelled accounts that the bundle flags, and speed."""
    bundle = bundle or default_path()
    scorer, beside = Scorer.load(bundle), booster_beside(bundle)
    if not beside.is_file():
        raise FingerprintError(f"expected the native Booster of the bundle at {beside}")
    booster = lightgbm.Booster(model_file=str(beside))
    data = _windows(traffic, read_labels(labels, groups), scorer, config, progress)
    progress("reasons", 0, 1)
    judged = judge(scorer, booster, data)
    speed = reasons_of_one_row(scorer, booster, judged.example)
    worlds = [row for path in traffic for row in origin(path.parent)]
    return _page(judged, speed, scorer, worlds, config)


def _windows(
    traffic: Sequence[Path], known: pd.DataFrame, scorer: Scorer, config: RunConfig, progress: Progress
) -> WindowTable:
    """The windows that training would cut, of all exchanges of all labelled accounts, read by the bundle's head."""
    ordered, names = contributions(traffic, [scorer.head], dict.fromkeys(known["account_id"], 0), progress)
    known = known[known["account_id"].isin(set(names.items))].assign(split="test")
    known.attrs["cut_us"] = 0  # every exchange counts
    cuts = (config.windows.sizes, config.windows.per_account, config.seed)
    return window_table(ordered, names, known, *cuts, progress)


def _page(
    judged: Judged, speed: tuple[float, float], scorer: Scorer, worlds: Sequence[dict[str, Any]], config: RunConfig
) -> str:
    windows, (looked_at, accounts), (ours, exact) = judged.windows, judged.looked_at, speed
    found, fixed = (medians(x, config.evaluation.bootstrap, config.seed) for x in (windows, judged.fixed))
    common = windows["strongest"].value_counts(normalize=True)
    honest = windows.loc[windows["label"] == 0, "account_id"].nunique()
    parts = [
        "# How far reasons agree with exact contributions",
        "Written by `python -m training reasons --traffic W/traffic --labels W/labels.csv --groups W/groups.csv`. A "
        "reason says how far the score falls, in log odds, when a family, "
        "or a feature, is set to its benign typical value, in one run of the exported model. LightGBM's own "
        "`pred_contrib` (TreeSHAP) shares out the same margin exactly, against what training saw. The first asks what "
        "would be without this, the second how to divide what is: where features say the same, no single one lowers "
        "the score, and the second still divides. Agreement is not expected to be whole.",
        f"{_made(scorer, worlds)} {len(windows):,} of {looked_at:,} windows are flagged (`review` or above), of "
        f"{windows['account_id'].nunique():,} of {accounts:,} accounts, {honest:,} of these honest. An account counts "
        "by the mean of its windows; 95 % intervals draw accounts again, those that are operated together as one. The "
        "last column is what one order of the features for all windows, that of their mean falls, would have.",
        "\n".join(table(_told(found, fixed))),
        "Where the last column is as high, the row says little: one list of reasons for everybody would agree as well. "
        f"By contributions the strongest family is `{common.index[0]}` in {common.iloc[0]:.1%} of the windows; reasons "
        f"name {windows['families_told'].mean():.1f} families a window.",
        "## By level and label",
        "\n".join(table(_slices(windows))),
        "## Speed",
        f"The reasons of one window, sentences included: p50 {ours:.0f} µs. `Booster.predict(pred_contrib=True)` of "
        f"one row, one thread, in the same run: p50 {exact:.0f} µs, {exact / ours:.2f} times as long. Serving has no "
        "LightGBM.",
    ]
    return "\n\n".join(parts) + "\n"


def _made(scorer: Scorer, worlds: Sequence[dict[str, Any]]) -> str:
    """Whose windows, and what of them the bundle may have seen."""
    known = {row.get("name") for row in scorer.bundle.manifest.get("training_data", [])}
    sources = {row["name"] for row in worlds[1:]}
    told = f"World: {worlds[0]['origin']}. " if worlds else ""
    told += (
        f"Bundle `{scorer.bundle_id}`. Every labelled account is judged: the bundle should have been trained on none."
    )
    if sources:
        told += (
            f" Of the {len(sources)} public sources of this world's text {len(sources & known)} are in the bundle's "
            "training data, and the generator is the same: this is measured on windows like those of training."
        )
    return told


def _told(found: pd.DataFrame, fixed: pd.DataFrame) -> pd.DataFrame:
    def cell(row: Any, name: str) -> str:
        return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"

    columns = {
        "agreement": [MEASURES[name] for name in found["measure"]],
        "median": [cell(row, "median") for _, row in found.iterrows()],
        "mean": [cell(row, "mean") for _, row in found.iterrows()],
        "median of one fixed order": [cell(row, "median") for _, row in fixed.iterrows()],
    }
    return pd.DataFrame(columns)


def _slices(windows: pd.DataFrame) -> pd.DataFrame:
    """The chief measures, means over accounts, by level and label."""
    shown = {"spearman": "Spearman", "told": f"top {TOP} told", "sign": "sign", "family": "strongest family"}
    rows = []
    for told, rows_of in (
        ("`review`", windows["level"] == "review"),
        ("`act`", windows["level"] == "act"),
        ("distilling", windows["label"] == 1),
        ("honest (false alarms)", windows["label"] == 0),
    ):
        part = windows[rows_of]
        means = part.groupby("account_id")[list(shown)].mean().mean()
        rows.append([told, f"{len(part):,}", f"{part['account_id'].nunique():,}", *(f"{v:.2f}" for v in means)])
    return pd.DataFrame(rows, columns=["windows", "count", "accounts", *shown.values()])
