"""Sharing a campaign: what leaves is keyed, coarse and valid STIX 2.1; what comes in is trusted with nothing."""

import contextlib
import copy
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stix2
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprint.campaigns import match as module
from fingerprint.campaigns import share_format
from fingerprint.campaigns.match import Shared, match, read_bundle
from fingerprint.campaigns.share import share
from fingerprint.campaigns.share_format import EXTENSION, TLP, ShareError, check_tag, form_signature, read_key
from fingerprint.kernels.layout import CAPABILITIES

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
NOW = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
HEAD, HEAD_TWO, TAIL = 0xFEDCBA9876543210, 0x0123456789ABCDEF, 0x1122334455667788
CANARIES = ("acct-canary-7731", "sk-canary-prompt", "203.0.113.77", "alleged-canary", "against-canary", "canary-key")


def case() -> dict[str, Any]:
    """A case with canaries wherever it could carry what must not leave."""
    prompt = "sk-canary-prompt: explain the tides"
    forms = [("head", HEAD, 0.004), ("head", HEAD_TWO, 0.0), ("tail", TAIL, 0.03)]
    return {
        "schema": "fingerprint-case/1",
        "campaign_id": "camp-1a2b3c4d5e6f",
        "level": "act",
        "score": 0.97,
        "prompt": prompt,
        "accounts": [
            {
                "account_id": f"acct-canary-7731-{i}",
                "score": 0.8,
                "ip": "203.0.113.77",
                "exchanges": 120,
                "prompt": prompt,
            }
            for i in range(25)
        ],
        "exchanges": 12345,
        "first_seen": "2026-11-01T03:04:05Z",
        "last_seen": "2026-11-20T23:30:00-02:00",
        "capability": {name: 0.04 if i else 0.66 for i, name in enumerate(CAPABILITIES)} | {"canary-key": 0.1},
        "rhythm": {"hour_of_day": [7 * i for i in range(24)], "accounts_by_day": {"2026-11-01": 5}, "note": prompt},
        "forms": [
            {"part": part, "hash": f"{value:016x}", "accounts": 25, "of_traffic": of, "overlap": 0.02, "prompt": prompt}
            for part, value, of in forms
        ],
        "evidence": {"q_value": 0.01, "prompt": prompt},
        "alleged": ["alleged-canary"],
        "against": ["against-canary"],
    }


def made(changes: dict[str, Any] | None = None, **arguments: Any) -> str:
    return share(case() | (changes or {}), **({"key": KEY, "provider": "Example AI", "now": NOW} | arguments))


TEXT = made()


def read(data: bytes | str, key: bytes = KEY, **arguments: Any) -> Shared:
    data = data.encode() if isinstance(data, str) else data
    return read_bundle(data, key, **({"now": NOW + timedelta(days=1)} | arguments))


def signed(*values: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array(values, np.uint64).view(np.int64)


def changed(change: Callable[[dict[str, Any]], object], kind: str = "bundle") -> str:
    """The bundle after ``change`` was done to its first object of a kind, or to all of it."""
    bundle = json.loads(TEXT)
    change(bundle if kind == "bundle" else next(item for item in bundle["objects"] if item["type"] == kind))
    return json.dumps(bundle)


def test_what_is_shared_is_read_back() -> None:
    found = read(TEXT)
    assert (found.campaign_id, found.provider, found.tlp) == ("camp-1a2b3c4d5e6f", "Example AI", "amber")
    assert (found.valid_from, found.valid_until) == (NOW, NOW + timedelta(days=90))
    assert found.confidence == 96  # 0.97 less a false discovery in a hundred
    assert {part: len(values) for part, values in found.signatures.items()} == {"head": 2, "tail": 1}
    assert sorted(found.of_traffic.values()) == [1e-5, 0.005, 0.05]  # rounded up; never seen is not zero
    assert found.accounts == frozenset()
    assert found.profile == module.Profile(
        {name: 0.0 if i else 0.7 for i, name in enumerate(CAPABILITIES)},
        tuple(round(8 * i / 23) for i in range(24)),
        "10-99",
        "10000-99999",
        "2026-11-01",
        "2026-11-21",  # in UTC
        "act",
    )


@pytest.mark.parametrize("tlp", TLP)
def test_every_marking_of_tlp_2_is_read_back(tlp: str) -> None:
    assert read(made(tlp=tlp)).tlp == tlp


def test_the_same_arguments_give_the_same_bytes_wherever_the_time_is_told() -> None:
    assert made() == TEXT == made(now=NOW.astimezone(timezone(timedelta(hours=9))))
    reordered = case()
    reordered["forms"].reverse()
    reordered["accounts"].reverse()
    assert share(reordered, KEY, provider="Example AI", now=NOW, accounts=True) == made(accounts=True)


def test_two_bundles_never_give_one_id_to_two_objects() -> None:
    seen: dict[str, Any] = {}
    variants = [{}, {"tlp": "red"}, {"valid_days": 3}, {"key": OTHER}, {"accounts": True}, {"provider": "Other AI"}]
    texts = [made(**variant) for variant in variants] + [made({"score": 0.5}), made(now=NOW + timedelta(days=1))]
    for text in texts:
        for item in json.loads(text)["objects"]:
            assert seen.setdefault(item["id"], item) == item


@pytest.mark.parametrize("accounts", [False, True])
def test_no_prompt_account_address_or_form_leaves(accounts: bool) -> None:
    text = made(accounts=accounts)
    assert not [canary for canary in CANARIES if canary in text]
    for value in (HEAD, HEAD_TWO, TAIL):
        raw = value.to_bytes(8, "big")
        for form in (raw.hex(), raw[::-1].hex(), str(value), str(value - 2**64)):
            assert form not in text


def test_account_ids_leave_only_when_asked_and_as_keyed_hashes() -> None:
    found = read(made(accounts=True)).accounts
    assert len(found) == 25
    assert all(len(value) == 16 for value in found)
    assert found != read(made(accounts=True, key=OTHER), OTHER).accounts


@pytest.mark.filterwarnings("error")
def test_the_bundle_is_valid_stix_2_1() -> None:
    bundle = stix2.parse(TEXT)  # strict: no custom content
    kinds = [item.type for item in bundle.objects]
    assert {kind: kinds.count(kind) for kind in ("identity", "campaign", "indicator", "attack-pattern")} == {
        "identity": 2,
        "campaign": 1,
        "indicator": 3,
        "attack-pattern": 1,
    }
    held = {item.id for item in bundle.objects}
    relations = [item for item in bundle.objects if item.type == "relationship"]
    assert [item.relationship_type for item in relations] == ["uses", "indicates", "indicates", "indicates"]
    assert all({item.source_ref, item.target_ref} <= held for item in relations)
    assert all(item.created_by_ref in held for item in bundle.objects if "created_by_ref" in item)
    assert set(next(item for item in bundle.objects if item.type == "campaign").extensions) <= held
    (technique,) = (item for item in bundle.objects if item.type == "attack-pattern")
    assert technique.external_references[0].external_id == "AML.T0024.002"


def test_a_key_that_does_not_fit_is_said() -> None:
    with pytest.raises(ShareError, match="the key does not fit this bundle"):
        read(TEXT, OTHER)
    nothing = np.zeros(0, np.int64)
    with pytest.raises(ShareError, match="the key does not fit this bundle"):
        match(read(TEXT), nothing, nothing, nothing.astype(np.int32), OTHER)


def test_a_short_key_is_refused_everywhere() -> None:
    nothing = np.zeros(0, np.int64)
    for use in (
        lambda: made(key=KEY[:15]),
        lambda: read(TEXT, KEY[:15]),
        lambda: match(read(TEXT), nothing, nothing, nothing.astype(np.int32), KEY[:15]),
    ):
        with pytest.raises(ShareError, match="expected a key of at least 16 bytes, got 15"):
            use()


def test_an_expired_bundle_is_read_only_when_asked() -> None:
    end = NOW + timedelta(days=90)
    read(TEXT, now=end - timedelta(seconds=1))
    with pytest.raises(ShareError, match="expired"):
        read(TEXT, now=end)
    assert read(TEXT, now=end, allow_expired=True).valid_until == end


DEEP = b'{"type":"bundle","objects":' + b"[" * 500_000 + b"]" * 500_000 + b"}"
PROPERTY = EXTENSION


def extension(item: dict[str, Any]) -> dict[str, Any]:
    return dict.__getitem__(item["extensions"], PROPERTY)  # type: ignore[no-any-return]


def put(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda item: item.update(fields)


def inside(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda item: extension(item).update(fields)


HOSTILE: dict[str, tuple[bytes | str, str]] = {
    "empty": (b"", "JSON"),
    "too large": (TEXT + " " * (1 << 20), "at most 1,048,576 bytes"),
    "too many objects": (
        changed(lambda all_: all_["objects"].extend([{"spec_version": "2.1"}] * 1000)),
        "at most 1,000 objects",
    ),
    "too deep": (DEEP, "nesting of at most 12"),
    "a text without end": (b'{"type":"' + b'\\"' * 400_000, "JSON"),
    "not UTF-8": (TEXT.encode("utf-16"), "JSON in UTF-8"),
    "a mark before it": ("\ufeff" + TEXT, "JSON"),
    "NaN": (TEXT.replace('"confidence": 96', '"confidence": NaN'), "finite"),
    "Infinity": (TEXT.replace('"confidence": 96', '"confidence": -Infinity'), "finite"),
    "beyond float": (TEXT.replace('"confidence": 96', '"confidence": 1e999'), "finite"),
    "a huge integer": (TEXT.replace('"confidence": 96', '"confidence": ' + "9" * 5000), "18 digits"),
    "a long number": (TEXT.replace('"confidence": 96', '"confidence": 0.' + "9" * 5000), "32 characters"),
    "a key twice": (TEXT.replace('"confidence": 96', '"confidence": 96, "confidence": 1'), "once"),
    "an array": (b"[]", "STIX bundle"),
    "no bundle": (changed(put(type="grouping")), "STIX bundle"),
    "no objects": (changed(put(objects=[])), "one campaign"),
    "no version": (changed(lambda item: item.pop("spec_version"), "indicator"), "spec_version"),
    "version 2.0": (changed(put(spec_version="2.0"), "identity"), "spec_version 2.1"),
    "an id twice": (changed(lambda all_: all_["objects"].append(all_["objects"][0])), "id once"),
    "an id of another type": (changed(put(id="campaign--1"), "indicator"), "ids that begin"),
    "an id that is a list": (changed(put(id=[]), "indicator"), "expected str as id"),
    "two campaigns": (
        changed(lambda all_: all_["objects"].append({"type": "campaign", "spec_version": "2.1", "id": "campaign--x"})),
        "one campaign",
    ),
    "no schema": (changed(lambda item: extension(item).pop("schema"), "campaign"), "schema"),
    "another schema": (changed(inside(schema="fingerprint-share/2"), "campaign"), "fingerprint-share/1"),
    "no extension": (changed(lambda item: item.pop("extensions"), "campaign"), "extensions"),
    "no check": (changed(lambda item: extension(item).pop("check"), "campaign"), "32 hex digits as check"),
    "a pattern of STIX": (changed(put(pattern_type="stix", pattern="[a:b = 1]"), "indicator"), "type fingerprint"),
    "another pattern": (changed(put(pattern="[a:b = 1]"), "indicator"), "pattern"),
    "a part that is none": (changed(put(pattern="body:" + "0" * 32), "indicator"), "pattern"),
    "not hex": (changed(put(pattern="head:" + "g" * 32), "indicator"), "pattern"),
    "too short": (changed(put(pattern="head:" + "0" * 30), "indicator"), "pattern"),
    "too long": (changed(put(pattern="head:" + "0" * 34), "indicator"), "pattern"),
    "a line more": (changed(put(pattern="head:" + "0" * 32 + "\n"), "indicator"), "pattern"),
    "share over one": (changed(inside(of_traffic=2), "indicator"), "of_traffic"),
    "share of zero": (changed(inside(of_traffic=0), "indicator"), "of_traffic"),
    "share that is true": (changed(inside(of_traffic=True), "indicator"), "of_traffic"),
    "two validities": (changed(put(valid_until="2026-12-01T00:00:00Z"), "indicator"), "one validity"),
    "valid for ever": (TEXT.replace("2027-02-23T09:30:00Z", "9999-02-23T09:30:00Z"), "366 days"),
    "valid backwards": (TEXT.replace("2027-02-23T09:30:00Z", "2020-02-23T09:30:00Z"), "366 days"),
    "valid until never": (TEXT.replace("2027-02-23T09:30:00Z", "2027-02-31T09:30:00Z"), "a time"),
    "no validity": (changed(lambda item: item.pop("valid_until"), "indicator"), "valid_until"),
    "confidence over 100": (changed(put(confidence=101), "campaign"), "confidence"),
    "no marking": (changed(lambda item: item.pop("object_marking_refs"), "campaign"), "object_marking_refs"),
    "an unknown marking": (changed(put(object_marking_refs=["marking-definition--1"]), "campaign"), "TLP 2.0"),
    "no provider": (changed(put(created_by_ref="identity--none"), "campaign"), "provider"),
    "a name that paints": (TEXT.replace("Example AI", "\\u001b[2J"), "printable"),
    "half a character": (TEXT.replace("Example AI", "\\ud800"), "printable"),
    "a campaign that is a path": (changed(put(name="../../etc/passwd"), "campaign"), "name"),
    "no profile": (changed(inside(profile=[]), "campaign"), "profile"),
    "accounts not hex": (changed(inside(accounts=["acct-1"]), "campaign"), "accounts"),
    "hours": (changed(lambda item: extension(item)["profile"].update(hours=[9] * 24), "campaign"), "eighths"),
    "a bucket": (changed(lambda item: extension(item)["profile"].update(accounts="10-9"), "campaign"), "power of ten"),
    "a day": (changed(lambda item: extension(item)["profile"].update(last_day="2026-02-30"), "campaign"), "day"),
    "capability": (
        changed(lambda item: extension(item)["profile"]["capability"].popitem(), "campaign"),
        "capabilities",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused_at_once_and_says_why(name: str) -> None:
    data, reason = HOSTILE[name]
    start = time.perf_counter()
    with pytest.raises(ShareError, match=reason) as caught:
        read(data)
    assert time.perf_counter() - start < 5  # a quadratic reading of a megabyte takes minutes
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_objects_of_other_types_are_ignored() -> None:
    note = {"type": "note", "spec_version": "2.1", "id": "note--1", "content": "x"}
    assert read(changed(lambda all_: all_["objects"].append(note))) == read(TEXT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def attempt(data: bytes) -> None:
    with contextlib.suppress(ShareError):
        assert isinstance(read(data), Shared)


@given(st.binary(max_size=400) | JSON.map(lambda value: json.dumps(value).encode()))
def test_noise_raises_nothing_but_share_error(data: bytes) -> None:
    attempt(data)


@settings(max_examples=300)
@given(st.data())
def test_a_bundle_with_any_value_replaced_is_read_or_refused(data: st.DataObject) -> None:
    bundle = json.loads(TEXT)
    place: Any = bundle
    while True:
        steps = list(place) if isinstance(place, dict) else list(range(len(place)))
        step = data.draw(st.sampled_from(steps))
        inner = place[step]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 5)) == 0:
            break
        place = inner
    place[step] = data.draw(JSON)
    attempt(json.dumps(bundle).encode())


@given(st.integers(0, len(TEXT) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_damaged_bundle_is_read_or_refused(at: int, noise: bytes, gone: int) -> None:
    raw = TEXT.encode()
    attempt(raw[:at] + noise + raw[at + gone :])


def test_accounts_that_carry_a_shared_form_are_matched() -> None:
    rows = [  # account, head, tail
        (5, HEAD, 0), (5, HEAD, TAIL), (5, 9, 9), (5, 0, 0),  # two of four, the second by both parts at once
        (2, 7, TAIL), (2, 7, 8),  # one: not enough
        (9, 0, 0),
        (3, TAIL, HEAD),  # the right forms at the wrong end
        (7, HEAD_TWO, 0), (7, 0, TAIL),
    ]  # fmt: skip
    account, head, tail = zip(*rows, strict=True)
    found = match(read(TEXT), signed(*head), signed(*tail), np.array(account, np.int32), KEY)
    assert found.account.tolist() == [2, 3, 5, 7, 9]
    assert found.account.dtype == found.matched.dtype == np.int32
    assert found.carrying.tolist() == [1, 0, 2, 2, 0]
    assert found.share.tolist() == [0.5, 0, 0.5, 1, 0]
    assert found.matched.tolist() == [5, 7]
    assert found.by_chance == pytest.approx(5 * (1e-5 + 0.005 + 0.05))
    assert 0 < found.collisions < 1e-15
    one = match(read(TEXT), signed(*head), signed(*tail), np.array(account, np.int32), KEY, least=1)
    assert one.matched.tolist() == [2, 5, 7]


def test_nothing_matches_in_nothing() -> None:
    nothing = np.zeros(0, np.int64)
    found = match(read(TEXT), nothing, nothing, nothing.astype(np.int32), KEY)
    assert (len(found.account), len(found.matched), found.by_chance, found.collisions) == (0, 0, 0, 0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), max_size=60), st.integers(1, 3))
def test_matching_is_what_a_count_by_hand_gives(rows: list[tuple[int, int, int]], least: int) -> None:
    heads, tails = [0, HEAD, HEAD_TWO, TAIL], [0, TAIL, HEAD, 5]
    account = np.array([row[0] for row in rows], np.int32)
    head, tail = signed(*(heads[row[1]] for row in rows)), signed(*(tails[row[2]] for row in rows))
    found = match(read(TEXT), head, tail, account, KEY, least=least)
    expected = {
        code: sum(row[1] in (1, 2) or row[2] == 1 for row in rows if row[0] == code) for code in account.tolist()
    }
    assert dict(zip(found.account.tolist(), found.carrying.tolist(), strict=True)) == expected
    assert found.matched.tolist() == sorted(code for code, count in expected.items() if count >= least)


def test_each_distinct_form_is_signed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, calls = read(TEXT), []
    plain = module.keyed
    for place in (module, share_format):
        monkeypatch.setattr(place, "keyed", lambda key, *rest: calls.append(rest) or plain(key, *rest))
    many = np.tile(signed(HEAD, 7, 8, 0), 5000)
    found = match(shared, many, many, np.zeros(len(many), np.int32), KEY)
    assert found.carrying.tolist() == [5000]
    assert len(calls) == 1 + 3 + 3  # the check, and three forms at each end


def test_by_chance_is_never_more_than_all() -> None:
    forms = [{"part": "head", "hash": f"{i + 1:016x}", "of_traffic": 0.5} for i in range(5)]
    shared = read(made({"forms": forms}))
    assert match(shared, signed(1, 1), signed(0, 0), np.array([1, 2], np.int32), KEY).by_chance == 2


def test_match_refuses_arrays_that_do_not_fit() -> None:
    with pytest.raises(ShareError, match="one length"):
        match(read(TEXT), signed(1), signed(1, 2), np.zeros(1, np.int32), KEY)
    with pytest.raises(ShareError, match="at least 1 exchange"):
        match(read(TEXT), signed(1), signed(1), np.zeros(1, np.int32), KEY, least=0)


def test_forms_that_the_case_holds_twice_are_shared_once() -> None:
    forms = [{"part": "head", "hash": f"{HEAD:016x}", "of_traffic": of} for of in (0.001, 0.2)]
    assert list(read(made({"forms": forms})).of_traffic.values()) == [0.2]


def locked(key: bytes) -> dict[str, Any]:
    """What a case has instead when it was written with a key."""
    forms = [form | {"hash": form_signature(key, form["part"], form["hash"]).hex()} for form in case()["forms"]]
    return {"forms": forms, "keyed": check_tag(key).hex()}


def test_a_keyed_case_is_shared_as_the_plain_one_with_the_same_key() -> None:
    assert made(locked(KEY)) == TEXT


def test_a_keyed_case_is_not_shared_with_another_key_or_with_plain_hashes() -> None:
    with pytest.raises(ShareError, match=r"keyed with another key: share it with that key, or write the case again"):
        made(locked(OTHER))
    with pytest.raises(ShareError, match="32 hex digits"):
        made(locked(KEY) | {"forms": case()["forms"]})
    with pytest.raises(ShareError, match="16 hex digits"):
        made({"forms": locked(KEY)["forms"]})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": "fingerprint-case/2"}, "schema fingerprint-case/1"),
        ({"level": "allow"}, "level"),
        ({"campaign_id": "a b"}, "campaign_id"),
        ({"score": float("nan")}, "score"),
        ({"score": "0.9"}, "float as score"),
        ({"forms": []}, "at least one form"),
        ({"forms": ["x"]}, "tables as forms"),
        ({"forms": [{"part": "body", "hash": "1" * 16, "of_traffic": 0.1}]}, "part"),
        ({"forms": [{"part": "head", "hash": "0" * 16, "of_traffic": 0.1}]}, "16 hex digits"),
        ({"forms": [{"part": "head", "hash": "xyz", "of_traffic": 0.1}]}, "16 hex digits"),
        ({"forms": [{"part": "head", "hash": "1" * 16, "of_traffic": -0.1}]}, "of_traffic"),
        ({"forms": [{"part": "head", "hash": f"{i + 1:016x}", "of_traffic": 0} for i in range(500)]}, "at most 496"),
        ({"capability": {}}, "capability"),
        ({"rhythm": {"hour_of_day": [1] * 23}}, "24 counts"),
        ({"rhythm": {"hour_of_day": [-1] * 24}}, "24 counts"),
        ({"first_seen": "yesterday"}, "first_seen"),
        ({"last_seen": "2020-01-01T00:00:00Z"}, "last_seen"),
        ({"evidence": {"q_value": 2}}, "q_value"),
        ({"accounts": None}, "list as accounts"),
        ({"accounts": ["acct-canary"]}, "tables as accounts"),
    ],
)
def test_a_case_that_cannot_be_shared_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ShareError, match=reason) as caught:
        made(changes, accounts=True)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"tlp": "white"}, "TLP clear"),
        ({"valid_days": 0}, "1 to 366 days"),
        ({"valid_days": 367}, "1 to 366 days"),
        ({"provider": ""}, "provider"),
        ({"provider": "a\nb"}, "provider"),
        ({"now": datetime(2026, 1, 1)}, "time zone"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ShareError, match=reason):
        made(**arguments)


def test_a_bundle_that_nobody_could_read_is_not_written() -> None:
    with pytest.raises(ShareError, match="leave accounts out"):
        made({"accounts": [{"account_id": str(i)} for i in range(40_000)]}, accounts=True)


def test_a_quiet_campaign_has_a_flat_day_and_empty_buckets() -> None:
    changes = {"rhythm": {"hour_of_day": [0] * 24}, "accounts": [], "exchanges": 0}
    profile = read(made(changes)).profile
    assert (profile.hours, profile.accounts, profile.exchanges) == ((0,) * 24, "0", "0")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"score": 1.0, "evidence": {}}, 99),
        ({"score": 1.0, "evidence": {"q_value": 0.5}}, 50),
        ({"score": 1, "evidence": {"q_value": None}, "level": "review"}, 69),
        ({"score": 0.29, "evidence": {}}, 29),
    ],
)
def test_confidence_is_score_less_false_discovery(changes: dict[str, Any], expected: int) -> None:
    assert read(made(changes)).confidence == expected


def test_the_case_is_left_as_it_was() -> None:
    given_case = case()
    share(given_case, KEY, provider="Example AI", now=NOW, accounts=True)
    assert given_case == copy.deepcopy(case())


@pytest.mark.parametrize("content", [KEY.hex().encode() + b"\n", b"  " + KEY.hex().upper().encode(), b"\xff" + KEY[1:]])
def test_a_key_is_hex_or_raw(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    raw = content.strip()
    assert read_key(tmp_path / "key") == read_key(str(tmp_path / "key")) == (KEY if raw[:2] == b"00" else raw)


def test_a_key_may_lie_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARE_KEY", f" {KEY.hex()} ")
    assert read_key("env:SHARE_KEY") == KEY
    with pytest.raises(ShareError, match="SHARE_NONE, it is not set"):
        read_key("env:SHARE_NONE")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "at least 16 bytes, got 0"),
        (b"secret-of-15-by", "at least 16 bytes, got 15"),
        (b"00" * 15, "at least 16 bytes, got 15"),
        (b"0" * 33, "even number of hex digits"),
        (b"z" * 5000, "at most 4096"),
    ],
)
def test_a_key_that_is_none_is_refused_and_not_repeated(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ShareError, match=reason) as caught:
        read_key(tmp_path / "key")
    assert "secret" not in str(caught.value)


def test_a_key_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    for place in (tmp_path / "none", tmp_path, "a\0b"):
        with pytest.raises(ShareError, match="cannot read the key"):
            read_key(place)


def test_without_stix2_sharing_names_the_extra_and_reading_works(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = importlib.import_module

    def absent(name: str, package: str | None = None) -> Any:
        if name == "stix2":
            raise ModuleNotFoundError("No module named 'stix2'", name="stix2")
        return plain(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ShareError, match=r"pip install 'fingerprint\[share\]'"):
        made()
    read(TEXT)


def test_importing_the_module_does_not_import_stix2() -> None:
    code = "import sys, fingerprint.campaigns.share; sys.exit('stix2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
