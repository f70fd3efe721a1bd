"""Train the prompt head: which capability a prompt wants, and how much it reads like harvesting.

Likeness learns from the traffic's own accounts and labels (training accounts only, weighted by account, so
that a busy account is not a majority); capability from prompts whose capability is known: the built-in
grammar and, where given, the corpora. Linear over hashed n-grams, rounded to int8 for the bundle. The
n-grams come from the runtime's own kernel. It leaves out how accounts are split (``training.split``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from fingerprint._jit import kernel
from fingerprint.head import Head
from fingerprint.kernels.layout import CAPABILITIES, HEAD_OUTPUTS
from fingerprint.kernels.text import COUNTERS, GRAM_BUCKETS, MAX_GRAMS, READ_END, READ_START, grams, tokenise
from training.own import FAMILY as OWN
from training.split import LabelError, text_group
from training.world import corpora, grammar

__all__ = ["fit_capability", "fit_likeness", "gram_counts", "known_capabilities", "make_head", "train_heads"]

OWN_WEIGHT = 3.0  # in the likeness head: own traffic against all other honest text together (docs/lab-notes.md)
LABELLED = 12_000  # prompts of known capability taken from the built-in grammar

Weights = tuple[NDArray[np.float64], NDArray[np.float64]]  # [outputs, GRAM_BUCKETS], [outputs]


@kernel
def _count(data, offsets, out, ends):  # type: ignore[no-untyped-def]
    hashes = np.empty(READ_START + READ_END, np.uint64)
    kinds = np.empty(READ_START + READ_END, np.uint8)
    buckets, counters = np.empty(MAX_GRAMS, np.int32), np.zeros(COUNTERS, np.uint64)
    total = 0
    for i in range(len(offsets) - 1):
        start, end = offsets[i], offsets[i + 1]
        cut = end if end - start <= READ_START + READ_END else start + READ_START
        count = tokenise(data, start, cut, hashes, kinds, 0, counters)
        if cut < end:
            count = tokenise(data, end - READ_END, end, hashes, kinds, count, counters)
        used = grams(hashes, count, buckets)
        if total + used <= len(out):
            out[total : total + used] = buckets[:used]
        total += used
        ends[i] = total
    return total


def gram_counts(prompts: Sequence[bytes]) -> csr_matrix:
    """n-gram counts over the square root of the number of n-grams: ``float32[m, GRAM_BUCKETS]``, sparse.

    The product with the weights is exactly what the runtime's head computes before rounding.
    """
    offsets = np.zeros(len(prompts) + 1, np.int64)
    np.cumsum([len(prompt) for prompt in prompts], out=offsets[1:])
    data = np.frombuffer(b"".join(prompts), np.uint8)
    ends = np.zeros(len(prompts), np.int64)
    out = np.empty(0, np.int32)
    needed = _count(data, offsets, out, ends)
    out = np.empty(needed, np.int32)
    _count(data, offsets, out, ends)
    starts = np.r_[0, ends]
    values = np.repeat((1 / np.sqrt(np.maximum(np.diff(starts), 1))).astype(np.float32), np.diff(starts))
    matrix = csr_matrix((values, out, starts), shape=(len(prompts), GRAM_BUCKETS))
    matrix.sum_duplicates()
    return matrix


def fit_likeness(
    counts: csr_matrix, harvest: NDArray[np.int64], weight: NDArray[np.float64], C: float = 10.0
) -> Weights:
    """Logistic regression of harvest (1) against honest (0); both classes weigh the same in sum."""
    weight = weight.copy()
    for label in (0, 1):
        weight[harvest == label] *= len(harvest) / 2 / weight[harvest == label].sum()
    model = LogisticRegression(C=C, solver="liblinear", max_iter=100, tol=1e-3)
    model.fit(counts, harvest, sample_weight=weight)
    return model.coef_, model.intercept_


def fit_capability(counts: csr_matrix, capability: Sequence[str], C: float = 3.0) -> Weights:
    """Multinomial logistic regression over ``CAPABILITIES``; a capability without examples stays at a low prior."""
    model = LogisticRegression(C=C, solver="lbfgs", max_iter=200, tol=1e-3, class_weight="balanced")
    model.fit(counts, np.array(capability))
    coefficients = np.zeros((len(CAPABILITIES), GRAM_BUCKETS))
    intercepts = np.full(len(CAPABILITIES), -8.0)
    rows, found, at = [CAPABILITIES.index(name) for name in model.classes_], model.coef_, model.intercept_
    if len(rows) == 2:  # scikit-learn then has one row: the log odds of the second
        found, at = np.concatenate([-found, found]) / 2, np.concatenate([-at, at]) / 2
    coefficients[rows], intercepts[rows] = found, at
    return coefficients, intercepts


def make_head(capability: Weights, likeness: Weights) -> Head:
    """Round the weights to int8, one scale an output (99.999 % of a row's weights fit, the rest is clipped)."""
    coefficients = np.concatenate([capability[0], likeness[0]])
    scale = np.maximum(np.quantile(np.abs(coefficients), 0.99999, axis=1) / 127, 1e-9)
    weights = np.zeros((GRAM_BUCKETS, 16), np.int8)
    weights[:, :HEAD_OUTPUTS] = np.clip(np.rint(coefficients / scale[:, None]), -127, 127).T
    return Head(weights, scale, np.concatenate([capability[1], likeness[1]]))


def _held_out(source: str, held_out: set[str]) -> bool:
    """Whether a source of the corpora, or the harvest family that sends its prompts, is in test alone."""
    return not held_out.isdisjoint((source, corpora.FAMILY.get(source, source)))


def known_capabilities(corpora_dir: Path | None, held_out: set[str], seed: int) -> tuple[list[bytes], list[str]]:
    """Prompts whose capability is known, of families and sources that are not held out for test."""
    prompts = [(text, name) for text, name, _ in grammar.labelled_prompts(seed, LABELLED, exclude=held_out)]
    if corpora_dir is not None:
        found = corpora.labelled_prompts(corpora_dir, seed=seed)
        kept = [row for row in found if not _held_out(row[3], held_out)]
        prompts += [(text, name) for text, name, _, _ in kept if name is not None]
    return [text.encode("utf-8", "replace") for text, _ in prompts], [name for _, name in prompts]


def _prompt_weights(facts: pd.DataFrame) -> NDArray[np.float64]:
    """An account weighs 1, or its attacker share, times the weight of its label; a group of texts as the root of its
    accounts; the operator's own traffic ``OWN_WEIGHT`` times all other honest text."""
    accounts = facts.groupby("account_id")["label"].transform("size")
    group = facts.groupby("text_group")["account_id"].transform("nunique")
    weight = np.array(facts["share"].fillna(1.0) / accounts / np.sqrt(group) * facts.get("weight", 1.0), np.float64)
    own, honest = (facts["text_group"] == text_group(0, OWN)).to_numpy(), (facts["label"] == 0).to_numpy()
    if own.any():
        weight[own] *= OWN_WEIGHT * weight[honest & ~own].sum() / weight[own].sum()
    return weight


def train_heads(
    prompts: Sequence[bytes],
    facts: pd.DataFrame,
    labelled: tuple[list[bytes], list[str]],
    folds: int,
    progress: Callable[[int, int], None],
) -> Iterator[Head]:
    """One head a fold, trained without the accounts of that fold, then one on all training accounts.

    Folds hold whole families for about a quarter of the families and whole groups for the rest (``split``).
    ``facts``: one row a prompt with account_id, label, share, text_group and fold, of training accounts only.
    """
    capability = fit_capability(gram_counts(labelled[0]), labelled[1])
    counts, weight = gram_counts(prompts), _prompt_weights(facts)
    label, fold = facts["label"].to_numpy(), facts["fold"].to_numpy()
    for k in range(folds + 1):
        progress(k, folds + 1)
        inside = fold != k
        if len(set(label[inside])) < 2:
            raise LabelError(f"fold {k} leaves honest or distilling accounts alone: more families are needed")
        yield make_head(capability, fit_likeness(counts[inside], label[inside], weight[inside]))
