"""What an evaluation by leaving out found: headline, recall sliced every way, false alarms, evasions, early detection.

`measure(scores)` gives every table by name and the headline. Recall is that of windows of families left out, at cuts
that 1 %, 0.3 % and 0.1 % of the honest windows exceed (each honest account weighing the same); false alarms
are counted by account, at a second cut that the same share of honest accounts exceed with any window. Left out:
scoring (leaveout), pages and plots (leaveout_page).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.bootstrap import Bootstrap, cut_at, interval
from training.early import LEVELS, PREFIXES, first_alarms, survival, told
from training.evaluate import FAIRNESS, LEAST_ACCOUNTS, benign_rates
from training.leaveout import VARIANTS, Scores
from training.split import workload

__all__ = [
    "CONFIDENCE", "FPRS", "LEAST_WINDOWS", "Measured", "cells", "honest_rates", "mean_over_cells",
    "measure",
]  # fmt: skip

FPRS = (0.01, 0.003, 0.001)
LEAST_WINDOWS = 20  # of a cell that enters the headline
CONFIDENCE = 0.95
STRENGTHS = {"weak": (0.0, 0.4), "medium": (0.4, 0.7), "strong": (0.7, 1.01)}
TOP = 6  # features told of each evasion


@dataclass(frozen=True)
class Measured:
    """Tables by name; `headline`: a row a variant and rate with recall, low, high, cells, too_few."""

    headline: pd.DataFrame
    tables: dict[str, pd.DataFrame]


def measure(scores: Scores, *, resamples: int, seed: int) -> Measured:
    """Every table of every variant; intervals rest on `resamples` of whole groups."""
    counts = (scores.windows["label"] == 0) | ~scores.windows["seen_family"]
    tables: dict[str, pd.DataFrame] = {}
    headlines = []
    for variant in VARIANTS:
        rates = Bootstrap(
            scores.windows[counts], fprs=FPRS, resamples=resamples, confidence=CONFIDENCE, seed=seed, score=variant
        )
        found, rows = _recalls(rates), honest_rates(scores.windows, variant)
        found |= {f"honest_by_{by}": table for by, table in rows} | _early(scores.prefixes, variant)
        if variant == "all" and "evasions" in rates.attack:
            found["features"] = _features(rates, scores.contributions, scores.windows[variant])
        tables |= {f"{variant}_{name}": table for name, table in found.items()}
        headlines.append(mean_over_cells(rates).assign(variant=variant))
    return Measured(pd.concat(headlines, ignore_index=True), tables)


def _recalls(rates: Bootstrap) -> dict[str, pd.DataFrame]:
    """Recall with intervals at each rate by share and size, and by whatever else the labels tell."""
    names = {"share": "share", "size": "n_exchanges"} | {n: n for n in ("family", "lang", "goal", "phase")}
    found = {f"by_{name}": rates.table([column]) for name, column in names.items() if column in rates.attack}
    found["by_share_and_size"] = cells(rates)
    if "evasions" in rates.attack:
        found["by_evasion"] = rates.marked("evasion", strengths(rates.attack["evasions"]))
    return found


def cells(rates: Bootstrap) -> pd.DataFrame:
    """Recall by attacker share and window size; `enough` marks the cells that enter the headline."""
    table = rates.table(["share", "n_exchanges"])
    return table.assign(enough=(table["windows"] >= LEAST_WINDOWS) & (table["accounts"] >= LEAST_ACCOUNTS))


def mean_over_cells(rates: Bootstrap) -> pd.DataFrame:
    """Mean recall over the cells of attacker share and window size that have enough windows, at each rate."""
    found = cells(rates)
    code = np.asarray(rates.attack.groupby(["share", "n_exchanges"]).ngroup(), np.int64)
    enough = found["enough"].to_numpy()
    rows = []
    for fpr in rates.fprs:
        held = rates.recalls(code, len(found), fpr)[:, enough]
        count = (~np.isnan(held)).sum(axis=1)
        mean = np.divide(np.nansum(held, axis=1), count, out=np.full(len(held), np.nan), where=count > 0)
        (low,), (high,) = interval(mean[:, None], rates.confidence)
        rows.append((fpr, mean[0], low, high, rates.realised[fpr], int(enough.sum()), int((~enough).sum())))
    return pd.DataFrame(rows, columns=["fpr", "recall", "low", "high", "realised", "cells", "too_few"])


def strengths(evasions: pd.Series[str]) -> dict[str, NDArray[np.bool_]]:
    """Marks of the rows of each evasion and bucket of strength ("low_slow=0.4 identity=0.8"), and of those without."""
    used = [{name: float(v) for name, _, v in (word.partition("=") for word in text.split())} for text in evasions]
    marks = {"none": np.array([not names for names in used], dtype=bool)}
    for name in sorted({name for names in used for name in names}):
        value = np.array([names.get(name, np.nan) for names in used])
        marks |= {f"{name}, {told}": (value >= low) & (value < high) for told, (low, high) in STRENGTHS.items()}
    return marks


def _features(rates: Bootstrap, contributions: pd.DataFrame, margin: pd.Series[float]) -> pd.DataFrame:
    """What carries the windows that are still found under each evasion: mean contribution to their margin, log odds."""
    attack, cut = rates.attack, rates.cuts[FPRS[0]][0]
    found = margin[attack.index].to_numpy() > cut[pd.factorize(attack["fold"], sort=True)[0]]
    rows = []
    for name, mark in strengths(attack["evasions"]).items():
        mean = contributions.loc[attack.index[mark & found]].mean().sort_values(ascending=False).head(TOP)
        rows += [(name, int((mark & found).sum()), feature, value) for feature, value in mean.items() if value > 0]
    return pd.DataFrame(rows, columns=["evasion", "found", "feature", "log_odds"])


def account_cuts(windows: pd.DataFrame, variant: str, fpr: float) -> NDArray[np.float64]:
    """float64[n]: for each row the least margin above the cut that `fpr` of its fold's honest accounts exceed."""
    cuts = {}
    for fold, part in windows[windows["label"] == 0].groupby("fold"):
        highest = part.groupby("account_id")[variant].max().to_numpy(np.float64)
        (cut,), _ = cut_at(highest, np.ones((1, len(highest))), fpr)
        cuts[fold] = np.nextafter(cut, np.inf)
    return windows["fold"].map(cuts).to_numpy(np.float64)


def honest_rates(windows: pd.DataFrame, variant: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Honest accounts with any window above the accounts' cut of each rate, by what they do and for fairness.

    An account counts once as left out (its workload or its source was) and once as known.
    """
    levels = {f"{fpr:g}": account_cuts(windows, variant, fpr) for fpr in FPRS}
    scored = windows.assign(score=windows[variant], **{f"cut_{level}": cut for level, cut in levels.items()})
    honest = scored[scored["label"] == 0]
    first = honest.groupby(["account_id", "seen_family"])["fold"].transform("min")
    honest = honest[honest["fold"] == first]
    honest = honest.assign(
        workload=[workload(0, family) for family in honest["family"]],
        source=honest["family"].str.rpartition(":")[2],
        everything="all",
    )
    for by in ("everything", "workload", "source", "family", *FAIRNESS):
        if by in honest:
            sides = [
                benign_rates(part, {level: part[f"cut_{level}"].to_numpy() for level in levels}, CONFIDENCE, by)
                .assign(known=bool(known))
                for known, part in honest.groupby("seen_family")
            ]  # fmt: skip
            yield by, pd.concat(sides, ignore_index=True)


def _early(prefixes: pd.DataFrame, variant: str) -> dict[str, pd.DataFrame]:
    """Exchanges until the first flag by attacker share, and by campaign kind and share; the share left by look."""
    alarms = first_alarms(prefixes, variant)
    slices = {"share": ["share"], "goal_and_share": ["goal", "share"]}
    tables, curves = {}, []
    for name, by in slices.items():
        if set(by) <= set(alarms):
            rows = [told(alarms, level, PREFIXES, by).assign(level=level) for level in LEVELS]
            tables[f"early_by_{name}"] = pd.concat(rows, ignore_index=True)
    for level in LEVELS:
        for share, part in alarms.groupby("share"):
            left = survival(part, level, PREFIXES)
            row = {"level": level, "share": share, "exchanges": left.index, "left": left.to_numpy()}
            curves.append(pd.DataFrame(row))
    return tables | {"survival": pd.concat(curves, ignore_index=True)}
