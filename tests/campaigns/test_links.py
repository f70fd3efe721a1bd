"""Two accounts are linked when what they send cannot be told apart; popular forms cost no more than rare ones."""

import numpy as np
import pytest
from crowd import drawn, sample_of

from fingerprint.campaigns import links as module
from fingerprint.campaigns.links import KINDS, MOST_RATIO, TEXT_KINDS, Links, find_links
from fingerprint.campaigns.sample import Sample

HEAD, TAIL, CONTENT = range(3)


def kinds(links: Links) -> list[str]:
    return [KINDS[kind] for kind in sorted(set(links.kind.tolist()))]


@pytest.mark.parametrize(("form", "kind"), [({"head": 7}, HEAD), ({"tail": 7}, TAIL)])
def test_two_accounts_that_divide_one_list_under_one_form_are_linked(form: dict[str, int], kind: int) -> None:
    links = find_links(sample_of(*drawn(2, 40), **form), 100)
    mine = links.kind == kind
    assert (links.a[mine].tolist(), links.b[mine].tolist(), links.form[mine].tolist()) == ([0], [1], [7])
    assert links.ratio[mine] == pytest.approx(1, abs=0.35)
    assert links.rarity[mine] == pytest.approx(np.log(100 / 2))


def test_the_ratio_of_accounts_of_one_list_is_one_on_average() -> None:
    """All pairs of a leaf, kept or not."""
    means = module._means(sample_of(*drawn(200, 10), head=7), "head")
    ratio = module._ratios(means, np.arange(0, 200, 2), np.arange(1, 200, 2))
    assert ratio.mean() == pytest.approx(1, abs=4 / 32**0.5 / 100**0.5)


def test_the_ratio_is_that_of_an_analysis_of_variance() -> None:
    """Sum of squares between two accounts over the mean square within, worked out row by row."""
    account, content = np.repeat([0, 1], [5, 9]).astype(np.int32), drawn(1, 14, 3)[1]
    sample = sample_of(account, content, head=7)
    rows = sample.content.astype(np.float64) / 127
    mean = [rows[account == a].mean(0) for a in (0, 1)]
    between = sum(n * ((m - rows.mean(0)) ** 2).sum() for n, m in zip((5, 9), mean, strict=True))
    within = sum(((rows[account == a] - mean[a]) ** 2).sum() for a in (0, 1)) / (14 - 2)
    ratio = module._ratios(module._means(sample, "head"), np.array([0]), np.array([1]))
    assert ratio == pytest.approx(between / within, rel=1e-4)


def test_accounts_with_topics_of_their_own_under_one_form_are_not_linked() -> None:
    assert len(find_links(sample_of(*drawn(12, 20, topics=1.0), head=7, tail=8), 12).a) == 0


def test_bare_items_without_any_form_are_linked_by_content() -> None:
    account, content = drawn(6, 20)
    links = find_links(sample_of(account, content), 6)
    assert kinds(links) == ["content"]
    assert set(zip(links.a.tolist(), links.b.tolist(), strict=True)) == {(a, b) for b in range(6) for a in range(b)}
    assert not links.form.any()
    apart = find_links(sample_of(*drawn(6, 20, topics=1.0)), 6)
    assert len(apart.a) == 0


def test_a_form_that_is_not_shared_links_nobody_by_form() -> None:
    account, content = drawn(6, 20)
    assert kinds(find_links(sample_of(account, content, head=account + 1, tail=account + 1), 6)) == ["content"]


def test_content_needs_more_rows_than_forms() -> None:
    assert kinds(find_links(sample_of(*drawn(3, 7), head=5), 3)) == ["head"]
    assert kinds(find_links(sample_of(*drawn(3, 8), head=5), 3)) == ["head", "content"]


def test_too_few_rows_are_no_link() -> None:
    """Two rows each are fewer than both must have together."""
    assert len(find_links(sample_of(*drawn(9, 2), head=7), 9).a) == 0


@pytest.mark.parametrize(("accounts", "rows"), [(0, 1), (1, 30), (2, 1), (30, 1)])
def test_nothing_to_compare_is_no_link(accounts: int, rows: int) -> None:
    links = find_links(sample_of(*drawn(accounts, rows), head=7), max(accounts, 1))
    assert [len(column) for column in links] == [0] * len(Links._fields)


def test_links_run_from_the_smaller_account_and_stay_below_the_limit() -> None:
    account, content = drawn(80, 10, topics=0.3)
    links = find_links(sample_of(account[::-1], content, head=account % 3 + 1), 80)
    assert len(links.a) > 20
    assert (links.a < links.b).all()
    assert (links.ratio <= MOST_RATIO).all()
    of_kind = np.stack([links.a, links.b, links.kind, links.form], 1)
    assert len(np.unique(of_kind, axis=0)) == len(of_kind), "each pair once for a form"


def test_the_same_seed_gives_the_same_links() -> None:
    sample = sample_of(*drawn(300, 10), head=7)
    first, again = find_links(sample, 300, 5), find_links(sample, 300, 5)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(find_links(sample, 300, 6).a) != len(first.a), "trees are random"


def test_the_order_of_the_rows_changes_nothing() -> None:
    sample = sample_of(*drawn(60, 10), head=7)
    shuffled = sample.take(np.random.default_rng(0).permutation(600))
    for one, other in zip(find_links(sample, 60)[:4], find_links(shuffled, 60)[:4], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_leaves_are_small_and_within_one_form(kind: str) -> None:
    account, content = drawn(500, 8)
    means = module._means(sample_of(account, content, head=account % 2 + 1, tail=account % 3 + 1), kind)
    leaf = module._leaves(means, np.random.default_rng(0))
    assert np.bincount(leaf).max() <= module.LEAF
    for number in np.unique(leaf):
        assert len(np.unique(means.form[leaf == number])) == 1


def test_equal_accounts_do_not_make_a_leaf_that_cannot_be_split() -> None:
    """Thousands that send the very same prompt: the direction is nothing, the split is by rank."""
    account = np.repeat(np.arange(2000), 8)
    links = find_links(sample_of(account, np.ones((len(account), 32)), head=7), 2000)
    assert len(links.a) < 200 * 2000


def compared(sample: Sample, accounts: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Links]:
    """How many pairs were compared, and the links."""
    count, ratios = [], module._ratios
    with monkeypatch.context() as patch:
        patch.setattr(module, "_ratios", lambda means, a, b: (count.append(len(a)), ratios(means, a, b))[1])
        links = find_links(sample, accounts)
    return sum(count), links


def test_a_popular_form_of_strangers_links_nearly_nobody_and_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four thousand users of one template, each with a topic: comparisons grow with the accounts, not their pairs."""
    few, _ = compared(sample_of(*drawn(2000, 6, topics=1.5), head=7), 2000, monkeypatch)
    many, links = compared(sample_of(*drawn(4000, 6, topics=1.5), head=7), 4000, monkeypatch)
    assert 4000 <= many <= 3 * 4000 * (module.LEAF - 1) / 2
    assert many / few == pytest.approx(2, abs=0.5)
    assert len(links.a) < 40


def test_a_ring_inside_a_popular_form_is_found() -> None:
    """Twenty accounts of one list among two thousand strangers under the same template."""
    account, content = drawn(2020, 12, topics=1.5)
    rng = np.random.default_rng(9)
    ring = account < 20
    content[ring] = rng.normal(size=(ring.sum(), 32))
    links = find_links(sample_of(account, content, head=7), 2020)
    inside = (links.a < 20) & (links.b < 20)
    assert len(np.unique(np.r_[links.a[inside], links.b[inside]])) >= 15
    assert inside.mean() > 0.8
