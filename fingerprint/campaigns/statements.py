"""What is said of a campaign, for and against, from the numbers alone: plain sentences and how a number is read.

What speaks against a case is always among them. Left out: the numbers themselves (evidence), the page (case_page).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from fingerprint.campaigns.cases import Evidence, Form

__all__ = ["READ_AS", "known", "number", "percent", "statements"]

ALIKE: Final = 1.3  # variance ratio up to which accounts cannot be told apart by what they ask
DIVIDED: Final = 0.05  # overlap up to which a list is divided over the accounts
REPEATED: Final = 0.2  # overlap from which many send the same list: a class, an evaluation
CHANCE: Final = 0.05  # p and q up to which chance is no good explanation
COMMON: Final = 0.05  # share of the other accounts from which a form is common
LISTS: Final = 3  # that are told
FEW: Final = 100  # exchanges of a pool below which its score says little


def statements(
    evidence: Evidence,
    forms: Sequence[Form] = (),
    scores: Sequence[float] = (),
    course: Mapping[str, tuple[int, float]] = MappingProxyType({}),
    lists: Sequence[tuple[int, int, int, float]] = (),
    *,
    review: float | None = None,
    group_review: float | None = None,
) -> tuple[list[str], list[str]]:
    """Plain sentences (alleged, against) from the numbers alone; the second list is never empty.

    ``scores`` are the members' own, ``course`` how many of them do something, and how many of as many accounts do on
    average (``_COURSE``), ``lists`` how many of them continue a list, from which number to which, and the share of
    numbers sent twice. Without ``review``, an account's threshold of that level, nothing is said of who reaches it;
    ``group_review`` is a group's (the same if not given).
    """
    said = [*_of_forms(forms), *_of_content(evidence), *_of_pool(evidence, review), *_of_start(evidence)]
    said += [
        *_of_signs(evidence),
        *_of_lists(lists, len(scores)),
        *_of_course(course, len(scores)),
        *_of_links(evidence, review if group_review is None else group_review),
        *_of_members(scores, review),
        *_always(evidence),
    ]
    return [text for alleged, text in said if alleged], [text for alleged, text in said if not alleged]


Said = Iterator[tuple[bool, str]]  # alleged or against, and the sentence


def _of_forms(forms: Sequence[Form]) -> Said:
    for part, verb in (("head", "begin"), ("tail", "end")):
        found = sorted((form for form in forms if form.part == part), key=lambda form: (-form.accounts, form.hash))
        if not found or found[0].accounts < 2:
            continue
        share = percent(found[0].of_traffic)
        if found[0].of_traffic < COMMON:
            yield True, f"{found[0].accounts:,} accounts send prompts that {verb} alike; {share} of the others do."
        else:
            yield False, f"Prompts that {verb} like this are common: {share} of the other accounts send them."


def _of_content(evidence: Evidence) -> Said:
    ratio, overlap = known(evidence.variance_ratio), known(evidence.overlap)
    alike = ratio is not None and ratio <= ALIKE
    if alike:
        yield True, f"What they ask differs between accounts about as much as within one (ratio {ratio:.2f})."
    elif ratio is not None:
        told = f"What they ask differs more between accounts than within one (ratio {ratio:.2f})"
        yield False, f"{told}; users of one app have about 4, tasks of an agent framework about 12."
    if overlap is None:
        return
    twice = f"{percent(overlap)} of the prompts were sent by more than one account"
    if alike and overlap <= DIVIDED:
        yield True, f"The list is divided: {twice}."
    if overlap >= REPEATED:
        yield False, f"{twice}: a class or an evaluation would look like this."


def _of_pool(evidence: Evidence, review: float | None) -> Said:
    score, p, q = (known(v) for v in (evidence.pooled_score, evidence.p_value, evidence.q_value))
    if score is not None and review is not None and score < review:
        yield False, f"The pool itself stays below review: it scores {score:.2f}, review begins at {review:.2f}."
    elif score is not None and p is not None and q is not None and q <= CHANCE:
        told = f"Pooled, {evidence.pooled_exchanges:,} exchanges score {score:.2f}"
        yield True, f"{told}; {percent(p)} of the accounts that nobody linked score as high as this group."
    if q is not None and q > CHANCE:
        told = f"of all groups that look as strong, up to {percent(q)} are expected to be chance"
        yield False, f"Chance is a possible explanation: {told} (the limit is {percent(CHANCE)})."
    if evidence.pooled_exchanges < FEW:
        yield False, f"The pool is small ({evidence.pooled_exchanges:,} exchanges): its score says little."


def _of_start(evidence: Evidence) -> Said:
    together = known(evidence.starts_together)
    if together is not None:
        told = "They begin close in time" if together <= CHANCE else "They do not begin together"
        yield together <= CHANCE, f"{told}: {percent(together)} of sets of unrelated accounts begin this close."


def _of_signs(evidence: Evidence) -> Said:
    for kind, told in _SIGNS.items():
        if pairs := evidence.links.get(kind, 0):
            yield True, f"{told} ({pairs:,} linked pairs)."
    pays = [kind for kind in ("payment", "network") if kind in evidence.links]
    if any(evidence.links[kind] for kind in pays):
        yield False, "Accounts of one customer share payments and addresses, too."
    elif pays:
        yield False, f"No link by {' or '.join(pays)} was found between members, as far as the traffic tells them."


def _of_lists(lists: Sequence[tuple[int, int, int, float]], members: int) -> Said:
    for count, low, high, twice in lists[:LISTS]:
        told = f"numbers {low:,} to {high:,} of one form, {percent(twice)} of them twice"
        yield True, f"{count:,} of {members:,} members continue one list: {told}."
    if lists:
        yield False, "Tickets or records that one customer divides over accounts are numbered like this, too."


def _of_course(course: Mapping[str, tuple[int, float]], members: int) -> Said:
    for name, (count, usual) in course.items():
        yield (
            True,
            f"{count:,} of {members:,} members {_COURSE[name]}; of as many accounts {number(usual)} do on average.",
        )


def _of_links(evidence: Evidence, review: float | None) -> Said:
    kinds = sorted(kind for kind, pairs in evidence.links.items() if pairs > 0 and kind != "course")
    if len(kinds) == 1:
        yield False, f"The campaign rests on one kind of link only ({kinds[0]})."
    if len(kinds) < 2 or review is None:
        return
    left = {kind: score for kind in kinds if (score := known(evidence.without.get(kind))) is not None}
    for kind, score in left.items():
        if score < review:
            yield False, f"The case rests on links by {kind}: without them the score is {score:.2f}, below review."
    if len(left) == len(kinds) and (least := min(left.values())) >= review:
        yield True, f"It does not hang on one kind of link: without any one of them it scores {least:.2f} or more."


def _of_members(scores: Sequence[float], review: float | None) -> Said:
    if review is None or not len(scores):
        return
    below = sum(score < review for score in scores)
    if below:
        yield False, f"{below:,} of {len(scores):,} members alone stay below review."
    else:
        yield True, f"Each of the {len(scores):,} members alone reaches review."


def _always(evidence: Evidence) -> Said:
    missing = [told for name, (told, _) in READ_AS.items() if known(getattr(evidence, name)) is None]
    if missing:
        yield False, f"Not measured: {', '.join(missing)}."
    yield False, "Sharing alone is no guilt: users of one product, one library or one course send prompts alike, too."
    yield False, "Honest vendors that label or translate for one customer look like this."
    shares = (
        "" if {"payment", "network"} & evidence.links.keys() else "members share an address or a payment, and whether "
    )
    yield False, f"Not checked: whether {shares}they are one known customer."


_SIGNS: Final = {
    "payment": "Members share payments that few accounts have",
    "network": "Members share addresses that few accounts have",
    "registered": "Members were registered in hours in which far more accounts were than around them",
    "times": "Members are active in the same five minutes far more often than the hours that they share explain",
}
_COURSE: Final = {
    "began_after": "began within an hour after another member had ended",
    "took_up": "took up a new model within the same day",
}
READ_AS: Final = {  # measure: its name, and how to read it
    "pooled_score": ("score of the pool", "by the same model, 0 to 1"),
    "p_value": ("p of the group", "share of accounts that nobody linked that score as high alone"),
    "q_value": ("q of the group", f"expected share of chance among groups this strong; found: up to {CHANCE}"),
    "variance_ratio": ("variance ratio", "1.0 to 1.3: nobody can tell them apart; users of one app 4, agent tasks 12"),
    "overlap": ("overlap", "prompts that two members both sent; a divided list has near 0, a class has much"),
    "starts_together": ("starts together", "share of sets of unrelated accounts that begin this close in time"),
}


def known(value: float | None) -> float | None:
    """The value, None where it was not measured."""
    return None if value is None or not math.isfinite(value) else float(value)


def percent(share: float) -> str:
    """A share as per cent with two digits; never rounded to none or all."""
    if 0 < share < 0.0001:
        return "less than 0.01 %"
    if 0.99 < share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.2g} %"


def number(value: float | None) -> str:
    """A measure with two digits, or that it was not measured."""
    found = known(value)
    return "not measured" if found is None else f"{found:.2f}" if found == 0 or found >= 0.1 else f"{found:.2g}"
