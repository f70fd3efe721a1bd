"""The page of an evaluation by leaving out: headline, recall by share and size, families, honest workloads; one plot.

Written by `python -m training evaluate --out`. Left out: everything that is measured (leaveout).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from training.leaveout import FPRS, VARIANTS, headline, interval, tables

__all__ = ["write"]

TITLES = {"content": "content only (diversity and capability features)", "all": "all features"}
RESAMPLES = 200


def write(scored: pd.DataFrame, out: Path, made: str, seed: int) -> dict[str, float]:
    """Write `out` (Markdown), its plot and, in a folder of its name, every table as CSV; gives the headlines."""
    folder = out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    found = tables(scored)
    for name, table in found.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.4f")
    _plot(found, folder / "recall.png")
    told = {variant: headline(scored, variant) for variant in VARIANTS}
    parts = [
        _opening(scored, made),
        _headlines(scored, seed),
        f"![recall by share and size]({folder.name}/recall.png)\n",
    ]
    for variant in VARIANTS:
        parts += [f"## {TITLES[variant].capitalize()}\n", _grid(found[f"{variant}_0.01_by_share_and_size"])]
        parts += [_slices(found, variant)]
    out.write_text("\n".join(parts), encoding="utf-8")
    return told


def _opening(scored: pd.DataFrame, made: str) -> str:
    honest, attack = scored[scored["label"] == 0], scored[(scored["label"] == 1) & ~scored["seen_family"]]
    return (
        "# Detection of what was never trained on\n\n"
        "Written by `python -m training evaluate`. **Simulated positives.** Every harvest family and honest source is "
        "left out in turn; each attack window below was scored by a model, and read by a prompt head, that never saw "
        f"its family. {made}\n\n"
        f"{len(attack):,} attack windows of {attack['account_id'].nunique():,} accounts in "
        f"{attack['family'].nunique()} families, "
        f"{len(honest):,} honest windows of {honest['account_id'].nunique():,} accounts "
        f"({honest.loc[~honest['seen_family'], 'account_id'].nunique():,} of them of workloads left out), "
        f"{scored['fold'].nunique()} folds.\n"
    )


def _headlines(scored: pd.DataFrame, seed: int) -> str:
    lines = [
        "Mean recall over attacker shares and window sizes, at realised false-positive rates of honest accounts:\n",
        "| | " + " | ".join(f"{fpr:.1%}" for fpr in FPRS) + " |",
        "|---|" + "---:|" * len(FPRS),
    ]
    for variant in VARIANTS:
        values = []
        for fpr in FPRS:
            low, high = interval(scored, variant, fpr, RESAMPLES, seed)
            values.append(f"{headline(scored, variant, fpr):.3f} ({low:.3f} to {high:.3f})")
        lines.append(f"| {TITLES[variant]} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def _grid(cells: pd.DataFrame) -> str:
    """Recall at 1 %: a row an attacker share, a column a window size."""
    recall = cells.pivot(index="share", columns="n_exchanges", values="recall")
    windows = cells.pivot(index="share", columns="n_exchanges", values="windows")
    lines = ["Recall at 1 % (windows):\n", "| share | " + " | ".join(f"{size} exchanges" for size in recall) + " |"]
    lines.append("|---|" + "---:|" * len(recall.columns))
    counts = windows.to_dict("index")
    for share, row in recall.iterrows():
        shown = [f"{v:.2f} ({counts[share][size]:.0f})" if v == v else "" for size, v in row.items()]
        lines.append(f"| {share:.0%} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


def _slices(found: dict[str, pd.DataFrame], variant: str) -> str:
    """Recall by left-out family and language; honest accounts with a window above the cut, worst first."""
    parts = []
    for column in ("family", "lang"):
        table = found.get(f"{variant}_by_{column}")
        if table is not None:
            rows = [f"| {r[column]} | {r['mean']:.2f} | {r['size']} |" for _, r in table.iterrows()]
            parts += [f"| {column} left out | recall at 1 % | windows |", "|---|---:|---:|", *rows, ""]
    for column in ("family", "lang"):
        table = found.get(f"{variant}_honest_by_{column}")
        if table is not None:
            worst = table.sort_values("cut_fpr", ascending=False).head(15)
            rows = [
                f"| {r[column]} | {r['accounts']} | {r['cut_fpr']:.1%} ({r['cut_low']:.1%} to {r['cut_high']:.1%}) |"
                for _, r in worst.iterrows()
            ]
            parts += [f"| honest {column} | accounts | with any window above the cut |", "|---|---:|---:|", *rows, ""]
    return "\n".join(parts)


def _plot(found: dict[str, pd.DataFrame], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    for i, variant in enumerate(VARIANTS):
        cells = found[f"{variant}_0.01_by_share_and_size"]
        axes = figure.add_subplot(1, len(VARIANTS), i + 1)
        for share, part in cells.groupby("share"):
            axes.plot(part["n_exchanges"], part["recall"], marker="o", label=f"{share:.0%}")
        axes.set_xscale("log")
        axes.set_ylim(0, 1)
        axes.set_xlabel("window (exchanges)")
        axes.set_ylabel("recall at 1 % false positives, families left out")
        axes.set_title(TITLES[variant])
        axes.legend(title="attacker share")
    figure.savefig(path, dpi=80)
