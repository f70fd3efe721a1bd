"""Rows of groups and accounts of forms: looked up, they are what a scan of everything finds."""

import numpy as np
import pytest
from crowd import drawn, sample_of

from fingerprint.campaigns.links import Links
from fingerprint.campaigns.places import Places
from fingerprint.kernels.layout import W


def places(seed: int, accounts: int = 12) -> tuple[Places, Links, np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """With random groups, links and forms, also negative ones: rows are in no order."""
    rng = np.random.default_rng(seed)
    account, content = drawn(accounts, 5, seed)
    by = rng.permutation(len(account))
    form = rng.choice([-(2**63), -5, 0, 7, 2**63 - 1], (2, len(account)))
    sample = sample_of(account[by], content, head=form[0], tail=form[1])
    group, ends = rng.integers(-1, 3, accounts), rng.integers(0, accounts, (2, 40)).astype(np.int32)
    zero = np.zeros(40)
    links = Links(*ends, zero.astype(np.int8), zero.astype(np.int64), *[zero.astype(np.float32)] * 2)
    return Places(sample, links, group), links, group, sample.account, sample.when


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_a_scan_finds(seed: int) -> None:
    found, links, group, account, when = places(seed)
    for number in range(4):
        np.testing.assert_array_equal(found.rows(number), np.flatnonzero(group[account] == number))
        inside = (group[links.a] == number) & (group[links.b] == number)
        np.testing.assert_array_equal(found.links(number), np.flatnonzero(inside))
    for part in ("tail", "head"):
        for form in (-(2**63), -5, -4, 0, 7, 8, 2**63 - 1):
            having = np.unique(account[when[:, W[part]] == form])
            assert found.accounts(part, form) == len(having), (part, form)


def test_of_nothing() -> None:
    none = np.empty(0, np.int32)
    sample = sample_of(none, np.empty((0, 32)), head=none, tail=none)
    links = Links(none, none, none.astype(np.int8), none.astype(np.int64), *[none.astype(np.float32)] * 2)
    found = Places(sample, links, np.full(3, -1))
    assert (len(found.rows(0)), len(found.links(0)), found.accounts("head", 1)) == (0, 0, 0)
