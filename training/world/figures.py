"""Figures of the world's report, drawn from its tables; nothing is computed here that a table does not hold.

Without pyplot: no global state, no display. matplotlib is imported when something is drawn. Left out: the figures
of the clocks (clock_report draws its own).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["leaks", "save", "text"]

WORLD, REAL, ATTACK, INK = "#2a6f97", "#e9a23b", "#c8553d", "#333333"
WIDEST = 1050  # pixels
TEXT = {
    "compression": "compression ratio of 100 prompts (zlib)", "distinct_2": "distinct-2 of 100 prompts",
    "cv": "CV of prompt length in characters",
}  # fmt: skip


def text(world: pd.DataFrame, real: pd.DataFrame | None) -> Figure:
    """One dot a family of the world and a source of the corpora, by role, for the three figures of text that matter."""
    figure, panels = _panels(len(TEXT), width=10.5, height=3.6)
    roles = ["people", "automation", "shared keys", "attack"]
    sides = [("simulated", world, WORLD, -0.14)] + ([("real", real, REAL, 0.14)] if real is not None else [])
    for axes, (column, label) in zip(panels, TEXT.items(), strict=True):
        for name, rows, colour, shift in sides:
            at = [roles.index(role) + shift for role in rows["role"]]
            axes.scatter(rows[column], at, color=colour, s=22, alpha=0.65, label=name)
            middle = rows.groupby("role")[column].median()
            axes.scatter(middle, [roles.index(r) + shift for r in middle.index], marker="|", s=260, color=INK, zorder=3)
        axes.set(xlabel=label, yticks=range(len(roles)), yticklabels=roles if axes is panels[0] else [])
        axes.invert_yaxis()
    panels[0].legend(frameon=False, fontsize=8)
    _title(panels[0], "Text by role: a dot a family, the bar their median")
    return figure


def leaks(models: pd.DataFrame, features: pd.DataFrame, suspect: float, top: int = 20) -> Figure:
    """AUC of attack against honest programs: of models on kinds of evidence, and of the most telling features."""
    figure, panels = _panels(2, width=10.5, height=5.2)
    _bars(panels[0], models["model"].tolist(), models, "a model alone")
    target = models.loc[models["target"].notna(), "target"].max()
    panels[0].axvline(target, color=ATTACK, lw=1, ls="--")
    panels[0].annotate(f"metadata: at most {target:.2f}", (target, 0.45), fontsize=8, color=ATTACK)
    rows = features.head(top)
    _bars(panels[1], rows["feature"].tolist(), rows, f"the {len(rows)} most telling features")
    panels[1].axvline(suspect, color=ATTACK, lw=1, ls="--")
    panels[1].tick_params(axis="y", labelsize=8)
    return figure


def _bars(axes: Axes, names: list[str], rows: pd.DataFrame, title: str) -> None:
    at, auc = np.arange(len(names)), rows["auc"].to_numpy(float)
    error = np.nan_to_num(np.abs([auc - rows["low"].to_numpy(float), rows["high"].to_numpy(float) - auc]))
    axes.errorbar(auc, at, xerr=error, fmt="o", color=WORLD, capsize=3, ms=4)
    axes.set(xlim=(0.4, 1.01), xlabel="AUC, attack against honest programs", yticks=at, yticklabels=names)
    axes.axvline(0.5, color=INK, lw=0.8, ls=":")
    axes.invert_yaxis()
    _title(axes, title)


def save(figures: dict[str, Figure], folder: Path) -> list[Path]:
    """Write figures as PNG; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.png" for name in figures]
    for file, figure in zip(files, figures.values(), strict=True):
        figure.savefig(file, dpi=min(100, WIDEST / figure.get_figwidth()), metadata={"Software": None})
    return files


def _title(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(1, count)))
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
    return figure, panels
