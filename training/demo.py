"""The main job on an embedded default: a small built-in world, from nothing to verdicts on held-out traffic.

    make demo            (or: python -m training demo)

Writes everything below ``demo/`` and never touches the shipped bundle.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from training.config import load
from training.dataset import Progress
from training.pipeline import Result, run
from training.world import make_world, origin
from training.world.settings import load as load_world

__all__ = ["demo", "find_campaigns", "score_new", "summary"]

SETTINGS = {"tune.trials": 6, "tune.timeout_s": 30.0, "tracking.experiment": "fingerprint-demo"}
WORKERS = os.cpu_count() or 1
GROUPED = {
    "kinds": {"human": 0.42, "automation": 0.28, "mixed": 0.0, "attack": 0.30},  # groups are as large as kinds allow
    "campaigns.share_payment": False, "campaigns.share_network": False, "seed": 9,
}  # fmt: skip


def demo(out: Path, accounts: int, progress: Progress) -> Result:
    """Make a world below ``out``, train on it, track it in ``out/mlflow.db`` and write ``out/bundle``."""
    world = out / "world"
    make_world(world, load_world("demo", overrides={"accounts": accounts}), workers=WORKERS, progress=progress)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{(out / 'mlflow.db').as_posix()}")
    config = load(None, SETTINGS)
    files = [world / "traffic"], world / "labels.csv", out / "bundle"
    return run(*files, config, groups=world / "groups.csv", origin=origin(world), progress=progress)


def score_new(result: Result, out: Path, accounts: int, console: Console) -> None:
    """Score the traffic of a second world with the new bundle, as a user of the command line would."""
    world, verdicts = out / "new-traffic", out / "verdicts.jsonl"
    make_world(world, load_world("demo", overrides={"accounts": accounts, "seed": 8}), workers=WORKERS)
    command = ["score", str(world / "traffic"), "--by", "account", "--out", str(verdicts)]
    subprocess.run([sys.executable, "-m", "fingerprint", *command, "--bundle", str(result.bundle)], check=True)
    labels = pd.read_csv(world / "labels.csv").set_index("account_id")["label"]
    levels = pd.read_json(verdicts, lines=True, dtype={"account_id": str}).set_index("account_id")["level"]
    flagged, attack = (levels != "allow").reindex(labels.index), labels == 1
    console.print(
        f"scored      new traffic of {accounts} accounts: {flagged[attack].sum()} of {attack.sum()} distilling and "
        f"{flagged[~attack].sum()} of {(~attack).sum()} honest accounts at review or act ({verdicts})",
        soft_wrap=True,
        highlight=False,
    )


def find_campaigns(result: Result, out: Path, accounts: int, console: Console) -> None:
    """Find the campaigns in the traffic of a third world, and say where the case of the strongest is."""
    world, rows, cases = out / "grouped-traffic", out / "campaigns.csv", out / "cases"
    make_world(world, load_world("demo", overrides={"accounts": accounts, **GROUPED}), workers=WORKERS)
    command = ["campaigns", str(world / "traffic"), "--out", str(rows), "--cases", str(cases)]
    subprocess.run([sys.executable, "-m", "fingerprint", *command, "--bundle", str(result.bundle)], check=True)
    labels = pd.read_csv(world / "labels.csv").set_index("account_id")["label"]
    found = pd.read_csv(rows, dtype={"account_id": str})
    attack = int(labels.reindex(found["account_id"]).sum())
    strongest = f"; the strongest: {cases / found['campaign_id'].iloc[0] / 'case.md'}" if len(found) else ""
    console.print(
        f"campaigns   {found['campaign_id'].nunique()} of {len(found)} accounts, {attack} of them distilling "
        f"(simulated){strongest}",
        soft_wrap=True,
        highlight=False,
    )


def _at_review(metrics: dict[str, float]) -> str:
    """What the `review` threshold, fixed before, does to held-out accounts."""
    seen, unseen = (metrics.get(f"account_fpr_{side}_at_review", float("nan")) for side in ("seen", "unseen"))
    return (
        f"`review` finds {metrics['recall_at_review']:.0%} of windows; {seen:.1%} of honest accounts of known "
        f"workloads and {unseen:.1%} of unseen ones reach it"
    )


def summary(result: Result, console: Console) -> None:
    """Print what was detected at which false-positive rate, how fast, and where things are."""
    metrics = result.evaluation.metrics
    title = f"windows of held-out accounts ({result.evaluation.positives})"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in ("false positives", "found", "95 % interval", "found, unseen families"):
        table.add_column(name, justify="right")
    for fpr in ("0.01", "0.003"):
        table.add_row(
            f"{metrics[f'fpr_realised_at_{fpr}']:.2%}",
            f"{metrics[f'recall_at_fpr_{fpr}']:.0%}",
            f"{metrics[f'recall_at_fpr_{fpr}_low']:.0%} to {metrics[f'recall_at_fpr_{fpr}_high']:.0%}",
            f"{metrics.get(f'recall_unseen_at_fpr_{fpr}', float('nan')):.0%}",
        )
    console.print(table)
    ours, peer = result.latency["score_p50_us"], result.latency["booster_predict_p50_us"]
    for line in (
        f"held out    {metrics['windows']:,.0f} windows of {metrics['benign_accounts']:,.0f} honest and "
        f"{metrics['attack_accounts']:,.0f} distilling accounts, all after training; ROC AUC {metrics['roc_auc']:.3f}",
        f"export      {result.parity.rows:,} rows compared with LightGBM: {result.parity.decision_differences} "
        f"decisions differ, largest probability error {result.parity.probability_error:.1e}",
        "thresholds  " + _at_review(metrics),
        f"speed       one window in {ours:.1f} µs, LightGBM's own predict {peer:.1f} µs ({peer / ours:.1f}x)",
        f"bundle      {result.bundle}",
        f"review it   {result.tracked.ui_command}",
    ):
        console.print(line, soft_wrap=True, highlight=False)
