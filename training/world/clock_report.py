"""Simulated clocks beside real ones: `compare(corpora, traffic)`, a row a role and statistic; `plots` overlays them.

Both sides are cut by one rule a role. A session's gap statistics are of its first 100 exchanges, if it has at least 4
(an account of the world is seldom longer), and turns are counted to 100.

people, coding   a session is a conversation: the session id (of the trace, of the world), else cut at 30 idle minutes
service          600 s windows that begin with a request, of 10 to 120 requests; an account (client) counts once
evaluation       blocks of 25 exchanges of runs cut at 30 idle minutes; clock `nightly`; an account (run) counts once

Distances: Kolmogorov-Smirnov for statistics of sessions and for tokens, 1-Wasserstein on log seconds for pooled gaps
(nine quantiles of each session). The yardstick is the mean of the same distance over 40 random halvings of the real
trace by owner (user, client, run or session), so that what one owner does is on one side. Burstiness is that of Kim &
Jo (2016, arXiv 1604.01125), corrected for length. Without a corpora directory the real side is the 51 quantiles and the
yardsticks that are shipped with the laws. Left out: burst and paced (no public trace), input tokens of people.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.world.laws import LEVELS, laws
from training.world.traces import FEWEST, IDLE, LEAST, MOST, WINDOW, Session, Tokens, blocks, real_sessions, real_tokens

Floats = NDArray[np.float64]
LONGEST, HALVINGS = 100, 40
ROLE = {"people": "people", "coding": "coding", "service": "service", "nightly": "evaluation"}
SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)
POOLED = np.linspace(0.1, 0.9, 9)


@dataclass(frozen=True)
class Sample:
    """Values, weights and owners, (n,) each."""

    values: Floats
    weights: Floats
    owners: NDArray[Any]


Statistics = dict[tuple[str, str], Sample]


def burstiness(gaps: Floats) -> float:
    """Kim & Jo's B for n = len(gaps) + 1 events, in [-1, 1]; 0 for Poisson of any length."""
    n, r = len(gaps) + 1, float(gaps.std() / gaps.mean())
    up, down = np.sqrt(n + 1), np.sqrt(n - 1)
    return float((up * r - down) / ((up - 2) * r + down))


def session_rows(s: Session) -> list[tuple[str, Floats]]:
    """(statistic, values) of one session."""
    rows = [("turns", np.array([float(min(s.turns, LONGEST))]))] if s.role != "evaluation" else []
    if s.turns < LEAST:
        return rows
    gaps = np.maximum(s.gaps[: LONGEST - 1], 1e-3)
    quantiles = np.quantile(gaps, [*SHOWN, *POOLED])
    rows += [(f"gap p{round(100 * p)}", quantiles[i : i + 1]) for i, p in enumerate(SHOWN)]
    rows += [("cv", np.array([s.cv or gaps.std() / gaps.mean()])), ("burstiness", np.array([burstiness(gaps)]))]
    return [*rows, ("pooled gaps", quantiles[len(SHOWN) :])]


def statistics(sessions: Iterable[Session], tokens: Iterable[Tokens]) -> Statistics:
    """Samples of every (role, statistic)."""
    found: dict[tuple[str, str], list[tuple[Floats, float, str]]] = {}
    for s in sessions:
        for name, values in session_rows(s):
            found.setdefault((s.role, name), []).append((values, s.weight / len(values), s.owner))
    tokens = list(tokens)
    size = Counter[str]()
    for t in tokens:
        size[t.source] += len(t.inputs[:LONGEST])
    for t in tokens:
        for name, values in (("input tokens", t.inputs), ("output tokens", t.outputs)):
            if len(values):
                found.setdefault((t.role, name), []).append((values[:LONGEST], 1 / size[t.source], t.owner))
    return {key: _sample(parts) for key, parts in found.items()}


def _sample(parts: list[tuple[Floats, float, str]]) -> Sample:
    counts = [len(v) for v, _, _ in parts]
    weights = np.repeat([w for _, w, _ in parts], counts)
    owners = np.repeat(np.array([o for _, _, o in parts], object), counts)
    return Sample(np.concatenate([v for v, _, _ in parts]), weights / weights.sum(), owners)


def quantiles(s: Sample, levels: Iterable[float]) -> Floats:
    """Weighted quantiles."""
    order = np.argsort(s.values)
    mass = np.cumsum(s.weights[order]) - s.weights[order] / 2
    return np.asarray(np.interp(np.asarray(list(levels)), mass / s.weights.sum(), s.values[order]))


def distance(name: str, a: Sample, b: Sample) -> float:
    """KS between weighted samples; for pooled gaps 1-Wasserstein between their logs."""
    values = np.concatenate([a.values, b.values])
    order = np.argsort(values, kind="stable")
    step = np.concatenate([a.weights / a.weights.sum(), -b.weights / b.weights.sum()])[order]
    apart, at = np.abs(np.cumsum(step)), values[order]
    if name == "pooled gaps":
        return float((apart[:-1] * np.diff(np.log(at))).sum())
    return float(apart[np.append(np.diff(at) > 0, True)].max())


def yardstick(name: str, s: Sample, seed: int = 0) -> float:
    """Mean distance between two random halves of the owners."""
    rng = np.random.default_rng(seed)
    owners, index = np.unique(s.owners.astype(str), return_inverse=True)
    found = []
    for _ in range(HALVINGS):
        one = (rng.permutation(len(owners)) < len(owners) / 2)[index]
        a, b = (Sample(s.values[m], s.weights[m], s.owners[m]) for m in (one, ~one))
        found.append(distance(name, a, b))
    return float(np.mean(found))


def summaries(real: Statistics) -> dict[str, Any]:
    """What is shipped of the real side: `{role: {statistic: [yardstick, 51 quantiles...]}}`."""
    out: dict[str, Any] = {}
    for (role, name), s in real.items():
        row = [yardstick(name, s), *quantiles(s, LEVELS)]
        out.setdefault(role, {})[name] = [float(f"{v:.4g}") for v in row]
    return out


def shipped() -> tuple[Statistics, dict[tuple[str, str], float]]:
    """The real side and its yardsticks from the shipped laws, quantiles in place of samples."""
    rows = {(role, name): v for role, part in laws()["real"].items() for name, v in part.items()}
    none = np.full(len(LEVELS), "", object)
    weights = np.full(len(LEVELS), 1 / len(LEVELS))
    return {k: Sample(np.array(v[1:]), weights, none) for k, v in rows.items()}, {k: v[0] for k, v in rows.items()}


def cut(traffic: Any) -> tuple[list[Session], list[Tokens]]:
    """Sessions and tokens of traffic: a frame or Arrow table of account_id, session_id, timestamp, input_tokens,
    output_tokens and clock."""
    frame = traffic if isinstance(traffic, pd.DataFrame) else traffic.to_pandas()
    frame = frame[frame["clock"].isin(list(ROLE))]
    sessions, tokens = [], []
    for account, rows in frame.groupby("account_id", sort=True):
        rows, role = rows.sort_values("timestamp", kind="stable"), ROLE[str(rows["clock"].iloc[0])]
        times = _seconds(rows["timestamp"])
        ids = rows["session_id"] if role in ("people", "coding") else pd.Series(np.nan, rows.index)
        parts = CUT[role](times, ids)
        weight = 1.0 if role in ("people", "coding") else 1 / max(len(parts), 1)
        sessions += [Session(role, "", str(account), g, len(g) + 1, weight) for g in parts]
        if role == "coding":  # the first 100 of a session, as of the traces
            rows = rows[rows.groupby("session_id", dropna=False).cumcount() < LONGEST]
        usage = rows[["input_tokens", "output_tokens"]].dropna().to_numpy(float).T
        pieces = [usage[:, k : k + LONGEST] for k in range(0, usage.shape[1], LONGEST)]
        tokens += [Tokens(role, "", str(account), *u) for u in pieces if role in ("coding", "service")]
    return sessions, tokens


def _seconds(stamps: Any) -> Floats:
    if pd.api.types.is_numeric_dtype(stamps):
        return np.asarray(stamps, float)
    return np.asarray((stamps - stamps.iloc[0]) / pd.Timedelta(seconds=1), float)


def _by_session(times: Floats, ids: Any) -> list[Floats]:
    """Gaps by session id; where it is null, cut at 30 idle minutes."""
    names = np.asarray(ids, object)
    null = pd.isna(names)
    names = np.where(null, np.cumsum(np.diff(times, prepend=times[0]) > IDLE), names).astype(str)
    order = np.argsort(names, kind="stable")
    edges = np.flatnonzero(names[order][1:] != names[order][:-1]) + 1
    return [np.diff(t) for t in np.split(times[order], edges)]


def _by_window(times: Floats, ids: Any) -> list[Floats]:
    out, i = [], 0
    while i < len(times):
        j = int(np.searchsorted(times, times[i] + WINDOW))
        if FEWEST <= j - i <= MOST:
            out.append(np.diff(times[i:j]))
        i = j
    return out


CUT: dict[str, Callable[[Floats, Any], list[Floats]]] = {
    "people": _by_session, "coding": _by_session, "service": _by_window, "evaluation": lambda times, ids: blocks(times),
}  # fmt: skip


def sides(corpora: Path | None, traffic: Any) -> tuple[Statistics, dict[tuple[str, str], float], Statistics]:
    """Real samples, their yardsticks, simulated samples."""
    if corpora:
        real = statistics(real_sessions(corpora), real_tokens(corpora))
        yards = {k: yardstick(k[1], s) for k, s in real.items()}
    else:
        real, yards = shipped()
    return real, yards, statistics(*cut(traffic))


def compare(corpora: Path | None, traffic: Any) -> pd.DataFrame:
    """A row a (role, statistic): quantiles of both sides, distance, yardstick and their ratio; `n` simulated values."""
    real, yards, simulated = sides(corpora, traffic)
    rows = []
    for key in (k for k in real if k in simulated):
        a, b = real[key], simulated[key]
        apart = distance(key[1], a, b)
        row: dict[str, Any] = {"role": key[0], "statistic": key[1], "n": len(b.values)}
        row |= {f"real p{round(100 * p)}": v for p, v in zip(SHOWN, quantiles(a, SHOWN), strict=True)}
        row |= {f"simulated p{round(100 * p)}": v for p, v in zip(SHOWN, quantiles(b, SHOWN), strict=True)}
        rows.append(row | {"distance": apart, "yardstick": yards[key], "ratio": apart / yards[key]})
    return pd.DataFrame(rows)


def unit(statistic: str) -> str:
    """What a statistic is measured in."""
    for word, name in (("gap", "seconds"), ("turns", "exchanges"), ("tokens", "tokens")):
        if word in statistic:
            return name
    return "no unit"


def plots(corpora: Path | None, traffic: Any) -> dict[str, Any]:
    """A figure a role: cumulative distributions of every statistic, real and simulated; log axis but for burstiness."""
    from matplotlib.figure import Figure

    real, _, simulated = sides(corpora, traffic)
    figures = {}
    for role in dict.fromkeys(r for r, _ in real if (r, "cv") in simulated):
        keys = [k for k in real if k[0] == role and k in simulated]
        figure = Figure(figsize=(14, 3 * -(-len(keys) // 4)), layout="constrained")
        for i, key in enumerate(keys):
            axes = figure.add_subplot(-(-len(keys) // 4), 4, i + 1)
            for side, label in ((real[key], "real"), (simulated[key], "simulated")):
                levels = np.linspace(0.005, 0.995, 199)
                axes.plot(quantiles(side, levels), levels, label=label)
            axes.set_title(key[1])
            axes.set_xlabel(unit(key[1]))
            axes.set_ylabel("share of values at most x")
            if key[1] != "burstiness":
                axes.set_xscale("log")
        figure.axes[0].legend()
        figure.suptitle(role)
        figures[role] = figure
    return figures
