"""Packed windows: every window comes back, and no bytes make the reader leave them or the window."""

import numpy as np
import pytest
from builders import exchanges, random_head, window_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fingerprint import Window
from fingerprint.kernels.layout import EMPTY_MAX, EMPTY_MIN, N_MINIMA, N_SUMS, WORDS
from fingerprint.kernels.pack import PACKED_BYTES, pack, unpack

LOW, HIGH = -(2**63), 2**63 - 1
EDGES = [LOW, LOW + 1, -(2**62), -(2**31), -65, -64, -63, -2, -1, 0, 1, 2, 63, 64, 127, 128, 2**31, 2**62, HIGH]
GUARD = 77


def packed(window: np.ndarray) -> bytes:
    """What ``pack`` writes, nothing behind it being touched."""
    out = np.full(PACKED_BYTES + 64, GUARD, np.uint8)
    size = pack(window, out[:PACKED_BYTES])
    assert 0 < size <= PACKED_BYTES
    assert (out[size + 1 :] == GUARD).all()
    return out[:size].tobytes()


def unpacked(data: bytes, at: int = 0) -> tuple[int, np.ndarray]:
    """Place and window, nothing around the window being touched."""
    wide = np.full(WORDS + 128, GUARD, np.int64)
    end = unpack(np.frombuffer(data, np.uint8), at, wide[64:-64])
    assert (wide[:64] == GUARD).all()
    assert (wide[-64:] == GUARD).all()
    assert end == -1 or at < end <= len(data)
    return int(end), wide[64:-64]


def smallest() -> np.ndarray:
    """The least that each word may be: sums anything, minima from 0, maxima from that of nothing."""
    return np.r_[np.full(N_SUMS, LOW), np.zeros(N_MINIMA, np.int64), np.full(WORDS - N_SUMS - N_MINIMA, EMPTY_MAX)]


def largest() -> np.ndarray:
    return np.r_[np.full(N_SUMS, HIGH), np.full(N_MINIMA, EMPTY_MIN), np.full(WORDS - N_SUMS - N_MINIMA, HIGH)]


def allowed(values: np.ndarray) -> np.ndarray:
    return np.clip(values, smallest(), largest())


@pytest.mark.parametrize("window", [smallest(), largest(), Window.empty().state, allowed(np.zeros(WORDS, np.int64))])
def test_the_ends_of_what_is_allowed_round_trip(window):
    assert np.array_equal(unpacked(packed(window))[1], window)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_any_window_round_trips(seed, empty):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(WORDS) < 0.5, rng.choice(EDGES, WORDS), rng.integers(LOW, HIGH, WORDS, endpoint=True))
    values >>= rng.integers(0, 64, WORDS)
    window = np.where(rng.random(WORDS) < empty, Window.empty().state, allowed(values))
    data = packed(window)
    end, again = unpacked(b"xx" + data + b"yyy", 2)
    assert end == 2 + len(data)
    assert np.array_equal(again, window)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, WORDS - 1), st.integers(LOW, HIGH))
@example(0, LOW)
@example(WORDS - 1, HIGH)
def test_any_single_word_round_trips(at, value):
    window = Window.empty().state.copy()
    window[at] = value
    window = allowed(window)
    assert np.array_equal(unpacked(packed(window))[1], window)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**31))
def test_true_windows_are_small(count, seed):
    window = window_of(exchanges(count, seed), random_head()).state
    data = packed(window)
    assert np.array_equal(unpacked(data)[1], window)
    assert len(data) < 1200


def test_the_same_window_has_the_same_bytes():
    """Whatever was in memory before."""
    window = window_of(exchanges(9, 1), random_head()).state
    assert packed(window) == packed(window.copy())
    assert len(packed(Window.empty().state)) == 3


DATA = packed(window_of(exchanges(20, 3), random_head()).state)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 3))
@example(b"", 0)
@example(b"\0", 0)
@example(b"\0\0", 0)
@example(b"\xff" * 400, 0)
@example(b"\0" + b"\xff" * 9 + b"\x01", 0)
@example(b"\0\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 0)
def test_arbitrary_bytes_stay_inside(data, at):
    unpacked(data, min(at, len(data)))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_bytes_stay_inside(changes):
    mutated = bytearray(DATA)
    for at, value in changes:
        mutated[at] = value
    unpacked(bytes(mutated))


def test_bytes_that_were_cut_are_told():
    assert [unpacked(DATA[:length])[0] for length in range(len(DATA))] == [-1] * len(DATA)
    assert unpacked(DATA)[0] == len(DATA)


def test_numbers_that_are_too_long_and_runs_that_are_too_long_are_told():
    run = lambda count: bytes([0, count & 127 | 128, count >> 7])  # noqa: E731
    assert unpacked(run(WORDS))[0] == 3
    for data in (run(WORDS + 1), run(0), b"\0\0", b"\x80" * 9 + b"\x80\x01", b"\x80" * 500):
        assert unpacked(data + bytes(600))[0] == -1
