"""The model card: what the model was trained on, what it was measured at, and what it must not be used for.

Markdown that reads alone, beside the bundle and in MLflow. The same inputs give the same text: it holds no time
and no path, so that the bundle id depends on content alone. Left out: plots (`plots`) and any new computation.

Sections follow Mitchell et al. 2019, Model Cards for Model Reporting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

import fingerprint
from fingerprint.calibrate import LEAST, upper_bound
from fingerprint.features import FEATURE_SET
from training.config import SIMULATED, RunConfig
from training.evaluate import Evaluation, splits
from training.export import ParityReport
from training.fit import Levels, Model

USE = """Scores one window of an account's exchanges with a model API: the probability that it is part of a distillation
campaign. It is meant to put accounts before an analyst, and never to close an account by itself. It reads no country,
language, name or network identity, and keeps no prompt text."""

REFIT = """The model in this bundle was trained once more with the same parameters on all accounts, families and times,
calibration accounts apart. The figures below are those of its forerunner, trained without the test split, at that one's
own thresholds, which are not those of this bundle: no figure was measured on what a model was trained on."""

RETRAIN = "python -m training run --traffic TRAFFIC --labels LABELS --bundle DIR"

ON_SIMULATED = f"""- **Every detection figure is measured on {SIMULATED}**: real or generated harvesting
  prompts paired with automation clocks. No public log of a real campaign exists. Expect other numbers on real
  campaigns.
"""
ON_UNLABELLED = """- Accounts without a label count as honest in calibration and test, and an attacker among them as a
  false alarm: rates of false positives are bounds from above, recall at a rate is a bound from below and of labelled
  attackers alone, and thresholds are stricter than they need be.
"""
LIMITS = """- False-positive rates hold for workloads like those in the table. A legitimate workload that is not in it
  may be flagged more often; measure on your own traffic, and set your own thresholds, before acting on scores.
- Scores are calibrated for the share of attack in the training data, not for yours.
- Windows of few exchanges, and campaigns diluted among honest traffic, are found less often: see the tables.
- Training starts at windows of {least} exchanges; shorter ones get a score all the same, which nothing here measures.
- Choices of method (how the head is cross-fitted, which sources are never held out) were made with the test split of
  seed {developed} in sight. The split follows from names and the seed alone; this run's seed is {seed}."""

SLICED = {
    "by_family": "family",
    "by_window_size": "window size",
    "by_share": "attacker's share",
    "by_lang": "language",
    "by_evasion": "evasion",
}


def card(
    *,
    config: RunConfig,
    model: Model,
    meta: pd.DataFrame,
    evaluation: Evaluation,
    parity: ParityReport,
    training_data: Sequence[Mapping[str, Any]],
    retrain: str = RETRAIN,
) -> str:
    """Markdown of the whole card.

    meta: all rows with split, label, account_id; training_data: one mapping a source, shown as a table (name, counts,
    licence, digest, as given); retrain: the command that made this model.
    """
    whose = "the forerunner" if config.refit else config.metrics_of
    parts = [
        "# Model card: fingerprint",
        USE,
        "## Measured at",
        REFIT if config.refit else "",
        f"On the test split, {evaluation.positives}: accounts after the time of training, and families never "
        "trained on. "
        f"Intervals: {config.evaluation.confidence:.0%}, resampling whole accounts and campaigns.",
        markdown(_headline(evaluation.metrics, config.evaluation.fprs)),
        *_slices(evaluation, config.evaluation.fprs[0]),
        f"### Thresholds as measured: those of {whose}",
        _thresholds(evaluation.thresholds, config),
        markdown(_realised(evaluation.metrics, evaluation.thresholds)),
        *_false_alarms(evaluation.tables),
        f"### Accounts and windows of {whose}",
        markdown(evaluation.tables["splits"]),
        "## Thresholds of the model in this bundle",
        _thresholds(model.thresholds, config),
        "## Trained on",
        markdown(pd.DataFrame([dict(row) for row in training_data])),
        markdown(splits(meta)),
        "## Limits",
        (ON_SIMULATED if evaluation.positives == SIMULATED else "")
        + (ON_UNLABELLED if any(row.get("unlabelled", "drop") != "drop" for row in training_data) else "")
        + LIMITS.format(least=LEAST, developed=RunConfig().seed, seed=config.seed),
        _suspects(evaluation.tables["single_features"]),
        "## Model and export",
        _export(model, evaluation.metrics, parity, whose),
        "## Retrain",
        f"```sh\n{retrain}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table; floats to three digits, digests cut, pipes escaped; empty for an empty table."""
    if table.empty:
        return ""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.astype(object).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.0f}" if value.is_integer() else f"{value:.3f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    text = str(value).replace("|", "\\|").replace("\n", " ")
    return f"{text[:12]}…" if len(text) == 64 and " " not in text else text  # a sha256


def _headline(metrics: Mapping[str, float], fprs: Sequence[float]) -> pd.DataFrame:
    rows = []
    for fpr in fprs:
        for name, key in (("all families", "recall"), ("families never trained on", "recall_unseen")):
            found = [metrics.get(f"{key}_at_fpr_{fpr:g}{end}", float("nan")) for end in ("", "_low", "_high")]
            realised = f"{metrics[f'fpr_realised_at_{fpr:g}']:.2%}"
            rows.append((f"recall at {fpr:.1%} false positives, {name}", *found, realised))
    for name, key in (("ROC AUC", "roc_auc"), ("PR AUC", "pr_auc"), ("Brier score", "brier")):
        rows.append((name, metrics[key], float("nan"), float("nan"), ""))
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "realised false positives"])


def _slices(evaluation: Evaluation, fpr: float) -> list[str]:
    """Recall at the first rate by family, window size, attacker share, and what else the labels tell apart."""
    parts = []
    for name, title in SLICED.items():
        if name not in evaluation.tables:
            continue
        table = evaluation.tables[name].rename(columns={f"recall_at_fpr_{fpr:g}": "recall"})
        table = table.rename(columns={f"low_{fpr:g}": "low", f"high_{fpr:g}": "high", "seen_family": "trained on"})
        if "trained on" in table:
            table["trained on"] = table["trained on"].map({True: "yes", False: "no"})
        if "attacker_share" in table:
            table["attacker_share"] = [f"{share:.0%}" for share in table["attacker_share"]]
        unused = [column for column in table.columns if column.rpartition("_")[2].startswith("0.")]
        parts += [f"### Recall at {fpr:.0%} by {title} ({evaluation.positives})", markdown(table.drop(columns=unused))]
    return parts


def _false_alarms(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Benign accounts that reach the measured thresholds, by workload and, where the labels have it, by language."""
    parts = []
    for name, title, by in (("benign_workloads", "workload", "family"), ("benign_by_lang", "language", "lang")):
        if name in tables:
            parts += [
                f"### Benign accounts that reach them, by {title} (exact intervals)",
                markdown(_rates(tables[name], by, title)),
            ]
    return parts


def _rates(table: pd.DataFrame, by: str, title: str) -> pd.DataFrame:
    table = table.sort_values(["review_fpr", "accounts"], ascending=False)
    out = table[[by, "accounts"]].copy()
    for level in ("review", "act"):
        ends = zip(table[f"{level}_fpr"], table[f"{level}_low"], table[f"{level}_high"], strict=True)
        out[level] = [f"{rate:.1%} ({low:.1%} to {high:.1%})" for rate, low, high in ends]
    return out.rename(columns={by: title})


def _thresholds(levels: Levels, config: RunConfig) -> str:
    shares, count = config.thresholds, levels.benign_accounts
    text = (
        f"`review` from {levels.review:.4f} and `act` from {levels.act:.4f}: set on {count:,} benign accounts of the "
        f"calibration split so that, with {shares.confidence:.0%} confidence, at most {shares.review:.1%} and "
        f"{shares.act:.1%} of accounts like them have any window that reaches them"
    )
    if levels.extrapolated:
        names = " and ".join(f"`{name}`" for name in levels.extrapolated)
        most = upper_bound(0, count, shares.confidence)
        return (
            f"{text}. They are too few to promise {names}: extrapolated along an exponential tail, good for {most:.2%}."
        )
    return text + "."


def _realised(metrics: Mapping[str, float], levels: Levels) -> pd.DataFrame:
    """Benign test accounts that reach each threshold: all, of workloads seen in training, of unseen ones."""
    rows = []
    for level in levels.as_dict():
        for side, name in (("", "all"), ("_seen", "workloads trained on"), ("_unseen", "workloads never trained on")):
            key = f"account_fpr{side}_at_{level}"
            if key in metrics:
                rate, low, high = (f"{metrics[key + end]:.1%}" for end in ("", "_low", "_high"))
                rows.append((level, name, rate, low, high))
    return pd.DataFrame(rows, columns=["level", "benign test accounts", "reached by", "low", "high"])


def _suspects(table: pd.DataFrame) -> str:
    """Names the features that separate the simulation alone, or says there are none."""
    names = table.loc[table["suspect"], "feature"].tolist()
    if not names:
        return "- No single feature separates simulated attack from benign windows with an AUC above 0.9."
    listed = ", ".join(f"`{name}`" for name in names)
    return f"- Suspect: these features alone reach an AUC above 0.9 on the simulation, and may leak it: {listed}."


def _export(model: Model, metrics: Mapping[str, float], parity: ParityReport, whose: str) -> str:
    params = model.params
    return "\n".join(
        [
            f"- LightGBM, {model.booster.num_trees()} trees of at most {params.num_leaves} leaves, "
            f"{len(model.feature_names)} features (set `{FEATURE_SET}`, fingerprint {fingerprint.__version__}).",
            f"- Calibration: {model.calibration.method} on raw margins; expected error of {whose}, on test: "
            f"{metrics['ece']:.3f}.",
            f"- ONNX against LightGBM over {parity.rows} rows, {parity.edge_rows} of them on the edges of splits: "
            f"{parity.decision_differences} different decisions, largest difference of probability "
            f"{parity.probability_error:.1e}.",
        ]
    )
