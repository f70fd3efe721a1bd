"""Links: pairs of accounts that cannot be told apart in what they send, found without comparing all pairs.

Two accounts are compared by the means of their rows, in units of what one account differs from itself:

    ratio = |mean_a - mean_b|^2 / (s^2 (1 / n_a + 1 / n_b)),   s^2 the variance of a row within the two accounts

which is 1 on average where both draw from one list (the F ratio of an analysis of variance of two groups, summed over
dimensions), and grows with n where they do different work. It is asked of three kinds of rows: those with one head,
those with one tail (what fills a template is compared, the template itself is the same), and all rows of an account
(bare items). Candidates come from the form that is shared or, without one, from random-projection trees; popular forms
cost no more than rare ones, because inside a form too only neighbours are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.campaigns.sample import Sample
from fingerprint.kernels.layout import SKETCH_ONE, W

__all__ = ["COURSE", "KINDS", "SIGNS", "TEXT_KINDS", "Links", "find_links", "sums"]

TEXT_KINDS = ("head", "tail", "content")
COURSE = "course"  # makes links by text heavier, links nobody by itself
SIGNS = ("payment", "network", "registered", "times", "list", COURSE)  # found beside text, by ``signs``
KINDS = TEXT_KINDS + SIGNS
LEAF = 12  # accounts of a leaf are all compared
TREES = {"head": 3, "tail": 3, "content": 10}
LEAST = {"head": 2, "tail": 2, "content": 8}  # rows of an account that are compared
LEAST_BOTH = 6  # rows of both together
MOST_RATIO = 1.5
_CHUNK = 200_000


class Links(NamedTuple):
    """Edges: accounts ``a`` < ``b`` int32[e], ``kind`` int8[e] (of ``KINDS``), ``form`` int64[e] (0: none), ``ratio``
    float32[e], and ``rarity`` float32[e], the natural logarithm of how many times fewer accounts have the form.

    The ``ratio`` of a sign is from 0, where two accounts are the same in it, to 1. Its ``form`` is 0: no payment and no
    address goes on from here."""

    a: NDArray[np.int32]
    b: NDArray[np.int32]
    kind: NDArray[np.int8]
    form: NDArray[np.int64]
    ratio: NDArray[np.float32]
    rarity: NDArray[np.float32]

    @classmethod
    def none(cls) -> Links:
        """No link."""
        ends, ratio = np.empty(0, np.int32), np.empty(0, np.float32)
        return cls(ends, ends, np.empty(0, np.int8), np.empty(0, np.int64), ratio, ratio)

    @classmethod
    def concat(cls, parts: Sequence[Links]) -> Links:
        """All links of several, in order."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def take(self, rows: NDArray[np.int64]) -> Links:
        """The given links."""
        return Links(*(part[rows] for part in self))  # type: ignore[arg-type]


class _Means(NamedTuple):
    """Rows summed by account within a form: sorted by form, then account."""

    form: NDArray[np.int64]
    account: NDArray[np.int32]
    n: NDArray[np.int64]
    mean: NDArray[np.float32]
    scatter: NDArray[np.float32]  # sum of squared distances to the account's mean


def sums(
    parts: Sequence[NDArray[np.int8]], rows: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Sums over runs of ``rows``, from each of ``starts``, of vectors int8[m, 32] side by side, by their length:
    float32[runs, 32 parts], and of their squared lengths float64[runs]. By whole runs at a time: rows are many."""
    total, squares = np.empty((len(starts), 32 * len(parts)), np.float32), np.empty(len(starts))
    ends = np.r_[starts[1:], len(rows)]
    for at in range(0, len(starts), _CHUNK // 8):
        runs = slice(at, min(at + _CHUNK // 8, len(starts)))
        some, begin = rows[starts[at] : ends[runs.stop - 1]], starts[runs] - starts[at]
        vectors = np.concatenate([part[some] for part in parts], 1).astype(np.float32) / np.float32(SKETCH_ONE)
        total[runs], squares[runs] = np.add.reduceat(vectors, begin), np.add.reduceat((vectors**2).sum(1), begin)
    return total, squares


def _means(sample: Sample, kind: str) -> _Means:
    form = np.zeros(len(sample.account), np.int64) if kind == "content" else sample.when[:, W[kind]]
    rows = np.flatnonzero(form) if kind != "content" else np.arange(len(form))
    rows = rows[np.lexsort((sample.account[rows], form[rows]))]
    form, account = form[rows], sample.account[rows]
    starts = np.flatnonzero(np.r_[True, (np.diff(form) != 0) | (np.diff(account) != 0)]) if len(rows) else rows
    n = np.diff(np.r_[starts, len(rows)])
    keep = n >= LEAST[kind]
    rows, starts_kept = rows[np.repeat(keep, n)], np.flatnonzero(keep)
    form, account, n = form[starts[starts_kept]], account[starts[starts_kept]], n[keep]
    if not len(n):
        return _Means(form, account, n, np.empty((0, 1), np.float32), np.empty(0, np.float32))
    parts = [sample.content, sample.form] if kind == "content" else [sample.content]
    total, squares = sums(parts, rows, np.cumsum(n) - n)
    mean = total / n[:, None].astype(np.float32)
    return _Means(form, account, n, mean, np.maximum(squares - n * (mean**2).sum(1), 0))


def _leaves(means: _Means, rng: np.random.Generator) -> NDArray[np.int64]:
    """One random-projection tree within each form: the leaf of every entry. A node is split at the median along the
    direction between two of its members (Dasgupta & Freund 2008)."""
    node = np.cumsum(np.r_[0, np.diff(means.form) != 0])
    while True:
        by = np.argsort(node, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(node[by]) != 0])
        sizes = np.diff(np.r_[starts, len(by)])
        if sizes.max() <= LEAF:
            return node
        number = np.repeat(np.arange(len(starts)), sizes)
        ends = [by[starts + rng.integers(0, sizes)] for _ in range(2)]
        direction = means.mean[ends[0]] - means.mean[ends[1]]
        along = np.einsum("ij,ij->i", means.mean[by], direction[number])
        place = np.lexsort((along, number))
        rank = np.arange(len(by)) - np.repeat(starts, sizes)
        upper = (rank >= (sizes / 2)[number]) & (sizes > LEAF)[number]
        node = np.empty_like(node)
        node[by[place]] = 2 * number + upper


def _pairs_of(leaf: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of entries of one leaf."""
    by = np.argsort(leaf, kind="stable")
    same = leaf[by]
    first, second = [], []
    for step in range(1, LEAF):
        at = np.flatnonzero(same[step:] == same[:-step])
        first.append(by[at])
        second.append(by[at + step])
    return np.concatenate(first), np.concatenate(second)


def _candidates(means: _Means, kind: str, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    parts = [_pairs_of(_leaves(means, rng)) for _ in range(TREES[kind])]
    a, b = (np.concatenate(side) for side in zip(*parts, strict=True))
    low, high = np.minimum(a, b), np.maximum(a, b)
    pairs = np.unique(low * len(means.n) + high)
    return pairs // len(means.n), pairs % len(means.n)


def _ratios(means: _Means, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float32]:
    out = np.empty(len(a), np.float32)
    for start in range(0, len(a), _CHUNK):
        i, j = a[start : start + _CHUNK], b[start : start + _CHUNK]
        apart = ((means.mean[i] - means.mean[j]) ** 2).sum(1)
        spread = (means.scatter[i] + means.scatter[j]) / (means.n[i] + means.n[j] - 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[start : start + _CHUNK] = apart / (spread * (1 / means.n[i] + 1 / means.n[j]))
    return out


def find_links(sample: Sample, accounts: int, seed: int = 0) -> Links:
    """All links by text of a sample (by account) among ``accounts`` accounts."""
    rng, parts = np.random.default_rng(seed), [Links.none()]
    for number, kind in enumerate(TEXT_KINDS):
        means = _means(sample, kind)
        if len(means.n) < 2:
            continue
        a, b = _candidates(means, kind, rng)
        enough = means.n[a] + means.n[b] >= LEAST_BOTH
        a, b = a[enough], b[enough]
        ratio = _ratios(means, a, b)
        kept = np.flatnonzero(ratio <= MOST_RATIO)
        a, b, ratio = a[kept], b[kept], ratio[kept]
        _, place, having = np.unique(means.form, return_inverse=True, return_counts=True)
        rarity = np.log(accounts / having[place[a]]).astype(np.float32)
        one, other = means.account[a], means.account[b]
        parts.append(
            Links(
                np.minimum(one, other),
                np.maximum(one, other),
                np.full(len(a), number, np.int8),
                means.form[a],
                ratio,
                rarity,
            )
        )
    return Links.concat(parts)
