"""Snapshots of a ``MemoryStore``: one file that is whole or refused, and the one before it beside it.

A file is a head, blocks, and an end that counts them. Each block has a check sum over its place in the file, its head
and its content, so that a file that was cut, damaged or put together from others is not believed. It holds names of
accounts and numbers, no text of prompts, and can be read by its owner only. Left out: what the numbers mean
(``history``).
"""

import fcntl
import logging
import os
import stat
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from fingerprint.history import HISTORY_LAYOUT
from fingerprint.stores import StoreError

__all__ = ["ACCOUNTS", "COUNTS", "IDS", "NUMBER", "SUMMARIES", "Block", "Keeper", "State", "before", "read", "write"]

ACCOUNTS, SUMMARIES, IDS, COUNTS, END = range(1, 6)  # kinds of blocks
_MAGIC: Final = b"FPSNAP1\n"
_VERSION: Final = HISTORY_LAYOUT  # histories are told apart by their first bytes
_BLOCK: Final = struct.Struct("<BIQI")  # kind, entries, bytes, check sum
_ENTRY: Final = struct.Struct("<II")  # bytes of a name and of what belongs to it
_END: Final = struct.Struct("<4Q")  # entries by kind
NUMBER: Final = struct.Struct("<q")  # a count
_log = logging.getLogger("fingerprint")

Block = tuple[int, list[tuple[str, bytes]]]  # kind, and names with what belongs to them


@dataclass
class State:
    """What a snapshot holds: ``accounts`` and ``summaries`` as the store keeps them, least recently seen first;
    pieces of the table of ids; ``counts``."""

    accounts: dict[str, bytes] = field(default_factory=dict)
    summaries: dict[str, bytes] = field(default_factory=dict)
    ids: list[bytes] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def before(path: Path) -> Path:
    """Where the snapshot before this one is kept."""
    return path.with_name(f"{path.name}.1")


def _sum(number: int, head: tuple[int, int, int], body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(repr((number, head)).encode()))


def _written(blocks: Iterable[Block]) -> Iterator[bytes]:
    """The bytes of a snapshot, block by block."""
    yield _MAGIC + _VERSION
    totals, number = [0] * END, 0
    for kind, entries in blocks:
        parts = []
        for name, data in entries:
            told = name.encode("utf-8", "surrogatepass")
            parts += [_ENTRY.pack(len(told), len(data)), told, data]
        body, totals[kind - 1] = b"".join(parts), totals[kind - 1] + len(entries)
        head = (kind, len(entries), len(body))
        yield _BLOCK.pack(*head, _sum(number, head, body)) + body
        number += 1
    body = _END.pack(*totals[:-1])
    head = (END, number, len(body))
    yield _BLOCK.pack(*head, _sum(number, head, body)) + body


def write(path: Path, blocks: Iterable[Block]) -> None:
    """Write a snapshot; it takes the place of ``path`` when all of it is on disk, and that becomes ``before(path)``.

    ``OSError`` where it cannot be written; then everything is as it was.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            for part in _written(blocks):
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            path.replace(before(path))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    with suppress(OSError):  # not every file system can
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _entries(body: bytes, count: int) -> Iterator[tuple[str, bytes]]:
    at = 0
    for _ in range(count):
        if len(body) - at < _ENTRY.size:
            raise ValueError
        name, data = _ENTRY.unpack_from(body, at)
        at += _ENTRY.size
        if len(body) - at < name + data:
            raise ValueError
        yield body[at : at + name].decode("utf-8", "surrogatepass"), body[at + name : at + name + data]
        at += name + data
    if at != len(body):
        raise ValueError


def _put(state: State, kind: int, entries: Iterable[tuple[str, bytes]]) -> None:
    if kind in (ACCOUNTS, SUMMARIES):
        (state.accounts if kind == ACCOUNTS else state.summaries).update(entries)
    elif kind == IDS:
        state.ids += [data for _, data in entries]
    elif kind == COUNTS:
        state.counts.update({name: NUMBER.unpack(data)[0] for name, data in entries})
    else:
        raise ValueError


def _read(stream: BinaryIO, left: int) -> State:
    """The state in a file of ``left`` bytes; ValueError or struct.error for what is no whole snapshot."""
    state, totals, number = State(), [0] * END, 0
    while left >= _BLOCK.size:
        *head, check = _BLOCK.unpack(stream.read(_BLOCK.size))
        kind, count, size = head
        left -= _BLOCK.size
        if size > left:
            break
        body = stream.read(size)
        left -= size
        if check != _sum(number, (kind, count, size), body):
            raise ValueError
        if kind == END:
            if left or count != number or _END.unpack(body) != tuple(totals[:-1]):
                raise ValueError
            return state
        _put(state, kind, _entries(body, count))
        totals[kind - 1] += count
        number += 1
    raise EOFError


def _load(path: Path) -> State:
    """One file; StoreError with the reason if it cannot be used, FileNotFoundError if there is none."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"snapshot {path}: not a file")
        with path.open("rb") as stream:
            size, head = os.fstat(stream.fileno()).st_size, stream.read(len(_MAGIC) + len(_VERSION))
            if not head.startswith(_MAGIC):
                raise StoreError(f"snapshot {path}: this is no snapshot of fingerprint")
            if head[len(_MAGIC) :] != _VERSION:
                raise StoreError(f"snapshot {path}: written by another version of fingerprint")
            return _read(stream, size - len(head))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"snapshot {path}: {error.strerror or type(error).__name__}") from None
    except EOFError:
        raise StoreError(f"snapshot {path}: it was cut short") from None
    except (ValueError, struct.error):
        raise StoreError(f"snapshot {path}: it is damaged") from None


def read(path: Path) -> State:
    """The newest snapshot that can be used: ``path``, else the one before it, else an empty one.

    A warning is logged for each that is there and cannot be used, and where an older one or none is left.
    """
    refused = False
    for file in (path, before(path)):
        try:
            state = _load(file)
        except FileNotFoundError:
            continue
        except StoreError as error:
            refused = True
            _log.warning("%s", error)
            continue
        if file != path:
            _log.warning("snapshot %s: the one before it is used, %s", path, file.name)
        return state
    if refused:
        _log.warning("snapshot %s: no snapshot can be used, starting with no accounts", path)
    return State()


class Keeper:
    """Calls ``save`` every so many seconds, in a thread of its own, and once more when it is closed.

    What goes wrong is told to ``failed`` and logged the first time, and again after it went well. StoreError if another
    process keeps the same file.
    """

    def __init__(self, path: Path, every_s: float, save: Callable[[], None], failed: Callable[[], None]) -> None:
        if not every_s > 0:
            raise StoreError(f"snapshot {path}: expected every_s above 0, got {every_s:g}")
        self._path, self._every_s, self._save, self._failed = path, every_s, save, failed
        self._claim = _claimed(path)
        self._stop, self._failing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="fingerprint-snapshot", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._once()

    def _once(self) -> None:
        try:
            self._save()
            self._failing = False
        except Exception as error:
            self._failed()
            if not self._failing:
                _log.error("%s", error if isinstance(error, StoreError) else f"no snapshot: {type(error).__name__}")
            self._failing = True

    def close(self) -> None:
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._once()
        if self._claim is not None:
            os.close(self._claim)


def _claimed(path: Path) -> int | None:
    """A descriptor that holds the lock beside the file, None where there can be no lock; what a process that was killed
    left half written is removed."""
    try:
        claim = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None  # saving will fail as well, and say so
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(claim)
        raise StoreError(
            f"snapshot {path}: another process or store keeps it; give each its own file, or share them by RedisStore"
        ) from None
    except OSError:
        os.close(claim)
        return None
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        with suppress(OSError):
            partial.unlink()
    return claim
