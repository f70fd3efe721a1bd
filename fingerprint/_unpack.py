"""The bytes of a file, decompressed in chunks: .gz and .zst as far as they are sound, anything else as it is.

A decompressor keeps back what it made in a call that fails. So what lies before damage is read a second time,
in small pieces. Left out: lines (``fingerprint.readers``).
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa

__all__ = ["CHUNK", "DAMAGE", "chunks"]

CHUNK: Final = 1 << 16
PIECE: Final = 2  # bytes that a decompressor gets at once near damage
BACK: Final = 1 << 18  # how far before the place where damage was noticed that begins
DAMAGE: Final = (OSError, EOFError, zlib.error, pa.ArrowException)


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


def chunks(path: Path) -> Iterator[bytes]:
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
