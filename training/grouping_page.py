"""The page of how well accounts are grouped into campaigns: aims first, then the product and rivals side by side.

    results, tried = compete([Path("world/traffic")], known)
    text = page({"fingerprint": judge(found, known), **results}, tried=tried, made="World of 6,000 accounts, seed 7.")

The first of the results is the one that aims are held to. Left out: what is measured (grouping) and the rivals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from training.grouping import (
    AIMED,
    BY,
    CONVICTED,
    CONVICTED_SHARE,
    LEAST,
    Judged,
    judge,
    leak_by,
    leak_by_size,
    targets,
)
from training.grouping_rivals import RIVALS, SMALLEST
from training.grouping_takeover import takeover
from training.world.page import table

__all__ = ["compete", "page"]

CHOSEN_BY = "B-cubed F1"
LISTED = 30  # families of campaigns and of honest groups that are listed
TITLES = {
    "size": "accounts of the campaign", "cover": "harvesting share of the account", "clock": "clock of the account",
    "exchanges": "exchanges of the account", "text": "text of the campaign", "metadata": "payment or network",
    "phase": "phase of the account", "takeover": "takeover in the campaign", "evasion": "evasion of the campaign",
    "family": "family",
}  # fmt: skip
LEAKED_BY = {"takeover": "takeover", "evasion": "evasion", "metadata": "payment or network"}


def compete(
    traffic: Sequence[Path], known: pd.DataFrame, *, resamples: int = 200, seed: int = 7
) -> tuple[dict[str, Judged], pd.DataFrame]:
    """Every rival by title as judged at its best setting, and all that was tried: rival, setting, seconds (reading
    included), groups, largest, the B-cubed F1 that chooses (on the judged accounts, which flatters rivals), chosen."""
    results, tried = {}, []
    for rival in RIVALS.values():
        began, held = perf_counter(), rival.read(traffic)
        reading, best = perf_counter() - began, -1.0
        for told, setting in rival.settings.items():
            began = perf_counter()
            found = rival.group(held, **setting)
            seconds = reading + perf_counter() - began
            judged = judge(found, known, resamples=resamples, seed=seed)
            value = float(np.nan_to_num(judged.headline.set_index("metric")["value"][CHOSEN_BY]))
            sizes = judged.groups["accounts"]
            largest = int(sizes.max()) if len(sizes) else 0
            tried.append((rival.title, told, seconds, len(sizes), largest, value))
            if value > best:
                best, results[rival.title] = value, judged
    out = pd.DataFrame(tried, columns=["rival", "setting", "seconds", "groups", "largest", CHOSEN_BY])
    return results, out.assign(chosen=out.index.isin(out.groupby("rival")[CHOSEN_BY].idxmax()))


def page(
    results: Mapping[str, Judged],
    *,
    leaks: Mapping[str, pd.DataFrame] | None = None,
    sent: Mapping[str, pd.DataFrame] | None = None,
    tried: pd.DataFrame | None = None,
    made: str = "",
) -> str:
    """The page as Markdown. `leaks` and `sent`: what `leak` and `sent_before` give, by the same names; `tried`: what
    `compete` gives; `made`: a sentence on the world and the command."""
    leaks = leaks or {}
    name, first = next(iter(results.items()))
    parts = [_opening(first, made), _aims(name, first, leaks.get(name)), _headline(results), _groups(results)]
    parts += [*_sliced(results), *_takeover(results, sent or {}), *_honest(results)]
    parts += [*_leaks(leaks, first.accounts), *_rivals(tried)]
    return "\n".join(parts)


def _opening(judged: Judged, made: str) -> str:
    rows, alike = judged.accounts, judged.honest[judged.honest["accounts"] >= LEAST]
    attack, items = rows[rows["attack"]], rows[rows["item"]]
    return (
        "# Accounts grouped into campaigns\n\n"
        "**Simulated positives.** No public log of a real campaign exists: campaigns here are real or generated "
        "harvesting prompts with automation clocks, and honest groups are simulated, too. Expect other numbers on real "
        f"ones. {made}\n\n"
        f"{len(rows):,} accounts, {len(attack):,} of them in {attack['campaign'].nunique():,} campaigns; to be found "
        f"are the {items['campaign'].nunique():,} campaigns of {LEAST} accounts or more ({len(items):,} accounts). "
        f"{len(alike):,} honest groups of {LEAST} accounts or more ({int(alike['accounts'].sum()):,} accounts) look "
        "alike as far as this world makes them. Intervals (95 %) resample whole campaigns and honest groups.\n"
    )


def _aims(name: str, judged: Judged, leaks: pd.DataFrame | None) -> str:
    rows = [
        [
            r["target"],
            r["aim"].replace(">=", "≥").replace("<=", "≤"),
            _range(r, "value"),
            r["n"],
            f"**{r['met']}**" if r["met"] == "no" else r["met"],
        ]
        for _, r in targets(judged, leaks).iterrows()
    ]
    return f"## Aims, {name}\n\n" + _table(["", "aim", "measured", "of", "met"], rows)


def _headline(results: Mapping[str, Judged]) -> str:
    text = (
        "## Side by side\n\nPrecision is the share of flagged accounts that attack; recall the share of accounts to be "
        "found that are in any found group, so that one group of everybody has all of it: a campaign counts as "
        "*recovered* where half of it is in one group that is mostly its accounts. B-cubed (Bagga & Baldwin 1998) "
        "averages over accounts to be found: precision over those in found groups, honest members counting against "
        "it, recall over all. Pairs are those of attack accounts.\n\n"
    )
    return text + _side_by_side({name: judged.headline for name, judged in results.items()}, "metric", "value", "")


def _groups(results: Mapping[str, Judged]) -> str:
    rows = []
    for name, judged in results.items():
        groups, campaigns = judged.groups, judged.campaigns
        pure = f"{(groups['purity'] >= 0.9).sum()}, median {groups['purity'].median():.2f}" if len(groups) else "0"
        rows.append([name, len(groups), int(groups["accounts"].max()) if len(groups) else 0, pure,
                     int((groups["attack"] == 0).sum()), f"{campaigns['found'].median():.2f}",
                     f"{campaigns['largest'].median():.2f}"])  # fmt: skip
    head = ["", "found groups", "largest", "purity ≥ 0.9", "of honest accounts alone",
            "median share of a campaign found", "in one group"]  # fmt: skip
    return _table(head, rows)


def _sliced(results: Mapping[str, Judged]) -> Iterator[str]:
    """Account recall by everything known of accounts and campaigns."""
    yield "## Accounts found, by what they are\n"
    first = next(iter(results.values())).slices
    for by in BY:
        own = {name: j.slices[j.slices["by"] == by] for name, j in results.items()}
        kept = first[first["by"] == by].nlargest(LISTED, "accounts")["slice"]
        if len(kept):
            counts = {r["slice"]: [r["campaigns"], r["accounts"]] for _, r in first[first["by"] == by].iterrows()}
            own = {name: table[table["slice"].isin(kept)] for name, table in own.items()}
            yield _side_by_side(own, "slice", "recall", TITLES[by], counts)


def _takeover(results: Mapping[str, Judged], sent: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Accounts that replace banned ones, and those before them."""
    told = {name: takeover(judged, sent.get(name)) for name, judged in results.items()}
    first = next(iter(told.values()))
    if len(first):
        yield (
            "## Takeover after a ban\n\nStandby accounts take over a shard of their campaign when an account of it "
            "ends; earlier accounts are the others of these campaigns. A takeover is recognised where a standby "
            "account is in one found group with any earlier account. The last rows are shares of the exchanges of "
            "these accounts: sent before the first run that has the account itself in a found group. One never in any, "
            "or only at the last run, has sent everything.\n"
        )
        counts = {r["metric"]: [r["campaigns"], r["accounts"]] for _, r in first.iterrows()}
        yield _side_by_side(told, "metric", "value", "", counts)


def _honest(results: Mapping[str, Judged]) -> Iterator[str]:
    yield (
        f"## Honest groups convicted\n\nAn honest group is convicted when {CONVICTED} of its accounts, or "
        f"{CONVICTED_SHARE:.0%} of them, are in found groups. Groups of {LEAST} accounts or more; smaller ones are in "
        "the last column.\n"
    )
    rows = []
    for name, judged in results.items():
        honest, large = judged.honest, judged.honest["accounts"] >= LEAST
        flagged, small = int(honest["flagged"].sum()), honest[~large]
        rows.append([name, f"{int(honest.loc[large, 'convicted'].sum())} of {int(large.sum())}",
                     f"{flagged} of {int(honest['accounts'].sum())}",
                     f"{int(small['convicted'].sum())} of {len(small)}"])  # fmt: skip
    yield _table(["", "groups convicted", "honest accounts flagged", "smaller groups convicted"], rows)
    yield _convicted({name: judged.kinds.set_index(["kind", "family"]) for name, judged in results.items()})


def _convicted(kinds: Mapping[str, pd.DataFrame]) -> str:
    """The kinds of honest groups of which anybody convicts any, those that the first convicts first."""
    counts = pd.concat({name: of["convicted"] for name, of in kinds.items()}, axis=1)
    worst = counts[counts.sum(axis=1) > 0].sort_values([*kinds], ascending=False)
    groups = next(iter(kinds.values()))["groups"]
    rows = [
        [*key, groups[key], *(f"{of.loc[key, 'convicted']} ({of.loc[key, 'flagged']})" for of in kinds.values())]
        for key in worst.index[:LISTED]
    ]
    told = (
        f"Kinds of honest groups of which any is convicted, {len(rows)} of {len(worst)}: groups convicted and, in "
        "brackets, accounts of the kind that are flagged.\n\n"
    )
    return told + _table(["kind", "family", "groups", *kinds], rows)


def _leaks(leaks: Mapping[str, pd.DataFrame], known: pd.DataFrame) -> Iterator[str]:
    if leaks:
        yield (
            "## Leak\n\nShare of a campaign's exchanges sent before it is found: before the first run, on the traffic "
            "up to then, that has at least half of its accounts active by then in found groups. Never found counts as "
            f"everything. Aimed at: {AIMED[0]} to {AIMED[1]} accounts. By what is known of campaigns: a campaign has "
            "every evasion that it uses, and shares payment or network where any two of its accounts do.\n"
        )
    for name, of in leaks.items():
        head = ["campaigns", "mean", "median", "never found", "of all exchanges"]
        yield _table([f"{name}: accounts", *head], [_leaked(r["size"], r) for _, r in leak_by_size(of).iterrows()])
        sliced = [(by, r) for by in LEAKED_BY for _, r in leak_by(of, known, by).iterrows()]
        if sliced:
            rows = [_leaked(f"{LEAKED_BY[by]}: {r['slice']}", r) for by, r in sliced]
            yield _table([f"{name}: campaigns by", *head], rows)


def _leaked(told: str, row: pd.Series[Any]) -> list[object]:
    mean, never = _range(row, "mean"), f"{row['never']:.0%}"
    return [told, row["campaigns"], mean, f"{row['median']:.2f}", never, f"{row['pooled']:.2f}"]


def _rivals(tried: pd.DataFrame | None) -> Iterator[str]:
    yield (
        f"## The rivals\n\nNone is told what harvesting looks like; groups of fewer than {SMALLEST} accounts are "
        f"dropped. Of several settings the one of highest {CHOSEN_BY} on the judged accounts is shown above, which "
        "flatters rivals.\n"
    )
    yield _table(["rival", "source", "made here"], [[r.title, r.source, r.made] for r in RIVALS.values()])
    if tried is not None:
        rows = [
            [r["rival"], r["setting"] + (" (chosen)" if r["chosen"] else ""), r["groups"], r["largest"],
             f"{r[CHOSEN_BY]:.3f}", f"{r['seconds']:.1f}"]
            for _, r in tried.iterrows()
        ]  # fmt: skip
        yield _table(["rival", "setting", "groups", "largest", CHOSEN_BY, "seconds"], rows)


def _side_by_side(
    tables: Mapping[str, pd.DataFrame],
    key: str,
    value: str,
    told: str,
    counts: Mapping[str, Sequence[object]] | None = None,
) -> str:
    """A row a key of the first table, a column a table; `counts` are campaigns and accounts of each key."""
    of = {name: {row[key]: _range(row, value) for _, row in table.iterrows()} for name, table in tables.items()}
    first = next(iter(of.values()))
    rows = [[_slice(k), *(counts[k] if counts else []), *(cells.get(k, "") for cells in of.values())] for k in first]
    return _table([told, *(["campaigns", "accounts"] if counts else []), *of], rows)


def _range(row: pd.Series[Any], column: str) -> str:
    if np.isnan(row[column]):
        return "none"
    if np.isnan(row["low"]):
        return f"{row[column]:.3g}"
    return f"{row[column]:.3f} ({row['low']:.2f} to {row['high']:.2f})"


def _slice(value: object) -> str:
    return f"{value:.0%}" if isinstance(value, float) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return "\n".join([*table(pd.DataFrame(list(rows), columns=list(head))), ""])
