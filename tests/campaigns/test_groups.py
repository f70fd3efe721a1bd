"""Communities: who belongs together by links, whatever the order of the links and whoever stands between."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprint.campaigns.groups import LEAST_ACCOUNTS, NEAREST, communities, joined
from fingerprint.campaigns.links import Links

Edge = tuple[int, int, int, float, float]  # ends, kind, ratio, rarity
RARE = 6.0


def links_of(edges: list[Edge]) -> Links:
    a, b, kind, ratio, rarity = zip(*edges, strict=True) if edges else ((),) * 5
    low, high = np.minimum(a, b), np.maximum(a, b)
    return Links(
        low.astype(np.int32),
        high.astype(np.int32),
        np.array(kind, np.int8),
        np.array(kind, np.int64) + 7,
        np.array(ratio, np.float32),
        np.array(rarity, np.float32),
    )


def ring(members: range, rng: np.random.Generator, density: float = 1.0) -> list[Edge]:
    """Links by head among members."""
    return [
        (a, b, 0, float(rng.uniform(0.8, 1.2)), RARE)
        for a in members
        for b in members
        if a < b and rng.random() < density
    ]


def found(edges: list[Edge], accounts: int, others: int = 60) -> list[list[int]]:
    """Groups among the first ``accounts``; behind them are ``others`` rings, as large traffic has them."""
    rng, size = np.random.default_rng(0), 12
    beside = [edge for i in range(others) for edge in ring(range(accounts + size * i, accounts + size * (i + 1)), rng)]
    groups = [members.tolist() for members in communities(links_of(edges + beside), accounts + size * others)]
    return [members for members in groups if members[0] < accounts]


@pytest.mark.parametrize("density", [1.0, 0.6])
def test_planted_campaigns_are_found(density: float) -> None:
    """Three of them, with weak links by content between their members and those of sixty other groups."""
    rng = np.random.default_rng(1)
    planted = [range(0, 12), range(12, 24), range(24, 39)]
    edges = [edge for members in planted for edge in ring(members, rng, density)]
    noise = zip(rng.integers(0, 39, 200), rng.integers(0, 700, 200), strict=True)
    edges += [(int(a), int(b), 2, 1.45, 0.0) for a, b in noise if a != b]
    assert found(edges, 39) == [list(members) for members in planted]


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_links_changes_nothing(random: object) -> None:
    rng = np.random.default_rng(2)
    edges = ring(range(10), rng) + ring(range(10, 25), rng, 0.6) + [(3, 12, 1, 1.1, 1.0), (3, 30, 2, 1.0, 0.0)]
    shuffled = list(edges)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert found(shuffled, 40) == found(edges, 40)


def test_members_rise_and_groups_come_by_their_first() -> None:
    rng = np.random.default_rng(3)
    groups = found(ring(range(20, 30), rng) + ring(range(5, 12), rng), 40)
    assert groups == [list(range(5, 12)), list(range(20, 30))]


def test_an_account_that_is_linked_to_everybody_joins_no_two_campaigns() -> None:
    """Cover traffic links a hub to every account a little; the campaigns stay two, and strangers stay out."""
    rng, hub = np.random.default_rng(4), 60
    edges = ring(range(12), rng) + ring(range(12, 24), rng)
    edges += [(hub, other, 0, 1.3, 1.0) for other in range(60)]
    groups = found(edges, 61)
    of = {member: number for number, members in enumerate(groups) for member in members}
    assert len({of[member] for member in range(12)}) == 1
    assert len({of[member] for member in range(12, 24)}) == 1
    assert of[0] != of[12]
    for number in (of[0], of[12]):
        assert len(groups[number]) <= 12 + 1


def test_a_group_has_at_least_three_accounts() -> None:
    rng = np.random.default_rng(5)
    assert found(ring(range(LEAST_ACCOUNTS - 1), rng), 9) == []
    assert found(ring(range(LEAST_ACCOUNTS), rng), 9) == [[0, 1, 2]]


def test_no_links_are_no_groups() -> None:
    assert found([], 5, others=0) == []


def test_a_campaign_without_other_links_beside_it_is_found() -> None:
    assert found(ring(range(12), np.random.default_rng(7)), 100, others=0) == [list(range(12))]


def test_a_form_that_everybody_sends_joins_nobody() -> None:
    """Its rarity is nothing; no warning, no division by it."""
    edges = [(a, b, 0, 1.0, 0.0) for b in range(6) for a in range(b)]
    assert found(edges, 6) == []
    assert found(edges, 6, others=0) == []


def test_more_links_than_are_kept_cut_up_no_clique() -> None:
    members = range(2 * NEAREST)
    assert found(ring(members, np.random.default_rng(6)), 30, others=200) == [list(members)]


def pieces(between: int, convicted: list[bool]) -> list[list[int]]:
    """Two rings with links between them, and a third by itself, after joining."""
    rng = np.random.default_rng(4)
    rings = [range(0, 10), range(10, 20), range(20, 30)]
    edges = [edge for members in rings for edge in ring(members, rng)]
    edges += [(i % 10, 10 + (i * 3) % 10, 0, 1.0, RARE) for i in range(between)]
    groups = [np.array(members) for members in rings]
    return [members.tolist() for members in joined(links_of(edges), groups, np.array(convicted))]


def test_convicted_pieces_that_are_tied_become_one() -> None:
    """JOINED is 6 of weight an account, a link here weighs 6 * 0.5 = 3: twenty links for ten accounts are enough."""
    assert pieces(20, [True] * 3) == [list(range(20)), list(range(20, 30))]
    assert pieces(19, [True] * 3) == [list(range(10)), list(range(10, 20)), list(range(20, 30))]


def test_only_convicted_groups_are_joined() -> None:
    """An honest group with as many links to a campaign stays by itself."""
    assert pieces(40, [True, False, True]) == [list(range(10)), list(range(10, 20)), list(range(20, 30))]
    assert pieces(40, [False] * 3) == [list(range(10)), list(range(10, 20)), list(range(20, 30))]


def test_what_is_tied_to_no_piece_may_be_tied_to_several_that_became_one() -> None:
    """Twelve links to each of two pieces: 36 of weight, below 60 for ten accounts; 72 to both together."""
    rng = np.random.default_rng(5)
    rings = [range(0, 10), range(10, 20), range(20, 30)]
    edges = [edge for members in rings for edge in ring(members, rng)]
    edges += [(i % 10, 10 + (i * 3) % 10, 0, 1.0, RARE) for i in range(20)]
    third = [(first + i % 10, 20 + (i * 3) % 10, 0, 1.0, RARE) for first in (0, 10) for i in range(12)]
    groups, all_of_them = [np.array(members) for members in rings], np.ones(3, bool)
    assert [len(part) for part in joined(links_of(edges + third), groups, all_of_them)] == [30]
    assert [len(part) for part in joined(links_of(edges + third[:12]), groups, all_of_them)] == [20, 10]
