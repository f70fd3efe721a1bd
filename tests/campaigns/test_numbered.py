"""Which number of a prompt is read, and that the sample of an account is the same in any order, cuts and days."""

import itertools

import numpy as np
import pytest
from builders import exchange
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprint.campaigns import numbered as module
from fingerprint.campaigns.hours import mixed
from fingerprint.campaigns.numbered import BITS, KEPT, READ, Numbered, Numbering, number_keys
from fingerprint.exchange import Names, batch_of, parse
from fingerprint.kernels.layout import MISSING


def keys(*prompts: str) -> list[int]:
    records = [exchange(exchange_id=str(i), prompt=prompt) for i, prompt in enumerate(prompts)]
    return number_keys(batch_of(map(parse, records), Names(), Names())).tolist()


def number(prompt: str) -> int | None:
    (key,) = keys(prompt)
    return None if key == MISSING else key % (1 << BITS)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Question 1017: what is a fox?", 1017),
        ("1017. What is a fox?", 1017),
        ("item #17/500 of the list", 17),
        ("Q17 of 500", 17),
        ("task-0042", 42),
        ("record 12,400: sort it", 12_400),
        ('{"index": 7, "text": "3 foxes"}', 7),
        ("问题1017\uff1a什么是狐狸", 1017),
        ("slot 9999999", 9_999_999),
        ("the last byte is 5", 5),
        ("", None),
        ("no number at all", None),
        ('say "17 foxes" aloud', None),
        ("say `17 foxes` aloud", None),
        ("say “17 foxes” aloud", None),
        ("call 5551234567 now", None),
        ("on 2024-05-17", None),
        ("at 10:30", None),
        ("about 3.14", None),
        ("version 1.2.3", None),
        ("ask GPT4 or a 4o", None),
        ('on 2024-05-17 at 10:30 "1" ask GPT4 question 8: 3.5', 8),
        ("1,2,3 go", None),
    ],
)
def test_the_first_whole_number_outside_quotes_is_read(prompt: str, expected: int | None) -> None:
    assert number(prompt) == expected


def test_only_the_start_of_a_prompt_is_read() -> None:
    assert number("x " * (READ // 2 - 1) + " 7") == 7
    assert number("x " * (READ // 2) + " 7") is None


def test_a_lead_is_what_stands_before_the_number_and_not_the_number() -> None:
    same = [key >> BITS for key in keys("Question 5: a", "question  12,345: b c d", "QUESTION\n7: e")]
    others = [key >> BITS for key in keys("Question 5. a", "Problem 5: a", "5: a", "Question on 2024-05-17 5: a")]
    assert len(set(same)) == 1
    assert len({*same, *others}) == 5
    assert len({key >> BITS for key in keys('say "fox" 5 times', 'say "dog in a fog" 17 times')}) == 1, "quotes"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet='a9Z,.:"`“” \n8é问', max_size=40), min_size=1, max_size=5))
def test_a_key_is_missing_or_a_lead_with_a_number_and_no_neighbour_changes_it(prompts: list[str]) -> None:
    prompts = [prompt or "-" for prompt in prompts]
    found = keys(*prompts)
    assert all(key == MISSING or (key >= 0 and key % (1 << BITS) < 10_000_000) for key in found)
    assert found == [keys(prompt)[0] for prompt in prompts]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 60)), min_size=1, max_size=150),
    st.lists(st.integers(0, 150), max_size=6),
    st.sets(st.integers(0, 7)),
    st.integers(1, 9),
    st.integers(0, 20),
    st.randoms(use_true_random=False),
)
def test_the_keys_of_smallest_hash_are_kept_each_once(
    rows: list[tuple[int, int]], cuts: list[int], days: set[int], size: int, waiting: int, random: object
) -> None:
    """In any order, any batches, over any number of days, and however often what waits is cut to size."""
    mine: dict[int, set[int]] = {}
    for a, key in rows:
        if key != MISSING:
            mine.setdefault(a, set()).add(key)
    order = dict(enumerate(mixed(np.arange(61)).tolist()))
    expected = [(a, key) for a in sorted(mine) for key in sorted(mine[a], key=order.__getitem__)[:size]]
    random.shuffle(rows)  # type: ignore[attr-defined]
    account, values = np.array([a for a, _ in rows], np.int32), np.array([key for _, key in rows])
    reader, edges = Numbering(size), sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WAITING", waiting)
        for n, (start, stop) in enumerate(itertools.pairwise(edges)):
            reader.add(account[start:stop], values[start:stop])
            if n in days:
                reader = Numbering(size, before=reader.finish())
        found = reader.finish()
    assert list(zip(found.account.tolist(), found.key.tolist(), strict=True)) == expected
    assert [part.dtype for part in found] == [np.int32, np.int64]


def test_an_account_is_bounded_however_much_it_numbers() -> None:
    whole = Numbering()
    whole.add(np.zeros(5000, np.int32), np.arange(5000))
    assert len(whole.finish().key) == KEPT
    assert len(Numbered.merged([Numbered.none()]).key) == 0
