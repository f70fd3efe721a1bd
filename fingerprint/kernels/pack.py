"""A window as few bytes: most words of a window of few exchanges are empty or small.

Each word becomes a non-negative integer that is 0 where nothing was added (sums by zigzag, minima and maxima one up),
written in base 128, low digits first, a set high bit meaning that more follow; a run of zeros is a zero and its length.
"""

import numpy as np
from numba import int64, uint64

from fingerprint._jit import inner, kernel
from fingerprint.kernels.layout import EMPTY_MAX, EMPTY_MIN, N_MINIMA, N_SUMS, WORDS

__all__ = ["PACKED_BYTES", "pack", "unpack"]

PACKED_BYTES = 10 * WORDS  # the most that a window takes
_MAXIMA = N_SUMS + N_MINIMA


@inner
def _told(value, j):  # type: ignore[no-untyped-def]
    if j < N_SUMS:
        return (uint64(value) << uint64(1)) ^ uint64(value >> int64(63))
    if j < _MAXIMA:
        return uint64(0) if value == EMPTY_MIN else uint64(value) + uint64(1)
    return uint64(value - EMPTY_MAX)


@inner
def _meant(told, j):  # type: ignore[no-untyped-def]
    if j < N_SUMS:
        return int64(told >> uint64(1)) ^ -int64(told & uint64(1))
    if j < _MAXIMA:
        return int64(EMPTY_MIN) if told == 0 else int64(told) - 1
    return int64(told) + EMPTY_MAX


@inner
def _put(out, at, value):  # type: ignore[no-untyped-def]
    while value >= uint64(128):
        out[at] = np.uint8((value & uint64(127)) | uint64(128))
        value >>= uint64(7)
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@inner
def _get(data, at):  # type: ignore[no-untyped-def]
    """Value and next place; place -1 where the bytes end too early or the number is too long."""
    value, shift = uint64(0), uint64(0)
    while at < len(data) and shift < uint64(70):
        byte = uint64(data[at])
        value |= (byte & uint64(127)) << shift
        at += 1
        if byte < uint64(128):
            return value, at
        shift += uint64(7)
    return value, -1


@kernel
def pack(window, out):  # type: ignore[no-untyped-def]
    """Write ``int64[WORDS]`` into ``uint8[PACKED_BYTES]``; returns how many bytes it took."""
    at, zeros = 0, uint64(0)
    for j in range(WORDS):
        told = _told(window[j], j)
        if told == 0:
            zeros += uint64(1)
            continue
        if zeros:
            out[at] = 0
            at, zeros = _put(out, at + 1, zeros), uint64(0)
        at = _put(out, at, told)
    if zeros:
        out[at] = 0
        at = _put(out, at + 1, zeros)
    return at


@kernel
def unpack(data, at, window):  # type: ignore[no-untyped-def]
    """Read what ``pack`` wrote at ``data[at:]`` into ``int64[WORDS]``: the place behind it, -1 for other bytes."""
    j = 0
    while j < WORDS:
        told, at = _get(data, at)
        if at < 0:
            return -1
        if told:
            window[j] = _meant(told, j)
            j += 1
            continue
        zeros, at = _get(data, at)
        if at < 0 or zeros == 0 or zeros > uint64(WORDS - j):
            return -1
        for _ in range(int64(zeros)):
            window[j] = _meant(uint64(0), j)
            j += 1
    return at
