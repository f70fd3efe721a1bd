"""Figures of tuning for a reviewer: history, importance of parameters, slices, and recall against size.

Drawn from the table of trials in the look of `plots`, without pyplot (which Optuna's own matplotlib figures need) and
without Optuna: what it computes is in `Tuning`. Left out: saving (`tracking`).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from training.plots import ATTACK, BENIGN, INK, MARK, canvas

__all__ = ["figures", "front", "history"]

LOGARITHMIC = ("learning_rate", "min_data_in_leaf", "lambda_l2")
RECALL = "mean recall at 1% over left-out families"


def figures(trials: pd.DataFrame, importance: pd.DataFrame, positives: str) -> dict[str, Figure]:
    """Every figure by file stem; none without trials, and no importance where too few were complete.

    `trials` and `importance` as in `Tuning`; `positives` says in every title what the attack rows are.
    """
    if not len(trials):
        return {}
    drawn = {"history": history(trials, positives), "recall_against_size": _pareto(trials, positives)}
    drawn["slices"] = _slices(trials, positives)
    if len(importance):
        drawn["importance"] = _importance(importance, positives)
    return drawn


def front(trials: pd.DataFrame) -> pd.DataFrame:
    """The complete trials that no other beats in recall at their size or less, smallest first."""
    complete = trials[trials["state"] == "COMPLETE"].sort_values(["size", "recall"], ascending=[True, False])
    best_before = complete["recall"].cummax().shift(fill_value=-1.0)
    return complete[complete["recall"] > best_before]


def history(trials: pd.DataFrame, positives: str) -> Figure:
    """The objective of each trial and the best so far; pruned ones as marks on the axis."""
    figure, axes = canvas(f"Trials of tuning, {positives}", "trial", "objective (recall less the price of size)")
    complete, pruned = trials[trials["state"] == "COMPLETE"], trials[trials["state"] != "COMPLETE"]
    axes.scatter(complete["number"], complete["value"], color=BENIGN, alpha=0.8, label="trial")
    axes.step(complete["number"], complete["value"].cummax(), where="post", color=ATTACK, lw=2, label="best so far")
    if len(pruned):
        bottom = axes.get_xaxis_transform()
        axes.plot(pruned["number"], [0.02] * len(pruned), "x", color=INK, transform=bottom, label="pruned")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def _importance(table: pd.DataFrame, positives: str) -> Figure:
    """How much of what sets the best trials apart is each parameter's."""
    figure, axes = canvas(f"Importance of parameters, {positives}", "share (PED-ANOVA)", "", height=3.4)
    axes.barh(table["parameter"], table["importance"], color=BENIGN)
    axes.invert_yaxis()
    return figure


def _slices(trials: pd.DataFrame, positives: str) -> Figure:
    """The objective of complete trials against each parameter, later trials darker."""
    complete = trials[trials["state"] == "COMPLETE"]
    names = list(trials.columns)[list(trials.columns).index("seconds") + 1 :]
    figure = Figure(figsize=(12, 3.0 * -(-len(names) // 4)), dpi=110, layout="constrained")
    figure.suptitle(f"Objective by parameter, later trials darker, {positives}", x=0.01, ha="left", fontweight="bold")
    for at, name in enumerate(names, 1):
        axes = figure.add_subplot(-(-len(names) // 4), 4, at)
        axes.scatter(complete[name], complete["value"], c=complete["number"], cmap="Blues", edgecolors=INK, lw=0.5)
        axes.set(xlabel=name, xscale="log" if name in LOGARITHMIC else "linear")
        axes.xaxis.set_minor_formatter(NullFormatter())  # on a log axis they would run into each other
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure


def _pareto(trials: pd.DataFrame, positives: str) -> Figure:
    """Recall against size, which sets the latency: the front, and the default to compare with."""
    figure, axes = canvas(f"Recall and size of trials, {positives}", "size (trees x leaves)", RECALL)
    complete, best, default = trials[trials["state"] == "COMPLETE"], front(trials), trials.iloc[:1]
    axes.scatter(complete["size"], complete["recall"], color=BENIGN, alpha=0.6, label="trial")
    axes.step(best["size"], best["recall"], where="post", color=ATTACK, lw=2, marker="o", ms=4, label="Pareto front")
    axes.scatter(default["size"], default["recall"], color=MARK, marker="s", zorder=3, label="default")
    axes.legend(frameon=False)
    return figure
