"""Crowds whose members are known: samples of accounts that share a list or do not, traffic of four kinds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from builders import exchange
from numpy.typing import NDArray

from fingerprint.campaigns.find import State
from fingerprint.campaigns.sample import FACTS, Sample
from fingerprint.exchange import Names
from fingerprint.kernels.layout import MISSING, W
from fingerprint.readers import Rejects, read

Record = dict[str, Any]
MONDAY = 1_772_409_600  # 2026-03-02
DAY = 86_400
TEMPLATES = {
    "ring": "You are an expert author of flawless worked answers for students. Take the following question: {} "
    "Think about it step by step and then return the final answer as one JSON object.",
    "class": "Our homework for this week asks the following exercise about numbers and shapes: {} Please explain "
    "to me how one solves it without giving the final result away too early.",
    "app": "Welcome to the friendly kitchen helper which plans the meals of families. The customer wrote this: {} "
    "Answer within the voice of our brand and keep the answer shorter than a page.",
}
HARVESTERS, PUPILS, USERS, OTHERS = 12, 12, 12, 40


def sample_of(
    account: Any,
    content: NDArray[np.floating[Any]],
    *,
    head: Any = 0,
    tail: Any = 0,
    prompt: Any = None,
    time_us: Any = 0,
    **facts: Any,
) -> Sample:
    """A sample with these columns; content is made unit vectors times 127, prompts are distinct unless given, and no
    fact of ``FACTS`` is told but those given."""
    m = len(account)
    when = np.zeros((m, len(W)), np.int64)
    when[:, W["time_us"]], when[:, W["head"]], when[:, W["tail"]] = time_us, head, tail
    when[:, W["prompt"]] = np.arange(m) + 1 if prompt is None else prompt
    unit = np.round(127 * content / np.linalg.norm(content, axis=1, keepdims=True)).astype(np.int8)
    identity = np.arange(m).astype(np.uint64)
    told = np.full((m, len(FACTS)), MISSING, np.int32)
    for name, value in facts.items():
        told[:, FACTS.index(name)] = value
    rest = np.zeros((m, 24), np.int16), unit, np.zeros((m, 32), np.int8), told
    return Sample(np.asarray(account, np.int32), identity, when, *rest)


def drawn(
    accounts: int, rows: int, seed: int = 0, topics: float = 0.0
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Accounts and content of ``rows`` rows each; with ``topics`` every account has one of its own, that strong."""
    rng = np.random.default_rng(seed)
    account = np.repeat(np.arange(accounts, dtype=np.int32), rows)
    return account, rng.normal(size=(len(account), 32)) + topics * rng.normal(size=(accounts, 32))[account]


def words(rng: np.random.Generator, count: int, of: int = 4000, first: int = 0) -> str:
    """Made-up words, the same for the same numbers."""
    parts = [
        "ba",
        "ce",
        "di",
        "fo",
        "gu",
        "ha",
        "je",
        "ki",
        "lo",
        "mu",
        "na",
        "pe",
        "ri",
        "so",
        "tu",
        "va",
        "we",
        "xi",
        "yo",
        "zu",
    ]
    number = rng.integers(first, first + of, count)
    return " ".join("".join(parts[n // 20**place % 20] for place in range(4)) for n in number)


def crowd(
    seed: int = 0, harvesters: int = HARVESTERS, rows: int = 20, template: str = TEMPLATES["ring"]
) -> list[Record]:
    """Three days: a ring that divides one list, a class, the users of an app, and people; in the order of time.

    ``logprobs``, which the toy bundle's score follows, is true in the ring alone.
    """
    rng = np.random.default_rng(seed)
    exercises = [words(rng, 12) for _ in range(rows)]
    asked: list[tuple[str, str]] = []
    for i in range(harvesters):
        asked += [(f"ring-{i}", template.format(words(rng, 12))) for _ in range(rows)]
    for i in range(PUPILS):
        asked += [(f"class-{i}", TEMPLATES["class"].format(text)) for text in exercises]
    for i in range(USERS):
        asked += [(f"app-{i}", TEMPLATES["app"].format(words(rng, 12, 15, 5000 + 50 * i))) for _ in range(rows)]
    for i in range(OTHERS):
        asked += [(f"person-{i}", words(rng, int(rng.integers(3, 60)), 40, 9000 + 100 * i)) for _ in range(rows)]
    times = np.round(rng.uniform(0, 3 * DAY, len(asked)), 3)
    return [
        exchange(
            exchange_id=f"{seed}-{i}",
            account_id=asked[i][0],
            timestamp=float(MONDAY + times[i]),
            prompt=asked[i][1],
            logprobs=asked[i][0].startswith("ring"),
        )
        for i in np.argsort(times)
    ]


def days_of(records: list[Record]) -> list[list[Record]]:
    """The same records, cut at midnight."""
    return [[r for r in records if (r["timestamp"] - MONDAY) // DAY == day] for day in range(3)]


def written(path: Path, records: list[Record]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def after(state: State, scorer: Any, path: Path | None) -> State:
    """The state with a file of traffic, or without any."""
    sessions = Names()
    assembler, names, keeper = state.assembler(scorer, sessions)
    for batch in read(str(path), accounts=names, sessions=sessions, rejects=Rejects()) if path else ():
        assembler.add(batch)
    return state.after(names, assembler.account_windows(), keeper)
