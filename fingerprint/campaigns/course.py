"""The course that accounts take: who takes over from whom, who starts and stops together, who takes up a new model.

By chance all of it happens all the time, so that it links nobody: it is asked of pairs that text links, and told of a
group only where sets of as many accounts seldom do it as much. Left out: what it adds to a link (groups).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fingerprint.campaigns.hours import HOUR_US
from fingerprint.campaigns.sample import FACTS, Sample
from fingerprint.kernels.layout import AT, MISSING

__all__ = ["Course", "Told"]

SOON_US = HOUR_US  # between an end and the start that takes over, and between starts, and stops, that are one
AIM_US = 6 * HOUR_US  # between two that take up a model together
DAY_US = (
    24 * HOUR_US
)  # in which a group does; and at the ends of traffic, where it is not known what was before or after
BEFORE, AFTER = 4, 0.5  # sampled exchanges before a model that is new, and its share of those from then on
FEW = 0.02  # share of all accounts that take up a model at the same time, up to which that says anything
ASKED = 3  # signs of a common course: each is a third of it
DRAWS, RARE = 199, 0.05  # random sets of accounts, and the share of them that may do as much

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Told(NamedTuple):
    """How many members do something, and how many do on average of as many accounts."""

    members: int
    usual: float


class Course:
    """Of all accounts of ``windows`` int64[k, WORDS] and their sample; each part is worked out when it is asked for."""

    def __init__(self, sample: Sample, windows: Ints) -> None:
        self._sample = sample
        self._first, self._last = windows[:, AT["first_us"]], windows[:, AT["last_us"]]
        some = windows[:, AT["n"]] > 0
        begin, end = self._first[some].min(initial=2**62), self._last[some].max(initial=0)
        self._some = np.flatnonzero(some)
        self._begun = some & (self._first > begin + DAY_US)  # nothing was before
        self._ended = some & (self._last < end - DAY_US)  # nothing comes after
        self._drawn: dict[int, NDArray[np.float64]] = {}

    def common(self, a: Ints, b: Ints) -> NDArray[np.float64]:
        """How much of a course each pair of accounts has in common, 0 to 1."""
        near = (np.abs(self._first[a] - self._first[b]) <= SOON_US) & (np.abs(self._last[a] - self._last[b]) <= SOON_US)
        near &= self._begun[a] & self._begun[b] & self._ended[a] & self._ended[b]
        model, when = self.took_up
        aimed = (model[a] != MISSING) & (model[a] == model[b]) & (np.abs(when[a] - when[b]) <= AIM_US)
        signs = [self._took_over(a, b) | self._took_over(b, a), near, aimed & self._seldom[a]]
        return np.asarray(np.sum(signs, 0) / ASKED, np.float64)

    def _took_over(self, a: Ints, b: Ints) -> Mask:
        pause = self._first[b] - self._last[a]
        return np.asarray(self._ended[a] & self._begun[b] & (pause > 0) & (pause <= SOON_US))

    @cached_property
    def took_up(self) -> tuple[Ints, Ints]:
        """The model that each account took up last, MISSING for none, and when: int64[k] twice.

        It sent ``BEFORE`` exchanges of its sample without it, and from the first with it on most have it.
        """
        model, accounts = self._sample.facts[:, FACTS.index("model")].astype(np.int64), len(self._first)
        rows = np.flatnonzero(model != MISSING)
        time, account = self._sample.time_us, self._sample.account
        rows = rows[np.lexsort((self._sample.identity[rows], time[rows], account[rows]))]
        model, time, account = model[rows], time[rows], account[rows].astype(np.int64)
        rank = np.arange(len(rows)) - np.searchsorted(account, account)
        _, first, count = np.unique(account * 2**32 + model, return_index=True, return_counts=True)
        rest = np.bincount(account, minlength=accounts)[account[first]] - rank[first]
        taken = first[(rank[first] >= BEFORE) & (count >= 2) & (count >= AFTER * rest)]
        taken = taken[np.argsort(rank[taken], kind="stable")]
        out = np.full(accounts, MISSING, np.int64), np.full(accounts, MISSING, np.int64)
        out[0][account[taken]], out[1][account[taken]] = model[taken], time[taken]
        return out

    @cached_property
    def _seldom(self) -> Mask:
        """Whether few of all accounts take up the model of each at its time: not when all do, after a release."""
        model, when = self.took_up
        some, number = _by_model(model, when)
        near = np.searchsorted(number, number + AIM_US, "right") - np.searchsorted(number, number - AIM_US)
        out = np.zeros(len(model), np.bool_)
        out[some] = near <= FEW * len(model)
        return out

    def told(self, members: Ints) -> dict[str, Told]:
        """What members do that sets of as many accounts seldom do as much: ``began_after`` another had ended, by an
        hour at most, and ``took_up`` a new model within a day."""
        size = min(len(members), len(self._some))
        if size not in self._drawn:
            rng = np.random.default_rng(size)
            drawn = [self._counts(rng.choice(self._some, size, replace=False, shuffle=False)) for _ in range(DRAWS)]
            self._drawn[size] = np.array(drawn, np.float64)
        return dict(_rare(self._counts(members), self._drawn[size]))

    def _counts(self, some: Ints) -> tuple[int, int]:
        ends, starts = np.sort(self._last[some][self._ended[some]]), self._first[some][self._begun[some]]
        after = np.searchsorted(ends, starts) > np.searchsorted(ends, starts - SOON_US)
        _, number = _by_model(*(part[some] for part in self.took_up))
        same_day = np.searchsorted(number, number + DAY_US, "right") - np.arange(len(number))
        return int(after.sum()), int(same_day.max(initial=0))


def _by_model(model: Ints, when: Ints) -> tuple[Ints, Ints]:
    """Who took up a model, by model and time, and a number for both in which models lie far apart."""
    some = np.flatnonzero(model != MISSING)
    number = np.unique(model[some], return_inverse=True)[1] * 2**52 + when[some]
    by = np.argsort(number, kind="stable")
    return some[by], number[by]


def _rare(own: tuple[int, int], drawn: NDArray[np.float64]) -> Iterator[tuple[str, Told]]:
    for name, count, others in zip(("began_after", "took_up"), own, drawn.T, strict=True):
        if count > 1 and 1 + int((others >= count).sum()) <= RARE * (1 + DRAWS):
            yield name, Told(count, float(others.mean()))
