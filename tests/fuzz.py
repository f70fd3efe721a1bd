"""Records that are nearly right: valid ones with a few things changed, seeded."""

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from builders import exchanges

from fingerprint.exchange import FIELDS

TEXTS = [
    *("", " ", "\0", "a\0b", "\ud800", "\udfff x", "\U0010ffff", "\ufffe", "\u202e", "e\u0301" * 30, "ﷺ" * 100),
    *("x" * 20_000, "\n" * 500, "{" * 500, "🧑‍🚀" * 50, "0", "true", "null", "NaN", "1e999", "-0", "\r\n"),
    *("2026-03-01T10:00:00Z", "2026-03-01T10:00:00", "2026-13-01T10:00:00Z", "2026-03-01T10:00:60Z"),
]  # fmt: skip
NUMBERS: list[Any] = [
    *(0, -0.0, -1, 1, 2, 0.5, 2**31 - 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**400, 1e308, -1e308, 5e-324),
    *(float("nan"), float("inf"), -float("inf"), True, False, 1.0, 7.5, 1_772_366_400, 4_102_444_799),
    *(np.int64(5), np.int8(-1), np.uint64(2**64 - 1), np.float32(0.5), np.float64("nan"), np.bool_(True), 3 + 4j),
]  # fmt: skip
OTHERS: list[Any] = [
    *(None, [], {}, (), set(), b"bytes", bytearray(b"x"), object(), range(3), [None], [[]], {"": None}, {1: 2}),
    *(np.array([1, 2]), np.array("text"), np.array(7), np.datetime64("2026-03-01"), len, float),
]  # fmt: skip
PARTS = (
    "role",
    "content",
    "type",
    "text",
    "ip_prefix",
    "asn",
    "user_agent",
    "ja4",
    "created_at",
    "plan",
    "payment_hash",
)


def _nested(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.3:
        return rng.choice((TEXTS, NUMBERS, OTHERS)[rng.randrange(3)])
    if rng.random() < 0.5:
        return [_nested(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(PARTS): _nested(rng, depth - 1) for _ in range(rng.randrange(4))}


@cache
def _deep() -> Any:
    value: Any = "x"
    for _ in range(5000):
        value = [value]
    return value


def _value(rng: random.Random, old: Any) -> Any:
    kind = rng.randrange(8)
    if kind == 0 and isinstance(old, str) and old:
        at = rng.randrange(len(old))
        return old[:at] + rng.choice(TEXTS) + old[at:]
    if kind == 1 and isinstance(old, str):
        ends = [rng.choice((0x80, 0x110000)) for _ in range(rng.randrange(20))]
        return "".join(chr(rng.randrange(end)) for end in ends)
    if kind == 2 and isinstance(old, int | float):
        return old * rng.choice((-1, 0.1, 1000, 1e-6, 10**9)) if abs(old) < 1e9 else -old
    if kind == 3:
        return rng.choice(NUMBERS)
    if kind == 4:
        return rng.choice(TEXTS)
    if kind == 5:
        return rng.choice(OTHERS)
    return _deep() if rng.random() < 0.02 else _nested(rng, 4)


def _change(rng: random.Random, record: dict[str, Any]) -> None:
    name = rng.choice(FIELDS)
    kind = rng.randrange(10)
    if kind == 0:
        record.pop(name, None)
    elif kind == 1:
        record[name] = record.get(rng.choice(FIELDS))
    elif kind == 2:
        record[rng.choice(TEXTS)] = _value(rng, None)
    elif kind == 3 and isinstance(record.get(name), dict):
        record[name] = record[name] | {rng.choice([*record[name], *PARTS]): _value(rng, None)}
    elif kind == 4:
        record["messages"] = [_nested(rng, 3) if rng.random() < 0.3 else {"role": "user", "content": _nested(rng, 2)}]
        record.pop("prompt" if rng.random() < 0.5 else name, None)
    elif kind == 5:
        record["timestamp"] = 1_772_000_000 + rng.choice((-1, 1)) * rng.choice((1, 86_400, 10**7, 10**9, 10**10))
    else:
        record[name] = _value(rng, record.get(name))


def mutated(count: int, seed: int, most: int = 4) -> Iterator[Any]:
    """``count`` records of 30 accounts with up to ``most`` changes each, one in 200 replaced by something else."""
    rng, valid = random.Random(seed), exchanges(500, seed, accounts=30)
    for i in range(count):
        record: Any = valid[i % len(valid)] | {"exchange_id": f"{seed}-{i}"}
        for _ in range(rng.randrange(most + 1)):
            _change(rng, record)
        yield _nested(rng, 3) if rng.random() < 0.005 else record
