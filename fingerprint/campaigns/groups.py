"""Groups: communities of linked accounts, each a candidate that the pool must convict or clear.

A link weighs more the rarer its form and the nearer the two accounts; of each account only its heaviest links are
kept, so that cover traffic, which links an account to nobody in particular, cannot glue strangers together.
Communities are found by Leiden's algorithm (Traag, Waltman & van Eck 2019; scikit-network, BSD).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fingerprint.campaigns.links import KINDS, MOST_RATIO, Links

__all__ = ["LEAST_ACCOUNTS", "communities"]

LEAST_ACCOUNTS = 3
NEAREST = 15  # links of an account that count
COMMUNITY = 13_000.0  # link weight of a large community: resolution rises with the traffic, communities do not grow
LEAST_RESOLUTION = 0.5  # in little traffic: at 1 a single clique of uneven links is already cut in two
CONTENT_WEIGHT = 0.6  # of a link by content alone, in units of a form that one account in e has
_NEARER = 0.05  # a link at the limit of what is linked still counts a little


def _weights(links: Links) -> NDArray[np.float64]:
    rarity = np.where(links.kind == KINDS.index("content"), CONTENT_WEIGHT, np.maximum(links.rarity, 0.0))
    return np.asarray(rarity * np.maximum(MOST_RATIO - links.ratio, _NEARER), np.float64)


def _heaviest(graph: sparse.csr_matrix) -> sparse.csr_matrix:
    """The graph with the ``NEAREST`` heaviest links of each account, from either end."""
    row = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    by = np.lexsort((graph.indices, -graph.data, row))
    kept = by[np.arange(len(by)) - graph.indptr[row[by]] < NEAREST]
    half = sparse.csr_matrix((graph.data[kept], (row[kept], graph.indices[kept])), shape=graph.shape)
    return half.maximum(half.T).tocsr()


def _core(graph: sparse.csr_matrix) -> sparse.csr_matrix:
    """The graph without accounts that hang on one link, again and again: one link is no tie (2-core, Seidman 1983)."""
    while True:
        degree = np.diff(graph.indptr)
        if not (degree == 1).any():
            return graph
        keep = sparse.diags_array((degree > 1).astype(float))
        graph = sparse.csr_matrix(keep @ graph @ keep)
        graph.eliminate_zeros()


def communities(links: Links, accounts: int) -> list[NDArray[np.int64]]:
    """Members (account numbers, rising) of each group of at least ``LEAST_ACCOUNTS``, by first member."""
    from sknetwork.clustering import Leiden

    graph = sparse.csr_matrix((_weights(links), (links.a, links.b)), shape=(accounts, accounts))
    graph = _core(_heaviest((graph + graph.T).tocsr()))
    if not graph.nnz:
        return []
    label = Leiden(resolution=max(LEAST_RESOLUTION, graph.sum() / COMMUNITY), random_state=0).fit_predict(graph)
    linked = np.flatnonzero(np.diff(graph.indptr) > 0)
    by = linked[np.argsort(label[linked], kind="stable")]
    parts = np.split(by, np.flatnonzero(np.diff(label[by])) + 1)
    return sorted((np.sort(part) for part in parts if len(part) >= LEAST_ACCOUNTS), key=lambda part: int(part[0]))
