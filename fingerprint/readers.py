"""Read traffic: JSONL (plain, .gz, .zst), Parquet, directories of these, or standard input, as ``Batch``es.

Streams: memory holds one batch, whatever the size of the file. What does not keep the contract is counted in
``Rejects`` by reason with its line (the row, in Parquet) and the rest is read. A damaged or cut file gives what
could be read of it and counts once as ``damaged_file``. Left out: duplicates (``fingerprint.assemble``) and
fields inside ``client`` and ``account`` that the contract does not know, which are not noticed.
"""

import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn

import pyarrow as pa

from fingerprint._arrow import to_batch
from fingerprint._schema import open_parquet, steps
from fingerprint.errors import ExchangeError, TrafficError
from fingerprint.exchange import FIELDS, Batch, Exchange, Names, batch_of, parse

__all__ = ["SUFFIXES", "Rejects", "read"]

LINES: Final = (".jsonl", ".ndjson", ".json")
SUFFIXES: Final = (*LINES, *(line + packed for line in LINES for packed in (".gz", ".zst")), ".parquet")
LINE_LIMIT: Final = 256 << 20  # bytes of a line; a longer one is a rejected record
BATCH_BYTES: Final = 32 << 20
DAMAGE: Final = (OSError, EOFError, zlib.error, pa.ArrowException)
KNOWN: Final = frozenset(FIELDS)
PLACES: Final = 5
NOTICED: Final = 1000  # unknown fields that are told apart


class Rejects:
    """Rejected records, counted by reason with the places of the first few; never their content."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}
        self._unknown: set[str] = set()

    @property
    def total(self) -> int:
        """How many records were rejected."""
        return sum(self.counts.values())

    def add(self, reason: str, file: str, lines: Iterable[int]) -> None:
        """Count the records on these lines (1 is the first)."""
        places = self.places.setdefault(reason, [])
        for line in lines:
            self.counts[reason] = self.counts.get(reason, 0) + 1
            if len(places) < PLACES:
                places.append(f"{file}:{line}")

    def notice(self, fields: Iterable[str]) -> None:
        """Remember fields that are not in the contract."""
        if len(self._unknown) < NOTICED:
            self._unknown.update(fields)

    def summary(self) -> list[str]:
        """A line for each reason, the most frequent first."""
        lines = []
        for reason, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0])):
            more = ", …" if count > PLACES else ""
            lines.append(f"rejected {count:,}: {reason} ({', '.join(self.places[reason])}{more})")
        return lines

    def notices(self) -> list[str]:
        """What else the user should know."""
        if not self._unknown:
            return []
        plain = sorted(name for name in self._unknown if re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,40}", name))
        named = f": {', '.join(plain[:PLACES])}{', …' if len(plain) > PLACES else ''}" if plain else ""
        return [f"ignored {len(self._unknown)} unknown field{'s' * (len(self._unknown) > 1)}{named}"]


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _record(line: bytes, rejects: Rejects) -> Exchange:
    """One line; raises ``ExchangeError``."""
    try:
        record = _DECODER.decode(line.decode())
    except UnicodeDecodeError:
        raise ExchangeError("invalid_utf8") from None
    except RecursionError:
        raise ExchangeError("too_deep") from None
    except ValueError:
        raise ExchangeError("invalid_json") from None
    exchange = parse(record)
    if not record.keys() <= KNOWN:
        rejects.notice(record.keys() - KNOWN)
    return exchange


def _lines(stream: BinaryIO, file: str, rejects: Rejects) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not blank; what is longer than the limit is skipped to its end."""
    number, length = 0, 0
    try:
        while line := stream.readline(LINE_LIMIT):
            ends = line.endswith(b"\n")
            if length == 0:
                number += 1
            if length == 0 and (ends or len(line) < LINE_LIMIT):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line and not line.isspace():
                    yield number, line
            elif length == 0:
                rejects.add("too_long", file, [number])
            length = 0 if ends else length + len(line)
    except DAMAGE:
        rejects.add("damaged_file", file, [number + 1])


class _Into(NamedTuple):
    """Where records go."""

    accounts: Names
    sessions: Names
    rejects: Rejects
    batch_rows: int


def _jsonl(stream: BinaryIO, file: str, into: _Into) -> Iterator[Batch]:
    rows: list[Exchange] = []
    size = 0
    for number, line in _lines(stream, file, into.rejects):
        try:
            rows.append(_record(line, into.rejects))
        except ExchangeError as error:
            cut = not line.endswith(b"\n") and error.reason in ("invalid_json", "invalid_utf8")
            into.rejects.add("truncated_line" if cut else error.reason, file, [number])
            continue
        size += len(line)
        if len(rows) >= into.batch_rows or size >= BATCH_BYTES:
            yield batch_of(rows, into.accounts, into.sessions)
            rows, size = [], 0
    if rows:
        yield batch_of(rows, into.accounts, into.sessions)


def _rows(path: Path, into: _Into) -> Iterator[Any]:
    """Arrow record batches of a Parquet file, up to where it is damaged."""
    done = 0
    try:
        with open_parquet(path) as file:
            into.rejects.notice(set(file.schema_arrow.names) - KNOWN)
            for rows in steps(file, into.batch_rows):
                yield rows
                done += rows.num_rows
    except DAMAGE:
        into.rejects.add("damaged_file", path.name, [done + 1])


def _parquet(path: Path, into: _Into) -> Iterator[Batch]:
    done = 0
    for rows in _rows(path, into):
        batch, faults = to_batch(rows, into.accounts, into.sessions)
        for reason, found in faults.by_reason().items():
            into.rejects.add(reason, path.name, (found + done + 1).tolist())
        done += rows.num_rows
        if len(batch.time_us):
            yield batch


def _open(path: Path) -> BinaryIO:
    if path.suffix.lower() == ".gz":
        return io.BufferedReader(gzip.open(path), 1 << 16)
    if path.suffix.lower() == ".zst":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"), 1 << 16)
    return path.open("rb")


def _is_traffic(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def _files(source: Path) -> list[Path]:
    expected = f"expected {', '.join(SUFFIXES)}"
    if not source.exists():
        raise TrafficError(f"{source}: no such file or directory")
    if not source.is_dir():
        if not _is_traffic(source):
            raise TrafficError(f"{source}: unknown kind of file, {expected}, or - for JSONL on standard input")
        return [source]
    files = sorted(path for path in source.iterdir() if _is_traffic(path) and path.is_file())
    if not files:
        raise TrafficError(f"{source}: no traffic in this directory, {expected}")
    return files


def _batches(source: str | Path, into: _Into) -> Iterator[Batch]:
    if str(source) == "-":
        yield from _jsonl(sys.stdin.buffer, "stdin", into)
        return
    for path in _files(Path(source)):
        if path.suffix.lower() == ".parquet":
            yield from _parquet(path, into)
            continue
        with _open(path) as stream:
            yield from _jsonl(stream, path.name, into)


def read(
    source: str | Path, *, accounts: Names, sessions: Names, rejects: Rejects, batch_rows: int = 65536
) -> Iterator[Batch]:
    """The accepted records of a file, of a directory (its files sorted by name) or, for ``-``, of standard input.

    Ids become codes of ``accounts`` and ``sessions``; what is rejected is counted in ``rejects``. Raises
    ``TrafficError`` where the source or its columns are off, and in the end when no record was accepted.
    """
    found = False
    for batch in _batches(source, _Into(accounts, sessions, rejects, batch_rows)):
        found = True
        yield batch
    if not found:
        why = "".join(f"; {line}" for line in rejects.summary()[:PLACES]) or ", it is empty"
        raise TrafficError(f"{source}: no exchange record could be read{why}")
