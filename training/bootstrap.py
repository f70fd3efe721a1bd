"""Resampling whole groups: recall at fixed false-positive rates with intervals, sliced every way.

A group is what is operated together: a campaign, or the accounts of an honest organisation. Groups are drawn with
replacement, honest and attacking ones apart (cluster bootstrap, Field & Welsh 2007), as weights of rows: nothing is
copied, so 200 resamples of a hundred thousand rows take seconds. Left out: what the rows are and what is made of
the numbers (evaluate, leaveout, world.audit).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["Bootstrap", "areas", "cut_at", "interval", "resampled"]

Floats = npt.NDArray[np.float64]


def resampled(attack: npt.NDArray[np.bool_], group: npt.ArrayLike, resamples: int, seed: int) -> Floats:
    """How often each of n rows counts, float64[1 + resamples, n]: once, then as often as its group was drawn."""
    rng = np.random.default_rng(seed)
    code, names = pd.factorize(np.asarray(group, object))
    hostile = np.zeros(len(names), dtype=bool)
    hostile[code[attack]] = True
    times = np.ones((1 + resamples, len(names)))
    for side in (np.flatnonzero(hostile), np.flatnonzero(~hostile)):
        for row in times[1:]:
            row[side] = np.bincount(rng.integers(0, len(side), len(side)), minlength=len(side))
    return times[:, code]


def cut_at(score: Floats, weight: Floats, fpr: float) -> tuple[Floats, Floats]:
    """The lowest cut that at most `fpr` of the weight scores above (ties stay below), and the share that does.

    score: float64[n] of honest rows; weight: float64[k, n]; gives float64[k] twice.
    """
    order = np.argsort(-score, kind="stable")
    mass = np.cumsum(weight[:, order], axis=1)
    rank = np.minimum((mass <= fpr * mass[:, -1:] * (1 + 1e-12)).sum(axis=1), len(score) - 1)
    cut = score[order][rank]
    above = np.searchsorted(-score[order], -cut, side="left")
    realised = np.where(above > 0, mass[np.arange(len(mass)), above - 1], 0.0) / mass[:, -1]
    return cut, realised


def areas(score: Floats, attack: npt.NDArray[np.bool_], weight: Floats) -> Floats:
    """ROC AUC under each row of weights, ties counted half (Mann & Whitney 1947): float64[n], bool[n], float64[k, n] to
    float64[k]."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    weight, attack = weight[:, order], attack[order]
    found = np.add.reduceat(weight * attack, starts, axis=1)
    honest = np.add.reduceat(weight * ~attack, starts, axis=1)
    below = np.cumsum(honest, axis=1) - honest / 2
    return np.asarray((found * below).sum(axis=1) / (found.sum(axis=1) * honest.sum(axis=1)), np.float64)


def interval(values: Floats, confidence: float) -> Floats:
    """float64[2, m] percentile interval of float64[1 + resamples, m]; NaN where no resample held the slice."""
    tail = (1 - confidence) / 2
    empty = np.isnan(values[1:]).all(axis=0)
    filled = np.where(empty, 0.0, values)
    return np.where(empty, np.nan, np.nanquantile(filled[1:], [tail, 1 - tail], axis=0))


class Bootstrap:
    """Recall at fixed false-positive rates, and its interval, over resamples of groups.

    `scored`: a row a window with label, group, account_id, account_weight, the column `score`, and `fold` where windows
    were scored by several models: each then has a cut of its own. Cuts are made once a rate.
    """

    def __init__(
        self,
        scored: pd.DataFrame,
        *,
        fprs: Sequence[float],
        resamples: int,
        confidence: float,
        seed: int,
        score: str = "score",
    ) -> None:
        self.fprs, self.confidence = tuple(fprs), confidence
        honest, attack = (np.flatnonzero(scored["label"].to_numpy() == label) for label in (0, 1))
        self.attack = scored.iloc[attack]
        fold = pd.factorize(scored["fold"], sort=True)[0] if "fold" in scored else np.zeros(len(scored), np.int64)
        value, count = scored[score].to_numpy(np.float64), fold.max() + 1
        times = resampled(scored["label"].to_numpy() == 1, scored["group"], resamples, seed)
        weight = times * scored["account_weight"].to_numpy(np.float64)
        self.cuts: dict[float, Floats] = {}  # float64[1 + resamples, folds]
        self.realised: dict[float, float] = {}  # share of the honest weight above the cuts, folds alike
        self._mass = weight[:, attack]
        self._found: dict[float, Floats] = {}  # float64[1 + resamples, attack rows]
        for fpr in self.fprs:
            of_fold = [honest[fold[honest] == k] for k in range(count)]
            found = [cut_at(value[rows], weight[:, rows], fpr) for rows in of_fold]
            self.cuts[fpr] = np.column_stack([cut for cut, _ in found])
            self.realised[fpr] = float(np.mean([share[0] for _, share in found]))
            self._found[fpr] = self._mass * (value[attack] > self.cuts[fpr][:, fold[attack]])

    def table(self, by: Sequence[str]) -> pd.DataFrame:
        """One row a slice of the attack windows: windows, accounts, and recall with its interval at each rate."""
        sliced = self.attack.groupby(list(by), observed=True, dropna=False)
        out: pd.DataFrame = sliced.agg(windows=("label", "size"), accounts=("account_id", "nunique")).reset_index()
        return self._with_recalls(out, np.asarray(sliced.ngroup(), np.int64))

    def marked(self, column: str, marks: Mapping[str, npt.NDArray[np.bool_]]) -> pd.DataFrame:
        """The same for slices that overlap: a mark of the attack rows of each; empty slices are left out."""
        parts = []
        for name, rows in marks.items():
            if rows.any():
                accounts = self.attack.loc[rows, "account_id"].nunique()
                out = pd.DataFrame({column: [name], "windows": [int(rows.sum())], "accounts": [accounts]})
                parts.append(self._with_recalls(out, rows.astype(np.int64) - 1))
        return pd.concat(parts, ignore_index=True)

    def recalls(self, code: npt.NDArray[np.int64], slices: int, fpr: float) -> Floats:
        """float64[1 + resamples, slices]; `code` is the slice of each attack row, -1 for none; NaN where empty."""
        rows = np.flatnonzero(code >= 0)
        rows = rows[np.argsort(code[rows], kind="stable")]
        held, starts = np.unique(code[rows], return_index=True)
        out = np.full((len(self._mass), slices), np.nan)
        if len(rows):
            total = np.add.reduceat(self._mass[:, rows], starts, axis=1)
            found = np.add.reduceat(self._found[fpr][:, rows], starts, axis=1)
            out[:, held] = np.divide(found, total, out=np.full_like(total, np.nan), where=total > 0)
        return out

    def _with_recalls(self, out: pd.DataFrame, code: npt.NDArray[np.int64]) -> pd.DataFrame:
        """`out` with recall and its interval at each rate; `code` is the row of `out` a window belongs to, or -1."""
        for fpr in self.fprs:
            values = self.recalls(code, len(out), fpr)
            low, high = interval(values, self.confidence)
            out[f"recall_at_fpr_{fpr:g}"], out[f"low_{fpr:g}"], out[f"high_{fpr:g}"] = values[0], low, high
        return out
