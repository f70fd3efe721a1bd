"""When an account sends: six clock classes, drawn from laws fitted to public traces (`laws`, text/clocks.json).

The classes are shared by attacks, honest automation and gateways, with one law (`CLASSES`): regularity is not a
signature, and nothing here knows a label. One path, with and without a corpora directory. Times are seconds in the
world, sorted, inside [start, start + span] but for the tail of a run. Sessions are hierarchical: a profile (quantile
function of log gaps, turns, lag correlation) is drawn from the fitted table, then gaps within it.

people, coding   fitted sessions, placed at hours of the account's day, pauses of hours inside them included
service          windows of fitted API clients (10 minutes, requests and CV drawn), or a renewal process over the day
burst, nightly   batch runs of a client's `Flow` (flows), at the times of completion, as evaluation runs log them
paced            a drip below a limit; no public trace has it, its law is assumed

Left out: what is sent, who sends it; clients slower than ten requests in ten minutes are not in any trace.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr

from training.world.flows import Flow, default_flow, run_offsets
from training.world.laws import DEPTHS, KNOTS, Profiles, laws
from training.world.traces import IDLE, WINDOW

__all__ = [
    "API_CLASSES", "CLASSES", "DAY", "context_tokens", "output_tokens", "people", "sessions", "timeline", "turns",
]  # fmt: skip
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
DAY = 86_400.0
CELL = 1800.0
CLASSES = {"people": 0.30, "service": 0.22, "burst": 0.18, "nightly": 0.12, "coding": 0.10, "paced": 0.08}
API_CLASSES = tuple(CLASSES)[1:]
STEADY = 0.4  # share of services that send at their users' pace instead of in busy windows


def timeline(
    kind: str, rng: np.random.Generator, q: int, start: float, span: float, flow: Flow | None = None
) -> tuple[Floats, Bools]:
    """`q` sorted times of a clock class, and where conversations begin; `flow` is the client of burst and nightly."""
    if kind in ("people", "coding"):
        return _sittings(kind, rng, q, start, span)
    if kind in ("burst", "nightly"):
        times = _runs(kind, rng, q, start, span, flow or default_flow(kind, rng))
    else:
        times = (_service if kind == "service" else _paced)(rng, q, start, span)
    return times, sessions(kind, rng, times)


def sessions(kind: str, rng: np.random.Generator, times: Floats) -> Bools:
    """Where conversations begin at given times: after 30 idle minutes (coding: 4 hours) or the fitted turns."""
    fresh = np.diff(times, prepend=-np.inf) > (8 * IDLE if kind == "coding" else IDLE)
    lengths = turns(kind, rng, len(times))
    fresh[np.cumsum(lengths)[:-1]] = True
    return np.asarray(fresh)


def turns(kind: str, rng: np.random.Generator, q: int) -> Ints:
    """Turns of successive conversations, in all `q`: of people, of coding agents, else of a chat service."""
    if kind in ("people", "coding"):
        return _lengths(rng, _profiles(kind), q)[1]
    drawn = 1 + np.searchsorted(laws()["chat"], rng.random(q)).astype(np.int64)
    return _cut(np.minimum(drawn, 40), q)


def _profiles(kind: str) -> Profiles:
    profiles: Profiles = laws()[kind]
    return profiles


def _cut(lengths: Ints, q: int) -> Ints:
    """The first lengths that hold `q`, the last one cut; they hold at least `q` in all."""
    ends = np.cumsum(lengths)
    n = int(np.searchsorted(ends, q)) + 1
    out = lengths[:n].copy()
    out[-1] -= int(ends[n - 1]) - q
    return out


def _lengths(rng: np.random.Generator, p: Profiles, q: int) -> tuple[Ints, Ints]:
    """Profile and turns of each session of `q` exchanges."""
    n = min(q, 8 + int(4 * q / p.usual))
    at = np.searchsorted(p.mass, rng.random(n) * p.mass[-1])
    size = np.exp(p.turns[at, 0] + p.turns[at, 1] * rng.normal(0, 1, n))
    lengths = np.maximum(np.rint(size), 1).astype(np.int64)
    lengths[-1] += max(0, q - int(lengths.sum()))
    lengths = _cut(lengths, q)
    return at[: len(lengths)], lengths


def _gaps(rng: np.random.Generator, p: Profiles, at: Ints, lengths: Ints) -> Floats:
    """Gap before each exchange (q,), 0 at a session's first: order statistics of its profile, in a correlated order."""
    q = int(lengths.sum())
    first = np.cumsum(lengths) - lengths
    which = np.repeat(np.arange(len(lengths)), lengths)
    angle = 0.5 * np.arcsin(np.clip(2 * p.lag[at], -0.95, 0.95))[which]
    e = rng.normal(0, 1, q + 1)
    z = np.cos(angle) * e[1:] + np.sin(angle) * e[:-1]
    z[first] = -np.inf
    rank = np.empty(q)
    rank[np.lexsort((z, which))] = np.arange(q)
    rank -= (first + 1)[which]
    count = (lengths - 2)[which]
    u = np.where(count > 0, (rank + rng.uniform(-0.45, 0.45, q)) / np.maximum(count, 1), rng.random(q))
    u = np.clip(u, 0.0, 1.0)
    k = np.minimum(np.searchsorted(KNOTS, u, "right") - 1, len(KNOTS) - 2)
    rows = at[which]
    low, high = p.gaps[rows, k], p.gaps[rows, k + 1]
    value = low + (high - low) * (u - KNOTS[k]) / (KNOTS[k + 1] - KNOTS[k])
    gaps = np.exp(value + (p.shift[at] * rng.normal(0, 0.7, len(at)))[which])
    gaps[first] = 0.0
    return np.asarray(gaps)


def _sittings(kind: str, rng: np.random.Generator, q: int, start: float, span: float) -> tuple[Floats, Bools]:
    """Sessions of a person or an agent over an account's life."""
    p = _profiles(kind)
    at, lengths = _lengths(rng, p, q)
    fresh = np.zeros(q, bool)
    fresh[np.cumsum(lengths) - lengths] = True
    return _place(rng, _gaps(rng, p, at, lengths), lengths, start, span, kind == "people"), fresh


def people(rng: np.random.Generator, fresh: Bools, gaps: Floats, start: float, span: float) -> Floats:
    """Times of a person: `fresh` marks where a conversation starts, `gaps` known seconds since the turn before, or NaN.

    Whole minutes are taken for a minute clock. Two of five conversations follow the one before within minutes.
    """
    q, p = len(fresh), _profiles("people")
    begins = np.asarray(fresh, bool).copy()
    begins[0] = True
    lengths = np.diff(np.flatnonzero(begins), append=q)
    at = np.searchsorted(p.mass, rng.random(len(lengths)) * p.mass[-1])
    drawn = _gaps(rng, p, at, lengths)
    minute = ~np.isnan(gaps) & (gaps % 60 == 0)
    known = np.clip(np.where(minute, gaps + rng.uniform(2, 58, q), gaps), 0.5, 4 * 3600)
    steps = np.where(np.isnan(known) | begins, drawn, known)
    sitting = begins & (rng.random(q) < 0.6)
    sitting[0] = True
    steps = np.where(begins, rng.lognormal(np.log(150), 1.0, q), steps)
    return _place(rng, steps, np.diff(np.flatnonzero(sitting), append=q), start, span, True)


def _place(rng: np.random.Generator, steps: Floats, lengths: Ints, start: float, span: float, awake: bool) -> Floats:
    """Sessions put at hours of the account's day, never two at once; gaps as given, unless the span is too short."""
    first = np.cumsum(lengths) - lengths
    steps[first] = 0.0
    total = np.cumsum(steps)
    inside = total - np.repeat(total[first], lengths)
    took = inside[first + lengths - 1]
    rest = rng.lognormal(np.log(4000), 0.5, len(first))
    rest *= np.clip((span - took.sum()) / rest.sum(), 0.0, 1.0)
    squeeze = min(1.0, span / max(float(took.sum()), 1e-9))
    need = took * squeeze + rest
    before = np.cumsum(need) - need
    starts = np.sort(_pace(rng, start, span, awake)(rng.random(len(first))))
    starts = before + np.maximum.accumulate(starts - before)
    starts = np.minimum(starts, start + span - (need.sum() - before))
    times = np.maximum.accumulate(inside * squeeze + np.repeat(starts, lengths))  # order survives rounding
    return np.asarray(np.clip(times, start, start + span))


def _pace(rng: np.random.Generator, start: float, span: float, awake: bool = False) -> Callable[[Floats], Floats]:
    """Day and night, days off, growth and restlessness of an account: a function from uniform numbers to times."""
    n = int(np.clip(span / CELL, 24, 336))
    edges = np.linspace(start, start + span, n + 1)
    mid = edges[:-1] + span / n / 2
    depth = rng.uniform(0.9, 1.0) if awake else (0.0, 0.3, 0.7, 0.97)[int(rng.integers(4))]
    hour = (mid / 3600 + rng.uniform(0, 24)) % 24
    day = np.exp(-0.5 * ((hour - rng.uniform(11, 17)) / rng.uniform(2.5, 4.5)) ** 2)
    weekend = np.where((mid // DAY) % 7 >= 5, (1.0, 1.0, 0.4, 0.05)[int(rng.integers(4))], 1.0)
    noise = rng.normal(0, (0.1, 0.6, 1.2)[int(rng.integers(3))], n // 4 + 1).repeat(4)[:n]
    growth = (0.0, 0.0, 1.0, 2.5)[int(rng.integers(4))] * (mid - start) / span
    rate = ((1 - depth) + depth * day) * weekend * np.exp(noise + growth) + 1e-6
    mass = np.concatenate([[0.0], np.cumsum(rate)])
    return lambda u: np.asarray(np.interp(u, mass / mass[-1], edges))


def _service(rng: np.random.Generator, q: int, start: float, span: float) -> Floats:
    """A real client's windows of ten minutes, some in a row; or a renewal process of its CV over its day."""
    t = laws()["service"]
    c = int(np.searchsorted(t["mass"], rng.random() * t["mass"][-1]))
    if rng.random() < STEADY:
        shape = np.full(q, np.exp(-2 * t["cv"][c, 6]))
        steps = rng.standard_gamma(shape) + 1e-6
        return np.asarray(_pace(rng, start, span)(np.cumsum(steps) / (steps.sum() * (1 + 1 / q))))
    n = q // 8 + 2
    size = np.exp(np.interp(rng.random(n), KNOTS, t["requests"][c]))
    size *= max(1.0, 2 * q * WINDOW / (span * float(size.mean())))
    size = np.maximum(size, 8.0)
    lengths = _cut(np.rint(size).astype(np.int64), q)
    cv = np.exp(np.interp(rng.random(len(lengths)), KNOTS, t["cv"][c]))
    gaps = _with_cv(rng, cv, lengths) * (WINDOW / size[: len(lengths)]).repeat(lengths)
    begins = rng.random(len(lengths)) >= t["stay"][c]
    begins[0] = True
    stretch = np.diff(np.append((np.cumsum(lengths) - lengths)[begins], q))
    return _place(rng, gaps, stretch, start, span, False)


def _with_cv(rng: np.random.Generator, cv: Floats, lengths: Ints) -> Floats:
    """Gamma gaps of mean 1 with the CV asked for in each window (q,): a draw from each of its quantiles, shuffled."""
    which = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((rng.random(len(which)), which))
    rank = np.arange(len(which)) - (np.cumsum(lengths) - lengths)[which]
    shape = np.clip(cv**-2.0, 0.02, 50)[which]
    gaps = np.empty(len(which))
    gaps[order] = gammaincinv(shape, (rank + rng.random(len(which))) / lengths[which]) + 1e-9
    return np.asarray(gaps / (np.bincount(which, gaps) / lengths)[which])


def _paced(rng: np.random.Generator, q: int, start: float, span: float) -> Floats:
    """A steady drip below a limit, with some jitter."""
    shape = float(rng.lognormal(np.log(4), 0.8))
    steps = rng.standard_gamma(shape, q) + 1e-6
    u = np.cumsum(steps) / (steps.sum() * (1 + 1 / q))
    even = start + u * span
    return np.asarray(even if rng.random() < 0.4 else 0.7 * even + 0.3 * _pace(rng, start, span)(u))


def _runs(kind: str, rng: np.random.Generator, q: int, start: float, span: float, flow: Flow) -> Floats:
    """Batch runs: the same hour on several days, or a few at any time."""
    if kind == "nightly":
        n = int(np.clip(span // DAY, 1, max(1, q // 5)))
        at = start + rng.uniform(0, min(DAY, span / n)) + DAY * np.arange(n) + np.minimum(rng.exponential(60, n), 600)
        share = np.full(n, 1 / n)
    else:
        n = int(np.clip(rng.geometric(0.3), 1, max(1, q // 5)))
        at = np.sort(_pace(rng, start, span)(rng.random(n)))
        share = rng.dirichlet(np.full(n, 1.5))
    sizes = np.diff(np.rint(np.concatenate([[0.0], np.cumsum(share)]) * q)).astype(np.int64)
    run, offsets = run_offsets(rng, sizes[sizes > 0], flow)
    return np.sort(at[sizes > 0][run] + offsets)


def context_tokens(kind: str, rng: np.random.Generator, prompt_tokens: Floats, depth: Ints) -> Ints:
    """Input tokens (q,) of exchanges whose own prompt has `prompt_tokens`, `depth` exchanges into a conversation."""
    t, q = laws()["tokens"], len(depth)
    own = np.asarray(prompt_tokens, float) * rng.uniform(0.95, 1.1) + rng.uniform(4, 12)
    if kind == "coding":
        again = (depth == 0) | (rng.random(q) < t["coding_reset"])
        u = rng.random(q)[np.maximum.accumulate(np.where(again, np.arange(q), 0))] * 32
        part = np.interp(np.log1p(depth), np.log1p(DEPTHS), np.arange(len(DEPTHS)))
        value = _grid(t["coding_in"], part, u)
        return np.asarray(np.maximum(np.exp(value), own), np.int64)
    if kind == "service":
        name = "azure_in" if rng.random() < 0.5 else "mooncake_in"
        drawn = np.exp(np.interp(rng.random(q) * 32, np.arange(33), t[name]))
        return np.asarray(np.maximum(drawn, own), np.int64)
    first = np.maximum.accumulate(np.where(depth == 0, np.arange(q), 0))
    said = np.cumsum(own + np.exp(rng.normal(5.0, 0.9, q)))
    before = np.concatenate([[0.0], said])
    fixed = rng.lognormal(np.log(120), 1.0) if kind != "people" else 0.0
    return np.asarray(own + before[:-1] - before[first] + fixed).astype(np.int64)


def _grid(table: Floats, row: Floats, u: Floats) -> Floats:
    """Bilinear look-up: fractional row and fractional quantile level of each item."""
    i, k = np.minimum(row.astype(int), len(table) - 2), np.minimum(u.astype(int), table.shape[1] - 2)
    a, b = row - i, u - k
    low = (1 - b) * table[i, k] + b * table[i, k + 1]
    high = (1 - b) * table[i + 1, k] + b * table[i + 1, k + 1]
    return np.asarray((1 - a) * low + a * high)


def output_tokens(kind: str, rng: np.random.Generator, q: int) -> Ints:
    """Output tokens (q,): of coding agents, else of one of two chat services, part of the spread between accounts."""
    t = laws()["tokens"]
    between = float(t["between"])
    z = np.sqrt(between) * rng.normal() + np.sqrt(1 - between) * rng.normal(0, 1, q)
    name = "coding_out" if kind == "coding" else "azure_out" if rng.random() < 0.5 else "mooncake_out"
    return np.asarray(np.maximum(np.exp(np.interp(ndtr(z) * 32, np.arange(33), t[name])), 1), np.int64)
