"""Read traffic: JSONL (plain, .gz, .zst), Parquet, directories of these, or standard input, as ``Batch``es.

Streams: memory holds one batch, whatever the size of the file. What does not keep the contract is counted in
``Rejects`` by reason with its line (the row, in Parquet) and the rest is read. A damaged or cut file gives what
could be read of it and counts once as ``damaged_file`` (Parquet: once a damaged row group). In a directory a file
that cannot be used at all counts once as ``unusable_file``. Left out: duplicates (``fingerprint.assemble``);
fields inside ``client`` and ``account`` that the contract does not know, and a key that is twice in one JSON object,
of which the last counts: neither is noticed.
"""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from fingerprint._arrow import to_batch
from fingerprint._files import SUFFIXES, search, told
from fingerprint._schema import open_parquet, steps
from fingerprint._unpack import CHUNK, DAMAGE, chunks
from fingerprint.errors import ExchangeError, TrafficError
from fingerprint.exchange import FIELDS, Batch, Exchange, Names, batch_of, parse

__all__ = ["SUFFIXES", "Rejects", "exchanges", "read"]

LINE_LIMIT: Final = 256 << 20  # bytes of a line; a longer one is a rejected record
BATCH_BYTES: Final = 32 << 20
KNOWN: Final = frozenset(FIELDS)
PLACES: Final = 5
NOTICED: Final = 1000  # unknown fields that are told apart


class Rejects:
    """Rejected records, counted by reason with the places of the first few; never their content."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}
        self._unknown: set[str] = set()
        self._unusable: list[str] = []
        self._ignored: Counter[str] = Counter()

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

    def unusable(self, file: str, why: str) -> None:
        """Count a file of a directory of which nothing can be read."""
        self.add("unusable_file", file, [1])
        if len(self._unusable) < PLACES:
            self._unusable.append(f"unusable {why}")

    def ignore(self, kinds: Counter[str]) -> None:
        """Remember files of a directory that are not traffic."""
        self._ignored.update(kinds)

    def summary(self) -> list[str]:
        """A line for each reason, the most frequent first."""
        lines = []
        for reason, count in sorted(self.counts.items(), key=lambda item: (-item[1], item[0])):
            more = ", …" if count > PLACES else ""
            lines.append(f"rejected {count:,}: {reason} ({', '.join(self.places[reason])}{more})")
        return lines

    def notices(self) -> list[str]:
        """What else the user should know."""
        lines = list(self._unusable)
        if self._ignored:
            lines.append(told(self._ignored))
        if self._unknown:
            plain = sorted(name for name in self._unknown if re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,40}", name))
            named = f": {', '.join(plain[:PLACES])}{', …' if len(plain) > PLACES else ''}" if plain else ""
            lines.append(f"ignored {len(self._unknown)} unknown field{'s' * (len(self._unknown) > 1)}{named}")
        return lines


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _record(line: bytes | None, rejects: Rejects) -> Exchange:
    """One line; raises ``ExchangeError``."""
    if line is None:
        raise ExchangeError("too_long")
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


class _Held:
    """The beginning of a line whose end has not been read; of one over the limit only its length."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, part: bytes) -> None:
        """One more piece of the line."""
        self.size += len(part)
        if self.size > LINE_LIMIT:
            self.parts.clear()
        elif part:
            self.parts.append(part)

    def take(self, part: bytes) -> bytes | None:
        """The line that ends with ``part``; None if it is longer than the limit. Holds nothing afterwards."""
        self.add(part)
        line = b"".join(self.parts) if self.size <= LINE_LIMIT else None
        self.parts, self.size = [], 0
        return line


Line = tuple[int, bytes | None, bool]  # number, text (None if it is too long), whether the file stops in it


def _split(chunks: Iterable[bytes], file: str, rejects: Rejects) -> Iterator[Line]:
    """All lines; damage ends the file."""
    number, held = 1, _Held()
    try:
        for chunk in chunks:
            *ended, rest = chunk.split(b"\n")
            for text in ended:
                yield number, held.take(text) if held.size or len(text) > LINE_LIMIT else text, False
                number += 1
            held.add(rest)
    except DAMAGE:
        rejects.add("damaged_file", file, [number])
    yield number, held.take(b""), True


class _Into(NamedTuple):
    """Where records go."""

    accounts: Names
    sessions: Names
    rejects: Rejects
    batch_rows: int


def exchanges(chunks: Iterable[bytes], file: str, rejects: Rejects) -> Iterator[tuple[Exchange, int]]:
    """The accepted records of JSONL with the bytes of their lines; ``file`` is how places are named."""
    for number, text, cut in _split(chunks, file, rejects):
        if number == 1 and text:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if text is not None and (not text or text.isspace()):
            continue
        try:
            exchange = _record(text, rejects)
        except ExchangeError as error:
            cut = cut and error.reason in ("invalid_json", "invalid_utf8")
            rejects.add("truncated_line" if cut else error.reason, file, [number])
        else:
            yield exchange, len(text or b"")


def _jsonl(chunks: Iterable[bytes], file: str, into: _Into) -> Iterator[Batch]:
    rows: list[Exchange] = []
    size = 0
    for exchange, length in exchanges(chunks, file, into.rejects):
        rows.append(exchange)
        size += length
        if len(rows) >= into.batch_rows or size >= BATCH_BYTES:
            yield batch_of(rows, into.accounts, into.sessions)
            rows, size = [], 0
    if rows:
        yield batch_of(rows, into.accounts, into.sessions)


def _rows(path: Path, file: str, into: _Into) -> Iterator[tuple[int, Any]]:
    """Arrow record batches of a Parquet file and the number of their first row; damaged row groups are left out."""
    try:
        with open_parquet(path, file) as parquet:
            into.rejects.notice(set(parquet.schema_arrow.names) - KNOWN)
            for start, rows in steps(parquet, into.batch_rows):
                if rows is None:
                    into.rejects.add("damaged_file", file, [start + 1])
                else:
                    yield start, rows
    except DAMAGE:
        into.rejects.add("damaged_file", file, [1])


def _parquet(path: Path, file: str, into: _Into) -> Iterator[Batch]:
    for start, rows in _rows(path, file, into):
        batch, faults = to_batch(rows, into.accounts, into.sessions)
        for reason, found in faults.by_reason().items():
            into.rejects.add(reason, file, (found + start + 1).tolist())
        if len(batch.time_us):
            yield batch


def _of_file(path: Path, file: str, into: _Into) -> Iterator[Batch]:
    """``file`` is how its places are named; raises ``TrafficError`` where nothing of it can be used."""
    if not os.access(path, os.R_OK):
        why = "it may not be read" if path.exists() else "a link that leads nowhere"
        raise TrafficError(f"{file}: {why}")
    if path.suffix.lower() == ".parquet":
        yield from _parquet(path, file, into)
    else:
        yield from _jsonl(chunks(path), file, into)


def _of_folder(folder: Path, into: _Into) -> Iterator[Batch]:
    files, ignored = search(folder)
    into.rejects.ignore(ignored)
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            yield from _of_file(path, name, into)
        except TrafficError as error:
            into.rejects.unusable(name, str(error))


def _batches(source: str | Path, into: _Into) -> Iterator[Batch]:
    path = Path(source)
    if str(source) == "-":
        if sys.stdin is None:
            raise TrafficError("-: standard input is closed")
        stream: Any = sys.stdin.buffer
        yield from _jsonl(iter(lambda: stream.read1(CHUNK), b""), "stdin", into)
    elif path.is_dir():
        yield from _of_folder(path, into)
    elif not path.exists() and not path.is_symlink():
        raise TrafficError(f"{source}: no such file or directory")
    elif not path.name.lower().endswith(SUFFIXES):
        expected = f"expected {', '.join(SUFFIXES)}, or - for JSONL on standard input"
        raise TrafficError(f"{source}: unknown kind of file, {expected}")
    else:
        yield from _of_file(path, path.name, into)


def read(
    source: str | Path, *, accounts: Names, sessions: Names, rejects: Rejects, batch_rows: int = 65536
) -> Iterator[Batch]:
    """The accepted records of a file, of a directory or, for ``-``, of standard input.

    A directory is read with those in it, in the order of their paths; names that begin with ``.`` or ``_`` are not.

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
