"""Three figures of an evaluation by leaving out: recall by share and size, survival, the worst honest workloads.

Figures are made without pyplot: no global state, no display. Left out: whatever a table does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from training.early import LEVELS
from training.leaveout import VARIANTS
from training.plots import BENIGN, INK, MARK

__all__ = ["TITLES", "figures"]

Tables = Mapping[str, pd.DataFrame]
TITLES = {"content": "content only", "all": "all features"}
WORST = 15  # workloads shown


def figures(tables: Tables) -> dict[str, Figure]:
    """Every figure by file stem."""
    return {"recall": recall(tables), "survival": survived(tables), "workloads": workloads(tables)}


def recall(tables: Tables) -> Figure:
    """Recall at 1 % by window size, a line an attacker share, with intervals; hollow where a cell has too few."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, variant in zip(figure.subplots(1, 2, sharey=True), VARIANTS, strict=True):
        for i, (share, part) in enumerate(tables[f"{variant}_by_share_and_size"].groupby("share")):
            at, value = part["n_exchanges"] * 1.03 ** (i - 2), part["recall_at_fpr_0.01"]
            error = np.clip([value - part["low_0.01"], part["high_0.01"] - value], 0, None)
            fill = np.where(part["enough"], f"C{i}", "white")
            axes.errorbar(at, value, error, color=f"C{i}", lw=1.5, elinewidth=0.8, label=f"{share:.0%}")
            axes.scatter(at, value, c=fill, edgecolors=f"C{i}", zorder=3)
        axes.set(xscale="log", ylim=(0, 1), xlabel="window (exchanges)", title=TITLES[variant])
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("recall at 1 % false positives")
    figure.axes[1].legend(title="attacker share", frameon=False)
    figure.suptitle("Families left out, simulated positives", color=INK)
    return figure


def survived(tables: Tables) -> Figure:
    """Share of campaign accounts not flagged yet against exchanges, a line an attacker share, all features."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    table = tables["all_survival"]
    for axes, (level, fpr) in zip(figure.subplots(1, 2, sharey=True), LEVELS.items(), strict=True):
        for share, part in table[table["level"] == level].groupby("share"):
            axes.step([1, *part["exchanges"]], [1, *part["left"]], where="post", label=f"{share:.0%}")
        title = f"{level}: {fpr:.1%} of honest accounts ever flagged"
        axes.set(xscale="log", ylim=(0, 1.02), xlabel="exchanges", title=title)
        axes.grid(alpha=0.25)
    figure.axes[0].set_ylabel("share not flagged yet")
    figure.axes[1].legend(title="attacker share", frameon=False, loc="lower left")
    figure.suptitle("Early detection, all features, families left out, simulated positives", color=INK)
    return figure


def workloads(tables: Tables) -> Figure:
    """The honest workloads left out that most of their accounts are flagged of, at 1 % of all honest accounts."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    for axes, variant in zip(figure.subplots(1, 2), VARIANTS, strict=True):
        table = tables[f"{variant}_honest_by_workload"]
        table = table[~table["known"]].nlargest(WORST, "0.01_fpr")
        rate, at = table["0.01_fpr"], np.arange(len(table))
        error = np.clip([rate - table["0.01_low"], table["0.01_high"] - rate], 0, None)
        axes.errorbar(rate, at, xerr=error, fmt="o", color=BENIGN, capsize=3, ms=5)
        axes.axvline(0.01, color=MARK, lw=1, ls="--")
        axes.set_yticks(at, [f"{n} (n={k})" for n, k in zip(table["workload"], table["accounts"], strict=True)])
        axes.invert_yaxis()
        axes.set(xlabel="share of accounts flagged", title=TITLES[variant])
        axes.grid(alpha=0.25)
    figure.suptitle("False alarms by honest workload left out, threshold at 1 % of honest accounts", color=INK)
    return figure
