"""From traffic that was read to campaigns: links, groups, evidence, ids that stay, and a case for each campaign.

    state = State.load(path, scorer)  # what earlier days left; empty where there is no such file
    assembler, names, keeper = state.assembler(scorer, sessions)  # give the assembler batches
    found = find(state.after(names, assembler.account_windows(), keeper), scorer)

A campaign is a group whose score reaches ``REVIEW``. Its id follows from its members at first and stays with most of
them afterwards: of today's groups the one that shares most accounts with a known campaign has its id.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.assemble import HOLD, Assembler
from fingerprint.campaigns import cases
from fingerprint.campaigns.course import Course
from fingerprint.campaigns.evidence import (
    ACT,
    REVIEW,
    Evidence,
    account_scores,
    gather,
    group_scores,
    overlap,
    variance_ratio,
)
from fingerprint.campaigns.groups import communities, joined
from fingerprint.campaigns.hours import HOURS, SLOTS, Hours
from fingerprint.campaigns.links import COURSE, KINDS, TEXT_KINDS, Links, find_links
from fingerprint.campaigns.lists import Lists, find_lists
from fingerprint.campaigns.numbered import BITS, DIGITS, KEPT, READ, Numbered, number_keys
from fingerprint.campaigns.places import Places
from fingerprint.campaigns.sample import FACTS, SIZE, Keeper, Sample
from fingerprint.campaigns.signs import find_signs
from fingerprint.campaigns.statements import statements
from fingerprint.errors import FingerprintError
from fingerprint.exchange import Names
from fingerprint.kernels.layout import AT, CAPABILITIES, LAYOUT_ID, SKETCH, WORDS, W
from fingerprint.kernels.text import LINK_LEAST, LINK_UNITS, T_CAPABILITY, TEXT_COLUMNS
from fingerprint.recent import RECENT_US, Recent
from fingerprint.scorer import Scorer

__all__ = ["Campaign", "Found", "State", "StateError", "case_of", "find"]

FORMS_TOLD = 20  # forms of a case
ENDS = ("first_us", "last_us")
_COLUMNS = (  # of a sample: types, and shapes behind the rows
    *((np.dtype(np.int32), ()), (np.dtype(np.uint64), ()), (np.dtype(np.int64), (len(W),))),
    *((np.dtype(np.int16), (TEXT_COLUMNS,)), (np.dtype(np.int8), (SKETCH,)), (np.dtype(np.int8), (SKETCH,))),
    (np.dtype(np.int32), (len(FACTS),)),
)
_HOURS = (np.dtype(np.int32), np.dtype(np.int32), np.dtype(np.int16))
_NUMBERED = (np.dtype(np.int32), np.dtype(np.int64))
_SAMPLES = f"{SIZE}x{len(FACTS)}-{HOURS}x{SLOTS}-{KEPT}x{DIGITS}x{BITS}x{READ}"
_LAYOUT = "-".join(  # of windows, of what makes forms, of samples, of what is known of the last day
    (LAYOUT_ID.hex(), f"{LINK_UNITS}-{LINK_LEAST}", _SAMPLES, f"{RECENT_US // 3_600_000_000}h")
)
_DAY_US = 86_400_000_000
_PROJECTION = np.random.default_rng(0).normal(size=(32, 2))  # of content, for the picture of who asks what


class StateError(FingerprintError, ValueError):
    """A state of earlier days cannot be used."""


class DayKeeper(Keeper):
    """Keeps samples, and has what the assembler leaves of the last day."""

    recent: Recent


@dataclass
class State:
    """All that is kept of the traffic so far: a window and samples of each account, and which campaigns are known.

    ``windows`` int64[k, WORDS] and ``accounts`` go together; those of ``sample``, ``hours`` and ``numbered`` count in
    ``accounts``.
    ``recent`` are the exchanges of the last day, so that none is counted twice.
    """

    bundle_id: str
    accounts: list[str] = field(default_factory=list)
    windows: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, WORDS), np.int64))
    sample: Sample | None = None
    campaigns: dict[str, list[str]] = field(default_factory=dict)
    hours: Hours = field(default_factory=Hours.none)
    recent: Recent = field(default_factory=Recent)
    numbered: Numbered = field(default_factory=Numbered.none)

    def assembler(self, scorer: Scorer, sessions: Names, hold: int | None = HOLD) -> tuple[Assembler, Names, DayKeeper]:
        """What reads on from here."""
        names, keeper = Names(), DayKeeper(before=self.sample, hours=self.hours, numbered=self.numbered)
        keeper.recent = self.recent.in_order()
        for account in self.accounts:
            names.code(account)
        rest = hold, keeper.add, self.windows, keeper.recent, number_keys
        return Assembler("account", scorer.head, names, sessions, *rest), names, keeper

    def after(self, names: Names, windows: NDArray[np.int64], keeper: DayKeeper) -> State:
        """The state with what was read; ``windows`` of all names."""
        sample = keeper.finish() if names.items else None
        rest = self.campaigns, keeper.clock.finish(), keeper.recent.in_order(), keeper.numbering.finish()
        return State(self.bundle_id, list(names.items), windows, sample, *rest)

    def save(self, path: Path) -> None:
        """Write it in one piece: the file is the old state or the new one, never half of one."""
        told = {
            "bundle_id": self.bundle_id,
            "layout": _LAYOUT,
            "accounts": self.accounts,
            "campaigns": self.campaigns,
        }
        parts = {f"sample_{name}": part for name, part in self.sample._asdict().items()} if self.sample else {}
        parts |= {f"hours_{name}": part for name, part in self.hours._asdict().items()}
        parts |= {f"numbered_{name}": part for name, part in self.numbered._asdict().items()}
        parts |= {f"recent_{name}": part for name, part in vars(self.recent.in_order()).items()}
        told_bytes = np.frombuffer(json.dumps(told).encode(), np.uint8)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as handle:
                np.savez(handle, told=told_bytes, windows=self.windows, **parts)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, scorer: Scorer) -> State:
        """The state in a file, an empty one where there is none; StateError for one that cannot be used."""
        if not path.exists():
            return cls(scorer.bundle_id)
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as parts:
                told: dict[str, Any] = json.loads(parts["told"].tobytes())
                layout, some = told["layout"], bool(told["accounts"])
                columns = [parts[f"sample_{name}"] for name in Sample._fields if some and layout == _LAYOUT]
                hours = [parts[f"hours_{name}"] for name in Hours._fields if layout == _LAYOUT]
                sample = Sample(*columns) if columns else None
                state = cls(told["bundle_id"], told["accounts"], parts["windows"], sample, told["campaigns"])
                state.hours = Hours(*hours) if hours else state.hours
                if layout == _LAYOUT:
                    state.numbered = Numbered(*(parts[f"numbered_{name}"] for name in Numbered._fields))
                    state.recent = Recent(*(parts[f"recent_{name}"] for name in vars(state.recent)))
        except Exception as error:  # what zipfile, numpy and json raise for bytes of anybody's making is no closed list
            raise StateError(f"{path}: expected a state of fingerprint campaigns, got {type(error).__name__}") from None
        if layout != _LAYOUT or state.bundle_id != scorer.bundle_id:
            raise StateError(
                f"{path}: expected bundle {scorer.bundle_id} and layout {_LAYOUT}, got "
                f"{state.bundle_id} and {layout}: start again from the traffic"
            )
        if not state._fits():
            raise StateError(f"{path}: expected a state of fingerprint campaigns, got parts that do not fit each other")
        return state

    def _fits(self) -> bool:
        """Whether the parts are of the types and lengths that go together."""
        lists = [self.accounts, *self.campaigns.values()] if isinstance(self.campaigns, dict) else [None]
        if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
            return False
        k, account = len(self.accounts), self.hours.account
        found: list[Any] = [(part.dtype, part.shape) for part in (self.windows, *self.hours, *self.numbered)]
        expected: list[Any] = [(np.dtype(np.int64), (k, WORDS)), *((kind, (len(account),)) for kind in _HOURS)]
        expected += [(kind, (len(self.numbered.account),)) for kind in _NUMBERED]
        account = np.concatenate([account, self.numbered.account])
        if self.sample:
            found += [(part.dtype, part.shape) for part in self.sample]
            expected += [(kind, (len(self.sample.account), *rest)) for kind, rest in _COLUMNS]
            account = np.concatenate([account, self.sample.account])
        whole = len(set(self.accounts)) == k and found == expected and self.recent.fits(k)
        return whole and bool(((account >= 0) & (account < k)).all())


class Campaign(NamedTuple):
    """A group that reached a level: number of its group, members (account numbers, most tied first) and how tied."""

    campaign_id: str
    level: str
    score: float
    group: int
    members: NDArray[np.int64]
    membership: NDArray[np.float64]


class Found(NamedTuple):
    """Campaigns, strongest first, with all that was looked at."""

    campaigns: list[Campaign]
    groups: list[NDArray[np.int64]]
    evidence: Evidence | None
    links: Links | None
    own: NDArray[np.float64]
    places: Places | None = None
    course: Course | None = None
    lists: Lists | None = None
    kinds: tuple[str, ...] = KINDS  # that were looked for


def find(state: State, scorer: Scorer, seed: int = 0, without: Collection[str] = ()) -> Found:
    """Groups, evidence and campaigns of a state; ``state.campaigns`` is brought up to date. ``without`` leaves kinds of
    links out (of ``KINDS``)."""
    own, some = np.zeros(len(state.accounts)), state.windows[:, AT["n"]] > 0  # all of an account may be duplicates
    if some.any():
        own[some] = account_scores(state.windows[some], scorer)
    if state.sample is None or len(state.accounts) < 2:
        return Found([], [], None, None, own)
    if unknown := set(without) - set(KINDS):
        raise ValueError(f"expected kinds of links among {', '.join(KINDS)}, got {', '.join(sorted(unknown))}")
    kinds, course = tuple(kind for kind in KINDS if kind not in without), Course(state.sample, state.windows)
    lists = find_lists(state.numbered) if "list" in kinds else Lists.none()
    links = _links(state, lists, course, kinds, seed)
    groups = communities(links, len(state.accounts))
    if not groups:
        return Found([], [], None, links, own)
    groups = joined(links, groups, group_scores(own, groups) >= REVIEW)
    evidence = gather(state.sample, state.windows, own, links, groups, scorer, seed)
    convicted = [int(g) for g in np.argsort(-evidence.score, kind="stable") if evidence.score[g] >= REVIEW]
    named = _names(state, [groups[g] for g in convicted])
    ties, campaigns = _ties(links, evidence.group), []
    for campaign_id, g in zip(named, convicted, strict=True):
        tied = _membership(ties, groups[g])
        by = np.lexsort((groups[g], -tied))
        score = float(evidence.score[g])
        campaigns.append(Campaign(campaign_id, "act" if score >= ACT else "review", score, g, groups[g][by], tied[by]))
    for c in campaigns:  # the newest stand last: ``_names`` takes an account to be of its newest campaign
        state.campaigns.pop(c.campaign_id, None)
        state.campaigns[c.campaign_id] = [state.accounts[m] for m in c.members]
    places = Places(state.sample, links, evidence.group)
    return Found(campaigns, groups, evidence, links, own, places, course, lists, kinds)


def _links(state: State, lists: Lists, course: Course, kinds: tuple[str, ...], seed: int) -> Links:
    """Links of these kinds."""
    assert state.sample is not None
    accounts = len(state.accounts)
    text = find_links(state.sample, accounts, seed)
    text = text.take(np.flatnonzero(np.isin(text.kind, [KINDS.index(kind) for kind in kinds])))
    return Links.concat([text, find_signs(state.sample, state.hours, lists, course, text, accounts, kinds)])


def _names(state: State, groups: list[NDArray[np.int64]]) -> list[str]:
    """An id for each group: of the known campaign that it shares most accounts with (at least a third of the smaller),
    or a new one that follows from its members."""
    owner = {account: known for known, members in state.campaigns.items() for account in members}
    shared: list[tuple[int, int, str]] = []
    for number, members in enumerate(groups):
        counts: dict[str, int] = {}
        for member in members:
            if known := owner.get(state.accounts[member]):
                counts[known] = counts.get(known, 0) + 1
        shared += [
            (-count, number, known)
            for known, count in counts.items()
            if 3 * count >= min(len(members), len(state.campaigns[known]))
        ]
    named: dict[int, str] = {}
    for _, number, known in sorted(shared):
        if number not in named and known not in named.values():
            named[number] = known
    taken = {*state.campaigns, *named.values()}
    return [named.get(i) or _new_id(sorted(state.accounts[m] for m in part), taken) for i, part in enumerate(groups)]


def _new_id(members: list[str], taken: set[str]) -> str:
    """An id that follows from the members; another one where a campaign that these founded has it."""
    told = json.dumps(members)
    while (made := f"camp-{hashlib.blake2b(told.encode(), digest_size=6).hexdigest()}") in taken:
        told += "+"
    return made


def _ties(links: Links, group: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each account, its links to members of its own group, and all its links: int64[accounts] twice."""
    ends = np.concatenate([links.a, links.b])
    inside = np.tile((group[links.a] == group[links.b]) & (group[links.a] >= 0), 2)
    return np.bincount(ends[inside], minlength=len(group)), np.bincount(ends, minlength=len(group))


def _membership(ties: tuple[NDArray[np.int64], NDArray[np.int64]], members: NDArray[np.int64]) -> NDArray[np.float64]:
    """How strongly each member is tied in: its links to other members over all its links, or over the median of the
    members' links to each other where it has fewer than that."""
    inside, all_links = (part[members] for part in ties)
    return np.asarray(inside / np.maximum(all_links, max(float(np.median(inside)), 1.0)), np.float64)


def case_of(campaign: Campaign, found: Found, state: State, scorer: Scorer) -> tuple[cases.Case, cases.DayHours]:
    """What an analyst is told of a campaign, and the sampled exchanges behind its figures."""
    assert found.evidence is not None
    assert found.places is not None
    assert state.sample is not None
    ev, g, windows = found.evidence, campaign.group, state.windows[campaign.members]
    rows = found.places.rows(g)
    sample, linking = state.sample.take(rows), ev.linking[rows]
    by = np.argsort(campaign.members)
    place = by[np.searchsorted(campaign.members, sample.account, sorter=by)].astype(np.int32)
    members = [
        cases.Member(
            state.accounts[m],
            float(found.own[m]),
            float(tied),
            int(w[AT["n"]]),
            _time(w[AT["first_us"]]),
            _time(w[AT["last_us"]]),
        )
        for m, tied, w in zip(campaign.members, campaign.membership, windows, strict=True)
    ]
    forms = list(_forms(campaign, found, state, sample, linking))
    evidence = cases.Evidence(
        pooled_score=float(ev.pooled[g]),
        pooled_exchanges=int(windows[:, AT["n"]].sum()),
        p_value=float(ev.p[g]),
        q_value=float(ev.q[g]),
        variance_ratio=float(ev.ratio[g]),
        overlap=float(ev.overlap[g]),
        starts_together=float(ev.together[g]),
        links={kind: int(ev.links[kind][g]) for kind in found.kinds},
        without={kind: float(ev.without[kind][g]) for kind in found.kinds},
    )
    levels = {"review": float(scorer.review), "group_review": REVIEW}
    course = found.course.told(campaign.members) if found.course and COURSE in found.kinds else {}
    lists = found.lists.told(campaign.members) if found.lists else []
    alleged, against = statements(evidence, forms, [m.score for m in members], course, lists, **levels)
    asked = sample.text[linking, T_CAPABILITY : T_CAPABILITY + len(CAPABILITIES)].sum(0).astype(np.float64)
    case = cases.Case(
        campaign_id=campaign.campaign_id,
        level=campaign.level,
        score=campaign.score,
        accounts=members,
        exchanges=int(windows[:, AT["n"]].sum()),
        first_seen=_time(windows[:, AT["first_us"]].min()),
        last_seen=_time(windows[:, AT["last_us"]].max()),
        capability=dict(zip(CAPABILITIES, (asked / max(asked.sum(), 1.0)).tolist(), strict=True)),
        rhythm=_rhythm(windows, sample),
        forms=forms,
        evidence=evidence,
        alleged=alleged,
        against=against,
    )
    picture = sample.content.astype(np.float64) @ _PROJECTION
    return case, cases.DayHours(place, sample.time_us, linking, picture)


def _time(us: Any) -> str:
    return f"{np.datetime64(int(us), 'us').astype('M8[s]')}Z"


def _rhythm(windows: NDArray[np.int64], sample: Sample) -> cases.Rhythm:
    hours = windows[:, AT["hour"] : AT["hour"] + 24].sum(0)
    pairs = np.unique(np.stack([sample.time_us // _DAY_US, sample.account.astype(np.int64)], 1), axis=0)
    days, counts = np.unique(pairs[:, 0], return_counts=True)
    by_day = {str(np.datetime64(int(day), "D")): int(count) for day, count in zip(days, counts, strict=True)}
    return cases.Rhythm([int(hour) for hour in hours], by_day)


def _forms(
    campaign: Campaign, found: Found, state: State, sample: Sample, linking: NDArray[np.bool_]
) -> Iterator[cases.Form]:
    """The forms that link members, those of most members first."""
    links, places = found.links, found.places
    assert links is not None
    assert places is not None
    inside, others = places.links(campaign.group), max(len(state.accounts) - len(campaign.members), 1)
    told = []
    for number, part in enumerate(TEXT_KINDS[:2]):
        of = sample.when[:, W[part]]
        pairs = np.unique(np.stack([of[linking], sample.account[linking].astype(np.int64)], 1), axis=0)
        counts = dict(zip(*(column.tolist() for column in np.unique(pairs[:, 0], return_counts=True)), strict=True))
        linked = np.unique(links.form[inside[links.kind[inside] == number]]).tolist()
        told += [(-counts.get(form, 0), part, form) for form in linked]
    for count, part, form in sorted(told)[:FORMS_TOLD]:
        having = sample.when[:, W[part]] == form
        strangers = (places.accounts(part, form) - len(np.unique(sample.account[having]))) / others
        one = sample.take(np.flatnonzero(linking & having))
        ratio, twice = _of_form(one)
        yield cases.Form(part, f"{form & (2**64 - 1):016x}", -count, strangers, ratio, twice)


def _of_form(rows: Sample) -> tuple[float | None, float]:
    """Variance between accounts over variance within, and the share of distinct prompts that two accounts sent."""
    one = np.zeros(len(rows.account), np.int64)
    ratio = float(variance_ratio(rows, one, one, 1)[0])
    return None if np.isnan(ratio) else ratio, float(overlap(rows, one, 1)[0])
