"""The input contract: what is accepted, what it becomes, and the reason of each rejection."""

from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from builders import exchange
from hypothesis import given
from hypothesis import strategies as st

from fingerprint.errors import ExchangeError
from fingerprint.exchange import FIELDS, TIME_BOUNDS, Names, batch_of, parse, text_hash, time_of
from fingerprint.kernels.layout import MISSING, OTHER_STOP, M

LEAST: dict[str, Any] = {
    "exchange_id": "e1",
    "account_id": "a1",
    "timestamp": "2026-03-01T12:00:00Z",
    "prompt": "why is the sky blue?",
}
FAULTS = {"missing", "wrong_type", "nul_byte", "invalid_utf8", "unreadable_time", "absurd_time", "out_of_range"}
NOON = 1_772_366_400_000_000


def meta(**fields: Any) -> dict[str, int]:
    return dict(zip(M, parse(LEAST | fields).meta, strict=True))


def reason(record: Any) -> str:
    with pytest.raises(ExchangeError) as caught:
        parse(record)
    return caught.value.reason


def test_the_needed_fields_are_enough() -> None:
    exchange = parse(LEAST)
    assert exchange[:5] == (b"e1", "a1", None, NOON, b"why is the sky blue?")
    assert exchange.meta == [MISSING] * len(M)


def test_null_is_missing() -> None:
    assert parse(LEAST | dict.fromkeys(set(FIELDS) - set(LEAST))) == parse(LEAST)


def test_every_field_has_its_place() -> None:
    told = meta(
        model="large",
        system="be brief",
        n_messages=5,
        tools=["a", "b"],
        max_tokens=256,
        temperature=0.7,
        n=2,
        logprobs=True,
        reasoning=False,
        stream=True,
        input_tokens=12,
        output_tokens=0,
        stop_reason="max_tokens",
        client={"ip_prefix": "192.0.2.0/24", "asn": 64500, "user_agent": "curl", "ja4": "t13d"},
        account={"created_at": "2026-02-01T00:30:00Z", "plan": "PRO", "payment_hash": "p"},
    )
    assert told == {
        "n_messages": 5,
        "n_tools": 2,
        "max_tokens": 256,
        "temperature": 700,
        "n": 2,
        "logprobs": 1,
        "reasoning": 0,
        "stream": 1,
        "input_tokens": 12,
        "output_tokens": 0,
        "stop": 1,
        "ip": text_hash("192.0.2.0/24"),
        "agent": text_hash("curl"),
        "created_hour": 1_769_905_800 // 3600,
        "small_plan": 1,
        "model": text_hash("large"),
        "system": text_hash("be brief"),
        "payment": text_hash("p"),
    }


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        ("2026-03-01T12:00:00Z", NOON),
        ("2026-03-01T12:00:00.000001Z", NOON + 1),
        ("2026-03-01T17:30:00+05:30", NOON),
        (1_772_366_400, NOON),
        (1_772_366_400.25, NOON + 250_000),
        (datetime(2026, 3, 1, 12, tzinfo=UTC), NOON),
    ],
)
def test_times(value: object, micros: int) -> None:
    assert time_of(value, "timestamp") == micros


@given(st.integers(TIME_BOUNDS["timestamp"][0], TIME_BOUNDS["timestamp"][1] - 1))
def test_times_are_exact_to_the_microsecond(micros: int) -> None:
    moment = np.datetime64(micros, "us").item().replace(tzinfo=UTC)
    assert time_of(moment.isoformat(), "timestamp") == micros
    assert time_of(moment, "timestamp") == micros


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("2026-03-01T12:00:00", "unreadable_time"),
        (datetime(2026, 3, 1, 12), "unreadable_time"),
        ("soon", "unreadable_time"),
        (float("nan"), "unreadable_time"),
        (float("inf"), "unreadable_time"),
        ("0001-01-01T00:00:00+14:00", "absurd_time"),
        ("9999-12-31T23:59:59-14:00", "absurd_time"),
        (10**400, "absurd_time"),
        (0, "absurd_time"),
        (True, "wrong_type"),
        ([1], "wrong_type"),
        (None, "missing"),
    ],
)
def test_times_that_are_none(value: object, why: str) -> None:
    assert reason(LEAST | {"timestamp": value}) == f"{why}:timestamp"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"exchange_id": None}, "missing:exchange_id"),
        ({"exchange_id": ""}, "missing:exchange_id"),
        ({"account_id": ""}, "missing:account_id"),
        ({"account_id": 7}, "wrong_type:account_id"),
        ({"account_id": "a\0"}, "nul_byte:account_id"),
        ({"prompt": None}, "missing:prompt"),
        ({"prompt": ["x"]}, "wrong_type:prompt"),
        ({"prompt": "x\0"}, "nul_byte:prompt"),
        ({"prompt": "\ud800"}, "invalid_utf8:prompt"),
        ({"system": "\udfff"}, "invalid_utf8:system"),
        ({"model": "\udfff"}, "invalid_utf8:model"),
        ({"n_messages": 0}, "out_of_range:n_messages"),
        ({"n_messages": 1.5}, "wrong_type:n_messages"),
        ({"max_tokens": -1}, "out_of_range:max_tokens"),
        ({"max_tokens": True}, "wrong_type:max_tokens"),
        ({"output_tokens": 2**31}, "out_of_range:output_tokens"),
        ({"input_tokens": "12"}, "wrong_type:input_tokens"),
        ({"temperature": float("nan")}, "wrong_type:temperature"),
        ({"temperature": 10**400}, "out_of_range:temperature"),
        ({"temperature": "hot"}, "wrong_type:temperature"),
        ({"logprobs": 1}, "wrong_type:logprobs"),
        ({"tools": "search"}, "wrong_type:tools"),
        ({"tools": [None]}, "wrong_type:tools"),
        ({"client": "curl"}, "wrong_type:client"),
        ({"client": {"ip_prefix": 7}}, "wrong_type:ip_prefix"),
        ({"client": {"asn": {}}}, "wrong_type:asn"),
        ({"account": []}, "wrong_type:account"),
        ({"account": {"plan": 1}}, "wrong_type:plan"),
        ({"account": {"created_at": "once"}}, "unreadable_time:created_at"),
        ({"messages": "hi"}, "wrong_type:messages"),
        ({"messages": [7]}, "wrong_type:messages"),
        ({"prompt": None, "messages": []}, "missing:prompt"),
        ({"prompt": None, "messages": [{"role": "user", "content": 7}]}, "wrong_type:messages"),
        ({"prompt": None, "messages": [{"role": "user", "content": "\0"}]}, "nul_byte:messages"),
    ],
)
def test_reasons(fields: dict[str, Any], expected: str) -> None:
    assert reason(LEAST | fields) == expected


@pytest.mark.parametrize("record", [None, 7, "x", [], [LEAST]])
def test_what_is_no_object(record: object) -> None:
    assert reason(record) == "not_an_object"


def test_any_mapping_is_a_record() -> None:
    assert parse(MappingProxyType(LEAST)) == parse(LEAST)


def test_whole_floats_are_counts() -> None:
    """pandas writes integers with gaps as floats."""
    assert meta(max_tokens=256.0)["max_tokens"] == 256


def test_an_empty_prompt_is_a_prompt_and_an_empty_session_is_none() -> None:
    assert parse(LEAST | {"prompt": "", "session_id": ""})[2:5] == (None, NOON, b"")


def test_unknown_stop_reasons_and_fields() -> None:
    assert meta(stop_reason="cosmic ray")["stop"] == OTHER_STOP
    assert parse(LEAST | {"colour": "red"}) == parse(LEAST)


def test_messages_give_prompt_system_and_depth() -> None:
    chat = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": None},
        {
            "role": "user",
            "content": [{"type": "text", "text": "one"}, {"type": "image"}, {"type": "text", "text": "two"}],
        },
        {"role": "assistant", "content": "prefill"},
    ]
    exchange = parse(LEAST | {"prompt": None, "messages": chat})
    assert exchange.prompt == b"one\ntwo"
    assert exchange.meta[M["n_messages"]] == 4
    assert exchange.meta[M["system"]] == text_hash("be brief")
    told = parse(LEAST | {"messages": chat, "n_messages": 9, "system": "mine"})
    assert told.prompt == LEAST["prompt"].encode()
    assert told.meta[M["n_messages"]] == 9
    assert told.meta[M["system"]] == text_hash("mine")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "plan"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES), st.booleans())
def test_any_record_is_accepted_or_has_a_reason(fields: dict[str, Any], sound: bool) -> None:
    """No value of any field raises anything but ``ExchangeError``, whose words are not the record's."""
    try:
        exchange = parse(LEAST | fields if sound else fields)
    except ExchangeError as error:
        fault, _, field = error.reason.partition(":")
        assert fault in [
            "missing",
            "wrong_type",
            "nul_byte",
            "invalid_utf8",
            "unreadable_time",
            "absurd_time",
            "out_of_range",
        ]
        assert field in (*FIELDS, "created_at", "plan", "payment_hash", "ip_prefix", "user_agent", "asn", "ja4")
    else:
        assert np.array(exchange.meta, np.int32).min() >= MISSING


def test_a_batch_holds_the_rows() -> None:
    records = [LEAST | {"exchange_id": f"e{i}", "account_id": f"a{i % 2}", "prompt": "é" * i} for i in range(3)]
    accounts, sessions = Names(), Names()
    batch = batch_of([parse(record) for record in records], accounts, sessions)
    assert accounts.items == ["a0", "a1"]
    assert batch.account.tolist() == [0, 1, 0]
    assert batch.session.tolist() == [-1, -1, -1]
    assert batch.offsets.tolist() == [0, 0, 2, 6]
    assert batch.data.tobytes().decode() == "ééé"
    assert len(set(batch.identity.tolist())) == 3
    assert batch.meta.shape == (3, len(M))


def test_an_empty_batch() -> None:
    batch = batch_of([], Names(), Names())
    assert batch.meta.shape == (0, len(M))
    assert batch.offsets.tolist() == [0]


@pytest.mark.parametrize(
    ("told", "plain"),
    [
        ("2026-03-01t10:00:00z", "2026-03-01T10:00:00Z"),
        ("2026-03-01t10:00:00.25+02:00", "2026-03-01T10:00:00.25+02:00"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
        ("2017-01-01t05:29:60.5+05:30", "2016-12-31T23:59:59.999999Z"),
    ],
)
def test_times_that_rfc_3339_allows(told: str, plain: str) -> None:
    """Small letters, and leap seconds, which count as the end of the second before; the same for accounts."""
    assert parse(exchange(timestamp=told)).time_us == parse(exchange(timestamp=plain)).time_us
    hours = [parse(exchange(account={"created_at": text})).meta[M["created_hour"]] for text in (told, plain)]
    assert hours[0] == hours[1]


@pytest.mark.parametrize(
    "told", ["2026-03-01T10:00:61Z", "2026-03-01t10:00:60", "2026-02-30t10:00:00z", "2026-03-01Tz"]
)
def test_times_that_it_does_not_allow(told: str) -> None:
    with pytest.raises(ExchangeError, match="unreadable time:timestamp"):
        parse(exchange(timestamp=told))


def test_numbers_of_numpy_are_numbers() -> None:
    plain = exchange(
        timestamp=1_772_366_400, input_tokens=5, n=2, temperature=0.5, logprobs=True, account={"created_at": 1e9}
    )
    numpy = plain | {"timestamp": np.int64(1_772_366_400), "input_tokens": np.int32(5), "n": np.float32(2)}
    numpy |= {"temperature": np.float32(0.5), "logprobs": np.bool_(True), "account": {"created_at": np.uint64(10**9)}}
    assert parse(numpy) == parse(plain)
    for field, value in {"timestamp": np.bool_(True), "n": np.bool_(True), "logprobs": np.int8(1)}.items():
        with pytest.raises(ExchangeError, match="wrong type"):
            parse(plain | {field: value})
