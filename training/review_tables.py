"""What the review page says in tables: rows of text from a `Review`, the same for HTML and Markdown.

Of each figure the challenger's stands beside the champion's, then the difference. A mark before a difference says
that the challenger's figure lies outside the champion's interval: ▲ on the better side, ▼ on the worse. Left out:
layout (`review_page`) and every computation but a difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from training.drift import LARGE, SMALL
from training.evaluate import LEAST_ACCOUNTS
from training.review import Review

__all__ = [
    "BETTER", "WORSE", "Table", "beside", "calibration", "changed", "checks", "drift", "early", "examples", "found",
    "headline", "honest", "importance", "number", "parity", "percent", "plain", "ranged", "records", "shares",
    "side_of", "slice_name", "speed",
]  # fmt: skip

LONG = 12  # rows, above which a table is folded
REASONS = 3  # told of an account
BETTER, WORSE, NONE, _POINTS = "▲", "▼", "n/a", "pp"
_SHARE = re.compile(r"recall|account|false positive|share")  # measures in words that are shares of something
_SPEED = {
    "score_p50_us": ("score one window, median", "µs"),
    "score_p99_us": ("score one window, 99th percentile", "µs"),
    "booster_predict_p50_us": ("LightGBM's own predict, median", "µs"),
    "onnx_bytes": ("size of the ONNX graph", "KiB"),
}
_PARITY = {
    "rows": "rows compared",
    "edge_rows": "of them on the edges of splits",
    "decision_differences": "different decisions",
    "probability_error": "largest difference of probability",
    "margin_error": "largest difference of margin",
}


@dataclass(frozen=True)
class Table:
    """A caption and rows whose cells are text."""

    caption: str
    rows: pd.DataFrame

    @property
    def folded(self) -> bool:
        """Whether it is too long to be shown at once."""
        return len(self.rows) > LONG


def percent(value: float) -> str:
    """A share as a percentage with one decimal, n/a for NaN."""
    return NONE if np.isnan(value) else f"{value:.1%}"


def number(value: float) -> str:
    """A count or figure to three digits: n/a for NaN, never for infinity."""
    if np.isnan(value):
        return NONE
    if np.isinf(value):
        return "never"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3g}"


def shares(measure: str) -> bool:
    """Whether a measure told in words is a share, shown as a percentage: recall, or accounts or false positives."""
    return bool(_SHARE.search(measure.lower()))


def ranged(value: float, low: float, high: float, show: Callable[[float], str] = percent) -> str:
    """A figure with its interval, without where there is none."""
    ends = f" ({show(low)} to {show(high)})".replace(f" {_POINTS}", "")
    return show(value) + ("" if np.isnan([value, low, high]).any() else ends)


def records(rows: pd.DataFrame, largest: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows as mappings, those with the largest values of these columns first; an empty table may lack columns."""
    if len(rows) and largest:
        rows = rows.sort_values(list(largest), ascending=False, kind="stable")
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def slice_name(kind: str, value: object, seen: bool = True) -> str:
    """A slice as it is shown: attacker shares as percentages, all else as it is; `seen`: whether it was trained on."""
    name = f"{value:.0%}" if kind.endswith("share") and isinstance(value, float) else str(value)
    return name if seen else f"{name}, unseen"


def plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Any table with its cells as text: digests cut, missing cells empty, underscores in its columns as spaces."""
    shown = rows.astype(object).map(_text)
    return shown.rename(columns=lambda name: str(name).replace("_", " "))


def _text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        return "" if np.isnan(float(value)) else number(float(value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    text = "" if value is None or value is pd.NaT else str(value)
    return f"{text[:12]}…" if len(text) == 64 and " " not in text else text  # a sha256


def checks(review: Review) -> Table:
    """Every check of the gate, those that fail first."""
    caption = f"Checks of the gate, {review.positives}"
    if review.decision is None or review.decision.rows.empty:
        return Table(caption, pd.DataFrame())
    rows = []
    for row in review.decision.rows.sort_values("passed", kind="stable").to_dict("records"):
        show, points = _shows(str(row["check"]))
        rows.append({
            "result": "passes" if row["passed"] else "fails", "check": str(row["check"]), "slice": _text(row["slice"]),
            "limit": str(row["limit"]), "challenger": show(row["challenger"]), "champion": show(row["champion"]),
            "difference": ranged(row["difference"], row["low"], row["high"], points),
        })  # fmt: skip
    return Table(caption, pd.DataFrame(rows))


def changed(review: Review) -> Table:
    """Settings, features and data that differ."""
    return Table("What differs from the champion", plain(review.changed))


def headline(review: Review) -> Table:
    """The figures of the whole test split."""
    rows = []
    for row in records(review.headline):
        show, points = _shows(str(row["measure"]))
        shown = {"measure": str(row["measure"]), "challenger": ranged(row["value"], row["low"], row["high"], show)}
        if review.against:
            shown["champion"] = ranged(row["champion"], row["champion_low"], row["champion_high"], show)
            ends = (row["difference"], row["difference_low"], row["difference_high"])
            shown["difference"] = ranged(*ends, points)
        rows.append(shown)
    return Table(f"Figures of the whole test split, {review.positives}", pd.DataFrame(rows))


def _shows(measure: str) -> tuple[Callable[[float], str], Callable[[float], str]]:
    """How a measure is shown, and how a difference of it is."""
    return (percent, _points) if shares(measure) else (number, _signed)


def _points(value: float) -> str:
    return NONE if np.isnan(value) else f"{100 * value:+z.1f} {_POINTS}"


def _signed(value: float) -> str:
    return NONE if np.isnan(value) else f"{value:+.3g}"


def found(review: Review, kind: str) -> Table:
    """Recall of each slice at each rate."""
    rows = []
    for row in records(review.found[kind]):
        shown = {"slice": slice_name(kind, row["slice"])}
        if "seen_family" in row:
            shown["trained on"] = _text(row["seen_family"])
        shown |= {"windows": number(row["windows"]), "accounts": number(row["accounts"])}
        for fpr in review.fprs:
            names = (f"recall_{fpr:g}", f"low_{fpr:g}", f"high_{fpr:g}")
            shown |= beside(row, names, f"at {fpr:.1%}", higher=True)
        rows.append(shown)
    return Table(f"Recall by {kind.replace('_', ' ')}, {review.positives}", pd.DataFrame(rows))


def honest(review: Review, kind: str) -> Table:
    """Share of the honest accounts of each slice that reach a level, those most flagged first."""
    rows = []
    for row in records(review.honest[kind], ["review", "accounts"]):
        shown = {"slice": slice_name(kind, row["slice"]), "trained on": _text(row.get("seen_family", ""))}
        shown["accounts"] = number(row["accounts"])
        for level in ("review", "act"):
            shown |= beside(row, (level, f"{level}_low", f"{level}_high"), level, higher=False)
        rows.append(shown)
    return Table(f"Honest accounts that reach a level, by {kind.replace('_', ' ')}", pd.DataFrame(rows))


def beside(row: Mapping[str, Any], names: tuple[str, str, str], title: str, higher: bool) -> dict[str, str]:
    """Cells of one figure: the challenger's with its interval, the champion's, the difference with its mark."""
    cells = {f"{title}": ranged(*(row[name] for name in names))}
    if f"champion_{names[0]}" in row:
        cells[f"{title}, champion"] = ranged(*(row[f"champion_{name}"] for name in names))
        mark = {1: f"{BETTER} ", -1: f"{WORSE} "}.get(side_of(row, names, higher), "")
        cells[f"{title}, difference"] = mark + _points(row[names[0]] - row[f"champion_{names[0]}"])
    return cells


def side_of(row: Mapping[str, Any], names: tuple[str, str, str], higher: bool) -> int:
    """1 where the challenger lies outside the champion's interval on the better side, -1 on the worse, else 0; 0 too
    for slices of fewer than `LEAST_ACCOUNTS` accounts."""
    value, low, high = row[names[0]], row[f"champion_{names[1]}"], row[f"champion_{names[2]}"]
    if row["accounts"] < LEAST_ACCOUNTS or not (value < low or value > high):
        return 0
    return 1 if (value > high) == higher else -1


def calibration(review: Review) -> Table:
    """Bins of both models."""
    return Table(f"Calibration by bin of the score, {review.positives}", plain(review.calibration))


def early(review: Review) -> Table:
    """Exchanges until an account is first flagged."""
    rows = []
    for row in records(review.early):
        shown = {"level": str(row["level"]), "attacker share": slice_name("attacker_share", row["slice"])}
        shown["accounts"] = number(row["accounts"])
        for name, show in (("found", percent), ("median", number), ("p90", number)):
            shown[name] = show(row[name])
            if f"champion_{name}" in row:
                shown[f"{name}, champion"] = show(row[f"champion_{name}"])
        rows.append(shown)
    return Table(f"Exchanges until the first flag, {review.positives}", pd.DataFrame(rows))


def importance(review: Review) -> Table:
    """Mean size of what each feature adds to the margin, largest first."""
    size = np.abs(review.contributions).mean(axis=0) if len(review.contributions) else np.zeros(len(review.features))
    order = [j for j in np.argsort(-size, kind="stable") if size[j] > 0]
    rows = [(review.features[j], number(size[j]), percent(size[j] / size.sum())) for j in order]
    table = pd.DataFrame(rows, columns=["feature", "mean absolute contribution (log odds)", "share of all"])
    return Table(f"Features by their contribution, over {len(review.sample):,} test windows", table)


def drift(review: Review) -> Table:
    """Features by PSI, largest first, with the usual reading of it."""
    rows = []
    for row in records(review.drift, ["psi"]):
        psi = row["psi"]
        steady = "steady" if psi < SMALL or psi <= row["noise"] else "worth a look" if psi < LARGE else "shifted"
        rows.append({
            "feature": str(row["feature"]), "family": str(row["family"]), "PSI": f"{psi:.3f}",
            "by chance at most": f"{row['noise']:.3f}", "reading": steady, "KS": f"{row['ks']:.3f}",
            "missing": percent(row["missing"]), "missing in training": percent(row["missing_reference"]),
        })  # fmt: skip
    return Table("Drift of features, honest windows after the cut in time beside those trained on", pd.DataFrame(rows))


def speed(review: Review) -> Table:
    """Latency and size, beside LightGBM's own."""
    rows = []
    for name, (what, unit) in _SPEED.items():
        scale = 1024 if unit == "KiB" else 1
        row = {"what": what}
        for side, key in (("challenger", name), ("champion", f"champion_{name}")):
            if key in review.speed:
                row[side] = f"{number(round(review.speed[key] / scale, 1))} {unit}"
        rows += [row] if len(row) > 1 else []
    return Table("Latency of one window on one thread, and size", pd.DataFrame(rows).fillna(""))


def parity(review: Review) -> Table:
    """ONNX against LightGBM."""
    rows = [(what, number(review.parity[name])) for name, what in _PARITY.items() if name in review.parity]
    return Table("The exported graph against LightGBM", pd.DataFrame(rows, columns=["what", "value"]))


def examples(review: Review, side: str) -> Table:
    """Accounts of one side with what speaks against them."""
    rows = []
    for row in records(review.examples):
        if row["side"] != side:
            continue
        shown = {"account": str(row["account_id"]), "of": str(row["slice"]), "exchanges": number(row["n_exchanges"])}
        if side == "attack":
            shown["attacker share"] = percent(row["share"])
        shown |= {"score": f"{row['score']:.3f}", "level": str(row["level"])}
        if "champion_score" in row:
            shown["champion's score"] = f"{row['champion_score']:.3f}"
        shown["reasons"] = " ".join(str(reason) for reason in list(row["reasons"])[:REASONS])
        rows.append(shown)
    which = "Honest accounts of the highest score" if side == "honest" else "Attack accounts of the lowest score"
    return Table(which if side == "honest" else f"{which}, {review.positives}", pd.DataFrame(rows))
