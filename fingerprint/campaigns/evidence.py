"""Evidence: what a group of linked accounts does together, beside what accounts that nobody linked do alone.

A group's score is the mean of its members' log odds, each by the model on the account's own window: what hides one
account (few exchanges, cover traffic) hides no twenty of them, and one loud member convicts nobody. Beside it
stands the score of the members' windows merged into one. A group is held against accounts, not against random
mixtures of them: an honest group does one coherent thing, as an account does, while the mean of strangers looks
like nobody. So the p-value is the share of the traffic's unlinked accounts that score as high alone, and the
q-value its false-discovery rate over all groups (Benjamini & Hochberg 1995). Attackers among those accounts make it
larger, never smaller.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.campaigns.links import COURSE, KINDS, TEXT_KINDS, Links, sums
from fingerprint.campaigns.sample import Sample
from fingerprint.convictions import ACT, REVIEW
from fingerprint.features import compute
from fingerprint.kernels.layout import AT, EMPTY_MAX, EMPTY_MIN, N_MINIMA, N_SUMS, W
from fingerprint.scorer import Scorer

__all__ = [
    "ACT", "REVIEW", "Evidence", "account_scores", "false_discovery", "gather", "group_scores", "overlap",
    "variance_ratio",
]  # fmt: skip

FORM_KINDS = TEXT_KINDS[:2]
DRAWS = 999  # random sets of accounts that starts are compared with
LEAST_ROWS = 2.0  # linking exchanges an account, on average, or all exchanges of the group count as linking
_CHUNK = 8_192
_LEAST_ODDS = 1e-6


class Evidence(NamedTuple):
    """Of each group, in the order of the groups: float64[g], links int64[g]."""

    score: NDArray[np.float64]
    pooled: NDArray[np.float64]  # the model on the members' windows merged
    without: dict[str, NDArray[np.float64]]  # the score of the members that other kinds of link still tie; NaN: none
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    ratio: NDArray[np.float64]  # of an analysis of variance within forms
    overlap: NDArray[np.float64]  # share of distinct linking prompts that two members sent
    together: NDArray[np.float64]  # p-value of starts this close
    links: dict[str, NDArray[np.int64]]
    linking: NDArray[np.bool_]  # rows of the sample that link
    group: NDArray[np.int64]  # of each account, -1: none


def account_scores(windows: NDArray[np.int64], scorer: Scorer) -> NDArray[np.float64]:
    """float64[k] probabilities of ``int64[k, WORDS]``, in chunks."""
    starts = range(0, len(windows), _CHUNK)
    return np.concatenate([scorer.score(compute(windows[at : at + _CHUNK])) for at in starts])


def false_discovery(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[k] p-values to q-values (Benjamini & Hochberg 1995)."""
    by = np.argsort(p)
    scaled = p[by] * len(p) / np.arange(1, len(p) + 1)
    out = np.empty(len(p))
    out[by] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    return out


def _odds(own: NDArray[np.float64]) -> NDArray[np.float64]:
    p = own.clip(_LEAST_ODDS, 1 - _LEAST_ODDS)
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def group_scores(own: NDArray[np.float64], groups: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """float64[g]: the mean of each group's log odds as a probability; ``own`` float64[k] scores of all accounts."""
    odds = _odds(own)
    return _expit(np.array([odds[members].mean() for members in groups]))


def gather(
    sample: Sample,
    windows: NDArray[np.int64],
    own: NDArray[np.float64],
    links: Links,
    groups: list[NDArray[np.int64]],
    scorer: Scorer,
    seed: int = 0,
) -> Evidence:
    """The evidence of every group; ``windows`` int64[k, WORDS] and ``own`` scores float64[k] of all accounts."""
    count, group = len(groups), np.full(len(windows), -1)
    for number, members in enumerate(groups):
        group[members] = number
    odds, score = _odds(own), group_scores(own, groups)
    inside = (group[links.a] == group[links.b]) & (group[links.a] >= 0)
    of_row = group[sample.account]
    by_form = [_linked(sample, links, group, inside, of_row, number) for number in range(len(FORM_KINDS))]
    forms = by_form[0] | by_form[1]
    sizes = np.array([len(members) for members in groups])
    many = np.bincount(of_row[forms], minlength=count) >= LEAST_ROWS * sizes
    linking = np.where(many[of_row], forms, True) & (of_row >= 0)
    linked, owner = sample.take(np.flatnonzero(linking)), of_row[linking]
    alone = np.sort(own[group < 0])
    p = (1 + len(alone) - np.searchsorted(alone, score, "left")) / (1 + len(alone))
    return Evidence(
        score,
        account_scores(np.stack([_merged(windows[members]) for members in groups]), scorer),
        {kind: _without(links, group, inside, number, odds, count) for number, kind in enumerate(KINDS)},
        p,
        false_discovery(p),
        variance_ratio(linked, owner, linked.when[:, W["head"]], count),
        overlap(linked, owner, count),
        _together(windows, groups, seed),
        {k: np.bincount(group[links.a[inside & (links.kind == n)]], minlength=count) for n, k in enumerate(KINDS)},
        linking,
        group,
    )


def _expit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)), np.float64)


def _merged(windows: NDArray[np.int64]) -> NDArray[np.int64]:
    """One window of several: ``int64[k, WORDS]`` to ``int64[WORDS]``."""
    minima = slice(N_SUMS, N_SUMS + N_MINIMA)
    return np.concatenate(
        [
            windows[:, :N_SUMS].sum(0),
            windows[:, minima].min(0, initial=EMPTY_MIN),
            windows[:, minima.stop :].max(0, initial=EMPTY_MAX),
        ]
    )


def _linked(
    sample: Sample,
    links: Links,
    group: NDArray[np.int64],
    inside: NDArray[np.bool_],
    of_row: NDArray[np.int64],
    kind: int,
) -> NDArray[np.bool_]:
    """Rows whose form links two accounts of their own group."""
    used = inside & (links.kind == kind)
    form = sample.when[:, W[FORM_KINDS[kind]]]
    mine = np.isin(_key(of_row, form), np.unique(_key(group[links.a[used]], links.form[used])))
    return np.asarray(mine & (of_row >= 0) & (form != 0), np.bool_)


def _key(group: NDArray[np.int64], form: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each pair of a group and a form."""
    return form ^ (group * np.int64(0x1E3779B97F4A7C15))


def _without(
    links: Links, group: NDArray[np.int64], inside: NDArray[np.bool_], kind: int, odds: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    other = inside & (links.kind != kind) & (links.kind != KINDS.index(COURSE))  # which ties nobody by itself
    tied = np.unique(np.concatenate([links.a[other], links.b[other]]))
    with np.errstate(invalid="ignore"):
        mean = np.bincount(group[tied], odds[tied], count) / np.bincount(group[tied], minlength=count)
    return _expit(mean)


def variance_ratio(
    sample: Sample, group: NDArray[np.int64], form: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Variance between accounts over variance within, of content, inside cells of one group and one form.

    ``group`` (0 to ``count`` - 1) and ``form`` int64[m] of each row; float64[count], NaN where it is not defined.
    """
    cell = np.unique(_key(group, form), return_inverse=True)[1]
    entry = np.unique(cell * np.int64(2**32) + sample.account, return_inverse=True)[1]
    entries, cells = int(entry.max(initial=-1)) + 1, int(cell.max(initial=-1)) + 1
    cell_of, group_of = np.zeros(entries, np.int64), np.zeros(cells, np.int64)
    cell_of[entry], group_of[cell] = cell, group
    n_entry, n_cell = np.bincount(entry, minlength=entries), np.bincount(cell, minlength=cells)
    by = np.argsort(entry, kind="stable")
    total, squares = sums([sample.content], by, np.searchsorted(entry[by], np.arange(entries)))
    by_entry, order = total.astype(np.float64), np.argsort(cell_of, kind="stable")
    by_cell = np.add.reduceat(by_entry[order], np.searchsorted(cell_of[order], np.arange(cells)))
    square = np.bincount(cell_of, (by_entry**2).sum(1) / n_entry, cells)
    within = np.bincount(cell_of, squares, cells) - square
    between = square - (by_cell**2).sum(1) / n_cell
    members = np.bincount(cell_of, minlength=cells)
    four = [np.bincount(group_of, part, count) for part in (between, members - 1, within, n_cell - members)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (four[0] / four[1]) / (four[2] / four[3])
    known = np.isfinite(ratio) & (four[3] > 0) & (four[2] > 1e-6)  # sums are of float32
    return np.where(known, np.maximum(ratio, 0.0), np.nan)


def overlap(sample: Sample, group: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Share of each group's distinct prompts that two of its accounts sent: float64[count]."""
    prompt = _key(group, sample.when[:, W["prompt"]])
    pairs = np.unique(np.stack([prompt, sample.account.astype(np.int64), group], 1), axis=0)
    starts = np.flatnonzero(np.r_[True, np.diff(pairs[:, 0]) != 0])
    senders, owner = np.diff(np.r_[starts, len(pairs)]), pairs[starts, 2]
    shared = np.bincount(owner, senders > 1, count)
    return np.asarray(shared / np.maximum(np.bincount(owner, minlength=count), 1), np.float64)


def _together(windows: NDArray[np.int64], groups: list[NDArray[np.int64]], seed: int) -> NDArray[np.float64]:
    """Share of random sets of as many accounts whose first exchanges lie as close (mean distance to their median)."""
    rng, out = np.random.default_rng(seed), np.empty(len(groups))
    known: dict[int, NDArray[np.float64]] = {}
    hours = windows[:, AT["first_us"]] / 3.6e9
    active = hours[windows[:, AT["n"]] > 0]
    for number, members in enumerate(groups):
        size = min(len(members), 200)
        if size not in known:
            drawn = active[rng.integers(0, len(active), (DRAWS, size))]
            known[size] = np.sort(np.abs(drawn - np.median(drawn, 1, keepdims=True)).mean(1))
        own = hours[members]
        closer = np.searchsorted(known[size], np.abs(own - np.median(own)).mean(), "right")
        out[number] = (1 + closer) / (1 + DRAWS)
    return out
