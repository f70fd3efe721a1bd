"""Analysts' verdicts: a file that only grows, and the labels that follow from it.

    python -m training feedback verdicts.csv --store feedback.jsonl

A verdict is an account, a decision (``distillation``, ``benign`` or ``unsure``), an analyst and a time. The store has
one JSON object a line. What is already in it is not added again; a row that cannot be used is refused and counted by
reason, and the rest is taken. All new lines are appended in one write and are on disk when the call returns.

For training, the latest decision of each analyst on each account counts. The decision that more analysts took is the
label; its weight is the share of analysts who took it, an unsure one counting as half an analyst of neither side.
A tie decides nothing. Left out, and never stored: every other column, a note above all, since it may hold prompt text.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fingerprint.errors import ExchangeError, FingerprintError
from fingerprint.exchange import text_of, time_of
from fingerprint.readers import Rejects

__all__ = ["COLUMNS", "DECISIONS", "Added", "FeedbackError", "Verdict", "add", "agreed", "read_store"]

COLUMNS = ("account_id", "decision", "analyst", "time")
DECISIONS = ("distillation", "benign", "unsure")
_SECONDS = re.compile(r"\d+(\.\d*)?")


class FeedbackError(FingerprintError, ValueError):
    """A file of verdicts, or the store, cannot be used."""


class Verdict(NamedTuple):
    """One decision of one analyst on one account, ``time`` as RFC 3339 in UTC with microseconds."""

    account_id: str
    decision: str
    analyst: str
    time: str


@dataclass(frozen=True)
class Added:
    """How many verdicts were new, how many the store already had, and which rows were refused and why."""

    added: int
    repeated: int
    refused: Rejects

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain values."""
        return {"added": self.added, "repeated": self.repeated, "refused": dict(sorted(self.refused.counts.items()))}


def add(file: Path, store: Path) -> Added:
    """Append the verdicts of a ``.csv`` or ``.jsonl`` file to the store, which is made if absent.

    Needed columns are ``COLUMNS``; time is RFC 3339 with offset or epoch seconds. Two calls at once wait for each
    other. Raises FeedbackError where the file or the store cannot be read, OSError where the store cannot be written;
    it is then as it was.
    """
    refused, found = Rejects(), []
    for line, row in _rows(file):
        try:
            found.append(_verdict(row))
        except ExchangeError as error:
            refused.add(error.reason, file.name, [line])
    with store.open("a+b", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        old = stream.read()
        known = set(_parsed(old, store.name))
        new = [verdict for verdict in dict.fromkeys(found) if verdict not in known]
        lines = "".join(json.dumps(verdict._asdict(), ensure_ascii=False) + "\n" for verdict in new)
        _append(stream, len(old), ("\n" if old and not old.endswith(b"\n") else "") + lines if new else "")
    _keep_name(store)
    return Added(len(new), len(found) - len(new), refused)


def read_store(store: Path) -> list[Verdict]:
    """The verdicts of a store in the order in which they were added; raises FeedbackError."""
    try:
        return _parsed(store.read_bytes(), store.name)
    except OSError as error:
        raise FeedbackError(f"{store}: expected a store of verdicts: {error.strerror or error}") from None


def agreed(verdicts: list[Verdict]) -> pd.DataFrame:
    """What analysts decided, a row an account: account_id, label (1 distillation, 0 benign, -1 a tie) and weight."""
    table = pd.DataFrame(verdicts, columns=list(Verdict._fields)).sort_values("time", kind="stable")
    latest = table.drop_duplicates(["account_id", "analyst"], keep="last")
    votes = pd.crosstab(latest["account_id"], latest["decision"]).reindex(columns=list(DECISIONS), fill_value=0)
    guilty, honest, unsure = (votes[name].to_numpy(np.float64) for name in DECISIONS)
    label = np.where(guilty > honest, 1, np.where(honest > guilty, 0, -1))
    weight = np.maximum(guilty, honest) / (guilty + honest + unsure / 2)
    return pd.DataFrame({"account_id": votes.index.to_numpy(), "label": label, "weight": weight})


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a file with their line; one that is no row at all is empty."""
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    if file.suffix not in readers:
        raise FeedbackError(f"{file}: expected verdicts as .csv or .jsonl")
    try:
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise FeedbackError(f"{file}: expected a file of verdicts: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise FeedbackError(f"{file}: expected UTF-8") from None
    try:
        yield from readers[file.suffix](text)
    except csv.Error as error:
        raise FeedbackError(f"{file}: expected a CSV with columns {','.join(COLUMNS)}: {error}") from None


def _csv_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    absent = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if absent:
        raise csv.Error(f"it lacks {', '.join(absent)}")
    for row in rows:
        seconds = _SECONDS.fullmatch(row["time"] or "")
        yield rows.line_num, {**row, "time": float(row["time"])} if seconds else row


def _json_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _object(line)


def _object(line: str) -> dict[str, Any]:
    """The JSON object of a line; empty where it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _verdict(row: Mapping[str, Any]) -> Verdict:
    """Raises ``ExchangeError`` with a reason that holds no value of the row."""
    if not row:
        raise ExchangeError("no_row")
    account, decision, analyst = (str(text_of(row, name, needed=True)) for name in COLUMNS[:3])
    if decision not in DECISIONS:
        raise ExchangeError("unknown:decision")
    try:
        moment = time_of(row.get("time"), "timestamp")
    except ExchangeError as error:
        raise ExchangeError(f"{error.reason.partition(':')[0]}:time") from None
    return Verdict(account, decision, analyst, f"{np.datetime64(moment, 'us')}Z")


def _parsed(data: bytes, name: str) -> list[Verdict]:
    """The verdicts of a store's bytes."""
    found = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            found.append(_verdict(_object(line.decode())))
        except (ExchangeError, UnicodeDecodeError):
            raise FeedbackError(
                f"{name}: expected a verdict on every line, line {number} is none: take it out or restore the file"
            ) from None
    return found


def _append(stream: FileIO, size: int, lines: str) -> None:
    """All lines on disk, or the file as it was."""
    data = lines.encode()
    try:
        if stream.write(data) != len(data):
            raise OSError(errno.ENOSPC, "the verdicts were not written whole")
        os.fsync(stream.fileno())
    except OSError:
        stream.truncate(size)
        raise


def _keep_name(store: Path) -> None:
    """The folder on disk too, so that a new store has its name after a crash."""
    with suppress(OSError):  # not every file system can
        folder = os.open(store.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
