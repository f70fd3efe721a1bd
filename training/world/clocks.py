"""When an account sends: six clock classes, fitted to public traces or drawn from them.

The classes are shared by attacks, honest automation and gateways, with one law (`CLASSES`): regularity is not a
signature. Without traces the laws below are fitted to the quantiles of `domain-facts.md`; with a corpora directory
gaps, rates and runs are taken from its real traces. Every function returns sorted seconds within [0, days).
Left out: what is sent, and whether two requests belong to one conversation.
"""

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DAY = 86_400.0
GRID = 600.0
CLASSES = {"people": 0.30, "service": 0.22, "burst": 0.18, "nightly": 0.12, "coding": 0.10, "paced": 0.08}
API_CLASSES = tuple(CLASSES)[1:]


@dataclass(frozen=True)
class Traces:
    """Real clocks: gaps inside sessions of people and coding agents, client windows (rate, cv), run increments."""

    people: list[Floats]
    coding: list[Floats]
    clients: list[tuple[Floats, float]]
    runs: list[Floats]


def read_traces(directory: Path) -> Traces:
    """The traces of a corpora directory."""
    clocks = Path(directory) / "clocks"
    coding = []
    for row in _json_lines(clocks / "coding_agent_sessions.jsonl.gz"):
        times = sorted(r["t"] for r in row["requests"] if isinstance(r.get("t"), int | float))
        if len(times) >= 8:
            coding.append(np.diff(np.asarray(times, float)))
    files = sorted(clocks.glob("evaluation_run_*.jsonl.gz"))
    runs = [np.clip(np.diff(np.sort([float(r["t"]) for r in _json_lines(f)])), 0.0, 600.0) for f in files]
    return Traces(_people_gaps(Path(directory)), coding, _clients(clocks / "api_clients.csv.gz"), runs)


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as f:
        for line in f:
            yield json.loads(line)


def _people_gaps(directory: Path) -> list[Floats]:
    """Gaps inside conversations; the varied source counts more than the regular one."""
    out = []
    for name, weight in (("realhumaneval", 6), ("hotel_ja", 1)):
        units: dict[str, list[float]] = {}
        for r in _json_lines(directory / "prompts" / f"{name}.jsonl.gz"):
            units.setdefault(str(r["unit"]), []).append(float(r["t"]))
        out += weight * [np.maximum(np.diff(np.sort(t)), 1.0) for t in units.values() if len(t) >= 4]
    return out


def _clients(path: Path) -> list[tuple[Floats, float]]:
    """Per client its windows' rates in order, and the median CV of its gaps."""
    rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as f:
        for r in csv.DictReader(f):
            rate, cv = float(r["rate_rps"] or 0), float(r["cv"] or 0)
            if rate > 0 and cv > 0:
                rows.setdefault((r["model"], r["client"]), []).append((float(r["t_s"]), rate, cv))
    kept = [np.array(sorted(v)) for v in rows.values() if len(v) >= 12]
    return [(w[:, 1], float(np.clip(np.median(w[:, 2]), 0.3, 6.0))) for w in kept]


@dataclass(frozen=True)
class Flow:
    workers: int = 4
    per_minute: float = 0.0
    barrier: int = 0
    sleep: float = 0.0
    pause: float = 0.0
    batch: bool = False


def context_tokens(kind, rng, prompt_tokens, depth):
    return prompt_tokens + (depth // 2) * rng.lognormal(np.log(260), 0.5, len(depth))


def output_tokens(kind, rng, q):
    return 230 * rng.lognormal(0, 0.8, q)


def conversations(kind, rng, times):
    idle = np.diff(times, prepend=-np.inf) > 1800
    return idle | (rng.random(len(times)) < 1 / rng.uniform(2, 14))


def arrivals(kind: str, rng: np.random.Generator, q: int, start, span, flow=None, traces=None) -> Floats:
    """`q` arrival times of a clock class, an account's whole life within `days`."""
    if kind == "people":
        return people(rng, np.ones(q, bool), np.full(q, np.nan), start, span)
    pace = _pace(rng, start, span)
    times = {"service": _service, "burst": _burst, "nightly": _nightly, "coding": _coding, "paced": _paced}[kind](
        rng, q, pace, traces
    )
    return times


def people(
    rng: np.random.Generator,
    fresh: NDArray[np.bool_],
    gaps: Floats,
    start,
    span,
    traces: Traces | None = None,
) -> Floats:
    """Sittings of a person: `fresh` marks where a conversation starts, `gaps` what is known of real gaps (else NaN)."""
    q = len(fresh)
    pace = _pace(rng, start, span, awake=True)
    typical = float(rng.lognormal(np.log(70), 0.6))
    drawn = _blocks(rng, traces.people, q) if traces else rng.lognormal(np.log(typical), 0.9, q)
    minute = (~np.isnan(gaps)) & (gaps % 60 == 0)
    known = np.where(minute, gaps + rng.uniform(2, 58, q), gaps)
    steps = np.where(np.isnan(known), drawn, np.clip(known, 1.0, 4 * 3600))
    sitting, left = np.zeros(q, bool), 0
    for i in range(q):
        if left <= 0 and fresh[i]:
            sitting[i], left = True, max(1, int(rng.lognormal(np.log(8), 0.7)))
        left -= 1
    return _place(rng, steps, sitting, pace)


def _life(rng: np.random.Generator, q: int, days: float) -> tuple[float, float]:
    """An account's first second and its span, from a daily volume around 26."""
    daily = float(rng.lognormal(np.log(26), 0.9))
    span = float(np.clip(q / daily, 0.15, days)) * DAY
    return float(rng.uniform(0, max(days * DAY - span, 1.0))), span


@dataclass(frozen=True)
class Pace:
    """Cumulated intensity over an account's life: turns uniform numbers into times."""

    edges: Floats
    mass: Floats

    def at(self, u: Floats) -> Floats:
        return np.interp(u, self.mass, self.edges)


def _pace(rng: np.random.Generator, start: float, span: float, awake: bool = False) -> Pace:
    """Day and night, days off, growth and restlessness of an account; some run around the clock."""
    edges = np.linspace(start, start + span, max(int(span / GRID), 12) + 1)
    mid = (edges[1:] + edges[:-1]) / 2
    depth = float(rng.uniform(0.9, 1.0)) if awake else float(rng.choice([0.0, 0.3, 0.7, 0.97]))
    hour = (mid / 3600 + rng.uniform(0, 24)) % 24
    day = np.exp(-0.5 * ((hour - rng.uniform(11, 17)) / rng.uniform(2.5, 4.5)) ** 2)
    weekend = np.where((mid // DAY) % 7 >= 5, rng.choice([1.0, 1.0, 0.4, 0.05]), 1.0)
    noise = rng.normal(0, rng.choice([0.1, 0.6, 1.2]), len(mid) // 12 + 2).repeat(12)[: len(mid)]
    growth = np.exp(rng.choice([0.0, 0.0, 1.0, 2.5]) * (mid - start) / span)
    rate = ((1 - depth) + depth * day) * weekend * np.exp(noise) * growth + 1e-6
    mass = np.concatenate([[0.0], np.cumsum(rate)])
    return Pace(edges, mass / mass[-1])


def _service(rng: np.random.Generator, q: int, pace: Pace, traces: Traces | None) -> Floats:
    """A renewal process with the CV of a real API client, at that client's changing rate."""
    cv = float(np.clip(rng.lognormal(np.log(1.4), 0.55), 0.5, 6.0))
    if traces:
        rates, cv = traces.clients[int(rng.integers(len(traces.clients)))]
        first = int(rng.integers(len(rates) - 11))
        part = rates[first : first + max(12, len(pace.edges) - 1)]
        mass = np.concatenate([[0.0], np.cumsum(part)])
        pace = Pace(np.linspace(pace.edges[0], pace.edges[-1], len(mass)), mass / mass[-1])
    steps = _weibull(rng, cv, q) if rng.random() < 0.3 else rng.gamma(1 / cv**2, cv**2, q)
    return pace.at(np.cumsum(steps + 1e-9) / (steps.sum() + float(steps.mean()) + 1e-6))


def _weibull(rng: np.random.Generator, cv: float, q: int) -> Floats:
    return rng.weibull(max(cv**-1.086, 0.25), q)


def _paced(rng: np.random.Generator, q: int, pace: Pace, traces: Traces | None) -> Floats:
    """A steady drip below a limit, with some jitter."""
    steps = rng.gamma(*(lambda k: (k, 1 / k))(float(rng.lognormal(np.log(4), 0.8))), q)
    u = np.cumsum(steps) / (steps.sum() + 1)
    even = pace.edges[0] + u * (pace.edges[-1] - pace.edges[0])
    return 0.7 * even + 0.3 * pace.at(u) if rng.random() < 0.6 else pace.at(u)


def _run(rng: np.random.Generator, m: int, workers: int, latency: float, traces: Traces | None) -> Floats:
    """Offsets of one batch run: `workers` requests in flight, a pause now and then for a rate limit."""
    if traces and rng.random() < 0.6:
        steps = _blocks(rng, traces.runs, m) * (latency / 8)
        return np.asarray(np.cumsum(steps) - steps[0])
    each = -(-m // workers)
    took = rng.lognormal(np.log(latency), 0.6, (workers, each))
    took[:, 0] = rng.uniform(0, 0.5, workers)
    times = np.sort(np.cumsum(took, axis=1).ravel())[:m]
    pauses = np.cumsum((rng.random(m) < 0.01) * rng.choice([10.0, 30.0, 60.0], m))
    return np.asarray(times + pauses)


def _runs(rng: np.random.Generator, starts: Floats, q: int, traces: Traces | None, even: bool) -> Floats:
    workers = int(rng.choice([1, 1, 2, 4, 8, 16, 32, 64]))
    latency = float(rng.lognormal(np.log(8), 0.7))
    share = np.full(len(starts), 1 / len(starts)) if even else rng.dirichlet(np.full(len(starts), 1.5))
    sizes = np.diff(np.round(np.concatenate([[0.0], np.cumsum(share)]) * q)).astype(int)
    parts = [s + _run(rng, int(m), workers, latency, traces) for s, m in zip(starts, sizes, strict=True) if m]
    return np.sort(np.concatenate(parts))


def _burst(rng: np.random.Generator, q: int, pace: Pace, traces: Traces | None) -> Floats:
    """A few batch runs at any time of the account's life."""
    runs = int(np.clip(rng.geometric(0.3), 1, max(1, q // 5)))
    return _runs(rng, pace.at(np.sort(rng.uniform(0, 1, runs))), q, traces, even=False)


def _nightly(rng: np.random.Generator, q: int, pace: Pace, traces: Traces | None) -> Floats:
    """The same hour on several days."""
    first, last = pace.edges[0], pace.edges[-1]
    nights = int(np.clip((last - first) // DAY, 2, max(2, q // 5)))
    hour = rng.uniform(0, DAY)
    starts = (first // DAY) * DAY + hour + DAY * np.arange(nights) + rng.exponential(60, nights)
    return _runs(rng, starts, q, traces, even=rng.random() < 0.7)


def _coding(rng: np.random.Generator, q: int, pace: Pace, traces: Traces | None) -> Floats:
    """An agent at work: long sessions of quick calls, with waits for a person or a test run."""
    slow = rng.random(q) < 0.22
    drawn = np.where(slow, rng.lognormal(np.log(90), 1.2, q), rng.lognormal(np.log(14), 0.5, q))
    steps = _blocks(rng, traces.coding, q) if traces else drawn
    sitting = np.zeros(q, bool)
    at = 0
    while at < q:
        sitting[at] = True
        at += max(3, int(rng.lognormal(np.log(45), 0.9)))
    return _place(rng, np.clip(steps, 0.2, 6 * 3600), sitting, pace)


def _blocks(rng: np.random.Generator, traces: list[Floats], q: int) -> Floats:
    """`q` real gaps, a whole stretch of one trace after another."""
    parts: list[Floats] = []
    have = 0
    while have < q:
        trace = traces[int(rng.integers(len(traces)))]
        first = int(rng.integers(max(1, len(trace) - 20)))
        parts.append(trace[first : first + 200])
        have += len(parts[-1])
    return np.concatenate(parts)[:q]


def _place(rng: np.random.Generator, steps: Floats, sitting: NDArray[np.bool_], pace: Pace) -> Floats:
    """Sittings put at hours of the account's pace, never two at once; gaps inside them as given."""
    steps = np.where(sitting, 0.0, steps)
    first = np.flatnonzero(sitting)
    total = np.cumsum(steps)
    inside = total - np.repeat(total[first], np.diff([*first, len(steps)]))
    starts = np.sort(pace.at(rng.uniform(0, 1, len(first))))
    ends = inside[np.append(first[1:], len(steps)) - 1]
    rest = rng.lognormal(np.log(4000), 0.5, len(first))
    for i in range(1, len(first)):
        starts[i] = max(starts[i], starts[i - 1] + ends[i - 1] + rest[i])
    return inside + np.repeat(starts, np.diff([*first, len(steps)]))


def _fit(times: Floats, days: float) -> Floats:
    """Moved back, or squeezed if it must be, into the world's days."""
    limit = days * DAY - 1.0
    times = np.sort(times)
    times = times - max(0.0, min(float(times[-1]) - limit, float(times[0])))
    return times * min(1.0, limit / max(float(times[-1]), 1.0))
