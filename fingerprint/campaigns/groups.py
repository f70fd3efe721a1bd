"""Groups: communities of linked accounts, each a candidate that the pool must convict or clear.

A link weighs more the rarer its form and the nearer the two accounts; of each account only its heaviest links are
kept, so that cover traffic, which links an account to nobody in particular, cannot glue strangers together.
Communities are found by Louvain's algorithm (Blondel et al. 2008; scikit-network, BSD) and cut where they do not hang
together. (Leiden's refinement draws numbers there that no seed reaches: two runs of one process differed.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from fingerprint.campaigns.links import COURSE, KINDS, MOST_RATIO, TEXT_KINDS, Links

__all__ = ["LEAST_ACCOUNTS", "communities", "joined"]

LEAST_ACCOUNTS = 3
NEAREST = 15  # links of an account that count
COMMUNITY = 13_000.0  # link weight of a large community: resolution rises with the traffic, communities do not grow
LEAST_RESOLUTION = 0.5  # in little traffic: at 1 a single clique of uneven links is already cut in two
CONTENT_WEIGHT = 0.6  # of a link by content alone, in units of a form that one account in e has
SIGN_WEIGHT = {
    "payment": 0.5,
    "network": 0.25,
    "registered": 0.2,
    "times": 0.4,
    "list": 0.4,
}  # times the rarity, at most
COURSE_MOST = 1.0  # what a common course adds to a link by text, at most, in units of its weight
JOINED = 6.0  # link weight between two convicted groups, for each account of the smaller, that makes one of them
_NEARER = 0.05  # a link at the limit of what is linked still counts a little


def _weights(links: Links) -> NDArray[np.float64]:
    rarity = np.where(links.kind == KINDS.index("content"), CONTENT_WEIGHT, np.maximum(links.rarity, 0.0))
    weight = np.asarray(rarity * np.maximum(MOST_RATIO - links.ratio, _NEARER), np.float64)
    for kind, most in SIGN_WEIGHT.items():
        rows = links.kind == KINDS.index(kind)
        weight[rows] = most * rarity[rows] * (1 - links.ratio[rows])
    course = np.flatnonzero(links.kind == KINDS.index(COURSE))
    if len(course):
        pair, text = links.a * np.int64(2**32) + links.b, links.kind < len(TEXT_KINDS)
        pairs, of = np.unique(pair, return_inverse=True)
        total = np.bincount(of[text], weight[text], len(pairs))
        weight[course] = COURSE_MOST * (1 - links.ratio[course]) * total[of[course]]
    return weight


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
    from sknetwork.clustering import Louvain

    graph = sparse.csr_matrix((_weights(links), (links.a, links.b)), shape=(accounts, accounts))
    graph = _core(_heaviest((graph + graph.T).tocsr()))
    if not graph.nnz:
        return []
    label = Louvain(resolution=max(LEAST_RESOLUTION, graph.sum() / COMMUNITY), random_state=0).fit_predict(graph)
    edges = graph.tocoo()
    same = label[edges.row] == label[edges.col]
    inside = sparse.csr_matrix((edges.data[same], (edges.row[same], edges.col[same])), shape=graph.shape)
    label = csgraph.connected_components(inside, directed=False)[1]  # Louvain's communities may fall apart
    linked = np.flatnonzero(np.diff(graph.indptr) > 0)
    by = linked[np.argsort(label[linked], kind="stable")]
    parts = np.split(by, np.flatnonzero(np.diff(label[by])) + 1)
    return sorted((np.sort(part) for part in parts if len(part) >= LEAST_ACCOUNTS), key=lambda part: int(part[0]))


def joined(links: Links, groups: list[NDArray[np.int64]], convicted: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The groups, those of ``convicted`` (bool[g]) that are tied to each other as one is within itself made one, again
    and again: what is tied to no single piece may be tied to several that became one.

    Communities do not grow with the traffic, so a large campaign comes in pieces; among convicted groups there are few
    honest accounts left that could glue two campaigns together.
    """
    sizes = np.array([len(members) for members in groups], np.float64)
    group = np.full(1 + int(max(links.b.max(initial=0), max(members[-1] for members in groups))), -1)
    for number in np.flatnonzero(convicted):
        group[groups[number]] = number
    one, other = group[links.a], group[links.b]
    between = np.flatnonzero((one != other) & (one >= 0) & (other >= 0))
    edges = (_weights(links.take(between)), (one[between], other[between]))
    half = sparse.csr_matrix(edges, shape=(len(groups), len(groups)))
    label = _tied_together((half + half.T).tocsr(), sizes)
    parts: dict[int, list[NDArray[np.int64]]] = {}
    for part_of, members in zip(label.tolist(), groups, strict=True):
        parts.setdefault(part_of, []).append(members)
    return sorted((np.sort(np.concatenate(part)) for part in parts.values()), key=lambda part: int(part[0]))


def _tied_together(weight: sparse.csr_matrix, sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    """What each group became part of: int64[g]; ``weight`` of links between groups, ``sizes`` in accounts."""
    label = np.arange(len(sizes))
    while True:
        pairs = weight.tocoo()
        tied = (pairs.row != pairs.col) & (pairs.data >= JOINED * np.minimum(sizes[pairs.row], sizes[pairs.col]))
        kept = sparse.csr_matrix((pairs.data[tied], (pairs.row[tied], pairs.col[tied])), shape=pairs.shape)
        count, part = csgraph.connected_components(kept, directed=False)
        if count == len(sizes):
            return label
        label = part[label].astype(np.int64)
        members = sparse.csr_matrix((np.ones(len(part)), (part, np.arange(len(part)))), shape=(count, len(part)))
        weight, sizes = (members @ weight @ members.T).tocsr(), np.bincount(part, sizes, count).astype(np.float64)
