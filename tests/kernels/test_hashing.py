"""Fixed-point logarithms and hashes are the same everywhere; the values below are part of the format."""

import numpy as np
import pytest

from fingerprint.kernels.hashing import hash_spans, log2_fixed, mix, rank


@pytest.mark.parametrize("value", [1, 2, 3, 5, 1000, 2**31, 2**53 + 1, 2**60])
def test_log2_is_within_a_tenth_and_exact_at_powers_of_two(value):
    assert log2_fixed(value) == pytest.approx(256 * np.log2(value), abs=0.09 * 256)


def test_log2_never_falls():
    values = [log2_fixed(v) for v in range(1, 5000)]
    assert values == sorted(values)
    assert (log2_fixed(0), log2_fixed(1), log2_fixed(1024)) == (0, 0, 2560)


def test_known_hashes():
    data = np.frombuffer(b"abc", np.uint8)
    assert hash_spans(data, np.array([0, 3, 3])).tolist() == [3741276987793851837, 17280346270528514342]
    assert (int(mix(1)), int(rank(np.uint64(1))), int(rank(np.uint64(0)))) == (12994781566227106604, 64, 65)
