"""What all verbs of training share: the app they hang on, progress, and options that several have."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["STAGES", "Corpora", "Stages", "app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Make labelled traffic, train and track a model, measure it. `fingerprint` is what serves it.",
)
STAGES = {
    "world": "making the world",
    "write": "writing it in order of time",
    "clocks": "measuring clocks beside real traces",
    "text": "measuring text",
    "audit": "auditing for leaks",
    "examples": "picking example accounts",
    "read": "reading traffic",
    "head": "training prompt heads",
    "contribute": "reading prompts with the heads",
    "windows": "cutting windows, computing features",
    "tune": "tuning (Optuna)",
    "fit": "training LightGBM, calibrating",
    "rivals": "fitting rivals on honest windows",
    "embed": "reading and embedding prompts",
    "judge": "scoring windows by rivals",
    "export": "exporting to ONNX, proving parity",
    "evaluate": "evaluating on held-out accounts",
    "reasons": "comparing reasons with contributions",
    "refit": "training the final model on everything",
    "drift": "comparing with the reference",
    "track": "tracking in MLflow",
}
Corpora = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="Folder of public prompts and clocks.")
]


class Stages:
    """Progress on stderr: a bar a stage on a terminal, a line a stage elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description:38}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
        self.bars = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.stage, self.started = "", time.perf_counter()
        self.task: TaskID | None = None

    def __enter__(self) -> Stages:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self.bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.stage:
            self._finish()
            self.stage, self.started = stage, time.perf_counter()
            self.task = self.bars.add_task(STAGES.get(stage, stage), total=total or None)
        assert self.task is not None
        self.bars.update(self.task, completed=done, total=total or None)

    def _finish(self) -> None:
        if self.stage and self.task is not None:
            task = self.bars.tasks[self.bars.task_ids.index(self.task)]
            total = task.total or task.completed or 1
            self.bars.update(self.task, completed=total, total=total)
            if not self.console.is_terminal:
                took = time.perf_counter() - self.started
                self.console.print(f"{STAGES.get(self.stage, self.stage):38} {took:6.1f} s", highlight=False)
        self.stage = ""
