"""From contributions to windows: add rows to windows, merge windows. Sums by +, minima by min, maxima by max.

A contribution is the sparse form of one window row: a handful of small integers that say which words of
the window change by how much. ``add_rows`` expands it in place, so that no dense row is ever built.
"""

import math

import numpy as np
from numba import uint64

from fingerprint._jit import inner, kernel
from fingerprint.kernels import layout
from fingerprint.kernels.hashing import log2_fixed, mix, rank
from fingerprint.kernels.layout import (
    AT,
    CAPABILITIES,
    EMPTY_MAX,
    EMPTY_MIN,
    EPOCH_US,
    GAP_BINS,
    GAP_ONE,
    HOUR_ONE,
    LENGTH_BINS,
    LIKENESS_BINS,
    LOG_ONE,
    MISSING,
    N_MINIMA,
    N_SUMS,
    OUTPUT_BINS,
    SESSION_GAP_US,
    SHARE_ONE,
    SKETCH,
    SMALL_TABLE,
    WORD_BINS,
    WORD_TABLE,
    WORDS,
    M,
    W,
)
from fingerprint.kernels.text import T_CAPABILITY, T

__all__ = ["add_rows", "add_to_each", "clear", "merge_rows", "merge_suffixes"]

# Offsets become compile-time constants of the kernels.
N, CHARS, CHARS_SQ, LENGTHS = AT["n"], AT["chars_log"], AT["chars_log_sq"], AT["length_hist"]
CONTENT, CONTENT_SQ, CONTENT_N = AT["content"], AT["content_sq"], AT["content_n"]
FORM, FORM_SQ, FORM_N = AT["form"], AT["form_sq"], AT["form_n"]
WORD_COUNT, WORD_SIGNED, WORD_MIN = AT["words"], AT["word_table"], AT["word_min"]
SHAPES = AT["digits"]  # digits, punctuation, code, newlines, questions, list marks stand together
HEAD_FORM, TAIL_FORM, SKELETON = AT["head_form"], AT["tail_form"], AT["skeleton"]
CAPABILITY, CAPABILITY_T, N_CAP = AT["capability"], AT["capability_t"], len(CAPABILITIES)
LIKENESS, LIKENESS_SQ, LIKENESS_T = AT["likeness"], AT["likeness_sq"], AT["likeness_t"]
LIKENESS_HIST = AT["likeness_hist"]
HOURS, HOURS_SQ, HOUR, WEEKEND = AT["hours"], AT["hours_sq"], AT["hour"], AT["weekend"]
GAP_N, GAP_LOG, GAP_LOG_SQ, GAP_HIST = AT["gap_n"], AT["gap_log"], AT["gap_log_sq"], AT["gap_hist"]
PAUSE_N, PAUSE_LOG, PAUSE_LOG_SQ = AT["pause_n"], AT["pause_log"], AT["pause_log_sq"]
PAUSE, PAUSE_SQ = AT["pause"], AT["pause_sq"]
MINUTE, IN_HOUR, OVERLAP, OVERLAP_N = AT["phase_minute"], AT["phase_hour"], AT["overlap"], AT["overlap_n"]
AGE, CREATED, FIRST, LAST = AT["age_hist"], AT["created_us"], AT["first_us"], AT["last_us"]
MAX_TOKENS, TEMPERATURE, STOP, DEPTH = (
    AT["max_tokens_hist"],
    AT["temperature_hist"],
    AT["stop_hist"],
    AT["depth_hist"],
)
FLAGS = AT["several"]  # several, logprobs, reasoning, stream, tools: each a count and the count of known
SYSTEM, SYSTEM_TABLE, REQUEST_TABLE = AT["system"], AT["system_table"], AT["request_table"]
MODEL_N, MODEL_TABLE = AT["model_n"], AT["model_table"]
OUT_N, OUT, OUT_LOG, OUT_LOG_SQ, OUT_HIST = (
    AT["output_n"],
    AT["output"],
    AT["output_log"],
    AT["output_log_sq"],
    AT["output_hist"],
)
IN_N, IN, RATIO_N, RATIO, RATIO_SQ = AT["input_n"], AT["input"], AT["ratio_n"], AT["ratio_log"], AT["ratio_log_sq"]
CEILING_HIT, CEILING_N = AT["ceiling_hit"], AT["ceiling_n"]
SMALL_PLAN, PLAN_N, IP_N, AGENT_N = AT["small_plan"], AT["plan_n"], AT["ip_n"], AT["agent_n"]
DEPTH_MAX, PROMPT_REG, PROMPT_DAY_REG = AT["depth_max"], AT["prompt_reg"], AT["prompt_day_reg"]
IP_REG, AGENT_REG = AT["ip_reg"], AT["agent_reg"]
PROMPT_REGISTERS, IP_REGISTERS, AGENT_REGISTERS = (
    layout.PROMPT_REGISTERS,
    layout.IP_REGISTERS,
    layout.AGENT_REGISTERS,
)
T_CHARS, T_WORDS, T_SHAPES, T_HEAD, T_TAIL, T_SKELETON, T_LIKENESS = (
    T["chars_log"],
    T["words"],
    T["digits"],
    T["head_form"],
    T["tail_form"],
    T["skeleton"],
    T["likeness"],
)
TIME, GAP, PROMPT = W["time_us"], W["gap_us"], W["prompt"]
M_DEPTH, M_TOOLS, M_MAX, M_TEMPERATURE, M_N = (
    M["n_messages"],
    M["n_tools"],
    M["max_tokens"],
    M["temperature"],
    M["n"],
)
M_LOGPROBS, M_INPUT, M_OUTPUT, M_STOP = M["logprobs"], M["input_tokens"], M["output_tokens"], M["stop"]
M_IP, M_AGENT, M_CREATED, M_PLAN, M_MODEL, M_SYSTEM = (
    M["ip"],
    M["agent"],
    M["created_hour"],
    M["small_plan"],
    M["model"],
    M["system"],
)
TOKENS_A_SECOND = 100  # a fast answer: a request within this time of the last one overlaps its answer
# Cosine and sine of the 60 positions in a minute or an hour, in 1/1024: a table, so that it is portable.
_TURN = np.rint(
    SHARE_ONE * np.stack([np.cos(np.arange(60) * math.tau / 60), np.sin(np.arange(60) * math.tau / 60)])
).astype(np.int64)
_AGE_DAYS = np.array([1, 3, 7, 30, 90], np.int64)
_CEILINGS = np.array([64, 256, 1024, 4096, 16384], np.int64)
_TEMPERATURES = np.array([0, 300, 600, 800, 1000], np.int64)


@kernel
def clear(windows):  # type: ignore[no-untyped-def]
    """Make every row of ``int64[k, WORDS]`` the empty window."""
    windows[:, :N_SUMS] = 0
    windows[:, N_SUMS : N_SUMS + N_MINIMA] = EMPTY_MIN
    windows[:, N_SUMS + N_MINIMA :] = EMPTY_MAX


@kernel
def merge_rows(into, other):  # type: ignore[no-untyped-def]
    """Merge ``other`` into ``into``, both ``int64[WORDS]``, column by column."""
    for j in range(N_SUMS):
        into[j] += other[j]
    for j in range(N_SUMS, N_SUMS + N_MINIMA):
        into[j] = min(into[j], other[j])
    for j in range(N_SUMS + N_MINIMA, WORDS):
        into[j] = max(into[j], other[j])


@kernel
def merge_suffixes(into, table, cells):  # type: ignore[no-untyped-def]
    """Row 0 of ``table`` to row 0 of ``into``; each row ``cells[k, 0]`` merged into the rows from ``cells[k, 1]`` on.

    ``int64[h, WORDS], int64[m, WORDS], int64[k, 2]``; what ``into`` held is overwritten.
    """
    clear(into)
    into[0] = table[0]
    for h in range(1, len(into)):
        if h > 1:
            into[h] = into[h - 1]
        for k in range(len(cells)):
            if cells[k, 1] == h:
                merge_rows(into[h], table[cells[k, 0]])


@inner
def _bin_of(value, edges):  # type: ignore[no-untyped-def]
    for j in range(len(edges)):
        if value <= edges[j]:
            return j
    return len(edges)


@inner
def _register(window, base, registers, value):  # type: ignore[no-untyped-def]
    """Add a hashed value to HyperLogLog registers (Flajolet et al., 2007)."""
    spread = mix(value)
    place = base + np.int64(spread % uint64(registers))
    window[place] = max(window[place], rank(mix(spread)))


@inner
def _add_text(window, row, sketch, word_min, prompt, day):  # type: ignore[no-untyped-def]
    chars = np.int64(row[T_CHARS])
    window[CHARS] += chars
    window[CHARS_SQ] += chars * chars
    window[LENGTHS + min(max(chars // LOG_ONE - 2, 0), LENGTH_BINS - 1)] += 1
    window[WORD_COUNT] += row[T_WORDS]
    for j in range(6):
        window[SHAPES + j] += row[T_SHAPES + j]
    window[HEAD_FORM + row[T_HEAD]] += 1
    window[TAIL_FORM + row[T_TAIL]] += 1
    window[SKELETON + row[T_SKELETON]] += 1
    content_sq, form_sq = np.int64(0), np.int64(0)
    for j in range(SKETCH):
        content, form = np.int64(sketch[j]), np.int64(sketch[SKETCH + j])
        window[CONTENT + j] += content
        window[FORM + j] += form
        content_sq += content * content
        form_sq += form * form
    window[CONTENT_SQ] += content_sq
    window[FORM_SQ] += form_sq
    window[CONTENT_N] += content_sq > 0
    window[FORM_N] += form_sq > 0
    for j in range(WORD_TABLE):
        window[WORD_SIGNED + j] += sketch[2 * SKETCH + j]
    for j in range(WORD_BINS):
        if word_min[j] != 65535:
            window[WORD_MIN + j] = min(window[WORD_MIN + j], np.int64(word_min[j]))
    _register(window, PROMPT_REG, PROMPT_REGISTERS, uint64(prompt))
    _register(window, PROMPT_DAY_REG, PROMPT_REGISTERS, uint64(prompt) + uint64(day) * uint64(0x9E3779B97F4A7C15))


@inner
def _add_head(window, row, hours):  # type: ignore[no-untyped-def]
    likeness = np.int64(row[T_LIKENESS])
    window[LIKENESS] += likeness
    window[LIKENESS_SQ] += likeness * likeness
    window[LIKENESS_T] += likeness * hours
    window[LIKENESS_HIST + min(max(likeness // LOG_ONE + LIKENESS_BINS // 2, 0), LIKENESS_BINS - 1)] += 1
    for j in range(N_CAP):
        share = np.int64(row[T_CAPABILITY + j])
        window[CAPABILITY + j] += share
        window[CAPABILITY_T + j] += share * hours


@inner
def _add_gap(window, gap):  # type: ignore[no-untyped-def]
    gap_log = log2_fixed(max(gap // 1000, 1))
    window[GAP_N] += 1
    window[GAP_LOG] += gap_log
    window[GAP_LOG_SQ] += gap_log * gap_log
    window[GAP_HIST + min(gap_log // LOG_ONE, GAP_BINS - 1)] += 1
    if gap <= SESSION_GAP_US:
        ticks = gap * GAP_ONE // 1_000_000
        window[PAUSE_N] += 1
        window[PAUSE_LOG] += gap_log
        window[PAUSE_LOG_SQ] += gap_log * gap_log
        window[PAUSE] += ticks
        window[PAUSE_SQ] += ticks * ticks


@inner
def _add_time(window, time, gap, hours, meta):  # type: ignore[no-untyped-def]
    second = time // 1_000_000
    window[FIRST] = min(window[FIRST], time)
    window[LAST] = max(window[LAST], time)
    window[HOURS] += hours
    window[HOURS_SQ] += hours * hours
    window[HOUR + second // 3600 % 24] += 1
    window[WEEKEND] += (second // 86400 + 3) % 7 >= 5
    for j in range(2):
        window[MINUTE + j] += _TURN[j, second % 60]
        window[IN_HOUR + j] += _TURN[j, second // 60 % 60]
    if gap != MISSING:
        _add_gap(window, gap)
        if meta[M_OUTPUT] != MISSING:
            window[OVERLAP_N] += 1
            window[OVERLAP] += gap * TOKENS_A_SECOND < np.int64(meta[M_OUTPUT]) * 1_000_000
    if meta[M_CREATED] != MISSING:
        created = np.int64(meta[M_CREATED]) * 3_600_000_000
        window[CREATED] = min(window[CREATED], created)
        window[AGE + _bin_of(max(time - created, 0) // 86_400_000_000, _AGE_DAYS - 1)] += 1


@inner
def _add_request(window, meta):  # type: ignore[no-untyped-def]
    if meta[M_MAX] != MISSING:
        window[MAX_TOKENS + _bin_of(meta[M_MAX], _CEILINGS)] += 1
    if meta[M_TEMPERATURE] != MISSING:
        window[TEMPERATURE + _bin_of(meta[M_TEMPERATURE], _TEMPERATURES)] += 1
    if meta[M_N] != MISSING:
        window[FLAGS] += meta[M_N] > 1
        window[FLAGS + 1] += 1
    for j in range(3):
        if meta[M_LOGPROBS + j] != MISSING:
            window[FLAGS + 2 + 2 * j] += meta[M_LOGPROBS + j]
            window[FLAGS + 3 + 2 * j] += 1
    if meta[M_TOOLS] != MISSING:
        window[FLAGS + 8] += meta[M_TOOLS] > 0
        window[FLAGS + 9] += 1
    if meta[M_STOP] != MISSING:
        window[STOP + meta[M_STOP]] += 1
    if meta[M_SYSTEM] != MISSING:
        window[SYSTEM] += 1
        window[SYSTEM_TABLE + np.int64(mix(meta[M_SYSTEM]) % uint64(SMALL_TABLE))] += 1
    if meta[M_MODEL] != MISSING:
        window[MODEL_N] += 1
        window[MODEL_TABLE + np.int64(mix(meta[M_MODEL]) % uint64(SMALL_TABLE))] += 1
    request = mix(uint64(meta[M_MAX] + 3)) ^ mix(uint64(meta[M_TEMPERATURE] + 7)) * uint64(3)
    request = mix(request + uint64(meta[M_N] + 11) + uint64(meta[M_TOOLS] + 1) * uint64(977))
    window[REQUEST_TABLE + np.int64(request % uint64(SMALL_TABLE))] += 1


@inner
def _add_usage(window, meta):  # type: ignore[no-untyped-def]
    depth, given, taken = np.int64(meta[M_DEPTH]), np.int64(meta[M_INPUT]), np.int64(meta[M_OUTPUT])
    if depth != MISSING:
        window[DEPTH + min(log2_fixed(max(2 * depth - 1, 1)) // LOG_ONE, 6)] += 1
        window[DEPTH_MAX] = max(window[DEPTH_MAX], depth)
    if given != MISSING:
        window[IN_N] += 1
        window[IN] += given
    if taken != MISSING:
        taken_log = log2_fixed(taken + 1)
        window[OUT_N] += 1
        window[OUT] += taken
        window[OUT_LOG] += taken_log
        window[OUT_LOG_SQ] += taken_log * taken_log
        window[OUT_HIST + min(taken_log // (2 * LOG_ONE), OUTPUT_BINS - 1)] += 1
        if meta[M_MAX] > 0:
            window[CEILING_N] += 1
            window[CEILING_HIT] += taken >= meta[M_MAX]
        if given != MISSING:
            ratio = taken_log - log2_fixed(given + 1)
            window[RATIO_N] += 1
            window[RATIO] += ratio
            window[RATIO_SQ] += ratio * ratio
    if meta[M_PLAN] != MISSING:
        window[SMALL_PLAN] += meta[M_PLAN]
        window[PLAN_N] += 1
    if meta[M_IP] != MISSING:
        window[IP_N] += 1
        _register(window, IP_REG, IP_REGISTERS, uint64(meta[M_IP]))
    if meta[M_AGENT] != MISSING:
        window[AGENT_N] += 1
        _register(window, AGENT_REG, AGENT_REGISTERS, uint64(meta[M_AGENT]))


@inner
def _add(window, i, when, text, sketch, word_min, meta):  # type: ignore[no-untyped-def]
    """Add contribution row ``i`` to one window."""
    time = when[i, TIME]
    hours = (time - EPOCH_US) * HOUR_ONE // 3_600_000_000
    window[N] += 1
    _add_text(window, text[i], sketch[i], word_min[i], when[i, PROMPT], time // 86_400_000_000)
    _add_head(window, text[i], hours)
    _add_time(window, time, when[i, GAP], hours, meta[i])
    _add_request(window, meta[i])
    _add_usage(window, meta[i])


@kernel
def add_rows(windows, entity, order, when, text, sketch, word_min, meta, start, stop):  # type: ignore[no-untyped-def]
    """Add contribution rows ``order[start:stop]`` to ``windows[entity[row]]``.

    ``int64[k, WORDS], int64[m], int64[m]`` and the five arrays of a contribution.
    """
    for at in range(start, stop):
        i = order[at]
        _add(windows[entity[i]], i, when, text, sketch, word_min, meta)


@kernel
def add_to_each(windows, when, text, sketch, word_min, meta):  # type: ignore[no-untyped-def]
    """Add the first contribution row to every window of ``int64[k, WORDS]``."""
    for k in range(len(windows)):
        _add(windows[k], 0, when, text, sketch, word_min, meta)
