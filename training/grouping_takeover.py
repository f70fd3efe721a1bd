"""Campaigns whose banned accounts are replaced: are the new accounts found, with those before them, and how soon?

Labels tell which accounts are standby (they take over a shard when an account of it ends), not which of them follow a
standby account: an earlier account is one of the campaign that is not standby. Left out: the page (grouping_page).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from training.grouping import RESAMPLES, STANDBY, Judged, ratios

__all__ = ["sent_before", "takeover"]


def sent_before(runs: Sequence[tuple[object, pd.DataFrame]], times: pd.DataFrame) -> pd.DataFrame:
    """What each account sent before it was in a found group itself: account_id, exchanges, found_at, sent.

    `runs` and `times` are as `leak` takes them. An account is found at the first run that has it in a group, whatever
    later ones say.
    """
    seen: dict[str, object] = {}
    for moment, found in sorted(runs, key=lambda run: run[0]):  # type: ignore[arg-type,return-value]
        seen = dict.fromkeys(found["account_id"], moment) | seen
    out = times.groupby("account_id").agg(exchanges=("time", "size"))
    out["found_at"] = pd.Series(seen, dtype=times["time"].dtype).reindex(out.index)
    at = times["account_id"].map(out["found_at"])
    out["sent"] = (at.isna() | (times["time"] < at)).groupby(times["account_id"]).sum()
    return out.reset_index()


def takeover(
    judged: Judged, sent: pd.DataFrame | None = None, *, resamples: int = RESAMPLES, seed: int = 7
) -> pd.DataFrame:
    """Of campaigns to be found that have standby accounts: metric, campaigns, accounts, value, low, high.

    `sent` is what `sent_before` gives. Empty where labels do not tell phases or no such campaign is to be found.
    """
    rows = judged.accounts
    if "phase" not in rows or not (rows["item"] & (rows["phase"] == STANDBY)).any():
        return pd.DataFrame(columns=["metric", "campaigns", "accounts", "value", "low", "high"])
    later = rows["item"] & (rows["phase"] == STANDBY)
    earlier = rows["item"] & ~later & rows["campaign"].isin(rows.loc[later, "campaign"])
    beside = earlier.groupby([rows["found"], rows["campaign"]]).transform("sum").fillna(0) > 0
    parts: dict[str, tuple[pd.Series[Any], pd.Series[Any]]] = {
        "earlier accounts found": (earlier & rows["flagged"], earlier),
        "standby accounts found": (later & rows["flagged"], later),
        "standby accounts in one group with an earlier account": (later & beside, later),
    }
    if sent is not None:
        own = rows[["account_id"]].merge(sent, on="account_id", how="left")[["sent", "exchanges"]].fillna(0)
        for name, where in (("earlier", earlier), ("standby", later)):
            top, bottom = (own[column].where(where, 0) for column in ("sent", "exchanges"))
            parts[f"sent by {name} accounts before they are found themselves"] = top, bottom
    numbers = {name: (top.astype(np.float64), bottom.astype(np.float64)) for name, (top, bottom) in parts.items()}
    return ratios(rows, numbers, resamples=resamples, seed=seed)
