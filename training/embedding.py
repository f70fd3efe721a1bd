"""A hashed embedding of prompts for detectors that need one: TF-IDF of n-grams, projected at random, unit length.

It stands in for the sentence encoders of the papers, which are no dependency of this project: words, pairs and leading
words come from the runtime's own kernel, their inverse document frequency from honest training prompts (Spärck Jones
1972), and a matrix of random signs keeps distances (Achlioptas 2003). It knows spelling, not meaning. Left out: which
prompts are read (window_text) and what is made of the vectors (rivals_text).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.head import gram_counts

__all__ = ["DIMENSIONS", "Embedding", "fit_embedding"]

DIMENSIONS = 256


@dataclass(frozen=True)
class Embedding:
    """`projection`: float32[buckets, DIMENSIONS], a row a hashed n-gram, its inverse document frequency in it."""

    projection: NDArray[np.float32]

    def __call__(self, prompts: Sequence[bytes]) -> NDArray[np.float32]:
        """float32[m, DIMENSIONS] of unit length; the empty prompt has a vector of its own."""
        vectors = np.asarray(gram_counts(prompts) @ self.projection, np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def fit_embedding(prompts: Sequence[bytes], seed: int) -> Embedding:
    """The embedding whose inverse document frequencies are those of `prompts`: ln((1 + m) / (1 + df)) + 1."""
    counts = gram_counts(prompts)
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    weight = np.log((1 + len(prompts)) / (1 + frequency)) + 1
    signs = np.random.default_rng(seed).integers(0, 2, (counts.shape[1], DIMENSIONS), np.int8) * np.float32(2) - 1
    return Embedding(signs * weight.astype(np.float32)[:, None])
