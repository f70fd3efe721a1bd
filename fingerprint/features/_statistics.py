"""Statistics over the words of a window that several families need. Each returns NaN where it is undefined."""

import math

import numpy as np

from fingerprint._jit import inner
from fingerprint.kernels.layout import EMPTY_MAX, EMPTY_MIN

__all__ = [
    "collision",
    "distinct",
    "distinct_minima",
    "entropy",
    "mean",
    "quantile",
    "resultant",
    "share",
    "similarity",
    "spread",
]


@inner
def share(part, whole):  # type: ignore[no-untyped-def]
    """``part / whole``; NaN of nothing."""
    return part / whole if whole > 0 else np.nan


@inner
def mean(total, count, one):  # type: ignore[no-untyped-def]
    """Mean of a fixed-point sum with ``one`` as its unit."""
    return total / (count * one) if count > 0 else np.nan


@inner
def spread(total, square, count, one):  # type: ignore[no-untyped-def]
    """Sample standard deviation from a fixed-point sum and sum of squares; NaN below two values."""
    if count < 2:
        return np.nan
    first = total / count
    return math.sqrt(max((square / count - first * first) * count / (count - 1), 0.0)) / one


@inner
def collision(window, at, size):  # type: ignore[no-untyped-def]
    """Probability that two different members share a value: Simpson's index, unbiased in the number of
    members (Simpson, 1949) and corrected for values that share one of the ``size`` counters by chance."""
    count, pairs = 0, 0.0
    for j in range(at, at + size):
        value = window[j]
        count += value
        pairs += float(value) * (value - 1)
    if count < 2:
        return np.nan
    raw = pairs / (float(count) * (count - 1))
    return min(max((raw - 1 / size) / (1 - 1 / size), 0.0), 1.0)


@inner
def entropy(window, at, size):  # type: ignore[no-untyped-def]
    """Shannon entropy of a histogram over the logarithm of its bins, 0 to 1 (Pielou's evenness)."""
    count, total = 0, 0.0
    for j in range(at, at + size):
        count += window[j]
    if count < 2:
        return np.nan
    for j in range(at, at + size):
        if window[j] > 0:
            portion = window[j] / count
            total -= portion * math.log(portion)
    return total / math.log(size)


@inner
def quantile(window, at, size, level, low, width):  # type: ignore[no-untyped-def]
    """Quantile of a histogram with even bins of ``width`` from ``low``, linear within a bin."""
    count = 0
    for j in range(at, at + size):
        count += window[j]
    if count == 0:
        return np.nan
    wanted, passed = level * count, 0.0
    for j in range(size):
        inside = window[at + j]
        if inside > 0 and passed + inside >= wanted:
            return low + width * (j + (wanted - passed) / inside)
        passed += inside
    return low + width * size


@inner
def distinct(window, at, registers):  # type: ignore[no-untyped-def]
    """HyperLogLog estimate of the number of distinct values (Flajolet et al., 2007), linear counting while
    registers are empty (Whang et al., 1990)."""
    empty, total = 0, 0.0
    for j in range(at, at + registers):
        if window[j] == EMPTY_MAX:
            empty += 1
            total += 1.0
        else:
            total += 2.0 ** -float(window[j])
    alpha = 0.7213 / (1 + 1.079 / registers) if registers >= 32 else (0.673 if registers == 16 else 0.626)
    estimate = alpha * registers * registers / total
    if empty > 0 and estimate <= 2.5 * registers:
        return registers * math.log(registers / empty)
    return estimate


@inner
def distinct_minima(window, at, bins, top):  # type: ignore[no-untyped-def]
    """Distinct values from one-permutation MinHash (Li, Owen, Zhang, 2012): the minimum of a bin is
    exponential with rate distinct / bins, censored where the bin is empty; maximum likelihood."""
    filled, total = 0, 0.0
    for j in range(at, at + bins):
        if window[j] == EMPTY_MIN:
            total += 1.0
        else:
            filled += 1
            total += (window[j] + 0.5) / top
    return bins * filled / total


@inner
def similarity(window, at, size, square, count, one):  # type: ignore[no-untyped-def]
    """Mean cosine between two different unit vectors, from their sum: (|sum|^2 - sum |v|^2) / (n (n - 1))."""
    if count < 2:
        return np.nan
    total = 0.0
    for j in range(at, at + size):
        total += float(window[j]) * float(window[j])
    value = (total - square) / (float(count) * (count - 1)) / (one * one)
    return min(max(value, -1.0), 1.0)


@inner
def resultant(window, at, count, one):  # type: ignore[no-untyped-def]
    """How sharply moments cluster at one phase of a period: mean resultant length, debiased so that it is
    about zero for unrelated moments whatever their number (Rayleigh; Mardia and Jupp, 2000)."""
    if count < 2:
        return np.nan
    cosine, sine = window[at] / one, window[at + 1] / one
    value = (cosine * cosine + sine * sine - count) / (float(count) * (count - 1))
    return math.sqrt(min(max(value, 0.0), 1.0))
