"""Conversation shape on conversations of known depth."""

import math

import pytest
from builders import exchange, values_of, window_of

NOON = 1_772_366_400


def conversation(*depths: int | None) -> dict[str, float]:
    return values_of(
        window_of(exchange(exchange_id=str(i), timestamp=NOON + i, n_messages=d) for i, d in enumerate(depths))
    )


def test_depths() -> None:
    """1, 1, 3 and 9: half alone, half follow up, a quarter is beyond the eighth message; bins of 2, 1 and 1."""
    found = conversation(1, 1, 3, None, 9)
    assert (found["single_turn_share"], found["follow_up_share"], found["deep_share"]) == (0.5, 0.5, 0.25)
    expected = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)) / math.log(7)
    assert found["depth_entropy"] == pytest.approx(expected)
    assert found["depth_max"] == pytest.approx(math.log2(9))


@pytest.mark.parametrize(
    ("depth", "alone", "follows", "deep"), [(1, 1, 0, 0), (2, 0, 0, 0), (3, 0, 1, 0), (8, 0, 1, 0), (9, 0, 1, 1)]
)
def test_where_the_shares_begin(depth: int, alone: int, follows: int, deep: int) -> None:
    found = conversation(depth)
    assert (found["single_turn_share"], found["follow_up_share"], found["deep_share"]) == (alone, follows, deep)
    assert math.isnan(found["depth_entropy"])


def test_the_depth_of_a_chat_is_known_from_its_messages() -> None:
    turns = [{"role": role, "content": "hello"} for role in ("system", "user", "assistant", "user")]
    found = values_of(window_of([exchange(prompt=None, messages=turns)]))
    assert found["depth_max"] == pytest.approx(math.log2(3))
