"""Capability targeting with prompt heads that say the same of every prompt, so that the values are known."""

import math

import numpy as np
import pytest
from builders import exchange, values_of, window_of

from fingerprint.head import Head
from fingerprint.kernels.layout import CAPABILITIES, HEAD_OUTPUTS

NOON = 1_772_366_400
HOUR = 3600


def saying(capability: str | None = None, likeness: float = 0.0) -> Head:
    """A head without weights: its biases are what it says of any prompt."""
    blank = Head.blank()
    bias = np.zeros(HEAD_OUTPUTS)
    bias[-1] = likeness
    if capability:
        bias[CAPABILITIES.index(capability)] = 15
    return Head(blank.weights, blank.scale, bias)


def window(*said: Head, step: int = HOUR, prompts: list[str] | None = None):
    """One exchange for each head, read by it."""
    out = None
    for i, head in enumerate(said):
        prompt = (prompts or ["hello there"] * len(said))[i]
        record = exchange(exchange_id=str(i), timestamp=NOON + step * i, prompt=prompt)
        out = window_of([record], head, out)
    assert out is not None
    return out


def test_a_head_that_knows_nothing_is_even() -> None:
    found = values_of(window(*[saying()] * 3))
    assert [found[f"capability_{name}"] for name in CAPABILITIES] == pytest.approx([1 / 12] * 12)
    assert found["capability_concentration"] == pytest.approx(1 / 12)
    assert found["capability_entropy"] == pytest.approx(1)
    assert (found["likeness_mean"], found["likeness_spread"]) == (0, 0)


@pytest.mark.parametrize("name", CAPABILITIES)
def test_one_capability_takes_all(name: str) -> None:
    found = values_of(window(*[saying(name)] * 3))
    assert found[f"capability_{name}"] == 1
    assert (found["capability_concentration"], found["capability_entropy"]) == (1, 0)
    assert sum(found[f"capability_{other}"] for other in CAPABILITIES) == 1


def test_two_capabilities_share() -> None:
    found = values_of(window(saying("tool_use"), saying("chat"), saying("chat"), saying("chat")))
    assert (found["capability_tool_use"], found["capability_chat"]) == (0.25, 0.75)
    assert found["capability_concentration"] == 0.625
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(12)
    assert found["capability_entropy"] == pytest.approx(expected)


def test_breadth_is_one_skill_over_many_topics() -> None:
    narrow = ["explain glaciers slowly please"] * 3
    broad = ["bananas ripening warehouse", "mortgage amortisation schedule", "tardigrade cryptobiosis proteins"]
    heads = [saying("reasoning")] * 3
    assert values_of(window(*heads, prompts=narrow))["capability_breadth"] == pytest.approx(0, abs=0.03)
    assert values_of(window(*heads, prompts=broad))["capability_breadth"] > 0.6
    assert values_of(window(*[saying()] * 3, prompts=broad))["capability_breadth"] < 0.15


def test_likeness_of_one_logit() -> None:
    """A logit of 2.5 lies in the bin from 2 to 3; quantiles are linear in it."""
    found = values_of(window(*[saying(likeness=2.5)] * 4))
    assert (found["likeness_mean"], found["likeness_spread"]) == (2.5, 0)
    assert [found[f"likeness_p{level}"] for level in (50, 75, 90)] == pytest.approx([2.5, 2.75, 2.9])
    assert (found["likeness_share"], found["likeness_high_share"]) == (1, 1)


def test_a_harvest_below_cover_shows_in_the_upper_quantiles() -> None:
    """One of five prompts at 5 logits, the others at -3: mean -1.4, the p90 in the bin of the harvest."""
    found = values_of(window(*[saying(likeness=-3)] * 4, saying(likeness=5)))
    assert found["likeness_mean"] == pytest.approx(-1.4)
    assert found["likeness_spread"] == pytest.approx(np.std([-3, -3, -3, -3, 5], ddof=1))
    assert found["likeness_p50"] < -2
    assert 5 <= found["likeness_p90"] <= 6
    assert (found["likeness_share"], found["likeness_high_share"]) == pytest.approx((0.2, 0.2))
    mild = values_of(window(saying(likeness=-1), saying(likeness=1)))
    assert (mild["likeness_share"], mild["likeness_high_share"]) == (0.5, 0)


def test_likeness_is_bounded() -> None:
    found = values_of(window(saying(likeness=99), saying(likeness=-99)))
    assert found["likeness_spread"] == pytest.approx(16 / math.sqrt(2), abs=0.01)
    assert found["likeness_mean"] == pytest.approx(0, abs=0.01)


def test_a_probe_that_turns_into_a_harvest_rises() -> None:
    """Two times, two values: a correlation of one, times root (n - 1) / n for the sample deviation."""
    rising = [saying(likeness=0)] * 2 + [saying(likeness=4)] * 2
    times = [0, 0, 1, 1]

    def at(heads: list[Head]) -> dict[str, float]:
        out = None
        for i, (head, day) in enumerate(zip(heads, times, strict=True)):
            out = window_of([exchange(exchange_id=str(i), timestamp=NOON + 86400 * day)], head, out)
        assert out is not None
        return values_of(out)

    assert at(rising)["likeness_trend"] == pytest.approx(math.sqrt(3 / 4), abs=0.01)
    assert at(rising[::-1])["likeness_trend"] == pytest.approx(-math.sqrt(3 / 4), abs=0.01)
    assert at([saying()] * 4)["likeness_trend"] == 0


def test_a_change_of_aim_moves_the_shares() -> None:
    """From all chat to all tool use over the middle of the time: each share moves half a deviation, 1 in all."""
    heads = [saying("chat")] * 2 + [saying("tool_use")] * 2
    out = None
    for i, head in enumerate(heads):
        out = window_of([exchange(exchange_id=str(i), timestamp=NOON + 86400 * (i // 2))], head, out)
    assert out is not None
    assert values_of(out)["capability_drift"] == pytest.approx(1, abs=0.01)
    assert values_of(window(*[saying("chat")] * 4, step=86400))["capability_drift"] == pytest.approx(0, abs=1e-6)


def test_no_trend_within_minutes() -> None:
    found = values_of(window(saying(likeness=0), saying(likeness=4), step=60))
    assert math.isnan(found["likeness_trend"])
    assert math.isnan(found["capability_drift"])
