"""Evaluation on the test split: what is found at which false-positive rate, with intervals, sliced every way.

Every account counts once, shared by its windows. Intervals come from resampling whole accounts and campaigns
(bootstrap); rates of benign accounts have exact ones (Clopper & Pearson 1934).
What the positives are (simulated campaigns, or accounts as labelled) goes into the title of whatever shows them.

Left out: drawing (`plots`) and any choice made from these numbers: thresholds are those of the calibration split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from fingerprint.errors import FingerprintError
from training.bootstrap import Bootstrap, interval
from training.config import Evaluation as EvaluationConfig
from training.fit import Floats, Levels, Model, Rows, log_loss
from training.split import SLICES

SUSPECT_AUC = 0.9
FAIRNESS = ("lang", "plan", "tenure")  # benign accounts should be flagged alike across these, where labels give them
SIZE_BINS = ("3-9", "10-29", "30-99", "100-499", "500+")
LEAST_ACCOUNTS = 10  # of a slice whose figure says something
_EDGES = (10, 30, 100, 500)


class EvaluationError(FingerprintError, ValueError):
    """The test split cannot be measured on; the message says what is missing."""


@dataclass(frozen=True)
class Evaluation:
    """Numbers for MLflow, tables by name, the scored test rows (label, score, account_weight, slices), what the
    positives are (`config.positives`), and the thresholds of the model that was measured."""

    metrics: dict[str, float]
    tables: dict[str, pd.DataFrame]
    scored: pd.DataFrame
    positives: str
    thresholds: Levels


def evaluate(model: Model, X: Rows, meta: pd.DataFrame, config: EvaluationConfig, seed: int) -> Evaluation:
    """Measures `model` on the rows of split `test`.

    X: float32[k, n]; meta: k rows with label, split, account_id, group, family, seen_family, scope, share and
    n_exchanges, and any of `split.SLICES`, which give tables of their own. Raises EvaluationError when the test split
    lacks a class.
    """
    rows = np.flatnonzero(meta["split"].to_numpy() == "test")
    scored = scored_rows(model.probability(X[rows]), meta.iloc[rows])
    if scored["label"].nunique() < 2:
        raise EvaluationError(f"test split: expected benign and attack rows, got one class in {len(scored)} rows")
    rates = Bootstrap(scored, fprs=config.fprs, resamples=config.bootstrap, confidence=config.confidence, seed=seed)
    attack = scored[scored["label"] == 1]
    tables = {
        **{f"by_{name}": table for name, table in recall_tables(rates).items()},
        "benign_workloads": benign_rates(scored, model.thresholds.as_dict(), config.confidence, "family"),
        "calibration": calibration_table(scored),
        "single_features": single_feature_auc(X[rows], scored, model.feature_names),
        "splits": splits(meta),
    }
    for name in FAIRNESS:
        if name in scored:
            levels = model.thresholds.as_dict()
            tables[f"benign_by_{name}"] = benign_rates(scored, levels, config.confidence, name)
    metrics = {**_overall(scored), **_recalls(rates), **_at_thresholds(scored, model, config.confidence)}
    metrics["attack_accounts"] = float(attack["account_id"].nunique())
    return Evaluation(metrics, tables, scored, config.positives, model.thresholds)


def clopper_pearson(hits: npt.ArrayLike, total: npt.ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    """Exact interval of a proportion of `hits` among `total` (Clopper & Pearson 1934), as arrays (low, high)."""
    k, n, tail = np.asarray(hits, np.float64), np.asarray(total, np.float64), (1 - confidence) / 2
    low = np.where(k > 0, beta.ppf(tail, np.maximum(k, 1), n - k + 1), 0.0)
    high = np.where(k < n, beta.ppf(1 - tail, k + 1, np.maximum(n - k, 1)), 1.0)
    return low, high


def _recalls(rates: Bootstrap) -> dict[str, float]:
    """Recall, its interval and the realised rate at each rate: overall and over families never trained on."""
    unseen = ~rates.attack["seen_family"].to_numpy(dtype=bool)
    found = {}
    for fpr in rates.fprs:
        found[f"fpr_realised_at_{fpr:g}"] = rates.realised[fpr]
        for name, rows in (("recall", np.ones_like(unseen)), ("recall_unseen", unseen)):
            values = rates.recalls(rows.astype(np.int64) - 1, 1, fpr)
            (low,), (high,) = interval(values, rates.confidence)
            key = f"{name}_at_fpr_{fpr:g}"
            found |= {key: float(values[0, 0]), f"{key}_low": float(low), f"{key}_high": float(high)}
    return {key: value for key, value in found.items() if np.isfinite(value)}


def recall_tables(rates: Bootstrap) -> dict[str, pd.DataFrame]:
    """Recall by family, window size, attacker's share, scope, and each column that the labels gave; of `evasions`
    ("low_slow=0.4 identity=0.8") by each name in it."""
    attack = rates.attack
    found = {
        "family": rates.table(["seen_family", "family"]),
        "window_size": rates.table(["window_size"]),
        "share": rates.table(["attacker_share"]),
        "scope": rates.table(["scope"]),
        "window_size_and_share": rates.table(["window_size", "attacker_share"]),
    }
    found |= {name: rates.table([name]) for name in SLICES if name in attack and name != "evasions"}
    if "evasions" in attack:
        found["evasion"] = rates.marked("evasion", recall_marks(attack, "evasion"))
    return found


def recall_marks(attack: pd.DataFrame, kind: str) -> dict[str, npt.NDArray[np.bool_]]:
    """Which attack rows are in each slice of a kind: a column of labels or of `scored_rows`, or `evasion`, whose slices
    overlap; no slices where the labels do not tell."""
    if kind == "evasion":
        if "evasions" not in attack:
            return {}
        used = [{word.partition("=")[0] for word in text.split()} for text in attack["evasions"]]
        marks = {name: np.array([name in names for names in used]) for name in sorted(set().union(*used))}
        return marks | {"none": np.array([not names for names in used])}
    values = attack[kind] if kind in attack else pd.Series(dtype=object)
    return {str(name): (values == name).to_numpy() for name in sorted(values.dropna().unique())}


def splits(meta: pd.DataFrame) -> pd.DataFrame:
    """Accounts and windows of each split by label."""
    split = pd.Categorical(meta["split"], ["train", "calib", "test"], ordered=True)
    side = meta["label"].map({0: "benign", 1: "attack"})
    out = meta.groupby([split, side], observed=True)["account_id"].agg(accounts="nunique", windows="size")
    out.index.names = ["split", "kind"]
    return out.reset_index()


def benign_rates(
    scored: pd.DataFrame, thresholds: Mapping[str, float | Floats], confidence: float, by: str
) -> pd.DataFrame:
    """For each slice of the benign accounts: those of which any window reaches each threshold, rate, exact interval.

    A threshold is a number, or float64[n] with that of each row where windows were scored by several models.
    """
    reached = pd.DataFrame({level: scored["score"] >= cut for level, cut in thresholds.items()}, index=scored.index)
    benign = scored["label"] == 0
    account = reached[benign].groupby([scored.loc[benign, by], scored.loc[benign, "account_id"]])
    any_window, size = account.any(), account.size()
    out = pd.DataFrame({"windows": size.groupby(by).sum(), "accounts": size.groupby(by).size()})
    for level in thresholds:
        hits = any_window[level].groupby(by).sum()
        low, high = clopper_pearson(hits, out["accounts"], confidence)
        out[f"{level}_accounts"], out[f"{level}_fpr"] = hits, hits / out["accounts"]
        out[f"{level}_low"], out[f"{level}_high"] = low, high
    return out.reset_index()


def calibration_table(scored: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Mean score against observed share in `bins` equally wide bins of score; columns predicted, observed, weight."""
    part = np.minimum((scored["score"].to_numpy() * bins).astype(int), bins - 1)
    weight = scored["account_weight"]
    sums = pd.DataFrame({"weight": weight, "predicted": weight * scored["score"], "observed": weight * scored["label"]})
    out = sums.groupby(part).sum()
    for column in ("predicted", "observed"):
        out[column] /= out["weight"]
    return out.rename_axis("bin").reset_index()


def single_feature_auc(X: Rows, scored: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """ROC AUC of each feature alone (0.5 to 1, either direction) and of its being missing; above 0.9 is suspect.

    A feature that separates simulated attack from benign by itself more likely leaks the simulation.
    """
    label = scored["label"].to_numpy() == 1
    rows = []
    for j, name in enumerate(names):
        seen = ~np.isnan(X[:, j])
        value, absent = _auc(X[seen, j], label[seen]), _auc(~seen, label)
        rows.append((name, value, absent, seen.mean(), max(value, absent) > SUSPECT_AUC))
    out = pd.DataFrame(rows, columns=["feature", "auc", "auc_missing", "coverage", "suspect"])
    return out.sort_values("auc", ascending=False, ignore_index=True)


def _auc(value: npt.NDArray[np.generic], label: npt.NDArray[np.bool_]) -> float:
    """Rank AUC (Mann & Whitney 1947) folded to 0.5 or more; 0.5 without both classes."""
    positives, negatives = int(label.sum()), int((~label).sum())
    if not positives or not negatives:
        return 0.5
    auc = (rankdata(value)[label].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return float(max(auc, 1 - auc))


def scored_rows(score: Floats, meta: pd.DataFrame) -> pd.DataFrame:
    """The rows with their score, the weight of an account's window, and what they are sliced by."""
    columns = ["account_id", "group", "label", "kind", "family", "seen_family", "scope", "n_exchanges", "share"]
    scored = meta[[*columns, *(name for name in SLICES if name in meta)]].reset_index(drop=True)
    scored["score"] = score
    scored["account_weight"] = 1.0 / scored.groupby("account_id")["score"].transform("size")
    size = np.searchsorted(_EDGES, scored["n_exchanges"], side="right")
    scored["window_size"] = pd.Categorical(np.array(SIZE_BINS)[size], SIZE_BINS, ordered=True)
    scored["attacker_share"] = scored["share"].round(2)
    return scored


def _overall(scored: pd.DataFrame) -> dict[str, float]:
    label, score, weight = (scored[c].to_numpy(np.float64) for c in ("label", "score", "account_weight"))
    table = calibration_table(scored)
    gap = (table["predicted"] - table["observed"]).abs()
    return {
        "roc_auc": float(roc_auc_score(label, score, sample_weight=weight)),
        "pr_auc": float(average_precision_score(label, score, sample_weight=weight)),
        "prevalence": float(np.average(label, weights=weight)),
        "brier": float(np.average((score - label) ** 2, weights=weight)),
        "ece": float(np.average(gap, weights=table["weight"])),
        "log_loss": log_loss(label, score, weight),
        "windows": float(len(scored)),
        "benign_accounts": float(scored.loc[scored["label"] == 0, "account_id"].nunique()),
    }


def _at_thresholds(scored: pd.DataFrame, model: Model, confidence: float) -> dict[str, float]:
    """At the thresholds fixed on the calibration split: recall and rate by window, rate by account with interval.

    Rates by account are given over all, over workloads seen in training, and over unseen ones.
    """
    benign = scored["label"] == 0
    honest = scored[benign].groupby("account_id").agg(score=("score", "max"), seen=("seen_family", "first"))
    seen = honest["seen"].to_numpy(bool)
    sides = {"": honest, "_seen": honest[seen], "_unseen": honest[~seen]}
    found = {}
    for level, cut in model.thresholds.as_dict().items():
        above = scored["score"] >= cut
        for name, rows in (("recall", ~benign), ("fpr", benign)):
            found[f"{name}_at_{level}"] = float(np.average(above[rows], weights=scored["account_weight"][rows]))
        for side, accounts in sides.items():
            if len(accounts):
                hits, name = int(np.sum(accounts["score"].to_numpy() >= cut)), f"account_fpr{side}_at_{level}"
                low, high = clopper_pearson(hits, len(accounts), confidence)
                found |= {name: hits / len(accounts), f"{name}_low": float(low), f"{name}_high": float(high)}
    return found
