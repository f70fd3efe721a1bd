"""What another provider shared: its bundle read and held against traffic.

``read_bundle`` trusts nothing of what it reads; ``match`` says which accounts of the receiver carry the signatures and
how many would by chance. A match is a lead for an analyst, no verdict. Left out: writing a bundle (share).
"""

import hmac
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.campaigns.share_format import (
    BUNDLE_BYTES,
    DEPTH,
    EXTENSION,
    NAME,
    OBJECTS,
    PARTS,
    SCHEMA,
    TLP,
    TRAFFIC,
    VALID_DAYS,
    ShareError,
    aware,
    between,
    bucket,
    check_key,
    check_tag,
    get,
    is_name,
    keyed,
    matching,
)
from fingerprint.kernels.layout import CAPABILITIES

__all__ = ["Matches", "Profile", "Shared", "match", "read_bundle"]

_PATTERN: Final = re.compile(r"(head|tail):([0-9a-f]{32})")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_TEXT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # of JSON, also one that does not end: linear in time


class Profile(NamedTuple):
    """What a campaign looks like, coarsely.

    ``capability``: name to share, in tenths; ``hours``: 24 values, eighths of the busiest hour (UTC); ``accounts`` and
    ``exchanges``: a power of ten such as "10-99"; ``first_day``, ``last_day``: ISO dates; ``level``: review or act.
    """

    capability: dict[str, float]
    hours: tuple[int, ...]
    accounts: str
    exchanges: str
    first_day: str
    last_day: str
    level: str


class Shared(NamedTuple):
    """A bundle that was read and checked.

    ``confidence``: 0 to 100; ``signatures``: part to 16-byte signatures; ``of_traffic``: signature to the share of the
    sender's other accounts that carry the form, rounded up; ``accounts``: keyed hashes of account ids, if any were
    shared; ``check``: what shows that a key fits.
    """

    campaign_id: str
    provider: str
    tlp: str
    valid_from: datetime
    valid_until: datetime
    confidence: int
    signatures: dict[str, frozenset[bytes]]
    of_traffic: dict[bytes, float]
    profile: Profile
    accounts: frozenset[bytes]
    check: bytes


class Matches(NamedTuple):
    """Which accounts carry shared signatures, and what chance would give.

    ``account``: int32[k] codes, each once, rising; ``carrying``: int64[k] sampled exchanges with a shared signature;
    ``share``: float64[k] of the account's sample; ``matched``: the codes with at least ``least`` such exchanges.
    ``by_chance``: upper bound of the expected number of accounts that match without being of the campaign (accounts
    times the summed ``of_traffic``, at most all; as if traffic here were the sender's, and one exchange were enough);
    ``collisions``: expected number of other forms here with the 64-bit hash or the 128-bit signature of a shared one.
    """

    account: NDArray[np.int32]
    carrying: NDArray[np.int64]
    share: NDArray[np.float64]
    matched: NDArray[np.int32]
    least: int
    by_chance: float
    collisions: float


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ShareError("bundle: expected each key once in a table, got one twice")
    return table


def _number(digits: str) -> float:
    if len(digits) > 32 or not math.isfinite(value := float(digits)):
        raise ShareError(f"bundle: expected finite numbers of at most 32 characters, got {digits[:20]}")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 18:
        raise ShareError(f"bundle: expected integers of at most 18 digits, got {len(digits)}")
    return int(digits)


def _parse(data: bytes) -> Any:
    """JSON that is small, flat and plain, or ``ShareError``: size and depth are known before anything is built."""
    if len(data) > BUNDLE_BYTES:
        raise ShareError(f"bundle: expected at most {BUNDLE_BYTES:,} bytes, got {len(data):,}")
    marks = np.frombuffer(_TEXT.sub(b"", data), np.uint8)
    opened = np.cumsum(np.isin(marks, list(b"[{")).astype(np.int64) - np.isin(marks, list(b"]}")))
    if len(opened) and opened.max() > DEPTH:
        raise ShareError(f"bundle: expected nesting of at most {DEPTH} levels, got {opened.max()}")
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_once,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_number,
        )
    except ShareError:
        raise
    except ValueError as error:
        raise ShareError(f"bundle: expected JSON in UTF-8, got something else ({type(error).__name__})") from None


def _objects(data: bytes) -> list[dict[str, Any]]:
    """The objects of a STIX 2.1 bundle, each with a type, an id of its own and the right version."""
    bundle = _parse(data)
    if not isinstance(bundle, dict) or bundle.get("type") != "bundle":
        raise ShareError("expected a STIX bundle, got something else")
    objects = get(bundle, "objects", list, "bundle")
    if len(objects) > OBJECTS:
        raise ShareError(f"bundle: expected at most {OBJECTS:,} objects, got {len(objects):,}")
    for item in objects:
        if not isinstance(item, dict):
            raise ShareError(f"bundle: expected tables as objects, got {type(item).__name__}")
        version = item.get("spec_version")
        if version != "2.1":
            raise ShareError(f"bundle: expected spec_version 2.1 in each object, got {str(version)[:10]!a}")
        if not get(item, "id", str, "object").startswith(get(item, "type", str, "object") + "--"):
            raise ShareError("bundle: expected ids that begin with the type, got another")
    if len({item["id"] for item in objects}) != len(objects):
        raise ShareError("bundle: expected each id once, got one twice")
    return objects


def _extension(item: Mapping[str, Any]) -> dict[str, Any]:
    where = str(item["type"])[:20]
    return get(get(item, "extensions", dict, where), EXTENSION, dict, where)


def _moment(item: Mapping[str, Any], field: str) -> datetime:
    text = matching(item, field, _MOMENT, "indicator")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ShareError(f"indicator: expected a time as {field}, got {text!a}") from None


def _hexes(values: Sequence[Any], field: str) -> frozenset[bytes]:
    if not all(isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value) for value in values):
        raise ShareError(f"campaign: expected 32 hex digits as {field}, got something else")
    return frozenset(bytes.fromhex(value) for value in values)


def _read_bucket(table: Mapping[str, Any], field: str) -> str:
    text = matching(table, field, re.compile("0|10{0,18}-9{1,19}"), "profile")
    if text != bucket(int(text.partition("-")[0])):
        raise ShareError(f"profile: expected a power of ten as {field}, got {text}")
    return text


def _read_day(table: Mapping[str, Any], field: str) -> str:
    text = matching(table, field, re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}"), "profile")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ShareError(f"profile: expected a day as {field}, got {text}") from None


def _read_profile(table: Mapping[str, Any]) -> Profile:
    where = "profile"
    capability = get(table, "capability", dict, where)
    if set(capability) != set(CAPABILITIES):
        raise ShareError(f"{where}: expected the {len(CAPABILITIES)} capabilities, got {len(capability)} others")
    hours = get(table, "hours", list, where)
    if len(hours) != 24 or any(type(hour) is not int or not 0 <= hour <= 8 for hour in hours):
        raise ShareError(f"{where}: expected 24 eighths as hours, got something else")
    return Profile(
        {name: round(between(capability, name, float, 0, 1, where), 1) for name in CAPABILITIES},
        tuple(hours),
        _read_bucket(table, "accounts"),
        _read_bucket(table, "exchanges"),
        _read_day(table, "first_day"),
        _read_day(table, "last_day"),
        matching(table, "level", re.compile("review|act"), where),
    )


def _read_indicators(items: list[dict[str, Any]]) -> tuple[dict[str, frozenset[bytes]], dict[bytes, float]]:
    parts: dict[str, set[bytes]] = {part: set() for part in PARTS}
    of_traffic: dict[bytes, float] = {}
    for item in items:
        if item.get("pattern_type") != "fingerprint" or item.get("pattern_version") != "1":
            kind = f"{item.get('pattern_type')} {item.get('pattern_version')}"
            raise ShareError(f"indicator: expected a pattern of type fingerprint 1, got {kind[:40]!a}")
        part, _, digits = matching(item, "pattern", _PATTERN, "indicator").partition(":")
        share = get(_extension(item), "of_traffic", float, "indicator")
        if share not in TRAFFIC:
            raise ShareError(f"indicator: expected a step of 1, 2, 5 from 1e-05 to 1 as of_traffic, got {share:g}")
        signature = bytes.fromhex(digits)
        parts[part].add(signature)
        of_traffic[signature] = share
    return {part: frozenset(found) for part, found in parts.items()}, of_traffic


def _validity(items: list[dict[str, Any]], now: datetime, allow_expired: bool) -> tuple[datetime, datetime]:
    spans = {(_moment(item, "valid_from"), _moment(item, "valid_until")) for item in items}
    if len(spans) != 1:
        raise ShareError(f"bundle: expected indicators of one validity, got {len(spans)}")
    start, end = spans.pop()
    if not timedelta(0) < end - start <= timedelta(days=VALID_DAYS):
        raise ShareError(f"bundle: expected a validity of at most {VALID_DAYS} days, got {(end - start).days} days")
    if now >= end and not allow_expired:
        raise ShareError(f"the bundle expired: expected a time before {end.isoformat()}, it is {now.isoformat()}")
    return start, end


def _marked(campaign: Mapping[str, Any]) -> str:
    refs = get(campaign, "object_marking_refs", list, "campaign")
    found = [level for level, ref in TLP.items() if ref in refs]
    if len(found) != 1:
        raise ShareError(f"campaign: expected one marking of TLP 2.0, got {len(found)}")
    return found[0]


def _provider(objects: list[dict[str, Any]], campaign: Mapping[str, Any]) -> str:
    maker = get(campaign, "created_by_ref", str, "campaign")
    identity = next((item for item in objects if item["id"] == maker and item["type"] == "identity"), None)
    if identity is None or not is_name(name := get(identity, "name", str, "identity")):
        raise ShareError("bundle: expected a provider with a printable name, got none")
    return name


def read_bundle(data: bytes, key: bytes, *, now: datetime, allow_expired: bool = False) -> Shared:
    """What another provider shared, checked; nothing of ``data`` is trusted.

    Objects of types that are not used here are ignored. Raises ``ShareError`` for what is too large, too deep, no
    plain JSON, no STIX 2.1, not of this schema, expired (unless ``allow_expired``) or written with another key.
    """
    check_key(key)
    objects, now = _objects(data), aware(now)
    campaigns = [item for item in objects if item["type"] == "campaign"]
    indicators = [item for item in objects if item["type"] == "indicator"]
    if len(campaigns) != 1 or not indicators:
        got = f"{len(campaigns)} and {len(indicators)}"
        raise ShareError(f"bundle: expected one campaign and at least one indicator, got {got}")
    campaign = campaigns[0]
    body = _extension(campaign)
    if body.get("schema") != SCHEMA:
        raise ShareError(f"bundle: expected schema {SCHEMA}, got {str(body.get('schema'))[:40]!a}")
    (check,) = _hexes([body.get("check")], "check")
    if not hmac.compare_digest(check, check_tag(key)):
        raise ShareError("the key does not fit this bundle: expected the key that it was written with, got another")
    return Shared(
        matching(campaign, "name", NAME, "campaign"),
        _provider(objects, campaign),
        _marked(campaign),
        *_validity(indicators, now, allow_expired),
        between(campaign, "confidence", int, 0, 100, "campaign"),
        *_read_indicators(indicators),
        _read_profile(get(body, "profile", dict, "campaign")),
        _hexes(get(body, "accounts", list, "campaign") if "accounts" in body else [], "accounts"),
        check,
    )


def _carriers(
    hashes: NDArray[np.int64], part: str, wanted: frozenset[bytes], key: bytes
) -> tuple[NDArray[np.bool_], int]:
    """bool[n], rows whose form has a wanted signature, and the number of distinct forms: each is signed once."""
    if not wanted:
        return np.zeros(len(hashes), np.bool_), 0
    distinct = np.unique(hashes)
    distinct = distinct[distinct != 0]
    data, label = distinct.astype(">i8").tobytes(), part.encode()
    hits = [i for i in range(len(distinct)) if keyed(key, label, data[8 * i : 8 * i + 8]) in wanted]
    return np.isin(hashes, distinct[hits]), len(distinct)


def match(
    shared: Shared,
    head: NDArray[np.int64],
    tail: NDArray[np.int64],
    account: NDArray[np.int32],
    key: bytes,
    *,
    least: int = 2,
) -> Matches:
    """Accounts that carry shared signatures in at least ``least`` of their sampled exchanges.

    ``head``, ``tail``: int64[n], hashes of the masked forms, 0 where there is none; ``account``: int32[n] codes, in
    any order. Raises ``ShareError`` for arrays of different length and for a key that does not fit.
    """
    check_key(key)
    if not hmac.compare_digest(shared.check, check_tag(key)):
        raise ShareError("the key does not fit this bundle: expected the key that it was read with, got another")
    if not len(head) == len(tail) == len(account):
        raise ShareError(f"expected arrays of one length, got {len(head)}, {len(tail)} and {len(account)}")
    if least < 1:
        raise ShareError(f"expected at least 1 exchange, got {least}")
    carries, collisions = np.zeros(len(account), np.bool_), 0.0
    for part, hashes in zip(PARTS, (head, tail), strict=True):
        found, distinct = _carriers(hashes, part, shared.signatures[part], key)
        carries |= found
        collisions += distinct * len(shared.signatures[part]) * (2.0**-64 + 2.0**-128)
    codes, owner = np.unique(account, return_inverse=True)
    rows = np.bincount(owner, minlength=len(codes))
    carrying = np.bincount(owner[carries], minlength=len(codes))
    by_chance = len(codes) * min(1.0, math.fsum(shared.of_traffic.values()))
    return Matches(
        codes, carrying, carrying / np.maximum(rows, 1), codes[carrying >= least], least, by_chance, collisions
    )
