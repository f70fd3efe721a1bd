"""The statistics that features share, on histograms and sums small enough to compute by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fingerprint.features import _statistics as stat
from fingerprint.kernels.layout import EMPTY_MAX, EMPTY_MIN

NAN = pytest.approx(math.nan, nan_ok=True)
Words = NDArray[np.int64]


def words(*values: int) -> Words:
    return np.array(values, np.int64)


def test_shares_and_means_of_nothing_are_missing() -> None:
    assert stat.share(3, 4) == 0.75
    assert stat.share(0, 0) == NAN
    assert stat.mean(512, 2, 256) == 1
    assert stat.mean(0, 0, 256) == NAN


def test_spread_is_the_sample_standard_deviation() -> None:
    """1, 3 and 5 have a sum of 9 and a sum of squares of 35: a deviation of 2."""
    assert stat.spread(9, 35, 3, 1.0) == pytest.approx(2)
    assert stat.spread(9, 35, 3, 2.0) == pytest.approx(1)
    assert stat.spread(5, 25, 1, 1.0) == NAN
    assert stat.spread(3, 3, 3, 1.0) == 0


def test_collision_by_hand() -> None:
    """Of 2 and 2 members in two of four places, 4 of 12 ordered pairs share: (1/3 - 1/4) / (3/4) less chance."""
    assert stat.collision(words(2, 2, 0, 0), 0, 4) == pytest.approx(1 / 9)
    assert stat.collision(words(0, 4, 0, 0), 0, 4) == 1
    assert stat.collision(words(1, 1, 1, 1), 0, 4) == 0
    assert stat.collision(words(0, 1, 0, 0), 0, 4) == NAN
    assert stat.collision(words(9, 9, 5, 0, 9), 2, 2) == 1, "only its own places count"


@pytest.mark.parametrize("law", [[1.0], [0.9, 0.1], [0.5, 0.3, 0.2], [0.25] * 4])
def test_collision_does_not_grow_with_the_number_of_members(law: list[float]) -> None:
    """Samples of one law have the same mean whatever their size."""
    rng, size = np.random.default_rng(1), 24
    table = [*law, *[0.0] * (size - len(law))]
    truth = (sum(p * p for p in law) - 1 / size) / (1 - 1 / size)
    for count, samples in ((4, 4000), (40, 1000), (4000, 50)):
        found = [stat.collision(row, 0, size) for row in rng.multinomial(count, table, samples)]
        assert np.mean(found) == pytest.approx(truth, abs=0.03)


def test_entropy_is_a_share_of_the_maximum() -> None:
    assert stat.entropy(words(5, 5, 5, 5), 0, 4) == pytest.approx(1)
    assert stat.entropy(words(5, 5, 0, 0), 0, 4) == pytest.approx(0.5)
    assert stat.entropy(words(0, 7, 0, 0), 0, 4) == 0
    assert stat.entropy(words(0, 1, 0, 0), 0, 4) == NAN


def test_quantiles_are_linear_within_a_bin() -> None:
    histogram = words(0, 4, 0, 4)
    assert [stat.quantile(histogram, 0, 4, level, 10.0, 2.0) for level in (0.25, 0.5, 0.75, 1.0)] == [13, 14, 17, 18]
    assert stat.quantile(words(0, 0), 0, 2, 0.5, 0.0, 1.0) == NAN
    assert stat.quantile(words(1, 0), 0, 2, 0.5, 0.0, 1.0) == 0.5


def registers(values: NDArray[np.uint64], count: int) -> Words:
    """HyperLogLog registers written plainly: place by the remainder, rank of the rest by its leading zeros."""
    out = np.full(count, EMPTY_MAX, np.int64)
    for value in values.tolist():
        place, rest = value % count, value // count
        out[place] = max(out[place], 65 - count.bit_length() - rest.bit_length())
    return out


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("distinct", [1, 3, 40, 5000])
def test_distinct_values_are_counted_within_the_error_of_the_sketch(size: int, distinct: int) -> None:
    rng = np.random.default_rng(size + distinct)
    found = [stat.distinct(registers(rng.integers(0, 2**63, distinct, np.uint64), size), 0, size) for _ in range(12)]
    assert np.mean(found) == pytest.approx(distinct, rel=0.35)


def test_no_value_and_one_value_are_exact_enough() -> None:
    assert stat.distinct(np.full(32, EMPTY_MAX, np.int64), 0, 32) == 0
    one = words(7, *[EMPTY_MAX] * 31)
    assert stat.distinct(one, 0, 32) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("distinct", [1, 8, 100, 3000])
def test_distinct_minima(distinct: int) -> None:
    """One minimum a bin of uniform values."""
    rng, found = np.random.default_rng(distinct), []
    for _ in range(12):
        least = np.full(32, EMPTY_MIN, np.int64)
        np.minimum.at(least, rng.integers(0, 32, distinct), rng.integers(0, 65536, distinct))
        found.append(stat.distinct_minima(least, 0, 32, 65536.0))
    assert np.mean(found) == pytest.approx(distinct, rel=0.3)


def test_similarity_by_hand() -> None:
    """Two equal unit vectors have 1, two opposite ones -1, two at a right angle 0."""
    for other, expected in (((10, 0), 1), ((-10, 0), -1), ((0, 10), 0)):
        total = words(10 + other[0], other[1])
        assert stat.similarity(total, 0, 2, 200, 2, 10) == pytest.approx(expected)
    assert stat.similarity(words(10, 0), 0, 2, 100, 1, 10) == NAN


def test_similarity_does_not_grow_with_the_number_of_vectors() -> None:
    rng = np.random.default_rng(2)
    means = []
    for count, samples in ((4, 3000), (40, 300), (400, 30)):
        found = []
        for _ in range(samples):
            vectors = rng.normal(size=(count, 32)) + 0.7
            vectors = np.rint(127 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.int64)
            square = int((vectors * vectors).sum())
            found.append(stat.similarity(vectors.sum(0), 0, 32, square, count, 127))
        means.append(np.mean(found))
    assert np.ptp(means) < 0.02


def test_resultant_by_hand_and_for_any_number_of_moments() -> None:
    """All at one phase is 1; evenly around the circle is 0; random moments are about 0 however many."""
    assert stat.resultant(words(3 * 1024, 0), 0, 3, 1024) == pytest.approx(1)
    assert stat.resultant(words(0, 0), 0, 4, 1024) == 0
    assert stat.resultant(words(1024, 0), 0, 1, 1024) == NAN
    rng = np.random.default_rng(3)
    for count in (5, 50, 5000):
        turns = rng.uniform(0, math.tau, (2000, count)) if count < 5000 else rng.uniform(0, math.tau, (200, count))
        squared = [
            stat.resultant(np.rint([np.cos(t).sum() * 1024, np.sin(t).sum() * 1024]).astype(np.int64), 0, count, 1024)
            ** 2
            for t in turns
        ]
        assert np.median(squared) < 0.05
