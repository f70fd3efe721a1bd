"""Figures of the review page: challenger and champion side by side, drawn from a `Review`.

As in `plots`, nothing is computed that a table does not hold, and pyplot keeps no figure. The same review gives the
same bytes: what `shap` draws at random is drawn from a fixed seed. Left out: how figures get into the page.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import ScalarFormatter

from training.drift import LARGE, SMALL
from training.evaluate import LEAST_ACCOUNTS
from training.plots import ATTACK, BENIGN, INK, MARK, canvas, dress
from training.review import Review
from training.review_tables import shares, slice_name
from training.tune_plots import history

__all__ = ["CHAMPION", "MOST", "figures"]

Floats = npt.NDArray[np.floating]
CHAMPION = "#8d8d8d"
MOST = 24  # slices drawn; all are in the tables
TOP = 15  # features drawn
LINES = (BENIGN, MARK, ATTACK, "#5b8c5a", "#8a6bbe", CHAMPION)


def figures(review: Review) -> dict[str, Figure]:
    """Every figure by file stem; one that has nothing to show is left out."""
    drawn = {f"found_{kind}": found(review, kind) for kind, table in review.found.items() if len(table)}
    drawn |= {f"honest_{kind}": honest(review, kind) for kind, table in review.honest.items() if len(table)}
    for name, table, draw in (
        ("headline", review.headline, headline),
        ("calibration", review.calibration, calibration),
        ("survival", review.survival, survival),
        ("drift", review.drift, drift),
    ):
        drawn |= {name: draw(review)} if len(table) else {}
    if len(review.sample):
        drawn |= {"shap_bar": shap_bar(review), "shap_beeswarm": shap_beeswarm(review)}
    return drawn | ({"trials": trials(review)} if len(review.trials) else {})


def headline(review: Review) -> Figure:
    """With a champion the difference of each share and its interval, in percentage points; without, the shares."""
    table = review.headline[[shares(str(measure)) for measure in review.headline["measure"]]]
    ends = ("difference", "difference_low", "difference_high") if review.against else ("value", "low", "high")
    title = "Challenger less champion" if review.against else "Shares of the whole test split"
    x = "percentage points (right of the line is more)" if review.against else "percent"
    figure, axes = canvas(f"{title}, {review.positives}", x, "", width=8.5, height=1.2 + 0.36 * len(table))
    value, low, high = (100 * table[name].to_numpy(float) for name in ends)
    _dots(axes, np.arange(len(table), dtype=float), value, low, high, BENIGN, True)
    if review.against:
        axes.axvline(0, color=INK, lw=0.8, ls=":")
    _names(axes, table["measure"].astype(str).tolist(), longest=72)
    return figure


def found(review: Review, kind: str) -> Figure:
    """Recall of the slices of most accounts, a panel a rate, in the order of the table."""
    table = review.found[kind]
    table = table[table["accounts"].rank(ascending=False, method="first") <= MOST]
    panels = {
        f"at {fpr:.1%} false positives": (f"recall_{fpr:g}", f"low_{fpr:g}", f"high_{fpr:g}") for fpr in review.fprs
    }
    title = f"Recall by {kind.replace('_', ' ')}, {review.positives}{_of(table, review.found[kind])}"
    return _paired(table, kind, panels, title, "recall (%)")


def honest(review: Review, kind: str) -> Figure:
    """Honest accounts that reach a level: the slices most flagged, of `LEAST_ACCOUNTS` accounts or more if any is."""
    table = review.honest[kind].sort_values(["review", "accounts"], ascending=False, kind="stable")
    enough = table["accounts"] >= LEAST_ACCOUNTS
    table = (table[enough] if enough.any() else table).head(MOST)
    panels = {level: (level, f"{level}_low", f"{level}_high") for level in ("review", "act")}
    title = f"Honest accounts that reach a level, by {kind.replace('_', ' ')}{_of(table, review.honest[kind])}"
    return _paired(table, kind, panels, title, "share of accounts (%)")


def _of(shown: pd.DataFrame, all_of: pd.DataFrame) -> str:
    return f" ({len(shown)} of {len(all_of)})" if len(shown) < len(all_of) else ""


def _paired(table: pd.DataFrame, kind: str, panels: Mapping[str, Sequence[str]], title: str, x: str) -> Figure:
    """A row a slice: the challenger's dot above the champion's, with intervals, in as many panels as asked for."""
    figure = Figure(figsize=(9, 1.5 + 0.34 * len(table)), dpi=110, layout="constrained")
    both = any(f"champion_{names[0]}" in table for names in panels.values())
    at = np.arange(len(table), dtype=float)
    for axes, (name, columns) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        dress(axes, name, x, "")
        for prefix, shift, colour in (("champion_", 0.17, CHAMPION), ("", -0.17, BENIGN))[not both :]:
            value, low, high = (100 * table[f"{prefix}{column}"].to_numpy(float) for column in columns)
            _dots(axes, at + both * shift, value, low, high, colour, not prefix)
        axes.set_xlim(left=-0.02 * axes.get_xlim()[1])
    seen = table.get("seen_family", pd.Series(True, index=table.index))
    named = [slice_name(kind, *row) for row in zip(table["slice"], seen, strict=True)]
    _names(figure.axes[0], [f"{name} (n={n:.0f})" for name, n in zip(named, table["accounts"], strict=True)])
    _legend(figure, title, figure.axes[0] if both else None)
    return figure


def _dots(axes: Axes, at: Floats, value: Floats, low: Floats, high: Floats, colour: str, filled: bool) -> None:
    """Dots with intervals; hollow for the champion, so that they differ without colour."""
    error = np.nan_to_num(np.clip([value - low, high - value], 0, None))
    label, face = ("challenger", colour) if filled else ("champion", "white")
    marker = "o" if filled else "D"
    axes.errorbar(
        value, at, xerr=error, fmt=marker, color=colour, mfc=face, ms=5 if filled else 4.5, elinewidth=1.2, label=label
    )


def _names(axes: Axes, names: Sequence[str], longest: int = 44) -> None:
    axes.set_yticks(range(len(names)), [_literal(name, longest) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)


def _literal(name: str, longest: int = 44) -> str:
    """A name as text, never as mathematics, and no longer than an axis can bear."""
    return (name if len(name) <= longest else f"{name[: longest - 1]}…").replace("$", r"\$")


def _legend(figure: Figure, title: str, axes: Axes | None) -> None:
    """The figure's title at the left and, if there is something to tell apart, one legend below all panels."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    if axes is not None:
        handles, labels = axes.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda i: labels[i] != "challenger")
        figure.legend(
            [handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", ncols=6, frameon=False
        )


def calibration(review: Review) -> Figure:
    """Observed share of attack against the mean score of each bin; the area of a dot is its weight."""
    figure, axes = canvas(f"Calibration, {review.positives}", "mean score", "observed share of attack")
    axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
    for name, colour, face in (("champion", CHAMPION, "white"), ("challenger", BENIGN, BENIGN)):
        table = review.calibration[review.calibration["model"] == name]
        if len(table):
            area = 20 + 300 * table["weight"] / table["weight"].sum()
            axes.plot(table["predicted"], table["observed"], color=colour, lw=1.5)
            axes.scatter(
                table["predicted"], table["observed"], s=area, facecolor=face, edgecolor=colour, zorder=3, label=name
            )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(frameon=False, loc="upper left")
    return figure


def survival(review: Review) -> Figure:
    """Share of campaign accounts not flagged yet, a line an attacker share, a panel a level; the champion dashed."""
    levels = review.survival["level"].unique().tolist()
    figure = Figure(figsize=(9, 4.2), dpi=110, layout="constrained")
    for axes, level in zip(figure.subplots(1, len(levels), sharey=True, squeeze=False)[0], levels, strict=True):
        dress(axes, str(level), "exchanges", "")
        table = review.survival[review.survival["level"] == level]
        for (share, part), colour in zip(table.groupby("slice", sort=False), LINES * len(table), strict=False):
            ends = {"where": "post", "color": colour}
            axes.step(part["exchanges"], part["left"], lw=2, label=_literal(slice_name("share", share)), **ends)
            if "champion_left" in part:
                axes.step(part["exchanges"], part["champion_left"], lw=1.2, ls="--", **ends)
        axes.set(xscale="log", ylim=(0, 1.02))
        axes.xaxis.set_major_formatter(ScalarFormatter())
    figure.axes[0].set_ylabel("share not flagged yet")
    dashed = " (champion dashed)" if "champion_left" in review.survival else ""
    _legend(figure, f"Exchanges until the first flag by attacker share{dashed}, {review.positives}", figure.axes[0])
    return figure


def drift(review: Review) -> Figure:
    """The features that moved most, with what PSI reaches by chance and the usual limits."""
    table = review.drift.sort_values("psi", ascending=False, kind="stable").head(TOP)
    figure, axes = canvas("Drift of features, honest windows", "PSI", "", width=8.5, height=1.4 + 0.28 * len(table))
    at = np.arange(len(table))
    axes.barh(at, table["psi"], color=BENIGN, height=0.65)
    axes.scatter(table["noise"], at, marker="|", s=120, color=MARK, zorder=3, label="by chance at most")
    for limit, style, name in ((SMALL, ":", "worth a look"), (LARGE, "--", "shifted")):
        axes.axvline(limit, color=INK, lw=0.9, ls=style, label=f"{name}, from {limit:g}")
    _names(axes, table["feature"].astype(str).tolist())
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def shap_bar(review: Review) -> Figure:
    """Mean size of each feature's contribution, by `shap`."""
    shap = _shap()
    figure, axes = canvas("", "", "", width=8.5, height=1.4 + 0.3 * min(TOP, len(review.features)))
    with _drawn_alike():
        shap.plots.bar(_explanation(review), max_display=TOP, ax=axes, show=False)
    for patch in axes.patches:
        patch.set(facecolor=BENIGN, edgecolor="none")
    _calm(axes, "Mean size of a feature's contribution", "log odds")
    return figure


def shap_beeswarm(review: Review) -> Figure:
    """A dot a test window: how far each feature moves its margin, coloured by the feature's value, by `shap`."""
    shap = _shap()
    figure, axes = canvas("", "", "", width=8.5, height=1.4 + 0.3 * min(TOP, len(review.features)))
    with _drawn_alike():
        explanation = _explanation(review)
        shap.plots.beeswarm(
            explanation, max_display=TOP, ax=axes, show=False, plot_size=None, s=9, group_remaining_features=False
        )
    for dots in axes.collections:
        dots.set_rasterized(True)
    _calm(
        axes,
        f"Contributions of {len(review.sample):,} test windows, {review.positives}",
        "log odds (right: more like attack)",
    )
    return figure


def trials(review: Review) -> Figure:
    """The objective of each trial of the tuning and the best so far."""
    return history(review.trials, review.positives)


def _shap() -> Any:
    """`shap`, which takes seconds to import and calls what matplotlib will deprecate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        import shap
    return shap


def _explanation(review: Review) -> object:
    return _shap().Explanation(review.contributions.copy(), data=review.sample, feature_names=list(review.features))


def _calm(axes: Axes, title: str, x: str) -> None:
    """Gives what `shap` drew the look of the other figures."""
    dress(axes, title, x, "")
    axes.xaxis.label.set_fontsize(10)
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", visible=False)
    for text in axes.figure.findobj(Text):
        text.set_color(INK)
        text.set_fontsize(min(text.get_fontsize(), 11))


@contextmanager
def _drawn_alike() -> Iterator[None]:
    """The jitter of `shap` comes from numpy's global generator: seeded here, and left as it was. A feature that is
    missing in all windows has no quantiles; numpy's warning of that says nothing here."""
    before = np.random.get_state()  # noqa: NPY002 shap takes no generator
    np.random.seed(0)  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
