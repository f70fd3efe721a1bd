"""Published detectors that read a window's prompts as vectors: MMD, SEAT and PRADA, each from its paper.

Vectors are of unit length, a window's in order of time; all thresholds and bandwidths come from honest prompts. Left
out: the embedding, which windows are scored, and the choice between settings (bakeoff, bakeoff_tables).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.stats import shapiro

from fingerprint._jit import kernel
from training.window_text import Embed

__all__ = ["FACTORS", "MMD", "RATES", "Encoder", "fit_encoder", "fit_mmd", "perturbed", "prada", "radii", "similar"]

Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]
FACTORS = (0.5, 1.0, 2.0)  # of the median distance between honest prompts: bandwidths
RATES = (1e-4, 1e-3, 1e-2)  # of pairs of prompts of different honest accounts that may count as similar
COPIES, ROUNDS, ENCODED = 4, 3, 128
DROPPED, SWAPPED = 0.15, 0.10  # of the words of a copy
_CHUNK = 512
CLOSE = 1e-5  # of the squared lengths: squared distances below are those of rounding


@dataclass(frozen=True)
class MMD:
    """Maximum mean discrepancy between a window and honest prompts (Gretton et al. 2012; on windows of API traffic,
    with thresholds from honest windows: arXiv 2606.05725). Kernel exp(-d² / 2 h²).

    reference: float32[m, d] honest prompts; bandwidth: float, the median of their distances; own: float64[FACTORS],
    their mean kernel with one another.
    """

    reference: Floats32
    bandwidth: float
    own: Floats64

    def cross(self, vectors: NDArray[np.floating]) -> Floats64:
        """float64[m, FACTORS]: each prompt's mean kernel with the reference."""
        out = np.empty((len(vectors), len(FACTORS)))
        for start in range(0, len(vectors), _CHUNK):
            part = vectors[start : start + _CHUNK].astype(np.float32)
            for k, kernel_values in _kernels(part @ self.reference.T, self.bandwidth):
                out[start : start + _CHUNK, k] = kernel_values.mean(axis=1)
        return out

    def statistic(self, products: Floats32, cross: Floats64) -> Floats64:
        """float64[FACTORS] unbiased estimate of the squared discrepancy of a window.

        products: float32[n, n] inner products of its prompts, overwritten; cross: float64[n, FACTORS].
        """
        return np.asarray(_own(products, self.bandwidth) + self.own - 2 * cross.mean(axis=0))


def fit_mmd(reference: Floats32) -> MMD:
    """The discrepancy from `reference`, float32[m, d], with the median heuristic for the bandwidth."""
    squared = 2 - 2 * (reference @ reference.T)[np.triu_indices(len(reference), 1)]
    bandwidth = float(np.sqrt(max(np.median(squared), 1e-6)))
    return MMD(reference, bandwidth, _own(reference @ reference.T, bandwidth))


def _kernels(values: Floats32, bandwidth: float) -> Iterator[tuple[int, Floats32]]:
    """Number in `FACTORS` and kernel at each bandwidth, widest first: a halved bandwidth is the fourth power.

    values: float32[m, n] cosines, overwritten by each kernel in turn.
    """
    np.minimum(values, 1, out=values)
    values -= 1
    values /= np.float32((FACTORS[-1] * bandwidth) ** 2)
    np.exp(values, out=values)
    yield len(FACTORS) - 1, values
    for k in reversed(range(len(FACTORS) - 1)):
        np.square(values, out=values)
        np.square(values, out=values)
        yield k, values


def _own(products: Floats32, bandwidth: float) -> Floats64:
    """float64[FACTORS] mean kernel of vectors with one another, none with itself; products: float32[n, n]."""
    out, pairs = np.empty(len(FACTORS)), len(products) * (len(products) - 1)
    for k, values in _kernels(products, bandwidth):
        out[k] = (values.sum(dtype=np.float64) - np.trace(values, dtype=np.float64)) / pairs
    return out


@kernel
def _distance(products, i, j):  # type: ignore[no-untyped-def]
    """Euclidean distance from inner products, exactly 0 between vectors that are equal but for rounding."""
    lengths = products[i, i] + products[j, j]
    squared = lengths - 2 * products[i, j]
    return np.sqrt(squared) if squared > CLOSE * lengths else 0.0


@kernel
def _before(products, out):  # type: ignore[no-untyped-def]
    """Distance of each query from the second on to the nearest one before it."""
    for i in range(1, len(products)):
        nearest = np.inf
        for j in range(i):
            nearest = min(nearest, _distance(products, i, j))
        out[i - 1] = nearest


@kernel
def _growing(products, out):  # type: ignore[no-untyped-def]
    """Distance of each query to the growing set before it; the set takes those farther than its threshold."""
    members = np.empty(len(products), np.int64)
    members[0], count, threshold = 0, 1, 0.0
    total, squares = 0.0, 0.0  # of the distances at which members were taken, the first's being 0
    for i in range(1, len(products)):
        nearest = np.inf
        for j in range(count):
            nearest = min(nearest, _distance(products, i, members[j]))
        out[i - 1] = nearest
        if nearest > threshold:
            members[count] = i
            count += 1
            total += nearest
            squares += nearest * nearest
            mean = total / count
            threshold = max(threshold, mean - np.sqrt(max(squares / count - mean * mean, 0.0)))


def prada(products: Floats32) -> float:
    """PRADA (Juuti et al. 2019): Shapiro and Wilk's W of the distances of queries to those before them; low is alarm.

    Distances are to the growing set of the paper, outliers beyond three standard deviations are left out. Text has no
    predicted class, so that there is one set; a window is tested from its tenth prompt (the paper: from 100).
    Distances that are all the same have W = 1, as no departure from any law shows in them.
    products: float32[n, n] inner products of the window's prompts.
    """
    nearest = np.empty(len(products) - 1)
    _growing(products, nearest)
    kept = nearest[np.abs(nearest - nearest.mean()) <= 3 * nearest.std() + 1e-12]
    if np.ptp(kept) < 1e-9 or len(kept) < 3:
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the p-value, which is not used
        return float(shapiro(kept).statistic)


@dataclass(frozen=True)
class Encoder:
    """SEAT's similarity encoder, linear here. `weights`: float32[d, ENCODED]."""

    weights: Floats32

    def __call__(self, vectors: Floats32) -> Floats32:
        """float32[m, d] to float32[m, ENCODED]."""
        return vectors @ self.weights


def fit_encoder(prompts: Sequence[bytes], embed: Embed, rng: np.random.Generator) -> Encoder:
    """An encoder that holds perturbed copies of an honest prompt together, different prompts apart (Zhang et al. 2021).

    The paper trains a network by contrastive loss against copies that gradients push away. Here the encoder is the
    linear map of largest spread over all prompts for a given spread between copies (a generalised eigenproblem), and
    the adversary chooses, of `COPIES` copies with words dropped and swapped, the one farthest under the encoder so far.
    """
    plain = embed(prompts)
    apart = np.stack([embed([perturbed(prompt, rng) for prompt in prompts]) - plain for _ in range(COPIES)])
    total = np.cov(plain.T).astype(np.float64)
    weights = np.eye(plain.shape[1])
    for _ in range(ROUNDS):
        farthest = np.linalg.norm(apart @ weights, axis=2).argmax(axis=0)
        chosen = apart[farthest, np.arange(len(prompts))].astype(np.float64)
        within = chosen.T @ chosen / len(chosen)
        floor = max(1e-2 * np.trace(within), 1e-9) / len(within)
        _, vectors = eigh(total, within + floor * np.eye(len(within)))
        weights = vectors[:, -ENCODED:]
    return Encoder(weights.astype(np.float32))


def perturbed(prompt: bytes, rng: np.random.Generator) -> bytes:
    """The prompt with about `DROPPED` of its words left out and `SWAPPED` of those left changed with the next one."""
    words = prompt.split(b" ")
    kept = [word for word, draw in zip(words, rng.random(len(words)), strict=True) if draw >= DROPPED] or words
    for i in np.flatnonzero(rng.random(len(kept) - 1) < SWAPPED) if len(kept) > 1 else ():
        kept[i], kept[i + 1] = kept[i + 1], kept[i]
    return b" ".join(kept)


def radii(encoded: Floats32, account: NDArray[np.int64]) -> Floats64:
    """float64[RATES]: distances that these shares of the pairs of prompts of different honest accounts do not exceed.

    encoded: float32[m, ENCODED]; account: int64[m].
    """
    pairs = np.triu(account[:, None] != account[None, :])
    squared = (encoded**2).sum(axis=1)[:, None] + (encoded**2).sum(axis=1) - 2 * encoded @ encoded.T
    return np.asarray(np.sqrt(np.maximum(np.quantile(squared[pairs], RATES), 0)))


def similar(window: Floats32, radius: Floats64) -> Floats64:
    """SEAT's count: share of a window's encoded prompts with an earlier one within each radius, float64[radii]."""
    nearest = np.empty(len(window) - 1)
    _before(window @ window.T, nearest)
    return np.asarray((nearest[:, None] <= radius).sum(axis=0) / len(window))
