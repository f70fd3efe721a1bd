"""The output contract: verdicts and features as rows, written to .jsonl, .csv, .parquet or standard output.

A file appears when it is complete or not at all. Rows are written in chunks, none is kept. Times are RFC 3339
in UTC with microseconds (a timestamp in Parquet), missing numbers are null (empty in CSV), reasons are objects
(a JSON string in CSV). Left out: the score itself (``fingerprint.scorer``).
"""

import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fingerprint.assemble import Entities
from fingerprint.errors import FingerprintError

__all__ = ["SUFFIXES", "Columns", "Kinds", "feature_kinds", "feature_rows", "verdict_kinds", "verdict_rows", "writer"]

Columns = Mapping[str, Any]  # name to values, all of one length
Kinds = Mapping[str, str]  # name to a key of _TYPES
Write = Callable[[Columns], None]

SUFFIXES: Final = (".jsonl", ".csv", ".parquet")
_REASON: Final = pa.struct(
    {
        "family": pa.string(),
        "feature": pa.string(),
        "value": pa.float64(),
        "typical": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "without": pa.float64(),
        "family_without": pa.float64(),
        "sentence": pa.string(),
    }
)
_TYPES: Final = {
    "text": pa.string(),
    "count": pa.int64(),
    "time": pa.timestamp("us", "UTC"),
    "number": pa.float32(),
    "reasons": pa.list_(_REASON),
}
_ENTITY: Final = {
    "entity_id": "text",
    "account_id": "text",
    "n_exchanges": "count",
    "first_seen": "time",
    "last_seen": "time",
}


class Judge(Protocol):
    """What is needed of a ``Scorer``."""

    bundle_id: str

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]: ...
    def level(self, scores: NDArray[np.float32]) -> list[str]: ...
    def reasons(self, features: NDArray[np.float32]) -> list[list[dict[str, Any]]]: ...


def verdict_kinds() -> dict[str, str]:
    """The columns of a verdict."""
    return {**_ENTITY, "score": "number", "level": "text", "reasons": "reasons", "bundle_id": "text"}


def feature_kinds(names: Sequence[str]) -> dict[str, str]:
    """The columns of a row of features."""
    return {**_ENTITY, **dict.fromkeys(names, "number")}


def _entity_columns(entities: Entities) -> dict[str, Any]:
    facts = (entities.entity_id, entities.account_id, entities.n, entities.first_us, entities.last_us)
    return dict(zip(_ENTITY, facts, strict=True))


def verdict_rows(entities: Entities, features: NDArray[np.float32], judge: Judge) -> dict[str, Any]:
    """Verdicts of some entities, ``features`` being theirs; reasons for ``review`` and ``act`` only."""
    scores = judge.score(features)
    levels = judge.level(scores)
    reasons: list[list[dict[str, Any]]] = [[] for _ in levels]
    flagged = [i for i, level in enumerate(levels) if level != "allow"]
    if flagged:
        for i, found in zip(flagged, judge.reasons(features[flagged]), strict=True):
            reasons[i] = found
    verdict = {"score": scores, "level": levels, "reasons": reasons, "bundle_id": [judge.bundle_id] * len(levels)}
    return {**_entity_columns(entities), **verdict}


def feature_rows(entities: Entities, features: NDArray[np.float32], names: Sequence[str]) -> dict[str, Any]:
    """Features of some entities, one column each."""
    return {**_entity_columns(entities), **dict(zip(names, features.T, strict=True))}


def _plain(values: Any, kind: str) -> list[Any]:
    """Values as JSON has them."""
    if kind == "time":
        return [f"{moment}Z" for moment in np.datetime_as_string(np.asarray(values, "M8[us]"), unit="us")]
    if kind == "number":
        return [value if math.isfinite(value) else None for value in np.asarray(values, np.float64).tolist()]
    return list(np.asarray(values).tolist()) if kind == "count" else list(values)


def _rows(columns: Columns, kinds: Kinds) -> Iterator[tuple[Any, ...]]:
    return zip(*(_plain(columns[name], kind) for name, kind in kinds.items()), strict=True)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@contextmanager
def _jsonl(stream: BinaryIO, kinds: Kinds) -> Iterator[Write]:
    def write(columns: Columns) -> None:
        lines = [_json(dict(zip(kinds, row, strict=True))) + "\n" for row in _rows(columns, kinds)]
        stream.write("".join(lines).encode())

    yield write


@contextmanager
def _csv(stream: BinaryIO, kinds: Kinds) -> Iterator[Write]:
    text = io.TextIOWrapper(stream, "utf-8", newline="", write_through=True)
    table = csv.writer(text, lineterminator="\n")
    table.writerow(kinds)

    def write(columns: Columns) -> None:
        told = {name: [_json(v) for v in columns[name]] for name, kind in kinds.items() if kind == "reasons"}
        table.writerows(_rows({**columns, **told}, kinds))

    try:
        yield write
    finally:
        text.detach()


@contextmanager
def _parquet(stream: BinaryIO, kinds: Kinds) -> Iterator[Write]:
    schema = pa.schema({name: _TYPES[kind] for name, kind in kinds.items()})
    with pq.ParquetWriter(stream, schema, compression="zstd") as file:

        def write(columns: Columns) -> None:
            numbers = [name for name, kind in kinds.items() if kind == "number"]
            told = {name: pa.array(columns[name], pa.float32(), from_pandas=True) for name in numbers}
            file.write_table(pa.Table.from_pydict({**columns, **told}, schema))

        yield write


_FORMATS: Final = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}


@contextmanager
def _told(out: str) -> Iterator[None]:
    """Errors of the file system in the user's words: temporary names mean nothing to them."""
    try:
        yield
    except OSError as error:
        raise FingerprintError(f"--out {out}: {error.strerror or type(error).__name__}") from None


@contextmanager
def _complete_or_not_at_all(out: str) -> Iterator[BinaryIO]:
    """A stream to a neighbour of ``out`` that takes its place in the end."""
    path = Path(os.path.realpath(out))
    if path.is_symlink():
        raise FingerprintError(f"--out {out}: it is a loop of symbolic links")
    whole = path.is_file() or not path.exists()  # not a pipe, say
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial") if whole else path
    try:
        with _told(out):
            stream = partial.open("wb")
        with stream:
            yield stream
        if whole:
            with _told(out):
                partial.replace(path)
    finally:
        if whole:
            partial.unlink(missing_ok=True)


@contextmanager
def writer(out: str, kinds: Kinds) -> Iterator[Write]:
    """Where rows go: a function that takes columns, any number of times. ``-`` is standard output as JSONL.

    Raises ``FingerprintError`` for an unknown kind of file, ``OSError`` where nothing can be written.
    """
    if out == "-":
        if sys.stdout is None:
            raise FingerprintError("--out -: standard output is closed")
        with _jsonl(sys.stdout.buffer, kinds) as write:
            yield write
        sys.stdout.buffer.flush()
        return
    suffix = Path(out).suffix.lower()
    if suffix not in _FORMATS:
        raise FingerprintError(
            f"--out {out}: expected a name that ends in {', '.join(SUFFIXES)}, or - for standard output"
        )
    with _complete_or_not_at_all(out) as stream, _FORMATS[suffix](stream, kinds) as write:
        yield write
