"""The case file of a campaign: what an analyst is told, as JSON and as one page of Markdown with figures.

``case.json`` is the contract (``SCHEMA``), ``case.md`` is for people. Statements are derived from numbers only, and
what speaks against the case is always among them. No prompt text comes here; account ids are shown so that none can
break the page. Left out: finding campaigns, the numbers themselves, drawing (``figures``).
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from fingerprint.errors import FingerprintError
from fingerprint.kernels.layout import CAPABILITIES

__all__ = [
    "SCHEMA", "Case", "CaseError", "DayHours", "Evidence", "Form", "Member", "Rhythm",
    "markdown", "read_case", "statements", "write_case",
]  # fmt: skip

SCHEMA: Final = "fingerprint-case/1"
ALIKE: Final = 1.3  # variance ratio up to which accounts cannot be told apart by what they ask
DIVIDED: Final = 0.05  # overlap up to which a list is divided over the accounts
REPEATED: Final = 0.2  # overlap from which many send the same list: a class, an evaluation
CHANCE: Final = 0.05  # p and q up to which chance is no good explanation
COMMON: Final = 0.05  # share of the other accounts from which a form is common
FEW: Final = 100  # exchanges of a pool below which its score says little
SHOWN: Final = 50  # members on the page
ID_SHOWN: Final = 80  # characters of an account id on the page


class CaseError(FingerprintError, ValueError):
    """A case does not keep its contract, or cannot be written where it should be."""


@dataclass(frozen=True)
class Member:
    """An account: ``score`` is its own by the model, ``membership`` (0 to 1) how strongly it is tied in."""

    account_id: str
    score: float
    membership: float
    exchanges: int
    first_seen: str  # RFC 3339 in UTC, with Z, like all times of a case
    last_seen: str


@dataclass(frozen=True)
class Rhythm:
    """When: exchanges by hour of the day (24, UTC), and accounts that were active by day (``2026-11-01``)."""

    hour_of_day: Sequence[int]
    accounts_by_day: Mapping[str, int]


@dataclass(frozen=True)
class Form:
    """A beginning (``head``) or end (``tail``) of prompts that members share, known by its hash alone."""

    part: str
    hash: str  # 16 hexadecimal digits
    accounts: int  # members that send it
    of_traffic: float  # share of the accounts outside that send it
    variance_ratio: float | None
    overlap: float | None


@dataclass(frozen=True)
class Evidence:
    """The numbers that the case rests on; None or NaN is: not measured.

    ``variance_ratio``: how much the accounts differ from each other over how much one differs from itself. ``overlap``:
    share of distinct prompts that two members both sent. ``p_value``: share of unlinked accounts that score as
    high alone; ``q_value``: the same after Benjamini & Hochberg over all groups. ``starts_together``:
    p-value that unrelated accounts begin this close in time. ``links`` counts pairs by kind of link, ``without`` is the
    score with that kind removed.
    """

    pooled_score: float | None
    pooled_exchanges: int
    p_value: float | None
    q_value: float | None
    variance_ratio: float | None
    overlap: float | None
    starts_together: float | None
    links: Mapping[str, int]
    without: Mapping[str, float | None]


@dataclass(frozen=True)
class Case:
    """All of a case; the order of ``accounts`` is that of the page and of ``DayHours.account``."""

    campaign_id: str
    level: str  # review or act
    score: float
    accounts: Sequence[Member]
    exchanges: int
    first_seen: str
    last_seen: str
    capability: Mapping[str, float]  # share of each of CAPABILITIES in the part that links the accounts
    rhythm: Rhythm
    forms: Sequence[Form]
    evidence: Evidence
    alleged: Sequence[str]
    against: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it: plain types, null for numbers that are not finite."""
        return {"schema": SCHEMA, **_plain(self)}


@dataclass(frozen=True)
class DayHours:
    """The members' sampled exchanges, for the figures: ``m`` rows in any order."""

    account: NDArray[np.int32]  # [m], index into Case.accounts
    time_us: NDArray[np.int64]  # [m], microseconds UTC
    shared: NDArray[np.bool_]  # [m], carries a linking form
    content: NDArray[np.floating[Any]]  # [m, 2], a projection of what is asked; NaN where unknown

    def check(self, accounts: int) -> None:
        """CaseError if the arrays do not fit each other or a case of so many accounts."""
        shapes = [np.shape(part) for part in (self.account, self.time_us, self.shared, self.content)]
        m = len(self.account)
        if shapes != [(m,), (m,), (m,), (m, 2)]:
            raise CaseError(f"sample of exchanges: expected shapes (m,), (m,), (m,), (m, 2), got {shapes}")
        if m and not 0 <= int(self.account.min()) <= int(self.account.max()) < accounts:
            raise CaseError(f"sample of exchanges: expected account numbers from 0 to {accounts - 1}, got others")


def statements(
    evidence: Evidence,
    forms: Sequence[Form] = (),
    scores: Sequence[float] = (),
    *,
    review: float | None = None,
    group_review: float | None = None,
) -> tuple[list[str], list[str]]:
    """Plain sentences (alleged, against) from the numbers alone; the second list is never empty.

    ``scores`` are the members' own. Without ``review``, an account's threshold of that level, nothing is said of who
    reaches it; ``group_review`` is a group's (the same if not given).
    """
    said = [*_of_forms(forms), *_of_content(evidence), *_of_pool(evidence, review), *_of_start(evidence)]
    said += [
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
        share = _percent(found[0].of_traffic)
        if found[0].of_traffic < COMMON:
            yield True, f"{found[0].accounts:,} accounts send prompts that {verb} alike; {share} of the others do."
        else:
            yield False, f"Prompts that {verb} like this are common: {share} of the other accounts send them."


def _of_content(evidence: Evidence) -> Said:
    ratio, overlap = _known(evidence.variance_ratio), _known(evidence.overlap)
    alike = ratio is not None and ratio <= ALIKE
    if alike:
        yield True, f"What they ask differs between accounts about as much as within one (ratio {ratio:.2f})."
    elif ratio is not None:
        told = f"What they ask differs more between accounts than within one (ratio {ratio:.2f})"
        yield False, f"{told}; users of one app have about 4, tasks of an agent framework about 12."
    if overlap is None:
        return
    twice = f"{_percent(overlap)} of the prompts were sent by more than one account"
    if alike and overlap <= DIVIDED:
        yield True, f"The list is divided: {twice}."
    if overlap >= REPEATED:
        yield False, f"{twice}: a class or an evaluation would look like this."


def _of_pool(evidence: Evidence, review: float | None) -> Said:
    score, p, q = (_known(v) for v in (evidence.pooled_score, evidence.p_value, evidence.q_value))
    if score is not None and review is not None and score < review:
        yield False, f"The pool itself stays below review: it scores {score:.2f}, review begins at {review:.2f}."
    elif score is not None and p is not None and q is not None and q <= CHANCE:
        told = f"Pooled, {evidence.pooled_exchanges:,} exchanges score {score:.2f}"
        yield True, f"{told}; {_percent(p)} of the accounts that nobody linked score as high as this group."
    if q is not None and q > CHANCE:
        told = f"of all groups that look as strong, up to {_percent(q)} are expected to be chance"
        yield False, f"Chance is a possible explanation: {told} (the limit is {_percent(CHANCE)})."
    if evidence.pooled_exchanges < FEW:
        yield False, f"The pool is small ({evidence.pooled_exchanges:,} exchanges): its score says little."


def _of_start(evidence: Evidence) -> Said:
    together = _known(evidence.starts_together)
    if together is not None:
        told = "They begin close in time" if together <= CHANCE else "They do not begin together"
        yield together <= CHANCE, f"{told}: {_percent(together)} of sets of unrelated accounts begin this close."


def _of_links(evidence: Evidence, review: float | None) -> Said:
    kinds = sorted(kind for kind, pairs in evidence.links.items() if pairs > 0)
    if len(kinds) == 1:
        yield False, f"The campaign rests on one kind of link only ({kinds[0]})."
    if len(kinds) < 2 or review is None:
        return
    left = {kind: score for kind in kinds if (score := _known(evidence.without.get(kind))) is not None}
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
    missing = [told for name, (told, _) in _READ_AS.items() if _known(getattr(evidence, name)) is None]
    if missing:
        yield False, f"Not measured: {', '.join(missing)}."
    yield False, "Sharing alone is no guilt: users of one product, one library or one course send prompts alike, too."
    yield False, "Honest vendors that label or translate for one customer look like this."
    yield False, "Not checked: whether members share an address or a payment, and whether they are one known customer."


_READ_AS: Final = {  # measure: its name, and how to read it
    "pooled_score": ("score of the pool", "by the same model, 0 to 1"),
    "p_value": ("p of the group", "share of accounts that nobody linked that score as high alone"),
    "q_value": ("q of the group", f"expected share of chance among groups this strong; found: up to {CHANCE}"),
    "variance_ratio": ("variance ratio", "1.0 to 1.3: nobody can tell them apart; users of one app 4, agent tasks 12"),
    "overlap": ("overlap", "prompts that two members both sent; a divided list has near 0, a class has much"),
    "starts_together": ("starts together", "share of sets of unrelated accounts that begin this close in time"),
}
_KINDS: Final = {"head": "prompts begin alike", "tail": "prompts end alike", "content": "the same is asked"}
_CAPTIONS: Final = {
    "timeline": (
        "Timeline of accounts",
        "A line an account, from its first to its last exchange; dots are sampled exchanges. Lines that begin "
        "together, or begin where others end, speak for one operator.",
    ),
    "hours": (
        "Exchanges by day and hour",
        "No pause at night speaks for a program. Many honest programs run all night as well.",
    ),
    "sharding": (
        "What is asked, by account",
        "Near dots ask for similar things. One cloud mixed over all accounts means that they divide one list; separate "
        "clouds mean that they do different work. Members are numbered as in the table and, from 1, in case.json; of "
        "very many dots a part is drawn.",
    ),
    "growth": (
        "Growth",
        "Accounts and exchanges so far, by day. A steep start is reported of campaigns; a product that is released has "
        "one, too.",
    ),
}


def markdown(case: Case, figures: Mapping[str, str]) -> str:
    """The page of a case; ``figures`` is figure name to file name beside the page."""
    parts = [_opening(case), *_both_sides(case), _aims(case), _evidence(case), _forms(case), _members(case)]
    parts.append("## Figures\n" if figures else "")
    for name, file in figures.items():
        title, caption = _CAPTIONS.get(name, (name, ""))
        parts.append(f"### {_text(title)}\n\n![{_text(title)}]({quote(file)})\n\n{caption}\n")
    return "\n".join(part for part in parts if part)


def _opening(case: Case) -> str:
    facts = [
        ["accounts", f"{len(case.accounts):,}"],
        ["exchanges", f"{case.exchanges:,}"],
        ["first seen", _time(case.first_seen)],
        ["last seen", _time(case.last_seen)],
        ["days with activity", f"{len(case.rhythm.accounts_by_day):,}"],
        ["most accounts on a day", f"{max(case.rhythm.accounts_by_day.values(), default=0):,}"],
        ["busiest hours (UTC)", _busiest(case.rhythm.hour_of_day)],
    ]
    return (
        f"# Campaign {_text(case.campaign_id)}\n\n"
        f"**Level: {_text(case.level)}.** Score {case.score:.2f} for {len(case.accounts):,} accounts together.\n\n"
        "**An accusation is not a proof.** This page holds measurements and what they may mean. Read both sides, and "
        "ask the customer before anybody is locked out.\n\n" + _table(["fact", "value"], facts)
    )


def _both_sides(case: Case) -> Iterator[str]:
    yield "## What is alleged\n\n" + "".join(f"- {_text(line)}\n" for line in case.alleged or ["Nothing."])
    yield "## What speaks against it\n\n" + "".join(f"- {_text(line)}\n" for line in case.against or ["Not stated."])


def _aims(case: Case) -> str:
    shares = sorted(case.capability.items(), key=lambda item: (-item[1], item[0]))
    told = "## Capability aimed at\n\nShares of the part of the traffic that links the accounts.\n\n"
    return told + _table(["capability", "share"], [[_text(name), _percent(share)] for name, share in shares])


def _evidence(case: Case) -> str:
    found = case.evidence
    rows = [[name, _number(getattr(found, key)), told] for key, (name, told) in _READ_AS.items()]
    rows.insert(1, ["exchanges of the pool", f"{found.pooled_exchanges:,}", f"below {FEW} a score says little"])
    kinds = [
        [_text(kind), _KINDS.get(kind, ""), f"{found.links.get(kind, 0):,}", _number(found.without.get(kind))]
        for kind in dict.fromkeys([*_KINDS, *sorted(found.links), *sorted(found.without)])
    ]
    return (
        "## Evidence\n\n" + _table(["measure", "value", "how to read it"], rows) + "\n"
        f"The score with and without each kind of link; with all kinds it is {case.score:.2f}.\n\n"
        + _table(["link", "meaning", "linked pairs", "score without it"], kinds)
    )


def _forms(case: Case) -> str:
    rows = [
        [_text(form.part), _code(form.hash), f"{form.accounts:,}", _percent(form.of_traffic),
         _number(form.variance_ratio), _number(form.overlap)]
        for form in case.forms
    ]  # fmt: skip
    head = ["part", "hash", "members that send it", "of the others", "variance ratio", "overlap"]
    told = "## Shared forms\n\nBeginnings (head) and ends (tail) of prompts. Only hashes are kept, never text.\n\n"
    return told + (_table(head, rows) if rows else "None.\n")


def _members(case: Case) -> str:
    rows = [
        [str(i), _code(m.account_id), f"{m.score:.2f}", f"{m.membership:.2f}", f"{m.exchanges:,}",
         _time(m.first_seen), _time(m.last_seen)]
        for i, m in enumerate(case.accounts[:SHOWN], 1)
    ]  # fmt: skip
    more = len(case.accounts) - SHOWN
    head = ["member", "account", "score alone", "membership", "exchanges", "first seen (UTC)", "last seen (UTC)"]
    told = "## Members\n\nMembership: how strongly an account is tied in (0 to 1); the weak ones may be bystanders.\n\n"
    return told + _table(head, rows) + (f"\nand {more:,} more in case.json\n" if more > 0 else "")


def write_case(case: Case, days: DayHours, folder: Path) -> Path:
    """Write ``case.json``, ``case.md`` and the figures into ``folder/<campaign_id>``, which is returned.

    An earlier case of the same id is written over, file by file; other files in it stay. CaseError if the case breaks
    its contract, the place is taken by something else, matplotlib is missing, or nothing can be written.
    """
    content = case.as_dict()
    _check(content, _CASE, "case")
    days.check(len(case.accounts))
    place = folder / case.campaign_id
    known = _taken(place, case.campaign_id)
    try:
        from fingerprint.campaigns.figures import draw
    except ModuleNotFoundError as error:
        raise CaseError(f"figures need {error.name}: pip install 'fingerprint[campaigns]'") from None
    files = {f"{name}.png": png for name, png in draw(case, days).items()}
    page = markdown(case, {name.removesuffix(".png"): name for name in files})
    files |= {"case.md": page.encode("utf-8", "replace")}
    files |= {"case.json": (json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()}
    try:
        _place(files, place, known)
    except OSError as error:
        raise CaseError(f"{place}: cannot write the case: {error.strerror or type(error).__name__}") from None
    return place


def _taken(place: Path, campaign_id: str) -> bool:
    """Whether an earlier case of this campaign is there; CaseError if it is anything else."""
    if not place.is_symlink() and not place.exists():
        return False
    try:
        if place.is_symlink() or read_case(place)["campaign_id"] != campaign_id:
            raise CaseError("it is another one")
    except CaseError:
        told = f"{place}: exists and is not a case of this campaign: move it away, or choose another folder"
        raise CaseError(told) from None
    return True


def _place(files: Mapping[str, bytes], place: Path, known: bool) -> None:
    """All files into a new neighbour that becomes ``place``, or takes the place of its files, the last one last."""
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for name, data in files.items():
            (partial / name).write_bytes(data)
        if not known:
            partial.rename(place)
            return
        for name in files:
            (partial / name).replace(place / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_case(path: Path) -> dict[str, Any]:
    """A case, checked against the contract, from its folder or its ``case.json``; CaseError says what is wrong where.

    Fields that the contract does not name are kept and not checked.
    """
    file = path / "case.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise CaseError(f"{file}: cannot read the case: {error.strerror or type(error).__name__}") from None
    except (ValueError, RecursionError):
        raise CaseError(f"{file}: expected a case as JSON, got something else") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        known = isinstance(schema, str) and re.fullmatch(r"fingerprint-[\w./-]{1,40}", schema)
        came = f"'{schema}'" if known else "another or none"
        raise CaseError(f"{file}: expected schema '{SCHEMA}', got {came}: use a version of fingerprint that knows it")
    _check(content, _CASE, f"{file}: case")
    return dict(content)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


class _Kind(NamedTuple):
    """What a value must be, in words and as a test."""

    told: str
    holds: Callable[[Any], bool]


class _Map(NamedTuple):
    """An object with any number of keys."""

    key: _Kind
    value: _Kind


def _is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", value, re.ASCII):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


_TEXT: Final = _Kind("text", lambda v: isinstance(v, str))
_TIME: Final = _Kind("a time like 2026-11-01T00:00:00Z", _is_time)
_DAY: Final = _Kind("a day like 2026-11-01", lambda v: _is_time(f"{v}T00:00:00Z"))
_WORD: Final = _Kind("a kind of link", _matches("[a-z_]{1,32}"))
_COUNT: Final = _Kind("a whole number from 0", lambda v: isinstance(v, int) and _is_number(v, 0))
_SHARE: Final = _Kind("a number from 0 to 1", lambda v: _is_number(v, 0, 1))
_SHARE_OR_NULL: Final = _Kind("a number from 0 to 1, or null", lambda v: v is None or _is_number(v, 0, 1))
_RATIO: Final = _Kind("a number from 0, or null", lambda v: v is None or _is_number(v, 0))
_MEMBER: Final = {
    "account_id": _TEXT, "score": _SHARE, "membership": _SHARE, "exchanges": _COUNT, "first_seen": _TIME,
    "last_seen": _TIME,
}  # fmt: skip
_FORM: Final = {
    "part": _Kind("'head' or 'tail'", _matches("head|tail")),
    "hash": _Kind("16 hexadecimal digits", _matches("[0-9a-f]{16}")),
    "accounts": _COUNT, "of_traffic": _SHARE, "variance_ratio": _RATIO, "overlap": _SHARE_OR_NULL,
}  # fmt: skip
_CASE: Final = {
    "schema": _Kind(f"'{SCHEMA}'", _matches(SCHEMA)),
    "campaign_id": _Kind("an id like camp-1a2b3c4d5e6f", _matches("camp-[0-9a-f]{6,64}")),
    "level": _Kind("'review' or 'act'", _matches("review|act")),
    "score": _SHARE, "accounts": [_MEMBER], "exchanges": _COUNT, "first_seen": _TIME, "last_seen": _TIME,
    "capability": dict.fromkeys(CAPABILITIES, _SHARE),
    "rhythm": {
        "hour_of_day": _Kind("24 whole numbers", lambda v: _is_list(v) and len(v) == 24 and all(map(_COUNT.holds, v))),
        "accounts_by_day": _Map(_DAY, _COUNT),
    },
    "forms": [_FORM],
    "evidence": {
        "pooled_score": _SHARE_OR_NULL, "pooled_exchanges": _COUNT, "p_value": _SHARE_OR_NULL,
        "q_value": _SHARE_OR_NULL, "variance_ratio": _RATIO, "overlap": _SHARE_OR_NULL,
        "starts_together": _SHARE_OR_NULL, "links": _Map(_WORD, _COUNT), "without": _Map(_WORD, _SHARE_OR_NULL),
    },
    "alleged": [_TEXT], "against": [_TEXT],
}  # fmt: skip


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _check(value: Any, kind: Any, at: str) -> None:
    """CaseError where ``value`` is not of ``kind``: a _Kind, a _Map, a dict of kinds, or a list of one."""
    if isinstance(kind, _Kind):
        if not kind.holds(value):
            raise CaseError(f"{at}: expected {kind.told}, got {_came(value)}")
    elif isinstance(kind, list):
        if not _is_list(value):
            raise CaseError(f"{at}: expected a list, got {_came(value)}")
        for i, item in enumerate(value):
            _check(item, kind[0], f"{at}[{i}]")
    elif not isinstance(value, dict):
        raise CaseError(f"{at}: expected an object, got {_came(value)}")
    elif isinstance(kind, _Map):
        for i, (name, item) in enumerate(value.items()):
            if not kind.key.holds(name):
                raise CaseError(f"{at}: expected {kind.key.told} as name {i + 1}, got another")
            _check(item, kind.value, f"{at}.{name}")
    else:
        if missing := [name for name in kind if name not in value]:
            raise CaseError(f"{at}: fields are missing: {', '.join(missing)}")
        for name, inner in kind.items():
            _check(value[name], inner, f"{at}.{name}")


def _came(value: Any) -> str:
    """What a value is, without telling text."""
    if isinstance(value, int | float):
        return f"{value:.9g}"
    return {str: "text", list: "a list", dict: "an object", type(None): "null"}.get(type(value), "something else")


def _plain(value: Any) -> Any:
    """As JSON has it: dataclasses and mappings as dicts, sequences as lists, numpy's numbers as Python's."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _percent(share: float) -> str:
    """A share as per cent with two digits; never rounded to none or all."""
    if 0 < share < 0.0001:
        return "less than 0.01 %"
    if 0.99 < share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.2g} %"


def _number(value: float | None) -> str:
    known = _known(value)
    return "not measured" if known is None else f"{known:.2f}" if known == 0 or known >= 0.1 else f"{known:.2g}"


def _busiest(hours: Sequence[int]) -> str:
    top = sorted(range(len(hours)), key=lambda hour: (-hours[hour], hour))[:3]
    return ", ".join(f"{hour:02d}" for hour in top if hours[hour]) or "none"


def _time(iso: str) -> str:
    return _text(iso[:16].replace("T", " "))


def _text(text: str) -> str:
    """Text on one line of which Markdown makes no mark-up."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def _code(name: str) -> str:
    """A name as code, in which Markdown sees no mark-up and no link; what could end it is shown as \\uXXXX."""
    shown = name if len(name) <= ID_SHOWN else name[: ID_SHOWN - 1] + "…"
    safe = (c if c.isprintable() and c not in "\\`|<>*[]" else f"\\u{ord(c):04x}" for c in shown)
    return f"`{''.join(safe)}`" if name else "(empty)"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
