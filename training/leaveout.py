"""Detection of what was never trained on: every harvest family and honest source left out in turn.

    python -m training evaluate --traffic world/traffic --labels world/labels.csv --groups world/groups.csv --out DIR

Families and sources are dealt to folds; for each fold a prompt head and a model are trained without it (and without the
test accounts, after the time cut), and score its windows. So every attack window that counts was read by a model
that has never seen its family, beside honest windows of known and of left-out workloads. Left out: drawing (plots),
the export, and any choice made from these numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fingerprint.features import FEATURES
from training.config import RunConfig
from training.dataset import Progress, Sample, WindowTable, sample_prompts
from training.evaluate import benign_rates, recall_at_fpr
from training.fit import fit
from training.pipeline import SHAPE, windows
from training.split import read_labels, split_accounts, text_group

__all__ = ["CONTENT", "SIZES", "VARIANTS", "fold_families", "headline", "leave_out", "tables"]

SIZES = (10, 30, 100, 500, 1500)
CONTENT = ("diversity", "capability")  # feature families that read text
VARIANTS = ("content", "all")
FPRS = (0.01, 0.003, 0.001)
KEPT = ("account_id", "group", "label", "kind", "family", "seen_family", "share", "lang", "scope", "n_exchanges")


def fold_families(labels: pd.DataFrame, folds: int, seed: int) -> list[tuple[str, ...]]:
    """The harvest families and honest sources of each fold: dealt in random order, those of each label apart."""
    rng = np.random.default_rng(seed)
    dealt: list[list[str]] = [[] for _ in range(folds)]
    for label in (0, 1):
        families = labels.loc[labels["label"] == label, "family"]
        names = sorted({text_group(label, family).partition(":")[2] for family in families})
        for i, at in enumerate(rng.permutation(len(names))):
            dealt[i % folds].append(names[at])
    return [tuple(names) for names in dealt]


def leave_out(
    traffic: Sequence[Path],
    labels: Path,
    config: RunConfig,
    *,
    groups: Path | None = None,
    corpora: Path | None = None,
    folds: int = 4,
    progress: Progress = lambda stage, done, total: None,
) -> pd.DataFrame:
    """Scores of every test window of every fold: columns `KEPT`, `fold`, `account_weight`, one a variant of the model.

    Raises FingerprintError for inputs that cannot be used.
    """
    known = read_labels(labels, groups)
    sample = sample_prompts(traffic, progress)
    scored = []
    for fold, names in enumerate(fold_families(known, folds, config.seed)):
        split = replace(config.split, hold_out=tuple(name for name in names if name not in config.split.keep))
        settings = replace(config, split=split, windows=replace(config.windows, sizes=SIZES))
        scored.append(_scored(fold, known, sample, traffic, corpora, settings, progress))
    return pd.concat(scored, ignore_index=True)


def _scored(
    fold: int, known: pd.DataFrame, sample: Sample, traffic: Sequence[Path], corpora: Path | None,
    config: RunConfig, progress: Progress,
) -> pd.DataFrame:  # fmt: skip
    """The test windows of one fold with the margins of each variant."""
    accounts = split_accounts(known, sample.median_us, config.split, config.tune.folds, config.seed + fold)
    table = windows(sample, accounts, traffic, corpora, config, progress)[1]
    rows = np.flatnonzero((table.meta["split"] == "test") & (table.meta["scope"] == "slice"))
    out = table.meta.iloc[rows][[name for name in KEPT if name in table.meta]].copy()
    out["fold"], out["account_weight"] = fold, 1 / out.groupby("account_id")["account_id"].transform("size")
    for variant in VARIANTS:
        out[variant] = _margins(variant, table, rows, config)
    return out


def _margins(variant: str, table: WindowTable, rows: NDArray[np.intp], config: RunConfig) -> NDArray[np.float64]:
    """Margins on `rows` of a model on all features, or on those that read content alone."""
    blind = np.array([variant == "content" and feature.family not in CONTENT for feature in FEATURES])
    X = np.where(blind, np.float32("nan"), table.X)
    model = fit(X, table.meta, config.lightgbm, config=config, **SHAPE)
    return np.asarray(model.booster.predict(X[rows], raw_score=True), np.float64)


def _cuts(scored: pd.DataFrame, variant: str, fpr: float) -> Iterator[tuple[pd.DataFrame, float]]:
    """Each fold's attack windows of families left out, and the cut that `fpr` of its honest windows exceed.

    Every honest account weighs the same, whether its workload was known or left out.
    """
    for _, part in scored.groupby("fold"):
        at = recall_at_fpr(part["label"], part[variant], part["account_weight"], fpr)
        yield part[(part["label"] == 1) & ~part["seen_family"]], at.cut


def cells(scored: pd.DataFrame, variant: str, fpr: float) -> pd.DataFrame:
    """Recall on left-out families by attacker share and window size, with the number of windows."""
    found = []
    for attack, cut in _cuts(scored, variant, fpr):
        found.append(attack.assign(found=attack[variant] > cut))
    every = pd.concat(found)
    grouped = every.groupby(["share", "n_exchanges"])["found"]
    return grouped.agg(["mean", "size"]).rename(columns={"mean": "recall", "size": "windows"}).reset_index()


def headline(scored: pd.DataFrame, variant: str, fpr: float = 0.01) -> float:
    """Mean recall over attacker shares and window sizes on left-out families, at a realised false-positive rate."""
    return float(cells(scored, variant, fpr)["recall"].mean())


def interval(scored: pd.DataFrame, variant: str, fpr: float, resamples: int, seed: int) -> tuple[float, float]:
    """95 % interval of the headline: whole groups of accounts resampled, honest and attacking ones apart."""
    rng, draws = np.random.default_rng(seed), []
    rows = {label: part.groupby("group").indices for label, part in scored.reset_index(drop=True).groupby("label")}
    index = {label: scored.index[scored["label"] == label].to_numpy() for label in rows}
    for _ in range(resamples):
        chosen = []
        for label, members in rows.items():
            names = list(members)
            drawn = [members[names[at]] for at in rng.integers(len(names), size=len(names))]
            chosen.append(index[label][np.concatenate(drawn)])
        draws.append(headline(scored.loc[np.concatenate(chosen)], variant, fpr))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def tables(scored: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """By share and size, by left-out family, and realised false positives by workload and language, each a variant."""
    out: dict[str, pd.DataFrame] = {}
    for variant in VARIANTS:
        for fpr in FPRS:
            out[f"{variant}_{fpr:g}_by_share_and_size"] = cells(scored, variant, fpr)
        found = [attack.assign(found=attack[variant] > cut) for attack, cut in _cuts(scored, variant, 0.01)]
        every = pd.concat(found)
        for column in ("family", "lang"):
            if column in every:
                out[f"{variant}_by_{column}"] = every.groupby(column)["found"].agg(["mean", "size"]).reset_index()
        out |= _honest(scored, variant)
    return out


def _honest(scored: pd.DataFrame, variant: str) -> dict[str, pd.DataFrame]:
    """Share of honest accounts with a window above the cut of 1 %, by workload and language, known or left out."""
    parts = []
    for fold, part in scored.groupby("fold"):
        cut = next(cut for i, (_, cut) in enumerate(_cuts(scored, variant, 0.01)) if i == fold)
        parts.append(part[part["label"] == 0].assign(score=part[variant] - cut))
    honest = pd.concat(parts)
    columns = [column for column in ("family", "lang") if column in honest]
    return {f"{variant}_honest_by_{c}": benign_rates(honest, {"cut": 0.0}, 0.95, c) for c in columns}
