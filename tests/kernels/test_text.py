"""The text kernel: tokens, what is read of long prompts, and integers that do not depend on the company."""

import numpy as np
import pytest
from builders import random_head
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprint.contribution import read_exchange
from fingerprint.kernels import text
from fingerprint.kernels.layout import LOG_ONE, SHARE_ONE, SKETCH, SKETCH_ONE

HEAD = random_head()


def row(prompt: str):
    contribution = read_exchange(
        {"exchange_id": "e", "account_id": "a", "timestamp": 1_772_000_000, "prompt": prompt}, HEAD
    )
    return contribution.text[0], contribution.sketch[0], int(contribution.when[0, 2])


def tokens(prompt: str):
    data = np.frombuffer(prompt.encode(), np.uint8)
    hashes, kinds = np.empty(9000, np.uint64), np.empty(9000, np.uint8)
    count = text.tokenise(data, 0, len(data), hashes, kinds, 0, np.zeros(text.COUNTERS, np.uint64))
    return list(zip(hashes[:count].tolist(), kinds[:count].tolist(), strict=True))


def test_tokens_by_kind():
    kinds = [kind for _, kind in tokens("Explain 42 of it!!\n\n推理、x")]
    expected = [text.WORD, text.NUMBER, text.SHORT, text.SHORT, text.MARK, text.BREAK]
    assert kinds == [*expected, text.CHARACTER, text.CHARACTER, text.MARK, text.SHORT]


def test_words_ignore_ascii_case_and_numbers_are_masked():
    assert tokens("HELLO 1") == tokens("hello 99")
    assert tokens("hello") != tokens("hellp")


def test_runs_of_marks_are_one_token_up_to_three():
    assert tokens("####") == tokens("###") != tokens("##")


@pytest.mark.parametrize("prompt", ["", " ", "\n", "a", "\u00e9", "\U0001f600", "推", "\ufeffx"])
def test_tiny_prompts_are_read(prompt):
    values, sketch, _ = row(prompt)
    assert values[text.T["words"]] in (0, 1)
    assert (np.abs(sketch.astype(int)) <= SKETCH_ONE).all()


def test_shares_and_logarithms():
    values, _, _ = row("ab12{}?\n- x\n- y")
    length = len("ab12{}?\n- x\n- y")
    assert values[text.T["chars_log"]] == pytest.approx(np.log2(length) * LOG_ONE, abs=0.09 * LOG_ONE)
    assert values[text.T["digits"]] == 2 * SHARE_ONE // length
    assert values[text.T["code"]] == 2 * SHARE_ONE // length
    assert (values[text.T["questions"]], values[text.T["list_marks"]]) == (1, 1)


def test_of_a_long_prompt_the_start_and_the_end_are_read_and_nothing_between():
    start, end = "s" * text.READ_START, "e" * text.READ_END
    one, other = row(start + "x" * 5000 + end), row(start + "y" * 5000 + end)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert row(start + "x" * 5001 + end)[2] != one[2], "the length is part of the prompt's hash"
    assert row(start + "x" * 5000 + "e" * (text.READ_END - 1) + "!")[2] != one[2]


def test_a_megabyte_is_read_like_any_other_prompt():
    values, _, _ = row("word " * 200_000)
    assert values[text.T["words"]] <= (text.READ_START + text.READ_END) // 2
    assert values[text.T["chars_log"]] == pytest.approx(np.log2(1e6) * LOG_ONE, abs=0.09 * LOG_ONE)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_any_text_gives_bounded_integers(prompt):
    values, sketch, _ = row(prompt.replace("\0", "").encode("utf-8", "replace").decode())
    capabilities = values[text.T_CAPABILITY :]
    assert (capabilities >= 0).all()
    assert SHARE_ONE - 12 <= capabilities.sum() <= SHARE_ONE
    assert -8 * LOG_ONE <= values[text.T["likeness"]] < 8 * LOG_ONE
    for part in (sketch[:SKETCH], sketch[SKETCH : 2 * SKETCH]):
        length = np.sqrt((part.astype(float) ** 2).sum())
        assert length == 0 or length == pytest.approx(SKETCH_ONE, abs=4)


def test_the_form_stays_when_the_slots_change_and_the_content_does_not():
    template = "Explain {} to a student.\n1. Principle\n2. Steps\nReturn JSON."
    one, other = row(template.format("photosynthesis")), row(template.format("compound interest"))
    chat = row("hi, my bread is flat, any idea why?")

    def cosine(a, b):
        return (a.astype(float) @ b) / SKETCH_ONE**2

    form = slice(SKETCH, 2 * SKETCH)
    assert cosine(one[1][form], other[1][form]) > 0.9
    assert cosine(one[1][form], chat[1][form]) < 0.5
    for name in ("tail_form", "skeleton"):
        assert one[0][text.T[name]] == other[0][text.T[name]]


def test_grams_are_two_a_token_and_a_lead():
    hashes = np.arange(1, 40, dtype=np.uint64)
    out = np.empty(text.MAX_GRAMS, np.int32)
    assert text.grams(hashes, len(hashes), out) == 2 * len(hashes) + text.LEAD + 1
