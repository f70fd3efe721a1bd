"""Figures for a reviewer, drawn from an `Evaluation`; nothing is computed here that a table does not hold.

Figures are made without pyplot: no global state, no display, Agg when saved. Left out: saving (`tracking`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from training.evaluate import Evaluation
from training.fit import Model

BENIGN, ATTACK, MARK, INK = "#2a6f97", "#c8553d", "#e9a23b", "#333333"
LEVEL_COLOURS = {"review": MARK, "act": ATTACK}


def figures(evaluation: Evaluation, model: Model) -> dict[str, Figure]:
    """Every figure of a run by file stem, but for those of tuning (`tune_plots`)."""
    drawn = {
        "roc": roc(evaluation.scored),
        "precision_recall": precision_recall(evaluation.scored),
        "recall_by_window_size_and_share": size_by_share(evaluation.tables["by_window_size_and_share"]),
        "benign_workloads": benign_rates(evaluation.tables["benign_workloads"]),
        "calibration": calibration(evaluation.tables["calibration"], evaluation.metrics["ece"]),
        "scores": scores(evaluation.scored, evaluation.thresholds.as_dict()),
        "feature_importance": importances(feature_importance(model)),
    }
    for name in evaluation.tables.keys() & {"by_lang", "by_evasion"}:
        drawn[f"recall_{name}"] = recalls(evaluation.tables[name], name.removeprefix("by_"))
    for name in drawn.keys() - {"benign_workloads", "feature_importance"}:  # those two rest on no positive
        axes = drawn[name].axes[0]
        _title(axes, f"{axes.get_title(loc='left')}, {evaluation.positives}")
    return drawn


def feature_importance(model: Model) -> pd.DataFrame:
    """Total gain and number of splits of each feature, largest gain first, with the share of all gain."""
    gain = model.booster.feature_importance("gain")
    split = model.booster.feature_importance("split")
    table = pd.DataFrame({"feature": model.feature_names, "gain": gain, "splits": split})
    table["share"] = table["gain"] / max(float(gain.sum()), 1e-12)
    return table.sort_values("gain", ascending=False, ignore_index=True)


def roc(scored: pd.DataFrame) -> Figure:
    """ROC with the false-positive rate on a log scale, where the rates that matter lie."""
    figure, axes = canvas("ROC, test split", "false-positive rate", "recall")
    for name, rows, colour in _curves(scored):
        label, score, weight = (rows[c] for c in ("label", "score", "account_weight"))
        rates, recalls, _ = roc_curve(label, score, sample_weight=weight)
        area = roc_auc_score(label, score, sample_weight=weight)
        axes.plot(np.maximum(rates, 1e-4), recalls, color=colour, lw=2, label=f"{name} (AUC {area:.3f})")
    for rate in (0.003, 0.01):
        axes.axvline(rate, color=INK, lw=0.8, ls=":")
        axes.annotate(f"{rate:.1%}", (rate, 1.0), rotation=90, fontsize=8, ha="right", va="top", color=INK)
    axes.set(xscale="log", xlim=(1e-4, 1), ylim=(0, 1.02))
    axes.legend(loc="lower right", frameon=False)
    return figure


def precision_recall(scored: pd.DataFrame) -> Figure:
    """Precision against recall; the title states the prevalence it holds for."""
    base = float(np.average(scored["label"], weights=scored["account_weight"]))
    figure, axes = canvas(f"Precision and recall at {base:.0%} attack", "recall", "precision")
    for name, rows, colour in _curves(scored):
        label, score, weight = (rows[c] for c in ("label", "score", "account_weight"))
        precision, recall, _ = precision_recall_curve(label, score, sample_weight=weight)
        area = average_precision_score(label, score, sample_weight=weight)
        axes.step(recall, precision, where="post", color=colour, lw=2, label=f"{name} (AP {area:.3f})")
    axes.axhline(base, color=INK, lw=0.8, ls=":")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(loc="lower left", frameon=False)
    return figure


def size_by_share(table: pd.DataFrame, column: str = "recall_at_fpr_0.01") -> Figure:
    """Recall by window size and attacker share, with the number and the count of windows in each cell."""
    grid = table.pivot(index="window_size", columns="attacker_share", values=column)
    count = table.pivot(index="window_size", columns="attacker_share", values="windows")
    title = f"Recall at {float(column.rsplit('_', 1)[1]):.1%} false positives"
    figure, axes = canvas(title, "attacker's share of the window", "exchanges in the window", width=1.5 + grid.shape[1])
    axes.imshow(grid.to_numpy(float), cmap="YlGnBu", vmin=0, vmax=1, aspect="auto")
    windows = count.to_numpy(float)
    for (i, j), value in np.ndenumerate(grid.to_numpy(float)):
        if np.isfinite(value):
            text = f"{value:.2f}\nn={windows[i, j]:.0f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if value > 0.6 else INK)
    axes.set_xticks(range(grid.shape[1]), [f"{share:.0%}" for share in grid.columns.to_numpy(float)])
    axes.set_yticks(range(grid.shape[0]), grid.index.astype(str).tolist())
    axes.grid(False)
    return figure


def recalls(table: pd.DataFrame, by: str, fpr: float = 0.01) -> Figure:
    """Recall of each slice with its interval."""
    title = f"Recall at {fpr:.1%} false positives by {by}"
    figure, axes = canvas(title, "recall", "", height=1.5 + 0.34 * len(table))
    recall, at = table[f"recall_at_fpr_{fpr:g}"], np.arange(len(table))
    error = np.clip([recall - table[f"low_{fpr:g}"], table[f"high_{fpr:g}"] - recall], 0, None)
    axes.errorbar(recall, at, xerr=error, fmt="o", color=BENIGN, capsize=3, ms=5)
    names = zip(table[by], table["windows"], strict=True)
    axes.set_yticks(at, [f"{name} (n={n})" for name, n in names])
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    return figure


def benign_rates(table: pd.DataFrame) -> Figure:
    """Share of benign accounts that reach each level, by workload, with exact intervals."""
    table = table.sort_values("review_fpr", ascending=False, ignore_index=True)
    title = "Benign accounts that reach a level, by workload"
    figure, axes = canvas(title, "share of accounts", "", height=1.5 + 0.34 * len(table))
    for shift, (level, colour) in zip((-0.15, 0.15), LEVEL_COLOURS.items(), strict=True):
        rate, at = table[f"{level}_fpr"], np.arange(len(table)) + shift
        error = np.abs([rate - table[f"{level}_low"], table[f"{level}_high"] - rate])
        axes.errorbar(rate, at, xerr=error, fmt="o", color=colour, capsize=3, ms=5, label=level)
    names = zip(table["family"], table["accounts"], strict=True)
    axes.set_yticks(range(len(table)), [f"{family} (n={n})" for family, n in names])
    axes.invert_yaxis()
    axes.set_xlim(left=-0.005)
    axes.legend(frameon=False)
    return figure


def calibration(table: pd.DataFrame, ece: float) -> Figure:
    """Observed share of attack against the mean score of each bin; the area of a dot is its weight."""
    title = f"Calibration (expected error {ece:.3f})"
    figure, axes = canvas(title, "mean score", "observed share of attack")
    axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
    area = 20 + 400 * table["weight"] / table["weight"].sum()
    axes.plot(table["predicted"], table["observed"], color=BENIGN, lw=1.5)
    axes.scatter(table["predicted"], table["observed"], s=area, color=BENIGN, zorder=3, alpha=0.85)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure


def scores(scored: pd.DataFrame, thresholds: Mapping[str, float]) -> Figure:
    """Distribution of the scores of benign and attack windows, on a log scale, with both thresholds."""
    figure, axes = canvas("Scores of test windows", "score", "share of windows (log)")
    for name, label, colour in (("benign", 0, BENIGN), ("attack", 1, ATTACK)):
        rows = scored[scored["label"] == label]
        weight = rows["account_weight"] / rows["account_weight"].sum()
        axes.hist(rows["score"], bins=[i / 40 for i in range(41)], weights=weight, color=colour, alpha=0.55, label=name)
    for level, cut in thresholds.items():
        axes.axvline(cut, color=LEVEL_COLOURS[level], lw=1.5, ls="--", label=f"{level} from {cut:.3f}")
    axes.set(yscale="log", xlim=(0, 1))
    axes.legend(frameon=False)
    return figure


def importances(table: pd.DataFrame, top: int = 30) -> Figure:
    """The features of largest total gain."""
    table = table[table["gain"] > 0].head(top)
    figure, axes = canvas("Feature importance", "share of total gain", "", height=1.5 + 0.22 * len(table))
    axes.barh(table["feature"], table["share"], color=BENIGN)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    return figure


def _curves(scored: pd.DataFrame) -> list[tuple[str, pd.DataFrame, str]]:
    """All rows, and benign rows with attack families never trained on, where there are any."""
    unseen = scored[(scored["label"] == 0) | ~scored["seen_family"].astype(bool)]
    found = [("all families", scored, BENIGN)]
    return found + ([("families never trained on", unseen, ATTACK)] if unseen["label"].any() else [])


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, fontweight="bold", color=INK)


def dress(axes: Axes, title: str, x: str, y: str) -> None:
    """The look of every panel: bold title at the left, two spines, a faint grid behind."""
    _title(axes, title)
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def canvas(title: str, x: str, y: str, width: float = 6.4, height: float = 4.4) -> tuple[Figure, Axes]:
    """A figure of one panel, inches, no smaller than 5.5 by 2.6."""
    figure = Figure(figsize=(max(width, 5.5), max(height, 2.6)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    dress(axes, title, x, y)
    return figure, axes
