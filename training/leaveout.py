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

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fingerprint.features import FEATURES
from training.config import RunConfig
from training.dataset import Progress, Sample, WindowTable, prefix_table, sample_prompts, window_table
from training.early import PREFIXES
from training.fit import Model, fit
from training.reading import NAMES, SHAPE, exchanges
from training.split import SLICES, read_labels, split_accounts, text_group, workload

__all__ = [
    "CONTENT", "SIZES", "VARIANTS", "Scores", "fold_families", "fold_plans", "judged", "leave_out",
    "variant_model",
]  # fmt: skip

SIZES = (10, 30, 100, 500, 1500)
CONTENT = ("diversity", "capability")  # feature families that read text
VARIANTS = ("content", "all")
TRAIN, CALIB, TEST = 0.4, 0.1, 0.5  # half of the time is judged, so that long windows fit into it
KEPT = ("account_id", "group", "label", "kind", "family", "seen_family", "share", "n_exchanges", *SLICES)


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


def fold_plans(
    known: pd.DataFrame, sample: Sample, config: RunConfig, folds: int
) -> Iterator[tuple[RunConfig, pd.DataFrame]]:
    """The settings of each fold and its accounts as `split_accounts` splits them.

    Text that may only be measured with is judged in the fold that it is dealt to and in no other.
    """
    names = pd.Series([text_group(*row).partition(":")[2] for row in zip(known["label"], known["family"], strict=True)])
    sizes = tuple(sorted({*config.windows.sizes, *SIZES}))
    for number, held_out in enumerate(fold_families(known, folds, config.seed)):
        elsewhere = (known["use"] == "validate") & ~names.isin(held_out)
        asked = tuple(name for name in held_out if name not in config.split.keep)
        split = replace(config.split, hold_out=asked, train=TRAIN, calib=CALIB, test=TEST)
        settings = replace(config, split=split, windows=replace(config.windows, sizes=sizes))
        seed = config.seed + number
        yield settings, split_accounts(known[~elsewhere], sample.median_us, split, config.tune.folds, seed)


def judged(meta: pd.DataFrame, fold: int) -> tuple[NDArray[np.intp], pd.DataFrame]:
    """The rows of `meta` that count, slices of test accounts of `SIZES`, and what is kept of them, without scores."""
    slices = (meta["scope"] == "slice") & meta["n_exchanges"].isin(SIZES)
    rows = np.flatnonzero((meta["split"] == "test") & slices)
    out = _kept(meta.iloc[rows], fold)
    size = out.groupby("account_id")["label"].transform("size")
    alike = out.groupby(["account_id", "n_exchanges"])["label"].transform("size")
    return rows, out.assign(account_weight=1 / np.where(out["label"] == 1, alike, size))


def variant_model(variant: str, table: WindowTable, config: RunConfig) -> Model:
    """A model on all features, or on those that read content alone: no tree splits on the others, all missing."""
    blind = np.array([variant == "content" and feature.family not in CONTENT for feature in FEATURES])
    return fit(np.where(blind, np.float32("nan"), table.X), table.meta, config.lightgbm, config=config, **SHAPE)


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
    known = read_labels(labels, groups)
    sample = sample_prompts(traffic, progress)
    parts = []
    for number, (settings, accounts) in enumerate(fold_plans(known, sample, config, folds)):
        _, ordered, names = exchanges(sample, accounts, traffic, corpora, settings, progress)
        cuts = (settings.windows.sizes, settings.windows.per_account, settings.seed)
        table = window_table(ordered, names, accounts, *cuts, progress)
        counts = (accounts["split"] == "test") & ((accounts["label"] == 0) | ~accounts["seen_family"])
        first = prefix_table(ordered, names, accounts[counts], PREFIXES, progress)
        progress("fit", number, 0)
        parts.append(_scored(number, table, first, settings))
    windows, prefixes, contributions = (pd.concat(part, ignore_index=True) for part in zip(*parts, strict=True))
    return Scores(windows, prefixes, contributions.set_index(windows.index[windows["label"] == 1]))


def _scored(
    fold: int, table: WindowTable, first: WindowTable, config: RunConfig
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Judged windows and prefixes of a fold with the margins of each variant, and what was added to attack windows'."""
    rows, windows = judged(table.meta, fold)
    prefixes = _kept(first.meta, fold)
    for variant in VARIANTS:
        model = variant_model(variant, table, config)
        windows[variant], prefixes[variant] = model.margin(table.X[rows]), model.margin(first.X)
    attack = table.X[rows[(windows["label"] == 1).to_numpy()]]
    added = np.asarray(model.booster.predict(attack, pred_contrib=True), np.float32)
    return windows, prefixes, pd.DataFrame(added[:, :-1], columns=NAMES)


def _kept(meta: pd.DataFrame, fold: int) -> pd.DataFrame:
    kept = [name for name in (*KEPT, "life") if name in meta]
    return meta[kept].reset_index(drop=True).assign(fold=fold)
