"""Past traffic as ``Monitor`` would have judged it, request by request: what thresholds for serving are set on.

An account that is looked at on every request, over several horizons, has many chances to score high; its highest score
decides how often honest accounts are flagged, not its last. Left out: policy over time, thresholds (``calibrate``).
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from fingerprint.calibrate import Judged
from fingerprint.contribution import contribute
from fingerprint.exchange import Batch
from fingerprint.features import compute
from fingerprint.history import HORIZONS
from fingerprint.kernels.layout import AT, WORDS
from fingerprint.scorer import Scorer
from fingerprint.stores.memory import MemoryStore

__all__ = ["replay"]

_N = AT["n"]
_ROWS = 8_192  # windows that are scored at once


class _Highest:
    """The highest score of each account, windows scored in blocks."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._windows = np.empty((_ROWS + len(HORIZONS), WORDS), np.int64)
        self._owner = np.empty(len(self._windows), np.int64)
        self._count = 0
        self.of: NDArray[np.float32] = np.empty(0, np.float32)

    def add(self, account: int, windows: NDArray[np.int64]) -> None:
        end = self._count + len(windows)
        self._windows[self._count : end], self._owner[self._count : end] = windows, account
        self._count = end
        if end >= _ROWS:
            self.score()

    def score(self) -> None:
        if not self._count:
            return
        owner, windows = self._owner[: self._count], self._windows[: self._count]
        if (most := int(owner.max()) + 1) > len(self.of):
            self.of = np.concatenate([self.of, np.zeros(2 * most - len(self.of), np.float32)])
        np.maximum.at(self.of, owner, self._scorer.score(compute(windows)))
        self._count = 0


def replay(
    batches: Iterable[Batch], names: list[str], scorer: Scorer, least: int, told: Callable[[int], None] = lambda n: None
) -> tuple[Judged, int]:
    """Every account of ``batches`` (``names`` of their codes) that has at least ``least`` exchanges, with the features
    of its month and the highest score that any horizon of at least ``least`` had after any request; and how many
    exchanges were duplicates. Traffic in order of time is judged as it was served.
    """
    store, highest = MemoryStore(max_accounts=2**62, max_bytes=2**62), _Highest(scorer)
    for batch in batches:
        rows = contribute(batch, scorer.head)
        for i in range(len(batch.time_us)):
            code = int(batch.account[i])
            seen = store.add(names[code], int(batch.identity[i]), rows.take(slice(i, i + 1)))
            highest.add(code, seen.windows[[k for k in seen.distinct() if seen.windows[k, _N] >= least]])
        told(len(batch.time_us))
    highest.score()
    found = {code: known.windows[-1] for code, name in enumerate(names) if (known := store.get(name))}
    accounts = [code for code, month in found.items() if month[_N] >= least]
    months = np.stack([found[code] for code in accounts]) if accounts else np.empty((0, WORDS), np.int64)
    n, first_us, last_us = (months[:, AT[name]] for name in ("n", "first_us", "last_us"))
    kept = [names[code] for code in accounts]
    judged = Judged(kept, n, first_us, last_us, compute(months), highest.of[accounts])
    return judged, store.counts["duplicates"]
