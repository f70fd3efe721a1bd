"""The evaluation of groups from the command line: read, group day by day, judge beside the rivals, write the page.

Left out: grouping (fingerprint.campaigns), judging (grouping), rivals (grouping_rivals) and tables (grouping_page).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from fingerprint import Scorer
from fingerprint.campaigns.evidence import ACT
from training.dataset import Progress
from training.grouping import judge, leak, targets, truth
from training.grouping_days import Day, by_day
from training.grouping_page import compete, page
from training.grouping_rivals import links, read_times
from training.grouping_takeover import sent_before
from training.world import origin
from training.world.grammar import load_grammar
from training.world.page import table
from training.world.pool import Pool

__all__ = ["report"]

PRODUCT = "fingerprint"


def report(
    traffic: Sequence[Path],
    labels: Path,
    groups: Path,
    out: Path,
    bundle: Path | None,
    days: Sequence[int],
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Write the page; returns the headline and the aims as plain values."""
    scorer = Scorer.load(bundle)
    told = pd.read_csv(labels, keep_default_na=False, dtype={"account_id": str, "campaign_id": str})
    grouped = pd.read_csv(groups, dtype=str, keep_default_na=False)
    accounts, owner, time = read_times(traffic)
    times = pd.DataFrame({"account_id": np.array(accounts, object)[owner], "time": time})
    sent, templates = times["account_id"].value_counts(), load_grammar(Pool()).harvest
    known = truth(told, grouped, templates=templates, links=links(traffic), sent=sent)
    found = by_day(traffic, scorer, days, progress)
    runs = [(day.end_us, day.found) for day in found]
    leaks = leak(runs, known, times)
    last = found[-1].found
    judged, strict = judge(last, known), judge(last[last["score"] >= ACT], known)
    progress("rivals", 0, 1)
    began = perf_counter()
    rivals, tried = compete(traffic, known)
    spent = perf_counter() - began
    worlds = " ".join(str(rows[0]["origin"]) for path in traffic if (rows := origin(path.parent)))
    made = f"World: {worlds}. Bundle {scorer.bundle_id}."
    results = {PRODUCT: judged, f"{PRODUCT}, act only": strict, **rivals}
    text = page(results, leaks={PRODUCT: leaks}, sent={PRODUCT: sent_before(runs, times)}, tried=tried, made=made)
    out.write_text(f"{text}\n{_days(found)}\nRivals took {spent:.0f} s.\n", encoding="utf-8")
    return {
        "headline": judged.headline.set_index("metric")["value"].round(4).to_dict(),
        "aims": targets(judged, leaks).set_index("target")["value"].round(4).to_dict(),
        "aims, act only": targets(strict).set_index("target")["value"].round(4).to_dict(),
    }


def _days(days: Sequence[Day]) -> str:
    """Time and memory of each day's run."""
    first = days[0].end_us
    rows = [
        [
            "all" if day.end_us >= 2**62 else f"{(day.end_us - first) // 86_400_000_000 + 1:+d}".replace("+", ""),
            f"{day.accounts:,}", f"{day.exchanges:,}", day.found["campaign_id"].nunique(), f"{len(day.found):,}",
            f"{day.reading:.1f}", f"{day.grouping:.1f}", f"{day.peak / 2**30:.2f}",
        ]
        for day in days
    ]  # fmt: skip
    title = ["day", "accounts", "exchanges", "campaigns", "accounts in them", "read, s", "group, s", "peak, GiB"]
    told = "Over a state, each exchange read once; the peak is that of the whole evaluation so far."
    return f"## Day by day\n\n{told}\n\n{chr(10).join(table(pd.DataFrame(rows, columns=title)))}"
