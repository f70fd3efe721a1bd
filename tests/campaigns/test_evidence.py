"""Evidence: the numbers that convict or clear a group are those that a direct computation gives."""

from typing import Any

import numpy as np
import pytest
from builders import exchanges, random_head, window_of
from crowd import drawn, sample_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import false_discovery_control
from toy_bundle import toy_bundle

from fingerprint import Scorer, Window, features
from fingerprint.campaigns import evidence as module
from fingerprint.campaigns.evidence import Evidence, account_scores, false_discovery, gather
from fingerprint.campaigns.links import COURSE, KINDS, SIGNS, Links
from fingerprint.campaigns.sample import Sample
from fingerprint.kernels.layout import AT, WORDS


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(toy_bundle(tmp_path_factory.mktemp("bundles") / "toy"))


def all_pairs(members: Any, kind: int = 0, form: int = 7) -> Links:
    pairs = np.array([(a, b) for a in members for b in members if a < b], np.int32).reshape(-1, 2)
    m = len(pairs)
    return Links(
        pairs[:, 0], pairs[:, 1], np.full(m, kind, np.int8), np.full(m, form, np.int64), np.ones(m, np.float32),
        np.ones(m, np.float32),
    )  # fmt: skip


def joined(*parts: Links) -> Links:
    return Links(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def windows_of(accounts: int, starts: Any = 0) -> Any:
    windows = np.stack([Window.empty().state] * accounts)
    windows[:, AT["n"]] = 5
    windows[:, AT["first_us"]] = starts
    return windows


def told(scorer: Scorer, sample: Sample, groups: list[Any], own: Any = None, **options: Any) -> Evidence:
    """Evidence of groups whose members are all linked by head 7."""
    links = options.pop("links", joined(*(all_pairs(members) for members in groups)))
    accounts = int(sample.account.max()) + 1 if own is None else len(own)
    own = np.full(accounts, 0.2) if own is None else np.asarray(own)
    windows = options.pop("windows", windows_of(accounts))
    return gather(sample, windows, own, links, [np.asarray(members) for members in groups], scorer, **options)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_q_values_are_those_of_scipy(p: list[float]) -> None:
    np.testing.assert_allclose(false_discovery(np.array(p)), false_discovery_control(p), rtol=1e-12)


def test_the_score_is_the_mean_of_the_log_odds(scorer: Scorer) -> None:
    own = np.array([0.9, 0.6, 0.2, 0.99, 0.5, 0.01])
    ev = told(scorer, sample_of(*drawn(6, 6), head=7), [[0, 1, 2], [3, 4, 5]], own)
    np.testing.assert_allclose(ev.score, [expit(logit(own[g]).mean()) for g in ([0, 1, 2], [3, 4, 5])])


def test_one_account_that_the_model_is_certain_of_convicts_nobody(scorer: Scorer) -> None:
    """Log odds are bounded, at 0 and at 1 too."""
    ev = told(scorer, sample_of(*drawn(6, 6), head=7), [[0, 1, 2, 3, 4, 5]], [1.0, *[0.05] * 5])
    assert ev.score[0] < 0.5
    assert np.isfinite(told(scorer, sample_of(*drawn(3, 6), head=7), [[0, 1, 2]], [0.0, 1.0, 0.5]).score).all()


def test_p_counts_accounts_that_nobody_linked(scorer: Scorer) -> None:
    """Members of other groups are not among them; those who score exactly as high are."""
    sample = sample_of(*drawn(16, 6), head=7)
    own = np.r_[np.full(3, 0.6), np.full(3, 0.95), np.full(5, 0.1), [0.7, 0.8, 0.9, 0.3, 0.2]]
    ev = told(scorer, sample, [[0, 1, 2], [3, 4, 5]], own)
    np.testing.assert_allclose(ev.p, [(1 + 3) / (1 + 10), (1 + 0) / (1 + 10)])
    np.testing.assert_allclose(ev.q, false_discovery_control(ev.p))
    assert ev.group.tolist() == [0, 0, 0, 1, 1, 1, *[-1] * 10]


def test_p_of_a_group_beside_which_there_is_nobody(scorer: Scorer) -> None:
    assert told(scorer, sample_of(*drawn(3, 6), head=7), [[0, 1, 2]]).p.tolist() == [1.0]


def test_the_ratio_is_one_for_exchangeable_accounts_and_large_for_different_work(scorer: Scorer) -> None:
    same, other = drawn(12, 20), drawn(12, 20, 1, topics=1.0)
    sample = Sample.concat([sample_of(*same, head=7), sample_of(other[0] + 12, other[1], head=7)])
    ev = told(scorer, sample, [range(12), range(12, 24)])
    assert ev.ratio[0] == pytest.approx(1, abs=0.15)
    assert ev.ratio[1] > 3


def test_the_ratio_is_taken_inside_forms(scorer: Scorer) -> None:
    """Two templates with topics of their own, both sent by all: the difference of the templates is nobody's."""
    account, content = drawn(10, 30, 2)
    head = 7 + np.arange(300) % 2
    content[head == 8] += 4
    links = joined(all_pairs(range(10), form=7), all_pairs(range(10), form=8))
    assert told(scorer, sample_of(account, content, head=head), [range(10)], links=links).ratio == pytest.approx(
        1, abs=0.2
    )


def test_a_ratio_by_hand(scorer: Scorer) -> None:
    account, content = np.repeat([0, 1, 2], [4, 6, 5]), drawn(1, 15, 3)[1]
    sample = sample_of(account, content, head=7)
    rows = sample.content.astype(np.float64) / 127
    means = np.stack([rows[account == a].mean(0) for a in range(3)])
    between = (np.bincount(account) * ((means - rows.mean(0)) ** 2).sum(1)).sum() / 2
    within = ((rows - means[account]) ** 2).sum() / 12
    assert told(scorer, sample, [[0, 1, 2]]).ratio == pytest.approx(between / within)


def test_only_what_links_is_looked_at(scorer: Scorer) -> None:
    """Cover traffic under no form of the group, of very different topics, changes neither ratio nor overlap."""
    account, content = drawn(6, 10, 4)
    cover, noise = drawn(6, 10, 5, topics=3.0)
    plain = sample_of(account, content, head=7)
    covered = Sample.concat([plain, sample_of(cover, noise, head=9, prompt=5)])
    one, other = told(scorer, plain, [range(6)]), told(scorer, covered, [range(6)])
    assert other.linking.tolist() == [True] * 60 + [False] * 60
    assert (one.ratio, one.overlap) == (other.ratio, other.overlap)


def test_all_rows_of_the_group_are_looked_at_where_hardly_any_has_the_form(scorer: Scorer) -> None:
    account, content = drawn(8, 10, 6)
    ev = told(scorer, sample_of(account, content, head=np.where(np.arange(80) % 10, 0, 7)), [range(6)])
    assert ev.linking.tolist() == [True] * 60 + [False] * 20


def test_a_divided_list_has_no_overlap_and_a_classroom_has_all(scorer: Scorer) -> None:
    account, content = drawn(12, 20)
    exercise = np.tile(np.arange(20), 6) + 1
    prompt = np.r_[np.arange(1000, 1120), exercise]
    ev = told(scorer, sample_of(account, content, head=7, prompt=prompt), [range(6), range(6, 12)])
    assert ev.overlap.tolist() == [0, 1]


def test_prompts_of_two_groups_are_not_counted_together(scorer: Scorer) -> None:
    """Nor is what one account sends twice."""
    account, content = drawn(6, 6)
    prompt = np.tile([1, 1, 2, 2, 3, 3], 6) + np.repeat([0, 10, 20, 0, 10, 20], 6)
    assert told(
        scorer, sample_of(account, content, head=7, prompt=prompt), [[0, 1, 2], [3, 4, 5]]
    ).overlap.tolist() == [0, 0]


def test_the_merged_window_is_that_of_merging(scorer: Scorer) -> None:
    parts = [window_of(exchanges(n, seed), random_head()) for seed, n in enumerate((3, 40, 1, 17))]
    parts.append(Window.empty())
    merged = Window.empty()
    for part in parts:
        merged.merge(part)
    states = np.stack([part.state for part in parts])
    np.testing.assert_array_equal(module._merged(states), merged.state)
    sample, windows = sample_of(*drawn(5, 6), head=7), states
    ev = told(scorer, sample, [range(5)], np.full(5, 0.5), windows=windows)
    assert ev.pooled == pytest.approx(scorer.score(features(merged)))


def test_scores_of_many_accounts_come_in_chunks(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    states = np.stack([window_of(exchanges(9, seed), scorer.head).state for seed in range(7)])
    whole = account_scores(states, scorer)
    monkeypatch.setattr(module, "_CHUNK", 3)
    np.testing.assert_allclose(account_scores(states, scorer), whole, rtol=1e-6)
    assert (whole.shape, states.shape) == ((7,), (7, WORDS))


def test_what_is_left_without_a_kind_of_link(scorer: Scorer) -> None:
    """The score of the members that other kinds still tie; not a number where none is."""
    own = np.array([0.9, 0.8, 0.7, 0.2, 0.6, 0.6, 0.6])
    links = joined(all_pairs(range(4)), all_pairs([0, 1, 2], kind=2, form=0), all_pairs([4, 5, 6], kind=1))
    ev = told(scorer, sample_of(*drawn(7, 6), head=7, tail=7), [range(4), [4, 5, 6]], own, links=links)
    np.testing.assert_allclose(ev.without["head"], [expit(logit(own[:3]).mean()), 0.6])
    np.testing.assert_allclose(ev.without["content"], [ev.score[0], 0.6])
    np.testing.assert_allclose(ev.without["tail"], [ev.score[0], np.nan])
    assert {kind: count.tolist() for kind, count in ev.links.items()} == {
        "head": [6, 0],
        "tail": [0, 3],
        "content": [3, 0],
        **{kind: [0, 0] for kind in SIGNS},
    }
    assert tuple(ev.without) == KINDS


def test_a_common_course_ties_nobody(scorer: Scorer) -> None:
    """Without the one kind that links them the two are not tied, whatever course they have in common."""
    own = np.array([0.9, 0.8, 0.7, 0.2])
    links = joined(all_pairs(range(4)), all_pairs([0, 1, 2], kind=KINDS.index("payment"), form=0))
    links = joined(links, all_pairs(range(4), kind=KINDS.index(COURSE), form=0))
    ev = told(scorer, sample_of(*drawn(4, 6), head=7), [range(4)], own, links=links)
    assert ev.without["head"] == pytest.approx(expit(logit(own[:3]).mean()))
    assert ev.without[COURSE] == ev.without["payment"] == ev.score
    assert (ev.links[COURSE].tolist(), ev.links["payment"].tolist()) == ([6], [3])


def test_links_between_groups_are_nobodys(scorer: Scorer) -> None:
    links = joined(all_pairs([0, 1, 2]), all_pairs([3, 4, 5], form=8), all_pairs([2, 3], form=9))
    ev = told(scorer, sample_of(*drawn(6, 6), head=9), [[0, 1, 2], [3, 4, 5]], links=links)
    assert ev.links["head"].tolist() == [3, 3]
    assert ev.linking.all(), "no form of its own is left in the sample, so all rows count"


def test_a_ratio_without_two_rows_an_account_is_not_a_number(scorer: Scorer) -> None:
    assert np.isnan(told(scorer, sample_of(*drawn(3, 1), head=7), [[0, 1, 2]]).ratio).all()


def test_identical_rows_have_no_ratio_or_one_from_zero(scorer: Scorer) -> None:
    """Rounding makes no number of nothing."""
    account, content = drawn(4, 5)
    ratio = told(scorer, sample_of(account, np.ones_like(content), head=7), [range(4)]).ratio
    assert np.isnan(ratio[0]) or ratio[0] == pytest.approx(0, abs=1e-3)


def test_starts_that_lie_close_are_told_from_any_others(scorer: Scorer) -> None:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 90 * 86_400, 200) * 1_000_000 + 1_772_409_600_000_000
    starts[:6] = starts[0] + np.arange(6) * 60_000_000
    sample = sample_of(*drawn(200, 2), head=7)
    ev = told(scorer, sample, [range(6), range(6, 12)], windows=windows_of(200, starts))
    assert ev.together[0] == pytest.approx(1 / 1000)
    assert ev.together[1] > 0.05
