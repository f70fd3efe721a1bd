"""The detectors of the bake-off: what each is, where it is from, what it reads, and how it is made here.

Implementations are in rivals_text, rivals_features and window_text. Left out: running and judging them (bakeoff).
"""

from __future__ import annotations

from dataclasses import dataclass

from training.leaveout import VARIANTS
from training.window_text import BYTES, PROMPTS

__all__ = ["DETECTORS", "RIVALS", "Detector"]


@dataclass(frozen=True)
class Detector:
    """`tails`: which scores may be the suspicious ones, where the source or folklore does not settle it."""

    title: str
    source: str
    reads: str
    made: str
    tails: tuple[str, ...] = ("high",)


_EITHER = ("high", "low", "both")
RIVALS = {
    "mmd": Detector(
        "MMD to honest prompts", "arXiv 2606.05725; Gretton et al. 2012", "prompts",
        "unbiased estimate of the squared maximum mean discrepancy between the window's prompts and 2,000 honest "
        "training prompts, Gaussian kernel; bandwidths of half, once and twice the median distance are tried",
    ),
    "seat": Detector(
        "SEAT", "Zhang et al. 2021", "prompts",
        "share of prompts that have an earlier similar one; the encoder is linear, trained on perturbed copies of "
        "honest prompts of which the worst is taken, where the paper trains a network against gradients; the distance "
        "that counts as similar is one that 0.01 %, 0.1 % or 1 % of pairs of prompts of different honest calibration "
        "accounts keep", _EITHER,
    ),
    "prada": Detector(
        "PRADA", "Juuti et al. 2019", "prompts",
        "Shapiro and Wilk's W of the distances to the growing set of earlier prompts (one set: text has no predicted "
        "class; from the tenth prompt on, where the paper waits for 100); the paper's alarm is a low W", _EITHER,
    ),
    "compression": Detector(
        "compression ratio", "folklore; zlib", "prompts",
        f"bytes after zlib over bytes before, the window's first {PROMPTS} prompts together, {BYTES:,} bytes of each",
        _EITHER,
    ),
    "forest": Detector(
        "isolation forest", "Liu et al. 2008", "window features",
        "100 trees of 256 honest training windows, on content features or on all",
    ),
    "one_class": Detector(
        "one-class SVM", "Schölkopf et al. 2001", "window features",
        "Gaussian kernel as wide as the median distance, on content features or on all; of nu = 0.01, 0.05 and 0.2 the "
        "one whose share of honest calibration windows outside comes nearest to it",
    ),
    "mahalanobis": Detector(
        "Mahalanobis distance", "Mahalanobis 1936; Ledoit & Wolf 2004", "window features",
        "from the mean of honest training windows, shrunk covariance, on content features or on all",
    ),
    "volume": Detector(
        "volume rule", "folklore", "times, tokens",
        "exchanges an hour, or output tokens an hour, in the window",
    ),
    "low_cv": Detector(
        "regularity rule", "folklore", "times",
        "coefficient of variation of the pauses, or spread of the logarithms of the gaps", _EITHER,
    ),
}  # fmt: skip
_OURS = {"content": "prompts, by window", "all": "everything, by window"}
DETECTORS = {
    variant: Detector(
        f"fingerprint, {'content only' if variant == 'content' else 'all features'}", "this project", _OURS[variant],
        "trained on honest accounts and on campaigns of other families",
    )
    for variant in VARIANTS
} | RIVALS  # fmt: skip
