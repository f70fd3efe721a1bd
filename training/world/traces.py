"""Real arrival times and tokens, read from a corpora directory and cut into sessions.

Simulated traffic is cut by the same rules (`clock_report.cut`):

people            a session is a conversation: RealHumanEval and hotel_ja units, Mooncake requests that extend one
                  another's prefix (one hour, so long ones are cut), a developer's turns inside a coding session
coding agents     a session is a trace, pauses of hours included; requests of sub-agents are left out
API clients       600 s windows of 10 to 120 requests; the trace has no slower ones. Its gaps are published as a law
                  (Gamma or Weibull) a window: gaps here are the quantiles of that law
evaluation runs   three runs, cut where nothing came for 30 minutes, then into blocks of 25 answers (completion times)

Left out: IRC (people talk to each other, to the minute), tutoring (one to three turns), code suggestions (keystrokes).
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
PEOPLE = {"realhumaneval": 0.4, "mooncake": 0.25, "developers": 0.25, "hotel_ja": 0.1}  # shares of the class
LEAST, IDLE, WINDOW, BLOCK = 4, 1800.0, 600.0, 25
FEWEST, MOST = 10, 120
EVALUATIONS = ("gpt_3.5_turbo_0125", "gpt_4_0314", "gpt_4_0613")


@dataclass(frozen=True)
class Session:
    """One session, window or block: its owner (user, client or run), gaps in seconds (turns - 1), its weight."""

    role: str
    source: str
    owner: str
    gaps: Floats
    turns: int
    weight: float
    cv: float | None = None  # where the trace says it
    stay: bool = False  # API clients: the window before was active too


@dataclass(frozen=True)
class Tokens:
    """Tokens of the exchanges of one session (or minute, where users are not named)."""

    role: str
    source: str
    owner: str
    inputs: Floats
    outputs: Floats


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as f:
        for line in f:
            yield json.loads(line)


def _table(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as f:
        yield from csv.DictReader(f)


def real_sessions(corpora: Path) -> list[Session]:
    """Every session of the real traces, cut as the module says."""
    clocks = Path(corpora) / "clocks"
    agents = list(_rows(clocks / "coding_agent_sessions.jsonl.gz"))
    people = {
        "realhumaneval": _units(Path(corpora) / "prompts" / "realhumaneval.jsonl.gz"),
        "hotel_ja": _units(Path(corpora) / "prompts" / "hotel_ja.jsonl.gz"),
        "mooncake": [np.array([t for t, _, _ in c]) for c in _conversations(clocks)],
        "developers": [t for t in map(_developer, agents) if len(t)],
    }
    out = [
        Session("people", name, f"{name}/{i}", np.diff(t), len(t), PEOPLE[name] / len(units))
        for name, units in people.items()
        for i, t in enumerate(units)
    ]
    for i, row in enumerate(agents):
        t = np.sort([r["t"] for r in row["requests"] if "in" in r])
        out.append(Session("coding", "agents", f"agents/{i}", np.diff(t), len(t), 1.0))
    return [*out, *_windows(clocks / "api_clients.csv.gz"), *_runs(clocks)]


def _units(path: Path) -> list[Floats]:
    units: dict[str, list[float]] = {}
    for r in _rows(path):
        units.setdefault(str(r["unit"]), []).append(float(r["t"]))
    return [np.sort(t) for t in units.values()]


def _developer(row: dict[str, Any]) -> Floats:
    """Times of a person's turns to an agent: text after the agent had ended its turn, no tool result."""
    out, stop = [], "end_turn"
    for r in sorted((r for r in row["requests"] if "in" in r), key=lambda r: r["t"]):
        if stop in ("end_turn", "") and "text" in r["input_types"] and "tool_result" not in r["input_types"]:
            out.append(float(r["t"]))
        stop = r["stop"]
    return np.array(out)


def _conversations(clocks: Path) -> list[list[tuple[float, float, float]]]:
    """(seconds, input, output tokens) of Mooncake's requests, by conversation: each extends another's hashed prefix."""
    seen: dict[tuple[int, ...], int] = {}
    out: dict[int, list[tuple[float, float, float]]] = {}
    for i, r in enumerate(_rows(clocks / "mooncake_conversation.jsonl.gz")):
        h = tuple(r["hash_ids"])
        parent = next((seen[h[:n]] for n in range(len(h) - 1, 1, -1) if h[:n] in seen), i)
        row = (r["timestamp"] / 1000, float(r["input_length"]), float(r["output_length"]))
        out.setdefault(parent, []).append(row)
        seen.update((h[:n], parent) for n in range(2, len(h) + 1))
    return list(out.values())


def _windows(path: Path) -> list[Session]:
    """Windows of the clients of a large provider; each client counts once."""
    clients: dict[str, list[tuple[float, int, float, Floats]]] = {}
    for r in _table(path):
        n = round(float(r["rate_rps"] or 0) * WINDOW)
        if FEWEST <= n <= MOST and float(r["cv"] or 0) > 0:
            gaps = _law_gaps(r["pattern"], float(r["p1"]), n)
            clients.setdefault(f"{r['model']}/{r['client']}", []).append((float(r["t_s"]), n, float(r["cv"]), gaps))
    out = []
    for owner, rows in clients.items():
        rows.sort(key=lambda r: r[0])
        for (t, n, cv, gaps), before in zip(rows, [-1e9, *(r[0] for r in rows)], strict=False):
            stay = t - before < 1.5 * WINDOW
            out.append(Session("service", "clients", owner, gaps, n, 1 / len(rows), cv, stay))
    return out


def _law_gaps(pattern: str, shape: float, n: int) -> Floats:
    """`n` quantiles of a window's fitted law, scaled to fill the window."""
    from scipy.special import gammaincinv

    p = (np.arange(n) + 0.5) / n
    gaps = gammaincinv(shape, p) if pattern == "Gamma" else (-np.log1p(-p)) ** (1 / shape)
    return np.asarray(gaps * WINDOW / gaps.sum() + 1e-6)


def _runs(clocks: Path) -> list[Session]:
    out = []
    for name in EVALUATIONS:
        t = np.sort([float(r["t"]) for r in _rows(clocks / f"evaluation_run_{name}.jsonl.gz")])
        parts = blocks(t)
        out += [Session("evaluation", "runs", name, g, len(g) + 1, 1 / len(parts)) for g in parts]
    return out


def blocks(times: Floats) -> list[Floats]:
    """Gaps of the whole blocks of 25 exchanges in runs cut at 30 idle minutes; both sides are cut so."""
    parts = np.split(times, np.flatnonzero(np.diff(times) > IDLE) + 1)
    return [np.diff(p[i : i + BLOCK]) for p in parts for i in range(0, len(p) - BLOCK + 1, BLOCK)]


def real_tokens(corpora: Path) -> list[Tokens]:
    """Tokens of coding agents (by session) and of two chat services (by conversation, by minute)."""
    clocks = Path(corpora) / "clocks"
    out = []
    for i, row in enumerate(_rows(clocks / "coding_agent_sessions.jsonl.gz")):
        rs = sorted((r for r in row["requests"] if "in" in r), key=lambda r: r["t"])
        counts = np.array([[r["in"], r["out"]] for r in rs], float).reshape(-1, 2)
        out.append(Tokens("coding", "agents", f"agents/{i}", *counts.T))
    for i, c in enumerate(_conversations(clocks)):
        out.append(Tokens("service", "mooncake", f"mooncake/{i}", *np.array(c).T[1:]))
    minutes: dict[str, list[tuple[float, float]]] = {}
    for r in _table(clocks / "azure_conversation.csv.gz"):
        row_ = (float(r["ContextTokens"]), float(r["GeneratedTokens"]))
        minutes.setdefault(r["TIMESTAMP"][:16], []).append(row_)
    return out + [Tokens("service", "azure", k, *np.array(v).T) for k, v in minutes.items()]
