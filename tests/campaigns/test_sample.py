"""The sample of an account is its exchanges with the smallest identities, whatever the order, the cuts and the days."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fingerprint.assemble import Ordered
from fingerprint.campaigns import sample as module
from fingerprint.campaigns.sample import FACTS, SIZE, Keeper, Sample
from fingerprint.contribution import Contributions
from fingerprint.kernels.layout import SKETCH, M, W


def held(account: NDArray[Any], identity: NDArray[Any]) -> Ordered:
    """Exchanges whose every column follows from account and identity, so that a mixed row is seen."""
    m = len(account)
    mark = (identity.astype(np.int64) * 31 + account)[:, None]
    rows = Contributions(*(np.zeros((m, 1), np.int64) for _ in Contributions._fields))._replace(
        when=mark + np.arange(5),
        text=((mark + np.arange(24)) % 30_000).astype(np.int16),
        sketch=((mark + np.arange(80)) % 127).astype(np.int8),
        meta=((mark + np.arange(len(M))) % 2**31).astype(np.int32),
    )
    return Ordered(account.astype(np.int32), np.full(m, -1, np.int32), identity.astype(np.uint64), rows)


def direct(account: NDArray[Any], identity: NDArray[Any], size: int) -> list[tuple[int, int]]:
    """The same without sorting columns: Python's sets."""
    mine: dict[int, set[int]] = {}
    for a, i in zip(account.tolist(), identity.tolist(), strict=True):
        mine.setdefault(a, set()).add(i)
    return [(a, i) for a in sorted(mine) for i in sorted(mine[a])[:size]]


def pairs(sample: Sample) -> list[tuple[int, int]]:
    return list(zip(sample.account.tolist(), sample.identity.tolist(), strict=True))


def check_rows(sample: Sample) -> None:
    """Each row is of the exchange it says it is, in the types that are promised."""
    whole = Sample.of(held(sample.account, sample.identity))
    for found, expected in zip(sample, whole, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60)), min_size=1, max_size=120),
    st.lists(st.integers(0, 120), max_size=6),
    st.sets(st.integers(0, 7)),
    st.integers(1, 9),
    st.integers(0, 20),
)
def test_the_smallest_identities_of_each_account_are_kept(
    rows: list[tuple[int, int]], cuts: list[int], days: set[int], size: int, waiting: int
) -> None:
    """In any order, any batches, over any number of days, and however often what waits is cut to size."""
    account, identity = np.array([a for a, _ in rows]), np.array([i for _, i in rows])
    keeper, edges = Keeper(size), sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WAITING", waiting)
        for number, (start, stop) in enumerate(itertools.pairwise(edges)):
            keeper.add(held(account[start:stop], identity[start:stop]))
            if number in days:
                keeper = Keeper(size, before=keeper.finish())
        sample = keeper.finish()
    assert pairs(sample) == direct(account, identity, size)
    check_rows(sample)


def test_no_exchange_stands_twice_though_it_is_added_again() -> None:
    """On the same day, and on the next."""
    account, identity = np.repeat([0, 1], 60), np.tile(np.arange(60), 2)
    keeper = Keeper()
    for _ in range(2):
        keeper.add(held(account, identity))
    keeper = Keeper(before=keeper.finish())
    keeper.add(held(account, identity))
    sample = keeper.finish()
    assert pairs(sample) == [(a, i) for a in range(2) for i in range(SIZE)]


def test_an_account_of_the_day_before_and_new_ones_need_no_order() -> None:
    keeper = Keeper(2)
    keeper.add(held(np.array([900, 900, 900]), np.array([5, 6, 7])))
    keeper = Keeper(2, before=keeper.finish())
    keeper.add(held(np.array([3, 900]), np.array([9, 1])))
    assert pairs(keeper.finish()) == [(3, 9), (900, 1), (900, 5)]


def test_what_waits_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long stream of few accounts holds the kept rows and what waits, never all."""
    monkeypatch.setattr(module, "_WAITING", 500)
    rng, keeper, most = np.random.default_rng(1), Keeper(), 0
    for _ in range(200):
        keeper.add(held(rng.integers(0, 5, 300), rng.integers(0, 2**62, 300)))
        most = max(most, sum(len(part.account) for part in keeper._kept))
    assert most <= 500 + 5 * SIZE + 300
    assert len(keeper.finish().account) == 5 * SIZE


def test_a_sample_is_uniform_over_time() -> None:
    """Identities are hashes: early and late exchanges are as likely to be kept."""
    rng, keeper = np.random.default_rng(2), Keeper()
    identity = rng.permutation(100_000)
    for start in range(0, 100_000, 10_000):
        keeper.add(held(np.arange(10_000) % 100, identity[start : start + 10_000]))
    place = np.argsort(identity)[keeper.finish().identity.astype(np.int64)]
    counts = np.histogram(place, 10, (0, 100_000))[0]
    assert counts.sum() == 100 * SIZE
    assert np.abs(counts - 480).max() < 5 * 480**0.5


def test_columns_are_those_of_the_contribution() -> None:
    exchanges = held(np.array([1, 0]), np.array([3, 4]))
    sample = Sample.of(exchanges)
    np.testing.assert_array_equal(sample.form, exchanges.rows.sketch[:, SKETCH : 2 * SKETCH])
    np.testing.assert_array_equal(sample.time_us, exchanges.rows.when[:, W["time_us"]])
    for fact, column in zip(FACTS, sample.facts.T, strict=True):
        np.testing.assert_array_equal(column, exchanges.rows.meta[:, M[fact]])


def test_without_exchanges_there_is_no_sample() -> None:
    keeper = Keeper()
    keeper.add(held(np.array([], np.int64), np.array([], np.int64)))
    with pytest.raises(ValueError, match="no exchange"):
        keeper.finish()
