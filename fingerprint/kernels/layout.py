"""The layout of a window: which integer stands where. Names and offsets only, no computation.

A window is one ``int64[WORDS]`` vector in three parts: sums (reduced by +), minima (by min) and
maxima (by max). ``LAYOUT_ID`` changes with any change here, so that old bytes are refused and never
misread. Fixed-point scales are stated beside each group.
"""

import hashlib
from typing import Final

CAPABILITIES: Final = (
    "reasoning",
    "cot_elicitation",
    "tool_use",
    "planning_agentic",
    "software_engineering",
    "grading_judging",
    "data_synthesis",
    "rewriting_cleaning",
    "chat",
    "extraction_labelling",
    "translation",
    "support",
)
HEAD_OUTPUTS: Final = len(CAPABILITIES) + 1  # the last one is the likeness to harvesting

SKETCH: Final = 32  # dimensions of the content and of the form sketch
GAP_BINS: Final = 28  # powers of two of milliseconds: 1 ms .. 1.5 days and over
LENGTH_BINS: Final = 12  # powers of two of characters: up to 8, .. over 8,192
LIKENESS_BINS: Final = 16  # one logit each, -8 .. 8
OUTPUT_BINS: Final = 8  # powers of four of tokens
TABLE: Final = 24  # counters of one table of hashed forms
SMALL_TABLE: Final = 8
WORD_TABLE: Final = 16
WORD_BINS: Final = 32  # MinHash bins over words
PROMPT_REGISTERS: Final = 32
IP_REGISTERS: Final = 16
AGENT_REGISTERS: Final = 8

LOG_ONE: Final = 256  # fixed point of base-2 logarithms and of logits
SHARE_ONE: Final = 1024  # fixed point of shares and probabilities
SKETCH_ONE: Final = 127  # length of a unit vector in a sketch
GAP_ONE: Final = 16  # gaps are summed in sixteenths of a second
HOUR_ONE: Final = 1  # times are summed in hours since EPOCH_US: squares fit for 3 billion exchanges
EPOCH_US: Final = 1_577_836_800_000_000  # 2020-01-01
SESSION_GAP_US: Final = 30 * 60 * 1_000_000
EMPTY_MIN: Final = 2**62  # a minimum that nothing has reached
EMPTY_MAX: Final = -1
MISSING: Final = -1  # an optional field that is absent

_SUMS: Final = {
    "n": 1,
    # text, of the part that is read
    "chars_log": 1,
    "chars_log_sq": 1,
    "length_hist": LENGTH_BINS,
    "words": 1,
    "word_table": WORD_TABLE,  # signed counts of hashed words (count sketch)
    "digits": 1,
    "punctuation": 1,
    "code": 1,
    "newlines": 1,  # logarithm of one plus the line breaks
    "questions": 1,
    "list_marks": 1,
    "head_form": TABLE,
    "tail_form": SMALL_TABLE * 2,
    "skeleton": TABLE,
    "content": SKETCH,
    "content_sq": 1,
    "content_n": 1,
    "form": SKETCH,
    "form_sq": 1,
    "form_n": 1,
    # the prompt head
    "capability": len(CAPABILITIES),
    "capability_t": len(CAPABILITIES),  # times the hour, for the trend
    "likeness_hist": LIKENESS_BINS,
    "likeness": 1,
    "likeness_sq": 1,
    "likeness_t": 1,
    # time
    "hours": 1,
    "hours_sq": 1,
    "gap_n": 1,
    "gap_log": 1,
    "gap_log_sq": 1,
    "gap_hist": GAP_BINS,
    "pause_n": 1,  # the gaps inside a session
    "pause_log": 1,
    "pause_log_sq": 1,
    "pause": 1,
    "pause_sq": 1,
    "phase_minute": 2,  # cosine and sine of the second in the minute
    "phase_hour": 2,
    "hour": 24,
    "weekend": 1,
    "overlap": 1,
    "overlap_n": 1,
    "age_hist": 6,  # account younger than 1, 3, 7, 30, 90 days; older
    # request shape
    "max_tokens_hist": 6,  # up to 64, 256, 1k, 4k, 16k, more
    "temperature_hist": 6,  # 0, to .3, to .6, to .8, to 1, over 1
    "several": 1,
    "several_n": 1,
    "logprobs": 1,
    "logprobs_n": 1,
    "reasoning": 1,
    "reasoning_n": 1,
    "stream": 1,
    "stream_n": 1,
    "tools": 1,
    "tools_n": 1,
    "stop_hist": 5,  # end of turn, ceiling, tool use, refusal, other
    "system": 1,
    "system_table": SMALL_TABLE,
    "request_table": SMALL_TABLE,
    "model_n": 1,
    "model_table": SMALL_TABLE,
    # conversation
    "depth_hist": 7,  # 1, 2, 3-4, 5-8, 9-16, 17-32, more
    # economics
    "output_n": 1,
    "output": 1,
    "output_log": 1,
    "output_log_sq": 1,
    "output_hist": OUTPUT_BINS,
    "input_n": 1,
    "input": 1,
    "ratio_n": 1,
    "ratio_log": 1,
    "ratio_log_sq": 1,
    "ceiling_hit": 1,
    "ceiling_n": 1,
    "small_plan": 1,
    "plan_n": 1,
    "ip_n": 1,
    "agent_n": 1,
}
_MINIMA: Final = {"first_us": 1, "created_us": 1, "word_min": WORD_BINS}
_MAXIMA: Final = {
    "last_us": 1,
    "depth_max": 1,
    "prompt_reg": PROMPT_REGISTERS,
    "prompt_day_reg": PROMPT_REGISTERS,
    "ip_reg": IP_REGISTERS,
    "agent_reg": AGENT_REGISTERS,
}

# columns of the metadata row (int32, MISSING where absent) and of the time row (int64) of a contribution
M: Final = {
    name: i
    for i, name in enumerate(
        (
            "n_messages n_tools max_tokens temperature n logprobs reasoning stream "
            "input_tokens output_tokens stop ip agent created_hour small_plan model system payment"
        ).split()
    )
}
W: Final = {"time_us": 0, "gap_us": 1, "prompt": 2, "head": 3, "tail": 4}
STOPS: Final = {"end_turn": 0, "stop": 0, "max_tokens": 1, "length": 1, "tool_use": 2, "tool_calls": 2, "refusal": 3}
OTHER_STOP: Final = 4


def _offsets(part: dict[str, int], start: int) -> dict[str, int]:
    places = {}
    for name, size in part.items():
        places[name] = start
        start += size
    return places


N_SUMS: Final = sum(_SUMS.values())
N_MINIMA: Final = sum(_MINIMA.values())
N_MAXIMA: Final = sum(_MAXIMA.values())
WORDS: Final = N_SUMS + N_MINIMA + N_MAXIMA
SIZES: Final = _SUMS | _MINIMA | _MAXIMA
AT: Final = _offsets(_SUMS, 0) | _offsets(_MINIMA, N_SUMS) | _offsets(_MAXIMA, N_SUMS + N_MINIMA)
_SCALES: Final = (LOG_ONE, SHARE_ONE, SKETCH_ONE, GAP_ONE, HOUR_ONE, EPOCH_US)
LAYOUT_ID: Final = hashlib.sha256(repr((_SUMS, _MINIMA, _MAXIMA, _SCALES)).encode()).digest()[:8]
HEADER_BYTES: Final = 24
WINDOW_BYTES: Final = HEADER_BYTES + 8 * WORDS
