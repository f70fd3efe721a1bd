"""Signs beside text link who shares what few share, cost no pairs, and link nobody where nothing is coordinated."""

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from crowd import HARVESTERS, MONDAY, after, crowd, drawn, sample_of, written
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from toy_bundle import toy_bundle

from fingerprint import Scorer
from fingerprint.campaigns import find as finder
from fingerprint.campaigns import signs as module
from fingerprint.campaigns.case_page import write_case
from fingerprint.campaigns.course import Course
from fingerprint.campaigns.find import State, case_of, find
from fingerprint.campaigns.groups import COURSE_MOST, SIGN_WEIGHT, _weights, communities
from fingerprint.campaigns.hours import HOUR_US, Hours
from fingerprint.campaigns.links import COURSE, KINDS, SIGNS, TEXT_KINDS, Links, find_links
from fingerprint.campaigns.lists import Lists
from fingerprint.campaigns.sample import Sample
from fingerprint.campaigns.share import share
from fingerprint.campaigns.signs import MOST, STEPS, find_signs
from fingerprint.campaigns.statements import statements
from fingerprint.exchange import text_hash
from fingerprint.kernels.layout import AT, MISSING
from fingerprint.window import Window

MINUTE_US = HOUR_US // 60
BEGIN = MONDAY * 1_000_000
Ints = NDArray[np.int64]


def windows_of(first: Any, last: Any) -> Ints:
    windows = np.stack([Window.empty().state] * len(first))
    windows[:, AT["n"]], windows[:, AT["first_us"]], windows[:, AT["last_us"]] = 10, first, last
    return windows


def signs_of(kind: str, accounts: int, sample: Sample | None = None, hours: Hours | None = None) -> Links:
    sample = sample_of(*drawn(accounts, 1)) if sample is None else sample
    windows = windows_of(np.zeros(accounts), np.ones(accounts))
    none = Links.none()
    return find_signs(sample, hours or Hours.none(), Lists.none(), Course(sample, windows), none, accounts, [kind])


def by_fact(kind: str, values: Any, rows: int = 4, others: int = 1000) -> Links:
    """Links of accounts that each show one value, or a list of ``rows``, beside ``others`` that show none."""
    values = np.asarray(values)
    accounts = len(values)
    each = np.repeat(values, rows) if values.ndim == 1 else values.ravel()
    fact = {"payment": "payment", "network": "ip", "registered": "created_hour"}[kind]
    account, content = drawn(accounts, len(each) // accounts)
    return signs_of(kind, accounts + others, sample_of(account, content, **{fact: each}))


def pieces(links: Links, accounts: int) -> int:
    graph = sparse.csr_matrix((np.ones(len(links.a)), (links.a, links.b)), shape=(accounts, accounts))
    return int(connected_components(graph, directed=False)[0])


# ---- values


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=8), st.integers(2, 5), st.integers(5, 90))
def test_neighbours_stay_in_their_value_and_never_fall_apart(sizes: list[int], least: int, most: int) -> None:
    value = np.repeat(np.arange(len(sizes)) * 7 - 3, sizes)
    one, other = module._neighbours(value, least, most)
    assert (one < other).all()
    assert (value[one] == value[other]).all()
    assert len(np.unique(one * len(value) + other)) == len(one), "each pair once"
    degree = np.bincount(np.r_[one, other], minlength=len(value))
    assert degree.max(initial=0) <= 2 * len(STEPS)
    graph = sparse.csr_matrix((np.ones(len(one)), (one, other)), shape=(len(value), len(value)))
    label = connected_components(graph, directed=False)[1]
    for number, size in enumerate(sizes):
        mine = np.flatnonzero(value == number * 7 - 3)
        assert len(np.unique(label[mine])) == (1 if least <= size <= most else size)


@pytest.mark.parametrize("kind", ["payment", "network"])
def test_accounts_that_share_a_value_are_linked(kind: str) -> None:
    value = np.r_[np.full(12, 5), 100 + np.arange(88)]
    links = by_fact(kind, value)
    assert set(np.r_[links.a, links.b].tolist()) == set(range(12))
    assert (links.a < links.b).all()
    assert {KINDS[k] for k in links.kind.tolist()} == {kind}
    assert links.ratio == pytest.approx(0)
    assert links.rarity == pytest.approx(np.log(1100 / 12))
    assert not links.form.any(), "no payment and no address goes on from here"
    assert pieces(links, 100) == 100 - 11


@pytest.mark.parametrize("kind", ["payment", "network"])
def test_a_value_that_many_share_links_nobody(kind: str) -> None:
    """A reseller, the address of a company."""
    most = MOST[kind]
    assert len(by_fact(kind, np.full(most + 1, 5)).a) == 0
    some = by_fact(kind, np.full(most, 5))
    assert pieces(some, most) == 1
    assert len(some.a) <= most * len(STEPS)
    assert len(by_fact(kind, np.full(21, 5), others=60).a) == 0, "over a quarter of all accounts tell nobody apart"
    assert len(by_fact(kind, np.full(20, 5), others=60).a) > 0


@pytest.mark.parametrize("kind", ["payment", "network", "registered"])
def test_what_is_not_told_links_nobody(kind: str) -> None:
    assert len(by_fact(kind, np.full(30, MISSING)).a) == 0


def test_one_of_many_networks_is_no_link_and_all_of_them_are_one() -> None:
    """Two strangers behind many addresses meet by chance; members who use the same ones are linked once."""
    apart = np.arange(4 * 24).reshape(4, 24)
    apart[1, 0] = apart[0, 0]
    apart[3] = apart[2]
    links = by_fact("network", apart)
    assert (links.a.tolist(), links.b.tolist()) == ([2], [3])
    assert links.ratio == pytest.approx(0, abs=1e-6)


def test_a_part_of_the_exchanges_in_common_is_a_part_of_a_link() -> None:
    """Half of what one sends and a quarter of what the other sends come from the address."""
    links = by_fact("network", [[1, 1, 2, 3], [1, 4, 5, 6]])
    assert len(links.a) == 1
    assert links.ratio == pytest.approx(0.75)


def test_links_by_value_do_not_follow_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    account, content = drawn(300, 5)
    sample = sample_of(
        account, content, ip=rng.integers(0, 80, 300)[account], payment=rng.integers(0, 80, len(account))
    )
    shuffled = sample.take(rng.permutation(len(account)))
    for kind in ("payment", "network"):
        for one, other in zip(signs_of(kind, 300, sample), signs_of(kind, 300, shuffled), strict=True):
            np.testing.assert_array_equal(one, other)


# ---- registration


def usual(rng: np.random.Generator, accounts: int, days: int = 200) -> Ints:
    """Hours of registrations with a day's rhythm, more of them from day to day."""
    day = np.floor(days * rng.random(accounts) ** 0.5).astype(np.int64)
    return 480_000 + 24 * day + np.round(rng.normal(14, 4, accounts)).astype(np.int64)


@pytest.mark.parametrize("seed", range(4))
def test_independent_registrations_link_nobody(seed: int) -> None:
    assert len(by_fact("registered", usual(np.random.default_rng(seed), 6000), 1).a) == 0


def test_a_burst_of_registrations_is_linked_and_a_busy_day_is_not() -> None:
    rng = np.random.default_rng(5)
    created = usual(rng, 3000)
    created[:15] = 480_000 + 24 * 100 + 3
    created[100:400] = 480_000 + 24 * 150 + rng.integers(0, 24, 300)
    links = by_fact("registered", created, 1)
    burst = set(np.flatnonzero(created == created[0]).tolist())
    assert set(range(15)) <= set(np.r_[links.a, links.b].tolist()) <= burst
    assert len(by_fact("registered", np.r_[np.full(MOST["registered"] + 1, 481_234), created], 1).a) == len(links.a)


# ---- hours


def active(account: Any, time_us: Any) -> Hours:
    return Hours.merged([Hours.of(np.asarray(account, np.int32), BEGIN + np.asarray(time_us, np.int64))])


def people(rng: np.random.Generator, accounts: int, each: int = 120, days: int = 14) -> tuple[Ints, Ints]:
    """Sittings of an hour at each person's own hours of the day, most of them in one time zone."""
    account = np.repeat(np.arange(accounts), each)
    sitting = np.repeat(rng.integers(0, days, (accounts, each // 6)), 6, axis=1) * 24
    start = sitting + np.repeat(rng.normal(14, 4, (accounts, each // 6)), 6, axis=1)
    return account, ((start + rng.random((accounts, each))) * HOUR_US).astype(np.int64).ravel() + 20 * HOUR_US


def schedule(rng: np.random.Generator, of: int, members: int, jitter_us: int, hours: int = 14 * 24) -> Ints:
    """Times of members who each follow the one list of ``of`` random moments."""
    moments = rng.integers(0, hours * 60, of) * MINUTE_US
    return np.tile(moments, members) + rng.integers(0, jitter_us, of * members)


def with_people(rng: np.random.Generator, members: int, time_us: Ints, others: int = 600) -> Hours:
    """Members beside people; the members come first."""
    account, time = people(rng, others)
    return active(
        np.r_[np.repeat(np.arange(members), len(time_us) // members), account + members], np.r_[time_us, time]
    )


@pytest.mark.parametrize("seed", range(3))
def test_independent_people_of_one_time_zone_are_not_linked(seed: int) -> None:
    assert len(signs_of("times", 1500, hours=active(*people(np.random.default_rng(seed), 1500))).a) == 0


def test_a_class_is_not_linked() -> None:
    """Thirty pupils in the same twenty lessons of half an hour, each active in half of the slots."""
    rng = np.random.default_rng(3)
    lessons = (np.arange(20) % 14 * 24 + 9 + np.arange(20) // 14) * HOUR_US
    times = (lessons[None, :, None] + rng.integers(0, 30, (30, 20, 3)) * MINUTE_US).reshape(-1)
    assert len(signs_of("times", 630, hours=with_people(rng, 30, times)).a) == 0


@pytest.mark.parametrize("period", [20, 23, 31, 59, 60, 61, 65, 90, 133, 6 * 60, 24 * 60])
def test_jobs_that_run_at_the_same_minute_by_chance_are_not_linked(period: int) -> None:
    """Every hour, an hour and some minutes after the last run, every night."""
    rng = np.random.default_rng(4)
    runs = np.arange(14 * 24 * 60 // period) * period * MINUTE_US
    times = np.tile(runs, 8) + np.repeat(rng.integers(0, 4, 8), len(runs)) * MINUTE_US
    assert len(signs_of("times", 608, hours=with_people(rng, 8, times)).a) == 0


def test_services_that_never_rest_are_not_linked() -> None:
    rng = np.random.default_rng(6)
    assert len(signs_of("times", 640, hours=with_people(rng, 40, rng.integers(0, 14 * 24 * HOUR_US, 40 * 2000))).a) == 0


def test_a_slot_in_which_everybody_is_active_says_little() -> None:
    """After each of sixty outages all come back in the same minutes."""
    rng = np.random.default_rng(8)
    times = schedule(rng, 60, 400, 3 * MINUTE_US)
    assert len(signs_of("times", 400, hours=active(np.repeat(np.arange(400), 60), times)).a) == 0


def test_accounts_that_follow_one_schedule_are_linked_and_nobody_else() -> None:
    rng = np.random.default_rng(7)
    hours = with_people(rng, 12, schedule(rng, 120, 12, MINUTE_US))
    links = signs_of("times", 612, hours=hours)
    assert set(np.r_[links.a, links.b].tolist()) == set(range(12))
    assert pieces(links, 612) == 601
    assert (links.ratio < 0.6).all()
    assert (links.rarity > 0).all()
    turned = hours.take(np.arange(len(hours.account)))
    for one, other in zip(links, signs_of("times", 612, hours=turned), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_few_shared_slots_are_no_link() -> None:
    rng = np.random.default_rng(9)
    assert len(signs_of("times", 612, hours=with_people(rng, 12, schedule(rng, module.LEAST_HOURS - 1, 12, 1))).a) == 0


# ---- course


def course_of(first: Any, last: Any, sample: Sample | None = None) -> Course:
    """Times in hours; two more accounts live from the begin to the end of 20 days."""
    first, last = (np.r_[part, end] for part, end in ((first, [0, 0]), (last, [480, 480])))
    windows = windows_of(BEGIN + first * HOUR_US, BEGIN + last * HOUR_US)
    return Course(sample_of(*drawn(len(first), 1)) if sample is None else sample, windows)


@pytest.mark.parametrize(
    ("lives", "signs"),
    [
        ([(50, 100), (100.5, 200)], 1),  # takes over
        ([(100.5, 200), (50, 100)], 1),
        ([(50, 100), (101.5, 200)], 0),  # too late
        ([(50, 100), (99.5, 200)], 0),  # too early
        ([(50, 100), (50.5, 100.5)], 1),  # start and stop together
        ([(50, 100), (50.5, 200)], 0),
        ([(1, 100), (1.5, 100)], 0),  # where traffic begins it is not known who started
        ([(50, 470), (50, 470)], 0),  # nor who stops where it ends
    ],
)
def test_lives_that_have_a_course_in_common(lives: list[tuple[float, float]], signs: int) -> None:
    course = course_of(*zip(*lives, strict=True))
    assert course.common(np.array([0]), np.array([1])) == pytest.approx([signs / 3])


def moved(at: Any, begin: float = 10, rows: int = 20) -> Sample:
    """Accounts that send ``rows`` exchanges of model 1, an hour apart, and from their own hour on of model 2."""
    at = np.asarray(at, float)
    account, content = drawn(len(at), rows)
    hour = begin + np.tile(np.arange(rows), len(at)) * (300 / rows)
    return sample_of(account, content, model=np.where(hour >= at[account], 2, 1), time_us=BEGIN + hour * HOUR_US)


def test_taking_up_a_model_together_is_a_common_course() -> None:
    at = np.r_[100, 100, 160, 9999, 0, np.full(200, 9999)]
    sample = moved(at)
    course = Course(sample, windows_of(*np.full((2, len(at)), BEGIN)))
    assert (course.took_up[0] == 2).tolist() == [True, True, True, False, False, *[False] * 200]
    one, other = np.array([0, 0, 0, 0]), np.array([1, 2, 3, 4])
    assert course.common(one, other) == pytest.approx([1 / 3, 0, 0, 0])


def test_what_all_take_up_says_nothing() -> None:
    """After a release."""
    course = Course(moved(np.full(200, 100.0)), windows_of(*np.full((2, 200), BEGIN)))
    assert (course.took_up[0] == 2).all()
    assert course.common(np.array([0]), np.array([1])) == pytest.approx([0])


def test_a_model_that_is_tried_once_is_not_taken_up() -> None:
    sample = moved([9999.0])
    sample.facts[10, 3] = 2
    assert Course(sample, windows_of([0], [0])).took_up[0].tolist() == [MISSING]


def test_a_course_alone_links_nobody() -> None:
    """Forty accounts that take over from each other in an endless row."""
    first = np.arange(40) * 10 + 30.0
    sample = sample_of(*drawn(42, 1))
    course, none = course_of(first, first + 9.5, sample), Links.none()
    assert len(find_signs(sample, Hours.none(), Lists.none(), course, none, 42).a) == 0
    text = none._replace(
        a=np.array([0, 0], np.int32), b=np.array([1, 2], np.int32), kind=np.zeros(2, np.int8),
        form=np.ones(2, np.int64), ratio=np.ones(2, np.float32), rarity=np.full(2, 3, np.float32),
    )  # fmt: skip
    links = find_signs(sample, Hours.none(), Lists.none(), course, text, 42, [COURSE])
    assert (links.a.tolist(), links.b.tolist(), links.kind.tolist()) == ([0], [1], [KINDS.index(COURSE)])
    both = Links.concat([text, links])
    assert _weights(both) == pytest.approx([1.5, 1.5, COURSE_MOST * 1.5 / 3])


def test_a_group_is_told_its_course_only_where_others_seldom_take_it() -> None:
    rng = np.random.default_rng(1)
    first = rng.uniform(30, 400, 300)
    last = first + rng.uniform(0, 50, 300)
    for i in range(1, 12):
        first[i] = last[i - 1] + 0.5
        last[i] = first[i] + 20
    told = course_of(first, last).told(np.arange(12))
    assert told["began_after"].members >= 11
    assert told["began_after"].usual < 2
    assert course_of(first, last).told(np.arange(100, 112)) == {}
    at = np.r_[np.full(12, 100.0), np.full(300, 9999)]
    taken = Course(moved(at), windows_of(*np.full((2, 312), BEGIN))).told(np.arange(12))
    assert taken == {"took_up": (12, pytest.approx(0.5, abs=0.5))}


# ---- groups and cases


def test_links_by_text_weigh_as_without_signs() -> None:
    text = find_links(sample_of(*drawn(60, 10), head=7), 80)
    by_payment = by_fact("payment", np.repeat(np.arange(40), 2))
    alone, both = _weights(text), _weights(Links.concat([text, by_payment]))
    np.testing.assert_array_equal(both[: len(alone)], alone)
    assert both[len(alone) :] == pytest.approx(SIGN_WEIGHT["payment"] * np.log(1080 / 2))
    assert SIGN_WEIGHT.keys() | {COURSE} == set(SIGNS)


def test_a_payment_that_a_few_share_makes_a_group_without_any_text() -> None:
    links = by_fact("payment", np.r_[np.full(60, 1), np.full(9, 2), 10 + np.arange(300)])
    assert sum(len(members) for members in communities(links, 369) if members[-1] < 60) == 60
    assert [members.tolist() for members in communities(links, 369) if members[0] >= 60] == [list(range(60, 69))]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(toy_bundle(tmp_path_factory.mktemp("bundles") / "toy"))


SECRET, ADDRESS = "card-of-the-ring", "198.51.100.0/24"


@pytest.fixture(scope="module")
def paid(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> State:
    """The crowd, in which the ring shares a payment and an address, and five strangers another payment."""
    records = crowd()
    for record in records:
        kind, number = record["account_id"].split("-")
        if kind == "ring":
            record |= {"account": {"payment_hash": SECRET}, "client": {"ip_prefix": ADDRESS}}
        if kind == "person" and int(number) < 5:
            record["account"] = {"payment_hash": "another"}
    return after(State(scorer.bundle_id), scorer, written(tmp_path_factory.mktemp("traffic") / "t.jsonl", records))


def fresh(state: State) -> State:
    return State(state.bundle_id, state.accounts, state.windows, state.sample, {}, state.hours)


def test_each_kind_can_be_left_out(paid: State, scorer: Scorer) -> None:
    everything = find(fresh(paid), scorer).links
    assert everything is not None
    there = {KINDS[kind] for kind in np.unique(everything.kind)}
    assert {"head", "payment", "network"} <= there
    for kind in KINDS:
        links = find(fresh(paid), scorer, without=[kind]).links
        assert links is not None
        assert {KINDS[k] for k in np.unique(links.kind)} == there - {kind} - ({COURSE} if kind == "head" else set())
    with pytest.raises(ValueError, match="got rhyme"):
        find(fresh(paid), scorer, without=["rhyme"])


def test_without_signs_links_are_those_of_text(paid: State, scorer: Scorer) -> None:
    links = find(fresh(paid), scorer, without=SIGNS).links
    assert links is not None
    assert paid.sample is not None
    for one, other in zip(links, find_links(paid.sample, len(paid.accounts)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_honest_group_that_shares_a_payment_is_cleared(paid: State, scorer: Scorer) -> None:
    found = find(fresh(paid), scorer)
    groups = [{paid.accounts[m].split("-")[0] for m in members} for members in found.groups]
    assert {"person"} in groups
    assert [{paid.accounts[m].split("-")[0] for m in c.members} for c in found.campaigns] == [{"ring"}]


def test_a_case_tells_the_signs_and_no_value(paid: State, scorer: Scorer, tmp_path: Any) -> None:
    """Neither the case nor what is shared of it has the payment, the address or their hashes."""
    state = fresh(paid)
    found = find(state, scorer)
    case, days = case_of(found.campaigns[0], found, state, scorer)
    assert case.evidence.links["payment"] == case.evidence.links["network"] >= HARVESTERS
    assert case.evidence.without["head"] == pytest.approx(case.score)
    assert any(text.startswith("Members share payments that few accounts have (") for text in case.alleged)
    assert "Accounts of one customer share payments and addresses, too." in case.against
    assert "Not checked: whether they are one known customer." in case.against
    place = write_case(case, days, tmp_path)
    assert "| payment | the same payment |" in (place / "case.md").read_text()
    content = json.loads((place / "case.json").read_text())
    shared = share(
        content, bytes(32), provider="Example", tlp="amber", valid_days=9, now=datetime(2026, 4, 1, tzinfo=UTC)
    )
    for text in (json.dumps(content), (place / "case.md").read_text(), shared):
        for value in (SECRET, ADDRESS):
            assert value not in text
            assert f"{text_hash(value)}" not in text
            assert f"{text_hash(value):x}" not in text
    assert "payment" not in shared


def test_a_case_tells_only_of_kinds_that_were_looked_for(paid: State, scorer: Scorer) -> None:
    state = fresh(paid)
    found = find(state, scorer, without=SIGNS)
    case, _ = case_of(found.campaigns[0], found, state, scorer)
    assert set(case.evidence.links) == set(case.evidence.without) == set(TEXT_KINDS)
    assert any("Not checked: whether members share an address or a payment" in text for text in case.against)
    alone = find(fresh(paid), scorer, without=[k for k in KINDS if k not in ("head", COURSE)])
    case, _ = case_of(alone.campaigns[0], alone, state, scorer)
    assert "The campaign rests on one kind of link only (head)." in case.against


def test_what_is_said_of_a_course(paid: State, scorer: Scorer) -> None:
    state = fresh(paid)
    found = find(state, scorer)
    case, _ = case_of(found.campaigns[0], found, state, scorer)
    course = {"began_after": (12, 1.2), "took_up": (31, 3.0)}
    alleged, _ = statements(case.evidence, [], [0.5] * 40, course)
    assert (
        "12 of 40 members began within an hour after another member had ended; of as many accounts 1.20 do on average."
        in alleged
    )
    assert any(text.startswith("31 of 40 members took up a new model within the same day") for text in alleged)
    _, against = statements(finder.cases.Evidence(None, 9, None, None, None, None, None, {"head": 1, "payment": 0}, {}))
    assert any(text.startswith("No link by payment was found between members") for text in against)
