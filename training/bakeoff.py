"""A bake-off: published detectors and simple rules on the windows that judge the product, fold by fold.

    python -m training bakeoff --traffic world/traffic --labels world/labels.csv --groups world/groups.csv --out PAGE

Folds, windows and weights are those of `leaveout`. The product learns from honest accounts and campaigns of the fold's
training split, the rivals from its honest accounts alone, and both are judged by one code (bakeoff_tables). As
one threshold serves windows of every size, each rival's score is also given as its distance from what honest
calibration windows of the size have. Left out: the rivals themselves (rivals), the judging, the page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from training.config import RunConfig
from training.dataset import Progress, Sample, WindowTable, all_windows, features_of, sample_prompts
from training.embedding import Embedding, fit_embedding
from training.leaveout import SIZES, VARIANTS, fold_plans, judged, variant_model
from training.pooled import pooled
from training.reading import exchanges
from training.rivals_features import MODELS, RULES, outlying, rule
from training.rivals_text import FACTORS, MMD, RATES, Encoder, fit_encoder, fit_mmd, prada, radii, similar
from training.split import read_labels
from training.window_text import WindowText, read_window_text

__all__ = ["BY_SIZE", "Bout", "Clock", "bake_off", "by_size"]

Floats64 = NDArray[np.float64]
Scores = dict[str, Floats64]
REFERENCE = 2_000  # honest prompts that text detectors learn from, and as many of calibration that they are set by
LEAST = 20  # honest calibration windows of a size that its scale rests on
BY_SIZE = ", by size"


@dataclass(frozen=True)
class Bout:
    """`windows`: what `leaveout.judged` gives, without families that were trained on, and a column a score: the
    product's `VARIANTS`, and "rival: setting" with and without `BY_SIZE`. `seconds`: of fitting and scoring, by
    detector; "embedding" is what those that read prompts share. `pooled`: MMD judged its paper's way (see `pooled`)."""

    windows: pd.DataFrame
    pooled: pd.DataFrame
    seconds: dict[str, float]


class Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add what the block takes."""
        began = perf_counter()
        yield
        self.seconds[name] += perf_counter() - began


class _Fold(NamedTuple):
    """Windows of a fold: features, `rows` that are judged, honest ones to learn from and to be set by, row numbers of
    the exchanges of each, and the id hashes of the exchanges."""

    table: WindowTable
    rows: NDArray[np.intp]
    train: NDArray[np.intp]
    calib: NDArray[np.intp]
    windows: list[NDArray[np.int64]]
    identity: NDArray[np.uint64]

    @property
    def scored(self) -> NDArray[np.intp]:
        """Calibration windows, then those that are judged."""
        return np.concatenate([self.calib, self.rows])


def bake_off(
    traffic: Sequence[Path],
    labels: Path,
    config: RunConfig,
    *,
    groups: Path | None = None,
    corpora: Path | None = None,
    folds: int = 4,
    progress: Progress = lambda stage, done, total: None,
) -> Bout:
    """Every detector's scores of what each fold judges. Raises FingerprintError for inputs that cannot be used."""
    known, clock, parts, draws = read_labels(labels, groups), Clock(), [], []
    sample = sample_prompts(traffic, progress)
    for number, (settings, accounts) in enumerate(fold_plans(known, sample, config, folds)):
        _, ordered, names = exchanges(sample, accounts, traffic, corpora, settings, progress)
        cuts = (settings.windows.sizes, settings.windows.per_account, settings.seed)
        meta, windows = all_windows(ordered, names, accounts, *cuts)
        table = WindowTable(features_of(ordered, windows, progress), meta)
        frame, fold = _drawn(table, windows, ordered.identity, number)
        progress("fit", number, 0)
        for variant in VARIANTS:
            with clock(variant):
                frame[variant] = variant_model(variant, table, settings).margin(table.X[fold.rows])
        progress("rivals", number, 0)
        scores = _by_features(fold, settings.seed, clock)
        text, read_by = _by_text(fold, sample, accounts, traffic, settings.seed + number, clock, progress)
        parts.append(pd.concat([frame, _columns(scores | read_by, fold)], axis=1))
        with threadpool_limits(1):
            draws.append(_pooled(text, frame, len(fold.calib), settings.seed + number))
    return Bout(pd.concat(parts, ignore_index=True), pd.concat(draws, ignore_index=True), dict(clock.seconds))


def _drawn(
    table: WindowTable, windows: list[NDArray[np.int64]], identity: NDArray[np.uint64], number: int
) -> tuple[pd.DataFrame, _Fold]:
    """The judged windows of families left out and of honest accounts, and what is needed to score them."""
    rows, frame = judged(table.meta, number)
    counts = ((frame["label"] == 0) | ~frame["seen_family"]).to_numpy()
    meta = table.meta
    honest = (meta["label"] == 0) & (meta["scope"] == "slice") & meta["n_exchanges"].isin(SIZES)
    train, calib = (np.flatnonzero(honest & (meta["split"] == split)) for split in ("train", "calib"))
    return frame[counts].reset_index(drop=True), _Fold(table, rows[counts], train, calib, windows, identity)


def _by_features(fold: _Fold, seed: int, clock: Clock) -> Scores:
    """Scores of `fold.scored` by detectors of features."""
    X, found = fold.table.X, Scores()
    for name, fit in MODELS.items():
        with clock(name):
            scores = outlying(fit, X[fold.train], X[fold.calib], X[fold.scored], seed)
        found |= {f"{name}: {setting}": score for setting, score in scores.items()}
    for name in RULES:
        with clock(name):
            found |= {f"{name}: {setting}": score for setting, score in rule(name, X[fold.scored]).items()}
    return found


def _by_text(
    fold: _Fold,
    sample: Sample,
    accounts: pd.DataFrame,
    traffic: Sequence[Path],
    seed: int,
    clock: Clock,
    progress: Progress,
) -> tuple[WindowText, Scores]:
    """What was read of the windows `fold.scored`, and their scores by detectors of prompts."""
    rng = np.random.default_rng(seed)
    prompts, _ = _honest_prompts(sample, accounts, "train")
    some = [prompts[i] for i in rng.permutation(len(prompts))[:REFERENCE]]
    with clock("embedding"):
        embed = fit_embedding(prompts, seed)
        windows = [fold.windows[row] for row in fold.scored]
        text = read_window_text(traffic, fold.identity, windows, embed, progress)
    with clock("mmd"):
        mmd = fit_mmd(embed(some))
    with clock("seat"):
        encoder = fit_encoder(some, embed, rng)
        radius = _radius(sample, accounts, embed, encoder, rng)
    progress("judge", 0, len(windows))
    with threadpool_limits(1):  # products of a hundred prompts: threads would wait for one another
        found = _of_windows(text, mmd, encoder, radius, clock, progress)
    return text, found | {"compression: zlib": text.ratio}


def _of_windows(
    text: WindowText, mmd: MMD, encoder: Encoder, radius: Floats64, clock: Clock, progress: Progress
) -> Scores:
    """Scores of each window of `text` by MMD, SEAT and PRADA."""
    count = len(text.members)
    discrepancy, share, normal = np.empty((count, len(FACTORS))), np.empty((count, len(RATES))), np.empty(count)
    with clock("mmd"):
        cross = mmd.cross(text.vectors)
    for i, members in enumerate(text.members):
        vectors = text.of(i)
        with clock("seat"):
            share[i] = similar(encoder(vectors), radius)
        with clock("embedding"):
            products = vectors @ vectors.T
        with clock("prada"):
            normal[i] = prada(products)
        with clock("mmd"):
            discrepancy[i] = mmd.statistic(products, cross[members])
        progress("judge", i + 1, count)
    found = {f"mmd: bandwidth x{factor:g}": discrepancy[:, k] for k, factor in enumerate(FACTORS)}
    found |= {f"seat: {rate:.2%} of pairs": share[:, k] for k, rate in enumerate(RATES)}
    return found | {"prada: W": normal}


def _pooled(text: WindowText, frame: pd.DataFrame, first: int, seed: int) -> pd.DataFrame:
    """MMD on draws from the prompts of the judged windows, which are those of `text` from `first` on: of honest ones,
    and of each family's accounts that do nothing else."""
    honest, attack = (frame["label"] == 0).to_numpy(), ((frame["label"] == 1) & (frame["share"] == 1)).to_numpy()
    family = frame["family"].to_numpy()

    def prompts(rows: NDArray[np.bool_]) -> NDArray[np.float16]:
        members = [text.members[first + row] for row in np.flatnonzero(rows)]
        return text.vectors[np.unique(np.concatenate(members))]

    of_family = {str(name): prompts(attack & (family == name)) for name in np.unique(family[attack])}
    return pooled(prompts(honest), of_family, np.random.default_rng(seed))


def _radius(
    sample: Sample, accounts: pd.DataFrame, embed: Embedding, encoder: Encoder, rng: np.random.Generator
) -> Floats64:
    """SEAT's distances, from prompts of honest calibration accounts."""
    prompts, owner = _honest_prompts(sample, accounts, "calib")
    some = rng.permutation(len(prompts))[:REFERENCE]
    return radii(encoder(embed([prompts[i] for i in some])), owner[some])


def _honest_prompts(sample: Sample, accounts: pd.DataFrame, split: str) -> tuple[list[bytes], NDArray[np.int64]]:
    """The sampled prompts of the honest accounts of a split from before the cut, and the number of their account."""
    names = set(accounts.loc[(accounts["split"] == split) & (accounts["label"] == 0), "account_id"])
    wanted = np.array([name in names for name in sample.accounts.items])
    early = sample.before(accounts.attrs["cut_us"])
    rows = early[wanted[sample.account[early]]]
    return [sample.prompt[i] for i in rows], sample.account[rows].astype(np.int64)


def _columns(scores: Scores, fold: _Fold) -> pd.DataFrame:
    """The judged windows' scores as they are and by size; what cannot be scored counts as typical of its size."""
    size, first = fold.table.meta["n_exchanges"].to_numpy()[fold.scored], len(fold.calib)
    columns = Scores()
    for name, score in scores.items():
        scaled, plain = by_size(score, size, first)
        columns |= {name: plain[first:], name + BY_SIZE: scaled[first:]}
    return pd.DataFrame(columns)


def by_size(score: Floats64, size: NDArray[np.integer], calib: int) -> tuple[Floats64, Floats64]:
    """How far scores lie from the median of the first `calib` ones of their size, in spans of its middle four fifths;
    and the scores themselves, the median in place of NaN.

    A size with fewer than `LEAST` of those is set by all sizes. score, size: [k]; gives float64[k] twice.
    """
    scaled, plain, known = np.zeros(len(score)), score.copy(), np.isfinite(score[:calib])
    for n in np.unique(size):
        own = known & (size[:calib] == n)
        honest = score[:calib][own if own.sum() >= LEAST else known]
        if len(honest):
            low, middle, high = np.quantile(honest, [0.1, 0.5, 0.9])
            span = high - low if high > low else max(float(honest.std()), 1e-9)
            at = size == n
            plain[at] = np.where(np.isfinite(score[at]), score[at], middle)
            scaled[at] = (plain[at] - middle) / span
    return scaled, plain
