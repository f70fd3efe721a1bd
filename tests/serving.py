"""What tests of serving share: exchanges of one account as numbers, and windows as a slow reader works them out."""

from collections.abc import Iterable
from functools import cache
from itertools import pairwise

import numpy as np
from builders import exchanges, random_head
from numpy.typing import NDArray

from fingerprint import Window
from fingerprint.contribution import Contributions, read_exchange
from fingerprint.history import HOLD_US, HORIZONS, History
from fingerprint.kernels.layout import MISSING, SESSION_GAP_US, W

HEAD = random_head()
START = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z
SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
LENGTHS = {"hour": HOUR // 4, "day": DAY // 4, "month": 30 * DAY // 4}  # of the quarters
Arrival = tuple[int, int]  # identity and time


@cache
def _read() -> list[Contributions]:
    return [read_exchange(record, HEAD) for record in exchanges(40, 11)]


def rows_of(identity: int, time_us: int) -> Contributions:
    """An exchange: what it says follows from its identity."""
    rows = Contributions(*(part.copy() for part in _read()[identity % 40]))
    rows.when[0, W["time_us"]], rows.when[0, W["gap_us"]] = time_us, 12_345
    return rows


def history_of(arrivals: Iterable[Arrival]) -> History:
    history = History()
    for identity, time in arrivals:
        history.add(identity, rows_of(identity, time))
    return history


def windows_of(arrivals: Iterable[Arrival]) -> NDArray[np.int64]:
    """The windows of exchanges that came within ``HOLD_US`` of their order, each from (time, newest time) alone."""
    ordered = sorted(arrivals, key=lambda arrival: (arrival[1], arrival[0]))
    gaps = [MISSING, *(b[1] - a[1] for a, b in pairwise(ordered))]
    newest = ordered[-1][1]
    starts = [i for i, gap in enumerate(gaps) if gap == MISSING or gap > SESSION_GAP_US]
    out = {name: Window.empty() for name in HORIZONS}
    for i, ((identity, time), gap) in enumerate(zip(ordered, gaps, strict=True)):
        rows = rows_of(identity, time)
        rows.when[0, W["gap_us"]] = gap
        if i >= starts[-1]:
            out["session"].update(rows)
        for name, length in LENGTHS.items():
            if newest // length - time // length < 4:
                out[name].update(rows)
    return np.stack([out[name].state for name in HORIZONS])


def forgotten(arrivals: Iterable[Arrival]) -> int:
    """How many are older than the month of the newest."""
    times = [time for _, time in arrivals]
    return sum(max(times) // LENGTHS["month"] - time // LENGTHS["month"] >= 4 for time in times)


def shuffled(arrivals: list[Arrival], seed: int) -> list[Arrival]:
    """In another order, none later than ``HOLD_US`` allows."""
    late = np.random.default_rng(seed).integers(0, HOLD_US, len(arrivals)).tolist()
    return [a for _, a in sorted(zip([a[1] + k for a, k in zip(arrivals, late, strict=True)], arrivals, strict=True))]


def traffic(count: int, seed: int, pauses: tuple[int, ...] = (1, 20, 1500, 40_000)) -> list[Arrival]:
    """Arrivals in order whose gaps are of the given sizes in seconds, and now and then at once."""
    rng = np.random.default_rng(seed)
    gaps = rng.choice(np.array(pauses), count) * rng.exponential(SECOND, count) * (rng.random(count) < 0.9)
    times = START + np.cumsum(gaps.astype(np.int64))
    return list(zip(rng.permutation(10 * count)[:count].tolist(), times.tolist(), strict=True))
