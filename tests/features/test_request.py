"""Request shape on a few requests whose parameters are known."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from builders import exchange, values_of, window_of

NOON = 1_772_366_400


def request(*fields: dict[str, Any]) -> dict[str, float]:
    return values_of(
        window_of(exchange(exchange_id=str(i), timestamp=NOON + i, **given) for i, given in enumerate(fields))
    )


def each(name: str, values: Sequence[Any]) -> dict[str, float]:
    return request(*({name: value} for value in values))


def test_ceilings_are_in_powers_of_four() -> None:
    """64, 256, 1,024, .. are a bin apart, and what lies between two belongs to the upper one."""
    middles = [each("max_tokens", [ceiling] * 3)["ceiling_p50"] for ceiling in (64, 256, 1024, 4096, 16384, 99999)]
    assert [b - a for a, b in pairwise(middles)] == pytest.approx([1] * 5)
    assert each("max_tokens", [1000])["ceiling_p50"] == each("max_tokens", [1024])["ceiling_p50"]
    assert each("max_tokens", [64, 4096, 4096])["ceiling_p50"] == pytest.approx(middles[3] - 0.25)


def test_temperatures() -> None:
    """0, 0.3 and 1 are bins 0, 1 and 4 of the edges 0, 0.3, 0.6, 0.8 and 1."""
    found = each("temperature", [0, 0.3, 1.0])
    assert found["temperature_mean"] == pytest.approx(5 / 3)
    assert found["temperature_zero_share"] == pytest.approx(1 / 3)
    assert each("temperature", [2.0])["temperature_mean"] == 5


@pytest.mark.parametrize("name", ["logprobs", "reasoning", "stream"])
def test_flags_are_shares_of_what_is_known(name: str) -> None:
    assert each(name, [True, False, None, True, False])[f"{name}_share"] == 0.5
    assert each(name, [False, None])[f"{name}_share"] == 0
    assert math.isnan(each(name, [None])[f"{name}_share"])


def test_several_completions_and_tools() -> None:
    assert each("n", [1, 1, 4, None])["several_share"] == pytest.approx(1 / 3)
    assert each("tools", [[], ["search"], ["search", "run"], None])["tools_share"] == pytest.approx(2 / 3)


def test_stop_reasons() -> None:
    """The names of two vendors mean the same; an unknown one counts as a stop."""
    found = each("stop_reason", ["end_turn", "max_tokens", "length", "tool_calls", "refusal", "odd", "stop", None])
    names = ("stop_ceiling_share", "stop_tool_share", "stop_refusal_share")
    assert [found[name] for name in names] == pytest.approx([2 / 7, 1 / 7, 1 / 7])


def test_the_same_parameters_in_every_request() -> None:
    same = request(*[{"max_tokens": 512, "temperature": 0.7}] * 5)
    assert same["request_collision"] == 1
    other = request(*({"max_tokens": 100 * i, "temperature": i / 10} for i in range(12)))
    assert other["request_collision"] < 0.25


@pytest.mark.parametrize(("field", "name"), [("system", "system_collision"), ("model", "model_collision")])
def test_one_system_prompt_or_model_in_every_request(field: str, name: str) -> None:
    """What is absent is no value of its own."""
    assert each(field, ["a", "a", None, "a"])[name] == 1
    assert each(field, [f"value {i}" for i in range(16)])[name] < 0.2
    assert math.isnan(each(field, ["a", None, None])[name])
