"""What accounts number: of each prompt the first whole number near its start, and what stands before it.

"Question 1017: ..." gives the number 1017 and a hash of its lead, "question " and the colon. Numbers inside quotes, of
dates, times, decimals and versions, inside words, and of more than seven digits (telephones, cards, ids) are passed
over. Of each account the ``KEPT`` pairs of lead and number whose hash is smallest are kept, each once (coordinated
bottom-k sampling, Cohen & Kaplan 2007): the same in any order, streamed, merged or day by day, and of two accounts with
the same numbers the same ones. The rank of the last that is kept tells how many there were. It holds integers, never
text. Left out: whose numbers make one list (lists).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from fingerprint._jit import inner, kernel
from fingerprint.campaigns.hours import mixed
from fingerprint.exchange import Batch
from fingerprint.kernels.hashing import FNV_BASIS, FNV_PRIME, mix
from fingerprint.kernels.layout import MISSING

__all__ = ["BITS", "DIGITS", "KEPT", "READ", "Numbered", "Numbering", "first_numbers", "number_keys"]

KEPT = 64  # pairs of an account
READ = 256  # bytes of a prompt in which its number begins
DIGITS = 7  # of a number, at most
BITS = 24  # of a key that hold the number; those above are the lead
_LEAD_SHIFT = np.uint64(BITS + 1)  # of a hash, so that a key is never negative
_WAITING = 500_000  # rows that wait before they are cut to size

SPACE, LETTER, DIGIT, MARK, QUOTE = 0, 1, 2, 3, 4
_CLASS = np.full(256, MARK, np.uint8)
_CLASS[:33] = SPACE
_CLASS[[*range(65, 91), *range(97, 123)]] = LETTER
_CLASS[48:58] = DIGIT
_CLASS[[34, 96]] = QUOTE  # " and `; the curly ones have three bytes
_LOWER = np.arange(256, dtype=np.uint8)
_LOWER[65:91] += 32
_JOINS = np.zeros(256, np.uint8)
_JOINS[[44, 45, 46, 58]] = 1  # , - . : before a digit: a date, a time, a decimal, a version


@inner
def _digit(data, at, end):  # type: ignore[no-untyped-def]
    """Is there a digit at this place?"""
    return at < end and _CLASS[data[at]] == DIGIT


@inner
def _number(data, at, end):  # type: ignore[no-untyped-def]
    """The whole number that begins at a digit, MISSING where it is none, and where what holds it ends."""
    value, digits, whole = np.int64(0), 0, True
    while at < end:
        if _CLASS[data[at]] == DIGIT:
            value = value * 10 + data[at] - 48 if digits < DIGITS else np.int64(MISSING)
            digits += 1
        elif data[at] == 44 and _thousands(data, at, end):
            pass  # 12,400
        elif _JOINS[data[at]] and _digit(data, at + 1, end):
            whole = False
        else:
            break
        at += 1
    whole &= digits <= DIGITS and not (at < end and _CLASS[data[at]] == LETTER)
    return value if whole else np.int64(MISSING), at


@inner
def _thousands(data, at, end):  # type: ignore[no-untyped-def]
    """Do exactly three digits follow the comma?"""
    for k in range(1, 4):
        if not _digit(data, at + k, end):
            return False
    return not _digit(data, at + 4, end)


@inner
def _key(data, start, end):  # type: ignore[no-untyped-def]
    """Lead and number of one prompt, MISSING without any."""
    at, stop, lead, quote, letters, space = start, min(end, start + READ), FNV_BASIS, np.uint8(0), 0, True
    while at < stop:
        byte = data[at]
        group = _CLASS[byte]
        if quote:
            quote = np.uint8(0) if byte == quote else quote
        elif group == DIGIT:
            number, after = _number(data, at, end)
            if number != MISSING and letters < 2:
                mark = data[after] if after < end else np.uint8(32)
                return np.int64(mix((lead ^ uint64(mark)) * FNV_PRIME) >> _LEAD_SHIFT) << BITS | number
            lead, at = (lead ^ uint64(48)) * FNV_PRIME, after - 1  # passed over: one masked token
        elif group == QUOTE or (byte == 0x9C and at >= start + 2 and data[at - 1] == 0x80 and data[at - 2] == 0xE2):
            quote, lead = byte if group == QUOTE else np.uint8(0x9D), (lead ^ uint64(byte)) * FNV_PRIME
        elif group != SPACE or not space:
            lead = (lead ^ uint64(32 if group == SPACE else _LOWER[byte])) * FNV_PRIME
        letters = letters + 1 if group == LETTER else 0
        space = group == SPACE
        at += 1
    return np.int64(MISSING)


@kernel
def first_numbers(data, offsets):  # type: ignore[no-untyped-def]
    """Of each prompt its key, MISSING (-1) without a number: ``uint8[b], int64[m+1] -> int64[m]``."""
    out = np.empty(len(offsets) - 1, np.int64)
    for i in range(len(out)):
        out[i] = _key(data, offsets[i], offsets[i + 1])
    return out


def number_keys(batch: Batch) -> NDArray[np.int64]:
    """Lead and number of each prompt as one key, MISSING without any: int64[m]."""
    return np.asarray(first_numbers(batch.data, batch.offsets), np.int64)


class Numbered(NamedTuple):
    """``m`` pairs by account and hash: ``account`` int32[m], ``key`` int64[m], lead and number (``BITS``)."""

    account: NDArray[np.int32]
    key: NDArray[np.int64]

    @classmethod
    def none(cls) -> Numbered:
        """No number."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int64))

    @classmethod
    def merged(cls, parts: list[Numbered], size: int = KEPT) -> Numbered:
        """The sample of several together."""
        account, key = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        by = np.lexsort((mixed(key), account))
        account, key = account[by], key[by]
        new = (np.diff(account, prepend=-1) != 0) | (np.diff(key, prepend=MISSING) != 0)
        account, key = account[new], key[new]
        rank = np.arange(len(key)) - np.searchsorted(account, account)
        return cls(account[rank < size], key[rank < size])

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Numbered:
        """The given rows."""
        return Numbered(self.account[rows], self.key[rows])


class Numbering:
    """Takes exchanges with ``add``, in any order; ``finish`` gives the sample, by account and hash."""

    def __init__(self, size: int = KEPT, before: Numbered | None = None) -> None:
        self.size = size
        self._kept = [Numbered.none() if before is None else before]
        self._waiting = 0

    def add(self, account: NDArray[np.int32], key: NDArray[np.int64]) -> None:
        """Keep what belongs to the sample; a ``key`` of MISSING is no number."""
        some = key != MISSING
        self._kept.append(Numbered.merged([Numbered(account[some], key[some])], self.size))
        self._waiting += len(self._kept[-1].account)
        if self._waiting > max(len(self._kept[0].account), _WAITING):
            self._kept, self._waiting = [self.finish()], 0

    def finish(self) -> Numbered:
        """The sample so far."""
        return Numbered.merged(self._kept, self.size)
