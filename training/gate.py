"""The gate: whether a challenger may replace the champion. Silent regression is the failure to prevent.

A pure function of what `compare` found: no model, no traffic, no MLflow. Refused is a candidate that

- was compared on too few accounts, or with a difference between ONNX and LightGBM, or is too slow or too large;
- finds less than the champion: the interval of the paired difference lies below zero, or recall falls by `fall`;
- finds less in a slice of attack, or flags more in a slice of honest accounts, than chance would make it;
- flags so many honest accounts of one workload, language, plan or tenure that their interval lies above `slice_fpr`.

Slices share `confidence` (Bonferroni), so that many of them do not refuse by chance. Recall of a slice is
compared by its difference and the spread of that over resampled groups; honest accounts by the exact test on those that
one model flags and the other does not (McNemar 1947).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm

from training.compare import CHALLENGER, CHAMPION, Compared
from training.compare_tables import Rates, flagged, headline, resampled_rates
from training.config import Gate, RunConfig
from training.evaluate import FAIRNESS, clopper_pearson, recall_marks
from training.review import Decision

__all__ = ["decide"]

_SLICES = ("family", "evasion", "attacker_share", "window_size", "goal", "lang")
_COLUMNS = ["check", "slice", "champion", "challenger", "difference", "low", "high", "limit", "passed"]


def decide(
    found: Compared,
    speed: Mapping[str, float],
    parity: Mapping[str, float],
    config: RunConfig,
    rates: Rates | None = None,
) -> Decision:
    """All checks of `config.gate`, and what follows.

    `found` may be of the challenger alone: then only its own limits count. `speed` has score_p50_us and onnx_bytes,
    `parity` has decision_differences.
    """
    rates = rates or resampled_rates(found, config)
    rows = [*_enough(found, config.gate), *_export(speed, parity, config.gate), *_overall(found, config, rates)]
    rows += [*_slices_of_attack(found, config, rates), *_slices_of_honest(found, config.gate)]
    table = pd.DataFrame(rows, columns=_COLUMNS)
    failed = table[~table["passed"].astype(bool)]
    return Decision(failed.empty, _reason(table, failed, CHAMPION in found.sides), table)


def _reason(table: pd.DataFrame, failed: pd.DataFrame, champion: bool) -> str:
    """One sentence a reviewer can repeat."""
    if failed.empty:
        what = "no worse than the champion beyond noise" if champion else "there is no champion; its own limits hold"
        return f"{what}: {len(table)} checks"
    rows = failed[["check", "slice", "limit"]].astype(str).itertuples(index=False)
    told = [f"{check} ({name}): {limit}" if name else f"{check}: {limit}" for check, name, limit in rows]
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return f"{len(told)} of {len(table)} checks failed: {'; '.join(told[:3])}{more}"


def _row(check: str, limit: str, passed: bool, **figures: Any) -> dict[str, Any]:
    return {"check": check, "slice": "", "limit": limit, "passed": bool(passed), **figures}


def _enough(found: Compared, gate: Gate) -> Iterator[dict[str, Any]]:
    accounts = found.windows.groupby("label")["account_id"].nunique()
    for name, label, least in (("honest", 0, gate.honest), ("attack", 1, gate.attack)):
        count = int(accounts.get(label, 0))
        yield _row(f"{name} accounts compared", f"at least {least}, got {count}", count >= least, challenger=count)


def _export(speed: Mapping[str, float], parity: Mapping[str, float], gate: Gate) -> Iterator[dict[str, Any]]:
    different, took, size = parity["decision_differences"], speed["score_p50_us"], speed["onnx_bytes"]
    yield _row(
        "decisions of ONNX unlike LightGBM's", f"none, got {different:.0f}", different == 0, challenger=different
    )
    limit = f"at most {gate.score_us:g}, got {took:.1f}"
    yield _row("microseconds to score a window", limit, took <= gate.score_us, challenger=took)
    limit = f"at most {gate.onnx_bytes:,}, got {size:,.0f}"
    yield _row("bytes of ONNX", limit, size <= gate.onnx_bytes, challenger=size)


def _overall(found: Compared, config: RunConfig, rates: Rates) -> Iterator[dict[str, Any]]:
    """The headline: recall and AUC may not fall, shares of honest accounts may not rise."""
    settings, best = config.gate, max(config.evaluation.fprs)
    for row in headline(found, config, rates).to_dict("records"):
        measure, figures = str(row["measure"]), {"challenger": row["value"]}
        if CHAMPION in found.sides:
            figures |= {"champion": row["champion"], "difference": row["difference"]}
            figures |= {"low": row["difference_low"], "high": row["difference_high"]}
            yield _row(measure, *_no_worse(measure, row, settings), **figures)
        elif measure == f"recall at {best:.1%} false positives, all families":
            limit = f"more than chance finds, {best:.1%}: at least {row['low']:.1%}"
            yield _row(measure, limit, row["low"] > best, **figures)


def _no_worse(measure: str, row: Mapping[Any, float], gate: Gate) -> tuple[str, bool]:
    """The limit in words, and whether it is kept."""
    if measure.startswith("honest"):
        worse = row["difference_low"] > 0
        return f"no rise beyond noise: {row['difference']:+.2%} of accounts", not worse
    sure = row["difference_high"] < 0
    much = measure.endswith(("all families", "AUC")) and row["difference"] < -gate.fall
    limit = f"no fall of more than {gate.fall:g}" if much and not sure else "no fall beyond noise"
    return f"{limit}: {row['difference']:+.3f}", not (sure or much)


def _slices_of_attack(found: Compared, config: RunConfig, rates: Rates) -> Iterator[dict[str, Any]]:
    """Recall at the higher rate, of every slice with enough accounts."""
    if CHAMPION not in found.sides:
        return
    fpr = max(config.evaluation.fprs)
    attack = rates[CHALLENGER].attack
    enough = {
        f"{kind} {name}": rows
        for kind in _SLICES
        for name, rows in recall_marks(attack, kind).items()
        if attack.loc[rows, "account_id"].nunique() >= config.gate.slice_accounts
    }
    errors = norm.ppf(1 - (1 - config.gate.confidence) / max(len(enough), 1))  # standard errors that chance makes
    for name, rows in enough.items():
        mine, theirs = (rates[s].recalls(rows.astype(np.int64) - 1, 1, fpr)[:, 0] for s in (CHALLENGER, CHAMPION))
        gain = mine - theirs
        spread = float(np.nanstd(gain[1:], ddof=1)) * errors
        figures = {"champion": theirs[0], "challenger": mine[0], "difference": gain[0]}
        figures |= {"low": gain[0] - spread, "high": gain[0] + spread, "slice": name}
        limit = f"no fall beyond noise: {gain[0]:+.3f}"
        yield _row(f"recall at {fpr:.1%}", limit, not gain[0] + spread < 0, **figures)


def _slices_of_honest(found: Compared, gate: Gate) -> Iterator[dict[str, Any]]:
    """Honest accounts that reach `review`, of every workload, language, plan and tenure with enough accounts."""
    flags = flagged(found, "review")
    enough = {
        f"{kind} {name}": part
        for kind in ("workload", *FAIRNESS)
        if kind in flags
        for name, part in flags.groupby(kind)
        if len(part) >= gate.slice_accounts
    }
    alpha = (1 - gate.confidence) / max(len(enough), 1)
    for name, part in enough.items():
        mine = part[CHALLENGER].to_numpy(bool)
        low, _ = clopper_pearson(int(mine.sum()), len(mine), 1 - 2 * alpha)
        named = {"slice": name, "challenger": float(mine.mean())}
        limit = f"at most {gate.slice_fpr:.1%} of honest accounts, got {mine.mean():.1%}"
        yield _row("honest accounts at review", limit, float(low) <= gate.slice_fpr, **named)
        if CHAMPION in found.sides:
            yield _against(part[CHAMPION].to_numpy(bool), mine, alpha, named)


def _against(theirs: Any, mine: Any, alpha: float, named: Mapping[str, Any]) -> dict[str, Any]:
    """The exact test of accounts that one model flags and the other does not."""
    more, fewer = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    chance = binomtest(more, more + fewer, alternative="greater").pvalue if more + fewer else 1.0
    rate = float(theirs.mean())
    figures = {**named, "champion": rate, "difference": float(mine.mean()) - rate}
    limit = f"no rise beyond noise: {more} newly flagged, {fewer} no longer"
    return _row("honest accounts newly at review", limit, chance >= alpha, **figures)
