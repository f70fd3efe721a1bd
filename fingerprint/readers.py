"""Read traffic: JSONL (plain, .gz, .zst), Parquet, directories of these, or standard input, as ``Batch``es.

Streams: memory holds one batch, whatever the size of the file. What does not keep the contract is counted in
``Rejects`` by reason with its line (the row, in Parquet) and the rest is read. A damaged or cut file gives what
could be read of it and counts once as ``damaged_file`` (once a damaged row group). Left out: duplicates (``fingerprint.assemble``) and
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
CHUNK: Final = 1 << 16
PIECE: Final = 2  # bytes that a decompressor gets at once near damage: it keeps what it made in a call that fails
BACK: Final = 1 << 18  # how far before the place where damage was noticed that begins
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


def _jsonl(chunks: Iterable[bytes], file: str, into: _Into) -> Iterator[Batch]:
    rows: list[Exchange] = []
    size = 0
    for number, text, cut in _split(chunks, file, into.rejects):
        if number == 1 and text:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if text is not None and (not text or text.isspace()):
            continue
        try:
            rows.append(_record(text, into.rejects))
        except ExchangeError as error:
            cut = cut and error.reason in ("invalid_json", "invalid_utf8")
            into.rejects.add("truncated_line" if cut else error.reason, file, [number])
            continue
        size += len(text or b"")
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


class _Slowly(io.RawIOBase):
    """A file of which, from some place on, little is given at once: what comes before damage comes out."""

    def __init__(self, path: Path, start: int) -> None:
        self._file, self._start = path.open("rb", buffering=0), start

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        little = self._file.tell() >= self._start
        return self._file.readinto(memoryview(into)[: PIECE if little else CHUNK]) or 0

    def close(self) -> None:
        self._file.close()
        super().close()


def _unpacked(file: BinaryIO | io.RawIOBase, suffix: str) -> Any:
    """The decompressed stream of an open file, or the file itself."""
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=file)
    return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") if suffix == ".zst" else file


def _chunks(path: Path) -> Iterator[bytes]:
    """The decompressed content; where it is damaged, first whatever comes before the damage."""
    done, suffix = 0, path.suffix.lower()
    with path.open("rb") as file:
        stream = _unpacked(file, suffix)
        try:
            while chunk := stream.read(CHUNK):
                yield chunk
                done += len(chunk)
        except DAMAGE:
            if suffix in (".gz", ".zst") and path.is_file():
                yield from _rest(path, done, file.tell())
            raise


def _rest(path: Path, done: int, near: int) -> Iterator[bytes]:
    """What can be decompressed beyond ``done`` bytes, the damage being found ``near`` this place of the file."""
    with _Slowly(path, near - BACK) as file:
        stream = _unpacked(file, path.suffix.lower())
        try:
            while done > 0 and (skipped := len(stream.read(min(done, CHUNK)))):
                done -= skipped
            while byte := stream.read(1):
                yield byte
        except DAMAGE:
            return


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
        stream: Any = sys.stdin.buffer
        yield from _jsonl(iter(lambda: stream.read1(CHUNK), b""), "stdin", into)
        return
    for path in _files(Path(source)):
        if path.suffix.lower() == ".parquet":
            yield from _parquet(path, path.name, into)
            continue
        yield from _jsonl(_chunks(path), path.name, into)


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
