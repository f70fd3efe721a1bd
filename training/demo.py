"""The main job on an embedded default: a small built-in world, from nothing to verdicts on held-out traffic.

    make demo            (or: python -m training demo)

Writes everything below ``demo/`` and never touches the shipped bundle.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from training.config import load
from training.dataset import Progress
from training.pipeline import Result, run
from training.world import make_world, origin

__all__ = ["demo", "summary"]

SETTINGS = {"tune.trials": 6, "tune.timeout_s": 30.0, "tracking.experiment": "fingerprint-demo"}


def demo(out: Path, accounts: int, progress: Progress, world_progress: Callable[[int, int], None]) -> Result:
    """Make a world below ``out``, train on it, track it in ``out/mlflow.db`` and write ``out/bundle``."""
    world = out / "world"
    make_world(world, accounts=accounts, seed=7, progress=world_progress)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{out / 'mlflow.db'}")
    config = load(None, SETTINGS)
    files = [world / "traffic"], world / "labels.csv", out / "bundle"
    return run(*files, config, groups=world / "groups.csv", origin=origin(world), progress=progress)


def summary(result: Result, console: Console) -> None:
    """Print what was detected at which false-positive rate, how fast, and where things are."""
    metrics = result.evaluation.metrics
    console.print()
    table = Table(title="held-out accounts of the built-in world (simulated positives)", title_justify="left")
    for name in ("false-positive rate", "campaign windows found", "95 % interval", "families never trained on"):
        table.add_column(name, justify="right")
    for fpr in ("0.01", "0.003"):
        table.add_row(
            f"{float(fpr):.1%} (realised {metrics[f'fpr_realised_at_{fpr}']:.2%})",
            f"{metrics[f'recall_at_fpr_{fpr}']:.0%}",
            f"{metrics[f'recall_at_fpr_{fpr}_low']:.0%} to {metrics[f'recall_at_fpr_{fpr}_high']:.0%}",
            f"{metrics.get(f'recall_unseen_at_fpr_{fpr}', float('nan')):.0%}",
        )
    console.print(table)
    ours, peer = result.latency["score_p50_us"], result.latency["booster_predict_p50_us"]
    console.print(
        f"ROC AUC {metrics['roc_auc']:.3f} over {metrics['windows']:.0f} windows of "
        f"{metrics['benign_accounts']:.0f} honest and {metrics['attack_accounts']:.0f} distilling accounts, "
        "all after the training period"
    )
    console.print(
        f"export: {result.parity.rows:,} rows compared with LightGBM, {result.parity.decision_differences} decisions "
        f"differ, largest probability error {result.parity.probability_error:.1e}"
    )
    console.print(f"speed: one window in {ours:.1f} µs; LightGBM's own predict {peer:.1f} µs ({peer / ours:.1f}x)")
    console.print(f"bundle: {result.bundle}", soft_wrap=True)
    console.print(f"review it: {result.tracked.ui_command}", soft_wrap=True)
