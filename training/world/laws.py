"""The laws of the clocks: fitted to real traces by `fit_laws(corpora)`, shipped as text/clocks.json, read by `laws()`.

What is kept is aggregated: quantile functions of log gaps of session profiles (k-means centres over real sessions),
their turns and lag correlations, requests and CV of API clients' windows, token quantiles by depth, and 51 quantiles
of every statistic that `clock_report` compares, with its yardstick. No row of a trace is kept.
"""

import json
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.world.traces import EVALUATIONS, LEAST, PEOPLE, Session, Tokens, real_sessions, real_tokens

Floats = NDArray[np.float64]
KNOTS = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 1])
LEVELS = (np.arange(51) + 0.5) / 51
DEPTHS = np.array([0, 1, 4, 11, 31, 100])
FILE = Path(__file__).parents[1] / "text" / "clocks.json"


@dataclass(frozen=True)
class Profiles:
    """Fitted session profiles: cumulated weight (P,), log gaps (P, knots), shift (P,), log turns (P, 2), lag (P,)."""

    mass: Floats
    gaps: Floats
    shift: Floats
    turns: Floats
    lag: Floats
    usual: float  # mean turns


@cache
def laws() -> dict[str, Any]:
    """The shipped laws, arrays where numbers."""
    raw: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    for kind in ("people", "coding"):
        t = {k: np.array(v, float) for k, v in raw[kind].items()}
        mass = np.cumsum(t["weight"]) / t["weight"].sum()
        usual = float((t["weight"] * np.exp(t["turns"][:, 0])).sum() / t["weight"].sum())
        raw[kind] = Profiles(mass, t["gaps"], t["shift"], t["turns"], t["lag"], usual)
    service = {k: np.array(v, float) for k, v in raw["service"].items()}
    raw["service"] = service | {"mass": np.cumsum(service["weight"]) / service["weight"].sum()}
    raw["chat"] = np.cumsum(raw["chat"])
    raw["tokens"] = {k: np.array(v, float) for k, v in raw["tokens"].items()}
    return raw


def fit_laws(corpora: Path) -> dict[str, Any]:
    """All laws and summaries; deterministic. Write the answer to `FILE` with `save`."""
    from training.world.clock_report import statistics, summaries

    sessions, tokens = real_sessions(corpora), real_tokens(corpora)
    people = [_profiles([s for s in sessions if s.source == name], 48) for name in PEOPLE]
    runs = {o: np.concatenate([s.gaps for s in sessions if s.owner == o]).mean() for o in EVALUATIONS}
    speed = np.log(list(runs.values()))
    return {
        "people": {k: [v for p in people for v in p[k]] for k in people[0]},
        "chat": _turns([s for s in sessions if s.source == "mooncake"]),
        "coding": _profiles([s for s in sessions if s.role == "coding"], 120),
        "service": _clients([s for s in sessions if s.role == "service"], 72),
        "evaluation": {"log_gap": round(float(speed.mean()), 3), "spread": round(float(speed.std(ddof=1)), 3)},
        "tokens": _token_laws(tokens),
        "real": summaries(statistics(sessions, tokens)),
    }


def save(laws: dict[str, Any], path: Path = FILE) -> None:
    """A row of numbers a line."""
    inner = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
    text = "{\n" + ",\n".join(f'"{k}": {_dump(v, inner)}' for k, v in laws.items()) + "\n}\n"
    path.write_text(text, "utf-8")


def _dump(value: Any, encoder: json.JSONEncoder) -> str:
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f'"{k}": {_dump(v, encoder)}' for k, v in value.items()) + "}"
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + ",\n".join(encoder.encode(v) for v in value) + "]"
    return encoder.encode(value)


def _round(values: Any, digits: int = 3) -> list[Any]:
    rounded: list[Any] = np.round(np.asarray(values, float), digits).tolist()
    return rounded


def _means(features: Floats, k: int) -> NDArray[np.int64]:
    """Cluster of each row; features are standardised."""
    from sklearn.cluster import KMeans

    scaled = (features - features.mean(0)) / (features.std(0) + 1e-9)
    k = min(k, max(1, int(len(features) / 1.5)))
    return np.asarray(KMeans(k, n_init=4, random_state=0).fit_predict(scaled))


def _profiles(sessions: list[Session], k: int) -> dict[str, list[Any]]:
    """Session profiles: mean quantile function of log gaps, log turns, lag correlation; 1-3 turns in rows apart."""
    whole = [s for s in sessions if s.turns >= LEAST]
    logs = [np.log(np.maximum(s.gaps, 0.05)) for s in whole]
    knots = np.array([np.quantile(x, KNOTS) for x in logs])
    turns = np.log([s.turns for s in whole])
    lag = np.array([_lag(x) for x in logs])
    label = _means(np.column_stack([knots[:, [0, 3, 6, 9, 12]], turns, lag]), k)
    out: dict[str, list[Any]] = {key: [] for key in ("weight", "gaps", "shift", "turns", "lag")}
    weight = np.array([s.weight for s in whole])
    for c in range(int(label.max()) + 1):
        at = label == c
        size = (float(turns[at].mean()), float(turns[at].std()))
        _append(out, weight[at].sum(), knots[at].mean(0), knots[at, 6].std(), size, lag[at].mean())
    for n in range(1, LEAST):
        few = sum(s.weight for s in sessions if s.turns == n)
        if few:
            _append(out, few, knots.mean(0), knots[:, 6].std(), (np.log(n), 0.0), 0.0)
    return out


def _append(
    out: dict[str, list[Any]], weight: float, gaps: Floats, shift: float, turns: tuple[float, float], lag: float
) -> None:
    row = (round(float(weight), 6), _round(gaps), round(float(shift), 3), _round(turns), round(float(lag), 3))
    for key, value in zip(out, row, strict=True):
        out[key].append(value)


def _lag(x: Floats) -> float:
    """Lag-1 correlation of log gaps, shrunk towards 0 where there are few."""
    d = x - x.mean()
    return float((d[1:] * d[:-1]).sum() / ((d * d).sum() + 1e-9) * len(x) / (len(x) + 8))


def _turns(sessions: list[Session]) -> list[float]:
    """Shares of conversations of 1, 2, ... 40 turns of a chat service."""
    count = np.bincount([min(s.turns, 40) for s in sessions], minlength=41)[1:]
    return _round(count / count.sum(), 5)


def _clients(sessions: list[Session], k: int) -> dict[str, list[Any]]:
    """Profiles of clients: quantile functions of log requests and log CV of windows, share of windows in a row."""
    owners: dict[str, list[Session]] = {}
    for s in sessions:
        owners.setdefault(s.owner, []).append(s)
    sizes = np.array([np.quantile(np.log([s.turns for s in v]), KNOTS) for v in owners.values()])
    cvs = np.array([np.quantile(np.log([s.cv or 1 for s in v]), KNOTS) for v in owners.values()])
    stay = np.array([np.mean([s.stay for s in v]) for v in owners.values()])
    label = _means(np.column_stack([sizes[:, 1:-1:2], cvs[:, 1:-1:2], stay]), k)
    groups = [label == c for c in range(int(label.max()) + 1)]
    return {
        "weight": _round([g.sum() for g in groups], 0),
        "requests": [_round(sizes[g].mean(0)) for g in groups],
        "cv": [_round(cvs[g].mean(0)) for g in groups],
        "stay": _round([stay[g].mean() for g in groups]),
    }


def _token_laws(tokens: list[Tokens]) -> dict[str, Any]:
    """Quantiles of log tokens, of agents' input by depth; `between` is the sessions' share of the variance."""
    agents = [t for t in tokens if t.role == "coding"]
    edges = [*DEPTHS, 10**9]
    falls = np.concatenate([np.diff(np.log(np.maximum(t.inputs, 1))) for t in agents])
    laws: dict[str, Any] = {
        "coding_in": [_quantiles(np.concatenate([t.inputs[a:b] for t in agents])) for a, b in pairwise(edges)],
        "coding_reset": round(float(np.mean(np.abs(falls) > 0.4)), 4),
        "coding_out": _quantiles(np.concatenate([t.outputs for t in agents])),
        "between": round(_between([np.log(np.maximum(t.outputs, 1)) for t in agents if len(t.outputs) >= 8]), 3),
    }
    for name in ("azure", "mooncake"):
        own = [t for t in tokens if t.source == name]
        laws[f"{name}_in"] = _quantiles(np.concatenate([t.inputs for t in own]))
        laws[f"{name}_out"] = _quantiles(np.concatenate([t.outputs for t in own]))
    return laws


def _quantiles(tokens: Floats) -> list[Any]:
    return _round(np.quantile(np.log(np.maximum(tokens, 1)), np.linspace(0, 1, 33)))


def _between(groups: list[Floats]) -> float:
    within = np.mean([g.var(ddof=1) for g in groups])
    return float(np.clip(1 - within / np.concatenate(groups).var(), 0.0, 1.0))
