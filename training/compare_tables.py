"""Champion and challenger in tables: figures that decide, slices, calibration, exchanges until detection.

Figures of the champion stand in columns after `champion_`. Differences are paired: both models are resampled together,
whole campaigns and organisations at a time. The shapes are those of `review.Review`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.bootstrap import Bootstrap, areas, interval, resampled
from training.compare import CHALLENGER, CHAMPION, Compared
from training.config import RunConfig
from training.early import LEVELS, PREFIXES, first_alarms, survival, told
from training.evaluate import FAIRNESS, benign_rates, calibration_table, clopper_pearson, recall_tables
from training.split import workload

__all__ = ["Rates", "calibration", "early", "flagged", "headline", "honest", "recalls", "resampled_rates"]

Floats = npt.NDArray[np.float64]
Rates = Mapping[str, Bootstrap]
"""By column of the score, as `resampled_rates` makes them: seconds, so that who has them hands them on."""
_LEVELS = ("review", "act")


def headline(found: Compared, config: RunConfig, rates: Rates | None = None) -> pd.DataFrame:
    """The figures that decide, most decisive first: measure, value, low, high, the champion's, the difference."""
    rates, rows = rates or resampled_rates(found, config), []
    for fpr in sorted(config.evaluation.fprs, reverse=True):
        for name, of in (
            ("all families", None),
            ("families never trained on", "unseen"),
            ("mean over families", "macro"),
        ):
            drawn = {side: _drawn(rates[side], fpr, of) for side in found.sides}
            rows.append({"measure": f"recall at {fpr:.1%} false positives, {name}", **_told(drawn, config)})
    wronged = [
        {"measure": f"honest accounts that reach {level}", **_wronged(found, level, config)} for level in _LEVELS
    ]
    rows = [*rows[:2], *wronged, *rows[2:], {"measure": "ROC AUC", **_told(_areas(found, config), config)}]
    return pd.DataFrame(rows).dropna(subset="value")


def resampled_rates(found: Compared, config: RunConfig) -> Rates:
    """By column of the score the recall of resampled groups, the same ones for both models."""
    settings = config.evaluation
    return {
        side: Bootstrap(
            found.windows, fprs=settings.fprs, resamples=settings.bootstrap, confidence=settings.confidence,
            seed=config.seed, score=side,
        )
        for side in found.sides
    }  # fmt: skip


def _drawn(rates: Bootstrap, fpr: float, of: str | None) -> Floats:
    """float64[1 + resamples]: recall over all attack rows, over families never trained on, or meaned over families."""
    if of == "macro":
        code = pd.factorize(rates.attack["family"], sort=True)[0].astype(np.int64)
        values = rates.recalls(code, code.max() + 1, fpr)
        return np.nanmean(values, axis=1) if len(code) else np.array([np.nan])
    rows = ~rates.attack["seen_family"].to_numpy(bool) if of else np.ones(len(rates.attack), bool)
    return rates.recalls(rows.astype(np.int64) - 1, 1, fpr)[:, 0]


def _areas(found: Compared, config: RunConfig) -> dict[str, Floats]:
    """float64[1 + resamples] by model, resampled alike."""
    attack = (found.windows["label"] == 1).to_numpy()
    times = resampled(attack, found.windows["group"], config.evaluation.bootstrap, config.seed)
    weight = times * found.windows["account_weight"].to_numpy(np.float64)
    return {side: areas(found.windows[side].to_numpy(np.float64), attack, weight) for side in found.sides}


def _told(drawn: Mapping[str, Floats], config: RunConfig) -> dict[str, float]:
    """Value and interval of each side, and of the difference where both were resampled alike."""
    told: dict[str, float] = {}
    series = {"value": drawn[CHALLENGER]}
    if CHAMPION in drawn:
        series |= {"champion": drawn[CHAMPION], "difference": drawn[CHALLENGER] - drawn[CHAMPION]}
    for name, values in series.items():
        low, high = np.nan, np.nan
        if len(values) > 1:
            (low,), (high,) = interval(values[:, None], config.evaluation.confidence)
        prefix = "" if name == "value" else f"{name}_"
        told |= {name: float(values[0]), f"{prefix}low": float(low), f"{prefix}high": float(high)}
    return told


def _wronged(found: Compared, level: str, config: RunConfig) -> dict[str, float]:
    """Share of honest accounts of which any window reaches a level at each model's own threshold (exact intervals); the
    difference is resampled by group."""
    flags = flagged(found, level)
    told: dict[str, float] = {}
    for side, name in ((CHALLENGER, "value"), (CHAMPION, "champion")):
        if side in flags:
            low, high = clopper_pearson(int(flags[side].sum()), len(flags), config.evaluation.confidence)
            prefix = "" if name == "value" else "champion_"
            told |= {name: float(flags[side].mean()), f"{prefix}low": float(low), f"{prefix}high": float(high)}
    if CHAMPION in flags:
        gain = flags[CHALLENGER].to_numpy(float) - flags[CHAMPION].to_numpy(float)
        times = resampled(np.zeros(len(flags), bool), flags["group"], config.evaluation.bootstrap, config.seed)
        drawn = (times @ gain) / times.sum(axis=1)
        (low,), (high,) = interval(drawn[:, None], config.evaluation.confidence)
        told |= {"difference": float(drawn[0]), "difference_low": float(low), "difference_high": float(high)}
    return told


def flagged(found: Compared, level: str) -> pd.DataFrame:
    """A row an honest account: group, what it is sliced by, and whether any window reaches `level` by each model."""
    rows = found.windows[found.windows["label"] == 0]
    rows = rows.assign(**{side: rows[side] >= found.thresholds[side][level] for side in found.sides})
    facts = [name for name in ("group", "family", *FAIRNESS) if name in rows]
    out = rows.groupby("account_id").agg(dict.fromkeys(facts, "first") | dict.fromkeys(found.sides, "any"))
    out["workload"] = [workload(0, family) for family in out["family"]]
    return out


def recalls(found: Compared, config: RunConfig, rates: Rates | None = None) -> dict[str, pd.DataFrame]:
    """By kind of slice what is found of attack; see `review.Review.found`."""
    tables = {side: recall_tables(drawn) for side, drawn in (rates or resampled_rates(found, config)).items()}
    out = {}
    for kind, table in tables[CHALLENGER].items():
        figures = [name for name in map(str, table) if name.startswith(("recall_", "low_", "high_"))]
        name = "attacker_share" if kind == "share" else kind
        names = [column for column in table if column not in (*figures, "seen_family", "windows", "accounts")]
        made = table[[c for c in ("seen_family",) if c in table]].assign(slice=_slice(table[names]))
        made[["windows", "accounts"]] = table[["windows", "accounts"]]
        for side in found.sides:
            prefix = "" if side == CHALLENGER else "champion_"
            for figure in figures:
                made[prefix + figure.replace("_at_fpr_", "_")] = tables[side][kind][figure]
        out[name] = made
    return out


def _slice(names: pd.DataFrame) -> list[str]:
    """What a slice is called: shares in per cent, two names joined."""
    told = [
        [_share(value) if column == "attacker_share" else str(value) for value in names[column]] for column in names
    ]
    return [" at ".join(parts) for parts in zip(*told, strict=True)]


def honest(found: Compared, config: RunConfig) -> dict[str, pd.DataFrame]:
    """By kind of slice the honest accounts that reach a level; see `review.Review.honest`."""
    windows = found.windows.assign(
        workload=[workload(*row) for row in zip(found.windows["label"], found.windows["family"], strict=True)]
    )
    out = {}
    for by in [name for name in ("workload", "family", *FAIRNESS) if name in windows]:
        parts = []
        for side in found.sides:
            rows = windows.assign(score=windows[side])
            rates = benign_rates(rows, found.thresholds[side], config.evaluation.confidence, by).set_index(by)
            prefix = "" if side == CHALLENGER else "champion_"
            kept = {f"{level}_{end}": f"{prefix}{level}{'' if end == 'fpr' else '_' + end}"
                    for level in _LEVELS for end in ("fpr", "low", "high")}  # fmt: skip
            parts.append(rates[list(kept)].rename(columns=kept))
        counts = rates[["accounts"]]
        seen = windows[windows["label"] == 0].groupby(by)["seen_family"].max().rename("seen_family")
        table = pd.concat([counts, seen, *parts], axis=1, join="inner").rename_axis("slice").reset_index()
        out[by] = table.sort_values(["review", "accounts"], ascending=False, ignore_index=True)
    return out


def calibration(found: Compared) -> pd.DataFrame:
    """model, predicted, observed, weight: a row a bin of score."""
    sides = {"challenger": CHALLENGER, "champion": CHAMPION}
    parts = [
        calibration_table(found.windows.assign(score=found.windows[side])).assign(model=name)
        for name, side in sides.items()
        if side in found.sides
    ]
    return pd.concat(parts, ignore_index=True)[["model", "predicted", "observed", "weight"]]


def early(found: Compared) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Exchanges until the first flag, and the share left after each look, by attacker share (see `training.early`)."""
    tables, curves = [], []
    for side in found.sides:
        prefix = "" if side == CHALLENGER else "champion_"
        alarms = first_alarms(found.looks, side).sort_values("attacker_share", kind="stable")
        named = [_share(share) for share in alarms["attacker_share"]]
        alarms["slice"] = pd.Categorical(named, list(dict.fromkeys(named)), ordered=True)
        for level in LEVELS:
            rows = told(alarms, level, PREFIXES, ["slice"]).astype({"slice": str})
            rows = rows.assign(found=1 - rows["never"], level=level).fillna({"median": np.inf, "p90": np.inf})
            figures = {name: prefix + name for name in ("found", "median", "p90")}
            tables.append(rows[["level", "slice", "accounts", *figures]].rename(columns=figures))
            for name, part in alarms.groupby("slice", observed=True):
                left = survival(part, level, PREFIXES)
                curve = {"exchanges": left.index, f"{prefix}left": left.to_numpy()}
                curves.append(pd.DataFrame({"level": level, "slice": str(name), **curve}))
    return _merged(tables, ["level", "slice", "accounts"]), _merged(curves, ["level", "slice", "exchanges"])


def _share(share: float) -> str:
    return f"{share:.0%}" if share == share else "share unknown"


def _merged(parts: Sequence[pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    """Rows of one key side by side, in the order they first came."""
    return pd.concat(parts).groupby(keys, sort=False).first().reset_index()
