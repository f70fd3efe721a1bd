"""The contract of a case: what is found of a campaign, as dataclasses and as JSON (``SCHEMA``), and how it is read.

No prompt text comes here but the skeletons of forms, where the operator asks for them (skeletons). Left out: finding
campaigns and the numbers themselves, what is said of them (statements), and the page and figures for people (case_page,
figures).
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.errors import FingerprintError
from fingerprint.kernels.layout import CAPABILITIES

__all__ = [
    "SCHEMA", "SKELETON", "Case", "CaseError", "DayHours", "Evidence", "Form", "Member", "Rhythm", "check_case",
    "read_case",
]  # fmt: skip

SCHEMA: Final = "fingerprint-case/1"
SKELETON: Final = 400  # characters of the longest skeleton


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
    """A beginning (``head``) or end (``tail``) of prompts that members share, known by its hash.

    ``skeleton`` is the wording that nearly all of its prompts share, the rest masked; None unless it was asked for.
    """

    part: str
    hash: str  # 16 hexadecimal digits, 32 in a keyed case
    accounts: int  # members that send it
    of_traffic: float  # share of the accounts outside that send it
    variance_ratio: float | None
    overlap: float | None
    skeleton: str | None = None


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
    keyed: str | None = None  # tells with which key the hashes of forms are keyed, where they are (share_format)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it: plain types, null for numbers that are not finite; ``keyed`` and skeletons only if there."""
        told = {name: value for name, value in _plain(self).items() if (name, value) != _UNKEYED}
        told["forms"] = [{n: v for n, v in form.items() if (n, v) != _UNASKED} for form in told["forms"]]
        return {"schema": SCHEMA} | told


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


def check_case(content: Any) -> None:
    """CaseError unless ``content``, as JSON gives it, keeps the contract."""
    _check(content, _kind_of(content), "case")


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
    _check(content, _kind_of(content), f"{file}: case")
    return dict(content)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


class _Kind(NamedTuple):
    """What a value must be, in words and as a test; ``needed``: whether it must be there."""

    told: str
    holds: Callable[[Any], bool]
    needed: bool = True


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
    "skeleton": _Kind(f"1 to {SKELETON} characters", lambda v: isinstance(v, str) and 1 <= len(v) <= SKELETON, False),
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
_KEYED: Final = _Kind("32 hexadecimal digits", _matches("[0-9a-f]{32}"))
_KEYED_CASE: Final = _CASE | {"keyed": _KEYED, "forms": [_FORM | {"hash": _KEYED}]}
_UNKEYED: Final = ("keyed", None)
_UNASKED: Final = ("skeleton", None)


def _kind_of(content: Any) -> dict[str, Any]:
    return _KEYED_CASE if isinstance(content, dict) and "keyed" in content else _CASE


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
        if missing := [name for name, inner in kind.items() if name not in value and getattr(inner, "needed", True)]:
            raise CaseError(f"{at}: fields are missing: {', '.join(missing)}")
        for name, inner in kind.items():
            if name in value:
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
