"""What happens to everybody: model releases, outages, holidays, a price change.

Drawn once for a world by its seed. Left out: who takes up a new model (metadata) and rate limits (the flow of a
client, in clocks).
"""

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from training.world.clocks import DAY
from training.world.flows import outages
from training.world.settings import WorldSettings
from training.world.traces import IDLE

HOUR = 3600.0


@dataclass(frozen=True)
class Calendar:
    """Days and seconds since the world began: `outages` are (start, end) in seconds, `holidays` whole days."""

    days: int
    release: float
    outages: tuple[tuple[float, float], ...]
    holidays: tuple[int, ...]
    dearer: float | None


def calendar(settings: WorldSettings) -> Calendar:
    """The world's calendar."""
    rnd, events = Random(f"{settings.seed}/events"), settings.events
    starts = sorted(rnd.uniform(0, settings.days * DAY) for _ in range(events.outages))
    outages = tuple((start, start + rnd.uniform(0.3, 2.5) * HOUR) for start in starts)
    holidays = tuple(sorted(rnd.sample(range(settings.days), min(events.holidays, settings.days // 4))))
    dearer = rnd.uniform(0.55, 0.75) * settings.days * DAY if events.price_change else None
    release = events.releases[0] * settings.days if events.releases else float(settings.days)
    return Calendar(settings.days, release, outages, holidays, dearer)


def live_through(
    rng: np.random.Generator, times: NDArray[np.float64], what: Calendar, person: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Times (sorted seconds) as they come out in the end, sorted, and which of them are a request sent again.

    People take most of a holiday's sittings to another day; everybody sends some requests again after an outage
    and brings a few sittings forward to before a price rise.
    """
    again = np.zeros(len(times), bool)
    sitting = np.cumsum(np.diff(times, prepend=times[:1]) > IDLE)
    shift = np.zeros(int(sitting[-1]) + 1)
    first = times[np.flatnonzero(np.diff(sitting, prepend=-1))]
    if person and what.holidays:
        off = np.isin((first // DAY).astype(int), what.holidays) & (rng.random(len(first)) < 0.7)
        shift[off] = rng.choice([-DAY, DAY], int(off.sum()))
    if what.dearer is not None:
        soon = (first > what.dearer) & (first < what.dearer + 4 * DAY) & (rng.random(len(first)) < 0.15)
        shift[soon] = -np.ceil((first[soon] - what.dearer) / DAY) * DAY
    times = times + shift[sitting]
    for start, end in what.outages:
        again |= (times >= start) & (times < end) & (rng.random(len(times)) < 0.3)
    times = outages(times, np.array(what.outages).reshape(-1, 2), rng)
    order = np.argsort(times, kind="stable")
    return within(times[order], what.days * DAY - 1.0), again[order]


def within(times: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Sorted times moved, or squeezed if they must be, into 0 to `limit`: none piles up at an end."""
    times = times - max(0.0, min(float(times[-1]) - limit, float(times[0]))) - min(0.0, float(times[0]))
    return times * min(1.0, limit / max(float(times[-1]), 1.0))
