"""The folder of a case: ``case.json``, and for people ``case.md`` with its figures.

Account ids, and skeletons of forms where there are any, are shown so that none can break the page; no other prompt
text comes here. Left out: the sentences (statements).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fingerprint.campaigns.cases import Case, CaseError, DayHours, check_case, read_case
from fingerprint.campaigns.statements import FEW, READ_AS, number, percent

__all__ = ["markdown", "write_case"]

SHOWN: Final = 50  # members on the page
ID_SHOWN: Final = 80  # characters of an account id on the page
_KINDS: Final = {"head": "prompts begin alike", "tail": "prompts end alike", "content": "the same is asked"}
_SIGNS: Final = {
    "payment": "the same payment", "network": "the same address", "registered": "created in one burst",
    "times": "active in the same minutes", "list": "one list is continued",
    "course": "a common course, of pairs that text links",
}  # fmt: skip
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
    parts = [_opening(case), *_both_sides(case), _aims(case), _evidence(case), _forms(case)]
    parts += [_skeletons(case), _members(case)]
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
    return told + _table(["capability", "share"], [[_text(name), percent(share)] for name, share in shares])


def _evidence(case: Case) -> str:
    found = case.evidence
    rows = [[name, number(getattr(found, key)), told] for key, (name, told) in READ_AS.items()]
    rows.insert(1, ["exchanges of the pool", f"{found.pooled_exchanges:,}", f"below {FEW} a score says little"])
    told = {*found.links, *found.without}
    kinds = [
        [_text(kind), (_KINDS | _SIGNS).get(kind, ""), f"{found.links.get(kind, 0):,}", number(found.without.get(kind))]
        for kind in dict.fromkeys([*_KINDS, *(k for k in _SIGNS if k in found.links), *sorted(told)])
    ]
    return (
        "## Evidence\n\n" + _table(["measure", "value", "how to read it"], rows) + "\n"
        f"The score with and without each kind of link; with all kinds it is {case.score:.2f}.\n\n"
        + _table(["link", "meaning", "linked pairs", "score without it"], kinds)
    )


def _forms(case: Case) -> str:
    rows = [
        [_text(form.part), _code(form.hash), f"{form.accounts:,}", percent(form.of_traffic),
         number(form.variance_ratio), number(form.overlap)]
        for form in case.forms
    ]  # fmt: skip
    head = ["part", "hash", "members that send it", "of the others", "variance ratio", "overlap"]
    kept = "hashes with a key" if case.keyed else "hashes"
    but = " but the wording below" if any(form.skeleton for form in case.forms) else ""
    told = f"Beginnings (head) and ends (tail) of prompts. Only {kept} are kept, never text{but}.\n\n"
    return "## Shared forms\n\n" + told + (_table(head, rows) if rows else "None.\n")


def _skeletons(case: Case) -> str:
    lines = [f"- {form.part} {_code(form.hash)}: {_text(form.skeleton)}\n" for form in case.forms if form.skeleton]
    told = (
        "## What the forms say\n\n**This is wording of customers**: give this page only to those who may read their "
        "prompts. A word shows where nearly all prompts that were compared have it, those of three accounts or more; "
        "… stands for all else, and for numbers, quotes, addresses and long tokens.\n\n"
    )
    return told + "".join(lines) if lines else ""


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
    check_case(content)
    days.check(len(case.accounts))
    place = folder / case.campaign_id
    known = _taken(place, case.campaign_id)
    try:
        from fingerprint.campaigns.figures import draw  # matplotlib is an extra
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
