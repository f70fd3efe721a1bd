"""Contributions: what one exchange adds to a window, the same integers from one record and from a batch."""

import numpy as np
import pytest
from builders import exchange, exchanges, random_head
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprint import ExchangeError
from fingerprint.contribution import Contributions, contribute, read_exchange
from fingerprint.exchange import Names, batch_of, parse
from fingerprint.kernels.layout import MISSING, WORD_BINS, M, W
from fingerprint.kernels.text import SKETCH_COLUMNS, TEXT_COLUMNS

HEAD = random_head()


def batch(records):
    return batch_of(map(parse, records), Names(), Names())


def same(one: Contributions, other: Contributions) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_columns_are_as_documented() -> None:
    rows = contribute(batch(exchanges(7, 1)), HEAD)
    shapes = [(7, len(W)), (7, TEXT_COLUMNS), (7, SKETCH_COLUMNS), (7, WORD_BINS), (7, len(M))]
    assert [part.shape for part in rows] == shapes
    assert [str(part.dtype) for part in rows] == ["int64", "int16", "int8", "uint16", "int32"]
    assert sum(part[0].nbytes for part in rows) < 350


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=12))
def test_a_prompt_is_read_alike_in_any_company(prompts: list[str]) -> None:
    clean = [prompt.replace("\0", "").encode("utf-8", "ignore").decode() for prompt in prompts]
    records = [exchange(exchange_id=str(i), prompt=prompt) for i, prompt in enumerate(clean)]
    together = contribute(batch(records), HEAD)
    for i, record in enumerate(records):
        assert same(together.take(slice(i, i + 1)), read_exchange(record, HEAD))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(threads: int) -> None:
    """From 1,024 rows on several threads read."""
    few = exchanges(50, 2)
    records = [few[i % 50] | {"exchange_id": str(i)} for i in range(1500)]
    assert same(contribute(batch(records), HEAD, threads), contribute(batch(records), HEAD, 1))


def test_gaps_are_open_in_a_batch_and_known_in_a_stream() -> None:
    records = [exchange(exchange_id=str(i), timestamp=1_772_366_400 + 7 * i) for i in range(3)]
    assert (contribute(batch(records), HEAD).when[:, W["gap_us"]] == MISSING).all()
    last = parse(records[0]).time_us
    assert read_exchange(records[1], HEAD, last).when[0, W["gap_us"]] == 7_000_000
    assert read_exchange(records[0], HEAD, last + 5).when[0, W["gap_us"]] == 0, "late ones have no negative gap"


def test_the_prompt_is_known_by_its_hash_alone() -> None:
    rows = contribute(batch([exchange(exchange_id=str(i), prompt=p) for i, p in enumerate("xyx")]), HEAD)
    first, second, third = rows.when[:, W["prompt"]]
    assert first == third != second


def test_taking_and_joining() -> None:
    rows = contribute(batch(exchanges(9, 1)), HEAD)
    assert same(Contributions.concat([rows.take(slice(0, 4)), rows.take(slice(4, 9))]), rows)
    chosen = np.array([8, 0, 0])
    assert np.array_equal(rows.take(chosen).when, rows.when[chosen])
    assert len(rows.take(np.zeros(9, bool)).when) == 0


def test_no_records() -> None:
    assert [len(part) for part in contribute(batch([]), HEAD)] == [0] * 5


def test_a_record_that_breaks_the_contract_gives_its_reason() -> None:
    with pytest.raises(ExchangeError) as caught:
        read_exchange(exchange(n=0), HEAD)
    assert caught.value.reason == "out_of_range:n"
