"""Prompt diversity: how many different prompts, how uniform their form, how wide their content.

Form and content are measured apart: a harvest often covers broad topics in one uniform form, a labelling
job narrow topics in one form, a person broad topics in many forms.
"""

import math

import numpy as np

from fingerprint._jit import inner
from fingerprint.features import _statistics as stat
from fingerprint.features._feature import Feature
from fingerprint.kernels.layout import (
    AT,
    LENGTH_BINS,
    LOG_ONE,
    PROMPT_REGISTERS,
    SHARE_ONE,
    SKETCH,
    SKETCH_ONE,
    SMALL_TABLE,
    TABLE,
    WORD_BINS,
    WORD_TABLE,
)

__all__ = ["FEATURES", "compute"]

_PAIR = "fewer than two prompts"
FEATURES = (
    Feature(
        "prompt_distinct_ratio",
        "ratio",
        0,
        1,
        "never",
        "Repeated samples and repeated lists send the same prompt again.",
    ),
    Feature(
        "prompt_repeat_days",
        "ratio",
        0,
        1,
        "never",
        "An evaluation repeats its list on later days; a harvest moves on.",
    ),
    Feature(
        "head_form_collision", "probability", 0, 1, _PAIR, "Two prompts of one template begin with the same words."
    ),
    Feature("tail_form_collision", "probability", 0, 1, _PAIR, "Two prompts of one template end with the same demand."),
    Feature(
        "skeleton_collision",
        "probability",
        0,
        1,
        _PAIR,
        "Marks and line breaks stay when the slots of a template change.",
    ),
    Feature(
        "form_similarity",
        "cosine",
        -1,
        1,
        "fewer than two prompts with a form",
        "Paraphrased templates still resemble each other in structure.",
    ),
    Feature(
        "content_similarity",
        "cosine",
        -1,
        1,
        "fewer than two prompts with content words",
        "Narrow work repeats its topic words; coverage spreads them.",
    ),
    Feature(
        "form_over_content",
        "cosine difference",
        -2,
        2,
        "either similarity is missing",
        "Broad topics in one uniform form: coverage.",
    ),
    Feature(
        "template_slots",
        "probability",
        0,
        1,
        _PAIR,
        "One template whose slots change: same head or skeleton, different prompts.",
    ),
    Feature("length_mean", "log2 characters", 0, 40, "never", "Templates with sources are long, chat turns are short."),
    Feature(
        "length_spread",
        "log2 characters",
        0,
        20,
        _PAIR,
        "People write one word or a page; automation keeps its length.",
    ),
    Feature("length_entropy", "share of maximum", 0, 1, _PAIR, "The same, robust to a few long documents."),
    Feature(
        "lexical_entropy",
        "bits",
        0,
        16,
        "fewer than two words",
        "Collision entropy of words: how hard the next word is to guess.",
    ),
    Feature(
        "lexical_growth", "exponent", 0, 2, "fewer than eight words", "Herdan's C: how fast new words keep coming."
    ),
    Feature("words_new_per_prompt", "log2 words", -32, 16, "no words", "New words that each further prompt brings."),
    Feature("digit_share", "share of bytes", 0, 1, "never", "Mathematics and data against prose."),
    Feature("punctuation_share", "share of bytes", 0, 1, "never", "Structured prompts carry more marks."),
    Feature("code_share", "share of bytes", 0, 1, "never", "Brackets and operators: code and formats."),
    Feature("line_breaks", "log2 lines", 0, 16, "never", "Templates are laid out, chat turns rarely."),
    Feature("question_share", "share of prompts", 0, 1, "never", "People ask; templates instruct."),
    Feature("list_share", "share of prompts", 0, 1, "never", "Prompts that enumerate rules, options or examples."),
)

_N, _CHARS, _CHARS_SQ, _LENGTHS = AT["n"], AT["chars_log"], AT["chars_log_sq"], AT["length_hist"]
_WORDS, _TABLE, _MIN = AT["words"], AT["word_table"], AT["word_min"]
_HEAD, _TAIL, _SKELETON, _SHAPES = AT["head_form"], AT["tail_form"], AT["skeleton"], AT["digits"]
_CONTENT, _CONTENT_SQ, _CONTENT_N = AT["content"], AT["content_sq"], AT["content_n"]
_FORM, _FORM_SQ, _FORM_N = AT["form"], AT["form_sq"], AT["form_n"]
_PROMPT, _PROMPT_DAY = AT["prompt_reg"], AT["prompt_day_reg"]


@inner
def _words(window, out, at):  # type: ignore[no-untyped-def]
    words, count = window[_WORDS], window[_N]
    kinds = stat.distinct_minima(window, _MIN, WORD_BINS, 65536.0)
    pairs = 0.0
    for j in range(WORD_TABLE):
        pairs += float(window[_TABLE + j]) * window[_TABLE + j]
    guess = (pairs - words) / (float(words) * (words - 1)) if words > 1 else np.nan
    out[at] = -math.log2(min(max(guess, 2.0**-16), 1.0)) if words > 1 else np.nan
    out[at + 1] = min(math.log(max(kinds, 1.0)) / math.log(words), 2.0) if words >= 8 else np.nan
    out[at + 2] = math.log2(max(kinds, 1.0) / count) if words > 0 else np.nan


@inner
def compute(window, out, at):  # type: ignore[no-untyped-def]
    """Write this family's features of one window to ``out[at:]``, in the order of ``FEATURES``."""
    count = window[_N]
    prompts = stat.distinct(window, _PROMPT, PROMPT_REGISTERS)
    prompt_days = stat.distinct(window, _PROMPT_DAY, PROMPT_REGISTERS)
    out[at] = min(prompts / count, 1.0)
    out[at + 1] = max(1 - prompts / prompt_days, 0.0)
    head = stat.collision(window, _HEAD, TABLE)
    skeleton = stat.collision(window, _SKELETON, TABLE)
    form = stat.similarity(window, _FORM, SKETCH, window[_FORM_SQ], window[_FORM_N], SKETCH_ONE)
    content = stat.similarity(window, _CONTENT, SKETCH, window[_CONTENT_SQ], window[_CONTENT_N], SKETCH_ONE)
    out[at + 2] = head
    out[at + 3] = stat.collision(window, _TAIL, 2 * SMALL_TABLE)
    out[at + 4] = skeleton
    out[at + 5] = form
    out[at + 6] = content
    out[at + 7] = form - content
    out[at + 8] = max(head, skeleton) * min(prompts / count, 1.0)
    out[at + 9] = stat.mean(window[_CHARS], count, LOG_ONE)
    out[at + 10] = stat.spread(window[_CHARS], window[_CHARS_SQ], count, LOG_ONE)
    out[at + 11] = stat.entropy(window, _LENGTHS, LENGTH_BINS)
    _words(window, out, at + 12)
    for j in range(3):
        out[at + 15 + j] = stat.mean(window[_SHAPES + j], count, SHARE_ONE)
    out[at + 18] = stat.mean(window[_SHAPES + 3], count, LOG_ONE)
    out[at + 19] = stat.share(window[_SHAPES + 4], count)
    out[at + 20] = stat.share(window[_SHAPES + 5], count)
