"""The wording that prompts of one form share, all else masked: for cases, where the operator asks for it.

    cases = with_skeletons(cases, batches, names)  # the traffic again, in batches of a reader that fills ``names``

State and samples hold no text, so the traffic is read a second time. Of each form at most ``PROMPTS`` prompts of the
campaign's members are held, in memory alone, and what stays of them is a skeleton: the tokens that nearly all share, in
order. A token shows only if prompts of ``ACCOUNTS`` accounts or more have it at that place; numbers, quoted text,
addresses and long tokens never show. Left out: writing (case_page), and any language: no name is recognised as one.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.campaigns.cases import SKELETON, Case, Form
from fingerprint.contribution import contribute
from fingerprint.exchange import Batch, Names, joined
from fingerprint.head import Head
from fingerprint.kernels.layout import W

__all__ = ["ACCOUNTS", "MASK", "PROMPTS", "Prompt", "skeleton", "tokens_of", "with_skeletons"]

PROMPTS: Final = 12  # of a form that are held
ACCOUNTS: Final = 3  # that must have a token for it to show
SHARED: Final = 0.8  # of the prompts that must have it
TOKENS: Final = 200  # of a prompt, from its start for a head and from its end for a tail
MASK: Final = "…"

_WIDE: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_QUOTES: Final = (("“", "”"), ("„", "“”"), ("«", "»"), ("「", "」"), ("『", "』"), ('"', '"'), ("`", "`"))
_MASKED: Final = (
    r'"{3,}.*?(?:"{3,}|\Z)',
    r"`{3,}.*?(?:`{3,}|\Z)",
    *(rf"{mark}[^{end}]*(?:[{end}]|\Z)" for mark, end in _QUOTES),  # one that is not closed hides all behind it
    r"(?<!\w)'(?:[^'\n]|(?<=\w)'(?=\w))*'(?!\w)",
    r"\u2018(?:[^\u2019\n]|(?<=\w)\u2019(?=\w))*\u2019(?!\w)",
    r"[A-Za-z][A-Za-z0-9+.-]{1,20}://\S*",
    r"www\.\S*",
    r"[\w.+-]{0,64}@[\w.-]*",
    r"[A-Za-z0-9_+/=.%&?#:~-]{25,}",  # keys, hashes, paths; so the patterns below never look far
    r"(?:[A-Za-z0-9-]{1,24}\.)+[A-Za-z]{2,24}(?:[:/?#]\S*)?",  # host names
    r"[A-Za-z0-9_+/=.-]*[0-9][A-Za-z0-9_+/=.-]*",
    rf"[^\W_{_WIDE}]{{25,}}",
)
_SHOWN: Final = (rf"[{_WIDE}]", rf"[^\W\d_{_WIDE}]+", r"\n\s*", r"(?P<mark>[^\w\s]|_)(?P=mark)*")
_TOKEN: Final = re.compile(f"(?P<masked>{'|'.join(_MASKED)})|(?P<shown>{'|'.join(_SHOWN)})|\\S", re.DOTALL)
_IS_WIDE: Final = re.compile(f"[{_WIDE}]")

_Key = tuple[int, str, int]  # number of the case, part, hash of the form


class Prompt(NamedTuple):
    """What is held of an exchange: whose it is, the hash of its id, and its tokens."""

    account: int
    identity: int
    tokens: tuple[str, ...]


def with_skeletons(cases: Sequence[Case], batches: Iterable[Batch], names: Names) -> list[Case]:
    """The cases, not keyed yet, with the skeletons of those forms that enough prompts of enough members have."""
    held = _gather(cases, batches, names)

    def told(number: int, form: Form) -> Form:
        prompts = held[number, form.part, int(form.hash, 16)]
        return dataclasses.replace(form, skeleton=skeleton(form.part, prompts))

    return [
        dataclasses.replace(case, forms=[told(number, form) for form in case.forms])
        for number, case in enumerate(cases)
    ]


def skeleton(part: str, prompts: Sequence[Prompt]) -> str | None:
    """What nearly all of the prompts share, at most ``SKELETON`` characters; None if that is no word.

    Each prompt is aligned with the one of middle length by its longest matching blocks (Ratcliff & Obershelp 1988). A
    token that stands alone between masks is masked as well: such are met by chance.
    """
    if len({prompt.account for prompt in prompts}) < ACCOUNTS:
        return None
    base = sorted(prompts, key=lambda prompt: len(prompt.tokens))[len(prompts) // 2].tokens
    having: list[list[Prompt]] = [[] for _ in base]
    for prompt in prompts:
        for block in SequenceMatcher(None, base, prompt.tokens, autojunk=False).get_matching_blocks():
            for at in range(block.a, block.a + block.size):
                having[at].append(prompt)
    least = math.ceil(SHARED * len(prompts))
    stands = [len(some) >= least and len({prompt.account for prompt in some}) >= ACCOUNTS for some in having]
    beside = [False, *stands, False]
    text = _rendered(base, [one and (beside[at] or beside[at + 2]) for at, one in enumerate(stands)])
    if len(text) > SKELETON:
        rim = f" {MASK}"
        text = text[: SKELETON - 1].rstrip(rim) + MASK if part == "head" else MASK + text[1 - SKELETON :].lstrip(rim)
    return text if any(char.isalpha() for char in text) else None


def _rendered(tokens: Sequence[str], shows: Sequence[bool]) -> str:
    """The tokens that show; one mark for each run of others, of which not even the spaces are told."""
    parts = [""]
    for token, show in zip(tokens, shows, strict=True):
        if show and MASK not in token:
            parts.append(token)
        elif not parts[-1].endswith(MASK):
            parts.append(f" {MASK}")
    return "".join(parts).strip()


def tokens_of(text: str, part: str) -> tuple[str, ...]:
    """The first (``head``) or last (``tail``) ``TOKENS`` tokens, with a space before those that stand apart.

    Words, wide characters, line breaks and runs of a mark; what never shows is ``MASK``, and so is all that is cut.
    """
    found, size = _tokens(text), TOKENS + 1
    kept = list(islice(found, size) if part == "head" else deque(found, size))
    if len(kept) == size:
        kept[-1 if part == "head" else 0] = MASK
    return tuple(kept)


def _tokens(text: str) -> Iterator[str]:
    end = 0
    for match in _TOKEN.finditer(text):
        token = "\n" if match[0].startswith("\n") else match[0]
        shows = match["shown"] and (token == "\n" or token.isprintable()) and not _is_number(token)
        yield sys.intern((" " if match.start() > end else "") + (token if shows else MASK))
        end = match.end()


def _is_number(token: str) -> bool:
    """Whether a digit of any script is in it; wide characters are words, those for numbers too."""
    return any(char.isnumeric() for char in token) and not _IS_WIDE.match(token)


def _gather(cases: Sequence[Case], batches: Iterable[Batch], names: Names) -> dict[_Key, list[Prompt]]:
    """At most ``PROMPTS`` prompts of each form of each case, of its own members."""
    owner = {member.account_id: number for number, case in enumerate(cases) for member in case.accounts}
    held: dict[_Key, list[Prompt]] = {
        (number, form.part, int(form.hash, 16)): [] for number, case in enumerate(cases) for form in case.forms
    }
    head, case_of = Head.blank(), np.empty(0, np.int64)  # of each account; -1: none
    for batch in batches:
        new = [owner.get(name, -1) for name in names.items[len(case_of) :]]
        case_of = np.concatenate([case_of, np.array(new, np.int64)])
        batch = _take(batch, np.flatnonzero(case_of[batch.account] >= 0))
        when = contribute(batch, head).when
        for part in ("head", "tail"):
            for number, form, rows in _by_form(case_of[batch.account], when[:, W[part]].view(np.uint64)):
                if (key := (number, part, form)) in held:
                    held[key] = _chosen(held[key], batch, rows, part)
    return held


def _take(batch: Batch, rows: NDArray[np.int64]) -> Batch:
    data, offsets = joined([_prompt(batch, row) for row in rows])
    named = batch.account[rows], batch.session[rows], batch.time_us[rows], batch.identity[rows]
    return Batch(*named, data, offsets, batch.meta[rows])


def _prompt(batch: Batch, row: int) -> bytes:
    return batch.data[batch.offsets[row] : batch.offsets[row + 1]].tobytes()


def _by_form(case: NDArray[np.int64], form: NDArray[np.uint64]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Each pair of a case and a form with its rows."""
    by = np.lexsort((form, case))
    cuts = np.flatnonzero((np.diff(case[by]) != 0) | (form[by][1:] != form[by][:-1])) + 1
    for rows in np.split(by, cuts) if len(by) else ():
        yield int(case[rows[0]]), int(form[rows[0]]), rows


def _chosen(held: list[Prompt], batch: Batch, rows: NDArray[np.int64], part: str) -> list[Prompt]:
    """Of those held and these rows, each id once: the smallest hash of an id of each account before any second one."""
    account = np.concatenate([[prompt.account for prompt in held], batch.account[rows]]).astype(np.int64)
    known = np.array([prompt.identity for prompt in held], np.uint64)
    identity, first = np.unique(np.concatenate([known, batch.identity[rows]]), return_index=True)
    by = np.argsort(account[first], kind="stable")  # by account, then identity
    starts = np.flatnonzero(np.diff(account[first][by], prepend=-1) != 0)
    turn = np.arange(len(by)) - np.repeat(starts, np.diff(np.append(starts, len(by))))
    chosen = by[np.lexsort((identity[by], turn))][:PROMPTS]

    def at(place: int) -> Prompt:
        if (source := int(first[place])) < len(held):
            return held[source]
        text = _prompt(batch, int(rows[source - len(held)])).decode("utf-8", "replace")
        return Prompt(int(account[source]), int(identity[place]), tokens_of(text, part))

    return [at(int(place)) for place in chosen]
