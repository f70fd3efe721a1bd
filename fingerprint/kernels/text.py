"""The text kernel: one compiled pass from the bytes of a prompt to its integers.

What is read of a long prompt is bounded: prompts of up to ``READ_START + READ_END`` bytes (8 KiB) are
read whole, of longer ones the first 6 KiB and the last 2 KiB. Templates, instructions and answer-format
demands stand at the start and at the end; what lies between is usually a pasted document.

Tokens: a run of letters is a word (ASCII is lower-cased, other alphabets are taken as they are), a CJK
character or kana is a token by itself, a run of digits is one masked token, a run of one punctuation
mark is a token, line breaks are a token. No language is recognised and none becomes a feature.
"""

import numpy as np
from numba import uint64

from fingerprint._jit import inner, kernel
from fingerprint.kernels.hashing import FNV_BASIS, FNV_PRIME, log2_fixed, mix
from fingerprint.kernels.layout import (
    HEAD_OUTPUTS,
    LOG_ONE,
    SHARE_ONE,
    SKETCH,
    SKETCH_ONE,
    SMALL_TABLE,
    TABLE,
    WORD_BINS,
    WORD_TABLE,
)

__all__ = ["GRAM_BUCKETS", "READ_END", "READ_START", "T", "grams", "read_texts", "tokenise"]

READ_START = 6 * 1024
READ_END = 2 * 1024
GRAM_BUCKETS = 1 << 16
LEAD = 16  # tokens at the start that also count as "said at the start"
MAX_GRAMS = 2 * (READ_START + READ_END) + LEAD + 2
HEAD_TOKENS = 3  # tokens at the start that make the head form
TAIL_TOKENS = 5  # tokens at the end that make the tail form
SKELETON_TOKENS = 40

WORD, SHORT, NUMBER, MARK, BREAK, CHARACTER = 0, 1, 2, 3, 4, 5

# columns of the text row, int16
T = {
    name: i
    for i, name in enumerate(
        (
            "chars_log words digits punctuation code newlines questions list_marks "
            "head_form tail_form skeleton likeness"
        ).split()
    )
}
T_CAPABILITY = len(T)
TEXT_COLUMNS = len(T) + HEAD_OUTPUTS - 1
SKETCH_COLUMNS = 2 * SKETCH + WORD_TABLE  # content, form, word table

_CHARS, _WORDS, _DIGITS, _PUNCT, _CODE, _NEWLINES = (T[k] for k in list(T)[:6])
_QUESTIONS, _LISTS, _HEAD, _TAIL, _SKELETON, _LIKENESS = (T[k] for k in list(T)[6:])

# what a byte is: 0 space, 1 letter, 2 digit, 3 mark, 4 line break, 5 start of a wide character, 6 other lead
_CLASS = np.zeros(256, np.uint8)
_CLASS[list(range(33, 127))] = 3
_CLASS[[*range(65, 91), *range(97, 123)]] = 1
_CLASS[list(range(48, 58))] = 2
_CLASS[10] = 4
_CLASS[128:] = 1
_CLASS[0xC2] = 6  # Latin-1 punctuation
_CLASS[0xE2] = 5  # general punctuation, symbols
_CLASS[0xE3:0xEE] = 5  # CJK, kana, Hangul
_CLASS[0xEF] = 5  # full-width forms
_CLASS[0xF0:] = 5
_CODE_MARKS = np.zeros(256, np.uint8)
_CODE_MARKS[[ord(c) for c in "{}()[];=<>_\\`|&"]] = 1
_EXP = np.rint(np.exp(-np.arange(0, 16 * 16) / 16.0) * 65536).astype(np.int64)  # of sixteenths
_MASK = np.uint64(GRAM_BUCKETS - 1)
_SALT_PAIR = np.uint64(0x9E3779B97F4A7C15)
_SALT_LEAD = np.uint64(0xD6E8FEB86659FD93)
_NUMBER_HASH = np.uint64(0x1234567)
_WORD_HASH = np.uint64(0x7654321)
_U5, _U16, _U32 = np.uint64(5), np.uint64(16), np.uint64(32)


@inner
def _token_end(data, start, end, group):  # type: ignore[no-untyped-def]
    """The end of the token that begins at ``start`` with a byte of class ``group``."""
    first, at = data[start], start + 1
    if group == 5:
        width = 4 if first >= 0xF0 else 3
        return min(start + width, end)
    if group == 6:
        return min(start + 2, end)
    while at < end and _CLASS[data[at]] == group and (group != 3 or data[at] == first):
        at += 1
    return at


@inner
def _wide_kind(data, start, end):  # type: ignore[no-untyped-def]
    """Is the three-byte character at ``start`` a mark or a character of its own?"""
    first = data[start]
    if first == 0xE2 or first == 0xEF:
        return MARK
    if first == 0xE3 and start + 1 < end and data[start + 1] == 0x80:
        return MARK
    return CHARACTER


@inner
def tokenise(data, start, end, hashes, kinds, count):  # type: ignore[no-untyped-def]
    """Write the tokens of ``data[start:end]`` behind the first ``count``; returns the new count."""
    at = start
    while at < end:
        group = _CLASS[data[at]]
        if group == 0:
            at += 1
            continue
        stop = _token_end(data, at, end, group)
        if group == 2:
            hashes[count], kinds[count] = _NUMBER_HASH, NUMBER
        else:
            value, length = FNV_BASIS, min(stop - at, 3) if group == 3 or group == 4 else stop - at
            for k in range(at, at + length):
                byte = uint64(data[k])
                if 65 <= byte <= 90:
                    byte = byte + _U32
                value = (value ^ byte) * FNV_PRIME
            hashes[count] = mix(value)
            if group == 1:
                kinds[count] = SHORT if length <= 3 else WORD
            elif group == 5:
                kinds[count] = _wide_kind(data, at, end)
            else:
                kinds[count] = BREAK if group == 4 else MARK
        count += 1
        at = stop
    return count


@inner
def grams(hashes, count, out):  # type: ignore[no-untyped-def]
    """Buckets of the n-grams that the prompt head reads: words, pairs, words at the start.

    ``uint64[count] -> out: int32[...]``; returns how many were written (``2 * count + 1`` and the lead).
    """
    used, previous = 0, uint64(0)
    for i in range(count):
        value = hashes[i]
        out[used] = np.int32(mix(value) & _MASK)
        out[used + 1] = np.int32(mix(value + previous * _SALT_PAIR) & _MASK)
        used += 2
        if i < LEAD:
            out[used] = np.int32(mix(value ^ _SALT_LEAD) & _MASK)
            used += 1
        previous = value
    out[used] = np.int32(mix(previous * _SALT_PAIR) & _MASK)
    return used + 1


@inner
def _head(buckets, count, weights, scale, bias, row):  # type: ignore[no-untyped-def]
    """The prompt head: linear over n-gram buckets with int8 weights; softmax in integers."""
    totals = np.zeros(16, np.int32)
    for i in range(count):
        bucket = buckets[i]
        for j in range(16):
            totals[j] += weights[bucket, j]
    root, last = np.sqrt(np.float64(count)), HEAD_OUTPUTS - 1
    logits = np.empty(HEAD_OUTPUTS, np.int64)
    for j in range(HEAD_OUTPUTS):
        logits[j] = np.int64(np.floor((bias[j] + scale[j] * totals[j] / root) * LOG_ONE + 0.5))
    row[_LIKENESS] = min(max(logits[last], -8 * LOG_ONE), 8 * LOG_ONE - 1)
    best, total = logits[:last].max(), np.int64(0)
    for j in range(last):
        total += _EXP[min((best - logits[j]) >> 4, 255)]
    for j in range(last):
        row[T_CAPABILITY + j] = _EXP[min((best - logits[j]) >> 4, 255)] * SHARE_ONE // total


@inner
def _unit(totals, out, at):  # type: ignore[no-untyped-def]
    """Scale a vector of counts to length 127 and round it."""
    square = np.int64(0)
    for j in range(len(totals)):
        square += totals[j] * totals[j]
    length = np.sqrt(np.float64(square)) if square > 0 else 1.0
    for j in range(len(totals)):
        out[at + j] = np.int8(np.floor(totals[j] * SKETCH_ONE / length + 0.5))


@inner
def _sketch(hashes, kinds, count, sketch, word_min):  # type: ignore[no-untyped-def]
    """Content and form as signed random projections, words as a count sketch and as MinHash bins."""
    content, form = np.zeros(SKETCH, np.int64), np.zeros(SKETCH, np.int64)
    table = np.zeros(WORD_TABLE, np.int64)
    previous, before, words = uint64(0), uint64(0), 0
    for i in range(count):
        kind, value = kinds[i], hashes[i]
        topical = kind == WORD or kind == CHARACTER
        if topical or kind == SHORT:
            words += 1
            spread = mix(value + before * _SALT_PAIR) if kind == CHARACTER else mix(value ^ _SALT_LEAD)
            sign = 1 if spread & uint64(1) else -1
            if topical:
                content[np.int64((spread >> _U5) % uint64(SKETCH))] += sign
            table[np.int64((spread >> _U16) % uint64(WORD_TABLE))] += sign
            place, least = np.int64((spread >> _U32) % uint64(WORD_BINS)), mix(spread) >> uint64(48)
            if least < word_min[place]:
                word_min[place] = np.uint16(least)
        before = value
        masked = _WORD_HASH if topical else value
        if masked != previous or not topical:
            spread = mix(masked + previous * _SALT_PAIR)
            form[np.int64((spread >> _U5) % uint64(SKETCH))] += 1 if spread & uint64(1) else -1
        previous = masked
    _unit(content, sketch, 0)
    _unit(form, sketch, SKETCH)
    for j in range(WORD_TABLE):
        sketch[2 * SKETCH + j] = np.int8(min(max(table[j], -127), 127))
    return words


@inner
def _forms(hashes, kinds, count, row):  # type: ignore[no-untyped-def]
    """Table places of the head form, the tail form and the skeleton of marks and line breaks."""
    head, tail, skeleton, used = FNV_BASIS, FNV_BASIS, FNV_BASIS, 0
    for i in range(min(count, HEAD_TOKENS)):
        head = (head ^ hashes[i]) * FNV_PRIME
    for i in range(min(count, TAIL_TOKENS)):
        tail = (tail ^ hashes[count - 1 - i]) * FNV_PRIME
    for i in range(count):
        if (kinds[i] == MARK or kinds[i] == BREAK) and used < SKELETON_TOKENS:
            skeleton = (skeleton ^ hashes[i]) * FNV_PRIME
            used += 1
    row[_HEAD] = np.int16(mix(head) % uint64(TABLE))
    row[_TAIL] = np.int16(mix(tail) % uint64(2 * SMALL_TABLE))
    row[_SKELETON] = np.int16(mix(skeleton) % uint64(TABLE))


@inner
def _characters(data, start, end, totals):  # type: ignore[no-untyped-def]
    """Count bytes of interest: read, characters, digits, marks, code marks, breaks, questions, list lines."""
    value, fresh = totals[8], True
    for k in range(start, end):
        byte = data[k]
        group = _CLASS[byte]
        value = (value ^ uint64(byte)) * FNV_PRIME
        totals[0] += uint64(1)
        totals[1] += uint64((byte & 0xC0) != 0x80)
        totals[2] += uint64(group == 2)
        totals[3] += uint64(group == 3)
        totals[4] += uint64(_CODE_MARKS[byte])
        totals[5] += uint64(byte == 10)
        totals[6] += uint64(byte == 63)
        if fresh and group != 0:
            following = data[k + 1] if k + 1 < end else np.uint8(0)
            item = group == 2 and (following == 46 or following == 41)
            bullet = (byte == 45 or byte == 42) and following == 32
            totals[7] += uint64(item or bullet)
            fresh = False
        fresh = fresh or byte == 10
    totals[8] = value


@inner
def _read(data, start, end, weights, scale, bias, row, sketch, word_min):  # type: ignore[no-untyped-def]
    """Read one prompt into its rows; returns the hash of what was read."""
    length = end - start
    hashes = np.empty(READ_START + READ_END, np.uint64)
    kinds = np.empty(READ_START + READ_END, np.uint8)
    totals = np.zeros(9, np.uint64)
    totals[8] = FNV_BASIS ^ uint64(length)
    cut = end if length <= READ_START + READ_END else start + READ_START
    _characters(data, start, cut, totals)
    count = tokenise(data, start, cut, hashes, kinds, 0)
    if cut < end:
        _characters(data, end - READ_END, end, totals)
        count = tokenise(data, end - READ_END, end, hashes, kinds, count)
    word_min[:] = np.uint16(65535)
    words = _sketch(hashes, kinds, count, sketch, word_min)
    _forms(hashes, kinds, count, row)
    buckets = np.empty(MAX_GRAMS, np.int32)
    _head(buckets, grams(hashes, count, buckets), weights, scale, bias, row)
    read = max(np.int64(totals[0]), 1)
    row[_CHARS] = log2_fixed(max(np.int64(totals[1]) * length // read, 1))
    row[_WORDS] = words
    row[_DIGITS] = np.int64(totals[2]) * SHARE_ONE // read
    row[_PUNCT] = np.int64(totals[3]) * SHARE_ONE // read
    row[_CODE] = np.int64(totals[4]) * SHARE_ONE // read
    row[_NEWLINES] = log2_fixed(np.int64(totals[5]) + 1)
    row[_QUESTIONS] = totals[6] > 0
    row[_LISTS] = totals[7] > 1
    return mix(totals[8])


@kernel
def read_texts(data, offsets, weights, scale, bias, start, stop, rows, sketches, word_mins, hashes):  # type: ignore[no-untyped-def]
    """Read prompts ``start`` to ``stop``: ``uint8[b], int64[m+1], int8[buckets, 16], float64[13] x 2`` into
    ``int16[m, TEXT_COLUMNS], int8[m, SKETCH_COLUMNS], uint16[m, WORD_BINS], int64[m]``."""
    for i in range(start, stop):
        hashes[i] = np.int64(
            _read(data, offsets[i], offsets[i + 1], weights, scale, bias, rows[i], sketches[i], word_mins[i])
        )
