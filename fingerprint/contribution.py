"""From records to contributions: what one exchange adds to a window, in integers, without its text.

A contribution is the sparse form of one window row (see ``kernels.reduce``). It does not hold text, and
everything that needs order (the gap to the account's previous exchange) is set here or by ``assemble``.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.exchange import Batch, Exchange, parse
from fingerprint.head import Head
from fingerprint.kernels.layout import MISSING, WORD_BINS, W
from fingerprint.kernels.text import SKETCH_COLUMNS, TEXT_COLUMNS, read_texts

__all__ = ["Contributions", "contribute", "read_exchange", "read_parsed"]


class Contributions(NamedTuple):
    """Rows of ``m`` exchanges (about 300 bytes each).

    ``when``: int64[m, 5] time in microseconds, gap to the account's previous exchange (MISSING where there
    is none), hashes of the prompt, of its head and of its tail (0 where it is too short to have them);
    ``text``: int16[m, 24]; ``sketch``: int8[m, 80]; ``word_min``: uint16[m, 32]; ``meta``: int32[m, 18].
    """

    when: NDArray[np.int64]
    text: NDArray[np.int16]
    sketch: NDArray[np.int8]
    word_min: NDArray[np.uint16]
    meta: NDArray[np.int32]

    @property
    def last_us(self) -> int:
        """When the newest of these exchanges arrived (microseconds UTC), MISSING (-1) if there is none."""
        return int(self.when[:, W["time_us"]].max(initial=MISSING))

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> "Contributions":
        """The given rows."""
        return Contributions(*(part[rows] for part in self))  # type: ignore[arg-type]

    @classmethod
    def concat(cls, parts: "list[Contributions]") -> "Contributions":
        """All rows of several, in order."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _empty(count: int, meta: NDArray[np.int32]) -> Contributions:
    return Contributions(
        np.empty((count, len(W)), np.int64),
        np.empty((count, TEXT_COLUMNS), np.int16),
        np.empty((count, SKETCH_COLUMNS), np.int8),
        np.empty((count, WORD_BINS), np.uint16),
        meta,
    )


def contribute(batch: Batch, head: Head, threads: int = 2) -> Contributions:
    """Contributions of a batch of records, gaps still MISSING; the kernel runs without the GIL in threads."""
    count = len(batch.time_us)
    rows = _empty(count, batch.meta)
    rows.when[:, W["time_us"]], rows.when[:, W["gap_us"]] = batch.time_us, MISSING
    arguments = (batch.data, batch.offsets, head.weights, head.scale, head.bias)

    def read(start: int, stop: int) -> None:
        read_texts(*arguments, start, stop, rows.text, rows.sketch, rows.word_min, rows.when[:, W["prompt"] :])

    if threads == 1 or count < 1024:
        read(0, count)
    else:
        edges = np.linspace(0, count, 4 * threads + 1).astype(int)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, edges[:-1], edges[1:]))
    return rows


def read_exchange(record: Mapping[str, Any], head: Head, previous_us: int = MISSING) -> Contributions:
    """The contribution of one exchange record; ``previous_us`` is when its account's previous one arrived.

    Raises ``ExchangeError`` when the record does not keep the contract.
    """
    return read_parsed(parse(record), head, previous_us)


def read_parsed(exchange: Exchange, head: Head, previous_us: int = MISSING) -> Contributions:
    """The contribution of one record that was checked."""
    rows = _empty(1, np.array([exchange.meta], np.int32))
    data, offsets = np.frombuffer(exchange.prompt, np.uint8), np.array([0, len(exchange.prompt)], np.int64)
    hashes = rows.when[:, W["prompt"] :]
    read_texts(data, offsets, head.weights, head.scale, head.bias, 0, 1, rows.text, rows.sketch, rows.word_min, hashes)
    gap = MISSING if previous_us == MISSING else max(exchange.time_us - previous_us, 0)
    rows.when[0, : W["prompt"]] = exchange.time_us, gap
    return rows
