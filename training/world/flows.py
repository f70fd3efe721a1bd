"""How a batch client sends: workers in flight, ceilings, barriers, pauses, retries; and what an outage does to anyone.

Structure and parameters follow the public pipelines read for the project (26 clients); only the
speed of evaluation runs is fitted. Times are those of completion, as evaluation runs log them. Left out: what is sent.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.world.laws import laws

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Flow:
    """How a batch client sends. Seconds; shares are of requests."""

    workers: int = 8
    latency_s: float = 8.0
    spread: float = 0.6  # standard deviation of log latency
    per_minute: float = np.inf
    barrier: int = 0  # the next batch of this size waits for the last answer of the one before; 0: none
    pause_s: float = 0.0  # after a rate limit
    limited: float = 0.01  # share that meets one
    whole: bool = True  # the pause silences the whole client, not one worker
    retry_s: float = 0.0  # first back-off of a failed request, doubled each time
    failed: float = 0.02
    sleep_s: float = 0.0  # of each worker after an answer
    asynchronous: bool = False  # a batch API: all at once, answers fetched every 60 s


def default_flow(kind: str, rng: np.random.Generator) -> Flow:
    """A client: evaluations at the speed of the fitted runs, other batches as diverse as the pipelines read."""
    law = laws()["evaluation"]
    latency = float(rng.lognormal(np.log(8), 0.6))
    if kind == "nightly":
        mean_gap = float(np.exp(rng.normal(law["log_gap"], law["spread"])))
        return Flow(int(np.clip(latency / mean_gap, 1, 128)), latency, retry_s=1.0 if rng.random() < 0.5 else 0.0)
    workers = (1, 1, 2, 4, 8, 16, 32, 64, 200)[int(rng.integers(9))]
    return Flow(
        workers, latency,
        per_minute=(np.inf, np.inf, 20.0, 60.0, 200.0, 500.0)[int(rng.integers(6))],
        barrier=(0, 0, 0, 10, 32, 50)[int(rng.integers(6))],
        pause_s=(0.0, 10.0, 30.0, 60.0)[int(rng.integers(4))],
        whole=bool(rng.random() < 0.5),
        retry_s=(0.0, 0.5, 5.0, 15.0)[int(rng.integers(4))],
        sleep_s=1.0 if workers == 1 and rng.random() < 0.5 else 0.0,
        asynchronous=bool(rng.random() < 0.05),
    )  # fmt: skip


def run_offsets(rng: np.random.Generator, sizes: Ints, flow: Flow) -> tuple[Ints, Floats]:
    """(run, seconds since its start) of every completion; `sizes` (runs,) requests each, at least one."""
    batch = min(flow.barrier or int(sizes.max()), int(sizes.max()))
    per_run = -(-sizes // batch)
    run = np.repeat(np.arange(len(sizes)), per_run)
    number = np.arange(len(run)) - np.repeat(np.cumsum(per_run) - per_run, per_run)
    count = np.minimum(batch, sizes[run] - number * batch)
    times = _asynchronous(rng, len(run), batch) if flow.asynchronous else _batches(rng, len(run), batch, flow)
    lasted = np.take_along_axis(times, count[:, None] - 1, 1)[:, 0]
    done = np.cumsum(lasted) - lasted
    times = times + (done - done[number == 0][run])[:, None]
    kept = np.arange(batch) < count[:, None]
    return np.repeat(run, count), times[kept]


def _batches(rng: np.random.Generator, rows: int, size: int, flow: Flow) -> Floats:
    """Sorted completions (rows, size) of workers that each take the next request when they have an answer."""
    workers = min(flow.workers, size)
    each = -(-size // workers) + (workers > 1)
    shape = (rows, workers, each)
    took = np.exp(np.log(flow.latency_s) + flow.spread * rng.standard_normal(shape))
    if flow.retry_s:
        tries = np.minimum(rng.geometric(1 - flow.failed, shape) - 1, 6)
        took += flow.retry_s * (2.0**tries - 1)
    if flow.pause_s and not flow.whole:
        took += flow.pause_s * (rng.random(shape) < flow.limited)
    took += np.where(np.arange(each) > 0, flow.sleep_s, 0.0)
    times = np.sort(np.cumsum(took, axis=2).reshape(rows, -1), axis=1)[:, :size]
    if flow.pause_s and flow.whole:
        times += np.cumsum(flow.pause_s * (rng.random((rows, size)) < flow.limited), axis=1)
    if np.isfinite(flow.per_minute):  # generic cell rate algorithm (ATM Forum), a burst of `workers` allowed
        k = np.arange(size) * (60.0 / flow.per_minute)
        late = np.maximum.accumulate(times - k, axis=1) + k - workers * 60.0 / flow.per_minute
        times = np.maximum(times, late)
    return np.asarray(times)


def _asynchronous(rng: np.random.Generator, rows: int, size: int) -> Floats:
    """Answers fetched at one of the polls, 60 s apart, one after another."""
    offsets = np.cumsum(rng.exponential(0.01, (rows, size)), axis=1)
    return np.asarray(60.0 * rng.geometric(0.1, (rows, 1)) + offsets, float)


def outages(times: Floats, windows: Floats, rng: np.random.Generator) -> Floats:
    """Times moved past outages: `windows` (n, 2) first and last second; tried again after 1, 2, 4 ... s, at most 600 s.

    In the order of `times`: those of one outage may come out in another order than they went in.
    """
    out = np.array(times, float)
    for first, last in sorted(np.asarray(windows, float).reshape(-1, 2).tolist()):
        hit = (out >= first) & (out < last)
        wait = np.maximum(last - out[hit], 1e-6)
        tried = 2.0 ** np.ceil(np.log2(wait + 1)) - 1
        extra = np.minimum(tried - wait, rng.uniform(0, 600, len(wait))) + rng.uniform(0, 1, len(wait))
        out[hit] = last + extra
    return out
