"""Sharing a found campaign between providers without prompts: a STIX 2.1 bundle of keyed signatures, written.

``share`` writes, of a case file, only what is named here: per masked form HMAC-SHA256(key, part + hash), cut to 128
bits, and a coarse profile. Members of a sharing group hold one key: whoever lacks it can neither look for a form they
know nor try guesses, as they could with a plain hash; whoever has it can, so the key is the limit of the audience.

Standards. STIX 2.1 (OASIS 2021): ``pattern-type-ov`` is an open vocabulary, so an indicator has ``pattern_type``
"fingerprint"; a STIX pattern would need a custom observable that nobody's sensors report. Custom properties are
deprecated there, so the rest lies in a property extension (section 7.3), defined in the bundle. TLP 2.0 is the
extension that OASIS publishes for it (cti-stix-common-objects). Ids are UUIDv5 and hold ``now``: each sharing is a
statement of its own, never a second version of an object that says something else. The library ``stix2`` (extra
``share``) checks what is written; reading (match) needs none. Left out: transport (TAXII), storing and changing keys,
proof of who wrote a bundle: every holder of the key can write one.
"""

import importlib
import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from fingerprint.campaigns.cases import SCHEMA as CASE
from fingerprint.campaigns.share_format import (
    BUNDLE_BYTES,
    EXTENSION,
    KEY_BYTES,
    NAME,
    OBJECTS,
    PARTS,
    SCHEMA,
    SPACE,
    TLP,
    TRAFFIC,
    VALID_DAYS,
    ShareError,
    aware,
    between,
    bucket,
    check_key,
    check_tag,
    form_signature,
    get,
    is_name,
    keyed,
    matching,
)
from fingerprint.kernels.layout import CAPABILITIES

__all__ = ["ATLAS", "share"]

_TLP_EXTENSION: Final = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
_FIXED: Final = "2026-05-27T00:00:00.000Z"  # creation of the objects that are the same in every bundle
ATLAS: Final = "2026.05"  # the release of MITRE ATLAS whose technique id and name are used (atlas-data, 2026-05-27)
TECHNIQUE: Final = ("AML.T0024.002", "Extract AI Model")


def _traffic(share: float) -> float:
    """The next higher step of ``TRAFFIC``; what was never seen is given the lowest one, not zero."""
    return next(step for step in TRAFFIC if share <= step)


def _day(table: Mapping[str, Any], field: str) -> str:
    text = get(table, field, str, "case")
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
    evidence, doubt = get(case, "evidence", dict, "case") if "evidence" in case else {}, 0.0
    if evidence.get("q_value") is not None:
        doubt = between(evidence, "q_value", float, 0, 1, "case evidence")
    sure = math.floor(100 * between(case, "score", float, 0, 1, "case") * (1 - doubt) + 1e-9)
    return min(sure, 99 if case["level"] == "act" else 69)


def _profile(case: Mapping[str, Any]) -> dict[str, Any]:
    """The profile of a case, as it is written."""
    capability = get(case, "capability", dict, "case")
    shares = {name: between(capability, name, float, 0, 1, "case capability") for name in CAPABILITIES}
    return {
        "capability": {name: round(share, 1) for name, share in shares.items()},
        "hours": _hours(get(get(case, "rhythm", dict, "case"), "hour_of_day", list, "case rhythm")),
        "accounts": bucket(len(get(case, "accounts", list, "case"))),
        "exchanges": bucket(between(case, "exchanges", int, 0, 1 << 62, "case")),
        "first_day": _day(case, "first_seen"),
        "last_day": _day(case, "last_seen"),
        "level": matching(case, "level", re.compile("review|act"), "case"),
    }


def _signatures(case: Mapping[str, Any], key: bytes) -> list[tuple[str, bytes, float]]:
    """Part, keyed signature and rounded share of traffic of each form, in the order of the signatures."""
    if (tag := case.get("keyed")) is not None and tag != check_tag(key).hex():
        raise ShareError(
            "case: its forms are keyed with another key: share it with that key, "
            "or write the case again (fingerprint campaigns) with this key or without one"
        )
    size = 16 if tag is None else 2 * KEY_BYTES
    found: dict[tuple[bytes, str], float] = {}
    for form in get(case, "forms", list, "case"):
        if not isinstance(form, dict):
            raise ShareError(f"case: expected tables as forms, got {type(form).__name__}")
        part = matching(form, "part", re.compile("|".join(PARTS)), "case form")
        digits = get(form, "hash", str, "case form")
        if not re.fullmatch(f"[0-9a-f]{{{size}}}", digits) or not int(digits, 16):
            raise ShareError(f"case form: expected {size} hex digits, not all zero, as hash, got something else")
        share = _traffic(between(form, "of_traffic", float, 0, 1, "case form"))
        place = form_signature(key, part, digits) if tag is None else bytes.fromhex(digits), part
        found[place] = max(share, found.get(place, 0.0))
    if not found:
        raise ShareError("case: expected at least one form to share, got none")
    return [(part, signature, share) for (signature, part), share in sorted(found.items())]


def _account_hashes(case: Mapping[str, Any], key: bytes) -> list[str]:
    if any(not isinstance(account, dict) for account in case["accounts"]):
        raise ShareError("case: expected tables as accounts, got something else")
    names = [get(account, "account_id", str, "case account") for account in case["accounts"]]
    return sorted({keyed(key, b"account ", name.encode("utf-8", "surrogatepass")).hex() for name in names})


def _stix2() -> Any:
    try:
        return importlib.import_module("stix2").v21
    except ImportError as error:
        needed = f"sharing needs {error.name}, which is not installed"
        raise ShareError(f"{needed}: pip install 'fingerprint[share]'") from None


def _common(stix2: Any, provider: str) -> tuple[Any, Any, list[Any]]:
    """The provider, the technique, and what each bundle has beside them; the same objects in all of its bundles."""

    def named(kind: str, *of: str) -> dict[str, str]:
        return {"id": f"{kind}--{uuid.uuid5(SPACE, '|'.join((kind, *of)))}", "created": _FIXED, "modified": _FIXED}

    author = stix2.Identity(**named("identity"), name="fingerprint", identity_class="system")
    definition = stix2.ExtensionDefinition(
        **{**named("extension"), "id": EXTENSION},
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

    Nothing is copied from the case but its id and level; forms leave it as keyed signatures (those of a keyed case as
    they are, with the same key only), shares and counts rounded. ``accounts``: also keyed hashes of account ids. Raises
    ``ShareError`` where the case, the key or an argument does not fit, or ``stix2`` is not installed.
    """
    check_key(key)
    if tlp not in TLP:
        raise ShareError(f"expected TLP {', '.join(TLP)}, got {tlp[:20]!a}")
    if not 1 <= valid_days <= VALID_DAYS:
        raise ShareError(f"expected 1 to {VALID_DAYS} days of validity, got {valid_days}")
    if not is_name(provider):
        raise ShareError("expected 1 to 200 printable characters as the provider's name")
    if case.get("schema") != CASE:
        raise ShareError(f"expected a case of schema {CASE}, got {str(case.get('schema'))[:40]!a}")
    campaign_id, profile = matching(case, "campaign_id", NAME, "case"), _profile(case)
    if profile["last_day"] < profile["first_day"]:
        raise ShareError(f"case: expected last_seen from {profile['first_day']}, got {profile['last_day']}")
    body = {"schema": SCHEMA, "check": check_tag(key).hex(), "profile": profile}
    if accounts:
        body["accounts"] = _account_hashes(case, key)
    facts = _Facts(campaign_id, provider, tlp, aware(now), valid_days, _confidence(case), body)
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
        fields = {"id": f"{kind}--{uuid.uuid5(SPACE, name)}", "created_by_ref": identity.id}
        return fields | {"created": facts.now, "modified": facts.now, "object_marking_refs": [TLP[facts.tlp]]}

    def found(extension: Mapping[str, Any]) -> dict[str, Any]:
        content = {"extension_type": "property-extension", **extension}
        return {"confidence": facts.confidence, "extensions": {EXTENSION: content}}

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
    bundle = stix2.Bundle(*objects, id=f"bundle--{uuid.uuid5(SPACE, whole)}")
    return str(bundle.serialize(sort_keys=True, indent=1)) + "\n"
