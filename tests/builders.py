"""Small things that tests build: exchange records and prompt heads, all seeded."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fingerprint import FEATURES, Window, features
from fingerprint.contribution import read_exchange
from fingerprint.head import Head
from fingerprint.kernels.layout import HEAD_OUTPUTS

WORDS = [
    *["please", "write", "the", "code", "of", "a", "parser", "and", "explain", "step", "by", "step", "why", "tests"],
    *["fail", "12", "times?", "Return", "JSON:", "{x}"],
    *["\n", "-", "item", "translate", "наука", "推理", "を説明して", "réponds", "naïve", "über", "straße"],
]


def exchange(**fields: Any) -> dict[str, Any]:
    """One record with the needed fields, overridden by ``fields``; None removes a field."""
    record = {"exchange_id": "e", "account_id": "a", "timestamp": "2026-03-01T10:00:00Z", "prompt": "hello world"}
    return {name: value for name, value in (record | fields).items() if value is not None}


def exchanges(count: int, seed: int = 0, accounts: int = 1) -> list[dict[str, Any]]:
    """``count`` random records sorted by time; about a third of the optional fields is absent."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 40 * 86400 * 10, count)) / 10 + 1_772_000_000

    def maybe(value: Any) -> Any:
        return value if rng.random() < 0.65 else None

    return [
        exchange(
            exchange_id=f"{seed}-{i}",
            account_id=f"a{rng.integers(accounts)}",
            timestamp=float(times[i]),
            session_id=maybe(f"s{rng.integers(9)}"),
            model=maybe(f"m{rng.integers(3)}"),
            system=maybe("be brief"),
            prompt=" ".join(rng.choice(WORDS, rng.integers(0, 60))),
            n_messages=maybe(int(rng.integers(1, 40))),
            tools=maybe(["search"] * int(rng.integers(0, 3))),
            max_tokens=maybe(int(rng.integers(0, 9000))),
            temperature=maybe(float(rng.random())),
            n=maybe(int(rng.integers(1, 5))),
            logprobs=maybe(bool(rng.random() < 0.5)),
            reasoning=maybe(bool(rng.random() < 0.5)),
            stream=maybe(bool(rng.random() < 0.5)),
            input_tokens=maybe(int(rng.integers(0, 9000))),
            output_tokens=maybe(int(rng.integers(0, 9000))),
            stop_reason=maybe(str(rng.choice(["end_turn", "max_tokens", "tool_use", "refusal", "odd"]))),
            client=maybe({"ip_prefix": f"10.0.{rng.integers(99)}.0/24", "user_agent": f"ua{rng.integers(4)}"}),
            account=maybe({"created_at": "2026-01-01T00:00:00Z", "plan": "pro"}),
        )
        for i in range(count)
    ]


def random_head(seed: int = 0) -> Head:
    """A head with random weights: every prompt gets other integers."""
    rng = np.random.default_rng(seed)
    head = Head.blank()
    head.weights[:, :HEAD_OUTPUTS] = rng.integers(-20, 21, (len(head.weights), HEAD_OUTPUTS))
    return Head(head.weights, np.full(HEAD_OUTPUTS, 0.05), np.linspace(-1, 1, HEAD_OUTPUTS))


def window_of(records: Iterable[dict[str, Any]], head: Head | None = None, window: Window | None = None) -> Window:
    """Records in the order of time, streamed into one window as serving does it."""
    window, head = window or Window.empty(), head or Head.blank()
    for record in records:
        window.update(read_exchange(record, head, window.last_us))
    return window


def values_of(window: Window) -> dict[str, float]:
    """The features of a window by name."""
    return {feature.name: float(value) for feature, value in zip(FEATURES, features(window)[0], strict=True)}
