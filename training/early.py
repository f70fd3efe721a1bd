"""Early detection: after how many exchanges an account is first flagged, when it is looked at again and again.

The threshold is one for all looks, chosen on honest accounts over all of theirs, so that repeated looks are paid for:
a level's false-positive rate is the share of honest accounts that any look flags. Accounts end at different times;
the share not yet found after n exchanges is the product-limit estimate (Kaplan & Meier 1958), for accounts that go
on. Left out: drawing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from training.bootstrap import cut_at

__all__ = ["LEVELS", "SOON", "first_alarms", "survival", "told"]

PREFIXES = (5, 10, 15, 25, 40, 60, 80, 120, 200, 400, 800)  # exchanges after which an account is looked at
SOON = 80  # exchanges
LEVELS = {"review": 0.01, "act": 0.001}  # share of honest accounts that any look may flag


def first_alarms(prefixes: pd.DataFrame, variant: str) -> pd.DataFrame:
    """One row an attack account: its columns, `looked` (exchanges at its last look), and for each level the exchanges
    at its first flag, NaN where it never is. Each fold has thresholds of its own.

    prefixes: a row a look, with fold, account_id, label, n_exchanges and the margin `variant`.
    """
    parts = []
    for _, part in prefixes.groupby("fold"):
        highest = part[part["label"] == 0].groupby("account_id")[variant].max().to_numpy(np.float64)
        attack = part[part["label"] == 1].sort_values("n_exchanges")
        grouped = attack.groupby("account_id")
        found = grouped.first().drop(columns=["n_exchanges", variant])
        found["looked"] = grouped["n_exchanges"].last()
        for level, fpr in LEVELS.items():
            (cut,), _ = cut_at(highest, np.ones((1, len(highest))), fpr)
            flagged = attack[attack[variant] > cut]
            found[level] = flagged.groupby("account_id")["n_exchanges"].first().reindex(found.index)
        parts.append(found.reset_index())
    return pd.concat(parts, ignore_index=True)


def survival(alarms: pd.DataFrame, level: str, looks: Sequence[int]) -> pd.Series[float]:
    """Share of accounts not flagged yet after each number of exchanges, for accounts that go on that long."""
    left, out = 1.0, {}
    for look in looks:
        at_risk = (alarms["looked"] >= look) & ~(alarms[level] < look)
        if at_risk.any():
            left *= 1 - float((alarms.loc[at_risk, level] == look).mean())
            out[look] = left
    return pd.Series(out, dtype=float)


def told(alarms: pd.DataFrame, level: str, looks: Sequence[int], by: Sequence[str]) -> pd.DataFrame:
    """A row a slice: accounts, exchanges until the first flag (median and 90th percentile of accounts that go on, NaN
    where fewer are ever flagged), `soon`, their share that is flagged within `SOON`, and the share of the accounts as
    they are that never is."""
    rows = []
    for key, part in alarms.groupby(list(by), observed=True):
        curve = survival(part, level, looks)
        never, soon = float(part[level].isna().mean()), 1 - float(curve[curve.index <= SOON].min())
        reached = [_first(curve, share) for share in (0.5, 0.1)]
        rows.append((*key, len(part), *reached, soon, never))
    return pd.DataFrame(rows, columns=[*by, "accounts", "median", "p90", "soon", "never"])


def _first(curve: pd.Series[float], share: float) -> float:
    """The first number of exchanges after which at most `share` is left, NaN if there is none."""
    reached = curve.index[curve <= share + 1e-12]
    return float(reached[0]) if len(reached) else float("nan")
