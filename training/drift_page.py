"""The page of a drift: Markdown, the table for a terminal and the plot, from figures that ``drift`` computed.

Left out: judging (``drift.alarms``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from fingerprint.calibrate import LEAST
from fingerprint.errors import FingerprintError
from training.drift import FEW, LARGE, SMALL, Drift
from training.plots import ATTACK, BENIGN, INK, MARK
from training.world.page import table

if TYPE_CHECKING:
    from training.tracking import Tracked

__all__ = ["figure", "metrics", "notes", "render", "show", "track", "write"]

TOP = 20
_COLUMNS = {
    "psi": "PSI", "ks": "KS", "chance": "PSI by chance", "outside": "outside 5-95 %", "missing": "missing",
    "outside_reference": "reference outside", "missing_reference": "reference missing",
}  # fmt: skip
_SHARES = ("outside", "missing", "outside_reference", "missing_reference")


def notes(drift: Drift, alarms: Sequence[str]) -> list[str]:
    """What the figures rest on and what they come to, a sentence or more each."""
    told = [f"Drift: {alarm}." for alarm in alarms] or ["Steady: nothing is beyond its limit."]
    told.append(f"Bundle {drift.bundle_id}; {_windows(drift)}.")
    if drift.reference is None:
        told.append(_on_baseline(drift))
    unjudged = int(drift.features["psi"].isna().sum())
    if unjudged:
        told.append(f"{unjudged} features cannot be judged: they are missing in all latest windows or in the baseline.")
    if drift.few:
        chance, noise = (drift.features.dropna(subset="psi")[name].max() for name in ("chance", "noise"))
        told.append(
            f"Fewer than {FEW} windows: PSI is noisy, about {chance:.2f} by chance alone and below {noise:.2f} in 99 "
            "of 100 cases; nothing below what chance makes raises an alarm."
        )
    return told


def _windows(drift: Drift) -> str:
    parts = {"latest": drift.latest} | ({} if drift.reference is None else {"reference": drift.reference})
    told = []
    for name, seen in parts.items():
        first, last = (
            str(np.datetime64(int(at), "us").astype("M8[D]")) for at in (min(seen.time_us), max(seen.time_us))
        )
        rejected = f", {seen.rejected:,} records rejected" if seen.rejected else ""
        told.append(
            f"{name}: {len(seen.scores):,} {drift.by} windows of {first} to {last} ({seen.small:,} of fewer than "
            f"{LEAST} exchanges left out{rejected})"
        )
    return "; ".join(told)


def _on_baseline(drift: Drift) -> str:
    facts = drift.calibrated
    whose = f"of {facts['windows']:,} windows by {facts['by']}" if facts else "of windows as training cuts them"
    told = (
        f"Without reference traffic there is only the bundle's baseline, three quantiles {whose}, honest ones: PSI is "
        "over the four bins that these make (5, 45, 45 and 5 % expected), KS is a lower bound, at three points; drift "
        "of scores and of what is missing needs --reference."
    )
    if facts.get("by") != drift.by:
        told += (
            f" Windows by {drift.by} differ from those of the baseline already in size, and some PSI comes from that: "
            f"`fingerprint calibrate --by {drift.by}` makes a baseline of your own."
        )
    return told


def metrics(drift: Drift) -> dict[str, float]:
    """What MLflow keeps: PSI and KS of each feature and of the score, shares at the levels, numbers of windows."""
    found = {
        f"{kind}.{row.feature}": getattr(row, kind) for row in drift.features.itertuples() for kind in ("psi", "ks")
    }
    found |= {f"score.{name}": value for name, value in drift.score.items()}
    judged = drift.features["psi"].dropna()
    found |= {"features_shifted": float((judged >= LARGE).mean()), "windows": float(len(drift.latest.scores))}
    found |= {} if drift.reference is None else {"windows_reference": float(len(drift.reference.scores))}
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def show(drift: Drift, alarms: Sequence[str], console: Console) -> None:
    """The notes, the score and the features of the strongest drift."""
    shown = Table(title=f"The {TOP} features of the strongest drift")
    rows = _cells(drift.features.head(TOP))
    for name in rows:
        told = name in ("feature", "family")
        shown.add_column(str(name), justify="left" if told else "right", no_wrap=told)
    for row in rows.itertuples(index=False, name=None):
        shown.add_row(*map(str, row))
    console.print(shown)
    for line in [*_of_score(drift), *_of_models(drift), *notes(drift, alarms)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _cells(features: pd.DataFrame) -> pd.DataFrame:
    """Figures as text, columns without any left out."""
    told = features[["feature", "family", *_COLUMNS]].dropna(axis=1, how="all")
    for name in told.columns[2:]:
        form = "{:.1%}" if name in _SHARES else "{:.3f}"
        told = told.assign(**{name: ["-" if value != value else form.format(value) for value in told[name]]})
    return told.rename(columns=_COLUMNS)


def _of_score(drift: Drift) -> list[str]:
    score = drift.score
    told = []
    if "psi" in score:
        told.append(f"Score: PSI {score['psi']:.3f} ({score['chance']:.3f} by chance), KS {score['ks']:.3f}.")
    for level in drift.thresholds:
        before = f", {score[f'{level}_reference']:.2%} of the reference" if f"{level}_reference" in score else ""
        told.append(f"At {level}: {score[level]:.2%} of the latest windows{before}.")
    return told


def _of_models(drift: Drift) -> list[str]:
    new = drift.models[drift.models["new"].astype(bool)] if len(drift.models) else drift.models
    if not len(new):
        return []
    share = float(new["last_third"].sum())
    return [f"New models: {len(new)}, {share:.1%} of the last third of exchanges; none of the first third."]


def render(drift: Drift, alarms: Sequence[str], plot: str = "") -> str:
    """The page as Markdown; ``plot``: where the figure lies, seen from the page."""
    families = drift.features.groupby("family", sort=False)["psi"].agg(["median", "max"]).reset_index()
    parts = [
        "# Drift",
        "Written by `python -m training drift`. PSI below "
        f"{SMALL:g} is usually read as steady, from {LARGE:g} as shifted; of the latest values of a feature 10 % are "
        "expected outside the baseline's 5 to 95 % range.",
        *notes(drift, alarms),
        *([f"![PSI by family and scores]({plot})"] if plot else []),
        "## Score",
        "\n".join(f"- {line}" for line in _of_score(drift)),
        "## PSI by family",
        "\n".join(table(families)),
        "## Features",
        "\n".join(table(_cells(drift.features))),
    ]
    if len(drift.models):
        models = drift.models.head(TOP)
        models = models.assign(new=["yes" if new else "" for new in models["new"]])
        parts += [
            "## Requested models",
            "Shares of exchanges in the first and last third of the latest traffic, the largest change first. Models "
            "are known by hash: `format(fingerprint.exchange.text_hash(NAME), '08x')` is the hash of a name.",
            "\n".join(table(models)),
        ]
    return "\n\n".join(parts) + "\n"


def write(drift: Drift, alarms: Sequence[str], out: Path) -> Path:
    """The page at ``out``, the plot beside it under the same name; returns where the plot lies."""
    plot = out.with_suffix(".png")
    if plot == out:
        raise FingerprintError(f"--out {out}: expected a Markdown page, its plot gets this name")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure(drift).savefig(plot)
    out.write_text(render(drift, alarms, plot.name), encoding="utf-8")
    return plot


def track(drift: Drift, alarms: Sequence[str], experiment: str) -> Tracked:
    """A run in MLflow with the figures, the page, its plot and the table of features."""
    from training.tracking import track_report

    tags = {"bundle_id": drift.bundle_id, "kind": "drift", "drift": "drift" if alarms else "steady"}
    with tempfile.TemporaryDirectory() as folder:
        write(drift, alarms, Path(folder) / "drift.md")
        drift.features.to_csv(Path(folder) / "features.csv", index=False, float_format="%.6g")
        name = f"drift {drift.bundle_id}"
        return track_report(experiment, name, Path(folder), metrics=metrics(drift), tags=tags)


def figure(drift: Drift) -> Figure:
    """PSI by family (bar: median, dots: features), and the distribution of scores."""
    drawn = Figure(figsize=(11, 4.4), dpi=110, layout="constrained")
    left, right = drawn.subplots(1, 2)
    _families(left, drift.features.dropna(subset="psi"))
    bins = [i / 40 for i in range(41)]
    parts = {"latest": (drift.latest, ATTACK)} | ({"reference": (drift.reference, BENIGN)} if drift.reference else {})
    for name, (seen, colour) in parts.items():
        share = np.full(len(seen.scores), 1 / len(seen.scores))
        right.hist(seen.scores, bins=bins, weights=share, color=colour, alpha=0.55, label=name)
    for level, style in (("review", "--"), ("act", ":")):
        right.axvline(drift.thresholds[level], color=INK, lw=1, ls=style, label=level)
    right.set(yscale="log", xlim=(0, 1), xlabel="score", ylabel="share of windows (log)")
    right.set_title("Scores", loc="left", fontsize=11, fontweight="bold", color=INK)
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    return drawn


def _families(axes: Axes, features: pd.DataFrame) -> None:
    medians = features.groupby("family")["psi"].median().sort_values()
    names = [str(name) for name in medians.index]
    axes.barh(names, medians.to_numpy(np.float64), color=BENIGN)
    axes.scatter(features["psi"], [names.index(str(name)) for name in features["family"]], s=12, color=INK, alpha=0.6)
    for at in (SMALL, LARGE):
        axes.axvline(at, color=MARK, lw=1, ls="--")
    axes.set(xlabel=f"PSI (dashed: {SMALL:g} and {LARGE:g}; symmetric log)", xlim=(0, None))
    axes.set_xscale("symlog", linthresh=LARGE)
    axes.set_title("PSI by family: median, features", loc="left", fontsize=11, fontweight="bold", color=INK)
