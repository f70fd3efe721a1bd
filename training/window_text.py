"""One pass over the traffic for the text of given windows: a vector of each prompt, how far each window compresses.

Text is dropped as soon as it is embedded, except that a window's first `PROMPTS` prompts (`BYTES` of each) wait in
memory until the last of them has been read, are compressed together, and then go too. Left out: which windows, and
what is made of the numbers (bakeoff, rivals_text).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.exchange import Batch, Names
from fingerprint.readers import Rejects, read
from training.dataset import Progress
from training.embedding import DIMENSIONS

__all__ = ["BYTES", "PROMPTS", "WindowText", "read_window_text"]

PROMPTS, BYTES = 200, 2_048  # of a window and of a prompt, what is compressed
Embed = Callable[[Sequence[bytes]], NDArray[np.float32]]


class WindowText(NamedTuple):
    """`vectors`: float16[u, DIMENSIONS], one an exchange; `members`: for each window its rows of `vectors` in order of
    time; `ratio`: float64[k], compressed over plain bytes of each window (lower is more repetitive)."""

    vectors: NDArray[np.float16]
    members: list[NDArray[np.int64]]
    ratio: NDArray[np.float64]

    def of(self, window: int) -> NDArray[np.float32]:
        """float32[n, DIMENSIONS] of a window's prompts in order of time."""
        return self.vectors[self.members[window]].astype(np.float32)


def read_window_text(
    traffic: Sequence[Path],
    identity: NDArray[np.uint64],
    windows: Sequence[NDArray[np.int64]],
    embed: Embed,
    progress: Progress = lambda stage, done, total: None,
) -> WindowText:
    """Read what `windows` hold: row numbers of exchanges whose id hashes are `identity` (uint64, one a row)."""
    rows = np.unique(np.concatenate(windows))
    members = [np.searchsorted(rows, window) for window in windows]
    by = np.argsort(identity[rows])
    sought = identity[rows][by]
    vectors, unread = np.zeros((len(rows), DIMENSIONS), np.float16), np.ones(len(rows), bool)
    ratios = _Ratios(members, len(rows))
    for path in traffic:
        for batch in read(path, accounts=Names(), sessions=Names(), rejects=Rejects()):
            at = np.minimum(np.searchsorted(sought, batch.identity), len(sought) - 1)
            found = np.flatnonzero((sought[at] == batch.identity) & unread[by[at]])
            position, first = np.unique(by[at[found]], return_index=True)
            if len(position):
                texts = _texts(batch, found[first])
                vectors[position], unread[position] = embed(texts), False
                ratios.add(position, texts)
            progress("embed", len(rows) - int(unread.sum()), len(rows))
    return WindowText(vectors, members, ratios.ratio)


def _texts(batch: Batch, rows: NDArray[np.int64]) -> list[bytes]:
    return [batch.data[batch.offsets[i] : batch.offsets[i + 1]].tobytes() for i in rows]


class _Ratios:
    """zlib ratios of windows whose prompts come in any order; NaN for those that are never complete."""

    def __init__(self, members: Sequence[NDArray[np.int64]], exchanges: int) -> None:
        read_of = [window[:PROMPTS] for window in members]
        flat = np.concatenate(read_of)
        by = np.argsort(flat, kind="stable")
        self._windows = np.repeat(np.arange(len(members)), [len(part) for part in read_of])[by].tolist()
        self._starts = np.searchsorted(flat[by], np.arange(exchanges + 1)).tolist()
        self._missing = [len(part) for part in read_of]
        self._held: dict[int, list[bytes]] = {}
        self.ratio = np.full(len(members), np.nan)

    def add(self, position: NDArray[np.int64], texts: Sequence[bytes]) -> None:
        """Hold texts for the windows that they belong to, and compress the windows that are complete with them."""
        for place, text in zip(position.tolist(), texts, strict=True):
            for window in self._windows[self._starts[place] : self._starts[place + 1]]:
                self._held.setdefault(window, []).append(text[:BYTES])
                self._missing[window] -= 1
                if not self._missing[window]:
                    plain = b"\n".join(self._held.pop(window))
                    self.ratio[window] = len(zlib.compress(plain)) / max(len(plain), 1)
