"""Sharing a found campaign between providers without prompts: a STIX 2.1 bundle of keyed signatures, and its matching.

``share`` writes, of a case file, only what is named here: per masked form HMAC-SHA256(key, part + hash), cut to 128
bits, and a coarse profile. Members of a sharing group hold one key: whoever lacks it can neither look for a form they
know nor try guesses, as they could with a plain hash; whoever has it can, so the key is the limit of the audience.
``read_bundle`` trusts nothing of what it reads; ``match`` says which accounts of the receiver carry the signatures and
how many would by chance. A match is a lead for an analyst, no verdict.

Standards. STIX 2.1 (OASIS 2021): ``pattern-type-ov`` is an open vocabulary, so an indicator has ``pattern_type``
"fingerprint"; a STIX pattern would need a custom observable that nobody's sensors report. Custom properties are
deprecated there, so the rest lies in a property extension (section 7.3), defined in the bundle. TLP 2.0 is the
extension that OASIS publishes for it (cti-stix-common-objects). Ids are UUIDv5 and hold ``now``: each sharing is a
statement of its own, never a second version of an object that says something else. The library ``stix2`` (extra
``share``) checks what is written; reading needs none. Left out: transport (TAXII), the storing and changing of keys,
proof of who wrote a bundle: every holder of the key can write one.
"""

import hmac
import importlib
import json
import math
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fingerprint.campaigns.cases import SCHEMA as CASE
from fingerprint.errors import FingerprintError
from fingerprint.kernels.layout import CAPABILITIES

__all__ = ["ATLAS", "SCHEMA", "Matches", "Profile", "ShareError", "Shared", "match", "read_bundle", "read_key", "share"]

SCHEMA: Final = "fingerprint-share/1"
ATLAS: Final = "2026.05"  # the release of MITRE ATLAS whose technique id and name are used (atlas-data, 2026-05-27)
TECHNIQUE: Final = ("AML.T0024.002", "Extract AI Model")
PARTS: Final = ("head", "tail")
TLP: Final = {  # TLP 2.0: the ids that OASIS gives its five markings
    "clear": "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
    "green": "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    "amber": "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    "amber+strict": "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
    "red": "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
}
TRAFFIC: Final = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
KEY_BYTES: Final = 16  # of the shortest key, and of a signature
BUNDLE_BYTES: Final = 1 << 20
OBJECTS: Final = 1000
DEPTH: Final = 12
VALID_DAYS: Final = 366

_TLP_EXTENSION: Final = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
_SPACE: Final = uuid.UUID("5b0c2d5e-6d0b-4d3e-9a53-3f4d1c1f7a86")  # of this module's UUIDv5
_EXTENSION: Final = f"extension-definition--{uuid.uuid5(_SPACE, SCHEMA)}"
_FIXED: Final = "2026-05-27T00:00:00.000Z"  # creation of the objects that are the same in every bundle
_PATTERN: Final = re.compile(r"(head|tail):([0-9a-f]{32})")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TEXT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # of JSON, also one that does not end: linear in time
_T = TypeVar("_T")


class ShareError(FingerprintError, ValueError):
    """A case cannot be shared, a bundle cannot be trusted, or a key does not fit."""


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


def _keyed(key: bytes, label: bytes, message: bytes = b"") -> bytes:
    """The first 16 bytes of HMAC-SHA256(key, label + message); no label begins another."""
    return hmac.digest(key, label + message, "sha256")[:KEY_BYTES]


def _check_tag(key: bytes) -> bytes:
    return _keyed(key, f"check {SCHEMA}".encode())


def _check_key(key: bytes) -> None:
    if len(key) < KEY_BYTES:
        raise ShareError(f"expected a key of at least {KEY_BYTES} bytes, got {len(key)}")


def _aware(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ShareError("expected `now` with a time zone, got none")
    return now.astimezone(UTC).replace(microsecond=0)


def read_key(source: str | Path) -> bytes:
    """The key of a sharing group, from a file or, as ``env:NAME``, from an environment variable.

    White space around it is dropped. What consists of hex digits only is hex, all else is the key itself. Raises
    ``ShareError`` if there is none, or fewer than 16 bytes; the message never holds the key.
    """
    name = str(source)
    if name.startswith("env:"):
        if (text := os.environ.get(name[4:])) is None:
            raise ShareError(f"expected the key in the environment variable {name[4:]}, it is not set")
        found = text.encode("utf-8", "surrogateescape").strip()
    else:
        try:
            with Path(source).open("rb") as file:
                found = file.read(4097).strip()
        except (OSError, ValueError) as error:
            raise ShareError(f"{name}: cannot read the key ({getattr(error, 'strerror', error)})") from None
    if len(found) > 4096:
        raise ShareError(f"{name}: expected a key of at most 4096 bytes, got more")
    if re.fullmatch(rb"[0-9a-fA-F]+", found):
        if len(found) % 2:
            raise ShareError(f"{name}: expected an even number of hex digits, got {len(found)}")
        found = bytes.fromhex(found.decode())
    if len(found) < KEY_BYTES:
        raise ShareError(f"{name}: expected a key of at least {KEY_BYTES} bytes, got {len(found)}")
    return found


def _get(table: Mapping[str, Any], field: str, kind: type[_T], where: str) -> _T:
    """The field, which must be of exactly this type (an int is also a float, a bool is neither)."""
    value = table.get(field)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ShareError(f"{where}: expected {kind.__name__} as {field}, got {type(value).__name__}")
    return value


def _between(table: Mapping[str, Any], field: str, kind: type[_T], low: float, high: float, where: str) -> _T:
    value: Any = _get(table, field, kind, where)
    if not low <= value <= high:
        raise ShareError(f"{where}: expected {field} of {low:g} to {high:g}, got {value:g}")
    return value  # type: ignore[no-any-return]  # it is of type ``kind``


def _matching(table: Mapping[str, Any], field: str, wanted: re.Pattern[str], where: str) -> str:
    if not wanted.fullmatch(value := _get(table, field, str, where)):
        raise ShareError(f"{where}: expected {field} like {wanted.pattern}, got {value[:40]!a}")
    return value


def _bucket(count: int) -> str:
    """Power of ten: 0, 1-9, 10-99, ..."""
    low = 10 ** (len(str(count)) - 1)
    return f"{low}-{10 * low - 1}" if count > 0 else "0"


def _traffic(share: float) -> float:
    """The next higher step of ``TRAFFIC``; what was never seen is given the lowest one, not zero."""
    return next(step for step in TRAFFIC if share <= step)


def _day(table: Mapping[str, Any], field: str) -> str:
    text = _get(table, field, str, "case")
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ShareError(f"case: expected RFC 3339 time as {field}, got something else") from None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()


def _hours(counts: Sequence[Any]) -> list[int]:
    if len(counts) != 24 or any(type(count) is not int or not 0 <= count < 1 << 62 for count in counts):
        raise ShareError("case: expected 24 counts as rhythm.hour_of_day, got something else")
    most = max(counts)
    return [round(8 * count / most) if most else 0 for count in counts]


def _confidence(case: Mapping[str, Any]) -> int:
    """Score in per cent, less what the evidence leaves to false discovery (``evidence.q_value``, if it is stated).

    At most 99, for no test is certain, and below the "High" of STIX's scale (70) unless the level is act.
    """
    evidence, doubt = _get(case, "evidence", dict, "case") if "evidence" in case else {}, 0.0
    if evidence.get("q_value") is not None:
        doubt = _between(evidence, "q_value", float, 0, 1, "case evidence")
    sure = math.floor(100 * _between(case, "score", float, 0, 1, "case") * (1 - doubt) + 1e-9)
    return min(sure, 99 if case["level"] == "act" else 69)


def _profile(case: Mapping[str, Any]) -> dict[str, Any]:
    """The profile of a case, as it is written."""
    capability = _get(case, "capability", dict, "case")
    shares = {name: _between(capability, name, float, 0, 1, "case capability") for name in CAPABILITIES}
    return {
        "capability": {name: round(share, 1) for name, share in shares.items()},
        "hours": _hours(_get(_get(case, "rhythm", dict, "case"), "hour_of_day", list, "case rhythm")),
        "accounts": _bucket(len(_get(case, "accounts", list, "case"))),
        "exchanges": _bucket(_between(case, "exchanges", int, 0, 1 << 62, "case")),
        "first_day": _day(case, "first_seen"),
        "last_day": _day(case, "last_seen"),
        "level": _matching(case, "level", re.compile("review|act"), "case"),
    }


def _signatures(case: Mapping[str, Any], key: bytes) -> list[tuple[str, bytes, float]]:
    """Part, keyed signature and rounded share of traffic of each form, in the order of the signatures."""
    found: dict[tuple[bytes, str], float] = {}
    for form in _get(case, "forms", list, "case"):
        if not isinstance(form, dict):
            raise ShareError(f"case: expected tables as forms, got {type(form).__name__}")
        part = _matching(form, "part", re.compile("|".join(PARTS)), "case form")
        if not re.fullmatch("[0-9a-f]{16}", digits := _get(form, "hash", str, "case form")) or not int(digits, 16):
            raise ShareError("case form: expected 16 hex digits, not all zero, as hash, got something else")
        share = _traffic(_between(form, "of_traffic", float, 0, 1, "case form"))
        place = _keyed(key, part.encode(), bytes.fromhex(digits)), part
        found[place] = max(share, found.get(place, 0.0))
    if not found:
        raise ShareError("case: expected at least one form to share, got none")
    return [(part, signature, share) for (signature, part), share in sorted(found.items())]


def _account_hashes(case: Mapping[str, Any], key: bytes) -> list[str]:
    if any(not isinstance(account, dict) for account in case["accounts"]):
        raise ShareError("case: expected tables as accounts, got something else")
    names = [_get(account, "account_id", str, "case account") for account in case["accounts"]]
    return sorted({_keyed(key, b"account ", name.encode("utf-8", "surrogatepass")).hex() for name in names})


def _stix2() -> Any:
    try:
        return importlib.import_module("stix2").v21
    except ImportError as error:
        needed = f"sharing needs {error.name}, which is not installed"
        raise ShareError(f"{needed}: pip install 'fingerprint[share]'") from None


def _common(stix2: Any, provider: str) -> tuple[Any, Any, list[Any]]:
    """The provider, the technique, and what each bundle has beside them; the same objects in all of its bundles."""

    def named(kind: str, *of: str) -> dict[str, str]:
        return {"id": f"{kind}--{uuid.uuid5(_SPACE, '|'.join((kind, *of)))}", "created": _FIXED, "modified": _FIXED}

    author = stix2.Identity(**named("identity"), name="fingerprint", identity_class="system")
    definition = stix2.ExtensionDefinition(
        **{**named("extension"), "id": _EXTENSION},
        created_by_ref=author.id,
        name="Shared distillation campaign",
        description="Keyed signatures of masked prompt forms, and a coarse profile. Holds no prompt.",
        schema=f"urn:{SCHEMA}",
        version="1.0.0",
        extension_types=["property-extension"],
    )
    identity = stix2.Identity(**named("identity", provider), name=provider, identity_class="organization")
    technique = stix2.AttackPattern(
        **named("attack-pattern", provider, ATLAS),
        created_by_ref=identity.id,
        name=TECHNIQUE[1],
        external_references=[
            {
                "source_name": "mitre-atlas",
                "description": f"MITRE ATLAS {ATLAS}",
                "url": f"https://atlas.mitre.org/techniques/{TECHNIQUE[0]}",
                "external_id": TECHNIQUE[0],
            }
        ],
    )
    return identity, technique, [author, definition, identity, technique]


def _marking(stix2: Any, tlp: str) -> Any:
    return stix2.MarkingDefinition(
        id=TLP[tlp],
        created="2022-10-01T00:00:00.000Z",
        name=f"TLP:{tlp.upper()}",
        extensions={_TLP_EXTENSION: {"extension_type": "property-extension", "tlp_2_0": tlp}},
    )


def share(
    case: Mapping[str, Any],
    key: bytes,
    *,
    provider: str,
    tlp: str = "amber",
    valid_days: int = 90,
    now: datetime,
    accounts: bool = False,
) -> str:
    """A case as the JSON of a STIX 2.1 bundle; the same arguments give the same bytes.

    Nothing is copied from the case but its id and level; forms leave it as keyed signatures, shares and counts
    rounded. ``accounts``: also keyed hashes of account ids. Raises ``ShareError`` where the case, the key or an
    argument does not fit, or ``stix2`` is not installed.
    """
    _check_key(key)
    if tlp not in TLP:
        raise ShareError(f"expected TLP {', '.join(TLP)}, got {tlp[:20]!a}")
    if not 1 <= valid_days <= VALID_DAYS:
        raise ShareError(f"expected 1 to {VALID_DAYS} days of validity, got {valid_days}")
    if not _is_name(provider):
        raise ShareError("expected 1 to 200 printable characters as the provider's name")
    if case.get("schema") != CASE:
        raise ShareError(f"expected a case of schema {CASE}, got {str(case.get('schema'))[:40]!a}")
    campaign_id, profile = _matching(case, "campaign_id", _NAME, "case"), _profile(case)
    if profile["last_day"] < profile["first_day"]:
        raise ShareError(f"case: expected last_seen from {profile['first_day']}, got {profile['last_day']}")
    body = {"schema": SCHEMA, "check": _check_tag(key).hex(), "profile": profile}
    if accounts:
        body["accounts"] = _account_hashes(case, key)
    facts = _Facts(campaign_id, provider, tlp, _aware(now), valid_days, _confidence(case), body)
    text = _bundle(_stix2(), facts, _signatures(case, key))
    if len(text) > BUNDLE_BYTES:
        raise ShareError(f"expected a bundle of at most {BUNDLE_BYTES:,} bytes, got {len(text):,}: leave accounts out")
    return text


class _Facts(NamedTuple):
    """What is said of the campaign, besides its signatures."""

    campaign_id: str
    provider: str
    tlp: str
    now: datetime
    valid_days: int
    confidence: int
    body: dict[str, Any]


def _bundle(stix2: Any, facts: _Facts, signatures: list[tuple[str, bytes, float]]) -> str:
    identity, technique, common = _common(stix2, facts.provider)
    until = facts.now + timedelta(days=facts.valid_days)

    def said(kind: str, *of: str) -> dict[str, Any]:
        name = "|".join((kind, facts.provider, facts.campaign_id, facts.tlp, facts.now.isoformat(), *of))
        fields = {"id": f"{kind}--{uuid.uuid5(_SPACE, name)}", "created_by_ref": identity.id}
        return fields | {"created": facts.now, "modified": facts.now, "object_marking_refs": [TLP[facts.tlp]]}

    def found(extension: Mapping[str, Any]) -> dict[str, Any]:
        content = {"extension_type": "property-extension", **extension}
        return {"confidence": facts.confidence, "extensions": {_EXTENSION: content}}

    profile = facts.body["profile"]
    campaign = stix2.Campaign(
        **said("campaign", json.dumps(facts.body, sort_keys=True), str(facts.confidence)),
        **found(facts.body),
        name=facts.campaign_id,
        description="Accounts that seem to be operated together to harvest a model: evidence, not a verdict.",
        first_seen=f"{profile['first_day']}T00:00:00Z",
        last_seen=f"{profile['last_day']}T00:00:00Z",
        objective="Model distillation (suspected)",
    )
    objects = [_marking(stix2, facts.tlp), *common, campaign]

    def related(kind: str, source: Any, target: Any) -> Any:
        fields = said("relationship", kind, source.id, target.id)
        return stix2.Relationship(**fields, relationship_type=kind, source_ref=source.id, target_ref=target.id)

    objects.append(related("uses", campaign, technique))
    for part, signature, of_traffic in signatures:
        pattern = f"{part}:{signature.hex()}"
        indicator = stix2.Indicator(
            **said("indicator", campaign.id, pattern, str(until), str(of_traffic)),
            **found({"of_traffic": of_traffic}),
            indicator_types=["anomalous-activity"],
            pattern=pattern,
            pattern_type="fingerprint",
            pattern_version="1",
            valid_from=facts.now,
            valid_until=until,
        )
        objects += [indicator, related("indicates", indicator, campaign)]
    if len(objects) > OBJECTS:
        raise ShareError(f"expected at most {(OBJECTS - 7) // 2} forms, got {len(signatures)}")
    whole = "|".join(str(item.id) for item in objects)
    bundle = stix2.Bundle(*objects, id=f"bundle--{uuid.uuid5(_SPACE, whole)}")
    return str(bundle.serialize(sort_keys=True, indent=1)) + "\n"


def _is_name(text: str) -> bool:
    return 1 <= len(text) <= 200 and text.isprintable() and text == text.strip()


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
    objects = _get(bundle, "objects", list, "bundle")
    if len(objects) > OBJECTS:
        raise ShareError(f"bundle: expected at most {OBJECTS:,} objects, got {len(objects):,}")
    for item in objects:
        if not isinstance(item, dict):
            raise ShareError(f"bundle: expected tables as objects, got {type(item).__name__}")
        version = item.get("spec_version")
        if version != "2.1":
            raise ShareError(f"bundle: expected spec_version 2.1 in each object, got {str(version)[:10]!a}")
        if not _get(item, "id", str, "object").startswith(_get(item, "type", str, "object") + "--"):
            raise ShareError("bundle: expected ids that begin with the type, got another")
    if len({item["id"] for item in objects}) != len(objects):
        raise ShareError("bundle: expected each id once, got one twice")
    return objects


def _extension(item: Mapping[str, Any]) -> dict[str, Any]:
    where = str(item["type"])[:20]
    return _get(_get(item, "extensions", dict, where), _EXTENSION, dict, where)


def _moment(item: Mapping[str, Any], field: str) -> datetime:
    text = _matching(item, field, _MOMENT, "indicator")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ShareError(f"indicator: expected a time as {field}, got {text!a}") from None


def _hexes(values: Sequence[Any], field: str) -> frozenset[bytes]:
    if not all(isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value) for value in values):
        raise ShareError(f"campaign: expected 32 hex digits as {field}, got something else")
    return frozenset(bytes.fromhex(value) for value in values)


def _read_bucket(table: Mapping[str, Any], field: str) -> str:
    text = _matching(table, field, re.compile("0|10{0,18}-9{1,19}"), "profile")
    if text != _bucket(int(text.partition("-")[0])):
        raise ShareError(f"profile: expected a power of ten as {field}, got {text}")
    return text


def _read_day(table: Mapping[str, Any], field: str) -> str:
    text = _matching(table, field, re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}"), "profile")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ShareError(f"profile: expected a day as {field}, got {text}") from None


def _read_profile(table: Mapping[str, Any]) -> Profile:
    where = "profile"
    capability = _get(table, "capability", dict, where)
    if set(capability) != set(CAPABILITIES):
        raise ShareError(f"{where}: expected the {len(CAPABILITIES)} capabilities, got {len(capability)} others")
    hours = _get(table, "hours", list, where)
    if len(hours) != 24 or any(type(hour) is not int or not 0 <= hour <= 8 for hour in hours):
        raise ShareError(f"{where}: expected 24 eighths as hours, got something else")
    return Profile(
        {name: round(_between(capability, name, float, 0, 1, where), 1) for name in CAPABILITIES},
        tuple(hours),
        _read_bucket(table, "accounts"),
        _read_bucket(table, "exchanges"),
        _read_day(table, "first_day"),
        _read_day(table, "last_day"),
        _matching(table, "level", re.compile("review|act"), where),
    )


def _read_indicators(items: list[dict[str, Any]]) -> tuple[dict[str, frozenset[bytes]], dict[bytes, float]]:
    parts: dict[str, set[bytes]] = {part: set() for part in PARTS}
    of_traffic: dict[bytes, float] = {}
    for item in items:
        if item.get("pattern_type") != "fingerprint" or item.get("pattern_version") != "1":
            kind = f"{item.get('pattern_type')} {item.get('pattern_version')}"
            raise ShareError(f"indicator: expected a pattern of type fingerprint 1, got {kind[:40]!a}")
        part, _, digits = _matching(item, "pattern", _PATTERN, "indicator").partition(":")
        share = _get(_extension(item), "of_traffic", float, "indicator")
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
    refs = _get(campaign, "object_marking_refs", list, "campaign")
    found = [level for level, ref in TLP.items() if ref in refs]
    if len(found) != 1:
        raise ShareError(f"campaign: expected one marking of TLP 2.0, got {len(found)}")
    return found[0]


def _provider(objects: list[dict[str, Any]], campaign: Mapping[str, Any]) -> str:
    maker = _get(campaign, "created_by_ref", str, "campaign")
    identity = next((item for item in objects if item["id"] == maker and item["type"] == "identity"), None)
    if identity is None or not _is_name(name := _get(identity, "name", str, "identity")):
        raise ShareError("bundle: expected a provider with a printable name, got none")
    return name


def read_bundle(data: bytes, key: bytes, *, now: datetime, allow_expired: bool = False) -> Shared:
    """What another provider shared, checked; nothing of ``data`` is trusted.

    Objects of types that are not used here are ignored. Raises ``ShareError`` for what is too large, too deep, no
    plain JSON, no STIX 2.1, not of this schema, expired (unless ``allow_expired``) or written with another key.
    """
    _check_key(key)
    objects, now = _objects(data), _aware(now)
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
    if not hmac.compare_digest(check, _check_tag(key)):
        raise ShareError("the key does not fit this bundle: expected the key that it was written with, got another")
    return Shared(
        _matching(campaign, "name", _NAME, "campaign"),
        _provider(objects, campaign),
        _marked(campaign),
        *_validity(indicators, now, allow_expired),
        _between(campaign, "confidence", int, 0, 100, "campaign"),
        *_read_indicators(indicators),
        _read_profile(_get(body, "profile", dict, "campaign")),
        _hexes(_get(body, "accounts", list, "campaign") if "accounts" in body else [], "accounts"),
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
    hits = [i for i in range(len(distinct)) if _keyed(key, label, data[8 * i : 8 * i + 8]) in wanted]
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
    _check_key(key)
    if not hmac.compare_digest(shared.check, _check_tag(key)):
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
