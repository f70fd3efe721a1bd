"""What a bake-off found: the best setting of each rival, then the same tables for all as `evaluate` makes.

Thresholds are those of `leaveout_tables`: what 1 %, 0.3 % and 0.1 % of the judged honest windows exceed. Where a rival
has several settings, tails or scales, the one of highest recall *on the judged windows* is taken, which flatters
rivals and never the product. Left out: scoring (bakeoff), the page and its figure (bakeoff_page).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.bakeoff import BY_SIZE, Bout
from training.bootstrap import Bootstrap
from training.evaluate import LEAST_ACCOUNTS
from training.leaveout_tables import CONFIDENCE, FPRS, cells, honest_rates, mean_over_cells
from training.rivals import DETECTORS, RIVALS

__all__ = ["PURE", "QUARTER", "choose", "compare"]

PURE, QUARTER = (1.0, 100), (0.25, 100)  # cells of the table: attacker share, exchanges
AT = "recall_at_fpr_0.01"


def compare(bout: Bout, *, resamples: int, seed: int) -> dict[str, pd.DataFrame]:
    """Tables by name, a column `detector` in each: `settings` (all that was tried), `headline` (a row a detector and
    rate; the columns in `_at_0.01` are those of 1 %), `by_share_and_size`, `by_share`, `honest_by_workload`, `seconds`;
    and of MMD alone `pooled`."""
    tried, windows = choose(bout.windows)
    parts: dict[str, list[pd.DataFrame]] = {"headline": [], "by_share_and_size": [], "by_share": []}
    parts["honest_by_workload"] = []
    for name in DETECTORS:
        rates = Bootstrap(windows, fprs=FPRS, resamples=resamples, confidence=CONFIDENCE, seed=seed, score=name)
        workloads = dict(honest_rates(windows, name))["workload"]
        grid = cells(rates)
        found = {
            "headline": mean_over_cells(rates).assign(**_worst(workloads), **_two_cells(grid)),
            "by_share_and_size": grid,
            "by_share": rates.table(["share"]),
            "honest_by_workload": workloads,
        }
        for table, rows in found.items():
            parts[table].append(rows.assign(detector=name))
    tables = {name: pd.concat(rows, ignore_index=True) for name, rows in parts.items()}
    seconds = pd.DataFrame(sorted(bout.seconds.items()), columns=["detector", "seconds"])
    return tables | {"settings": tried, "seconds": seconds, "pooled": bout.pooled}


def choose(windows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every setting of every rival with its mean recall at 1 % and whether it was `chosen`; and `windows` with a column
    a detector: the chosen setting's score, higher being more suspicious."""
    rows, best = [], {}
    for name in RIVALS:
        tried = [(told, score, _recall(windows, score)) for told, score in _settings(windows, name)]
        told, best[name], _ = max(tried, key=lambda one: one[2])
        rows += [(name, setting, recall, setting == told) for setting, _, recall in tried]
    settings = pd.DataFrame(rows, columns=["detector", "setting", "recall", "chosen"])
    kept = windows[[column for column in windows.columns if ": " not in column]]
    return settings, kept.assign(**best)


def _settings(windows: pd.DataFrame, name: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Each setting, tail and scale of a rival in words, and its scores. Both tails need a middle: by size alone."""
    for column in map(str, windows.columns):
        if column.startswith(f"{name}: "):
            told, score = column.partition(": ")[2], windows[column].to_numpy(np.float64)
            for tail in RIVALS[name].tails:
                if tail != "both":
                    yield f"{told}, {tail}", score if tail == "high" else -score
                elif column.endswith(BY_SIZE):
                    yield f"{told}, either tail", np.abs(score)


def _recall(windows: pd.DataFrame, score: NDArray[np.float64]) -> float:
    """Mean recall at 1 % without an interval."""
    scored = windows[["label", "group", "account_id", "account_weight", "fold", "share", "n_exchanges"]]
    rates = Bootstrap(scored.assign(score=score), fprs=FPRS[:1], resamples=1, confidence=CONFIDENCE, seed=0)
    recall = float(mean_over_cells(rates)["recall"].iloc[0])
    return recall if recall == recall else 0.0


def _two_cells(grid: pd.DataFrame) -> dict[str, float]:
    """Recall at 1 % of the two cells that are told beside the mean, with intervals; none without such a cell."""
    found: dict[str, float] = {}
    for told, (share, size) in (("pure", PURE), ("quarter", QUARTER)):
        for _, row in grid[(grid["share"] == share) & (grid["n_exchanges"] == size)].iterrows():
            found |= {f"{told}_at_0.01": row[AT], f"{told}_low": row["low_0.01"], f"{told}_high": row["high_0.01"]}
    return found


def _worst(workloads: pd.DataFrame) -> dict[str, Any]:
    """The honest workload left out, of `LEAST_ACCOUNTS` accounts or more, of which most are flagged at 1 %."""
    rows = workloads[~workloads["known"] & (workloads["accounts"] >= LEAST_ACCOUNTS)]
    if rows.empty:
        return {"worst_workload": "too few accounts", "worst_at_0.01": np.nan}
    row = rows.nlargest(1, ["0.01_fpr", "accounts"]).iloc[0]
    return {"worst_workload": row["workload"], "worst_at_0.01": row["0.01_fpr"]}
