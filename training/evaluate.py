"""Evaluation on the test split: what is found at which false-positive rate, with intervals, sliced every way.

Every account counts once, shared by its windows. Intervals come from resampling whole accounts and campaigns
(cluster bootstrap, Field & Welsh 2007); rates of benign accounts have exact ones (Clopper & Pearson 1934).
What the positives are (simulated campaigns, or accounts as labelled) goes into the title of whatever shows them.

Left out: drawing (`plots`) and any choice made from these numbers: thresholds are those of the calibration split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta, rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from fingerprint.errors import FingerprintError
from training.config import Evaluation as EvaluationConfig
from training.fit import Floats, Levels, Model, Rows, log_loss
from training.split import SLICES

SUSPECT_AUC = 0.9
SIZE_BINS = ("3-9", "10-29", "30-99", "100-499", "500+")
_EDGES = (10, 30, 100, 500)


class EvaluationError(FingerprintError, ValueError):
    """The test split cannot be measured on; the message says what is missing."""


@dataclass(frozen=True)
class AtFpr:
    """Recall where benign weight `fpr` (the realised rate, at most the one asked for) scores above `cut`."""

    recall: float
    fpr: float
    cut: float


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
    scored = _scored(model, X[rows], meta.iloc[rows])
    if scored["label"].nunique() < 2:
        raise EvaluationError(f"test split: expected benign and attack rows, got one class in {len(scored)} rows")
    rates = Bootstrap(scored, config, seed)
    attack = scored[scored["label"] == 1]
    tables = {
        "by_family": rates.table(["seen_family", "family"]),
        "by_window_size": rates.table(["window_size"]),
        "by_share": rates.table(["attacker_share"]),
        "by_scope": rates.table(["scope"]),
        "by_window_size_and_share": rates.table(["window_size", "attacker_share"]),
        **_by_label_columns(scored, rates),
        "benign_workloads": benign_rates(scored, model.thresholds.as_dict(), config.confidence, "family"),
        "calibration": calibration_table(scored),
        "single_features": single_feature_auc(X[rows], scored, model.feature_names),
        "splits": splits(meta),
    }
    if "lang" in scored:
        cuts = model.thresholds.as_dict()
        tables["benign_by_lang"] = benign_rates(scored, cuts, config.confidence, "lang")
    metrics = {**_overall(scored), **rates.metrics(), **_at_thresholds(scored, model, config.confidence)}
    metrics["attack_accounts"] = float(attack["account_id"].nunique())
    return Evaluation(metrics, tables, scored, config.positives, model.thresholds)


def recall_at_fpr(label: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike, fpr: float) -> AtFpr:
    """The weighted recall at the lowest cut that at most `fpr` of the benign weight scores above; ties stay below.

    label: [k] of 0 and 1; score: float[k]; weight: float[k].
    """
    label, score, weight = np.asarray(label), np.asarray(score), np.asarray(weight, dtype=np.float64)
    order = np.argsort(-score[label == 0], kind="stable")
    benign, mass = score[label == 0][order], np.cumsum(weight[label == 0][order])
    cut = float(benign[min(np.searchsorted(mass, fpr * mass[-1] * (1 + 1e-12), side="right"), len(benign) - 1)])
    above = score > cut
    attack = np.where(label == 1, weight, 0.0)
    honest = weight - attack
    return AtFpr(float(attack @ above / attack.sum()), float(honest @ above / honest.sum()), cut)


class Bootstrap:
    """Recall at fixed false-positive rates, and its interval, over resamples of accounts and campaigns."""

    def __init__(self, scored: pd.DataFrame, config: EvaluationConfig, seed: int) -> None:
        self.scored, self.config = scored, config
        self.label, self.score = scored["label"].to_numpy(), scored["score"].to_numpy()
        self.weights = [scored["account_weight"].to_numpy(), *self._resampled(seed)]
        self.cuts = {fpr: [recall_at_fpr(self.label, self.score, w, fpr) for w in self.weights] for fpr in config.fprs}

    def _resampled(self, seed: int) -> Iterator[Floats]:
        """Row weights of each resample: groups drawn with replacement, benign and attack apart."""
        rng, weight = np.random.default_rng(seed), self.scored["account_weight"].to_numpy()
        code, names = pd.factorize(self.scored["group"])
        attack = np.zeros(len(names), dtype=bool)
        attack[code[self.label == 1]] = True
        for _ in range(self.config.bootstrap):
            times = np.zeros(len(names))
            for side in (np.flatnonzero(attack), np.flatnonzero(~attack)):
                times[side] = np.bincount(rng.integers(0, len(side), len(side)), minlength=len(side))
            yield weight * times[code]

    def metrics(self) -> dict[str, float]:
        """Recall, its interval and the realised rate at each rate: overall and over families never trained on."""
        unseen = (self.label == 1) & ~self.scored["seen_family"].to_numpy(dtype=bool)
        found = {}
        for fpr in self.config.fprs:
            found[f"fpr_realised_at_{fpr:g}"] = self.cuts[fpr][0].fpr
            for name, rows in (("recall", self.label == 1), ("recall_unseen", unseen)):
                values = self._recalls(rows.astype(np.int64) - 1, 1, fpr)[:, 0]
                low, high = self._interval(values)
                key = f"{name}_at_fpr_{fpr:g}"
                found |= {key: float(values[0]), f"{key}_low": float(low), f"{key}_high": float(high)}
        return {key: value for key, value in found.items() if np.isfinite(value)}

    def table(self, by: Sequence[str]) -> pd.DataFrame:
        """One row a slice of the attack windows: windows, accounts, and recall with its interval at each rate."""
        attack = self.scored[self.label == 1]
        sliced = attack.groupby(list(by), observed=True, dropna=False)
        out: pd.DataFrame = sliced.agg(windows=("score", "size"), accounts=("account_id", "nunique")).reset_index()
        code = np.full(len(self.scored), -1)
        code[self.label == 1] = sliced.ngroup().to_numpy()
        return self._with_recalls(out, code)

    def marked(self, column: str, marks: Mapping[str, npt.NDArray[np.bool_]]) -> pd.DataFrame:
        """The same for slices that overlap: a mark of the rows of each; those without an attack are left out."""
        parts = []
        for name, mark in marks.items():
            rows = mark & (self.label == 1)
            if not rows.any():
                continue
            accounts = self.scored.loc[rows, "account_id"].nunique()
            out = pd.DataFrame({column: [name], "windows": [int(rows.sum())], "accounts": [accounts]})
            parts.append(self._with_recalls(out, rows.astype(np.int64) - 1))
        return pd.concat(parts, ignore_index=True)

    def _with_recalls(self, out: pd.DataFrame, code: npt.NDArray[np.int64]) -> pd.DataFrame:
        """`out` with recall and its interval at each rate; `code` is the row of `out` a window belongs to, or -1."""
        for fpr in self.config.fprs:
            values = self._recalls(code, len(out), fpr)
            low, high = self._interval(values)
            out[f"recall_at_fpr_{fpr:g}"], out[f"low_{fpr:g}"], out[f"high_{fpr:g}"] = values[0], low, high
        return out

    def _recalls(self, code: npt.NDArray[np.int64], slices: int, fpr: float) -> Floats:
        """float64[1 + resamples, slices]; `code` is the slice of each row, -1 for none."""
        rows = code >= 0
        code, score = code[rows], self.score[rows]
        out = np.full((len(self.weights), slices), np.nan)
        for i, (weight, at) in enumerate(zip(self.weights, self.cuts[fpr], strict=True)):
            total = np.bincount(code, weight[rows], slices)
            above = np.bincount(code, weight[rows] * (score > at.cut), slices)
            np.divide(above, total, out=out[i], where=total > 0)
        return out

    def _interval(self, values: Floats) -> Floats:
        """float64[2, slices] percentile interval; NaN where no resample held the slice."""
        tail = (1 - self.config.confidence) / 2
        empty = np.isnan(values).all(axis=0)
        filled = np.where(empty, 0.0, values)
        return np.where(empty, np.nan, np.nanquantile(filled[1:], [tail, 1 - tail], axis=0))


def clopper_pearson(hits: npt.ArrayLike, total: npt.ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    """Exact interval of a proportion of `hits` among `total` (Clopper & Pearson 1934), as arrays (low, high)."""
    k, n, tail = np.asarray(hits, np.float64), np.asarray(total, np.float64), (1 - confidence) / 2
    low = np.where(k > 0, beta.ppf(tail, np.maximum(k, 1), n - k + 1), 0.0)
    high = np.where(k < n, beta.ppf(1 - tail, k + 1, np.maximum(n - k, 1)), 1.0)
    return low, high


def _by_label_columns(scored: pd.DataFrame, rates: Bootstrap) -> dict[str, pd.DataFrame]:
    """Recall by each column that the labels gave; of `evasions` ("low_slow=0.4 identity=0.8") by each name in it."""
    found = {f"by_{name}": rates.table([name]) for name in SLICES if name in scored and name != "evasions"}
    if "evasions" in scored:
        used = [{word.partition("=")[0] for word in text.split()} for text in scored["evasions"]]
        marks = {name: np.array([name in names for names in used]) for name in sorted(set().union(*used))}
        marks["none"] = np.array([not names for names in used])
        found["by_evasion"] = rates.marked("evasion", marks)
    return found


def splits(meta: pd.DataFrame) -> pd.DataFrame:
    """Accounts and windows of each split by label."""
    split = pd.Categorical(meta["split"], ["train", "calib", "test"], ordered=True)
    side = meta["label"].map({0: "benign", 1: "attack"})
    out = meta.groupby([split, side], observed=True)["account_id"].agg(accounts="nunique", windows="size")
    out.index.names = ["split", "kind"]
    return out.reset_index()


def benign_rates(scored: pd.DataFrame, thresholds: Mapping[str, float], confidence: float, by: str) -> pd.DataFrame:
    """For each slice of the benign accounts: those of which any window reaches each threshold, rate, exact interval."""
    benign = scored[scored["label"] == 0]
    account = benign.groupby([by, "account_id"])["score"].agg(["max", "size"])
    out = account.groupby(by).agg(windows=("size", "sum"), accounts=("size", "size"))
    for level, cut in thresholds.items():
        hits = (account["max"] >= cut).groupby(by).sum()
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


def _scored(model: Model, X: Rows, meta: pd.DataFrame) -> pd.DataFrame:
    """The test rows with their score, the weight of an account's window, and what they are sliced by."""
    columns = ["account_id", "group", "label", "kind", "family", "seen_family", "scope", "n_exchanges", "share"]
    scored = meta[[*columns, *(name for name in SLICES if name in meta)]].reset_index(drop=True)
    scored["score"] = model.probability(X)
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
