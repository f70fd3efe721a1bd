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
LINK_UNITS = 14  # of the start, and of the end, that link exchanges of one template across accounts: a word is 2,
# a wide character or a mark 1
LINK_LEAST = 32  # units of a prompt that has room for a template beside what fills it

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
_LOWER = np.arange(256, dtype=np.uint8)
_LOWER[65:91] += 32
_CODE_MARKS = np.zeros(256, np.uint8)
_CODE_MARKS[[ord(c) for c in "{}()[];=<>_\\`|&"]] = 1
_EXP = np.rint(np.exp(-np.arange(0, 16 * 16) / 16.0) * 65536).astype(np.int64)  # of sixteenths
_MASK = np.uint64(GRAM_BUCKETS - 1)
_SALT_PAIR = np.uint64(0x9E3779B97F4A7C15)
_SALT_LEAD = np.uint64(0xD6E8FEB86659FD93)
_NUMBER_HASH = np.uint64(0x1234567)
_WORD_HASH = np.uint64(0x7654321)
_U5, _U16, _U32 = np.uint64(5), np.uint64(16), np.uint64(32)


# what is counted of a prompt while it is tokenised
_EXACT, _N_DIGITS, _N_MARKS, _N_CODE, _N_BREAKS, _N_QUESTIONS, _N_LISTS, COUNTERS = range(8)


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
def _count_token(data, start, stop, end, kind, fresh, counters):  # type: ignore[no-untyped-def]
    """Count digits, marks, code marks, breaks, question marks, and list items at the start of a line."""
    first, length = data[start], uint64(stop - start)
    following = data[stop] if stop < end else np.uint8(0)
    if kind == NUMBER:
        counters[_N_DIGITS] += length
        counters[_N_LISTS] += uint64(fresh and (following == 46 or following == 41))
    elif kind == BREAK:
        counters[_N_BREAKS] += length
    elif first < 128:
        counters[_N_MARKS] += length
        counters[_N_CODE] += length * uint64(_CODE_MARKS[first])
        counters[_N_QUESTIONS] += uint64(first == 63)
        counters[_N_LISTS] += uint64(fresh and (first == 45 or first == 42) and following == 32)


@inner
def tokenise(data, start, end, hashes, kinds, count, counters):  # type: ignore[no-untyped-def]
    """Write the tokens of ``data[start:end]`` behind the first ``count`` and count what they are.

    ``uint8[...] -> hashes: uint64[...], kinds: uint8[...], counters: uint64[COUNTERS]``; returns the new count.
    """
    at, fresh, exact = start, True, counters[_EXACT]
    while at < end:
        first = data[at]
        group = _CLASS[first]
        if group == 0:
            at += 1
            continue
        begin, value = at, FNV_BASIS
        if group >= 5:
            stop = min(at + (2 if group == 6 else 4 if first >= 0xF0 else 3), end)
            while at < stop:
                value = (value ^ uint64(data[at])) * FNV_PRIME
                at += 1
            kind = _wide_kind(data, begin, end) if group == 5 else MARK
        elif group >= 3:
            while at < end and data[at] == first:
                if at - begin < 3:
                    value = (value ^ uint64(first)) * FNV_PRIME
                at += 1
            kind = BREAK if group == 4 else MARK
        else:
            while at < end and _CLASS[data[at]] == group:
                value = (value ^ uint64(_LOWER[data[at]])) * FNV_PRIME
                at += 1
            kind = NUMBER if group == 2 else SHORT if at - begin <= 3 else WORD
        value = mix(value)
        exact = (exact ^ value) * FNV_PRIME
        hashes[count], kinds[count] = _NUMBER_HASH if kind == NUMBER else value, kind
        if kind == NUMBER or kind == MARK or kind == BREAK:
            _count_token(data, begin, at, end, kind, fresh, counters)
        fresh = kind == BREAK
        count += 1
    counters[_EXACT] = exact
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
def _head(buckets, count, weights, scale, bias, row, totals):  # type: ignore[no-untyped-def]
    """The prompt head: linear over n-gram buckets with int8 weights; softmax in integers."""
    totals[:] = 0
    even = count - count % 4
    for i in range(0, even, 4):  # four at a time: the sums stay in registers for longer
        a, b, c, d = buckets[i], buckets[i + 1], buckets[i + 2], buckets[i + 3]
        for j in range(16):
            totals[j] += (np.int32(weights[a, j]) + weights[b, j]) + (np.int32(weights[c, j]) + weights[d, j])
    for i in range(even, count):
        for j in range(16):
            totals[j] += weights[buckets[i], j]
    root, last = np.sqrt(np.float64(count)), HEAD_OUTPUTS - 1
    for j in range(HEAD_OUTPUTS):
        totals[j] = np.int32(np.floor((bias[j] + scale[j] * totals[j] / root) * LOG_ONE + 0.5))
    row[_LIKENESS] = min(max(totals[last], -8 * LOG_ONE), 8 * LOG_ONE - 1)
    best, total = totals[:last].max(), np.int64(0)
    for j in range(last):
        total += _EXP[min((best - totals[j]) >> 4, 255)]
    for j in range(last):
        row[T_CAPABILITY + j] = _EXP[min((best - totals[j]) >> 4, 255)] * SHARE_ONE // total


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
def _sketch(hashes, kinds, count, sketch, word_min, parts):  # type: ignore[no-untyped-def]
    """Content and form as signed random projections, words as a count sketch and as MinHash bins."""
    parts[:] = 0
    content, form, table = parts[:SKETCH], parts[SKETCH : 2 * SKETCH], parts[2 * SKETCH :]
    word_min[:] = np.uint16(65535)
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
def _links(hashes, kinds, count, out):  # type: ignore[no-untyped-def]
    """Hashes of the head and of the tail, numbers masked, for links across accounts; 0 where the prompt is short."""
    out[1] = out[2] = 0
    head, tail, units = FNV_BASIS, FNV_BASIS, 0
    for i in range(count):
        if units < LINK_UNITS:
            head = (head ^ hashes[i]) * FNV_PRIME
        units += 2 if kinds[i] <= NUMBER else 1
        if units >= LINK_LEAST:
            break
    if units < LINK_LEAST:
        return
    units, at = 0, count - 1
    while units < LINK_UNITS:
        tail = (tail ^ hashes[at]) * FNV_PRIME
        units += 2 if kinds[at] <= NUMBER else 1
        at -= 1
    out[1], out[2] = np.int64(mix(head) | uint64(1)), np.int64(mix(tail) | uint64(1))


@inner
def _characters(data, start, end):  # type: ignore[no-untyped-def]
    """Number of UTF-8 characters that begin in ``data[start:end]``."""
    count = 0
    for k in range(start, end):
        count += (data[k] & 0xC0) != 0x80
    return count


@inner
def _read(data, start, end, head, row, sketch, word_min, hashed, scratch):  # type: ignore[no-untyped-def]
    """Read one prompt into its rows; ``hashed``: of what was read (letter case and spacing aside), of head and tail."""
    hashes, kinds, buckets, totals, parts, counters = scratch
    length = end - start
    counters[:] = 0
    counters[_EXACT] = FNV_BASIS ^ uint64(length)
    cut = end if length <= READ_START + READ_END else start + READ_START
    count = tokenise(data, start, cut, hashes, kinds, 0, counters)
    read, characters = max(cut - start, 1), _characters(data, start, cut)
    if cut < end:
        count = tokenise(data, end - READ_END, end, hashes, kinds, count, counters)
        read, characters = read + READ_END, characters + _characters(data, end - READ_END, end)
    row[_WORDS] = _sketch(hashes, kinds, count, sketch, word_min, parts)
    _forms(hashes, kinds, count, row)
    _links(hashes, kinds, count, hashed)
    weights, scale, bias = head
    _head(buckets, grams(hashes, count, buckets), weights, scale, bias, row, totals)
    row[_CHARS] = log2_fixed(max(characters * length // read, 1))
    row[_DIGITS] = np.int64(counters[_N_DIGITS]) * SHARE_ONE // read
    row[_PUNCT] = np.int64(counters[_N_MARKS]) * SHARE_ONE // read
    row[_CODE] = np.int64(counters[_N_CODE]) * SHARE_ONE // read
    row[_NEWLINES] = log2_fixed(np.int64(counters[_N_BREAKS]) + 1)
    row[_QUESTIONS] = counters[_N_QUESTIONS] > 0
    row[_LISTS] = counters[_N_LISTS] > 1
    hashed[0] = np.int64(mix(counters[_EXACT]))


@kernel
def read_texts(data, offsets, weights, scale, bias, start, stop, rows, sketches, word_mins, hashes):  # type: ignore[no-untyped-def]
    """Read prompts ``start`` to ``stop``: ``uint8[b], int64[m+1], int8[buckets, 16], float64[13] x 2`` into
    ``int16[m, TEXT_COLUMNS], int8[m, SKETCH_COLUMNS], uint16[m, WORD_BINS], int64[m, 3]``."""
    scratch = (
        np.empty(READ_START + READ_END, np.uint64),
        np.empty(READ_START + READ_END, np.uint8),
        np.empty(MAX_GRAMS, np.int32),
        np.empty(16, np.int32),
        np.empty(SKETCH_COLUMNS, np.int64),
        np.empty(COUNTERS, np.uint64),
    )
    head = (weights, scale, bias)
    for i in range(start, stop):
        first, last = offsets[i], offsets[i + 1]
        _read(data, first, last, head, rows[i], sketches[i], word_mins[i], hashes[i], scratch)
