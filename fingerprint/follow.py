"""Follow a file that grows, as ``tail -F`` does, or a stream: the bytes that come, for who splits them into lines.

A file that is renamed and made anew (rotation) is read to its end before the new one is begun; one that was cut shorter
is read from its beginning; one that is gone is waited for. What is not noticed: a file that was cut and has grown
beyond its old length since the last look. Left out: lines and records (``fingerprint.readers``).
"""

import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Final

from fingerprint.errors import TrafficError

__all__ = ["follow_file", "follow_stream"]

CHUNK: Final = 1 << 16
TICK: Final = 0.2  # seconds from look to look
GRACE: Final = 5  # looks at a file after it was replaced: its writer may not know yet
WHOLE: Final = (".gz", ".zst", ".parquet")  # kinds of files that are written as a whole

Chunks = Iterator[bytes]
Idle = Callable[[], None]


def follow_stream(descriptor: int, idle: Idle) -> Chunks:
    """The bytes of an open stream until it ends; ``idle`` is called whenever it is silent for a moment."""
    while True:
        ready, _, _ = select.select([descriptor], [], [], TICK)
        if not ready:
            idle()
        elif chunk := os.read(descriptor, CHUNK):
            yield chunk
        else:
            return


def follow_file(path: Path, idle: Idle, *, new_only: bool = False, once: bool = False) -> Iterator[Chunks]:
    """The bytes of the file, then those of each that takes its place, which begin with a new line.

    ``idle`` is called at every look that found nothing, and ends it all by raising. ``new_only`` leaves out the lines
    that are there at first, ``once`` stops at the end of the file. Raises TrafficError for what does not grow.
    """
    if path.suffix.lower() in WHOLE:
        raise TrafficError(f"{path}: only plain JSONL is followed; fingerprint score reads files of this kind")
    if path.is_dir():
        raise TrafficError(f"{path}: a directory is not followed, name a file")
    if once and not path.exists():
        raise TrafficError(f"{path}: no such file")
    while True:
        with _Growing(path, idle, new_only, once) as file:
            yield file.chunks()
            while file.cut():
                yield file.chunks()
        if once or not file.regular:
            return
        new_only = False


def _opened(path: Path, idle: Idle) -> FileIO:
    while True:
        try:
            return path.open("rb", buffering=0)
        except FileNotFoundError:
            time.sleep(TICK)
            idle()


class _Growing:
    """One file, open, whatever name it has by now."""

    def __init__(self, path: Path, idle: Idle, new_only: bool, once: bool) -> None:
        self._path, self._idle, self._once = path, idle, once
        self._stream = _opened(path, idle)
        found = os.fstat(self._stream.fileno())
        self._is, self.regular = (found.st_dev, found.st_ino), stat.S_ISREG(found.st_mode)
        if new_only and self.regular:
            self._skip()

    def __enter__(self) -> "_Growing":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def _skip(self) -> None:
        """Go to the end of the last line that is complete."""
        end = self._stream.seek(0, os.SEEK_END)
        while end:
            start = self._stream.seek(max(end - CHUNK, 0))
            found = self._stream.read(end - start).rfind(b"\n")
            if found >= 0:
                self._stream.seek(start + found + 1)
                return
            end = start
        self._stream.seek(0)

    def chunks(self) -> Chunks:
        """What comes, until the file is cut or another has its name."""
        if not self.regular:
            yield from follow_stream(self._stream.fileno(), self._idle)
            return
        looks = 0  # since another file has the name
        while True:
            while chunk := self._stream.read(CHUNK):
                yield chunk
            if self._once or self._short() or looks == GRACE:
                return
            time.sleep(TICK)
            self._idle()
            looks = looks + 1 if self._replaced() else 0

    def _replaced(self) -> bool:
        try:
            found = self._path.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) != self._is

    def _short(self) -> bool:
        return os.fstat(self._stream.fileno()).st_size < self._stream.tell()

    def cut(self) -> bool:
        """Whether it is shorter than what was read of it; then ``chunks`` begins anew."""
        if self._once or not self.regular or not self._short():
            return False
        self._stream.seek(0)
        return True
