"""Client spread: how many addresses and programs, never which."""

import math
from typing import Any

import pytest
from builders import exchange, values_of, window_of

NOON = 1_772_366_400


def client(*clients: dict[str, Any] | None) -> dict[str, float]:
    return values_of(
        window_of(exchange(exchange_id=str(i), timestamp=NOON + i, client=c) for i, c in enumerate(clients))
    )


def test_one_address_and_one_program() -> None:
    found = client(*[{"ip_prefix": "203.0.113.0/24", "user_agent": "x"}] * 4)
    assert found["networks"] == pytest.approx(0, abs=0.06)
    assert found["networks_per_exchange"] == pytest.approx(0.25, abs=0.02)
    assert found["user_agents"] == pytest.approx(0, abs=0.12)


def test_a_new_address_for_every_request() -> None:
    """64 addresses within the error of a sketch of 16 registers."""
    found = client(*({"ip_prefix": f"203.0.{i}.0/24"} for i in range(64)))
    assert found["networks"] == pytest.approx(6, abs=0.8)
    assert found["networks_per_exchange"] > 0.55
    assert math.isnan(found["user_agents"])


def test_many_programs() -> None:
    """Thirty programs, in the mean of sets of names: eight registers alone are a rough sketch."""
    found = [client(*({"user_agent": f"{k} {i}"} for i in range(30))) for k in range(12)]
    assert sum(f["user_agents"] for f in found) / 12 == pytest.approx(math.log2(30), abs=0.4)
    assert math.isnan(found[0]["networks"])


def test_which_address_or_program_it_is_changes_nothing_but_sketch_noise() -> None:
    one = client(*[{"ip_prefix": "203.0.113.0/24", "user_agent": "x", "asn": 1, "ja4": "t13"}] * 3)
    other = client(*[{"ip_prefix": "2001:db8::/48", "user_agent": "y", "asn": 2, "ja4": "q13"}] * 3)
    assert one == pytest.approx(other, nan_ok=True)


def test_exchanges_without_a_client_do_not_count() -> None:
    found = client({"ip_prefix": "203.0.113.0/24"}, None, {}, {"ip_prefix": None})
    assert found["networks_per_exchange"] == 1
