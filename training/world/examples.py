"""Who is in a world: counts by population, workload, client, clock and evasion, and an example account of each.

An example is an account's first ten requests in one line each: when, which model and parameters, tokens, how long the
prompt is and which capability the prompt head reads in it. Never the prompt. Left out: what the figures mean (report).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from fingerprint.assemble import reduce_rows
from fingerprint.contribution import read_exchange
from fingerprint.features import FEATURES, compute
from fingerprint.head import Head
from fingerprint.kernels.layout import WORDS
from fingerprint.kernels.reduce import clear

__all__ = ["FIRST", "Example", "census", "examples", "members"]

FIRST = 10
HEADER = (
    "gap s", "day hh:mm:ss", "session", "msgs", "model", "max_tok", "temp", "n", "str", "rsn", "chars", "in", "out",
    "stop", "capability read",
)  # fmt: skip
WIDTHS = (9, 12, 7, 4, 14, 7, 4, 2, 3, 3, 6, 6, 6, 10, 0)
CAPABILITY = [i for i, f in enumerate(FEATURES) if f.name.startswith("capability_")][:12]
DAY_S = 86_400


class Example(NamedTuple):
    """One account: what it shows (`what`, `name`), a line about it, and its first requests as fixed-width lines."""

    what: str
    name: str
    about: str
    lines: list[str]


def members(world: Path) -> pd.DataFrame:
    """labels.csv with `exchanges`, and one column a grouping: population, client, clock, evasion names (a list)."""
    labels = pd.read_csv(world / "labels.csv", dtype=str, keep_default_na=False)
    column = pq.read_table(world / "traffic", columns=["account_id"]).column(0).value_counts().to_pylist()
    counts = {row["values"]: row["counts"] for row in column}
    labels["exchanges"] = labels["account_id"].map(counts).fillna(0).astype(int)
    labels["population"] = labels["kind"] + ": " + labels["family"].str.partition(":")[0]
    labels["evasion"] = [_evasions(row) for row in labels.itertuples()]
    return labels


def _evasions(row: Any) -> list[str]:
    """Names of the evasions an account takes part in; cover traffic and standby accounts are told by other columns."""
    names = [part.partition("=")[0] for part in row.evasions.split()] if row.label == "1" else []
    names += ["cover"] if row.share and float(row.share) < 1 else []
    return names + (["standby"] if row.phase == "standby" else []) if row.label == "1" else []


def census(labels: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Accounts, groups and exchanges of every population, client, clock class, phase and evasion."""
    tables = {}
    for what in ("population", "client", "clock", "phase", "evasion"):
        rows = _showing(labels, what)
        tables[what] = rows.groupby(what).agg(
            accounts=("account_id", "size"), attack=("label", lambda v: int((v == "1").sum())),
            exchanges=("exchanges", "sum"),
        ).reset_index()  # fmt: skip
    return tables


def _showing(labels: pd.DataFrame, what: str) -> pd.DataFrame:
    """Accounts to which a grouping applies: people have no programs, honest accounts no phases and evasions."""
    if what == "client":
        return labels[labels["kind"] != "human"]
    rows = labels[labels["label"] == "1"] if what in ("phase", "evasion") else labels
    return rows.explode("evasion").dropna(subset="evasion") if what == "evasion" else rows


def examples(world: Path, labels: pd.DataFrame, head: Head, start: pd.Timestamp) -> list[Example]:
    """One account for each population, client and evasion; an evasion is shown where it is strongest."""
    chosen = list(_chosen(labels))
    ids = sorted({row.account_id for _, _, row in chosen})
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in ids}
    for file in sorted((world / "traffic").glob("*.parquet")):
        if wanted := [name for name in ids if len(records[name]) < FIRST]:
            for record in pq.read_table(file, filters=[("account_id", "in", wanted)]).to_pylist():
                records[record["account_id"]].append(record)
    shown = {name: _lines(rows[:FIRST], head, start) for name, rows in records.items()}
    return [Example(what, name, _about(row), shown[row.account_id]) for what, name, row in chosen]


def _chosen(labels: pd.DataFrame) -> Iterator[tuple[str, str, Any]]:
    enough = labels[labels["exchanges"] >= FIRST].sort_values("account_id")
    for what in ("population", "client", "evasion"):
        for name, part in _showing(enough, what).groupby(what):
            rows = list(part.itertuples())
            strengths = [_strength(row, str(name)) for row in rows]
            yield what, str(name), rows[strengths.index(max(strengths))]


def _strength(row: Any, name: str) -> float:
    """How strongly an account shows an evasion; 0 where that is no question."""
    parts = dict(part.split("=") for part in row.evasions.split())
    return 1 - float(row.share) if name == "cover" else float(parts.get(name, 0))


def _about(row: Any) -> str:
    """The account in one line, for everything that labels.csv knows of it."""
    parts = [row.account_id, row.kind, row.family, f"client {row.client}", f"clock {row.clock}", f"language {row.lang}"]
    parts += [f"goal {row.goal}, phase {row.phase}, share {row.share}"] if row.label == "1" else []
    parts += [f"evades by {row.evasions}"] if row.evasions else []
    return ", ".join([*parts, f"{row.exchanges} exchanges"])


def _lines(records: list[dict[str, Any]], head: Head, start: pd.Timestamp) -> list[str]:
    """The header and one line a request."""
    read, before = _capabilities(records, head), None
    out = [_line(HEADER)]
    for record, capability in zip(records, read, strict=True):
        at = (pd.Timestamp(record["timestamp"]) - start).total_seconds()
        client = _parameters(record)
        gap = "" if before is None else f"{at - before:.1f}"
        clock = f"{int(at // DAY_S)} {pd.Timestamp(record['timestamp']):%H:%M:%S}"
        session = "-" if record["session_id"] is None else record["session_id"][-4:]
        sizes = len(record["prompt"]), record["input_tokens"], record["output_tokens"], record["stop_reason"]
        out.append(_line((gap, clock, session, record["n_messages"], *client, *sizes, capability)))
        before = at
    return out


def _parameters(record: dict[str, Any]) -> tuple[object, ...]:
    flags = ["-" if record[k] is None else "yes" if record[k] else "no" for k in ("stream", "reasoning")]
    return record["model"], record["max_tokens"], record["temperature"], record["n"], *flags


def _line(cells: tuple[object, ...]) -> str:
    told = ["-" if cell is None else f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells]
    return "  ".join(text.rjust(width) if width else text for text, width in zip(told, WIDTHS, strict=True)).rstrip()


def _capabilities(records: list[dict[str, Any]], head: Head) -> list[str]:
    """What the head reads in each prompt: the largest capability of a window of this one exchange."""
    windows = np.empty((len(records), WORDS), np.int64)
    clear(windows)
    for i, record in enumerate(records):
        reduce_rows(windows, np.array([i]), read_exchange(record, head))
    shares = compute(windows)[:, CAPABILITY]
    return [FEATURES[CAPABILITY[int(i)]].name.removeprefix("capability_") for i in shares.argmax(axis=1)]
