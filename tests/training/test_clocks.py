"""Clock classes: inside the world, sorted, seeded, and near the quantiles measured on real traces."""

import numpy as np
import pytest
from numpy.typing import NDArray
from real import CORPORA, needs_corpora
from training.clocks import CLASSES, DAY, arrivals, people, read_traces


def inside(times: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The gaps inside sessions (idle limit 30 minutes) of at least four turns."""
    gaps = np.diff(times)
    parts = np.split(gaps, np.flatnonzero(gaps > 1800))
    return [p for p in (part[part <= 1800] for part in parts) if len(p) >= 3]


def gaps_of(kind: str, accounts: int = 150) -> list[NDArray[np.float64]]:
    return [p for seed in range(accounts) for p in inside(arrivals(kind, np.random.default_rng(seed), 120, 30))]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("q", [1, 2, 10, 800])
def test_every_class_fits_the_world(kind: str, q: int) -> None:
    for seed in range(20):
        times = arrivals(kind, np.random.default_rng(seed), q, 30)
        assert len(times) == q
        assert times[0] >= 0
        assert times[-1] < 30 * DAY
        assert (np.diff(times) >= 0).all()


@pytest.mark.parametrize("kind", CLASSES)
def test_the_same_seed_gives_the_same_times(kind: str) -> None:
    one, two = (arrivals(kind, np.random.default_rng(3), 50, 30) for _ in range(2))
    assert np.array_equal(one, two)


def test_people_are_near_the_measured_quantiles() -> None:
    """domain-facts: 12-19 / 24-55 / 42-107 / 76-199 / 189-521 s, median CV 0.74-0.77."""
    parts = gaps_of("people")
    low, first, middle, third, high = np.quantile(np.concatenate(parts), [0.05, 0.25, 0.5, 0.75, 0.95])
    assert 8 < low < 25
    assert 24 < first < 60
    assert 42 < middle < 107
    assert 76 < third < 199
    assert 189 < high < 600
    assert 0.55 < np.median([p.std() / p.mean() for p in parts]) < 0.95


def test_coding_agents_are_quick_and_irregular() -> None:
    """domain-facts: median 18 s, 95th percentile 309 s, median CV 2.65 (shorter sessions here give less)."""
    parts = gaps_of("coding")
    assert 10 < np.median(np.concatenate(parts)) < 30
    assert np.median([p.std() / p.mean() for p in parts]) > 1.2


def test_regularity_is_no_class_of_its_own() -> None:
    """Every class has irregular and fairly regular sessions, so a low CV says little."""
    for kind in ("people", "service", "burst", "paced"):
        low, high = np.quantile([p.std() / p.mean() for p in gaps_of(kind)], [0.1, 0.9])
        assert low < 0.6 < high


def test_known_gaps_are_kept() -> None:
    fresh = np.array([True, False, False, False])
    times = people(np.random.default_rng(1), fresh, np.array([np.nan, 11.0, 22.0, 33.0]), 30)
    assert np.allclose(np.diff(times), [11, 22, 33])


@needs_corpora
def test_real_traces_drive_every_class() -> None:
    traces = read_traces(CORPORA)
    for kind in CLASSES:
        times = arrivals(kind, np.random.default_rng(1), 300, 30, traces)
        assert len(times) == 300
        assert 0 <= times[0] <= times[-1] < 30 * DAY
