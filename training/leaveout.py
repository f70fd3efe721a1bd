"""Detection of what was never trained on: every harvest family, honest source and workload left out in turn.

    python -m training evaluate --traffic world/traffic --labels world/labels.csv --groups world/groups.csv --out PAGE

Families, sources and workloads are dealt to folds; for each fold a prompt head and a model are trained without them
(and without the test accounts, after the time cut), and score its windows. So every attack window that counts was
read by a model that has never seen its family, beside honest windows of known and of left-out workloads. Left out:
what is counted (leaveout_tables, early), drawing and the page, and any choice made from these numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fingerprint.features import FEATURES
from training.config import RunConfig
from training.dataset import Progress, Sample, WindowTable, prefix_table, sample_prompts, window_table
from training.fit import fit
from training.pipeline import NAMES, SHAPE, readings
from training.split import SLICES, read_labels, split_accounts, text_group, workload

__all__ = ["CONTENT", "PREFIXES", "SIZES", "VARIANTS", "Fold", "Scores", "fold_families", "leave_out", "read_folds"]

SIZES = (10, 30, 100, 500, 1500)
PREFIXES = (5, 10, 15, 25, 40, 60, 80, 120, 200, 400, 800)  # exchanges after which an account is looked at
CONTENT = ("diversity", "capability")  # feature families that read text
VARIANTS = ("content", "all")
TRAIN, CALIB, TEST = 0.42, 0.08, 0.5  # half of the time is judged, so that long windows fit into it
KEPT = ("account_id", "group", "label", "kind", "family", "seen_family", "share", "n_exchanges", *SLICES)


@dataclass(frozen=True)
class Fold:
    """What one model may learn from and is judged on: the accounts with their split, the windows of all of them,
    and the first exchanges of the test accounts (see ``dataset.prefix_table``)."""

    number: int
    accounts: pd.DataFrame
    table: WindowTable
    prefixes: WindowTable

    @property
    def judged(self) -> NDArray[np.intp]:
        """Rows of `table` that are judged: the test accounts' windows of `SIZES`."""
        meta = self.table.meta
        slices = (meta["scope"] == "slice") & meta["n_exchanges"].isin(SIZES)
        return np.flatnonzero((meta["split"] == "test") & slices)


@dataclass(frozen=True)
class Scores:
    """Margins of every judged window and prefix of every fold: columns `KEPT`, `fold`, `account_weight`, one a variant.

    An honest account's windows weigh 1 together, an attacking one's those of each size. `contributions` has a row
    for each attack window (by the index of `windows`) and a column a feature: what the feature added to the margin of
    the model on all features (SHAP values of trees, Lundberg et al. 2020).
    """

    windows: pd.DataFrame
    prefixes: pd.DataFrame
    contributions: pd.DataFrame


def fold_families(labels: pd.DataFrame, folds: int, seed: int) -> list[tuple[str, ...]]:
    """The harvest families, and honest sources and workloads of programs, of each fold: each is dealt once, in
    random order, those of each label apart."""
    rng = np.random.default_rng(seed)
    dealt: list[list[str]] = [[] for _ in range(folds)]
    known: set[str] = set()
    for label in (1, 0):
        rows = labels[labels["label"] == label]
        names = {text_group(label, family).partition(":")[2] for family in rows["family"]}
        names |= {workload(label, family) for family in rows.loc[rows["kind"] == "automation", "family"]}
        left = sorted(names - known - {""})
        known |= names
        for i, at in enumerate(rng.permutation(len(left))):
            dealt[i % folds].append(left[at])
    return [tuple(names) for names in dealt]


def read_folds(
    traffic: Sequence[Path],
    labels: Path,
    config: RunConfig,
    *,
    groups: Path | None = None,
    corpora: Path | None = None,
    folds: int = 4,
    progress: Progress = lambda stage, done, total: None,
) -> Iterator[Fold]:
    """Each fold's accounts and windows, features as its own prompt heads read them.

    Text that may only be measured with is judged in the fold that it is dealt to and in no other. Raises
    FingerprintError for inputs that cannot be used.
    """
    known = read_labels(labels, groups)
    sample = sample_prompts(traffic, progress)
    names = pd.Series([text_group(*row).partition(":")[2] for row in zip(known["label"], known["family"], strict=True)])
    sizes = tuple(sorted({*config.windows.sizes, *SIZES}))
    for number, held_out in enumerate(fold_families(known, folds, config.seed)):
        elsewhere = (known["use"] == "validate") & ~names.isin(held_out)
        asked = tuple(name for name in held_out if name not in config.split.keep)
        split = replace(config.split, hold_out=asked, train=TRAIN, calib=CALIB, test=TEST)
        settings = replace(config, split=split, windows=replace(config.windows, sizes=sizes))
        yield _fold(number, known[~elsewhere], sample, traffic, corpora, settings, progress)


def _fold(
    number: int, known: pd.DataFrame, sample: Sample, traffic: Sequence[Path], corpora: Path | None,
    config: RunConfig, progress: Progress,
) -> Fold:  # fmt: skip
    accounts = split_accounts(known, sample.median_us, config.split, config.tune.folds, config.seed + number)
    _, ordered, names = readings(sample, accounts, traffic, corpora, config, progress)
    table = window_table(
        ordered, names, accounts, config.windows.sizes, config.windows.per_account, config.seed, progress
    )
    counts = (accounts["label"] == 0) | ~accounts["seen_family"]
    judged = accounts[(accounts["split"] == "test") & counts]
    return Fold(number, accounts, table, prefix_table(ordered, names, judged, PREFIXES, progress))


def leave_out(
    traffic: Sequence[Path],
    labels: Path,
    config: RunConfig,
    *,
    groups: Path | None = None,
    corpora: Path | None = None,
    folds: int = 4,
    progress: Progress = lambda stage, done, total: None,
) -> Scores:
    """The product's margins on what each fold judges. Raises FingerprintError for inputs that cannot be used."""
    found = read_folds(traffic, labels, config, groups=groups, corpora=corpora, folds=folds, progress=progress)
    windows, prefixes, contributions = zip(*(_scored(fold, config, progress) for fold in found), strict=True)
    attack = np.concatenate([part["label"] == 1 for part in windows])
    explained = pd.concat(contributions, ignore_index=True)
    explained.index = pd.Index(np.flatnonzero(attack))
    return Scores(pd.concat(windows, ignore_index=True), pd.concat(prefixes, ignore_index=True), explained)


def _scored(fold: Fold, config: RunConfig, progress: Progress) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Windows and prefixes of a fold with the margins of each variant, and contributions to those of attack windows."""
    progress("fit", fold.number, 0)
    table, rows = fold.table, fold.judged
    windows, prefixes = _kept(table.meta.iloc[rows], fold), _kept(fold.prefixes.meta, fold)
    size = windows.groupby("account_id")["label"].transform("size")
    alike = windows.groupby(["account_id", "n_exchanges"])["label"].transform("size")
    windows["account_weight"] = 1 / np.where(windows["label"] == 1, alike, size)
    for variant in VARIANTS:
        booster = _booster(variant, table, config)
        windows[variant] = booster.predict(_seen(variant, table.X[rows]), raw_score=True)
        prefixes[variant] = booster.predict(_seen(variant, fold.prefixes.X), raw_score=True)
    attack = table.X[rows[(windows["label"] == 1).to_numpy()]]
    added = np.asarray(booster.predict(attack, pred_contrib=True), np.float32)
    return windows, prefixes, pd.DataFrame(added[:, :-1], columns=NAMES)


def _kept(meta: pd.DataFrame, fold: Fold) -> pd.DataFrame:
    kept = [name for name in (*KEPT, "life") if name in meta]
    return meta[kept].reset_index(drop=True).assign(fold=fold.number)


def _seen(variant: str, X: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows with what a variant may not see missing."""
    blind = np.array([variant == "content" and feature.family not in CONTENT for feature in FEATURES])
    return np.where(blind, np.float32("nan"), X)


def _booster(variant: str, table: WindowTable, config: RunConfig) -> lgb.Booster:
    return fit(_seen(variant, table.X), table.meta, config.lightgbm, config=config, **SHAPE).booster
