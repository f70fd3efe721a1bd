"""The page of a bake-off: one table, one figure, how each detector was made, what else was tried.

Written by `python -m training bakeoff --out`; every table is beside it as CSV. Left out: everything that is measured
(bakeoff, bakeoff_tables).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.bakeoff import Bout
from training.evaluate import LEAST_ACCOUNTS
from training.leaveout import VARIANTS
from training.leaveout_tables import LEAST_WINDOWS
from training.plots import ATTACK, BENIGN, INK
from training.pooled import FPR, PUBLISHED, SHARES
from training.rivals import DETECTORS, RIVALS
from training.world.page import table

__all__ = ["figure", "write"]

Tables = Mapping[str, pd.DataFrame]
AT = 0.01
NAMED = 4  # rivals with a line of their own


def write(bout: Bout, tables: Tables, out: Path, made: str) -> dict[str, float]:
    """Write `out` (Markdown) and, in a folder of its name, the figure and every table as CSV; gives recalls at 1 %."""
    folder = out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        rows.to_csv(folder / f"{name}.csv", index=False, float_format="%.4f")
    figure(tables).savefig(folder / "recall.png", dpi=80)
    parts = [_opening(bout.windows, made), *table(_main(tables)), "", *_reading(tables)]
    parts += [f"![recall of each detector]({folder.name}/recall.png)", "", *_made(), ""]
    parts += [*_tried(tables), "", *_pooled(tables["pooled"]), ""]
    out.write_text("\n".join(parts), encoding="utf-8")
    headline = _ranked(tables)
    return {str(name): round(float(recall), 4) for name, recall in zip(headline.index, headline["recall"], strict=True)}


def _opening(windows: pd.DataFrame, made: str) -> str:
    honest, attack = windows[windows["label"] == 0], windows[windows["label"] == 1]
    return (
        "# Bake-off: the same windows through other detectors\n\n"
        "Written by `python -m training bakeoff`. **Simulated positives.** Folds, windows, weights, thresholds and "
        "intervals are those of `python -m training evaluate`: every attack window is of a harvest family, and most "
        "honest accounts of a source or workload, that the fold's training split does not hold. The rivals learn from "
        "the honest accounts of that split and are set on its honest calibration accounts; the product also learns "
        "from its campaigns, all of other families. "
        f"{made}\n\n"
        f"{len(attack):,} attack windows of {attack['account_id'].nunique():,} accounts in "
        f"{attack['family'].nunique()} families, {len(honest):,} honest windows of "
        f"{honest['account_id'].nunique():,} accounts, {windows['fold'].nunique()} folds. Recall is the mean over "
        f"attacker shares and window sizes of {LEAST_WINDOWS} windows of {LEAST_ACCOUNTS} accounts or more, with the "
        "95 % interval of resampled groups. Realised: share of the honest windows, each account weighing the same, "
        "above the threshold. Worst workload: honest accounts left out of which most have any window above a "
        f"threshold that 1 % of all honest accounts exceed (of {LEAST_ACCOUNTS} accounts or more).\n"
    )


def _ranked(tables: Tables) -> pd.DataFrame:
    """Rows of the headline at 1 %, by detector, best first."""
    rows = tables["headline"][tables["headline"]["fpr"] == AT].set_index("detector")
    return rows.sort_values("recall", ascending=False)


def _main(tables: Tables) -> pd.DataFrame:
    """What the page shows of the headline: a row a detector, cells as text."""
    stricter = tables["headline"][tables["headline"]["fpr"] == 0.003].set_index("detector")
    seconds = tables["seconds"].set_index("detector")["seconds"]
    rows = []
    for name, row in ((str(name), row) for name, row in _ranked(tables).iterrows()):
        detector, strict = DETECTORS[name], stricter.T[name]
        rows.append({
            "detector": f"**{detector.title}**" if name in VARIANTS else detector.title,
            "source": detector.source, "reads": detector.reads,
            "mean recall at 1 %": _range(row, "recall", "low", "high"),
            "realised": f"{row['realised']:.2%}",
            "pure, window 100": _range(row, "pure_at_0.01", "pure_low", "pure_high"),
            "share 25 %, window 100": _range(row, "quarter_at_0.01", "quarter_low", "quarter_high"),
            "mean recall at 0.3 %": f"{_range(strict, 'recall', 'low', 'high')}, {strict['realised']:.2%}",
            "worst workload left out": f"{row['worst_at_0.01']:.0%}, {row['worst_workload']}",
            "seconds": f"{seconds.get(name, 0.0):.1f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def _range(row: pd.Series, value: str, low: str, high: str) -> str:
    if value not in row or row[value] != row[value]:
        return "no such window"
    return f"{row[value]:.2f} ({row[low]:.2f} to {row[high]:.2f})"


def _reading(tables: Tables) -> Iterator[str]:
    shared = tables["seconds"].set_index("detector")["seconds"].get("embedding", 0.0)
    yield (
        "Seconds are of fitting and scoring over all folds by the clock on the wall, waiting for other programs "
        "included (fits on two threads wait most: the product's take about a second a fold on idle cores); the "
        "detectors that read prompts share "
        f"another {shared:.0f} s of reading, embedding, inner products and compressing, and what features rest on, "
        "reading every prompt with a prompt head, is not in them. A coin would have a recall of 0.01 at 1 %. A "
        "realised rate below the asked one is that of a score with few values: more windows share the threshold's "
        "value than may be flagged. Campaigns and honest programs of a simulated world share their clocks by "
        "construction, so that rules of pace and volume, and the product's features of them, have little to find in it."
    )
    yield ""


def _made() -> Iterator[str]:
    yield "## How each was made\n"
    yield (
        "Each from its source, with these differences. Prompts are embedded by hashed words, pairs and leading words "
        "with inverse document frequencies of honest training prompts, projected at random to 256 dimensions of unit "
        "length: spelling, not meaning. The papers use sentence encoders or networks, which may do better. One "
        "threshold serves windows of all sizes; as the papers set theirs for one size, each rival is also scored by "
        "its distance from honest calibration windows of the same size (*by size*). Settings that follow from honest "
        "traffic are fixed there. **Where a setting, the scale or the suspicious tail stays open, the one that is best "
        "on the judged windows is shown**: a favour to the rivals that the product does not get, and one that no "
        "operator could do them without attacks to look at.\n"
    )
    for detector in RIVALS.values():
        yield f"- **{detector.title}** ({detector.source}): {detector.made}."


def _tried(tables: Tables) -> Iterator[str]:
    yield "## What else was tried\n"
    yield "Mean recall at 1 % of the setting that is shown above, and of the worst of all that were tried.\n"
    rows = []
    for name, part in tables["settings"].groupby("detector", sort=False):
        best, worst = part[part["chosen"]].iloc[0], part.nsmallest(1, "recall").iloc[0]
        rows.append({
            "detector": RIVALS[str(name)].title, "tried": len(part), "shown": f"{best['setting']}",
            "recall": f"{best['recall']:.3f}", "worst": f"{worst['setting']}: {worst['recall']:.3f}",
        })  # fmt: skip
    yield from table(pd.DataFrame(rows))


def _pooled(drawn: pd.DataFrame) -> Iterator[str]:
    yield "## MMD as its paper judges it\n"
    yield (
        "The same detector and embedding on draws from one pool: honest windows of random prompts of all honest "
        "accounts, attack windows the same with a share of one left-out family's, at the size's own threshold; recall "
        f"at {FPR:.1%} over all families, and the paper's figure (sentence embeddings, other data). Windows of "
        "accounts differ from these in that an honest account does not look like the pool.\n"
    )
    rows = []
    for size, part in drawn.groupby("size"):
        found = part.groupby("share")[["found", "windows"]].sum()
        recall = (found["found"] / found["windows"]).to_dict()
        published = dict(zip(SHARES, PUBLISHED[int(str(size))], strict=True))
        told = {f"share {s:.0%}": f"{recall[s]:.2f} (paper {published[s]:.2f})" for s in SHARES if s in recall}
        rows.append({"window": f"{size} prompts"} | told)
    yield from table(pd.DataFrame(rows).fillna("too few prompts"))


def figure(tables: Tables) -> Figure:
    """Mean recall at 1 % of every detector with its interval; beside it recall by attacker share over all sizes."""
    drawn = Figure(figsize=(12, 4.8), layout="constrained")
    left, right = drawn.subplots(1, 2, width_ratios=(1.1, 1))
    _bars(left, _ranked(tables))
    _lines(right, tables)
    drawn.suptitle("Families left out, simulated positives, recall at 1 % false positives", color=INK)
    return drawn


def _bars(axes: Axes, ranked: pd.DataFrame) -> None:
    recall, at = ranked["recall"].to_numpy(np.float64), np.arange(len(ranked))
    error = np.clip([recall - ranked["low"], ranked["high"] - recall], 0, None)
    colours = [ATTACK if name in VARIANTS else BENIGN for name in ranked.index]
    axes.barh(at, recall, xerr=error, color=colours, alpha=0.85, error_kw={"elinewidth": 1, "ecolor": INK})
    axes.set_yticks(at, [DETECTORS[str(name)].title for name in ranked.index])
    axes.invert_yaxis()
    axes.axvline(AT, color=INK, lw=0.8, ls=":")
    axes.set(xlabel="mean over attacker shares and window sizes (dotted: a coin)", xlim=(0, None))
    axes.grid(alpha=0.25, axis="x")


def _lines(axes: Axes, tables: Tables) -> None:
    order = [str(name) for name in _ranked(tables).index]
    named = [name for name in order if name in RIVALS][:NAMED]
    for name, part in tables["by_share"].groupby("detector"):
        ours, share, recall = name in VARIANTS, part["share"], part["recall_at_fpr_0.01"]
        title = DETECTORS[str(name)].title if ours or name in named else None
        style: dict[str, Any] = {"lw": 1.5} if title else {"color": "#bbbbbb", "lw": 1}
        if ours:
            style = {"color": ATTACK, "lw": 2.5, "ls": "-" if name == VARIANTS[-1] else "--"}
        axes.plot(share, recall, marker="o", ms=4, label=title, zorder=3 if title else 1, **style)
    axes.set(xscale="log", xlabel="attacker share (grey: the other rivals)", ylabel="all window sizes", ylim=(0, None))
    shares = sorted(tables["by_share"]["share"].unique())
    axes.set_xticks(shares, [f"{share:.0%}" for share in shares])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)
