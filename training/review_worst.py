"""Where a reviewer should look first: the slices in which a candidate does worst.

Left out: the verdict (that is the gate's) and slices too small to say anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from training.evaluate import LEAST_ACCOUNTS
from training.review import Review
from training.review_tables import Table, beside, number, records, side_of, slice_name

__all__ = ["worst"]


def worst(review: Review, most: int = 10) -> Table:
    """Where to look first: slices in which the challenger is worse than the champion's interval, by how much; then the
    honest slices most flagged. Only slices of `LEAST_ACCOUNTS` accounts or more."""
    rows = sorted(_worse(review), key=lambda row: -row[0])[:most]
    flagged = sorted(_flagged(review), key=lambda row: -row[0])
    told = {tuple(row.items())[:2] for _, row in rows}
    rows += [row for row in flagged if tuple(row[1].items())[:2] not in told][: max(most - len(rows), 3)]
    return Table("Where it is worst", pd.DataFrame([row for _, row in rows]))


def _worse(review: Review) -> Iterator[tuple[float, dict[str, str]]]:
    """Slices with a mark for the worse at the first rate or at `review`, with how much worse they are."""
    first = f"{review.fprs[0]:g}"
    recall = (f"recall_{first}", f"low_{first}", f"high_{first}")
    sides = (
        (review.found, recall, True, f"recall at {review.fprs[0]:.1%} false positives"),
        (review.honest, ("review", "review_low", "review_high"), False, "honest accounts at review"),
    )
    for tables, names, higher, what in sides:
        for kind, table in tables.items():
            if f"champion_{names[0]}" in table:
                for row in records(table):
                    if side_of(row, names, higher) < 0:
                        gap = abs(row[names[0]] - row[f"champion_{names[0]}"])
                        yield gap, _look(row, kind, names, what, higher)


def _flagged(review: Review) -> Iterator[tuple[float, dict[str, str]]]:
    """Honest workloads and languages with an account at `review`, with the share of theirs that is."""
    names = ("review", "review_low", "review_high")
    for kind in ("workload", "lang"):
        table = review.honest.get(kind, pd.DataFrame())
        for row in records(table):
            if row["review"] > 0 and row["accounts"] >= LEAST_ACCOUNTS:
                yield row["review"], _look(row, kind, names, "honest accounts at review", higher=False)


def _look(row: Mapping[str, Any], kind: str, names: tuple[str, str, str], what: str, higher: bool) -> dict[str, str]:
    cells = dict(zip(("challenger", "champion", "difference"), beside(row, names, "", higher).values(), strict=False))
    named = f"{kind.replace('_', ' ')} {slice_name(kind, row['slice'], row.get('seen_family', True))}"
    return {"slice": named, "what": what, "accounts": number(row["accounts"]), **cells}
