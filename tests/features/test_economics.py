"""Economics on exchanges with known tokens, ceilings and plans."""

import math
from typing import Any

import pytest
from builders import exchange, values_of, window_of

NOON = 1_772_366_400
HOUR = 3600


def economics(*fields: dict[str, Any], step: int = HOUR) -> dict[str, float]:
    return values_of(
        window_of(exchange(exchange_id=str(i), timestamp=NOON + step * i, **given) for i, given in enumerate(fields))
    )


def test_outputs() -> None:
    """255 and 1,023 tokens are 8 and 10 powers of two of one token more, in two of eight bins."""
    found = economics({"output_tokens": 255}, {"output_tokens": 1023}, {})
    assert found["output_mean"] == 9
    assert found["output_spread"] == pytest.approx(math.sqrt(2))
    assert found["output_entropy"] == pytest.approx(math.log(2) / math.log(8))
    assert economics({"output_tokens": 0})["output_mean"] == 0


def test_what_is_taken_for_what_is_given() -> None:
    """1,023 for 63 is four powers of two; the reverse is minus four; one without both counts for nothing."""
    found = economics(
        {"input_tokens": 63, "output_tokens": 1023}, {"input_tokens": 1023, "output_tokens": 63}, {"input_tokens": 9}
    )
    assert found["output_per_input"] == 0
    assert found["output_per_input_spread"] == pytest.approx(math.sqrt(32))
    assert economics({"input_tokens": 63, "output_tokens": 1023})["output_per_input"] == 4


def test_ceilings_that_are_used_up() -> None:
    hit, below, free = {"max_tokens": 100, "output_tokens": 100}, {"max_tokens": 100, "output_tokens": 99}, {}
    assert economics(hit, below, below, hit, free)["ceiling_hit_share"] == 0.5
    assert math.isnan(economics({"max_tokens": 0, "output_tokens": 0})["ceiling_hit_share"])


def test_tokens_an_hour() -> None:
    """3 x 1,024 tokens over two hours."""
    found = economics(*[{"output_tokens": 1024}] * 3)
    assert found["output_per_hour"] == pytest.approx(math.log2(3 * 1024 / 2))
    assert math.isnan(economics({"output_tokens": 1024})["output_per_hour"])
    assert economics({"output_tokens": 0}, {"output_tokens": 0})["output_per_hour"] == -16


def test_small_plans() -> None:
    """Four gaps of a quarter of an hour on a small plan: four an hour."""
    small, large = {"account": {"plan": "Pro"}}, {"account": {"plan": "enterprise"}}
    found = economics(*[small] * 5, step=900)
    assert (found["small_plan_share"], found["small_plan_rate"]) == (1, 2)
    big = economics(*[large] * 5, step=900)
    assert big["small_plan_share"] == 0
    assert math.isnan(big["small_plan_rate"])
    assert economics(small, large, large, {})["small_plan_share"] == pytest.approx(1 / 3)
