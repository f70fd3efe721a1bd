"""The page of an evaluation by leaving out: the figures that are aimed for first, then plots, then tables.

Written by `python -m training evaluate --out`; every table is beside it as CSV. Left out: everything that is measured
(leaveout, leaveout_tables) and drawn (leaveout_plots).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from training.early import LEVELS, PREFIXES, SOON
from training.evaluate import LEAST_ACCOUNTS
from training.leaveout import SIZES, VARIANTS, Scores
from training.leaveout_plots import TITLES, WORST, figures
from training.leaveout_tables import FPRS, LEAST_WINDOWS, Measured

__all__ = ["write"]

AT = "recall_at_fpr_0.01"


def write(scores: Scores, measured: Measured, out: Path, made: str) -> dict[str, float]:
    """Write `out` (Markdown) and, in a folder of its name, plots and every table as CSV; gives the headlines at 1 %."""
    folder = out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in {**measured.tables, "headline": measured.headline}.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.4f")
    for name, figure in figures(measured.tables).items():
        figure.savefig(folder / f"{name}.png", dpi=80)
    parts = [_opening(scores, made), _aims(measured), _plots(folder.name), _headline(measured.headline)]
    parts += [part for variant in VARIANTS for part in _grid(measured.tables, variant)]
    parts += [*_early(measured.tables), *_robustness(measured.tables), *_honest(measured.tables)]
    parts += [*_families(measured.tables)]
    out.write_text("\n".join(parts), encoding="utf-8")
    told = measured.headline[measured.headline["fpr"] == FPRS[0]].set_index("variant")["recall"]
    return {str(variant): round(float(value), 4) for variant, value in told.items()}


def _opening(scores: Scores, made: str) -> str:
    windows = scores.windows
    honest, attack = windows[windows["label"] == 0], windows[(windows["label"] == 1) & ~windows["seen_family"]]
    return (
        "# Detection of what was never trained on\n\n"
        "Written by `python -m training evaluate`. **Simulated positives.** Every harvest family, honest source and "
        "workload of programs is left out in turn; each attack window below was scored by a model, and read by a "
        "prompt head, that never saw its family, its campaign, or anything sent after the cut in time that its "
        "window begins at. Shared keys and the "
        "cover traffic of campaigns mix honest sources, so that a little text of a source left out may be known. "
        f"{made}\n\n"
        f"{len(attack):,} attack windows of {attack['account_id'].nunique():,} accounts in "
        f"{attack['group'].nunique():,} campaigns and {attack['family'].nunique()} families, {len(honest):,} honest "
        f"windows of {honest['account_id'].nunique():,} accounts "
        f"({honest.loc[~honest['seen_family'], 'account_id'].nunique():,} of them judged while left out), "
        f"{windows['fold'].nunique()} folds. Intervals (95 %) resample whole groups of accounts.\n"
    )


def _aims(measured: Measured) -> str:
    """What is aimed for beside what was measured."""
    rows, tables = [], measured.tables
    for variant, aim in (("content", "≥ 0.45"), ("all", "")):
        row = measured.headline[(measured.headline["variant"] == variant) & (measured.headline["fpr"] == FPRS[0])].iloc[
            0
        ]
        cells = f", {row['cells']} of {row['cells'] + row['too_few']} cells" if row["too_few"] else ""
        told = f"mean recall at 1 % over shares and sizes, {TITLES[variant]}{cells}"
        rows.append([told, aim, _range(row, "recall", "")])
    grid, shares = tables["content_by_share_and_size"], tables["all_by_share"]
    for share, told, aim in ((1.0, "pure harvesting", "≥ 0.80"), (0.25, "share 25 %", "≥ 0.50")):
        cell = grid[(grid["share"] == share) & (grid["n_exchanges"] == 100)]
        rows.append([f"{told}, window 100, content only, 1 %", aim, _only(cell, AT, "_0.01")])
    pure = _only(shares[shares["share"] == 1], "recall_at_fpr_0.003", "_0.003")
    rows.append(["pure harvesting, all sizes, all features, 0.3 %", "≥ 0.95", pure])
    for by, told in (("workload", "worst honest workload"), ("lang", "worst language")):
        if (table := tables.get(f"all_honest_by_{by}")) is not None:
            told += f" left out (of {LEAST_ACCOUNTS} accounts or more), all features, accounts' 1 % threshold"
            rows.append([told, "≤ 3 %", _worst(table, by)])
    early = tables["all_early_by_share"]
    pure_early = early[(early["share"] == 1) & (early["level"] == "review")]
    until = [_until(row) for _, row in pure_early.iterrows()] or ["no such account"]
    rows.append(["exchanges until `review`, pure, all features, median / p90", "≤ 25 / ≤ 80", *until])
    return _table(["", "aim", "measured"], rows)


def _only(rows: pd.DataFrame, column: str, suffix: str) -> str:
    return _range(rows.iloc[0], column, suffix) if len(rows) else "no such window"


def _range(row: pd.Series, column: str, suffix: str) -> str:
    return f"{row[column]:.2f} ({row[f'low{suffix}']:.2f} to {row[f'high{suffix}']:.2f})"


def _worst(table: pd.DataFrame, by: str) -> str:
    rows = table[~table["known"] & (table["accounts"] >= LEAST_ACCOUNTS)]
    if rows.empty:
        return "too few accounts"
    row = rows.nlargest(1, ["0.01_fpr", "accounts"]).iloc[0]
    return f"{_rate(row)}, {row[by]}, {row['accounts']} accounts"


def _rate(row: pd.Series, level: str = "0.01") -> str:
    return f"{row[f'{level}_fpr']:.1%} ({row[f'{level}_low']:.1%} to {row[f'{level}_high']:.1%})"


def _until(row: pd.Series) -> str:
    """Median and 90th percentile of exchanges until a flag."""
    return " / ".join(f"{v:.0f}" if v == v else f"over {PREFIXES[-1]}" for v in (row["median"], row["p90"]))


def _plots(folder: str) -> str:
    named = {"recall": "recall by share and size", "survival": "share not flagged yet", "workloads": "false alarms"}
    return "\n\n".join(f"![{told}]({folder}/{name}.png)" for name, told in named.items()) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(str(v) for v in row) + " |" for row in rows), ""])


def _headline(headline: pd.DataFrame) -> str:
    text = (
        "## Recall on families left out\n\nMean over attacker shares and window sizes, at realised false-positive "
        "rates of honest windows, each honest account weighing the same. A cell of share and size enters "
        f"with {LEAST_WINDOWS} windows of {LEAST_ACCOUNTS} accounts or more. Tables as CSV, with intervals at each "
        "rate, are in the folder beside this page.\n\n"
    )
    head = ["", *(f"{fpr:.1%} (realised)" for fpr in FPRS)]
    rows = []
    for variant in VARIANTS:
        own = headline[headline["variant"] == variant]
        rows.append(
            [TITLES[variant], *(f"{_range(row, 'recall', '')}, {row['realised']:.2%}" for _, row in own.iterrows())]
        )
    return text + _table(head, rows)


def _grid(tables: dict[str, pd.DataFrame], variant: str) -> Iterator[str]:
    """Recall at 1 %: a row an attacker share, a column a window size."""
    cells = tables[f"{variant}_by_share_and_size"]
    yield f"Recall at 1 %, {TITLES[variant]} (windows of accounts; † too few for the headline):\n"
    rows = []
    for share, part in cells.groupby("share"):
        told = {
            c["n_exchanges"]: f"{c[AT]:.2f} ({c['windows']} of {c['accounts']}){'' if c['enough'] else ' †'}"
            for _, c in part.iterrows()
        }
        rows.append([f"{share:.0%}", *(told.get(size, "") for size in SIZES)])
    yield _table(["share", *(f"{size} exchanges" for size in SIZES)], rows)


def _early(tables: dict[str, pd.DataFrame]) -> Iterator[str]:
    rates = " and ".join(f"`{level}` {fpr:.1%}" for level, fpr in LEVELS.items())
    yield (
        "## Early detection\n\nExchanges until the first flag when an account is looked at after "
        f"{', '.join(map(str, PREFIXES))} exchanges, counted from the cut in time or its first one after it; "
        f"thresholds flag {rates} of the honest accounts at any look. Median and 90th percentile for accounts that go "
        f"on, and their share flagged within {SOON} (product-limit estimates); the share never flagged is that of the "
        "accounts as they are, short ones too.\n"
    )
    parts = [tables[f"{variant}_early_by_share"].assign(variant=TITLES[variant]) for variant in VARIANTS]
    if "all_early_by_goal_and_share" in tables:
        parts.append(tables["all_early_by_goal_and_share"].assign(variant=TITLES["all"]))
    for part in parts:
        keys = [name for name in ("goal", "share") if name in part]
        rows = []
        for key, own in part[part["accounts"] >= LEAST_ACCOUNTS].groupby(keys):
            levels = own.set_index("level").loc[list(LEVELS)]
            shown = [f"{_until(row)}; {row['soon']:.0%}; {row['never']:.0%}" for _, row in levels.iterrows()]
            slice_ = " ".join(f"{v:.0%}" if isinstance(v, float) else str(v) for v in key)
            rows.append([slice_, own["accounts"].iloc[0], *shown])
        head = [f"{part['variant'].iloc[0]}: {' and '.join(keys)}", "accounts"]
        yield _table([*head, *(f"{level}: median / p90; within {SOON}; never" for level in LEVELS)], rows)


def _robustness(tables: dict[str, pd.DataFrame]) -> Iterator[str]:
    if "all_by_evasion" not in tables:
        return
    yield (
        "## Evasions\n\nRecall at 1 % by evasion and strength (weak below 0.4, strong from 0.7), over all shares and "
        "sizes, and what carries the windows that are still found: the features with the largest mean contribution to "
        "their margin (SHAP values, log odds). Cover traffic is the attacker share above.\n"
    )
    told = tables["all_features"].groupby("evasion", sort=False)
    carried = {
        name: ", ".join(f"{f} {v:+.1f}" for f, v in zip(part["feature"], part["log_odds"], strict=True))
        for name, part in told
    }
    content = {row["evasion"]: _range(row, AT, "_0.01") for _, row in tables["content_by_evasion"].iterrows()}
    rows = [
        [r["evasion"], r["windows"], r["accounts"], content[r["evasion"]],
         _range(r, AT, "_0.01"), carried.get(r["evasion"], "nothing found")]
        for _, r in tables["all_by_evasion"].iterrows()
    ]  # fmt: skip
    yield _table(["evasion", "windows", "accounts", *TITLES.values(), "what carries the rest"], rows)


def _honest(tables: dict[str, pd.DataFrame]) -> Iterator[str]:
    yield (
        "## False alarms\n\nHonest accounts with any window above the threshold that 1 % (0.3 %, 0.1 %) of all honest "
        "accounts of the fold exceed, all features; exact intervals. Left out: nothing of the workload, or nothing of "
        f"the source of its text, was trained on. The worst {WORST} of {LEAST_ACCOUNTS} accounts or more are shown.\n"
    )
    names = {
        "everything": "honest accounts", "workload": "workload", "source": "source of text", "lang": "language",
        "plan": "plan", "tenure": "account",
    }  # fmt: skip
    for by, told in names.items():
        if (table := tables.get(f"all_honest_by_{by}")) is not None:
            known = table[table["known"]].set_index(by)
            left = table[~table["known"] & (table["accounts"] >= LEAST_ACCOUNTS)]
            worst = left.sort_values(["0.01_fpr", "0.003_fpr", "accounts"], ascending=False).head(WORST)
            rows = [
                [r[by], r["accounts"], *(_rate(r, f"{fpr:g}") for fpr in FPRS),
                 f"{_rate(known.loc[r[by]])} of {known.loc[r[by], 'accounts']}" if r[by] in known.index else ""]
                for _, r in worst.iterrows()
            ]  # fmt: skip
            yield _table([told, "left out", *(f"{fpr:.1%}" for fpr in FPRS), "known, 1.0%"], rows)


def _families(tables: dict[str, pd.DataFrame]) -> Iterator[str]:
    yield "## Recall at 1 % by what was left out\n"
    for by, told in (("family", "family"), ("lang", "language"), ("goal", "campaign's goal")):
        if f"all_by_{by}" not in tables:
            continue
        content = tables[f"content_by_{by}"].set_index(by)[AT]
        rows = [
            [r[by], f"{content[r[by]]:.2f}", _range(r, AT, "_0.01"), r["windows"], r["accounts"]]
            for _, r in tables[f"all_by_{by}"].iterrows()
        ]
        yield _table([told, *TITLES.values(), "windows", "accounts"], rows)
