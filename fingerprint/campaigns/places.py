"""Where the rows of each group and each form are, looked up once for all cases, so that a case costs by its own size.

Each part is made when it is first asked for: who writes no cases pays nothing.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fingerprint.campaigns.links import Links
from fingerprint.campaigns.sample import Sample
from fingerprint.kernels.layout import W

__all__ = ["Places"]


class _Sorted:
    """Row numbers by key; rows of one key in rising order."""

    def __init__(self, key: NDArray[np.int64]) -> None:
        self.by = np.argsort(key, kind="stable")
        self.key = key[self.by]

    def rows(self, key: int) -> NDArray[np.int64]:
        first, end = np.searchsorted(self.key, [key, key + 1])
        return self.by[first:end]


class Places:
    """Of a sample, its links and the group of each account (int64[accounts], -1: none)."""

    def __init__(self, sample: Sample, links: Links, group: NDArray[np.int64]) -> None:
        self._sample, self._links, self._group = sample, links, group
        self._accounts_of: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def rows(self, group: int) -> NDArray[np.int64]:
        """Rows of the sample whose account is in the group, in rising order."""
        return self._by_group.rows(group)

    def links(self, group: int) -> NDArray[np.int64]:
        """Links between two accounts of the group, in rising order."""
        return self._links_by_group.rows(group)

    def accounts(self, part: str, form: int) -> int:
        """How many accounts have the form in their sample; ``part`` is ``head`` or ``tail``."""
        if part not in self._accounts_of:
            self._accounts_of[part] = self._count(part)
        forms, count = self._accounts_of[part]
        at = int(np.searchsorted(forms, form))
        return int(count[at]) if at < len(forms) and forms[at] == form else 0

    @cached_property
    def _by_group(self) -> _Sorted:
        return _Sorted(self._group[self._sample.account])

    @cached_property
    def _links_by_group(self) -> _Sorted:
        a, b = self._group[self._links.a], self._group[self._links.b]
        return _Sorted(np.where(a == b, a, -1))

    def _count(self, part: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The distinct forms, sorted, and of each its accounts."""
        form, account = self._sample.when[:, W[part]], self._sample.account
        by = np.lexsort((account, form))
        form, account = form[by], account[by]
        new = np.ones(len(by), bool)
        new[1:] = (form[1:] != form[:-1]) | (account[1:] != account[:-1])
        forms, count = np.unique(form[new], return_counts=True)
        return forms, count
