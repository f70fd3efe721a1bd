"""From accounts to windows: prompt heads trained within the split, and every account read by one that does not know it.

The two reads of the traffic themselves are in `dataset`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fingerprint.assemble import Ordered
from fingerprint.exchange import Names
from fingerprint.features import FEATURES
from fingerprint.head import Head
from training.config import RunConfig
from training.dataset import Progress, Sample, WindowTable, contributions, window_table
from training.head import known_capabilities, train_heads
from training.own import Own

__all__ = ["NAMES", "SHAPE", "exchanges", "windows"]

NAMES = [feature.name for feature in FEATURES]
DIRECTIONS = [feature.direction for feature in FEATURES]
SHAPE: dict[str, Any] = {"feature_names": NAMES, "directions": DIRECTIONS}


def windows(
    sample: Sample,
    accounts: pd.DataFrame,
    traffic: Sequence[Path],
    corpora: Path | None,
    config: RunConfig,
    progress: Progress,
    own: Own | None = None,
) -> tuple[Head, WindowTable]:
    """The prompt head of all training accounts, and the windows of every account, cross-fitted.

    With ``own`` traffic among it, also those of copies of its accounts into which harvesting is mixed.
    """
    head, ordered, names = exchanges(sample, accounts, traffic, corpora, config, progress)
    if own:
        ordered, accounts = own.joined(ordered, names, accounts, config.seed)
    cuts = (config.windows.sizes, config.windows.per_account, config.seed)
    return head, window_table(ordered, names, accounts, *cuts, progress)


def exchanges(
    sample: Sample,
    accounts: pd.DataFrame,
    traffic: Sequence[Path],
    corpora: Path | None,
    config: RunConfig,
    progress: Progress,
) -> tuple[Head, Ordered, Names]:
    """The prompt head of all training accounts, and every account's exchanges in order, read cross-fitted."""
    heads = _heads(sample, accounts, corpora, config, progress)
    head_of = dict(zip(accounts["account_id"], _head_numbers(accounts, config), strict=True))
    return heads[-1], *contributions(traffic, heads, head_of, progress)


def _head_numbers(accounts: pd.DataFrame, config: RunConfig) -> pd.Series[int]:
    """Which head reads an account: of its fold in training and calibration, the last one in test."""
    return accounts["fold"].where(accounts["split"] != "test", config.tune.folds)


def _heads(
    sample: Sample, accounts: pd.DataFrame, corpora: Path | None, config: RunConfig, progress: Progress
) -> list[Head]:
    """The cross-fitted prompt heads and, last, the one that goes into the bundle.

    They learn from training accounts and, like their windows, from before the cut alone.
    """
    seen = set(accounts.loc[accounts["seen_family"], "text_group"])
    held_out = set(accounts.loc[~accounts["text_group"].isin(seen), "family"])
    held_out |= {family.rsplit(":", 1)[-1] for family in held_out}
    train = accounts[accounts["split"] == "train"].set_index("account_id")
    owner = np.array(sample.accounts.items, dtype=object)[sample.account]
    early = sample.before(accounts.attrs["cut_us"])
    rows = early[np.isin(owner[early], train.index.to_numpy())]
    facts = train.loc[owner[rows]].reset_index()
    labelled = known_capabilities(corpora, held_out, config.seed)
    prompts = [sample.prompt[i] for i in rows]
    folds = config.tune.folds
    return list(train_heads(prompts, facts, labelled, folds, lambda done, total: progress("head", done, total)))
