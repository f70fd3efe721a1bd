"""Who divides a list is told from who has the same numbers, and from numbers that follow nothing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crowd import HARVESTERS, after, crowd, days_of, written
from numpy.typing import NDArray
from toy_bundle import toy_bundle

from fingerprint import Scorer
from fingerprint.campaigns.case_page import write_case
from fingerprint.campaigns.cases import read_case
from fingerprint.campaigns.find import State, case_of, find
from fingerprint.campaigns.links import KINDS, TEXT_KINDS
from fingerprint.campaigns.lists import Lists, find_lists
from fingerprint.campaigns.numbered import BITS, Numbered, Numbering
from fingerprint.campaigns.signs import STEPS, _listed

Ints = NDArray[np.int64]
Sets = list[Ints]
RNG = np.random.default_rng
RING = [f"ring-{i}" for i in range(HARVESTERS)]


def numbered(*crowds: Sets, leads: tuple[int, ...] = (5, 5, 5)) -> Numbered:
    """The sample of accounts that have these numbers, crowds one after the other."""
    reader, first = Numbering(), 0
    for sets, lead in zip(crowds, leads, strict=False):
        for account, numbers in enumerate(sets, first):
            reader.add(np.full(len(numbers), account, np.int32), np.asarray(numbers, np.int64) + (lead << BITS))
        first += len(sets)
    return reader.finish()


def ranges(accounts: int, each: int, first: int = 1) -> Sets:
    return list(np.arange(first, first + accounts * each).reshape(accounts, each))


def strides(accounts: int, each: int) -> Sets:
    return list(np.arange(1, 1 + accounts * each).reshape(each, accounts).T)


def shuffled(accounts: int, each: int) -> Sets:
    return list((RNG(3).permutation(accounts * each) + 1).reshape(accounts, each))


def noisy(sets: Sets, top: int, share: float = 0.2) -> Sets:
    rng = RNG(1)
    return [np.where(rng.random(len(s)) < share, rng.integers(1, top, len(s)), s) for s in sets]


def members(lists: Lists) -> set[int]:
    return set(lists.account.tolist())


@pytest.mark.parametrize("each", [40, 400, 3000])
@pytest.mark.parametrize("divide", [ranges, strides, shuffled])
def test_accounts_that_divide_a_list_are_found(divide: Callable[[int, int], Sets], each: int) -> None:
    """However much of it is known: of 40 numbers all, of 3,000 a fiftieth."""
    found = find_lists(numbered(divide(12, each)))
    assert members(found) == set(range(12))
    (told,) = found.told(np.arange(12))
    assert (told.members, told.twice) == (12, 0)
    assert told.low <= 0.02 * 12 * each
    assert 0.98 * 12 * each <= told.high <= 12 * each


@pytest.mark.parametrize("top", [12 * 400, 1_000_000])
@pytest.mark.parametrize("divide", [ranges, strides, shuffled])
def test_most_are_found_where_a_fifth_of_the_numbers_is_noise(divide: Callable[[int, int], Sets], top: int) -> None:
    found = find_lists(numbered(noisy(divide(12, 400), top)))
    assert len(members(found)) >= 8
    assert found.twice.mean() < 0.5


def test_a_list_needs_three_accounts_and_thirty_numbers() -> None:
    assert members(find_lists(numbered(strides(3, 40)))) == {0, 1, 2}
    assert not members(find_lists(numbered(strides(2, 60))))
    assert not members(find_lists(numbered(strides(3, 9))))
    assert not members(find_lists(numbered(strides(12, 7)))), "an account with fewer than eight numbers tells nothing"
    assert not members(find_lists(Numbered.none()))


HONEST: dict[str, Callable[[np.random.Generator, int], Sets]] = {
    "a classroom": lambda rng, k: [np.arange(1, 41)] * k,
    "a class of which some stop early": lambda rng, k: [np.arange(1, rng.integers(10, 200)) for _ in range(k)],
    "a benchmark, a half of it each": lambda rng, k: [rng.permutation(100)[:50] for _ in range(k)],
    "a benchmark, a tenth of it each": lambda rng, k: [rng.permutation(400)[:40] for _ in range(k)],
    "invoices": lambda rng, k: [rng.integers(1, 10**6, 30) for _ in range(k)],
    "years": lambda rng, k: [rng.integers(1980, 2026, 30) for _ in range(k)],
    "one year": lambda rng, k: [np.array([2024])] * k,
    "prices": lambda rng, k: [np.rint(np.exp(rng.normal(5, 1.5, 40))).astype(np.int64) + 1 for _ in range(k)],
    "a counter of each user's own": lambda rng, k: [rng.integers(1, 200 * k) + np.arange(40) for _ in range(k)],
    "ids in thousands": lambda rng, k: [1000 * i + np.arange(1, 60) for i in range(k)],
}


@pytest.mark.parametrize("accounts", [3, 20, 300])
@pytest.mark.parametrize("name", HONEST)
def test_the_same_numbers_and_numbers_that_follow_nothing_are_no_list(name: str, accounts: int) -> None:
    for seed in range(5):
        assert not members(find_lists(numbered(HONEST[name](RNG(seed), accounts))))


def test_a_list_is_found_beside_others_who_use_the_same_words() -> None:
    """A class asks "question 1:" to "question 40:" as well, and somebody names numbers at random."""
    others = [np.arange(1, 41)] * 10 + [RNG(i).integers(1, 10**6, 30) for i in range(10)]
    assert members(find_lists(numbered(ranges(12, 400), others))) == set(range(12))
    assert members(find_lists(numbered(strides(12, 400), others))) == set(range(12))


def test_lists_of_two_leads_and_of_two_far_ranges_are_two() -> None:
    for both in (numbered(ranges(6, 50), strides(6, 50), leads=(5, 9)), numbered(ranges(6, 50), ranges(6, 50, 90_000))):
        found = find_lists(both)
        assert [len(np.unique(found.account[found.of == n])) for n in np.unique(found.of)] == [6, 6]
        assert [told.members for told in found.told(np.arange(12))] == [6, 6]
    assert found.told(np.arange(6)) == found.told(np.arange(8)), "two of a list are not told"


def test_links_are_few_weigh_by_rarity_and_are_of_one_piece() -> None:
    found = find_lists(numbered(ranges(50, 40)))
    links = _listed(found, 1000)
    assert {KINDS[kind] for kind in links.kind.tolist()} == {"list"}
    assert len(links.a) <= 50 * len(STEPS)
    assert (links.a < links.b).all()
    assert links.ratio == pytest.approx(0)
    assert links.rarity == pytest.approx(np.log(1000 / 50))
    assert set(np.r_[links.a, links.b].tolist()) == set(range(50))
    assert len(_listed(Lists.none(), 1000).a) == 0


def test_two_accounts_of_two_lists_are_linked_once() -> None:
    found = find_lists(Numbered.merged([numbered(ranges(6, 25)), numbered(strides(6, 25), leads=(9,))]))
    links = _listed(found, 1000)
    assert len(np.unique(found.of)) == 2
    assert len(set(zip(links.a.tolist(), links.b.tolist(), strict=True))) == len(links.a) == 12


# ---- from traffic


def traffic(same: bool = False) -> list[dict[str, Any]]:
    """The crowd, where the ring asks for twenty numbers each of one list, or all for the same twenty."""
    records, asked = crowd(), dict.fromkeys(RING, 0)
    for record in records:
        if (name := record["account_id"]) in asked:
            asked[name] += 1
            number = asked[name] + (0 if same else 20 * RING.index(name))
            content = re.sub(r"\D*question: ", "", record["prompt"])
            record["prompt"] = f"Question {number}: {content}"
    return records


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(toy_bundle(tmp_path_factory.mktemp("bundles") / "toy"))


def of_file(scorer: Scorer, path: Path, records: list[dict[str, Any]]) -> State:
    return after(State(scorer.bundle_id), scorer, written(path, records))


def test_the_list_alone_finds_the_ring_and_can_be_left_out(scorer: Scorer, tmp_path: Path) -> None:
    state = of_file(scorer, tmp_path / "t.jsonl", traffic())
    by_list = find(state, scorer, without=TEXT_KINDS)
    assert [sorted(state.accounts[m] for m in c.members) for c in by_list.campaigns] == [sorted(RING)]
    assert find(state, scorer, without=[*TEXT_KINDS, "list"]).campaigns == []
    everything = find(state, scorer)
    assert everything.evidence is not None
    assert everything.evidence.links["list"][everything.campaigns[0].group] > 0
    same = of_file(scorer, tmp_path / "u.jsonl", traffic(same=True))
    assert find(same, scorer, without=TEXT_KINDS).groups == []


def test_a_case_tells_the_list(scorer: Scorer, tmp_path: Path) -> None:
    state = of_file(scorer, tmp_path / "t.jsonl", traffic())
    found = find(state, scorer)
    content = read_case(write_case(*case_of(found.campaigns[0], found, state, scorer), tmp_path))
    told = "12 of 12 members continue one list: numbers 1 to 240 of one form, 0 % of them twice."
    assert told in content["alleged"]
    assert content["evidence"]["links"]["list"] > 0
    assert any(line.startswith("Tickets or records") for line in content["against"])
    found = find(state, scorer, without=["list"])
    case, _ = case_of(found.campaigns[0], found, state, scorer)
    assert "one list" not in str(case.as_dict())
    assert "list" not in case.evidence.links


def test_numbers_day_by_day_are_those_of_all_at_once_and_the_order_of_files_does_not_matter(
    scorer: Scorer, tmp_path: Path
) -> None:
    whole, path = of_file(scorer, tmp_path / "t.jsonl", traffic()), tmp_path / "state.npz"
    for day, records in enumerate(days_of(traffic())):
        after(State.load(path, scorer), scorer, written(tmp_path / f"{day}.jsonl", records)).save(path)
    daily = State.load(path, scorer)
    assert len(daily.numbered.key) > 200
    for found, expected in zip(daily.numbered, whole.numbered, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    back = of_file(scorer, tmp_path / "b.jsonl", traffic()[::-1])
    named = [sorted((s.accounts[a], k) for a, k in zip(*map(list, s.numbered), strict=True)) for s in (whole, back)]
    assert named[0] == named[1]
    again = after(daily, scorer, tmp_path / "2.jsonl")
    np.testing.assert_array_equal(again.numbered.key, whole.numbered.key)
