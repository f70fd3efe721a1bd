"""Prompt diversity on windows of a few hand-made prompts."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from builders import exchange, values_of, window_of

NOON = 1_772_366_400
DAY = 86_400
TOPICS = ["tides", "interest", "photosynthesis", "searching", "chains", "plates", "glaciers", "inflation"]
TEMPLATE = "Explain {} to a student.\n1. State the principle.\n2. Reason.\nReturn JSON with the key 'answer'."
CHAT = [
    "my bread is flat, any idea why?",
    "thanks!! trying that tonight",
    "What should I do with three days in Porto",
    "no museums please - we get tired of them",
    "ok so less water. how much less?",
    "write a short poem for my sister",
]


def diversity(prompts: Sequence[str], step: int = 60) -> dict[str, float]:
    return values_of(
        window_of(
            exchange(exchange_id=str(i), timestamp=NOON + step * i, prompt=prompt) for i, prompt in enumerate(prompts)
        )
    )


def test_one_prompt_again_and_again() -> None:
    """One distinct prompt of four (32 ln(32/31) = 1.016 by linear counting); every pair collides."""
    found = diversity(["Explain the tides."] * 4)
    assert found["prompt_distinct_ratio"] == pytest.approx(32 * math.log(32 / 31) / 4)
    for name in ("head_form_collision", "tail_form_collision", "skeleton_collision"):
        assert found[name] == 1
    assert found["form_similarity"] == pytest.approx(1, abs=0.02)
    assert found["content_similarity"] == pytest.approx(1, abs=0.02)
    assert found["form_over_content"] == pytest.approx(0, abs=0.02)
    assert found["template_slots"] == pytest.approx(found["prompt_distinct_ratio"])


def test_letter_case_and_spacing_make_no_new_prompt() -> None:
    """Hello world and HELLO  WORLD are one prompt only where their length is the same."""
    same, other = diversity(["hello world", "HELLO WORLD"] * 2), diversity(["hello world", "hello there"] * 2)
    assert same["prompt_distinct_ratio"] == pytest.approx(0.25, abs=0.01)
    assert other["prompt_distinct_ratio"] == pytest.approx(0.5, abs=0.03)


def test_a_template_whose_slots_change() -> None:
    """The same form over different content: the skeleton and the tail collide, content does not."""
    found = diversity([TEMPLATE.format(topic) for topic in TOPICS])
    assert found["skeleton_collision"] == found["tail_form_collision"] == 1
    assert found["prompt_distinct_ratio"] > 0.7
    assert found["template_slots"] > 0.7
    assert found["form_similarity"] > 0.9
    chat = diversity(CHAT)
    assert chat["skeleton_collision"] < 0.2
    assert chat["form_similarity"] < 0.5
    assert chat["form_over_content"] < 0.5
    assert chat["template_slots"] < 0.2


def test_the_same_list_on_later_days_is_a_repeat() -> None:
    """Eight prompts on each of two days: half of the pairs of prompt and day are repeats."""
    prompts = [TEMPLATE.format(topic) for topic in TOPICS]
    again = diversity(prompts * 2, step=DAY // 8)
    assert again["prompt_repeat_days"] == pytest.approx(0.5, abs=0.15)
    new = diversity([*prompts, *(f"What of {topic}?" for topic in TOPICS)], step=DAY // 8)
    assert new["prompt_repeat_days"] < 0.25
    assert diversity(prompts[:1] * 8, step=60)["prompt_repeat_days"] == pytest.approx(0, abs=0.02)


def test_lengths() -> None:
    """64 and 256 characters: a mean of 7 powers of two, a spread of the root of two, two of twelve bins."""
    found = diversity(["x" * 64, "x" * 256])
    assert found["length_mean"] == 7
    assert found["length_spread"] == pytest.approx(math.sqrt(2))
    assert found["length_entropy"] == pytest.approx(math.log(2) / math.log(12))
    even = diversity(["x" * 64] * 3)
    assert (even["length_mean"], even["length_spread"], even["length_entropy"]) == (6, 0, 0)


def test_lengths_are_in_characters_not_bytes() -> None:
    assert diversity(["推" * 64])["length_mean"] == diversity(["x" * 64])["length_mean"] == 6


def test_words() -> None:
    """One word is certain (0 bits) and brings nothing new; 64 different words grow as fast as they come."""
    one = diversity(["again again again"] * 4)
    assert one["lexical_entropy"] == 0
    assert one["lexical_growth"] == pytest.approx(0, abs=0.05)
    assert one["words_new_per_prompt"] == pytest.approx(-2, abs=0.1)
    many = diversity([" ".join(f"word{chr(97 + i)}{chr(97 + j)}" for j in range(16)) for i in range(4)])
    assert many["lexical_growth"] == pytest.approx(1, abs=0.12)
    assert many["words_new_per_prompt"] == pytest.approx(4, abs=0.8)
    assert many["lexical_entropy"] > 3


def test_lexical_entropy_of_even_words() -> None:
    """Four words equally often: two words are equal once in four, 2 bits."""
    rng = np.random.default_rng(4)
    found = []
    for k in range(20):
        names = [f"w{chr(97 + k)}{c}ord" for c in "abcd"]
        found.append(diversity([" ".join(rng.choice(names, 20)) for _ in range(10)])["lexical_entropy"])
    assert np.median(found) == pytest.approx(2, abs=0.5)


def test_what_prompts_consist_of() -> None:
    """Shares of bytes, the logarithm of one plus the line breaks, shares of prompts."""
    assert diversity(["12ab"])["digit_share"] == 0.5
    assert diversity(["ab!?"])["punctuation_share"] == 0.5
    found = diversity(["(){}", "abcd"])
    assert (found["code_share"], found["punctuation_share"], found["digit_share"]) == (0.5, 0.5, 0)
    assert diversity(["a\nb\nc\nd"])["line_breaks"] == 2
    found = diversity(["why?", "- one\n- two", "1. one\n2. two", "a - b"])
    assert (found["question_share"], found["list_share"]) == (0.25, 0.5)


def test_an_empty_prompt_has_length_and_no_words() -> None:
    found = diversity(["", ""])
    assert found["length_mean"] == 0
    for name in ("lexical_entropy", "lexical_growth", "words_new_per_prompt", "form_similarity", "content_similarity"):
        assert math.isnan(found[name])
    assert found["prompt_distinct_ratio"] == pytest.approx(0.5, abs=0.02)
